//! Maps of guests' memory, and what the commands that stand for an option of `run` say of wrong ones.

mod common;

use std::process::Stdio;

use common::{DIE, HALT, Scratch, bare, command, finish, kvm, long, stderr};

const MACHINE: [&str; 4] = ["--mode", "long64", "--memory", "4M"];

#[test]
fn a_map_is_text_or_a_picture() {
    if !kvm("strata map") {
        return;
    }
    let scratch = Scratch::new("map");
    let image = scratch.file("halt.bin", HALT);
    let output = finish(&mut command("map", &image, &MACHINE));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let map = String::from_utf8(output.stdout).unwrap();
    for part in [
        "guest-physical memory\n",
        " to 0x0000003fffff      4 MiB  RAM\n",
        "\npage tables: linear to physical\n",
        "W+X",
    ] {
        assert!(map.contains(part), "{part}: {map}");
    }
    assert!(map.lines().all(|line| line.len() <= 100), "{map}");
    let path = scratch.path("map.svg");
    let output = finish(command("map", &image, &MACHINE).arg(format!("--map={}", path.display())));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{}", stderr(&output));
    let picture = std::fs::read_to_string(path).unwrap();
    assert!(picture.starts_with("<svg") || picture.starts_with("<?xml"));
    assert!(picture.trim_end().ends_with("</svg>"));
}

#[test]
fn the_map_of_a_run_is_that_of_its_end() {
    if !kvm("--map") {
        return;
    }
    let scratch = Scratch::new("map-end");
    let path = scratch.path("map.txt");
    // lidt [0x100010]; ud2, and a limit of 0x1ff and a base of 0x103000 at 0x100010.
    let code = b"\x0f\x01\x1c\x25\x10\x00\x10\x00\x0f\x0b\0\0\0\0\0\0\xff\x01\x00\x30\x10\x00\0\0\0\0";
    let image = scratch.file("lidt.bin", code);
    for recorder in [&[][..], &["--no-recorder"]] {
        let output = finish(long(&image).args(recorder).arg(format!("--map={}", path.display())));
        assert_eq!(output.status.code(), Some(14), "{}", stderr(&output));
        let map = std::fs::read_to_string(&path).unwrap();
        assert!(map.starts_with("guest-physical memory\n"), "{map}");
        // Hardware hosts reset the registers at a triple fault: without the recorder nobody knows them.
        assert!(!recorder.is_empty() || map.contains("0x000000103000"), "{map}");
    }
    let output = finish(long(&image).args(["--map", "--quiet"]));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("guest-physical memory\n"));
}

#[test]
fn a_map_that_nobody_reads_is_no_error() {
    if !kvm("a map into a closed pipe") {
        return;
    }
    let scratch = Scratch::new("map-closed");
    let image = scratch.file("halt.bin", HALT);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = finish(command("map", &image, &MACHINE).stdout(writer));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = finish(command("map", &image, &MACHINE).stdout(full));
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
}

#[test]
fn what_is_wrong_with_a_command_is_said_under_its_name() {
    let scratch = Scratch::new("wrong-commands");
    let image = scratch.file("die.bin", DIE);
    let absent = scratch.path("absent");
    for name in ["trace", "profile", "map"] {
        let output = finish(&mut command(name, &image, &["--frobnicate"]));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--frobnicate") && said.contains(&format!("strata {name}")), "{said}");
        let output = finish(command(name, &absent, &[]).current_dir(scratch.path("")));
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(
            said.starts_with("strata: cannot read the image ") && said.contains("No such file"),
            "{said}"
        );
        assert!(!scratch.path("profile.svg").exists(), "of a run that was refused nothing is begun");
        let output = finish(bare().args([name, "--quiet"]));
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("no image"), "{}", stderr(&output));
        // Alone: its help, as an error; asked for: as what was wanted.
        let output = finish(bare().arg(name));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(stderr(&output).contains(&format!("Usage: strata {name} ")), "{}", stderr(&output));
        for asked in [[name, "--help"], [name, "-h"], ["help", name]] {
            let output = finish(bare().args(asked).stdin(Stdio::null()));
            let help = String::from_utf8(output.stdout.clone()).unwrap();
            assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
            assert!(help.contains(&format!("Usage: strata {name} ")), "{help}");
            assert!(
                asked[0] == "help" || help.contains("--trace-filter") && help.contains("Examples:"),
                "{help}"
            );
        }
    }
}

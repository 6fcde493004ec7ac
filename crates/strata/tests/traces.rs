//! Traces, statistics and profiles of runs.

mod common;

use std::path::Path;
use std::process::Stdio;

use common::{
    CHATTER, DIE, HALT, Scratch, bare, command, elf, finish, kill, kvm, long, stderr, strata, two, wait_until,
};
use serde_json::Value;

/// What a trace or the like wrote.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Every line of a trace, as JSON.
fn lines(path: &Path) -> Vec<Value> {
    read(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_trace_is_a_line_an_exit_on_standard_error() {
    if !kvm("--trace") {
        return;
    }
    let scratch = Scratch::new("trace");
    let output = finish(two(&scratch).arg("--trace"));
    let said = stderr(&output);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"21"[..]), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(lines[0].trim_start().starts_with("seconds cpu guest host us  at"), "{said}");
    for (line, cpu, parts) in [
        (lines[1], "1", ["0x11005", "out dx,al", "out 0x3f8 <- '2' com1.thr"]),
        (lines[2], "0", ["0x1002a", "out dx,al", "out 0x3f8 <- '1' com1.thr"]),
        (lines[3], "0", ["0x1002d", "out 0xf4,al", "out 0xf4 <- 0x0 debug-exit"]),
    ] {
        assert_eq!(line.split_whitespace().nth(1), Some(cpu), "{line}");
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert_eq!(lines[4], "strata: debug exit with value 0x0");
    assert!(!said.contains('\u{1b}'), "colours into a pipe: {said}");
}

#[test]
fn the_command_is_the_option() {
    if !kvm("strata trace") {
        return;
    }
    let scratch = Scratch::new("trace-command");
    let image = scratch.file("die.bin", DIE);
    let file = scratch.path("trace");
    let machine = ["--mode", "long64", "--memory", "4M"];
    let output = finish(&mut command("trace", &image, &machine));
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(14), &b"!"[..]));
    assert!(stderr(&output).contains("out 0x3f8 <- '!' com1.thr"), "{}", stderr(&output));
    // What belongs to a trace needs no `--trace` beside it.
    let filter = ["--trace-filter", "kind=shutdown", "--last-exits", "0"];
    let output = finish(command("trace", &image, &machine).args(filter));
    assert_eq!(
        stderr(&output).lines().filter(|line| line.contains("shutdown")).count(),
        1,
        "{}",
        stderr(&output)
    );
    assert!(!stderr(&output).contains("<- '!'"), "{}", stderr(&output));
    let output =
        finish(command("trace", &image, &machine).arg("--quiet").arg(format!("--trace={}", file.display())));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(14), ""));
    assert_eq!(read(&file).lines().count(), 3, "{}", read(&file));
}

#[test]
fn the_form_of_a_trace_is_told_by_its_files_name_or_by_an_option() {
    if !kvm("forms of traces") {
        return;
    }
    let scratch = Scratch::new("trace-forms");
    let image = scratch.file("kernel.elf", elf::with_symbols(DIE, "kmain", None));
    let run = |name: &str, more: &[&str]| {
        let path = scratch.path(name);
        let output =
            finish(bare().arg("run").arg(&image).arg(format!("--trace={}", path.display())).args(more));
        assert_eq!(output.status.code(), Some(14), "{}", stderr(&output));
        path
    };
    for path in [run("run.jsonl", &[]), run("run.log", &["--trace-format", "json"])] {
        let lines = lines(&path);
        assert_eq!(lines.len(), 2, "{lines:?}");
        let first = lines[0].as_object().unwrap();
        for (key, value) in [
            ("event", "exit".into()),
            ("vcpu", 0.into()),
            ("kind", "out".into()),
            ("address", "0x3f8".into()),
            ("width", 1.into()),
            ("count", 1.into()),
            ("data", "21".into()),
            ("value", "0x21".into()),
            ("device", "com1".into()),
            ("offset", 0.into()),
            ("register", "thr".into()),
            ("at", "0x20007e".into()),
            ("symbol", "kmain".into()),
            ("symbol_offset", 6.into()),
            ("instruction", "out dx,al".into()),
            ("code", "ee".into()),
        ] {
            assert_eq!(first.get(key), Some::<&Value>(&value), "{key}: {first:?}");
        }
        for key in ["time_ns", "guest_ns", "host_ns"] {
            assert!(first[key].is_u64(), "{key}: {first:?}");
        }
        assert_eq!(first["registers"]["rdx"], "0x3f8");
        assert_eq!(lines[1]["kind"], "shutdown");
    }
    for path in [run("run.perfetto", &[]), run("run.json", &["--trace-format", "perfetto"])] {
        let trace: Value = serde_json::from_str(&read(&path)).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let named = |name: &str| events.iter().any(|event| event["name"] == name);
        assert!(named("guest") && named("out com1.thr") && named("shutdown"), "{trace}");
        assert!(events.iter().any(|event| event["args"]["name"] == "vCPU 0"), "{trace}");
        assert!(events.iter().any(|event| event["args"]["name"] == "com1"), "{trace}");
    }
    let text = read(&run("run.txt", &[]));
    assert!(text.contains(" kmain+0x6 ") && text.contains("out 0x3f8 <- '!'"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours into a file: {text}");
}

#[test]
fn colours_are_for_terminals_whose_user_does_not_mind() {
    if !kvm("colours of traces") {
        return;
    }
    if std::process::Command::new("script").arg("--version").output().is_err() {
        eprintln!("not run: colours of traces: script is not installed");
        return;
    }
    let scratch = Scratch::new("trace-colours");
    let image = scratch.file("halt.bin", HALT);
    let run = |no_color: &str| {
        let line = format!(
            "{} trace {} --mode real16 --memory 64K < /dev/null",
            env!("CARGO_BIN_EXE_strata"),
            image.display()
        );
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("NO_COLOR", no_color).stdin(Stdio::null());
        let output = finish(script.stdout(Stdio::piped()));
        assert_eq!(output.status.code(), Some(10));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run("").contains("\u{1b}["));
    let plain = run("1");
    assert!(plain.contains("hlt") && !plain.contains("\u{1b}["), "{plain:?}");
}

#[test]
fn a_filter_leaves_out_what_it_does_not_name() {
    if !kvm("--trace-filter") {
        return;
    }
    let scratch = Scratch::new("trace-filter");
    let path = scratch.path("run.jsonl");
    let run = |filter: &str| {
        let trace = format!("--trace={}", path.display());
        let output = finish(two(&scratch).args([&trace, "--trace-filter", filter]));
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        lines(&path).iter().map(|line| line["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(run(""), ["ee", "ee", "e6f4"]);
    assert_eq!(run("vcpu=1"), ["ee"]);
    assert_eq!(run("port=0xf4"), ["e6f4"]);
    assert_eq!(run("port=0x3f8-0x3ff,vcpu=0"), ["ee"]);
    assert_eq!(run("device=debug-exit"), ["e6f4"]);
    assert_eq!(run("kind=out,device=com1,device=debug-exit"), ["ee", "ee", "e6f4"]);
    assert!(run("kind=mmio").is_empty());
}

#[test]
fn a_filter_that_is_none_is_refused_before_anything_is_written() {
    if !kvm("wrong filters") {
        return;
    }
    let scratch = Scratch::new("wrong-filter");
    let file = scratch.file("trace", "kept");
    let trace = format!("--trace={}", file.display());
    for (filter, part) in [
        ("kind", "KEY=VALUE"),
        ("kind=io", "there is no kind of exit named io"),
        ("colour=red", "no key colour"),
        ("port=0x3ff-0x3f8", "port="),
        ("port=banana", "port="),
        ("vcpu=256", "vcpu="),
    ] {
        let output = finish(two(&scratch).args([&trace, "--trace-filter", filter]));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("strata: --trace-filter: ") && said.contains(part), "{said}");
        assert_eq!(
            (said.lines().count(), said.matches("there is").count().max(1)),
            (1, 1),
            "said twice: {said}"
        );
        assert!(output.stdout.is_empty(), "it ran");
    }
    assert_eq!(read(&file), "kept");
    let output = finish(two(&scratch).args(["--trace", "--trace-filter", "device=floppy"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no device named floppy: there are "), "{}", stderr(&output));
    let output = finish(two(&scratch).args(["--trace-filter", "kind=out"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--trace"), "{}", stderr(&output));
}

#[test]
fn a_trace_that_cannot_be_written_does_the_guest_no_harm() {
    if !kvm("traces that cannot be written") {
        return;
    }
    let scratch = Scratch::new("trace-full");
    let image = scratch.file("chatter.bin", CHATTER);
    let guest = |more: &[&str]| {
        let mut run = strata(&image);
        run.args(["--budget-exits", "2000", "--no-recorder"]).args(more);
        run
    };
    let printed = vec![b'!'; 2000];
    for format in ["text", "json", "perfetto"] {
        let output = finish(&mut guest(&["--trace=/dev/full", "--trace-format", format]));
        assert_eq!((output.status.code(), &output.stdout), (Some(18), &printed), "{}", stderr(&output));
        let said = "strata: the trace ends early: No space left on device (os error 28)\n\
            strata: budget of 2000 exits used up\n";
        assert_eq!(stderr(&output), said, "{format}");
    }
    // A reader that has gone away has seen enough.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = finish(guest(&["--trace"]).stderr(writer));
    assert_eq!((output.status.code(), &output.stdout), (Some(18), &printed));
}

#[test]
fn an_interrupted_trace_ends_with_a_whole_line() {
    if !kvm("an interrupted trace") {
        return;
    }
    let scratch = Scratch::new("trace-interrupt");
    let image = scratch.file("chatter.bin", CHATTER);
    for (name, ending) in [("INT", "jsonl"), ("TERM", "perfetto"), ("HUP", "txt")] {
        let path = scratch.path(&format!("run.{ending}"));
        let mut run = strata(&image);
        let mut child = run.arg(format!("--trace={}", path.display())).stdout(Stdio::null()).spawn().unwrap();
        wait_until(&path, |text| text.lines().count() > 5);
        kill(name, &child);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let text = read(&path);
        assert!(text.ends_with('\n'), "{}", &text[text.len().saturating_sub(200)..]);
        match ending {
            "jsonl" => assert!(lines(&path).len() > 4),
            "perfetto" => drop(serde_json::from_str::<Value>(&text).unwrap()),
            _ => assert!(text.lines().last().unwrap().contains("out 0x3f8 <- '!' com1.thr"), "{text}"),
        }
    }
}

#[test]
fn statistics_are_a_table_or_json() {
    if !kvm("--stats") {
        return;
    }
    let scratch = Scratch::new("stats");
    let output = finish(two(&scratch).arg("--stats"));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("3 exits; "), "{said}");
    for begin in [
        "out  ",
        "com1  ",
        "debug-exit  ",
        "out 0x3f8 com1  ",
        "out 0xf4 debug-exit  ",
        "host time of an exit",
    ] {
        assert!(said.lines().any(|line| line.starts_with(begin)), "{begin}: {said}");
    }
    assert!(said.ends_with("\nstrata: debug exit with value 0x0\n"), "{said}");
    assert!(said.lines().all(|line| line.len() <= 100), "{said}");

    let path = scratch.path("stats.json");
    let output = finish(two(&scratch).arg(format!("--stats={}", path.display())));
    assert_eq!(stderr(&output), "strata: debug exit with value 0x0\n");
    let stats: Value = serde_json::from_str(&read(&path)).unwrap();
    assert_eq!((&stats["exits"], &stats["kinds"][0]["name"]), (&3.into(), &"out".into()), "{stats}");
    let count = |what: &str| {
        stats[what].as_array().unwrap().iter().map(|row| row["exits"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(
        (count("kinds"), count("devices"), count("addresses"), count("histogram")),
        (3, 3, 3, 3),
        "{stats}"
    );
    for key in ["total_ns", "min_ns", "median_ns", "p99_ns", "max_ns"] {
        assert!(stats["host"][key].is_u64(), "{key}: {stats}");
    }
    let path = scratch.path("stats.txt");
    finish(two(&scratch).arg(format!("--stats={}", path.display())));
    assert!(read(&path).starts_with("3 exits; "));
}

#[test]
fn a_profile_is_a_picture_or_folded_stacks() {
    if !kvm("strata profile") {
        return;
    }
    let scratch = Scratch::new("profile");
    let image =
        scratch.file("kernel.elf", elf::with_symbols(b"\x66\xba\xf8\x03\xb0E\xee\xf4", "kmain", None));
    // Where it is called from.
    let output = finish(command("profile", &image, &[]).current_dir(scratch.path("")));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(10), "strata: halted\n"));
    let picture = read(&scratch.path("profile.svg"));
    assert!(picture.contains("<svg") && picture.contains("kmain"));

    let path = scratch.path("stacks.folded");
    for weight in [&[][..], &["--profile-time"]] {
        let output = finish(command("profile", &image, weight).arg("--profile").arg(&path));
        assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
        let folded = read(&path);
        assert!(!folded.is_empty());
        for line in folded.lines() {
            let (stack, count) = line.rsplit_once(' ').unwrap();
            assert!(stack.contains("kmain"), "{folded}");
            let count: u64 = count.parse().unwrap();
            assert!(!weight.is_empty() || count == 1, "{folded}");
        }
    }
}

#[test]
fn files_that_cannot_be_created_are_known_before_the_guest_runs() {
    if !kvm("files that cannot be created") {
        return;
    }
    let scratch = Scratch::new("no-file");
    let image = scratch.file("die.bin", DIE);
    let absent = scratch.path("absent/file");
    let absent = absent.to_str().unwrap();
    for option in ["--trace", "--stats", "--profile", "--map", "--core", "--report", "--record"] {
        let output = finish(long(&image).arg(format!("{option}={absent}")));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{option}: {said}");
        assert_eq!(said, format!("strata: cannot write {absent}: No such file or directory (os error 2)\n"));
        assert!(output.stdout.is_empty(), "{option}: it ran");
    }
}

#[test]
fn a_file_that_fills_the_disk_keeps_no_other_from_being_written() {
    if !kvm("a full disk for results") {
        return;
    }
    let scratch = Scratch::new("one-full");
    let image = scratch.file("die.bin", DIE);
    let path = scratch.path("report.json");
    for option in ["--stats=/dev/full", "--profile=/dev/full", "--map=/dev/full", "--record=/dev/full"] {
        let output = finish(long(&image).arg(option).arg("--report").arg(&path));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{option}: {said}");
        assert!(said.starts_with("strata: the guest died of a triple fault\n"), "{option}: {said}");
        assert!(
            said.ends_with("strata: cannot write /dev/full: No space left on device (os error 28)\n"),
            "{said}"
        );
        assert!(read(&path).contains("\"accused\": true"));
        std::fs::remove_file(&path).unwrap();
    }
}

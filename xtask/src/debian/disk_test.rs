use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::testing::Folder;

fn archive() -> Archive {
    Archive { sources: "deb x y z\n".into(), settings: String::new(), kernel: "linux-image-cloud-amd64" }
}

fn words(new: &Path, privilege: &[&str]) -> Vec<String> {
    let build =
        Build { new, release: "bookworm", kernel: "linux-image-6.12-cloud-amd64", archive: &archive() };
    let words = build.words(privilege.iter().map(OsString::from).collect());
    words.into_iter().map(|word| word.into_string().unwrap()).collect()
}

#[test]
fn the_key_has_format_release_and_kernel() {
    assert_eq!(key("bookworm", "linux-image-cloud-amd64"), "debian-1-bookworm-linux-image-cloud-amd64");
}

#[test]
fn only_names_of_packages_become_part_of_a_path() {
    for name in ["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64", "g++"] {
        assert!(is_package_name(name), "{name}");
    }
    for name in ["", "../x", "a b", "-x", "A", "a,b", "a_b"] {
        assert!(!is_package_name(name), "{name}");
    }
    let error = disk(Some("a/b"), &Tools::of_this_process(false)).unwrap_err();
    assert!(error.to_string().starts_with("`a/b` is no name of a package; give one"), "{error}");
}

#[test]
fn mmdebstrap_gets_the_release_the_kernel_and_our_sources() {
    let words = words(Path::new("/c/.new"), &["sudo", "-n"]);
    assert_eq!(words[..4], ["sudo", "-n", "sh", "-c"]);
    assert_eq!(words[5..8], ["sh", "/c/.new", "unshare"]);
    assert!(words.contains(&"TMPDIR=/c/.new/work".to_owned()));
    assert!(words.contains(&"--include=linux-image-6.12-cloud-amd64".to_owned()));
    assert!(
        words.contains(&"--customize-hook=sh '/c/.new/work/customize.sh' \"$1\" '/c/.new' 2G".to_owned())
    );
    assert_eq!(words[words.len() - 3..], ["bookworm", "/dev/null", "/c/.new/work/sources.list"]);
}

#[test]
fn a_path_that_mmdebstrap_would_take_apart_is_refused() {
    assert!(is_plain(Path::new("/home/a/.cache/strata/.new")));
    assert!(!is_plain(Path::new("/home/a b")) && !is_plain(Path::new("/it's")));
}

/// The supervised command that runs `script` for what lies in `folder`.
fn supervised(folder: &Path, script: &str) -> Vec<OsString> {
    ["sh", "-c", SUPERVISE, "sh"]
        .map(OsString::from)
        .into_iter()
        .chain([folder.into(), "sh".into(), "-c".into(), script.into()])
        .collect()
}

#[test]
fn after_a_success_what_was_made_stays() {
    let folder = Folder::new();
    folder.file("new/work/scratch", "");
    let made = folder.file("new/disk", "");
    run(&supervised(&folder.path().join("new"), "true")).unwrap();
    assert!(made.exists() && !folder.path().join("new/work").exists());
}

#[test]
fn after_a_failure_nothing_stays_and_the_last_lines_are_shown() {
    let folder = Folder::new();
    folder.file("new/work/scratch", "");
    let script = "for i in $(seq 100); do echo line $i; done; echo E: no room >&2; exit 3";
    let error = run(&supervised(&folder.path().join("new"), script)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status: 3") && text.ends_with("line 100\nE: no room"), "{text}");
    assert!(!text.contains("line 70\n"), "{text}");
    assert!(!folder.path().join("new").exists());
}

#[test]
fn when_we_are_gone_the_command_is_killed_and_nothing_stays() {
    let folder = Folder::new();
    let new = folder.path().join("new");
    folder.file("new/work/scratch", "");
    let words = supervised(&new, "echo ready; exec sleep 1000");
    let (output, end) = io::pipe().unwrap();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(end.try_clone().unwrap()).stderr(end);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // As the system does it for a process that ends.
    drop(child.stdin.take());
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "the command goes on");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!new.exists());
}

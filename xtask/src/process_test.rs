use super::*;
use crate::testing::Folder;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

#[test]
fn both_streams_are_captured_in_order_with_the_status() {
    let seen = capture(shell("echo one; echo two >&2; echo three; exit 3")).unwrap();
    assert_eq!(seen.output, "one\ntwo\nthree\n");
    assert_eq!(seen.status.code(), Some(3));
}

#[test]
fn a_process_left_behind_is_not_waited_for() {
    let folder = Folder::new();
    // What is left behind lives, with our output open, until this file goes.
    let lives = folder.file("lives", "");
    let script = format!("while [ -e {} ]; do sleep 0.05; done & echo after", lives.display());
    assert_eq!(capture(shell(&script)).unwrap().output, "after\n");
    assert!(lives.exists());
}

#[test]
fn a_program_that_ends_in_time_keeps_its_status() {
    let mut child = shell("exit 7").spawn().unwrap();
    let status = wait_at_most(&mut child, Duration::from_secs(60)).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(7));
}

#[test]
fn a_program_that_does_not_end_is_killed() {
    let mut child = shell("exec sleep 1000").spawn().unwrap();
    assert!(wait_at_most(&mut child, Duration::from_millis(20)).unwrap().is_none());
    assert!(child.try_wait().unwrap().is_some(), "it is still running");
}

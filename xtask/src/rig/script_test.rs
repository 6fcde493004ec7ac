use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process;
use std::time::Duration;

use super::*;

fn command(arguments: &[&[u8]]) -> Command {
    let arguments = arguments.iter().map(|bytes| OsString::from_vec(bytes.to_vec())).collect();
    Command { folder: "/".into(), arguments, ..Command::new("printf") }
}

fn executed(script: &[u8]) -> process::Output {
    process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(script)).output().unwrap()
}

#[test]
fn a_shell_gives_every_byte_back() {
    // All but NUL, which no argument can contain.
    let every: Vec<u8> = (1..=255).collect();
    for argument in
        [&b""[..], b"'", b"''", b"a b", b"$HOME `id` \"x\" \\ * ~ ! # & ; | < >", b"-n", b"\n\n", &every]
    {
        let script = run(&command(&[b"%s|", argument]), OsStr::new("printf"));
        let done = executed(&script);
        assert_eq!(done.stdout, [argument, b"|"].concat(), "{}", script.escape_ascii());
    }
}

#[test]
fn variables_with_odd_names_and_values_arrive() {
    let mut command = Command { folder: "/".into(), ..Command::new("env") };
    command.environment = vec![("CARGO_BIN_EXE_a-b".into(), "/x y".into()), ("Q".into(), "it's".into())];
    let seen = String::from_utf8(executed(&run(&command, OsStr::new("env"))).stdout).unwrap();
    assert!(seen.lines().any(|line| line == "CARGO_BIN_EXE_a-b=/x y"), "{seen}");
    assert!(seen.lines().any(|line| line == "Q=it's"), "{seen}");
}

#[test]
fn the_folder_is_the_commands_own() {
    let command = Command { folder: "/usr".into(), ..Command::new("pwd") };
    assert_eq!(executed(&run(&command, OsStr::new("pwd"))).stdout, b"/usr\n");
    let nowhere = Command { folder: "/not there".into(), ..Command::new("pwd") };
    assert_eq!(executed(&run(&nowhere, OsStr::new("pwd"))).status.code(), Some(125));
}

#[test]
fn a_limit_is_at_least_a_second() {
    let limited = Command { limit: Some(Duration::from_millis(10)), ..command(&[]) };
    let script = run(&limited, OsStr::new("x"));
    assert!(script.ends_with(b"'env' 'timeout' '-s' 'KILL' '1' 'x' \n"), "{}", script.escape_ascii());
}

#[test]
fn files_to_collect_are_quoted() {
    let script = collect([Path::new("/a b"), Path::new("/it's")]);
    assert_eq!(script, b"'blob' '/a b' \n'blob' '/it'\\''s' \n");
}

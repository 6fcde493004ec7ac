use std::fs::File;
use std::io::{Read as _, Write as _};

use super::super::testing::Guest;
use super::*;

/// Somebody at the other side.
fn open(path: &Path) -> File {
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    rustix::io::ioctl_fionbio(&terminal, true).unwrap();
    terminal
}

#[test]
fn whoever_opens_it_is_at_the_console() {
    let pty = Pty::new().unwrap();
    let path = pty.path().to_owned();
    let mut guest = Guest::new(pty);
    let mut terminal = open(&path);
    guest.bench.run();
    guest.print(b"login: \n");
    guest.until_printed();
    assert_eq!(guest.until_read(&mut terminal, 8), b"login: \n", "as it was printed");
    terminal.write_all(b"root\r\x03").unwrap();
    guest.until_received(b"root\r\x03");
    assert_eq!(terminal.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "no echo");
}

#[test]
fn nobody_is_no_error_and_may_come_back() {
    let pty = Pty::new().unwrap();
    let path = pty.path().to_owned();
    let mut guest = Guest::new(pty);
    guest.print(b"nobody");
    assert!(guest.has_printed(), "thrown away");
    let mut sent = Vec::new();
    for round in 0..3_u8 {
        let mut terminal = open(&path);
        terminal.write_all(&[b'a' + round]).unwrap();
        sent.push(b'a' + round);
        guest.until_received(&sent);
        guest.print(&[b'0' + round]);
        guest.until_printed();
        assert_eq!(guest.until_read(&mut terminal, 1), [b'0' + round]);
        // What is sent last arrives, even if nobody is there any more.
        terminal.write_all(b"!").unwrap();
        sent.push(b'!');
        drop(terminal);
        guest.until_received(&sent);
        guest.print(b"nobody");
        assert!(guest.has_printed());
    }
}

#[test]
fn two_share_it_and_one_may_go() {
    let pty = Pty::new().unwrap();
    let path = pty.path().to_owned();
    let mut guest = Guest::new(pty);
    let (one, mut other) = (open(&path), open(&path));
    guest.bench.run();
    drop(one);
    guest.print(b"still");
    guest.until_printed();
    assert_eq!(guest.until_read(&mut other, 5), b"still");
}

#[test]
fn a_reader_that_sleeps_holds_the_guest_up_until_it_goes() {
    let pty = Pty::new().unwrap();
    let path = pty.path().to_owned();
    let mut guest = Guest::new(pty);
    let mut terminal = open(&path);
    guest.bench.run();
    let much = vec![b'm'; 200_000];
    guest.print(&much);
    assert!(!guest.has_printed());
    assert_eq!(guest.until_read(&mut terminal, much.len()), much);
    guest.until_printed();
    guest.print(&much);
    assert!(!guest.has_printed());
    drop(terminal);
    guest.until_printed();
}

#[test]
fn one_that_was_closed_wakes_nobody() {
    let pty = Pty::new().unwrap();
    let path = pty.path().to_owned();
    let mut guest = Guest::new(pty);
    drop(open(&path));
    // It is hung up from now on. This would find no end if that were more than one event.
    guest.bench.run();
    assert_eq!(guest.received(), b"");
}

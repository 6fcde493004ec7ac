use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::ioctl_fionbio;

use super::super::testing::Guest;
use super::*;

fn nameless(name: &str, bytes: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("strata-console-{name}-{}", std::process::id()));
    fs::write(&path, bytes).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(path).unwrap();
    file
}

/// Prints more than fits anywhere, and reads it slowly.
fn prints_much(output: OwnedFd, mut reader: impl io::Read + std::os::fd::AsFd) {
    ioctl_fionbio(&reader, true).unwrap();
    let given = output.try_clone().unwrap();
    let mut guest = Guest::new(Stream::new(None, output));
    let much: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251).to_le_bytes()[0]).collect();
    guest.print(&much);
    assert!(!guest.has_printed(), "it is in nobody's hands yet");
    assert!(!fcntl_getfl(&given).unwrap().contains(OFlags::NONBLOCK), "the mode is others' too");
    let read = guest.until_read(&mut reader, much.len());
    assert!(read == much);
    guest.until_printed();
}

#[test]
fn a_full_pipe_holds_the_guest_up_and_nobody_else() {
    let (reader, writer) = io::pipe().unwrap();
    prints_much(writer.into(), reader);
}

#[test]
fn so_does_a_full_socket() {
    let (reader, writer) = UnixStream::pair().unwrap();
    prints_much(writer.into(), reader);
}

#[test]
fn so_does_a_full_terminal() {
    let own = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let controller = rustix::pty::openpt(own).unwrap();
    rustix::pty::unlockpt(&controller).unwrap();
    let mut settings = rustix::termios::tcgetattr(&controller).unwrap();
    settings.make_raw();
    rustix::termios::tcsetattr(&controller, rustix::termios::OptionalActions::Now, &settings).unwrap();
    let terminal = rustix::pty::ioctl_tiocgptpeer(&controller, own).unwrap();
    prints_much(terminal, File::from(controller));
}

#[test]
fn what_is_typed_reaches_the_guest_and_its_end_ends_nothing_else() {
    let ((input, mut keyboard), (mut screen, output)) = (io::pipe().unwrap(), io::pipe().unwrap());
    let mut guest = Guest::new(Stream::new(Some(input.into()), output.into()));
    assert_eq!(guest.received(), b"");
    keyboard.write_all(b"abc").unwrap();
    guest.until_received(b"abc");
    let long = [b'x'; 1000];
    keyboard.write_all(&long).unwrap();
    let all = [b"abc".as_slice(), &long].concat();
    guest.until_received(&all);
    drop(keyboard);
    guest.print(b"goes on");
    guest.until_printed();
    let mut printed = [0; 7];
    screen.read_exact(&mut printed).unwrap();
    assert_eq!((&printed, guest.received()), (b"goes on", &all[..]));
}

#[test]
fn a_file_is_read_to_its_end_though_it_cannot_be_watched() {
    let text: Vec<u8> = (0..10_000).map(|at: u32| (at % 253).to_le_bytes()[0]).collect();
    let (_screen, output) = io::pipe().unwrap();
    let input = nameless("input", &text);
    let mut guest = Guest::new(Stream::new(Some(input.into()), output.into()));
    guest.until_received(&text);
    let (_screen, output) = io::pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let mut guest = Guest::new(Stream::new(Some(null.into()), output.into()));
    assert_eq!(guest.received(), b"");
    guest.print(b"x");
    guest.until_printed();
}

#[test]
fn a_reader_that_goes_is_told_of_once_and_the_guest_goes_on() {
    let (screen, output) = io::pipe().unwrap();
    let (input, mut keyboard) = io::pipe().unwrap();
    let (tell, told) = mpsc::channel();
    let stream = Stream::new(Some(input.into()), output.into());
    let mut guest = Guest::new(stream.when_closed(move |error| tell.send(error.kind()).unwrap()));
    guest.print(b"heard");
    guest.until_printed();
    assert!(told.try_recv().is_err());
    drop(screen);
    for _ in 0..3 {
        guest.print(b"not heard");
        assert!(guest.has_printed());
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [io::ErrorKind::BrokenPipe]);
    keyboard.write_all(b"still").unwrap();
    guest.until_received(b"still");
}

#[test]
fn a_terminal_that_is_closed_is_told_of() {
    let own = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let controller = rustix::pty::openpt(own).unwrap();
    rustix::pty::unlockpt(&controller).unwrap();
    let terminal = rustix::pty::ioctl_tiocgptpeer(&controller, own).unwrap();
    let (tell, told) = mpsc::channel();
    let stream = Stream::new(Some(terminal.try_clone().unwrap()), terminal);
    let mut guest = Guest::new(stream.when_closed(move |error| tell.send(error.raw_os_error()).unwrap()));
    assert_eq!(guest.received(), b"");
    drop(controller);
    guest.print(b"x");
    assert!(guest.has_printed());
    assert_eq!((told.recv(), guest.received()), (Ok(Some(libc::EIO)), &b""[..]));
}

#[test]
fn output_to_a_file_is_all_there() {
    let path = std::env::temp_dir().join(format!("strata-console-file-{}", std::process::id()));
    fs::write(&path, "before ").unwrap();
    let mut guest = Guest::new(Stream::to_file(&path).unwrap());
    guest.print(b"one ");
    guest.print(b"two");
    assert!(guest.has_printed() && guest.has_printed());
    assert_eq!(fs::read(&path).unwrap(), b"before one two");
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let error = Stream::to_file(&path).unwrap_err();
    let FileError::Open { source, .. } = error;
    assert_eq!(source.raw_os_error(), Some(libc::ENXIO), "nobody reads it");
    fs::remove_file(&path).unwrap();
    let error = Stream::to_file(Path::new("/nowhere/console")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/console"), "{error}");
}

#[test]
fn a_full_disk_loses_that_and_is_tried_again() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (tell, told) = mpsc::channel();
    let stream = Stream::new(None, full.into()).when_closed(move |_| tell.send(()).unwrap());
    let mut guest = Guest::new(stream);
    for _ in 0..2 {
        guest.print(b"lost");
        assert!(guest.has_printed());
    }
    assert!(told.try_recv().is_err());
}

#[test]
fn what_cannot_be_opened_anew_is_asked_first() {
    let (reader, writer) = io::pipe().unwrap();
    let output = Output::asked(writer.into());
    let mut written = 0;
    let full = loop {
        match output.write(&[7; 10_000]) {
            Ok(len) => written += len,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(written % 4096, 0);
    let mut read = vec![0; 4096];
    (&reader).read_exact(&mut read).unwrap();
    assert_eq!(output.write(&[7; 10_000]).unwrap(), 4096);
    drop(reader);
    assert_eq!(output.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(output.as_fd().try_clone_to_owned().is_ok());
}

use std::fs::File;
use std::io::{PipeReader, Seek, SeekFrom, Write, pipe};
use std::os::fd::RawFd;

use event_manager::{EventManager, SubscriberId, SubscriberOps};

use super::*;
use crate::testing::inb;
use crate::{DeviceMut, NoIrq};

const DATA: u64 = 0;
const MCR: u64 = 4;
const LSR: u64 = 5;

/// A port, its input on an event loop, and the guest's hand on the registers.
struct Scene<R> {
    serial: Arc<Mutex<Serial>>,
    events: EventManager<SerialInput<R>>,
    id: SubscriberId,
}

impl<R: Read + AsRawFd> Scene<R> {
    fn new(input: R) -> Self {
        let serial = Arc::new(Mutex::new(Serial::new(Arc::new(NoIrq), Box::new(io::sink()))));
        let mut events = EventManager::new().unwrap();
        let id = events.add_subscriber(SerialInput::new(input, serial.clone()));
        Self { serial, events, id }
    }

    /// Serves what is ready until nothing is. Something that is ready for ever fails.
    fn settle(&mut self) {
        for _ in 0..1000 {
            if self.events.run_with_timeout(0).unwrap() == 0 {
                return;
            }
        }
        panic!("the event loop spins");
    }

    /// The guest reads what the port holds, the loop brings more, and so on.
    fn guest_reads(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            self.settle();
            let before = data.len();
            while inb(&mut *self.serial.lock().unwrap(), LSR) & 1 != 0 {
                data.push(inb(&mut *self.serial.lock().unwrap(), DATA));
            }
            if data.len() == before {
                return data;
            }
        }
    }

    fn guest_writes(&mut self, register: u64, value: u8) {
        let _ = self.serial.lock().unwrap().write(register, &[value]);
    }

    fn end(&mut self) -> Option<&InputEnd> {
        self.events.subscriber_mut(self.id).unwrap().end()
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn what_is_typed_reaches_the_guest() {
    let (reader, mut writer) = pipe().unwrap();
    let mut scene = Scene::new(reader);
    assert_eq!(scene.guest_reads(), b"");
    writer.write_all(b"hello").unwrap();
    assert_eq!(scene.guest_reads(), b"hello");
    writer.write_all(b" again").unwrap();
    assert_eq!(scene.guest_reads(), b" again");
    assert!(scene.end().is_none());
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn a_guest_that_does_not_read_holds_the_sender_up_without_spinning() {
    let (reader, mut writer) = pipe().unwrap();
    let mut scene = Scene::new(reader);
    writer.write_all(&bytes(5000)).unwrap();
    scene.settle();
    assert_eq!(scene.serial.lock().unwrap().room(), 0);
    let held = scene.events.subscriber_mut(scene.id).unwrap().rest.len();
    assert!(held <= CHUNK, "the rest is left in the pipe, not read: {held}");
    assert_eq!(scene.guest_reads(), bytes(5000));
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn a_sender_that_hangs_up_loses_nothing_and_is_not_asked_for_ever() {
    let (reader, mut writer) = pipe().unwrap();
    let mut scene = Scene::new(reader);
    writer.write_all(&bytes(1000)).unwrap();
    drop(writer);
    scene.settle();
    assert!(scene.end().is_none(), "there is more");
    assert_eq!(scene.guest_reads(), bytes(1000));
    assert!(matches!(scene.end(), Some(InputEnd::Eof)));
    // Other users of the port are not disturbed.
    assert_eq!(scene.serial.lock().unwrap().enqueue(b"x"), 1);
    assert_eq!(scene.guest_reads(), b"x");
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn a_regular_file_is_read_as_the_guest_takes_it() {
    let path = std::env::temp_dir().join(format!("strata-devices-input-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(&bytes(3000)).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut position = file.try_clone().unwrap();
    let mut scene = Scene::new(file);
    scene.settle();
    assert!(position.stream_position().unwrap() <= CHUNK as u64, "no further than the guest needs");
    assert_eq!(scene.guest_reads(), bytes(3000));
    assert!(matches!(scene.end(), Some(InputEnd::Eof)));
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn the_null_device_is_at_its_end_at_once() {
    let mut scene = Scene::new(File::open("/dev/null").unwrap());
    assert!(matches!(scene.end(), Some(InputEnd::Eof)));
    assert_eq!(scene.guest_reads(), b"");
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn input_waits_while_the_guest_loops_the_port() {
    let (reader, mut writer) = pipe().unwrap();
    let mut scene = Scene::new(reader);
    scene.guest_writes(MCR, 0x10);
    writer.write_all(b"typed").unwrap();
    scene.settle();
    scene.guest_writes(DATA, b'x');
    assert_eq!(scene.guest_reads(), b"x");
    scene.guest_writes(MCR, 0x00);
    assert_eq!(scene.guest_reads(), b"typed");
}

/// Says something else first.
struct Moody(PipeReader, Vec<io::ErrorKind>);

impl Read for Moody {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        match self.1.pop() {
            Some(kind) => Err(kind.into()),
            None => self.0.read(data),
        }
    }
}

impl AsRawFd for Moody {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn a_read_that_should_be_tried_again_is() {
    let (reader, mut writer) = pipe().unwrap();
    let moods = vec![io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock];
    let mut scene = Scene::new(Moody(reader, moods));
    writer.write_all(b"hello").unwrap();
    assert_eq!(scene.guest_reads(), b"hello");
    assert!(scene.end().is_none());
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn a_read_that_fails_ends_input() {
    let (reader, mut writer) = pipe().unwrap();
    let mut scene = Scene::new(Moody(reader, vec![io::ErrorKind::NotConnected]));
    writer.write_all(b"hello").unwrap();
    assert_eq!(scene.guest_reads(), b"");
    assert!(
        matches!(scene.end(), Some(InputEnd::Read(error)) if error.kind() == io::ErrorKind::NotConnected)
    );
}

/// A descriptor by its number, so that two inputs can have the same.
struct Same(Arc<PipeReader>);

impl Read for Same {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(data)
    }
}

impl AsRawFd for Same {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[test]
#[cfg_attr(miri, ignore = "event loops make system calls")]
fn a_descriptor_that_is_watched_already_ends_the_second_input_only() {
    let (reader, mut writer) = pipe().unwrap();
    let reader = Arc::new(reader);
    let mut scene = Scene::new(Same(reader.clone()));
    let second = SerialInput::new(Same(reader), scene.serial.clone());
    let second = scene.events.add_subscriber(second);
    let end = scene.events.subscriber_mut(second).unwrap().end();
    assert!(matches!(end, Some(InputEnd::Watch(EventError::FdAlreadyRegistered))), "{end:?}");
    writer.write_all(b"hello").unwrap();
    assert_eq!(scene.guest_reads(), b"hello");
}

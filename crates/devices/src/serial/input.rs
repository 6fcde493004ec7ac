//! What is typed at a serial port.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use event_manager::{Error as EventError, EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::timerfd::TimerFd;

use super::Serial;

/// How much is read at once.
const CHUNK: usize = 256;
/// How soon to try again when the guest was at the port.
const RETRY: Duration = Duration::from_millis(1);

/// Feeds a [`Serial`] port from a file descriptor, on an event loop of rust-vmm's `event-manager`.
///
/// Nothing is lost and nothing spins. What has been read and not yet taken by the port is kept, and while
/// there is such a rest the descriptor is not watched; when the guest has emptied the port's FIFO, an eventfd
/// resumes. The sender is thus held up as far back as its own pipe or terminal.
///
/// The event loop never waits for the port's lock: a guest whose output nobody takes holds it for as long as that
/// lasts, and the loop has other things to serve, such as the signal that ends the guest. It tries again after a
/// millisecond.
///
/// The descriptor may block or not, since it is read once for each time it is ready. One that cannot be
/// waited for (a regular file, `/dev/null`) is read whenever the port has taken what was read before. Input
/// ends at the end of the file or at an error, and [`SerialInput::end`] tells which; what was read before
/// still reaches the guest.
#[derive(Debug)]
pub struct SerialInput<R> {
    input: R,
    serial: Arc<Mutex<Serial>>,
    /// Written when the guest has emptied the FIFO; made when an event loop takes this.
    drained: Option<Arc<EventFd>>,
    /// Ends the wait for a port that was in use; made when that first happens.
    retry: Option<TimerFd>,
    /// Read, but not yet taken by the port.
    rest: Vec<u8>,
    watch: Watch,
    end: Option<InputEnd>,
}

/// How `input` is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// The loop watches it.
    On,
    /// The loop could, but does not.
    Off,
    /// The loop cannot; it is always ready.
    AlwaysReady,
}

/// How far a delivery got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    /// There is no rest.
    All,
    /// The port is full; the guest will wake us.
    Part,
    /// The guest is at the port just now.
    InUse,
}

/// Why input ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum InputEnd {
    /// The end of the file, or the other side has hung up.
    Eof,
    /// Reading failed.
    Read(io::Error),
    /// The system has no file descriptor left for the eventfd that the guest is to wake us by.
    Wake(io::Error),
    /// The event loop cannot watch a descriptor.
    Watch(EventError),
}

impl<R: Read + AsRawFd> SerialInput<R> {
    /// Input for `serial` from `input`. It begins when this is added to an event loop.
    pub fn new(input: R, serial: Arc<Mutex<Serial>>) -> Self {
        Self { input, serial, drained: None, retry: None, rest: Vec::new(), watch: Watch::Off, end: None }
    }

    /// Why input has ended; `None` while it goes on.
    pub fn end(&self) -> Option<&InputEnd> {
        self.end.as_ref()
    }

    /// Reads once.
    fn read(&mut self) {
        let mut chunk = [0; CHUNK];
        match self.input.read(&mut chunk) {
            Ok(0) => self.end = Some(InputEnd::Eof),
            Ok(len) => self.rest.extend(chunk.iter().take(len)),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                // Somebody else has read it, or it was ready for nothing. What cannot be watched would never
                // be ready.
                io::ErrorKind::WouldBlock if self.watch != Watch::AlwaysReady => {}
                _ => self.end = Some(InputEnd::Read(error)),
            },
        }
    }

    /// Gives the port what it takes of the rest.
    fn deliver(&mut self) -> Delivered {
        if self.rest.is_empty() {
            return Delivered::All;
        }
        let mut serial = match self.serial.try_lock() {
            Ok(serial) => serial,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Delivered::InUse,
        };
        let taken = serial.enqueue(&self.rest);
        self.rest.drain(..taken.min(self.rest.len()));
        if self.rest.is_empty() {
            return Delivered::All;
        }
        if let Some(drained) = self.drained.clone() {
            // Under the same lock: the guest cannot empty the FIFO between the two and leave us asleep.
            serial.when_drained(move || {
                // The counter cannot overflow: each wake-up resets it, and one wake-up is asked for at a
                // time.
                let _ = drained.write(1);
            });
        }
        Delivered::Part
    }

    /// Has the event loop come back in a moment.
    fn retry_soon(&mut self, ops: &mut EventOps<'_>) {
        if self.retry.is_none() {
            let timer = match TimerFd::new() {
                Ok(timer) => timer,
                Err(error) => return self.end = Some(InputEnd::Wake(error.into())),
            };
            if let Err(error) = ops.add(Events::new(&timer, EventSet::IN)) {
                return self.end = Some(InputEnd::Watch(error));
            }
            self.retry = Some(timer);
        }
        if let Some(Err(error)) = self.retry.as_mut().map(|timer| timer.reset(RETRY, None)) {
            self.end = Some(InputEnd::Wake(error.into()));
        }
    }

    /// Delivers, and waits for whatever has to happen next: the guest, or more input.
    fn go_on(&mut self, ops: &mut EventOps<'_>) {
        loop {
            let delivered = self.deliver();
            if delivered == Delivered::InUse {
                self.retry_soon(ops);
            }
            if self.end.is_some() || delivered != Delivered::All {
                self.unwatch(ops);
                if delivered == Delivered::All
                    && let Some(drained) = self.drained.take()
                {
                    let _ = ops.remove(Events::empty(&*drained));
                }
                return;
            }
            if self.watch == Watch::Off {
                self.watch(ops);
            }
            match self.watch {
                Watch::AlwaysReady => self.read(),
                Watch::On => return,
                // Watching failed, which has ended input.
                Watch::Off => {}
            }
        }
    }

    fn watch(&mut self, ops: &mut EventOps<'_>) {
        match ops.add(Events::new(&self.input, EventSet::IN)) {
            Ok(()) => self.watch = Watch::On,
            // `epoll_ctl(2)`: EPERM is a file that does not support being waited for.
            Err(EventError::Epoll(error)) if is_permission_denied(error.errno()) => {
                self.watch = Watch::AlwaysReady;
            }
            Err(error) => self.end = Some(InputEnd::Watch(error)),
        }
    }

    fn unwatch(&mut self, ops: &mut EventOps<'_>) {
        if self.watch == Watch::On {
            // Not only its events: a descriptor whose other side has hung up is ready for ever.
            let _ = ops.remove(Events::empty(&self.input));
            self.watch = Watch::Off;
        }
    }
}

fn is_permission_denied(errno: i32) -> bool {
    io::Error::from_raw_os_error(errno).kind() == io::ErrorKind::PermissionDenied
}

impl<R: Read + AsRawFd> MutEventSubscriber for SerialInput<R> {
    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        match &self.drained {
            Some(drained) if drained.as_raw_fd() == events.fd() => {
                // Resets the counter; it was ready, so this does not fail.
                let _ = drained.read();
            }
            _ if events.fd() == self.input.as_raw_fd() && self.watch == Watch::On => self.read(),
            _ => {
                if let Some(timer) = self.retry.as_mut().filter(|timer| timer.as_raw_fd() == events.fd()) {
                    // It was ready, so this does not block.
                    let _ = timer.wait();
                }
            }
        }
        self.go_on(ops);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        let drained = match EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK) {
            Ok(drained) => Arc::new(drained),
            Err(error) => return self.end = Some(InputEnd::Wake(error)),
        };
        if let Err(error) = ops.add(Events::new(&*drained, EventSet::IN)) {
            return self.end = Some(InputEnd::Watch(error));
        }
        self.drained = Some(drained);
        self.go_on(ops);
    }
}

#[cfg(test)]
#[path = "input_test.rs"]
mod tests;

//! Between a terminal and the guest: takes out the escapes, passes all other keys on.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;

use rustix::io::ioctl_fionbio;
use strata_vmm::event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use strata_vmm::{Control, Stop};

use crate::escape::{Escape, HELP, Key};
use crate::message::mention_below;
use crate::terminal::Stdin;

/// How much is read at once: more than anybody types, as much as a paste needs to be quick.
const CHUNK: usize = 256;

/// Reads the terminal on the event loop, and feeds the pipe that is the guest's input.
///
/// With the pipe between them the terminal is read also while the guest takes nothing: Ctrl-a x must work at a guest
/// that hangs. Only when as much has been typed as the pipe holds (64 KiB: somebody has pasted a file) does the terminal
/// wait for the guest, so that nothing is lost.
pub(crate) struct Keyboard {
    escape: Escape,
    /// Gone once the terminal is: that is the guest's end of input.
    guest: Option<PipeWriter>,
    /// Read, but more than the pipe holds.
    held: Vec<u8>,
    control: Control,
}

impl Keyboard {
    /// A keyboard, and what the guest reads of it.
    pub(crate) fn new(control: Control) -> io::Result<(Self, PipeReader)> {
        let (reader, guest) = io::pipe()?;
        ioctl_fionbio(&guest, true)?;
        let keyboard = Self { escape: Escape::default(), guest: Some(guest), held: Vec::new(), control };
        Ok((keyboard, reader))
    }

    /// Reads what was typed. `false` when nothing more will come.
    fn read(&mut self) -> bool {
        let mut typed = [0; CHUNK];
        let len = match Stdin.read(&mut typed) {
            Ok(0) => return false,
            Ok(len) => len,
            // EIO: the terminal is gone, which a SIGHUP tells as well if it was ours.
            Err(error) => return matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock),
        };
        for &byte in typed.iter().take(len) {
            match self.escape.key(byte) {
                Key::Guest(byte) => self.held.push(byte),
                Key::Leave => {
                    self.control.stop(Stop::Interrupted);
                }
                Key::Help => mention_below(HELP),
                Key::Nothing => {}
            }
        }
        true
    }

    /// Writes what the pipe takes. `false` when the guest's input has ended.
    fn pass_on(&mut self) -> bool {
        let Some(guest) = &mut self.guest else { return false };
        while !self.held.is_empty() {
            match guest.write(&self.held) {
                Ok(written) => drop(self.held.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Ends the guest's input, and no longer watches the terminal, which would be ready for ever.
    fn end(&mut self, ops: &mut EventOps<'_>) {
        let _ = ops.remove(Events::empty(&Stdin));
        if let Some(guest) = self.guest.take() {
            let _ = ops.remove(Events::empty(&guest));
        }
    }
}

impl MutEventSubscriber for Keyboard {
    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        let was_full = !self.held.is_empty();
        if events.fd() == Stdin.as_raw_fd() && !was_full && !self.read() || !self.pass_on() {
            return self.end(ops);
        }
        let Some(guest) = &self.guest else { return };
        // The terminal and the pipe take turns: one of them is watched.
        let full = !self.held.is_empty();
        let turned = match (was_full, full) {
            (false, true) => {
                ops.remove(Events::empty(&Stdin)).and_then(|()| ops.add(Events::new(guest, EventSet::OUT)))
            }
            (true, false) => {
                ops.remove(Events::empty(guest)).and_then(|()| ops.add(Events::new(&Stdin, EventSet::IN)))
            }
            _ => Ok(()),
        };
        if turned.is_err() {
            self.end(ops);
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if ops.add(Events::new(&Stdin, EventSet::IN)).is_err() {
            // A run that cannot be left is worse than none.
            self.control.stop(Stop::Interrupted);
        }
    }
}

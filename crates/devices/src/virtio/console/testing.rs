//! A host's side of a port that does what a test says.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use event_manager::{EventOps, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{HostSide, Sources};

/// A port's other end. Clones are the same.
#[derive(Debug, Clone)]
pub struct Wire {
    state: Arc<Mutex<WireState>>,
    edge: Arc<EventFd>,
}

/// How it is with a [`Wire`].
#[derive(Debug)]
pub struct WireState {
    /// Sent to the guest, not read yet.
    pub input: VecDeque<u8>,
    /// Taken from the guest.
    pub output: Vec<u8>,
    /// How many more bytes are taken.
    pub room: usize,
    /// Whether somebody is there.
    pub is_open: bool,
    /// What the next calls answer instead, reading and writing.
    pub errors: VecDeque<io::ErrorKind>,
    /// How often it was looked after.
    pub tended: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

impl Wire {
    /// One that takes everything, and is open.
    pub fn new() -> Self {
        let state = WireState {
            input: VecDeque::new(),
            output: Vec::new(),
            room: usize::MAX,
            is_open: true,
            errors: VecDeque::new(),
            tended: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), edge: Arc::new(EventFd::new(EFD_NONBLOCK).unwrap()) }
    }

    /// Changes something, and says so as a descriptor does.
    pub fn change(&self, change: impl FnOnce(&mut WireState)) {
        change(&mut self.state.lock().unwrap());
        self.edge.write(1).unwrap();
    }

    /// Sends this to the guest.
    pub fn send(&self, bytes: &[u8]) {
        self.change(|state| state.input.extend(bytes));
    }

    /// What the guest has sent since the last time.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.lock().unwrap().output)
    }

    /// How many bytes the guest has not read.
    pub fn left(&self) -> usize {
        self.state.lock().unwrap().input.len()
    }

    /// How often it was looked after.
    pub fn tended(&self) -> usize {
        self.state.lock().unwrap().tended
    }
}

impl HostSide for Wire {
    fn init(&mut self, ops: &mut EventOps<'_>, sources: Sources) {
        sources.watch(ops, &*self.edge, 1, EventSet::IN).unwrap();
    }

    fn tend(&mut self, ready: Option<u32>, _: &mut EventOps<'_>, _: Sources) {
        assert!(ready.is_none_or(|number| number == 1));
        self.state.lock().unwrap().tended += 1;
    }

    fn is_open(&self) -> bool {
        self.state.lock().unwrap().is_open
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        assert!(!into.is_empty());
        let mut state = self.state.lock().unwrap();
        if let Some(error) = state.errors.pop_front() {
            return Err(error.into());
        }
        let len = into.len().min(state.input.len());
        for (to, from) in into.iter_mut().zip(state.input.drain(..len)) {
            *to = from;
        }
        if len == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        assert!(!from.is_empty());
        let mut state = self.state.lock().unwrap();
        if let Some(error) = state.errors.pop_front() {
            return Err(error.into());
        }
        let len = from.len().min(state.room);
        state.room -= len;
        state.output.extend(from.iter().take(len));
        if len == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }
}

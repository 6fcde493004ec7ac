//! A disk in memory, for tests: it completes at once, or when the test says so, and fails when the test says so.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation, reason = "a disk in memory is no larger than memory")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};

use vm_memory::Bytes as _;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::testing::Memory;
use super::super::{Buffer, Segment};
use super::{Completion, Disk, Op, Properties};

/// What discarded ranges read as.
pub const DISCARDED: u8 = 0xdd;

/// How many operations it takes at once.
pub const DEPTH: u16 = 16;

/// A disk in memory. Clones are the same disk, for its other queues.
#[derive(Debug)]
pub struct TestDisk {
    control: Control,
    queue: Arc<Queue>,
    properties: Properties,
}

/// The test's end of a queue of a [`TestDisk`].
#[derive(Debug, Clone)]
pub struct Control(Arc<Mutex<State>>);

/// What a queue of the disk has, so that one that ends wakes its own worker.
#[derive(Debug)]
struct Queue {
    event: EventFd,
    number: usize,
}

/// What a disk was asked for, in a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Offset and length.
    Read(u64, u64),
    /// Offset, length, and whether durable.
    Write(u64, u64, bool),
    /// A flush.
    Flush,
    /// Offset and length.
    Discard(u64, u64),
    /// Offset, length, whether to unmap, whether durable.
    WriteZeroes(u64, u64, bool, bool),
}

#[derive(Debug, Default)]
struct State {
    data: Vec<u8>,
    holds: bool,
    fails: VecDeque<Option<i32>>,
    asked: Vec<Asked>,
    commits: usize,
    events: Vec<Arc<Queue>>,
    submitted: Vec<Held>,
    held: Vec<Held>,
    done: VecDeque<(usize, Completion)>,
}

/// An operation that has not been done.
#[derive(Debug)]
struct Held {
    queue: usize,
    tag: u16,
    asked: Asked,
    segments: Vec<Segment>,
    memory: Memory,
}

impl TestDisk {
    /// One that contains `data`, which can do everything.
    pub fn new(data: Vec<u8>) -> Self {
        let len = data.len() as u64;
        Self::with(
            data,
            Properties { discard_granularity: Some(4096), writes_zeros: true, ..Properties::plain(len) },
        )
    }

    /// One that contains `data` and says so of itself.
    pub fn with(data: Vec<u8>, properties: Properties) -> Self {
        let control = Control(Arc::new(Mutex::new(State { data, ..State::default() })));
        Self::queue_of(control, properties)
    }

    fn queue_of(control: Control, properties: Properties) -> Self {
        let mut state = control.state();
        let event = EventFd::new(EFD_NONBLOCK).unwrap();
        let queue = Arc::new(Queue { event, number: state.events.len() });
        state.events.push(Arc::clone(&queue));
        drop(state);
        Self { control, queue, properties }
    }

    /// For what the test does to it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }
}

impl Clone for TestDisk {
    fn clone(&self) -> Self {
        Self::queue_of(self.control.clone(), self.properties)
    }
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Has operations wait from now on until they are released, or no more.
    pub fn hold(&self, holds: bool) {
        self.state().holds = holds;
    }

    /// Has the next operations that are done end so: with this error number, or well.
    pub fn fail(&self, errors: &[Option<i32>]) {
        self.state().fails.extend(errors);
    }

    /// Has none of them fail any more.
    pub fn forgive(&self) {
        self.state().fails.clear();
    }

    /// How many are waiting.
    pub fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Does the operation that waits at this place, if one does, and wakes its worker.
    pub fn release(&self, place: usize) {
        let mut state = self.state();
        if place < state.held.len() {
            let held = state.held.remove(place);
            let queue = Arc::clone(&state.events[held.queue]);
            state.complete(&held);
            queue.event.write(1).unwrap();
        }
    }

    /// What has been asked for since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// How often something was committed, since the last time.
    pub fn commits(&self) -> usize {
        std::mem::take(&mut self.state().commits)
    }

    /// What it contains.
    pub fn data(&self) -> Vec<u8> {
        self.state().data.clone()
    }
}

impl State {
    fn complete(&mut self, held: &Held) {
        let result = if let Some(errno) = self.fails.pop_front().flatten() {
            Err(io::Error::from_raw_os_error(errno))
        } else {
            self.execute(held);
            Ok(())
        };
        self.done.push_back((held.queue, Completion { tag: held.tag, result }));
    }

    fn execute(&mut self, Held { asked, segments, memory, .. }: &Held) {
        let buffer = Buffer::new(segments);
        match *asked {
            Asked::Read(offset, len) => {
                let part = &self.data[offset as usize..(offset + len) as usize];
                assert_eq!(buffer.write(&**memory, part) as u64, len);
            }
            Asked::Write(offset, len, _) => {
                let part = &mut self.data[offset as usize..(offset + len) as usize];
                assert_eq!(buffer.read(&**memory, part) as u64, len);
            }
            Asked::Flush => {}
            Asked::Discard(offset, len) => {
                self.data[offset as usize..(offset + len) as usize].fill(DISCARDED);
            }
            Asked::WriteZeroes(offset, len, ..) => {
                self.data[offset as usize..(offset + len) as usize].fill(0);
            }
        }
    }
}

impl Disk<Memory> for TestDisk {
    fn properties(&self) -> Properties {
        self.properties
    }

    fn depth(&self) -> u16 {
        DEPTH
    }

    fn submit(&mut self, tag: u16, op: Op<'_>, memory: &Memory) {
        let (asked, buffer) = match op {
            Op::Read { offset, into } => (Asked::Read(offset, into.len()), Some(into)),
            Op::Write { offset, from, durable } => (Asked::Write(offset, from.len(), durable), Some(from)),
            Op::Flush => (Asked::Flush, None),
            Op::Discard { offset, len } => (Asked::Discard(offset, len), None),
            Op::WriteZeroes { offset, len, unmap, durable } => {
                (Asked::WriteZeroes(offset, len, unmap, durable), None)
            }
        };
        let segments: Vec<_> = buffer.map(|buffer| buffer.segments().collect()).unwrap_or_default();
        // The memory is there until the end of it.
        memory.read_slice(&mut [0], vm_memory::GuestAddress(0)).unwrap();
        let queue = self.queue.number;
        let mut state = self.control.state();
        let of_queue = |held: &&Held| held.queue == queue;
        let in_flight = state.submitted.iter().chain(&state.held);
        assert!(in_flight.clone().filter(of_queue).count() < DEPTH.into(), "more than it takes at once");
        assert!(tag < DEPTH && in_flight.filter(of_queue).all(|held| held.tag != tag), "a wrong tag");
        state.asked.push(asked);
        state.submitted.push(Held { queue, tag, asked, segments, memory: Arc::clone(memory) });
    }

    fn commit(&mut self) -> bool {
        let mut state = self.control.state();
        let queue = self.queue.number;
        let (now, others) =
            std::mem::take(&mut state.submitted).into_iter().partition(|op| op.queue == queue);
        state.submitted = others;
        let now: Vec<_> = now;
        let any = !now.is_empty();
        state.commits += usize::from(any);
        for op in now {
            if state.holds {
                state.held.push(op);
            } else {
                state.complete(&op);
            }
        }
        any
    }

    fn completed(&mut self) -> Option<Completion> {
        let mut state = self.control.state();
        let place = state.done.iter().position(|(queue, _)| *queue == self.queue.number)?;
        state.done.remove(place).map(|(_, completion)| completion)
    }

    fn source(&self) -> Option<RawFd> {
        Some(self.queue.event.as_raw_fd())
    }

    fn drain(&mut self) {
        self.commit();
        let mut state = self.control.state();
        let queue = self.queue.number;
        let (now, others) = std::mem::take(&mut state.held).into_iter().partition(|op| op.queue == queue);
        state.held = others;
        let now: Vec<_> = now;
        for op in now {
            state.complete(&op);
        }
        state.done.retain(|(of, _)| *of != queue);
    }
}

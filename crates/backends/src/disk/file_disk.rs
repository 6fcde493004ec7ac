//! One queue's way to a file.

#![allow(unsafe_code, reason = "has the kernel read and write guest memory")]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd as _, RawFd};

use libc::{c_int, iovec};
use strata_devices::virtio::block::{Completion, Disk, Op, Properties};
use strata_devices::virtio::{Buffer, Segment};
use vm_memory::bitmap::Bitmap as _;
use vm_memory::{GuestMemory, Permissions};

use super::bounce::{ALIGNMENT, Aligned, CHUNK};
use super::call::{Call, MAX_SEGMENTS, Outcome};
use super::engine::Engine;
use super::{Cache, DEPTH, Image};

const PUNCH_HOLE: c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
const ZERO_RANGE: c_int = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

/// Zeros to write where a file system cannot make them: the same page again and again.
static ZEROS: Page = Page([0; ALIGNMENT]);
/// How many of them in one call.
const ZERO_PAGES: usize = 64;

/// The most bytes that are read or written in one call: what the page cache has is copied within it, and whoever waits
/// for the device meanwhile should not wait for gigabytes.
const MOST: usize = 1 << 20;

#[repr(align(4096))]
struct Page([u8; ALIGNMENT]);

/// A disk in a file, for one queue: an [`Image`] makes it. `G` is a guard of guest memory that is mapped into this
/// process. It is `'static`, so that memory stays also where a disk is forgotten instead of dropped.
pub struct FileDisk<G> {
    properties: Properties,
    cache: Cache,
    /// What guest memory has to be aligned to for `O_DIRECT`, in bytes.
    alignment: Option<usize>,
    /// Whether the file system can be asked for zeros; until it says no.
    can_zero: bool,
    /// Before the slots, so that it is gone when their guards go.
    engine: Engine,
    slots: Box<[Slot<G>]>,
    /// What has ended without a call.
    ready: VecDeque<Completion>,
}

// SAFETY: what keeps it from being sent by itself are the addresses in `Slot::vector`. They are of memory that `guard`
// keeps, which can be sent, or that is static, or of a buffer in the slot; none belongs to a thread.
unsafe impl<G: Send> Send for FileDisk<G> {}

impl<G> fmt::Debug for FileDisk<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDisk").field("properties", &self.properties).finish_non_exhaustive()
    }
}

/// An operation in flight.
struct Slot<G> {
    task: Task,
    /// While the kernel may read or write guest memory. Addresses in `vector` are of the memory that this very guard
    /// leads to; it is not moved meanwhile.
    guard: Option<G>,
    /// What of it is to be read or written.
    segments: Vec<Segment>,
    /// The same for the kernel: what is still to be done.
    vector: Vec<iovec>,
    /// For `O_DIRECT`, if guest memory is not aligned.
    bounce: Option<Aligned>,
    /// Whether the vector is of that.
    is_aside: bool,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Idle,
    Read(Transfer),
    Write(Transfer),
    /// As a write, but of zeros.
    Zeros(Transfer),
    Sync,
    Discard(Transfer),
    /// Zeros by the file system, which may not be able to.
    Allocate(Transfer, c_int),
}

/// A range of the disk that is read or written, perhaps in several calls.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    offset: u64,
    len: u64,
    done: u64,
    durable: bool,
}

impl Transfer {
    fn at(&self) -> u64 {
        self.offset + self.done
    }

    fn left(&self) -> u64 {
        self.len - self.done
    }
}

impl<G> Slot<G> {
    fn new() -> Self {
        Self {
            task: Task::Idle,
            guard: None,
            segments: Vec::new(),
            vector: Vec::new(),
            bounce: None,
            is_aside: false,
        }
    }

    /// When it has ended: only what can be used again stays.
    fn clear(&mut self) {
        self.task = Task::Idle;
        self.guard = None;
        self.bounce = None;
    }
}

impl<G: Deref<Target: GuestMemory + Sized> + Clone> Slot<G> {
    /// Takes over what is to be transferred.
    fn take(&mut self, buffer: Buffer<'_>, memory: &G) {
        self.segments.clear();
        self.segments.extend(buffer.segments());
        self.guard = Some(memory.clone());
    }

    /// Fills the vector with what is not done, as much as one call takes.
    fn aim(&mut self, transfer: &Transfer, access: Permissions, alignment: Option<usize>) {
        self.vector.clear();
        self.is_aside = false;
        let Some(memory) = self.guard.as_ref() else { return };
        let mut rest = Buffer::new(&self.segments);
        if transfer.done > 0 {
            rest = rest.split_at(transfer.done).1;
        }
        let mut left = MOST;
        for slice in rest.slices(&**memory, access) {
            let (start, len) = (slice.ptr_guard_mut().as_ptr(), slice.len().min(left));
            left -= len;
            if len == 0 {
                break;
            }
            if let Some(last) = self.vector.last_mut()
                && last.iov_base.addr() + last.iov_len == start.addr()
            {
                last.iov_len += len;
            } else if self.vector.len() < MAX_SEGMENTS {
                self.vector.push(iovec { iov_base: start.cast(), iov_len: len });
            } else {
                break;
            }
        }
        if let Some(alignment) = alignment
            && self.vector.iter().any(|part| !(part.iov_base.addr() | part.iov_len).is_multiple_of(alignment))
        {
            self.aim_aside(transfer, access);
        }
    }

    /// Fills it with a buffer that is aligned instead.
    fn aim_aside(&mut self, transfer: &Transfer, access: Permissions) {
        let Some(memory) = self.guard.as_ref() else { return };
        self.is_aside = true;
        let rest = Buffer::new(&self.segments).split_at(transfer.done).1;
        let len = usize::try_from(transfer.left()).unwrap_or(CHUNK).min(CHUNK);
        let bounce = self.bounce.get_or_insert_with(|| Aligned::new(CHUNK));
        let bytes = bounce.bytes().get_mut(..len).unwrap_or_default();
        if matches!(access, Permissions::Read) {
            rest.read(&**memory, bytes);
        }
        self.vector.clear();
        self.vector.push(iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() });
    }

    /// So much has been read: it is copied to where it belongs, or that is marked as written.
    fn landed(&mut self, transfer: &Transfer, count: u64) {
        let Some(memory) = self.guard.as_ref() else { return };
        // Not more is looked up than has to be: nearly every read ends here, at once, and in one piece.
        if let ([segment], false) = (&*self.segments, self.is_aside)
            && u64::from(segment.len) == count
        {
            return mark(&**memory, *segment);
        }
        let part = Buffer::new(&self.segments).split_at(transfer.done).1.split_at(count).0;
        if let Some(bounce) = self.bounce.as_mut().filter(|_| self.is_aside) {
            let count = usize::try_from(count).unwrap_or(CHUNK);
            part.write(&**memory, bounce.bytes().get(..count).unwrap_or_default());
        } else {
            part.segments().for_each(|segment| mark(&**memory, segment));
        }
    }
}

/// Notes that this was written.
fn mark<M: GuestMemory>(memory: &M, Segment { addr, len }: Segment) {
    if let Ok(slices) = memory.get_slices(addr, len as usize, Permissions::Write) {
        slices.map_while(Result::ok).for_each(|slice| slice.bitmap().mark_dirty(0, slice.len()));
    }
}

impl<G: 'static> FileDisk<G> {
    pub(super) fn new(image: &Image) -> io::Result<Self> {
        Ok(Self {
            properties: image.properties(),
            cache: image.cache,
            alignment: image.is_direct.then_some(image.properties().block_size as usize),
            can_zero: true,
            engine: Engine::new(image)?,
            slots: (0..DEPTH).map(|_| Slot::new()).collect(),
            ready: VecDeque::with_capacity(DEPTH.into()),
        })
    }

    fn is_misaligned(&self, Transfer { offset, len, .. }: &Transfer) -> bool {
        self.alignment.is_some() && !(offset | len).is_multiple_of(self.properties.block_size.into())
    }
}

impl<G: Deref<Target: GuestMemory + Sized> + Clone + 'static> FileDisk<G> {
    /// Has the kernel do what a slot's task is, from where it stands.
    fn start(&mut self, tag: u16) {
        let Some(slot) = self.slots.get_mut(usize::from(tag)) else { return };
        let count = |vector: &Vec<iovec>| u32::try_from(vector.len()).unwrap_or(0);
        let call = match slot.task {
            Task::Read(transfer) => {
                slot.aim(&transfer, Permissions::Write, self.alignment);
                let (segments, count) = (slot.vector.as_ptr(), count(&slot.vector));
                Call::Read { segments, count, offset: transfer.at() }
            }
            Task::Write(transfer) => {
                slot.aim(&transfer, Permissions::Read, self.alignment);
                let (segments, count) = (slot.vector.as_ptr(), count(&slot.vector));
                Call::Write { segments, count, offset: transfer.at(), durable: transfer.durable }
            }
            Task::Zeros(transfer) => {
                slot.vector.clear();
                slot.vector.extend(zeros(transfer.left()));
                let (segments, count) = (slot.vector.as_ptr(), count(&slot.vector));
                Call::Write { segments, count, offset: transfer.at(), durable: transfer.durable }
            }
            Task::Sync => Call::Sync,
            Task::Discard(Transfer { offset, len, .. }) => Call::Allocate { mode: PUNCH_HOLE, offset, len },
            Task::Allocate(Transfer { offset, len, .. }, mode) => Call::Allocate { mode, offset, len },
            Task::Idle => return,
        };
        // SAFETY: `slot.vector` names memory of `slot.guard`, of `slot.bounce` or `ZEROS`. None of the four is touched until
        // the call has been taken from the engine: `submit` is given only tags of slots that are idle; everything else that
        // changes a slot comes after `pop`. When this is dropped, the engine is drained before anything is freed; when it is
        // forgotten, so are the guards, which borrow nothing. Guest memory and buffers may be written, and zeros are only read.
        unsafe { self.engine.push(tag, call) }
    }

    /// What comes of a call: the end of the slot's operation, or `None` if there is more to do for it.
    fn advance(&mut self, tag: u16, outcome: Outcome) -> Option<io::Result<()>> {
        let slot = self.slots.get_mut(usize::from(tag))?;
        let count = match u64::try_from(outcome) {
            Ok(count) => count,
            // It was not even begun.
            Err(_) if matches!(-outcome, libc::EINTR | libc::EAGAIN) => {
                self.start(tag);
                return None;
            }
            Err(_) => return self.failed(tag, io::Error::from_raw_os_error(-outcome)),
        };
        match &mut slot.task {
            Task::Read(transfer) => {
                let before = *transfer;
                transfer.done += count.min(before.left());
                let is_whole = transfer.left() == 0;
                slot.landed(&before, count.min(before.left()));
                match (count, is_whole) {
                    // The file has become shorter than it was when it was opened.
                    (0, _) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
                    (_, true) => return Some(Ok(())),
                    _ => {}
                }
            }
            Task::Write(transfer) | Task::Zeros(transfer) => {
                transfer.done += count.min(transfer.left());
                match (count, transfer.left()) {
                    (0, _) => return Some(Err(io::ErrorKind::WriteZero.into())),
                    (_, 0) => return Some(Ok(())),
                    _ => {}
                }
            }
            Task::Allocate(Transfer { durable: true, .. }, _) => slot.task = Task::Sync,
            Task::Allocate(..) | Task::Sync | Task::Discard(_) | Task::Idle => return Some(Ok(())),
        }
        self.start(tag);
        None
    }

    fn failed(&mut self, tag: u16, error: io::Error) -> Option<io::Result<()>> {
        let slot = self.slots.get_mut(usize::from(tag))?;
        let is_unsupported = error.kind() == io::ErrorKind::Unsupported;
        match slot.task {
            // It is a hint.
            Task::Discard(_) if is_unsupported => Some(Ok(())),
            // Zeros are not.
            Task::Allocate(transfer, _) if is_unsupported => {
                self.can_zero = false;
                slot.task = Task::Zeros(transfer);
                self.start(tag);
                None
            }
            _ => Some(Err(error)),
        }
    }

    /// The next operation that has ended.
    fn next(&mut self) -> Option<Completion> {
        if let Some(completion) = self.ready.pop_front() {
            return Some(completion);
        }
        while let Some((tag, outcome)) = self.engine.pop() {
            if let Some(result) = self.advance(tag, outcome) {
                if let Some(slot) = self.slots.get_mut(usize::from(tag)) {
                    slot.clear();
                }
                return Some(Completion { tag, result });
            }
        }
        None
    }

    /// What is to be done for an operation; a result if nothing is.
    fn task(&mut self, tag: u16, op: Op<'_>, memory: &G) -> Result<Task, io::Result<()>> {
        let slot = self.slots.get_mut(usize::from(tag)).ok_or(Err(io::ErrorKind::InvalidInput.into()))?;
        let is_durable = |asked| match self.cache {
            Cache::Writeback => asked,
            Cache::Writethrough => true,
            Cache::Unsafe => false,
        };
        let transfer = |offset, len, durable| Transfer { offset, len, done: 0, durable: is_durable(durable) };
        let task = match op {
            Op::Read { offset, into } => {
                slot.take(into, memory);
                Task::Read(transfer(offset, into.len(), false))
            }
            Op::Write { offset, from, durable } => {
                slot.take(from, memory);
                Task::Write(transfer(offset, from.len(), durable))
            }
            Op::Flush if self.cache == Cache::Unsafe => return Err(Ok(())),
            Op::Flush => Task::Sync,
            Op::Discard { offset, len } => Task::Discard(transfer(offset, len, false)),
            Op::WriteZeroes { offset, len, unmap, durable } => {
                let transfer = transfer(offset, len, durable);
                let mode = if unmap { PUNCH_HOLE } else { ZERO_RANGE };
                if self.can_zero { Task::Allocate(transfer, mode) } else { Task::Zeros(transfer) }
            }
        };
        match &task {
            Task::Read(transfer) | Task::Write(transfer) | Task::Zeros(transfer)
                if self.is_misaligned(transfer) =>
            {
                // As a disk with such blocks has it.
                Err(Err(io::ErrorKind::InvalidInput.into()))
            }
            _ => Ok(task),
        }
    }
}

impl<G: Deref<Target: GuestMemory + Sized> + Clone + Send + 'static> Disk<G> for FileDisk<G> {
    fn properties(&self) -> Properties {
        self.properties
    }

    fn depth(&self) -> u16 {
        DEPTH
    }

    fn submit(&mut self, tag: u16, op: Op<'_>, memory: &G) {
        // Whoever gives a tag twice hears of an error and does no harm.
        let is_idle = self.slots.get(usize::from(tag)).is_some_and(|slot| matches!(slot.task, Task::Idle));
        let task = if is_idle { self.task(tag, op, memory) } else { return };
        match (task, self.slots.get_mut(usize::from(tag))) {
            (Ok(task), Some(slot)) => {
                slot.task = task;
                self.start(tag);
            }
            (Err(result), slot) => {
                slot.into_iter().for_each(Slot::clear);
                self.ready.push_back(Completion { tag, result });
            }
            (Ok(_), None) => {}
        }
    }

    fn commit(&mut self) -> bool {
        self.engine.commit() || !self.ready.is_empty()
    }

    fn completed(&mut self) -> Option<Completion> {
        self.next()
    }

    fn source(&self) -> Option<RawFd> {
        Some(self.engine.as_raw_fd())
    }

    fn drain(&mut self) {
        while self.engine.in_flight() > 0 {
            self.engine.wait();
            while let Some((tag, outcome)) = self.engine.pop() {
                // What was read is in guest memory, whether or not anybody waits for it.
                if let (Some(slot), Ok(count)) = (self.slots.get_mut(usize::from(tag)), outcome.try_into())
                    && let Task::Read(transfer) = slot.task
                {
                    slot.landed(&transfer, count);
                }
            }
        }
        self.ready.clear();
        self.slots.iter_mut().for_each(Slot::clear);
    }
}

impl<G> Drop for FileDisk<G> {
    fn drop(&mut self) {
        while self.engine.in_flight() > 0 {
            self.engine.wait();
            while self.engine.pop().is_some() {}
        }
    }
}

/// So many zeros, or as many as one call takes.
fn zeros(count: u64) -> impl Iterator<Item = iovec> {
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    std::iter::repeat_with(move || {
        let len = left.min(ALIGNMENT);
        left -= len;
        iovec { iov_base: ZEROS.0.as_ptr().cast_mut().cast(), iov_len: len }
    })
    .take(ZERO_PAGES)
    .take_while(|part| part.iov_len > 0)
}

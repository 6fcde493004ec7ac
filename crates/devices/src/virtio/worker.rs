//! Who moves the data.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::Doorbell;

/// Why a worker is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// Somebody has [called](Post::call): the device was activated, or something else that it knows of.
    Called,
    /// One of its doorbells rang, by its place among them.
    Doorbell(usize),
    /// A descriptor of its own is ready, by the number that it was registered with.
    Source(u32),
}

/// What moves a device's data, on an event loop.
///
/// Everything is watched for edges (`EPOLLET`), so that nothing that is ready and not wanted (a packet that there
/// is no buffer for) wakes anybody twice. So a worker that is woken goes on until there is no more to do, or rings
/// its own doorbell.
///
/// It never waits: what blocks belongs on a thread of its own, or to the kernel.
pub trait Worker: Send {
    /// An event loop has taken it: registers what it watches besides its doorbells with [`watch`].
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let _ = ops;
    }

    /// Does what there is to do.
    fn wake(&mut self, why: Wakeup, ops: &mut EventOps<'_>);
}

/// A worker's place: shared by the event loop that runs it and the device that it works for.
#[derive(Debug)]
pub struct Post<W> {
    worker: Arc<Mutex<W>>,
    bell: Arc<EventFd>,
}

impl<W> Clone for Post<W> {
    fn clone(&self) -> Self {
        Self { worker: Arc::clone(&self.worker), bell: Arc::clone(&self.bell) }
    }
}

/// Events' numbers: those of sources as they are, doorbells and the call behind them.
const CALL: u32 = u32::MAX;
const FIRST_DOORBELL: u32 = 1 << 31;

impl<W: Worker + 'static> Post<W> {
    /// # Errors
    ///
    /// What `eventfd(2)` answered.
    pub fn new(worker: W) -> io::Result<Self> {
        let bell = Arc::new(EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?);
        Ok(Self { worker: Arc::new(Mutex::new(worker)), bell })
    }

    /// The worker, once it is not at work.
    pub fn lock(&self) -> MutexGuard<'_, W> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes it with [`Wakeup::Called`].
    pub fn call(&self) {
        let _ = self.bell.write(1);
    }

    /// What an event loop takes to run it, with these doorbells.
    pub fn subscriber(&self, doorbells: &[Doorbell]) -> Box<dyn MutEventSubscriber + Send> {
        Box::new(Subscriber { post: self.clone(), doorbells: doorbells.to_vec() })
    }
}

/// Watches a descriptor for edges, under a number below 2^31; for [`Worker::init`] and [`Worker::wake`]. Says in the
/// log if that cannot be had.
pub fn watch(ops: &mut EventOps<'_>, source: &impl AsRawFd, number: u32, set: EventSet) {
    let set = set | EventSet::EDGE_TRIGGERED;
    if let Err(error) = ops.add(Events::with_data(source, number, set)) {
        log::error!("cannot watch a device's descriptor: {error}");
    }
}

struct Subscriber<W> {
    post: Post<W>,
    doorbells: Vec<Doorbell>,
}

impl<W: Worker + 'static> MutEventSubscriber for Subscriber<W> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        watch(ops, &*self.post.bell, CALL, EventSet::IN);
        for (number, doorbell) in (FIRST_DOORBELL..CALL).zip(&self.doorbells) {
            watch(ops, doorbell, number, EventSet::IN);
        }
        self.post.lock().init(ops);
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        let why = match events.data() {
            CALL => Wakeup::Called,
            number @ FIRST_DOORBELL.. => Wakeup::Doorbell((number - FIRST_DOORBELL) as usize),
            number => Wakeup::Source(number),
        };
        self.post.lock().wake(why, ops);
    }
}

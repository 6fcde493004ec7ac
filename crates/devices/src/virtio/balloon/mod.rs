//! Memory that the guest gives back to the host (Virtio 1.2, 5.5).
//!
//! | feature | what |
//! | --- | --- |
//! | `STATS_VQ` | the guest says how its memory is used: [`BalloonControl::stats`] |
//! | `DEFLATE_ON_OOM` | the guest takes pages back by itself before it kills a process |
//! | `PAGE_REPORTING` | the guest tells of pages that are free, which the host has until they are used again |
//!
//! `MUST_TELL_HOST` is not needed: a page that was given up may be touched at any time, and is there again.
//! `PAGE_POISON` is not offered, so a guest that fills its free pages with a pattern does not report them; nor is
//! `FREE_PAGE_HINT`, which serves migration.

mod control;
mod run;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use event_manager::MutEventSubscriber;
use vm_memory::{GuestAddress, GuestAddressSpace};

use super::device::read_bytes;
use super::{Activation, Doorbell, Post, VirtioDevice};

use control::Shared;
pub use control::{BalloonControl, BalloonStats};
use worker::Reclaimer;

/// The size in bytes of what a balloon counts in: its "pages", whatever the guest's are (5.5.6).
pub const PAGE_SIZE: u64 = 4096;

/// Feature bits (5.5.3).
mod feature {
    pub(super) const STATS_VQ: u64 = 1 << 1;
    pub(super) const DEFLATE_ON_OOM: u64 = 1 << 2;
    pub(super) const PAGE_REPORTING: u64 = 1 << 5;
}

/// Inflate, deflate, statistics, free-page hints, free-page reports (5.5.2).
const QUEUES: usize = 5;

/// How RAM is given back to the host. A function of the same arguments is one.
pub trait Reclaim: Send {
    /// Gives back what backs `len` bytes from `start` on, which the guest has given up; both are multiples of
    /// [`PAGE_SIZE`]. When the guest touches them again they hold anything that it has seen before, or zeros. Ranges are
    /// the guest's word: they may lie anywhere, and may have been given back before.
    ///
    /// # Errors
    ///
    /// They could not be given back, which does the guest no harm. The log tells of it once.
    fn release(&self, start: GuestAddress, len: u64) -> io::Result<()>;
}

impl<F: Fn(GuestAddress, u64) -> io::Result<()> + Send> Reclaim for F {
    fn release(&self, start: GuestAddress, len: u64) -> io::Result<()> {
        self(start, len)
    }
}

/// A memory balloon: the host says by a [`BalloonControl`] how much it wants to have, and what the guest gives up is
/// [released](Reclaim).
///
/// ```
/// use strata_devices::virtio::balloon::Balloon;
/// use strata_devices::virtio::vm_memory::{GuestAddress, GuestMemoryMmap};
///
/// let release = |start: GuestAddress, len: u64| {
///     println!("the host has {len} bytes at {:#x} again", start.0);
///     Ok(())
/// };
/// let balloon = Balloon::<_, std::sync::Arc<GuestMemoryMmap>>::new(release)?;
/// let control = balloon.control();
/// control.set_target(64 << 20);
/// assert_eq!((control.target(), control.actual()), (64 << 20, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Balloon<R, M> {
    post: Post<Reclaimer<R, M>>,
    doorbells: Vec<Doorbell>,
    shared: Arc<Shared>,
    /// Rung by those who control it.
    bell: Doorbell,
}

impl<R, M> fmt::Debug for Balloon<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balloon").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl<R: Reclaim + 'static, M: GuestAddressSpace + Send + 'static> Balloon<R, M> {
    /// An empty balloon.
    ///
    /// # Errors
    ///
    /// What `eventfd(2)` answered.
    pub fn new(reclaim: R) -> io::Result<Self> {
        let doorbells = Doorbell::several(QUEUES)?;
        let shared = Arc::new(Shared::default());
        let post = Post::new(Reclaimer::new(reclaim, Arc::clone(&shared), doorbells.clone()))?;
        Ok(Self { post, doorbells, shared, bell: Doorbell::new()? })
    }

    /// What the host controls it by; it works from any thread, before the guest runs, while it does, and afterwards.
    pub fn control(&self) -> BalloonControl {
        BalloonControl::new(Arc::clone(&self.shared), self.bell.clone())
    }

    /// What does its work, for an event loop.
    pub fn worker(&self) -> Box<dyn MutEventSubscriber + Send> {
        let mut bells = self.doorbells.clone();
        bells.push(self.bell.clone());
        self.post.subscriber(&bells)
    }
}

impl<R: Reclaim + 'static, M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for Balloon<R, M> {
    fn id(&self) -> u32 {
        5
    }

    fn features(&self) -> u64 {
        feature::STATS_VQ | feature::DEFLATE_ON_OOM | feature::PAGE_REPORTING
    }

    fn doorbells(&self) -> &[Doorbell] {
        &self.doorbells
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut space = [0; 8];
        let fields = [&self.shared.num_pages, &self.shared.actual];
        for (bytes, field) in space.chunks_exact_mut(4).zip(fields) {
            bytes.copy_from_slice(&field.load(Ordering::Relaxed).to_le_bytes());
        }
        read_bytes(&space, offset, data);
    }

    /// Of the configuration `actual` is the driver's (5.5.4).
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        const ACTUAL: u64 = 4;
        let mut actual = self.shared.actual.load(Ordering::Relaxed).to_le_bytes();
        for (at, byte) in (0..).zip(data) {
            let place = offset.checked_add(at).and_then(|at| at.checked_sub(ACTUAL));
            let place = place.and_then(|place| usize::try_from(place).ok());
            if let Some(to) = place.and_then(|place| actual.get_mut(place)) {
                *to = *byte;
            }
        }
        self.shared.actual.store(u32::from_le_bytes(actual), Ordering::Relaxed);
    }

    fn activate(&mut self, activation: Activation<M>) {
        self.post.lock().activate(activation);
        self.post.call();
    }

    /// The guest has all of its memory again, and what it said of it is of the past.
    fn reset(&mut self) {
        self.post.lock().deactivate();
        self.shared.reset();
    }
}

#[cfg(test)]
#[path = "balloon_test.rs"]
mod tests;

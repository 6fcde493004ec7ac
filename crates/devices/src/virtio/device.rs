//! What a device is to a transport.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use vm_memory::GuestAddressSpace;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{Interrupt, Virtqueue};

/// What the driver rings when it has put something into a queue: an eventfd. Clones are the same.
///
/// A hypervisor can ring it by itself (`KVM_IOEVENTFD`); otherwise the transport's register does. Nobody ever
/// reads it: it is watched for edges, of which each write makes one.
#[derive(Debug, Clone)]
pub struct Doorbell(Arc<EventFd>);

impl Doorbell {
    /// # Errors
    ///
    /// What `eventfd(2)` answered: the process or the system has no more descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?)))
    }

    /// As many as there are queues.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn several(count: usize) -> io::Result<Vec<Self>> {
        (0..count).map(|_| Self::new()).collect()
    }

    /// Rings. A worker does so itself when it stops with work left.
    pub fn ring(&self) {
        // It fails only when 2^64 - 2 rings have not been heard, and then there is an edge to come anyway.
        let _ = self.0.write(1);
    }

    /// The eventfd.
    pub fn event(&self) -> &EventFd {
        &self.0
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What a device works with from `DRIVER_OK` to the next reset.
#[derive(Debug)]
pub struct Activation<M> {
    /// The guest's memory.
    pub memory: M,
    /// The features that were negotiated, the ring's among them.
    pub features: u64,
    /// The device's queues by number; `None` for one that the driver has not set up.
    pub queues: Vec<Option<Virtqueue>>,
    /// How the driver hears of it.
    pub interrupt: Interrupt,
}

impl<M> Activation<M> {
    /// Whether a feature (its mask) was negotiated.
    pub fn has(&self, feature: u64) -> bool {
        self.features & feature == feature
    }
}

/// What a transport asks of a device. Calls come one at a time, on the vCPUs' threads.
pub trait VirtioDevice<M: GuestAddressSpace>: Send {
    /// The device ID (Virtio 1.2, 5).
    fn id(&self) -> u32;

    /// The device's own features, those of the ring ([`feature::OF_RING`](super::feature::OF_RING)) not among
    /// them.
    fn features(&self) -> u64;

    /// The largest size of its queues: a power of two up to 32,768.
    fn queue_max_size(&self) -> u16 {
        256
    }

    /// A doorbell for each of its queues, always the same.
    fn doorbells(&self) -> &[Doorbell];

    /// The driver reads the configuration space, all of `data`; what is beyond its end reads as 0.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// The driver writes to it.
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let _ = (offset, data);
    }

    /// The driver is ready: work begins.
    fn activate(&mut self, activation: Activation<M>);

    /// The driver resets the device. When this returns, nothing reads or writes guest memory on the device's
    /// behalf any more, the kernel included, and a new [`activate`](Self::activate) may come.
    ///
    /// Also called when it was not active.
    fn reset(&mut self);
}

impl<M: GuestAddressSpace, T: VirtioDevice<M> + ?Sized> VirtioDevice<M> for Box<T> {
    fn id(&self) -> u32 {
        (**self).id()
    }

    fn features(&self) -> u64 {
        (**self).features()
    }

    fn queue_max_size(&self) -> u16 {
        (**self).queue_max_size()
    }

    fn doorbells(&self) -> &[Doorbell] {
        (**self).doorbells()
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        (**self).read_config(offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        (**self).write_config(offset, data);
    }

    fn activate(&mut self, activation: Activation<M>) {
        (**self).activate(activation);
    }

    fn reset(&mut self) {
        (**self).reset();
    }
}

/// Copies the part of a configuration space that a driver reads, and zeros where there is no more of it.
pub(super) fn read_bytes(space: &[u8], offset: u64, data: &mut [u8]) {
    let from = usize::try_from(offset).ok().and_then(|offset| space.get(offset..)).unwrap_or_default();
    data.fill(0);
    for (to, from) in data.iter_mut().zip(from) {
        *to = *from;
    }
}

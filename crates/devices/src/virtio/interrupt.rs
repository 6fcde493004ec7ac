//! How a device is heard.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// How a transport delivers interrupts. Virtio-mmio has one line for all; with MSI-X each queue has a message.
pub trait InterruptSink: Send + Sync {
    /// The device has used buffers of this queue.
    fn used_buffers(&self, queue: u16);

    /// The device's configuration has changed, or its status has.
    fn configuration_changed(&self);
}

/// A device's way to its driver. Clones are the same.
#[derive(Clone)]
pub struct Interrupt(Arc<Shared>);

struct Shared {
    sink: Arc<dyn InterruptSink>,
    needs_reset: AtomicBool,
    /// The configuration's generation (Virtio 1.2, 2.5.1): a driver that reads it in parts compares this.
    generation: AtomicU32,
    /// How much more may be said of the driver in the log.
    complaints: AtomicU8,
}

/// How often the log is told of what a driver does wrong. A reset does not bring more: drivers could fill a disk with it.
const COMPLAINTS: u8 = 16;

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("needs_reset", &self.needs_reset()).finish_non_exhaustive()
    }
}

impl Interrupt {
    /// A device's, which leads to this sink.
    pub fn new(sink: Arc<dyn InterruptSink>) -> Self {
        Self(Arc::new(Shared {
            sink,
            needs_reset: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            complaints: AtomicU8::new(COMPLAINTS),
        }))
    }

    /// The device has used buffers of this queue. [`Virtqueue::signal`](super::Virtqueue::signal) calls this where the driver
    /// wants to hear of it.
    pub fn used_buffers(&self, queue: u16) {
        self.0.sink.used_buffers(queue);
    }

    /// The configuration space reads differently from now on.
    pub fn configuration_changed(&self) {
        // Seen by whoever sees the change: reading registers is ordered by the transport's lock.
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        self.0.sink.configuration_changed();
    }

    /// The device cannot go on (`DEVICE_NEEDS_RESET`; Virtio 1.2, 2.1.2). The driver hears of it once.
    pub fn set_needs_reset(&self) {
        if !self.0.needs_reset.swap(true, Ordering::AcqRel) {
            self.0.sink.configuration_changed();
        }
    }

    /// Says in the log what the driver has done wrong, unless that was said often enough.
    pub(super) fn complain(&self, what: &dyn fmt::Display) {
        let left =
            self.0.complaints.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        match left {
            Ok(1) => log::warn!("the guest's driver {what}; what else it does wrong is not told of"),
            Ok(_) => log::warn!("the guest's driver {what}"),
            Err(_) => {}
        }
    }

    /// Whether it waits for a reset.
    pub fn needs_reset(&self) -> bool {
        self.0.needs_reset.load(Ordering::Acquire)
    }

    pub(super) fn reset(&self) {
        self.0.needs_reset.store(false, Ordering::Release);
    }

    pub(super) fn generation(&self) -> u32 {
        self.0.generation.load(Ordering::Acquire)
    }
}

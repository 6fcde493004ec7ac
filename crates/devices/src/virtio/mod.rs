//! Virtio devices, and what they share: rings, negotiation, a transport.
//!
//! A device is three things that know little of each other:
//!
//! - a **transport**, [`VirtioMmio`], through whose registers the driver negotiates. It is a
//!   [`Device`](crate::Device) for a bus;
//! - a **device**, which implements [`VirtioDevice`]: which features and queues there are, what its
//!   configuration space says, and what begins and ends with [`activate`](VirtioDevice::activate) and
//!   [`reset`](VirtioDevice::reset);
//! - its **workers**, which move the data: [`Worker`]s on an event loop of rust-vmm's `event-manager`, which
//!   the VMM runs on any thread it likes.
//!
//! | device | ID | what |
//! | --- | --- | --- |
//! | [`block`] | 2 | disks |
//! | [`block`] | 2 | disks |
//! | [`rng`] | 4 | entropy |
//! | [`vsock`] | 19 | stream sockets between the guest and the host |
//!
//! # What a guest can do to a device, and what the device does then
//!
//! Everything a driver writes into a ring is checked by [`Virtqueue::pop`] before a device sees it: an index
//! that runs too far or backwards, a descriptor outside of RAM, a loop, an indirect table in an indirect table,
//! a chain longer than its ring or with its parts in the wrong order. Such a ring is not used again before a
//! reset: the device sets `DEVICE_NEEDS_RESET` and interrupts (Virtio 1.2, 2.1.2). What is wrong only in the
//! request is answered as the device's own section says.
//!
//! Notifications are edges of eventfds, so that any number of them is one. A worker serves at most one ring's
//! worth of requests at a time and then lets the others have their turn.

pub mod block;
mod buffer;
mod common;
mod device;
mod interrupt;
mod mmio;
mod queue;
pub mod rate;
pub mod rng;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vsock;
mod worker;

pub use buffer::{Buffer, Chain, Segment};
pub use device::{Activation, Doorbell, VirtioDevice};
pub use interrupt::{Interrupt, InterruptSink};
pub use mmio::VirtioMmio;
pub use queue::Virtqueue;
pub use worker::{Post, Wakeup, Worker, watch};

pub use vm_memory;

/// Features that belong to the ring and not to a device (Virtio 1.2, 6). All are offered, by every device.
pub mod feature {
    /// A descriptor may name a table of descriptors (2.7.5.3).
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Each side says from which index on it wants to hear of the other (2.7.7, 2.7.10).
    pub const EVENT_IDX: u64 = 1 << 29;
    /// The device is as Virtio 1 says, without which no driver is served.
    pub const VERSION_1: u64 = 1 << 32;

    /// All of them.
    pub const OF_RING: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1;
}

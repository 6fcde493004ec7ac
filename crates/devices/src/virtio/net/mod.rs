//! A network card (Virtio 1.2, 5.1).
//!
//! [`Net`] is the device; what it sends to and receives from is a [`NetBackend`] for each pair of queues. A pair has a
//! worker, so each can have a thread of its own.
//!
//! # How packets get into memory
//!
//! The device keeps the buffers that it has taken from the receive queue until a packet has been put there. It does not
//! know how long the next packet will be: it offers room for what recent packets were like, and a spare buffer of its
//! own behind that, in one call. So a small packet needs one buffer of the guest's, a large one is copied only
//! where large ones have not been seen for some time, and one for which the guest has not enough buffers waits
//! for them.
//!
//! # What becomes of packets that cannot pass
//!
//! | packet | |
//! | --- | --- |
//! | to the guest, which has no buffers | waits with the host, which drops what is too much |
//! | to the guest, longer than its buffer, which cannot be merged with others | dropped, counted |
//! | from the guest, the host is not ready | waits in its queue |
//! | from the guest, refused by the host, or shorter than the header | dropped, counted |
//! | any, after the link is lost | dropped; the guest sees that its link is down |

mod backend;
mod control;
mod device;
mod mac;
mod pair;
mod receive;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transmit;

pub use backend::{LinkError, NetBackend};
pub use device::{Net, NetConfig, NetError};
pub use mac::{Mac, MacError};
pub use pair::Counts;

/// Size of the header before each packet, in bytes: `virtio_net_hdr_v1` (5.1.6).
pub const HEADER: usize = 12;

/// The longest packet: the header, Ethernet's with a VLAN tag, and what IP can count.
pub const LONGEST: usize = HEADER + 18 + 65_535;

/// A packet of 1,500 bytes with Ethernet's header and the device's: what a buffer must have room for if no packet is
/// larger (5.1.6.3.1).
const USUAL: u64 = 1_526;

/// Features of the device (5.1.3), as masks.
pub mod feature {
    /// The device takes packets with a checksum to be filled in.
    pub const CSUM: u64 = 1 << 0;
    /// So does the driver.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// The device says which MTU to use.
    pub const MTU: u64 = 1 << 3;
    /// The device has an address.
    pub const MAC: u64 = 1 << 5;
    /// The driver takes TCP segments over IPv4 to be cut.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// The same over IPv6.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// The same with congestion notification.
    pub const GUEST_ECN: u64 = 1 << 9;
    /// The driver takes UDP datagrams to be cut.
    pub const GUEST_UFO: u64 = 1 << 10;
    /// The device takes TCP segments over IPv4 to be cut.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// The same over IPv6.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// The same with congestion notification.
    pub const HOST_ECN: u64 = 1 << 13;
    /// The device takes UDP datagrams to be cut.
    pub const HOST_UFO: u64 = 1 << 14;
    /// A packet may lie in several buffers of the receive queue.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// The device says whether the link is up.
    pub const STATUS: u64 = 1 << 16;
    /// There is a control queue.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// There are several pairs of queues.
    pub const MQ: u64 = 1 << 22;

    /// Offloads of the driver's: what packets to it may need.
    pub const GUEST_OFFLOADS: u64 = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_UFO;
    /// Offloads of the device's: what packets from the driver may need.
    pub const HOST_OFFLOADS: u64 = CSUM | HOST_TSO4 | HOST_TSO6 | HOST_ECN | HOST_UFO;
    /// Those that depend on the back end.
    pub const OFFLOADS: u64 = GUEST_OFFLOADS | HOST_OFFLOADS;

    /// These without those that need others that are missing (5.1.3.1).
    pub(super) fn with_all_they_need(mut features: u64) -> u64 {
        let needs = [
            (GUEST_TSO4 | GUEST_TSO6 | GUEST_UFO, GUEST_CSUM),
            (GUEST_ECN, GUEST_TSO4 | GUEST_TSO6),
            (HOST_TSO4 | HOST_TSO6 | HOST_UFO, CSUM),
            (HOST_ECN, HOST_TSO4 | HOST_TSO6),
            (MQ, CTRL_VQ),
        ];
        for (these, any_of) in needs {
            if features & any_of == 0 {
                features &= !these;
            }
        }
        features
    }
}

#[cfg(test)]
#[path = "net_test.rs"]
mod tests;

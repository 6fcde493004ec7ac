//! What a network device stands on.

use std::io;
use std::os::fd::AsRawFd;

use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

/// Why a packet did not pass.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not now: there is none to receive, or no room to send it. The back end's descriptor gets readable, or
    /// writable, when that has changed.
    #[error("the link is not ready")]
    NotReady,
    /// Not this one; it is lost, and others may pass.
    #[error(transparent)]
    Packet(io::Error),
    /// Never again: what the link led to is gone.
    #[error(transparent)]
    Lost(io::Error),
}

/// One pair of queues of a link, over which whole packets pass.
///
/// Each packet begins with a header, `virtio_net_hdr_v1` (Virtio 1.2, 5.1.6) of [`HEADER`](super::HEADER) bytes. Of a
/// packet received the device itself sets `num_buffers` in it.
///
/// Nothing here may wait. While the guest has room the descriptor is watched for being readable, which it has to be as long
/// as there is anything to receive but what [was received](NetBackend::has_received) already; it is watched for getting
/// writable only after a send was not ready, or has left something [unsent](NetBackend::has_unsent).
pub trait NetBackend: AsRawFd + Send + 'static {
    /// What it can do with packets that are not ready for the wire: those of [`OFFLOADS`](super::feature::OFFLOADS).
    fn offloads(&self) -> u64 {
        0
    }

    /// The largest packet behind the Ethernet header, in bytes, 68 to 65,535; if that is known and will not change.
    fn mtu(&self) -> Option<u16> {
        None
    }

    /// From now on packets may come that need these of its offloads (the `GUEST_` ones), and no others. Called for the
    /// first pair of a link, at each activation.
    ///
    /// # Errors
    ///
    /// What the host answered.
    fn set_offloads(&mut self, features: u64) -> io::Result<()> {
        let _ = features;
        Ok(())
    }

    /// From now on this pair takes part, or not: packets come to those that do. Never called for the first pair of a
    /// link, which always does.
    ///
    /// # Errors
    ///
    /// What the host answered.
    fn set_enabled(&mut self, enabled: bool) -> io::Result<()> {
        let _ = enabled;
        Ok(())
    }

    /// Sends a packet, which is in these pieces of memory.
    ///
    /// # Errors
    ///
    /// It was not sent. If it was [not ready](LinkError::NotReady), the same packet is given again later.
    fn send<'m, B: BitmapSlice>(
        &mut self,
        packet: impl Iterator<Item = VolatileSlice<'m, B>>,
    ) -> Result<(), LinkError>;

    /// Whether it has taken a packet of which it has still to send a part, for which it waits until its descriptor is
    /// writable.
    fn has_unsent(&self) -> bool {
        false
    }

    /// The descriptor may have got writable: sends what is [left](Self::has_unsent).
    ///
    /// # Errors
    ///
    /// Not all could be sent, yet or ever.
    fn flush(&mut self) -> Result<(), LinkError> {
        Ok(())
    }

    /// Whether the next packet is here already, of which the descriptor does not tell any more.
    fn has_received(&self) -> bool {
        false
    }

    /// Receives a packet into these pieces of memory, and what they have no room for into `spill`; gives how long the
    /// packet is, the header included. If that is more than the room in both, the end is missing.
    ///
    /// The device marks memory dirty; the back end need not.
    ///
    /// # Errors
    ///
    /// None was received; what the pieces hold now means nothing.
    fn receive<'m, B: BitmapSlice>(
        &mut self,
        into: impl Iterator<Item = VolatileSlice<'m, B>>,
        spill: &mut [u8],
    ) -> Result<usize, LinkError>;
}

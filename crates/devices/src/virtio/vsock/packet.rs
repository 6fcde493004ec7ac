//! What goes through the queues: a header, and for `RW` bytes behind it (Virtio 1.2, 5.10.6).

/// The host's CID (5.10.4).
pub(super) const HOST_CID: u64 = 2;
/// The only type of socket here (5.10.6.2).
pub(super) const STREAM: u16 = 1;

/// Operations (5.10.6).
pub(super) mod op {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const RESPONSE: u16 = 2;
    pub(crate) const RST: u16 = 3;
    pub(crate) const SHUTDOWN: u16 = 4;
    pub(crate) const RW: u16 = 5;
    pub(crate) const CREDIT_UPDATE: u16 = 6;
    pub(crate) const CREDIT_REQUEST: u16 = 7;
}

/// What the sender of a `SHUTDOWN` will not do any more (5.10.6.5).
pub(super) mod shutdown {
    pub(crate) const RECEIVE: u32 = 1;
    pub(crate) const SEND: u32 = 2;
    pub(crate) const BOTH: u32 = RECEIVE | SEND;
}

/// `struct virtio_vsock_hdr` (5.10.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) src_cid: u64,
    pub(super) dst_cid: u64,
    pub(super) src_port: u32,
    pub(super) dst_port: u32,
    /// Of what follows, in bytes.
    pub(super) len: u32,
    /// Of the socket.
    pub(super) kind: u16,
    pub(super) op: u16,
    pub(super) flags: u32,
    /// How many bytes the sender keeps for this connection in all.
    pub(super) buf_alloc: u32,
    /// How many of all that it has received it has passed on.
    pub(super) fwd_cnt: u32,
}

impl Header {
    /// Its size in a queue.
    pub(super) const LEN: u64 = 44;

    pub(super) fn parse(bytes: &[u8; 44]) -> Self {
        let mut from = bytes.as_slice();
        Self {
            src_cid: u64::from_le_bytes(take(&mut from)),
            dst_cid: u64::from_le_bytes(take(&mut from)),
            src_port: u32::from_le_bytes(take(&mut from)),
            dst_port: u32::from_le_bytes(take(&mut from)),
            len: u32::from_le_bytes(take(&mut from)),
            kind: u16::from_le_bytes(take(&mut from)),
            op: u16::from_le_bytes(take(&mut from)),
            flags: u32::from_le_bytes(take(&mut from)),
            buf_alloc: u32::from_le_bytes(take(&mut from)),
            fwd_cnt: u32::from_le_bytes(take(&mut from)),
        }
    }

    pub(super) fn bytes(&self) -> [u8; 44] {
        let mut bytes = [0; 44];
        let mut put = |at: usize, value: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(value) {
                *to = *from;
            }
        };
        put(0, &self.src_cid.to_le_bytes());
        put(8, &self.dst_cid.to_le_bytes());
        put(16, &self.src_port.to_le_bytes());
        put(20, &self.dst_port.to_le_bytes());
        put(24, &self.len.to_le_bytes());
        put(28, &self.kind.to_le_bytes());
        put(30, &self.op.to_le_bytes());
        put(32, &self.flags.to_le_bytes());
        put(36, &self.buf_alloc.to_le_bytes());
        put(40, &self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// The `RST` that answers this packet, from where it was sent to.
    pub(super) fn reset(&self) -> Self {
        Self {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            len: 0,
            kind: self.kind,
            op: op::RST,
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        }
    }
}

/// The next `N` bytes.
fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let (first, rest) = from.split_first_chunk().unwrap_or((&[0; N], &[]));
    *from = rest;
    *first
}

#[cfg(test)]
#[path = "packet_test.rs"]
mod tests;

//! How much each side may send (Virtio 1.2, 5.10.6.3).

use super::packet::Header;

/// Counts the bytes of a connection, both ways. All counters wrap.
#[derive(Debug, Default)]
pub(super) struct Credit {
    /// What the guest keeps for what the host sends, and how much of that it has passed on, as it last said.
    guest_alloc: u32,
    guest_forwarded: u32,
    /// What the host has sent.
    sent: u32,
    /// What the device keeps for what the guest sends.
    alloc: u32,
    received: u32,
    /// How much of that the host has taken, and what the guest knows of it.
    forwarded: u32,
    announced: u32,
    /// Whether the guest was asked for more since it last gave some.
    has_asked: bool,
}

impl Credit {
    /// Of a connection for which `alloc` bytes are kept.
    pub(super) fn new(alloc: u32) -> Self {
        Self { alloc, ..Self::default() }
    }

    /// What is kept for the guest's bytes.
    pub(super) fn alloc(&self) -> u32 {
        self.alloc
    }

    /// Every packet of the guest's says how much it may be sent.
    pub(super) fn hear(&mut self, header: &Header) {
        self.guest_alloc = header.buf_alloc;
        self.guest_forwarded = header.fwd_cnt;
        self.has_asked &= self.may_send() == 0;
    }

    /// Every packet to the guest says how much it may send.
    pub(super) fn tell(&mut self, header: &mut Header) {
        header.buf_alloc = self.alloc;
        header.fwd_cnt = self.forwarded;
        self.announced = self.forwarded;
    }

    /// How much the guest may be sent. Nothing, if it says that it has passed on what it was never sent.
    pub(super) fn may_send(&self) -> u32 {
        self.guest_alloc.saturating_sub(self.sent.wrapping_sub(self.guest_forwarded))
    }

    /// Whether there is something to send and no credit for it: to be asked for once, or a guest that has none to give
    /// could answer for ever.
    pub(super) fn is_to_be_asked_for(&mut self) -> bool {
        self.may_send() == 0 && !std::mem::replace(&mut self.has_asked, true)
    }

    pub(super) fn send(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
    }

    /// Whether the guest may send as much.
    pub(super) fn receive(&mut self, len: u32) -> bool {
        let kept = self.received.wrapping_sub(self.forwarded);
        let may = len <= self.alloc.saturating_sub(kept);
        if may {
            self.received = self.received.wrapping_add(len);
        }
        may
    }

    /// The host has taken as much.
    pub(super) fn forward(&mut self, len: usize) {
        // No more than was received, which is less than 2^32.
        self.forwarded = self.forwarded.wrapping_add(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// The host takes all from now on, because it takes nothing any more.
    pub(super) fn forward_all(&mut self) {
        self.forwarded = self.received;
    }

    /// Whether the guest should hear of what was forwarded although nothing else is to be said: it believes that
    /// less than half may be left.
    pub(super) fn is_worth_telling(&self) -> bool {
        self.forwarded.wrapping_sub(self.announced) >= self.alloc / 2
    }
}

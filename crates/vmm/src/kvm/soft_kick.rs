//! A kick for a vCPU that has no `kvm_run`: scripted and replayed ones.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use super::kick::{KickReceiver, VcpuKicker};

/// The receiving side of kicks, with its own `immediate_exit`.
#[derive(Debug)]
pub(crate) struct SoftKick {
    // Dropped first: it points to the byte.
    receiver: KickReceiver,
    byte: Arc<AtomicU8>,
}

/// What `KVM_RUN` would have done about kicks on entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Enter the guest.
    Enter,
    /// `EINTR`: a kick.
    Kicked,
    /// `EINTR`, but the kick has been reported already.
    Interrupted,
}

impl SoftKick {
    pub(crate) fn new() -> Self {
        let byte = Arc::new(AtomicU8::new(0));
        #[allow(unsafe_code, reason = "the receiver wants to know that its byte stays")]
        // SAFETY: the byte is an atomic, and lives as long as `receiver`, which is dropped before it.
        let receiver = unsafe { KickReceiver::new(NonNull::from(&*byte)) };
        Self { receiver, byte }
    }

    pub(crate) fn kicker(&self) -> VcpuKicker {
        self.receiver.kicker()
    }

    /// To be called where `KVM_RUN` would be.
    pub(crate) fn enter(&mut self) -> Entry {
        self.receiver.bind();
        match self.byte.load(SeqCst) {
            0 => Entry::Enter,
            _ if self.receiver.take() => Entry::Kicked,
            _ => Entry::Interrupted,
        }
    }
}

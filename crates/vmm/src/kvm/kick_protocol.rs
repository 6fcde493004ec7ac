//! The order of steps that makes kicks safe, over any kind of flag: so that the test with loom runs this very code.
//!
//! All changes are swaps, not stores: a swap reads what the swap before it has written, and with it sees what that thread
//! did earlier. So a vCPU that clears a kick's K2 sees its K1. With plain stores the two flags could be seen in one order
//! here and in another there, but for sequential consistency; this needs less, and is what loom can show.

/// A boolean that threads share, sequentially consistent.
pub(super) trait Flag {
    fn get(&self) -> bool;
    fn swap(&self, value: bool) -> bool;
}

/// K1 and K2 of a kick. The signal, K3, comes after.
pub(super) fn request(requested: &impl Flag, immediate_exit: &impl Flag) {
    requested.swap(true);
    immediate_exit.swap(true);
}

/// V1 and V2: `KVM_RUN` has returned `EINTR`; was that a kick?
pub(super) fn take(requested: &impl Flag, immediate_exit: &impl Flag) -> bool {
    immediate_exit.swap(false);
    requested.swap(false)
}

/// Sets `immediate_exit` for one `KVM_RUN` of the vCPU's own, so that the kernel completes what is pending.
pub(super) fn without_entering<T>(
    requested: &impl Flag,
    immediate_exit: &impl Flag,
    enter: impl FnOnce() -> T,
) -> T {
    immediate_exit.swap(true);
    let result = enter();
    immediate_exit.swap(false);
    if requested.get() {
        // A kick came meanwhile, and its K2 may be what has just been cleared.
        immediate_exit.swap(true);
    }
    result
}

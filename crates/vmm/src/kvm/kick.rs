//! Stopping a running vCPU from another thread.
//!
//! # What can race, and why no kick is lost
//!
//! A kick does three things, in this order: (K1) `requested = true`, (K2) `immediate_exit = 1`, (K3) a signal to
//! the thread that last ran the vCPU. The vCPU's thread, when `KVM_RUN` returns `EINTR`, does two: (V1)
//! `immediate_exit = 0`, (V2) `requested.swap(false)`; only a `true` there counts as a kick.
//!
//! | the kick comes | what happens |
//! | --- | --- |
//! | before `KVM_RUN` is entered | K2 makes the kernel return `EINTR` before it enters the guest |
//! | between the kernel's look at `immediate_exit` and the guest | the signal of K3 is pending: `EINTR` |
//! | while the guest runs, or sleeps in the kernel | K3 interrupts it: `EINTR` |
//! | after an exit, before the next `KVM_RUN` | as the first row: the exit is handled, then `EINTR` |
//! | between V1 and V2 | V2 reports it; if K2 came after V1, the next `KVM_RUN` returns `EINTR` with `requested` false: the loop goes on |
//! | after V2 | a kick of its own, as the first row |
//! | before any thread ran the vCPU | K2 only; as the first row |
//! | from the vCPU's own thread (a device stops the machine) | K2 only, for that thread is not in `KVM_RUN`; as the first row |
//! | when the vCPU has moved to another thread | the signal goes to the one that ran it last; if the other has not bound itself yet, the first row |
//! | after the vCPU is gone | the target is `None`: nothing is touched |
//!
//! The steps themselves are in `kick_protocol`, which `tests/kick_loom.rs` runs through every interleaving.
//!
//! So a kick always ends the run it meets or the next one, two kicks may be seen as one, and none is reported twice.
//! `immediate_exit` is documented in api.rst 5 ("The `kvm_run` structure") and is written by other threads only here.

#![allow(
    unsafe_code,
    reason = "a byte of the shared kvm_run page, and a signal to a thread, have no safe form"
)]

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Once, PoisonError};

use super::kick_protocol::{self as protocol, Flag};

/// Ends the current or the next `KVM_RUN` of one vCPU, from any thread.
///
/// Kicking a vCPU that no longer exists does nothing. See the module's documentation for every race.
#[derive(Clone)]
pub struct VcpuKicker(Arc<Shared>);

struct Shared {
    requested: AtomicBool,
    target: Mutex<Option<Target>>,
}

impl Flag for AtomicBool {
    fn get(&self) -> bool {
        self.load(SeqCst)
    }

    fn swap(&self, value: bool) -> bool {
        self.swap(value, SeqCst)
    }
}

/// `immediate_exit` itself: any value but 0 counts.
impl Flag for AtomicU8 {
    fn get(&self) -> bool {
        self.load(SeqCst) != 0
    }

    fn swap(&self, value: bool) -> bool {
        self.swap(value.into(), SeqCst) != 0
    }
}

/// What a kick reaches: there while the vCPU's mapping is.
struct Target {
    immediate_exit: NonNull<AtomicU8>,
    /// The thread that last entered `KVM_RUN`; 0 before the first.
    thread: libc::pid_t,
}

// SAFETY: `immediate_exit` points into the shared mapping of `kvm_run`, is accessed atomically only, and is removed
// from here (under the mutex) before that mapping goes away.
unsafe impl Send for Target {}

impl fmt::Debug for VcpuKicker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VcpuKicker")
    }
}

impl VcpuKicker {
    /// Makes the vCPU return from `KVM_RUN`, now or as soon as it would enter it.
    pub fn kick(&self) {
        let target = self.0.target.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = &*target {
            // SAFETY: the target is present, so the mapping is (see `Target`); the lock is held until after the store.
            let immediate_exit = unsafe { target.immediate_exit.as_ref() };
            protocol::request(&self.0.requested, immediate_exit);
            if target.thread != 0 && target.thread != this_thread() {
                signal(target.thread);
            }
        }
    }
}

/// The vCPU's own side of its kicker. Dropping it cuts the kickers off.
pub(super) struct KickReceiver(Arc<Shared>, NonNull<AtomicU8>, libc::pid_t);

// SAFETY: as for `Target`: the pointer is to shared memory, used atomically, and valid for the life of the owner.
unsafe impl Send for KickReceiver {}

impl fmt::Debug for KickReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KickReceiver")
    }
}

impl KickReceiver {
    /// # Safety
    ///
    /// `immediate_exit` must stay valid, and be accessed through atomics only, until the receiver is dropped.
    pub(super) unsafe fn new(immediate_exit: NonNull<AtomicU8>) -> Self {
        let target = Mutex::new(Some(Target { immediate_exit, thread: 0 }));
        Self(Arc::new(Shared { requested: AtomicBool::new(false), target }), immediate_exit, 0)
    }

    pub(super) fn kicker(&self) -> VcpuKicker {
        VcpuKicker(Arc::clone(&self.0))
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        // SAFETY: valid by the contract of `new`.
        unsafe { self.1.as_ref() }
    }

    /// To be called before every `KVM_RUN`: from now on signals go to this thread.
    #[inline]
    pub(super) fn bind(&mut self) {
        let thread = this_thread();
        if self.2 != thread {
            self.bind_to(thread);
        }
    }

    #[cold]
    fn bind_to(&mut self, thread: libc::pid_t) {
        self.2 = thread;
        unblock_signal();
        let mut target = self.0.target.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = &mut *target {
            target.thread = thread;
        }
    }

    /// To be called when `KVM_RUN` returned `EINTR`: was that a kick (V1 and V2 of the module's table)?
    pub(super) fn take(&self) -> bool {
        protocol::take(&self.0.requested, self.immediate_exit())
    }

    /// Runs `enter` (a `KVM_RUN`) so that the kernel completes what is pending without entering the guest.
    pub(super) fn without_entering<T>(&self, enter: impl FnOnce() -> T) -> T {
        protocol::without_entering(&self.0.requested, self.immediate_exit(), enter)
    }
}

impl Drop for KickReceiver {
    fn drop(&mut self) {
        *self.0.target.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The signal of K3: the first real-time signal that the C library leaves to programs.
fn kick_signal() -> libc::c_int {
    libc::SIGRTMIN()
}

extern "C" fn on_signal(_: libc::c_int) {}

/// A handler that does nothing: without one the signal would end the process. It is there before the first signal, and
/// costs a machine that nobody kicks nothing. No `SA_RESTART`: a device that blocks in a
/// system call (a console that nobody reads) gets `EINTR` and can see that its machine has been stopped.
fn install_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `action` is plain data and valid when zeroed; `sigaction` gets a valid handler and no old action.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(kick_signal(), &raw const action, std::ptr::null_mut())
        };
        debug_assert_eq!(result, 0, "{}", io::Error::last_os_error());
    });
}

fn unblock_signal() {
    // SAFETY: `set` is initialised by `sigemptyset` before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, kick_signal());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// This thread's kernel id, asked for once a thread.
fn this_thread() -> libc::pid_t {
    thread_local!(static THREAD: std::cell::Cell<libc::pid_t> = const { std::cell::Cell::new(0) });
    THREAD.with(|cached| {
        if cached.get() == 0 {
            // Not `libc::gettid`: std names that symbol weakly, and a static release build ends up without it.
            // SAFETY: no arguments, cannot fail; the kernel's thread ids fit.
            let thread = unsafe { libc::syscall(libc::SYS_gettid) };
            cached.set(libc::pid_t::try_from(thread).unwrap_or(0));
        }
        cached.get()
    })
}

/// A thread that has ended meanwhile is `ESRCH`, which is as good: it runs nothing.
fn signal(thread: libc::pid_t) {
    install_handler();
    // SAFETY: sends a handled signal to a thread of this very process.
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, kick_signal());
    }
}

#[cfg(test)]
#[path = "kick_test.rs"]
mod tests;

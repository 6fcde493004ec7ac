//! The handler for `SIGBUS`.
//!
//! It runs in the middle of whatever the thread was doing, so it may do very little: no allocation, no lock, no function of
//! the C library that is not listed in signal-safety(7).

#![allow(unsafe_code, reason = "signal handlers and fixed mappings have no safe form")]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use strata_memory::layout::PAGE_SIZE;

use super::table::TABLE;

/// Who handled `SIGBUS` before: `sa_sigaction` and `sa_flags` as `sigaction(2)` gave them. Set before the handler is.
static PREVIOUS: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static PREVIOUS_FLAGS: AtomicI32 = AtomicI32::new(0);

/// Installs the handler, if it has not been.
pub(super) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    // SAFETY: `sigaction` is plain data, for which zeroes are values; the kernel fills in this one, and nothing is set.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: as above.
    check(unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut action) })?;
    PREVIOUS.store(action.sa_sigaction, SeqCst);
    PREVIOUS_FLAGS.store(action.sa_flags, SeqCst);
    // The mask stays that of the previous handler, for the time that it is called. Its wishes as to system calls and
    // to signals within signals stay, too.
    action.sa_sigaction = on_sigbus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags =
        action.sa_flags & (libc::SA_RESTART | libc::SA_NODEFER) | libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and is async-signal-safe (see there).
    check(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) })?;
    *installed = true;
    Ok(())
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Everything here and below is async-signal-safe: atomics, system calls, `sigaction`, `raise`.
extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the thread's own errno, which whatever was interrupted may be about to read.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: with SA_SIGINFO the kernel passes a filled-in structure. Whether `si_addr` means anything depends on the
    // code, which is looked at first; reading it is harmless in any case.
    let (code, addr) = unsafe { ((*info).si_code, (*info).si_addr()) };
    if code != libc::BUS_ADRERR || !fill(addr.addr() as u64) {
        pass_on(signal, info, context, code);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Puts a page of zeroes at `addr` if a mapped file is missing one there; whether it did. The access is then repeated.
///
/// Two threads that want the same page at the same moment both come here, and the second page replaces the first; what
/// the first thread has written into it by then is lost. It had been lost with the file already.
fn fill(addr: u64) -> bool {
    let Some(faults) = TABLE.find(addr) else { return false };
    let page = addr & !(PAGE_SIZE - 1);
    // SAFETY: The page lies in a range of the table: guest RAM, which is there for as long as the range is in the table
    // (`Ram::keep`), holds no Rust objects, and to which there are only pointers for volatile access. The system call is
    // made directly since the C library's function may do more (musl's waits for a lock).
    let result = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            page,
            PAGE_SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0_u64,
        )
    };
    if result == -1 {
        return false;
    }
    AtomicU64::fetch_add(faults, 1, SeqCst);
    true
}

/// Does what would have happened without this handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, code: c_int) {
    let previous = PREVIOUS.load(SeqCst);
    // An access that failed is repeated when the handler returns, and fails again. Other signals (kill(2), a memory error
    // found by the way) are gone once they have been handled.
    let repeats =
        matches!(code, libc::BUS_ADRALN | libc::BUS_ADRERR | libc::BUS_OBJERR | libc::BUS_MCEERR_AR);
    match previous {
        libc::SIG_IGN if !repeats => {}
        // The kernel does not let anybody ignore an access that failed: it takes the default instead.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: zeroes are an empty mask, no flags and SIG_DFL; `raise` sends a signal to this very thread, which
            // blocks it until the handler returns.
            unsafe {
                let default: libc::sigaction = mem::zeroed();
                libc::sigaction(signal, &raw const default, ptr::null_mut());
                if !repeats {
                    libc::raise(signal);
                }
            }
        }
        handler if PREVIOUS_FLAGS.load(SeqCst) & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            // SAFETY: neither of the two special values, so it is a function, of the kind that the flag says; it was
            // installed to be called for this signal, with these arguments.
            unsafe { mem::transmute::<usize, Handler>(handler)(signal, info, context) };
        }
        handler => {
            // SAFETY: as above; without the flag it takes the signal's number only.
            unsafe { mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal) };
        }
    }
}

#[cfg(test)]
#[path = "handler_test.rs"]
mod tests;

//! What happens to a `SIGBUS` that is not ours is seen from outside: each case runs in a process of its own, which is this
//! test program once more, running nothing but [`child`].

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use rustix::process::{Resource, Rlimit, setrlimit};
use strata_memory::RamSpec;
use strata_memory::vm_memory::{Bytes as _, GuestAddress};

use super::super::tests::shrinking_file;
use super::*;

const CASE: &str = "STRATA_TEST_SIGBUS";

fn run(case: &str) -> ExitStatus {
    let name = "file_fault::handler::tests::child";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CASE, case).output().unwrap().status
}

extern "C" fn exits_42(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: as in the handler under test; `_exit` never returns.
    unsafe { libc::_exit(if (*info).si_code == libc::BUS_ADRERR && !context.is_null() { 42 } else { 1 }) }
}

extern "C" fn exits_43(signal: c_int) {
    // SAFETY: it never returns.
    unsafe { libc::_exit(if signal == libc::SIGBUS { 43 } else { 1 }) }
}

fn set(handler: usize, flags: c_int) {
    // SAFETY: zeroes are values; the handlers of these tests have the signatures that their flags ask for.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()), 0);
    }
}

/// Touches a page that its file no longer has, in a mapping that is none of ours.
fn foreign_fault() {
    use std::os::fd::AsRawFd as _;
    let file = shrinking_file(&[1; 0x1000]);
    // SAFETY: a new mapping, read through a raw pointer only.
    unsafe {
        let page =
            libc::mmap(ptr::null_mut(), 0x1000, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
        assert_ne!(page, libc::MAP_FAILED);
        file.set_len(0).unwrap();
        page.cast::<u8>().read_volatile();
    }
}

#[test]
fn child() {
    let Ok(case) = std::env::var(CASE) else { return };
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    match case.split('+').next().unwrap() {
        "rust" => {}
        "default" => set(libc::SIG_DFL, 0),
        "ignored" => set(libc::SIG_IGN, 0),
        "siginfo" => set(exits_42 as extern "C" fn(c_int, _, _) as usize, libc::SA_SIGINFO),
        "plain" => set(exits_43 as extern "C" fn(c_int) as usize, libc::SA_RESTART),
        _ => unreachable!(),
    }
    // Ours first: the handler is in place and works, whoever was there before.
    let ram = RamSpec::new(0x4000).build().unwrap();
    let file = shrinking_file(&[1; 0x1000]);
    let mapped = super::super::map_file(&ram, GuestAddress(0x1000), &file, 0, 0x1000).unwrap();
    file.set_len(0).unwrap();
    let byte: u8 = ram.memory().read_obj(GuestAddress(0x1234)).unwrap();
    assert_eq!((byte, mapped.missing_pages()), (0, 1));
    if case.ends_with("+kill") {
        // SAFETY: sends a signal to this process.
        assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0);
    } else {
        foreign_fault();
    }
    // SAFETY: it never returns.
    unsafe { libc::_exit(7) };
}

#[test]
fn nobody_before_so_a_strange_fault_kills() {
    for case in ["rust", "default", "ignored"] {
        assert_eq!(run(case).signal(), Some(libc::SIGBUS), "{case}");
    }
}

#[test]
fn a_signal_that_was_sent_does_what_it_did() {
    assert_eq!(run("default+kill").signal(), Some(libc::SIGBUS));
    assert_eq!(run("ignored+kill").code(), Some(7));
    assert_eq!(run("plain+kill").code(), Some(43));
}

#[test]
fn a_handler_from_before_gets_what_is_not_ours() {
    assert_eq!(run("siginfo").code(), Some(42));
    assert_eq!(run("plain").code(), Some(43));
}

//! Exceptions and interrupts.
//!
//! At the start every exception has a gate (SDM vol. 3A 7.14): one that nobody handles is printed, with its error code,
//! RIP and CR2, and ends the machine with [`Verdict::Failure`]. The program handles what it wants to by
//! [`set_handler`]; interrupts are off until it calls [`enable`].

#![allow(unsafe_code, reason = "the descriptor table, control registers and flags")]

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::{Verdict, exit, println};

/// What an interrupt found, and what it returns to: a handler may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "registers, by their names")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    /// Which exception or interrupt it is.
    pub vector: u64,
    /// The exception's error code, or 0.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// What is called for an interrupt, with interrupts off.
pub type Handler = fn(&mut Frame);

/// The handlers, by vector: 0 where there is none.
static HANDLERS: [AtomicUsize; 256] = [const { AtomicUsize::new(0) }; 256];

/// Has `handler` called for the exception or interrupt `vector`, from now on.
pub fn set_handler(vector: u8, handler: Handler) {
    if let Some(place) = HANDLERS.get(usize::from(vector)) {
        place.store(handler as usize, Relaxed);
        #[cfg(target_os = "none")]
        gates::set(vector);
    }
}

/// The gates of the descriptor table, and what they lead to.
#[cfg(target_os = "none")]
mod gates {
    /// An interrupt gate (SDM vol. 3A 7.14.1): the handler's address in three parts.
    #[repr(C)]
    struct Gate {
        low: u16,
        selector: u16,
        stack: u8,
        kind: u8,
        middle: u16,
        high: u32,
        reserved: u32,
    }

    unsafe extern "C" {
        /// `start.s`: what lidt has loaded.
        static mut strata_idt: [Gate; 256];
        /// `start.s`: where the gates lead, 16 bytes each.
        safe static strata_interrupt_stubs: [[u8; 16]; 256];
    }

    /// Makes the gate of `vector`, but for an exception's, which is there.
    #[expect(clippy::cast_possible_truncation, reason = "the parts of an address")]
    pub(super) fn set(vector: u8) {
        if vector < 32 {
            return;
        }
        let address = (&raw const strata_interrupt_stubs).addr() as u64 + u64::from(vector) * 16;
        let gate = Gate {
            low: address as u16,
            selector: 8,
            stack: 0,
            kind: 0x8e,
            middle: (address >> 16) as u16,
            high: (address >> 32) as u32,
            reserved: 0,
        };
        let table = (&raw mut strata_idt).cast::<Gate>();
        // SAFETY: one of the 256 gates, which only the processor reads; until it is whole, no interrupt comes here.
        unsafe { table.add(usize::from(vector)).write_volatile(gate) };
    }
}

/// Called by `start.s`.
// SAFETY: nobody else defines this name.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
extern "C" fn strata_interrupt(frame: &mut Frame) {
    let handler = HANDLERS.get((frame.vector & 0xff) as usize).map_or(0, |place| place.load(Relaxed));
    if handler == 0 {
        report(frame);
    }
    // SAFETY: what is not 0 was a `Handler`.
    let handler: Handler = unsafe { core::mem::transmute(handler) };
    handler(frame);
}

/// Prints what nobody handles, and ends the machine.
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "no exceptions arrive"))]
fn report(frame: &Frame) -> ! {
    let Frame { vector, error_code, rip, rsp, .. } = *frame;
    let name = EXCEPTIONS.get(usize::try_from(vector).unwrap_or(usize::MAX)).copied().unwrap_or("interrupt");
    println!("unhandled {name}: vector {vector}, error code {error_code:#x}, RIP {rip:#x}, RSP {rsp:#x}");
    let cr2 = read_cr2();
    match vector {
        14 => {
            let how = match error_code & 0x12 {
                0 => "reading",
                0x10 => "fetching",
                _ => "writing",
            };
            println!("it was {how} {cr2:#x} (CR2)");
            if cr2 < 0x1000 {
                println!("note: a null pointer? The first page is not mapped");
            }
        }
        8 if is_below_stack(cr2) => println!("CR2 is {cr2:#x}, just below the stack: it has overflowed"),
        8 => println!("CR2 is {cr2:#x}"),
        // An error code that names a gate of the IDT (SDM vol. 3A 7.13, bit 1).
        11 | 13 if error_code & 2 != 0 => {
            println!("note: interrupt {} came, and nobody handles it", error_code >> 3);
        }
        _ => {}
    }
    exit(Verdict::Failure)
}

/// Whether `address` lies in the page that is left out below the stack.
#[cfg(target_os = "none")]
fn is_below_stack(address: u64) -> bool {
    unsafe extern "C" {
        safe static strata_stack: u8;
    }
    let bottom = (&raw const strata_stack).addr() as u64;
    (bottom - 0x1000..bottom).contains(&address)
}

/// A program of an operating system has another stack.
#[cfg(not(target_os = "none"))]
fn is_below_stack(_: u64) -> bool {
    false
}

/// The exceptions by vector (SDM vol. 3A, table 7-1).
const EXCEPTIONS: [&str; 32] = [
    "#DE (divide error)",
    "#DB (debug)",
    "NMI",
    "#BP (breakpoint)",
    "#OF (overflow)",
    "#BR (bound range)",
    "#UD (invalid opcode)",
    "#NM (no coprocessor)",
    "#DF (double fault)",
    "coprocessor overrun",
    "#TS (invalid TSS)",
    "#NP (segment not present)",
    "#SS (stack fault)",
    "#GP (general protection)",
    "#PF (page fault)",
    "exception 15",
    "#MF (x87 error)",
    "#AC (alignment check)",
    "#MC (machine check)",
    "#XM (SIMD error)",
    "#VE (virtualisation)",
    "#CP (control protection)",
    "exception 22",
    "exception 23",
    "exception 24",
    "exception 25",
    "exception 26",
    "exception 27",
    "#HV (hypervisor injection)",
    "#VC (VMM communication)",
    "#SX (security)",
    "exception 31",
];

/// The address of the last page fault.
pub fn read_cr2() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Lets interrupts come.
pub fn enable() {
    // SAFETY: every interrupt has a handler, or ends the machine.
    unsafe { asm!("sti", options(nostack)) };
}

/// Keeps interrupts from coming.
pub fn disable() {
    // SAFETY: changes a flag.
    unsafe { asm!("cli", options(nostack)) };
}

/// Lets interrupts come, waits for one, and keeps further ones from coming: none is missed between a look and the wait.
pub fn wait() {
    // SAFETY: as `enable`; `sti` takes effect after `hlt` has begun (SDM vol. 2B, STI).
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

#[cfg(test)]
#[path = "interrupts_test.rs"]
mod tests;

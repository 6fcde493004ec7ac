//! The floor of a whole run: the process that does the least for a guest that writes a byte, if it is told to, and
//! halts. `cargo xtask bench` compares `strata` with it.
//!
//! `floor hlt` or `floor byte`. Without either nothing is done. There is no `main` of Rust's: what its runtime sets up
//! before `main` is part of what a program has chosen to do.

#![no_main]
#![allow(unsafe_code, reason = "a C program's `main`")]

mod raw;

use std::ffi::{CStr, c_char, c_int};

use kvm_bindings::{KVM_EXIT_HLT, KVM_EXIT_IO};
use raw::{CODE_AT, Machine};

/// mov dx, 0x3f8; mov al, 'x'; out dx, al; hlt
const BYTE: &[u8] = b"\xba\xf8\x03\xb0x\xee\xf4";
const HLT: &[u8] = b"\xf4";

// SAFETY: the only `main`, with the signature that C has for it.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    if count < 2 {
        return 0;
    }
    // SAFETY: C's contract: `count` pointers to strings.
    let word = unsafe { CStr::from_ptr(*arguments.add(1)) };
    let code = match word.to_bytes() {
        b"hlt" => HLT,
        b"byte" => BYTE,
        _ => return 0,
    };
    let machine = Machine::new();
    machine.load(CODE_AT, code);
    let vcpu = machine.vcpu(0, CODE_AT);
    loop {
        match vcpu.enter() {
            KVM_EXIT_IO => {
                let byte = vcpu.byte();
                // SAFETY: one byte, from a variable.
                if unsafe { libc::write(1, (&raw const byte).cast(), 1) } != 1 {
                    return 1;
                }
            }
            // The exit code that `strata` has for this.
            KVM_EXIT_HLT => return 10,
            _ => return 1,
        }
    }
}

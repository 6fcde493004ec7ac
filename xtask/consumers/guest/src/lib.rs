//! For a kernel: `strata-guest` alone. What is in a kernel's library can be built and tested on a computer with a system, too.

#![no_std]

use strata_guest::interrupts::{self, Frame};
use strata_guest::machine::Region;
use strata_guest::println;

/// Says where an exception was, and goes on behind an instruction of two bytes.
pub fn skip(frame: &mut Frame) {
    println!("vector {} at {:#x}", frame.vector, frame.rip);
    frame.rip += 2;
}

/// Has `ud2` be skipped.
pub fn survive_ud2() {
    interrupts::set_handler(6, skip);
}

/// Bytes of memory that a map says can be used.
pub fn usable(map: &[Region]) -> u64 {
    map.iter().filter(|region| region.is_usable()).map(|region| region.end() - region.start).sum()
}

strata_guest::tests! {
    fn runs_in_a_machine() {
        assert_eq!(2 + 2, 4);
    }

    #[should_panic(expected = "range")]
    fn panics_in_a_machine() {
        panic!("out of range");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_memory_is_none() {
        assert_eq!(super::usable(&[]), 0);
    }
}

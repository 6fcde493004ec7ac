//! What `cargo run` starts: says what machine it is on, counts three ticks and ends.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;

use strata_guest::{machine, println};
use tiny_os::{frames, timer};

strata_guest::entry!(main);

fn main() {
    println!("tiny-os, told {:?}", machine::command_line());
    let usable: Vec<_> = machine::memory_map().iter().filter(|region| region.is_usable()).collect();
    for region in &usable {
        println!("RAM from {:#x} to {:#x}", region.start, region.end() - 1);
    }
    let frame = frames::FRAMES.allocate();
    println!("the first free frame is at {:#x}", frame.unwrap_or_default());
    for tick in 1..=3 {
        timer::wait_for(tick);
        println!("tick {tick}");
    }
}

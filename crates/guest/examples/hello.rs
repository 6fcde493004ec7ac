//! The smallest program: `cargo run -p strata-guest --example hello --target x86_64-unknown-none`, with the runner and the flags
//! of the README. For a computer with a system it compiles too, and does nothing.

#![cfg_attr(target_os = "none", no_std, no_main)]

use strata_guest::{machine, println};

strata_guest::entry!(start);

fn start() {
    println!("hello; the command line is {:?}", machine::command_line());
    for region in machine::memory_map() {
        println!("{:#x}..{:#x} {}", region.start, region.end(), if region.is_usable() { "RAM" } else { "-" });
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}

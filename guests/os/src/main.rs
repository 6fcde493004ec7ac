#![no_std]
#![no_main]

use strata_guest::println;

strata_guest::entry!(main);

fn main() {
    println!("tiny-os: hello");
}

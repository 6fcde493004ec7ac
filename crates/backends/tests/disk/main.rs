//! Disks in files: each engine does the same, on real files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests")]
#![allow(unsafe_code, reason = "locks as another program has them")]

mod faults;
mod guest;
mod open;
mod support;
mod transfers;

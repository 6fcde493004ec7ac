//! Runs the fuzz targets' corpus, by the targets' own harness and with the kernel's event loop.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests")]
#![allow(unreachable_pub, missing_docs, reason = "the harness is another crate's, too")]

mod harness;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use strata_devices::virtio::testing::{RAM, wipe};
use strata_devices::virtio::vm_memory::{Bytes as _, GuestAddress};

/// Runs each seed after those before it and after those behind it.
fn run_all(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus")).join(target);
    if !corpus.exists() {
        eprintln!("not run: the corpus of {target}: the published crate has none");
        return;
    }
    let mut seeds: Vec<_> = corpus.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", corpus.display());
    let digest = |seed: &Path| {
        // Seen if it fails.
        eprintln!("{}", seed.display());
        run(&std::fs::read(seed).unwrap());
        contents_left()
    };
    let first: Vec<_> = seeds.iter().map(|seed| digest(seed)).collect();
    for (seed, first) in seeds.iter().zip(first).rev() {
        assert!(digest(seed) == first, "{}: what ran before makes a difference", seed.display());
    }
    let memory = harness::memory_left();
    wipe(&memory);
    let mut contents = vec![0; RAM as usize];
    memory.read_slice(&mut contents, GuestAddress(0)).unwrap();
    assert!(contents.iter().all(|byte| *byte == 0), "something writes to memory and does not mark it dirty");
}

/// What guest memory contains after a run, in short.
fn contents_left() -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut page = [0; 4096];
    for at in (0..RAM).step_by(page.len()) {
        harness::memory_left().read_slice(&mut page, GuestAddress(at)).unwrap();
        if page != [0; 4096] {
            (at, page).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[test]
fn balloon() {
    run_all("balloon", harness::balloon);
}

#[test]
fn block() {
    run_all("block", harness::block);
}

#[test]
fn console() {
    run_all("console", harness::console);
}

#[test]
fn net() {
    run_all("net", harness::net);
}

#[test]
fn rng() {
    run_all("rng", harness::rng);
}

#[test]
fn vsock() {
    run_all("vsock", harness::vsock);
}

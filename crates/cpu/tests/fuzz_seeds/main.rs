//! Runs the fuzz target's corpus, by the target's own harness.

#![allow(unreachable_pub, reason = "the harness is another crate's, too")]

mod harness;

use std::path::Path;

#[test]
fn guest() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/guest"));
    if !corpus.exists() {
        eprintln!("not run: the corpus of guest: the published crate has none");
        return;
    }
    let mut seeds: Vec<_> = corpus.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", corpus.display());
    for seed in seeds {
        // Seen if it fails.
        eprintln!("{}", seed.display());
        harness::guest(&std::fs::read(seed).unwrap());
    }
}

//! The fuzz target's corpus: its seeds are good images, made here; all of it is replayed.

use std::{fs, path::Path};

use crate::symbols::{Symbols, exercise, sample::Sample};

/// Name, image.
fn seeds() -> [(&'static str, Vec<u8>); 4] {
    let map = b"ffffffff81000000 T _text\nffffffff81000040 0000000000000010 t helper\t[module]\n                 U none\n";
    let names =
        [&b"_RNvNtCs_6kernel4main5start"[..], b"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", b"\x1b[2J"];
    let at = super::symbols::sample::AT;
    let symbols =
        (0u64..).zip(names).map(|(n, name)| (name.to_vec(), at + n * 16, n * 12, 0x12, 1)).collect();
    [
        ("elf64", Sample::kernel().build()),
        ("elf32", Sample::protected().build()),
        ("names", Sample { symbols, ..Sample::kernel() }.build()),
        ("nm", map.to_vec()),
    ]
}

#[test]
fn every_seed_is_a_good_image() {
    for (name, image) in seeds() {
        let symbols = Symbols::read(&image).unwrap();
        assert!(!symbols.is_empty(), "{name}");
        exercise::exercise(&symbols, &image);
    }
}

#[test]
fn the_corpus_holds_the_seeds_and_harms_nobody() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/symbols"));
    if !corpus.exists() {
        eprintln!("not run: replaying the fuzz target's corpus: the published crate has none");
        return;
    }
    for (name, image) in seeds() {
        let path = corpus.join(format!("seed-{name}"));
        if std::env::var_os("STRATA_WRITE_SEEDS").is_some() {
            fs::write(&path, &image).unwrap();
        }
        let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(found == image, "{}: write it anew, see fuzz/README.md", path.display());
    }
    for file in fs::read_dir(corpus).unwrap() {
        let image = fs::read(file.unwrap().path()).unwrap();
        if let Ok(symbols) = Symbols::read(&image) {
            exercise::exercise(&symbols, &image);
        }
    }
}

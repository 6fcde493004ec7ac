//! What page tables cost beside a plain loop of stores that makes the same bytes, in ns.
//!
//! Without the argument `run` nothing is done.

use std::hint::black_box;
use std::time::{Duration, Instant};

use strata_cpu::{Access, PageSize, PageTables};

const GIB: u64 = 1 << 30;
const TABLES_AT: u64 = 0x9000;
/// Present, writable, accessed: what the levels above a leaf say.
const TABLE: u64 = 0x23;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("run") {
        compare("paging.1g", 512 * GIB, PageSize::Size1G, 200);
        compare("paging.4k", GIB, PageSize::Size4K, 5);
    }
}

fn built(len: u64, page: PageSize) -> PageTables {
    PageTables::identity(TABLES_AT, len, page, Access::RW).expect("an identity map of that size is allowed")
}

/// New memory for `tables` tables, a store for each entry above the leaves, and one for each leaf from `first` on.
fn stored(tables: usize, pages: usize, first: u64, stride: u64) -> Vec<u64> {
    let mut entries = vec![0_u64; tables * 512];
    let leaf_tables = pages.div_ceil(512);
    let above = tables - leaf_tables;
    // One entry in each table on the way down, then one for each table of leaves.
    let mut next = TABLES_AT;
    for level in 1..above {
        next += 0x1000;
        entries[(level - 1) * 512] = next | TABLE;
    }
    for entry in &mut entries[(above - 1) * 512..][..leaf_tables] {
        next += 0x1000;
        *entry = next | TABLE;
    }
    let mut leaf = first;
    for entry in &mut entries[above * 512..][..pages] {
        *entry = leaf;
        leaf = leaf.wrapping_add(stride);
    }
    entries
}

fn timed(mut work: impl FnMut(), times: u32) -> Duration {
    work();
    let begin = Instant::now();
    for _ in 0..times {
        work();
    }
    begin.elapsed() / times
}

#[expect(clippy::cast_possible_truncation, reason = "a few hundred thousand pages")]
fn compare(name: &str, len: u64, page: PageSize, times: u32) {
    let tables = built(len, page);
    let bytes: Vec<u8> = tables.pages().flat_map(|(_, table)| table.iter().copied()).collect();
    let (count, pages) = (bytes.len() / 4096, (len / page.bytes()) as usize);
    let above = count - pages.div_ceil(512);
    let first = bytes[above * 4096..].first_chunk().map_or(0, |leaf| u64::from_le_bytes(*leaf));
    let plain: Vec<u8> =
        stored(count, pages, first, page.bytes()).iter().flat_map(|entry| entry.to_le_bytes()).collect();
    assert!(plain == bytes, "the loop of stores makes other tables");
    let stride = page.bytes();
    let floor = timed(
        || drop(black_box(stored(black_box(count), black_box(pages), first, black_box(stride)))),
        times,
    );
    let strata = timed(|| drop(black_box(built(black_box(len), black_box(page)))), times);
    println!("{name}.floor {}\n{name}.strata {}", floor.as_nanos(), strata.as_nanos());
}

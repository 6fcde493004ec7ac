use super::super::feature;
use super::super::rng::Rng;
use super::super::testing::{Bench, FREE, INDIRECT, Memory, NEXT, RAM, WRITE};

type RngBench = Bench<Rng<std::io::Repeat, Memory>>;

fn bench(features: u64) -> RngBench {
    let device = Rng::new(std::io::repeat(4)).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    bench.start(features);
    bench
}

/// What a driver does, and that the device needs a reset after it and is as good as new with it.
fn breaks(what: &str, by: impl FnOnce(&mut RngBench)) {
    let mut bench = bench(feature::INDIRECT_DESC);
    by(&mut bench);
    bench.notify(0);
    assert_eq!(bench.run(), 1, "{what}");
    assert!(bench.needs_reset(), "{what}");
    assert_eq!(bench.queue(0).used(), None, "{what}");
    bench.notify(0);
    assert_eq!(bench.run(), 0, "{what}: a broken ring is not looked at again");
    bench.start(0);
    bench.queue(0).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.queue(0).used(), Some((0, 8)), "{what}");
}

#[test]
fn what_breaks_a_ring() {
    breaks("an address outside of RAM", |bench| {
        bench.queue(0).add(&[], &[(RAM, 1)]);
    });
    breaks("a length that runs out of RAM", |bench| {
        bench.queue(0).add(&[], &[(RAM - 8, 9)]);
    });
    breaks("an address that wraps", |bench| {
        bench.queue(0).add(&[], &[(u64::MAX - 3, 8)]);
    });
    breaks("a huge length", |bench| {
        bench.queue(0).add(&[], &[(FREE, u32::MAX)]);
    });
    breaks("a loop", |bench| {
        bench.queue(0).descriptor(0, (FREE, 8), NEXT | WRITE, 1);
        bench.queue(0).descriptor(1, (FREE, 8), NEXT | WRITE, 0);
        bench.queue(0).make_available(0);
    });
    breaks("a descriptor that is its own successor", |bench| {
        bench.queue(0).descriptor(3, (FREE, 8), NEXT | WRITE, 3);
        bench.queue(0).make_available(3);
    });
    breaks("a successor beyond the table", |bench| {
        bench.queue(0).descriptor(0, (FREE, 8), NEXT | WRITE, 16);
        bench.queue(0).make_available(0);
    });
    breaks("a head beyond the table", |bench| bench.queue(0).make_available(16));
    breaks("a part for reading behind one for writing", |bench| {
        bench.queue(0).descriptor(0, (FREE, 8), NEXT | WRITE, 1);
        bench.queue(0).descriptor(1, (FREE, 8), 0, 0);
        bench.queue(0).make_available(0);
    });
    breaks("an index that runs backwards", |bench| bench.queue(0).set_available(u16::MAX));
    breaks("an index too far", |bench| bench.queue(0).set_available(17));
}

#[test]
fn what_breaks_an_indirect_table() {
    let table = FREE + 0x1000;
    breaks("a table in a table", |bench| {
        bench.queue(0).raw_descriptor(table, (table, 16), INDIRECT, 0);
        bench.queue(0).descriptor(0, (table, 16), INDIRECT, 0);
        bench.queue(0).make_available(0);
    });
    breaks("a table with half a descriptor", |bench| {
        bench.queue(0).raw_descriptor(table, (FREE, 8), WRITE, 0);
        bench.queue(0).descriptor(0, (table, 24), INDIRECT, 0);
        bench.queue(0).make_available(0);
    });
    breaks("an empty table", |bench| {
        bench.queue(0).descriptor(0, (table, 0), INDIRECT, 0);
        bench.queue(0).make_available(0);
    });
    breaks("a table outside of RAM", |bench| {
        bench.queue(0).descriptor(0, (RAM, 16), INDIRECT, 0);
        bench.queue(0).make_available(0);
    });
    breaks("a table with more than the ring", |bench| {
        for index in 0..17 {
            let at = table + 16 * u64::from(index);
            let flags = if index < 16 { NEXT | WRITE } else { WRITE };
            bench.queue(0).raw_descriptor(at, (FREE, 8), flags, index + 1);
        }
        bench.queue(0).descriptor(0, (table, 17 * 16), INDIRECT, 0);
        bench.queue(0).make_available(0);
    });
}

#[test]
fn an_indirect_table_is_a_chain() {
    let (table, mut bench) = (FREE + 0x1000, bench(feature::INDIRECT_DESC));
    bench.queue(0).raw_descriptor(table, (FREE, 3), NEXT | WRITE, 1);
    bench.queue(0).raw_descriptor(table + 16, (FREE + 0x10, 4), WRITE, 0);
    bench.queue(0).descriptor(5, (table, 32), INDIRECT, 0);
    bench.queue(0).make_available(5);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.queue(0).used(), Some((5, 7)));
}

#[test]
fn nothing_to_write_to_is_answered_with_nothing_written() {
    let mut bench = bench(0);
    bench.queue(0).add(&[(FREE, 8)], &[]);
    bench.queue(0).add(&[], &[(FREE, 0)]);
    bench.notify(0);
    bench.run();
    assert_eq!((bench.queue(0).used(), bench.queue(0).used()), (Some((0, 0)), Some((1, 0))));
}

#[test]
fn a_driver_hears_as_often_as_it_wants_to() {
    // One interrupt for all that was there together.
    let mut plain = bench(0);
    for _ in 0..4 {
        plain.queue(0).add(&[], &[(FREE, 1)]);
    }
    plain.notify(0);
    assert_eq!(plain.run(), 1);
    plain.queue(0).set_flags(1);
    plain.queue(0).add(&[], &[(FREE, 1)]);
    plain.notify(0);
    assert_eq!(plain.run(), 0, "flags ask for none");

    let mut indexed = bench(feature::EVENT_IDX);
    indexed.queue(0).set_used_event(2);
    let mut heard = Vec::new();
    for _ in 0..5 {
        indexed.queue(0).add(&[], &[(FREE, 1)]);
        indexed.notify(0);
        heard.push(indexed.run());
    }
    assert_eq!(heard, [0, 0, 1, 0, 0], "from the index that the driver gave on");
}

#[test]
fn a_ring_may_be_full_again_and_again() {
    let mut bench = bench(0);
    for round in 0..10_000_u32 {
        let before = bench.queue(0).add(&[], &[(FREE, 1)]);
        for _ in 1..16 {
            bench.queue(0).add(&[], &[(FREE, 1)]);
        }
        bench.notify(0);
        assert!(bench.run() >= 1);
        assert_eq!(bench.queue(0).used(), Some((before, 1)), "{round}");
        for _ in 1..16 {
            assert!(bench.queue(0).used().is_some());
        }
        assert_eq!(bench.queue(0).used(), None);
    }
}

#[test]
fn a_worker_has_no_end_of_work_only_by_turns() {
    // A ring that is always full: what is served at one time is one ring's worth.
    let mut bench = bench(0);
    for _ in 0..16 {
        bench.queue(0).add(&[], &[(FREE, 1)]);
    }
    bench.notify(0);
    bench.run();
    assert_eq!(std::iter::from_fn(|| bench.queue(0).used()).count(), 16);
}

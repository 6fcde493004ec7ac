use super::*;

fn table<const N: usize>() -> &'static Table<N> {
    Box::leak(Box::new(Table::new()))
}

#[test]
fn an_empty_table_holds_no_address() {
    let table = table::<2>();
    let _taken = table.take().unwrap();
    for addr in [0, 1, 0xfff, 0x1000, 0x1fff, 0x2000, u64::MAX] {
        assert!(table.find(addr).is_none(), "{addr:#x}");
    }
}

#[test]
fn a_range_holds_its_bytes_and_no_other() {
    let table = table::<3>();
    let (low, high) = (table.take().unwrap(), table.take().unwrap());
    low.watch(0x7f00_0000_3000, 0x2000);
    let top = (1 << 56) - 0x1000;
    high.watch(top, 0x1000);
    for (addr, held) in [
        (0x7f00_0000_2fff, false),
        (0x7f00_0000_3000, true),
        (0x7f00_0000_4fff, true),
        (0x7f00_0000_5000, false),
        (top - 1, false),
        (top, true),
        (top + 0xfff, true),
        (top + 0x1000, false),
        (0x3000, false),
    ] {
        assert_eq!(table.find(addr).is_some(), held, "{addr:#x}");
    }
    table.find(top).unwrap().fetch_add(1, SeqCst);
    assert_eq!((low.faults(), high.faults()), (0, 1));
}

#[test]
fn the_longest_range() {
    let longest = (4 << 30) - 0x1000;
    assert!(fits(longest) && fits(longest - 1) && !fits(longest + 1) && !fits(4 << 30) && !fits(u64::MAX));
    let table = table::<1>();
    let place = table.take().unwrap();
    place.watch(0x5000, longest);
    assert!(table.find(0x5000 + longest - 1).is_some());
    assert!(table.find(0x5000 + longest).is_none());
}

#[test]
fn a_place_that_is_no_longer_watched_keeps_its_count_until_it_is_given_up() {
    let table = table::<2>();
    let first = table.take().unwrap();
    first.watch(0x1000, 0x1000);
    table.find(0x1000).unwrap().fetch_add(2, SeqCst);
    first.unwatch();
    assert!(table.find(0x1000).is_none());
    let second = table.take().unwrap();
    assert!(table.take().is_none(), "both places are somebody's");
    assert_eq!((first.faults(), second.faults()), (2, 0));
    drop(first);
    assert_eq!(table.take().unwrap().faults(), 0, "a new owner counts anew");
}

#[test]
fn no_place_is_taken_twice() {
    let table = table::<64>();
    let taken: Vec<Place> = std::thread::scope(|scope| {
        let take = || std::iter::from_fn(|| table.take()).collect::<Vec<_>>();
        let threads = [scope.spawn(take), scope.spawn(take), scope.spawn(take)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut addresses: Vec<_> = taken.iter().map(|place| std::ptr::from_ref(place.0)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 64);
}

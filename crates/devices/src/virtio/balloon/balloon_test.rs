use std::sync::Mutex;

use super::super::testing::{Bench, FREE, Memory, RAM};
use super::super::{VirtioMmio, feature as ring};
use super::*;
use crate::NoIrq;

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATS: usize = 2;
const REPORTS: usize = 4;

/// What was released, as address and length.
#[derive(Debug, Clone, Default)]
struct Host(Arc<Mutex<Vec<(u64, u64)>>>);

impl Host {
    fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Reclaim for Host {
    fn release(&self, start: GuestAddress, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().push((start.0, len));
        if start.0 + len > RAM { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
    }
}

type BalloonBench = Bench<Balloon<Host, Memory>>;

fn all_features() -> u64 {
    feature::STATS_VQ | feature::DEFLATE_ON_OOM | feature::PAGE_REPORTING
}

fn new_bench() -> (BalloonBench, Host, BalloonControl) {
    let host = Host::default();
    let device = Balloon::new(host.clone()).unwrap();
    let (control, worker) = (device.control(), device.worker());
    (Bench::new(device, vec![worker]), host, control)
}

fn bench() -> (BalloonBench, Host, BalloonControl) {
    let (mut bench, host, control) = new_bench();
    bench.start(all_features());
    bench.run();
    (bench, host, control)
}

/// Puts page numbers into memory, and a request with them into a queue.
fn add_numbers(bench: &mut BalloonBench, queue: usize, numbers: &[u32]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    bench.write(FREE, &bytes);
    let len = bytes.len().try_into().unwrap();
    bench.queue(queue).add(&[(FREE, len)], &[]);
    bench.notify(queue.try_into().unwrap());
}

#[test]
fn it_is_a_balloon() {
    let (mut bench, ..) = new_bench();
    assert_eq!(bench.register(0x08), 5);
    assert_eq!(bench.offered(), all_features() | ring::OF_RING);
}

#[test]
fn pages_that_are_given_up_are_released() {
    let (mut bench, host, _) = bench();
    add_numbers(&mut bench, INFLATE, &[3, 4, 5, 9, 8, 7, 100]);
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(INFLATE).used(), Some((0, 0)));
    assert_eq!(host.take(), [(0x3000, 0x3000), (0x7000, 0x3000), (0x6_4000, 0x1000)]);
    add_numbers(&mut bench, DEFLATE, &[3, 4, 5]);
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(DEFLATE).used(), Some((0, 0)));
    assert_eq!(host.take(), [], "what is taken back comes back by itself");
}

#[test]
fn the_descriptors_of_a_list_mean_nothing() {
    let (mut bench, host, _) = bench();
    bench.write(FREE, &[3_u32, 4, 5].map(u32::to_le_bytes).concat());
    bench.queue(INFLATE).add(&[(FREE, 2), (FREE + 2, 5), (FREE + 7, 4)], &[(FREE + 0x100, 4)]);
    bench.notify(0);
    bench.run();
    assert_eq!(host.take(), [(0x3000, 0x2000)], "two numbers and three quarters of one");
    assert_eq!(bench.queue(INFLATE).used(), Some((0, 0)));
}

#[test]
fn a_guest_may_lie() {
    let (mut bench, host, _) = bench();
    for numbers in [&[7, 7, 9, 7][..], &[7], &[1 << 20, u32::MAX], &[]] {
        add_numbers(&mut bench, INFLATE, numbers);
        assert_eq!(bench.run(), 1);
        assert!(bench.queue(INFLATE).used().is_some());
    }
    let top = u64::from(u32::MAX) << 12;
    let seven = (0x7000, 0x1000);
    assert_eq!(host.take(), [seven, (0x9000, 0x1000), seven, seven, (1 << 32, 0x1000), (top, 0x1000)]);
    // Not given up before, not in RAM, written where nothing is to be written.
    add_numbers(&mut bench, DEFLATE, &[11, u32::MAX]);
    bench.queue(DEFLATE).add(&[], &[(FREE, 8)]);
    bench.run();
    let queue = bench.queue(DEFLATE);
    assert_eq!((queue.used(), queue.used()), (Some((0, 0)), Some((1, 0))));
    bench.queue(INFLATE).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    bench.run();
    assert_eq!(host.take(), []);
    assert!(!bench.needs_reset());
}

#[test]
fn a_huge_list_is_worked_off_bit_by_bit() {
    let (mut bench, host, _) = bench();
    // A quarter of a million times every other page.
    let len = 1 << 20;
    let numbers: Vec<u8> = (0..len / 4).flat_map(|number: u32| (number % 512 * 2).to_le_bytes()).collect();
    bench.write(FREE, &numbers);
    bench.queue(INFLATE).add(&[(FREE, len), (FREE, len)], &[]);
    bench.queue(INFLATE).add(&[(FREE, 4)], &[]);
    bench.notify(0);
    assert_eq!(bench.run(), 1);
    let queue = bench.queue(INFLATE);
    assert_eq!((queue.used(), queue.used(), queue.used()), (Some((0, 0)), Some((2, 0)), None));
    let released = host.take();
    assert_eq!(released.len(), 2 * 262_144 + 1);
    assert!(released.iter().zip((0..512).cycle()).all(|(range, page)| *range == (page * 0x2000, 0x1000)));
}

#[test]
fn a_reset_amid_a_huge_list_ends_it() {
    let (mut bench, host, _) = bench();
    bench.queue(INFLATE).add(&[(0, 2 << 20), (0, 2 << 20)], &[]);
    bench.notify(0);
    let mut rounds = 0;
    bench.run_until(|_| {
        rounds += 1;
        rounds > 2
    });
    assert!(!host.take().is_empty());
    assert_eq!(bench.queue(INFLATE).used(), None, "there are four rounds to it");
    bench.reset();
    bench.run();
    assert_eq!((host.take().len(), bench.queue(INFLATE).used()), (0, None));
    bench.start(all_features());
    add_numbers(&mut bench, INFLATE, &[2]);
    bench.run();
    assert_eq!(host.take(), [(0x2000, 0x1000)], "from its beginning");
}

#[test]
fn reported_pages_are_released_wherever_the_driver_has_its_queue() {
    for (features, queue) in [
        (all_features(), REPORTS),
        (all_features(), 3),
        (feature::PAGE_REPORTING, REPORTS),
        (feature::PAGE_REPORTING, 2),
    ] {
        let (mut bench, host, _) = new_bench();
        bench.start(features);
        bench.run();
        bench.write(0x20_0000, &[7; 4]);
        let ranges = [(0x20_0000, 0x1000), (0x20_1000, 0x2000), (0x30_0800, 0x1000), (0x31_0800, 0x2000)];
        bench.queue(queue).add(&[], &ranges);
        bench.notify(queue.try_into().unwrap());
        assert_eq!(bench.run(), 1);
        assert_eq!(bench.queue(queue).used(), Some((0, 0)));
        assert_eq!(host.take(), [(0x20_0000, 0x3000), (0x31_1000, 0x1000)], "whole pages only");
    }
}

#[test]
fn queues_of_features_that_were_not_negotiated_are_dead() {
    let (mut bench, host, control) = new_bench();
    bench.start(0);
    bench.run();
    for queue in 2..5 {
        bench.queue(queue).add(&[(FREE, 40)], &[(FREE, 0x1000)]);
        bench.notify(queue.try_into().unwrap());
    }
    assert!(control.stats().is_none());
    assert_eq!(bench.run(), 0);
    assert!((2..5).all(|queue| bench.queue(queue).used().is_none()));
    assert!(control.stats().is_none() && host.take().is_empty());
}

#[test]
fn the_target_is_in_the_configuration_and_interrupts_once() {
    let (mut bench, _, control) = bench();
    bench.interrupts();
    control.set_target((5 << 12) + 4095);
    assert_eq!(control.target(), 5 << 12);
    assert_eq!(bench.config(0), 5_u32.to_le_bytes());
    let generation = bench.register(0xfc);
    assert_eq!((bench.run(), bench.register(0x60)), (1, 2));
    assert_eq!(bench.register(0xfc), generation + 1);
    control.set_target(5 << 12);
    assert_eq!(bench.run(), 0, "it is told already");
    control.set_target(u64::MAX);
    assert_eq!(bench.config(0), u32::MAX.to_le_bytes());
    assert_eq!(bench.run(), 1);
}

#[test]
fn a_target_set_while_no_driver_is_there_is_found_by_the_next() {
    let (mut bench, _, control) = new_bench();
    control.set_target(1 << 20);
    assert_eq!(bench.run(), 0);
    bench.start(0);
    assert_eq!(bench.config(0), 256_u32.to_le_bytes());
    assert_eq!(bench.run(), 0, "it looks for itself");
}

#[test]
fn the_driver_says_how_large_it_is() {
    let (mut bench, _, control) = bench();
    bench.set_config(4, &7_u32.to_le_bytes());
    assert_eq!(control.actual(), 7 << 12);
    // By parts, and beyond its ends.
    bench.set_config(5, &[1]);
    assert_eq!(control.actual(), 0x107 << 12);
    bench.set_config(2, &[9, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!(control.actual(), 0x0909_0909 << 12);
    bench.set_config(0, &[1, 1, 1, 1]);
    bench.set_config(8, &[1, 1, 1, 1]);
    assert_eq!(bench.config(0), [0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0]);
    bench.reset();
    assert_eq!(control.actual(), 0);
}

fn entries(entries: &[(u16, u64)]) -> Vec<u8> {
    let bytes = |(tag, value): &(u16, u64)| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat();
    entries.iter().flat_map(bytes).collect()
}

/// Puts figures into the statistics queue.
fn add_stats(bench: &mut BalloonBench, bytes: &[u8]) {
    bench.write(FREE, bytes);
    bench.queue(STATS).add(&[(FREE, bytes.len().try_into().unwrap())], &[]);
    bench.notify(STATS.try_into().unwrap());
}

#[test]
fn figures_come_when_they_are_asked_for() {
    let (mut bench, _, control) = bench();
    bench.interrupts();
    add_stats(&mut bench, &entries(&[(4, 100), (5, 200), (99, 1), (4, 101)]));
    assert_eq!(bench.run(), 0);
    assert_eq!(bench.queue(STATS).used(), None, "kept until the host wants new ones");
    let stats = control.stats().unwrap();
    assert_eq!((stats.free, stats.total, stats.swap_in), (Some(101), Some(200), None));
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(STATS).used(), Some((0, 0)));
    assert_eq!(bench.run(), 0, "nothing comes of itself");
    let every: Vec<_> = (0..10).map(|tag| (tag, 1000 + u64::from(tag))).collect();
    add_stats(&mut bench, &entries(&every));
    bench.run();
    let stats = control.stats().unwrap();
    assert_eq!(stats.swap_in, Some(1000));
    assert_eq!((stats.available, stats.disk_caches), (Some(1006), Some(1007)));
    assert_eq!(stats.huge_page_failures, Some(1009));
}

#[test]
fn figures_are_asked_for_before_the_driver_is_ready_to_give_them() {
    let (mut bench, _, control) = bench();
    for _ in 0..100 {
        assert!(control.stats().is_none());
    }
    bench.run();
    add_stats(&mut bench, &entries(&[(4, 1)]));
    bench.run();
    assert!(control.stats().is_some());
    bench.run();
    assert_eq!(bench.queue(STATS).used(), Some((0, 0)));
}

#[test]
fn odd_figures() {
    let (mut bench, _, control) = bench();
    let mut huge = entries(&[(4, 1)]).repeat(100);
    huge.extend(entries(&[(5, 1)]));
    for (bytes, free, total) in [
        (entries(&[(4, u64::MAX)])[..9].to_vec(), None, None),
        (entries(&[(4, u64::MAX), (5, 3)])[..19].to_vec(), Some(u64::MAX), None),
        (huge, Some(1), None),
    ] {
        add_stats(&mut bench, &bytes);
        bench.run();
        let stats = control.stats();
        assert_eq!(stats.and_then(|stats| stats.free), free);
        assert_eq!(stats.and_then(|stats| stats.total), total);
        bench.run();
    }
    // Two at a time: the second is read when the first has gone back.
    for value in [1, 2] {
        bench.write(FREE + value * 16, &entries(&[(4, value)]));
        bench.queue(STATS).add(&[(FREE + value * 16, 10)], &[]);
    }
    bench.notify(2);
    bench.run();
    assert_eq!(control.stats().unwrap().free, Some(1));
    bench.run();
    assert_eq!(control.stats().unwrap().free, Some(2));
}

#[test]
fn with_event_idx_the_driver_is_asked_to_ring_for_the_next_figures() {
    let (mut bench, _, control) = new_bench();
    bench.start(all_features() | ring::EVENT_IDX);
    for round in 0..3_u16 {
        add_stats(&mut bench, &entries(&[(4, round.into())]));
        bench.run();
        let used_ring = bench.queue(STATS).areas()[2];
        let avail_event = bench.read(used_ring + 4 + 8 * 16, 2);
        assert_eq!(avail_event, (round + 1).to_le_bytes());
        assert_eq!(control.stats().unwrap().free, Some(round.into()));
        bench.run();
    }
}

#[test]
fn a_reset_forgets_the_figures_and_the_request_that_was_kept() {
    let (mut bench, _, control) = bench();
    add_stats(&mut bench, &entries(&[(4, 1)]));
    bench.run();
    assert!(control.stats().is_some());
    bench.start(all_features());
    assert!(control.stats().is_none());
    assert_eq!(bench.run(), 0);
    assert_eq!(bench.queue(STATS).used(), None);
    add_stats(&mut bench, &entries(&[(4, 1)]));
    bench.run();
    assert_eq!(bench.queue(STATS).used(), None, "what came after the question answers it");
    assert!(control.stats().is_some());
    bench.run();
    assert_eq!(bench.queue(STATS).used(), Some((0, 0)));
}

#[test]
fn bears_what_a_guest_does_to_it() {
    let memory = vm_memory::GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1_0000)]);
    let memory = Arc::new(memory.unwrap());
    let make = || {
        let device = Balloon::new(Host::default()).unwrap();
        Mutex::new(VirtioMmio::new(device, Arc::clone(&memory), Arc::new(NoIrq)))
    };
    crate::conformance::check("virtio-balloon", VirtioMmio::LEN, make).unwrap();
}

mod model {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Inflate(Vec<u32>),
        Deflate(Vec<u32>),
        Report(Vec<(u64, u32)>),
        Target(u64),
        Stats(u64),
        Ask,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        // Half of them are outside of RAM.
        let numbers = || prop::collection::vec(0_u32..2048, 0..40);
        let range = (0_u64..1 << 21, 1_u32..1 << 15);
        prop_oneof![
            4 => numbers().prop_map(Step::Inflate),
            2 => numbers().prop_map(Step::Deflate),
            3 => prop::collection::vec(range, 1..6).prop_map(Step::Report),
            1 => (0_u64..1 << 30).prop_map(Step::Target),
            2 => any::<u64>().prop_map(Step::Stats),
            2 => Just(Step::Ask),
            1 => Just(Step::Restart),
        ]
    }

    /// What a sequence of pages is released as, to be compared as sets of pages.
    fn pages(ranges: &[(u64, u64)]) -> std::collections::BTreeSet<u64> {
        ranges.iter().flat_map(|(start, len)| (start / 4096)..((start + len) / 4096)).collect()
    }

    /// A request in `queue` comes back at once, with nothing written.
    fn is_served(bench: &mut BalloonBench, queue: usize) {
        bench.run();
        assert_eq!(bench.queue(queue).used().map(|(_, len)| len), Some(0));
        assert_eq!(bench.queue(queue).used(), None);
    }

    proptest! {
        /// The model: a page is released when it is named, and no other; figures are the last ones that were taken.
        #[test]
        fn behaves_as_its_model(steps in prop::collection::vec(step(), 1..60)) {
            let (mut bench, host, control) = bench();
            // What the guest has said, and whether the device keeps its request.
            let (mut said, mut kept) = (None, false);
            for step in steps {
                match step {
                    Step::Inflate(numbers) => {
                        add_numbers(&mut bench, INFLATE, &numbers);
                        is_served(&mut bench, INFLATE);
                        let expected = numbers.iter().map(|number| u64::from(*number)).collect();
                        prop_assert_eq!(pages(&host.take()), expected);
                    }
                    Step::Deflate(numbers) => {
                        add_numbers(&mut bench, DEFLATE, &numbers);
                        is_served(&mut bench, DEFLATE);
                        prop_assert_eq!(host.take(), vec![]);
                    }
                    Step::Report(ranges) => {
                        bench.queue(REPORTS).add(&[], &ranges);
                        bench.notify(4);
                        is_served(&mut bench, REPORTS);
                        let released = pages(&host.take());
                        // Every byte of a released page was named; every page that one range names whole is released.
                        let bytes = |page: u64| page * 4096..page * 4096 + 4096;
                        let named = |byte: u64| ranges.iter().any(|(at, len)| (*at..at + u64::from(*len)).contains(&byte));
                        for page in &released {
                            prop_assert!(bytes(*page).all(named));
                        }
                        for (at, len) in &ranges {
                            let whole = at.div_ceil(4096)..(at + u64::from(*len)) / 4096;
                            prop_assert!(whole.clone().all(|page| released.contains(&page)), "{:?}", whole);
                        }
                    }
                    Step::Target(bytes) => {
                        control.set_target(bytes);
                        bench.run();
                        let pages = u32::try_from(bytes / 4096).unwrap();
                        prop_assert_eq!(bench.config(0), pages.to_le_bytes());
                    }
                    Step::Stats(free) if !kept => {
                        add_stats(&mut bench, &entries(&[(4, free)]));
                        (said, kept) = (Some(free), true);
                        bench.run();
                        prop_assert_eq!(bench.queue(STATS).used(), None);
                    }
                    Step::Stats(_) => {}
                    Step::Ask => {
                        prop_assert_eq!(control.stats().and_then(|stats| stats.free), said);
                        bench.run();
                        prop_assert_eq!(bench.queue(STATS).used().is_some(), kept);
                        kept = false;
                    }
                    Step::Restart => {
                        bench.start(all_features());
                        bench.run();
                        (said, kept) = (None, false);
                    }
                }
            }
        }
    }
}

use strata_vmm::devices::{AddressSpace, Bus};
use strata_vmm::testing::{Act, ScriptedVcpu};
use strata_vmm::vcpu::{Buses, Limits, run};

use super::*;
use crate::trace::sample::places;

fn ran(acts: impl IntoIterator<Item = Act>) -> Stats {
    let mut stats = Stats::new(places().into());
    let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    run(&mut ScriptedVcpu::new(acts), &buses, &mut Limits::default(), &mut stats).unwrap();
    stats
}

fn counted(rows: &[Row]) -> Vec<(&str, u64)> {
    rows.iter().map(|row| (row.name.as_str(), row.exits)).collect()
}

#[test]
fn exits_are_counted_by_kind_device_and_address() {
    let one = (0..3).map(|_| Act::pio_write(0x3f8, 1, *b"x"));
    let one = one.chain([
        Act::pio_read(0x64, 1, 1),
        Act::pio_read(0x60, 1, 1),
        Act::mmio_read(0x8000, 4),
        Act::halt(),
    ]);
    let mut stats = ran(one);
    stats.merge(&ran([Act::pio_write(0x3f8, 1, *b"y"), Act::halt()]));
    let report = stats.report();
    assert_eq!(report.exits, 9);
    assert_eq!(counted(&report.kinds), [("out", 4), ("hlt", 2), ("in", 2), ("mmio-read", 1)]);
    assert_eq!(counted(&report.devices), [("com1", 4), ("i8042", 2), ("nobody", 1)]);
    let addresses =
        [("out 0x3f8 com1", 4), ("in 0x60 i8042", 1), ("in 0x64 i8042", 1), ("mmio-read 0x8000 nobody", 1)];
    assert_eq!(counted(&report.addresses), addresses);
    assert_eq!(report.histogram.iter().map(|bar| bar.exits).sum::<u64>(), 9);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["exits"], &json["kinds"][0]["name"]), (&9.into(), &"out".into()));
}

#[test]
fn a_guest_that_touches_everything_needs_no_more_memory() {
    let stats = ran((0..=0xffff).map(|port| Act::pio_read(port, 1, 1)).chain([Act::halt()]));
    let report = stats.report();
    assert_eq!(report.addresses.len(), MAX_ADDRESSES + 1);
    let last = report.addresses.last().unwrap();
    assert_eq!((last.name.as_str(), last.exits), ("other addresses", 0x1_0000 - MAX_ADDRESSES as u64));
    assert_eq!(report.exits, 0x1_0001);
}

#[test]
fn a_report_reads_like_this() {
    let row = |name: &str, exits, median_ns| Row {
        name: name.to_owned(),
        exits,
        total_ns: exits * median_ns,
        min_ns: 200,
        median_ns,
        p99_ns: 12_345,
        max_ns: 1_500_000,
    };
    let report = Report {
        exits: 3,
        guest_ns: 2_000_000_000,
        host: row("all", 3, 700),
        kinds: vec![row("out", 2, 650), row("hlt", 1, 900)],
        devices: vec![],
        addresses: vec![row("out 0x3f8 com1", 2, 650)],
        histogram: vec![Bar { from_ns: 512, exits: 2 }, Bar { from_ns: 1024, exits: 1 }],
    };
    let expected = "\
3 exits; 2.00 s in the guest, 2.10 us in the VMM

kind                exits            total       min    median       p99       max
out                     2  66.7%   1.30 us    200 ns    650 ns   12.3 us   1.50 ms
hlt                     1  33.3%    900 ns    200 ns    900 ns   12.3 us   1.50 ms

address             exits            total       min    median       p99       max
out 0x3f8 com1          2  66.7%   1.30 us    200 ns    650 ns   12.3 us   1.50 ms

host time of an exit
   512 ns ..          2 |##################################################
  1.02 us ..          1 |#########################
";
    assert_eq!(report.to_string(), expected);
}

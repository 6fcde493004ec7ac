use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::device::DeviceMut;

/// RAM-like, with what was asked of it.
#[derive(Default)]
struct Notes(Vec<(u64, Vec<u8>)>, u8);

impl DeviceMut for Notes {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(self.1);
        self.0.push((offset, data.to_vec()));
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        self.0.push((offset, data.to_vec()));
        if data.contains(&0xee) { Effect::DebugExit(self.1.into()) } else { Effect::None }
    }
}

fn notes(id: u8) -> Arc<Mutex<Notes>> {
    Arc::new(Mutex::new(Notes(Vec::new(), id)))
}

fn pio(ranges: &[(u64, u64)]) -> (Bus, Vec<Arc<Mutex<Notes>>>) {
    let mut bus = Bus::new(AddressSpace::Pio);
    let devices: Vec<_> = (1..).map(notes).take(ranges.len()).collect();
    for (n, (&(base, len), device)) in ranges.iter().zip(&devices).enumerate() {
        bus.insert(base, len, &format!("d{n}"), device.clone()).unwrap();
    }
    (bus, devices)
}

#[test]
fn every_address_finds_its_device_and_no_other() {
    let (bus, _) = pio(&[(0x60, 5), (0x10, 8), (0x18, 1), (0xffff, 1)]);
    for (addr, name) in
        [(0xf, None), (0x10, Some("d1")), (0x17, Some("d1")), (0x18, Some("d2")), (0x19, None)]
    {
        assert_eq!(bus.name_at(addr), name, "{addr:#x}");
    }
    assert_eq!(bus.name_at(0xffff), Some("d3"));
    let order: Vec<_> = bus.iter().map(|(base, last, _)| (base, last)).collect();
    assert_eq!(order, [(0x10, 0x17), (0x18, 0x18), (0x60, 0x64), (0xffff, 0xffff)]);
}

#[test]
fn overlaps_name_both_devices_and_leave_the_bus_alone() {
    let (mut bus, _) = pio(&[(0x10, 8), (0x20, 8)]);
    for (base, len, other) in
        [(0x10, 8, "d0"), (0x17, 1, "d0"), (0xf, 2, "d0"), (0x18, 9, "d1"), (0, 0x100, "d0"), (0x27, 1, "d1")]
    {
        let said = bus.insert(base, len, "new", notes(9)).unwrap_err();
        assert!(matches!(&said, BusError::Overlap { other: name, .. } if name == other), "{base:#x}: {said}");
        assert!(said.to_string().contains("new") && said.to_string().contains(other));
    }
    assert_eq!(bus.iter().count(), 2);
    assert!(bus.insert(0x18, 8, "between", notes(9)).is_ok());
}

#[test]
fn ranges_outside_the_space_are_refused() {
    let mut pio = Bus::new(AddressSpace::Pio);
    let mut mmio = Bus::new(AddressSpace::Mmio);
    assert!(matches!(pio.insert(0x10, 0, "x", notes(1)), Err(BusError::Empty { .. })));
    assert!(matches!(pio.insert(0xffff, 2, "x", notes(1)), Err(BusError::OutOfRange { .. })));
    assert!(matches!(pio.insert(0x1_0000, 1, "x", notes(1)), Err(BusError::OutOfRange { .. })));
    assert!(matches!(mmio.insert(u64::MAX, 2, "x", notes(1)), Err(BusError::OutOfRange { .. })));
    assert!(mmio.insert(u64::MAX, 1, "x", notes(1)).is_ok());
    assert!(pio.insert(0, 0x1_0000, "all", notes(1)).is_ok());
}

#[test]
fn an_access_across_ends_is_split() {
    let (bus, devices) = pio(&[(0x10, 2), (0x12, 1), (0x15, 4)]);
    let mut data = [0; 8];
    bus.read(0x11, &mut data);
    assert_eq!(data, [1, 2, 0xff, 0xff, 3, 3, 3, 3]);
    assert_eq!(devices[0].lock().unwrap().0, [(1, vec![1])]);
    assert_eq!(devices[2].lock().unwrap().0, [(0, vec![3; 4])]);
    assert_eq!(bus.write(0x10, &[0, 0xee, 0xee]), Effect::DebugExit(1), "the first effect counts");
    assert_eq!(devices[1].lock().unwrap().0.last(), Some(&(0, vec![0xee])), "and the rest is still written");
}

#[test]
fn beyond_the_last_address_is_nobody() {
    let (bus, devices) = pio(&[(0xffff, 1), (0, 1)]);
    let mut data = [0; 4];
    bus.read(0xffff, &mut data);
    assert_eq!(data, [1, 0xff, 0xff, 0xff]);
    assert_eq!(devices[1].lock().unwrap().0, [], "port 0 is not reached from above");

    let mut bus = Bus::new(AddressSpace::Mmio);
    let (last, first) = (notes(1), notes(2));
    bus.insert(u64::MAX, 1, "last", last.clone()).unwrap();
    bus.insert(0, 1, "first", first.clone()).unwrap();
    for start in [u64::MAX, u64::MAX - 1] {
        let mut data = [0; 3];
        bus.read(start, &mut data);
        let place = usize::try_from(u64::MAX - start).unwrap();
        assert_eq!((data[place], data[2]), (1, 0xff));
        assert_eq!(bus.write(start, &[0; 3]), Effect::None);
    }
    assert_eq!((last.lock().unwrap().0.len(), first.lock().unwrap().0.len()), (4, 0));
}

proptest! {
    #![proptest_config(crate::testing::config())]

    /// A bus is the map from each address to its owner, byte by byte.
    #[test]
    fn a_bus_is_a_map(
        ranges in prop::collection::vec((0u64..64, 1u64..9), 0..8),
        (space, base) in prop::sample::select(vec![
            (AddressSpace::Mmio, 0),
            (AddressSpace::Mmio, 1 << 40),
            (AddressSpace::Mmio, u64::MAX - 71),
            (AddressSpace::Pio, 0),
            // Across two high bytes, and to the last port.
            (AddressSpace::Pio, 0x3e0),
            (AddressSpace::Pio, 0xffff - 71),
        ]),
        at in 0u64..64,
        len in 0usize..9,
    ) {
        let mut bus = Bus::new(space);
        let mut owners = [0xffu8; 80];
        for (id, (start, len)) in (1u8..).zip(ranges) {
            let place = usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap();
            let free = owners[place.clone()].iter().all(|owner| *owner == 0xff);
            prop_assert_eq!(bus.insert(base + start, len, "x", notes(id)).is_ok(), free);
            if free {
                owners[place].fill(id);
            }
        }
        let mut data = vec![0; len];
        bus.read(base + at, &mut data);
        prop_assert_eq!(&data[..], &owners[usize::try_from(at).unwrap()..][..len]);
    }
}

use super::super::feature;
use super::super::rng::Rng;
use super::super::testing::{Bench, FREE};
use super::*;
use crate::NoIrq;

fn bench() -> Bench<Rng<std::io::Repeat, super::super::testing::Memory>> {
    let device = Rng::new(std::io::repeat(4)).unwrap();
    let worker = device.worker();
    Bench::new(device, vec![worker])
}

#[test]
fn registers_say_what_the_device_is() {
    let mut bench = bench();
    assert_eq!(bench.register(0x00).to_le_bytes(), *b"virt");
    assert_eq!((bench.register(0x04), bench.register(0x08)), (2, 4));
    assert_eq!(bench.offered(), feature::OF_RING);
    assert_eq!(bench.register(0x34), 256);
    bench.set_register(0x30, 1);
    assert_eq!(bench.register(0x34), 0, "there is one queue");
    assert_eq!(bench.register(0xb0), u32::MAX, "there is no shared memory");
}

#[test]
fn bears_what_a_guest_does_to_it() {
    let memory = vm_memory::GuestMemoryMmap::<()>::from_ranges(&[(vm_memory::GuestAddress(0), 0x1_0000)]);
    let memory = Arc::new(memory.unwrap());
    let make = || {
        let device = Rng::new(std::io::repeat(4)).unwrap();
        std::sync::Mutex::new(VirtioMmio::new(device, Arc::clone(&memory), Arc::new(NoIrq)))
    };
    crate::conformance::check("virtio-mmio", VirtioMmio::LEN, make).unwrap();
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let mut bench = bench();
    for status in [1, 3] {
        bench.set_register(0x70, status);
    }
    bench.set_register(0x20, 1);
    bench.set_register(0x24, 1);
    bench.set_register(0x20, 1);
    bench.set_register(0x70, 0xb);
    assert_eq!(bench.status(), 3);
    bench.set_register(0x24, 0);
    bench.set_register(0x20, 0);
    bench.set_register(0x70, 0xb);
    assert_eq!(bench.status(), 0xb);
    // Now they are settled: a late one changes nothing.
    bench.set_register(0x20, 1);
    bench.set_register(0x70, 0xf);
    assert_eq!(bench.status(), 0xf);
}

#[test]
fn a_driver_of_the_time_before_version_1_is_refused() {
    let mut bench = bench();
    for status in [1, 3, 0xb] {
        bench.set_register(0x70, status);
    }
    assert_eq!(bench.status(), 3);
}

#[test]
fn status_goes_in_order_and_only_forwards() {
    let mut bench = bench();
    bench.set_register(0x70, 4);
    assert_eq!(bench.status(), 0);
    bench.set_register(0x70, 2);
    assert_eq!(bench.status(), 0);
    bench.start(0);
    bench.set_register(0x70, 1);
    assert_eq!(bench.status(), 0xf, "bits are cleared by a reset only");
    bench.reset();
    assert_eq!(bench.status(), 0);
}

#[test]
fn a_ring_outside_of_ram_needs_a_reset_and_can_be_used_after_it() {
    let mut bench = bench();
    bench.queue(0).size = 32;
    bench.start(0);
    for (register, value) in [(0x84, 1), (0x80, 0x1_0008), (0x38, 0), (0x38, 3), (0x90, 0), (0x38, 512)] {
        bench.reset();
        for status in [1, 3] {
            bench.set_register(0x70, status);
        }
        bench.set_register(0x24, 1);
        bench.set_register(0x20, 1);
        bench.set_register(0x70, 0xb);
        let areas = bench.queue(0).areas();
        for (place, area) in (0..).zip(areas) {
            bench.set_register(0x80 + place * 16, u32::try_from(area).unwrap());
        }
        bench.set_register(register, value);
        bench.set_register(0x44, 1);
        bench.interrupts();
        bench.set_register(0x70, 0xf);
        assert!(bench.needs_reset(), "{register:#x} = {value:#x}");
        assert_eq!((bench.interrupts(), bench.register(0x60)), (1, 2));
        bench.run();
    }
    bench.start(0);
    bench.queue(0).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.queue(0).used(), Some((0, 8)));
}

#[test]
fn the_interrupt_status_stays_until_it_is_acknowledged() {
    let mut bench = bench();
    bench.start(0);
    bench.queue(0).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.register(0x60), 1);
    bench.set_register(0x64, 2);
    assert_eq!(bench.register(0x60), 1);
    bench.set_register(0x64, 1);
    assert_eq!(bench.register(0x60), 0);
}

#[test]
fn a_notification_of_no_queue_or_of_a_device_that_sleeps_is_nothing() {
    let mut bench = bench();
    bench.notify(0);
    bench.notify(1);
    bench.notify(u32::MAX);
    assert_eq!(bench.run(), 0);
    // A queue that the driver leaves out.
    bench.start_with(0, |_| false);
    bench.notify(0);
    assert_eq!(bench.run(), 0);
}

#[test]
fn a_reset_is_one_whatever_is_in_the_bits_that_mean_nothing() {
    let mut bench = bench();
    bench.start(0);
    bench.queue(0).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    bench.run();
    bench.set_register(0x70, 0x100);
    assert_eq!((bench.status(), bench.register(0x60)), (0, 0));
}

#[test]
fn halves() {
    assert_eq!((half(0x1_0000_0002, 0), half(0x1_0000_0002, 1), half(u64::MAX, 2)), (2, 1, 0));
    assert_eq!(with_half(with_half(0, 0, 2), 1, 1), 0x1_0000_0002);
    assert_eq!(with_half(7, 2, 1), 7);
}

use std::io;
use std::sync::{Arc, Mutex};

use strata_devices::virtio::balloon::{Balloon, BalloonControl, PAGE_SIZE, Reclaim};
use strata_devices::virtio::testing::{Bench, FREE, Memory, RAM};
use strata_devices::virtio::vm_memory::GuestAddress;

use super::{Input, bench, drive, start};

/// What was released last.
#[derive(Clone, Default)]
struct Host(Arc<Mutex<(u64, u64)>>);

impl Reclaim for Host {
    fn release(&self, start: GuestAddress, len: u64) -> io::Result<()> {
        assert!(start.0.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE) && len > 0);
        assert!(start.0.checked_add(len).is_some());
        *self.0.lock().unwrap() = (start.0, len);
        if start.0 + len > RAM { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
    }
}

/// 16 Ki page numbers in one descriptor: many times what the device deals with at a time.
const LONGEST: u32 = 64 << 10;

type Device = Balloon<Host, Memory>;

pub fn balloon(bytes: &[u8]) {
    let host = Host::default();
    let device = Device::new(host.clone()).unwrap();
    let (worker, control) = (device.worker(), device.control());
    let mut bench = bench(device, vec![worker]);
    let mut input = Input::new(bytes).with_longest_part(LONGEST);
    drive(&mut bench, &mut input, |bench, input| own(bench, &control, input));

    // Whatever has happened, it works after a reset.
    start(&mut bench, 0, 16);
    bench.run();
    assert!(control.actual() == 0 && control.stats().is_none());
    bench.write(FREE, &[7, 0, 0, 0]);
    bench.queue(0).add(&[(FREE, 4)], &[]);
    bench.notify(0);
    bench.run();
    assert_eq!((bench.queue(0).used(), *host.0.lock().unwrap()), (Some((0, 0)), (7 * PAGE_SIZE, PAGE_SIZE)));
}

/// A list of pages, figures, a free range; or something that the host wants.
fn own(bench: &mut Bench<Device>, control: &BalloonControl, input: &mut Input<'_>) -> Option<()> {
    let what = input.byte()?;
    match what % 8 {
        0 => control.set_target(input.long()?),
        1 => drop(control.stats()),
        2 | 3 => {
            let count = u32::from(what >> 3);
            let at = input.place()? + 0x2_0000;
            bench.write(at, input.bytes(4 * count as usize)?);
            bench.queue(usize::from(what & 1)).add(&[(at, 4 * count)], &[]);
        }
        // Small numbers in a row or nearly so.
        4 => {
            let mut number = u32::from(input.byte()?);
            let at = input.place()? + 0x2_0000;
            let steps = input.bytes(usize::from(what >> 3))?;
            for (place, step) in (0..).zip(steps) {
                bench.write(at + 4 * place, &number.to_le_bytes());
                number = number.wrapping_add(u32::from(step % 4)).wrapping_sub(1);
            }
            bench.queue(0).add(&[(at, 4 * steps.len() as u32)], &[]);
        }
        5 => {
            let count = usize::from(what >> 3);
            let at = input.place()? + 0x2_0000;
            bench.write(at, input.bytes(10 * count)?);
            bench.queue(2).add(&[(at, 10 * count as u32)], &[]);
        }
        _ => {
            let (at, len) = (u64::from(input.short()?) << 6, u32::from(input.short()?) << 4);
            bench.queue(4).add(&[], &[(at, len)]);
        }
    }
    Some(())
}

use std::io::ErrorKind;

use strata_devices::virtio::console::testing::Wire;
use strata_devices::virtio::console::{Console, Port};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

use super::{Input, bench, drive, start};

/// The first byte says how many ports there are, and which of them have a name.
pub fn console(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(how) = input.byte() else { return };
    let wires: Vec<_> = (0..=how % 3).map(|_| Wire::new()).collect();
    for wire in &wires {
        // A guest can send gigabytes with a few bytes.
        wire.change(|state| state.room = 1 << 20);
    }
    let port = |(number, wire): (usize, &Wire)| match how >> (2 + number) & 1 {
        0 => Port::console(wire.clone()),
        _ => Port::named(format!("port{number}"), wire.clone()),
    };
    let device = Console::new(wires.iter().enumerate().map(port).collect()).unwrap();
    let worker = device.worker();
    let mut bench = bench(device, vec![worker]);
    drive(&mut bench, &mut input, |bench, input| own(bench, &wires, input));

    // Whatever has happened, the first port works after a reset.
    wires[0].change(|state| {
        state.errors.clear();
        state.input.clear();
        (state.room, state.is_open) = (usize::MAX, true);
    });
    start(&mut bench, 0, 16);
    bench.run();
    wires[0].take();
    wires[0].send(b"in");
    bench.write(FREE, b"out");
    bench.queue(0).add(&[], &[(FREE + 8, 8)]);
    bench.queue(1).add(&[(FREE, 3)], &[]);
    bench.notify(0);
    bench.notify(1);
    bench.run();
    assert_eq!((bench.queue(0).used(), bench.queue(1).used()), (Some((0, 2)), Some((0, 0))));
    assert_eq!((bench.read(FREE + 8, 2), wires[0].take()), (b"in".to_vec(), b"out".to_vec()));
}

/// A message to the device, room for one from it, or something that happens to a port's other end.
fn own(bench: &mut Bench<Console<Memory>>, wires: &[Wire], input: &mut Input<'_>) -> Option<()> {
    let what = input.byte()?;
    let wire = &wires[usize::from(what >> 4) % wires.len()];
    match what & 0xf {
        0 => wire.change(|state| state.is_open = !state.is_open),
        1 => {
            let room = input.short()?;
            wire.change(|state| state.room = room.into());
        }
        2 => wire.send(input.bytes(usize::from(input.clone().byte()?))?),
        3 => wire.change(|state| state.errors.push_back(ErrorKind::Interrupted)),
        4 => wire.change(|state| state.errors.push_back(ErrorKind::StorageFull)),
        5 => bench.device().handle().resize(usize::from(what >> 4), input.short()?, input.short()?),
        6 => drop(wire.take()),
        _ if wires.len() == 1 => {}
        event => {
            let at = input.place()? + 0x2_0000;
            let message = [what >> 4, 0, 0, 0, event - 7, 0, input.byte()?, 0];
            bench.write(at, &message);
            bench.queue(3).add(&[(at, 8)], &[]);
            bench.queue(2).add(&[], &[(at, 80)]);
        }
    }
    Some(())
}

use strata_devices::virtio::net::testing::{Script, Wire};
use strata_devices::virtio::net::{HEADER, Net, NetConfig, feature};
use strata_devices::virtio::rate::{Limit, RateLimits};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

use super::{Input, bench, drive, start};

const BUFFERS: u64 = FREE + 0x2_0000;
const OUT: u64 = FREE + 0x6_0000;

type Device = Net<Wire, Memory>;

/// The first byte says which of some devices it is.
pub fn net(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(how) = input.byte() else { return };
    let wires: Vec<_> = (0..=usize::from(how & 1)).map(|_| Wire::new().expect("a wire")).collect();
    for wire in &wires {
        let mut script = wire.script();
        script.offloads = if how & 4 != 0 { feature::OFFLOADS } else { 0 };
        script.mtu = (how & 8 != 0).then_some(9000);
    }
    let operations = (how & 0x30 == 0x30).then_some(Limit { per_second: 0, burst: 5 });
    let limits = RateLimits { operations, ..RateLimits::default() };
    let config = NetConfig::new("52:54:00:12:34:56".parse().expect("an address"));
    let config = NetConfig { receive_limits: limits, send_limits: limits, ..config };
    let device = Net::new(&config, wires.clone()).expect("a device");
    let workers = device.workers();
    let mut bench = bench(device, workers);
    drive(&mut bench, &mut input, |bench, input| own(bench, &wires, input));

    // Whatever has happened, it works after a reset: as long as there is a link.
    for wire in &wires {
        *wire.script() = Script::default();
    }
    start(&mut bench, 0, 16);
    bench.queue(0).add(&[], &[(BUFFERS, 100)]);
    bench.notify(0);
    bench.queue(1).add(&[(OUT, 60)], &[]);
    bench.notify(1);
    wires[0].put([7; 50]);
    bench.run();
    if operations.is_none() {
        let is_up = bench.device().is_up();
        assert_eq!(bench.queue(0).used(), is_up.then_some((0, 50)));
        assert_eq!((bench.queue(1).used(), wires[0].sent().len()), (Some((0, 0)), usize::from(is_up)));
    }
}

/// A packet, a buffer or a command of the right form, or something that the link does.
fn own(bench: &mut Bench<Device>, wires: &[Wire], input: &mut Input<'_>) -> Option<()> {
    let (what, pair) = (input.byte()?, usize::from(input.byte()?) % wires.len());
    let wire = &wires[pair];
    match what % 12 {
        0..=2 => {
            let len = input.short()?;
            wire.put(vec![len as u8; len.into()]);
        }
        3 => wire.script().room = Some(usize::from(input.byte()?)),
        4 => wire.script().room = None,
        5 => wire.script().refuses ^= true,
        6 => wire.script().garbles = true,
        7 if what > 0xf0 => wire.script().is_lost = true,
        8 => {
            // Of how many pairs there shall be, or another command.
            let command = [input.byte()? % 6, input.byte()? % 3, input.byte()? % 6, 0];
            bench.write(OUT, &command);
            let queue = if wires.len() > 1 { 2 * wires.len() } else { 0 };
            bench.queue(queue).add(&[(OUT, 4)], &[(OUT + 0x100, 1)]);
            bench.notify(queue as u32);
        }
        9 => {
            let len = u32::from(input.short()?);
            let cut = u32::from(input.byte()?).min(len);
            let header = (OUT, HEADER as u32);
            bench.queue(2 * pair + 1).add(&[header, (OUT + 0x100, cut), (OUT + 0x100, len - cut)], &[]);
            bench.notify(2 * pair as u32 + 1);
        }
        _ => {
            let len = 12 + u32::from(input.short()? % 3000);
            let cut = u32::from(input.byte()?).min(len);
            bench.queue(2 * pair).add(&[], &[(BUFFERS, cut), (BUFFERS + 0x1_0000, len - cut)]);
            bench.notify(2 * pair as u32);
        }
    }
    if what & 0x80 != 0 {
        wire.ready();
    }
    if what & 0x40 != 0 {
        bench.run();
    }
    Some(())
}

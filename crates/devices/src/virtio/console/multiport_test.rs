use super::super::feature as ring;
use super::super::testing::{Bench, FREE, Memory};
use super::testing::Wire;
use super::*;

type ConsoleBench = Bench<Console<Memory>>;

const INPUT: [usize; 3] = [0, 4, 6];
const OUTPUT: [usize; 3] = [1, 5, 7];
const TO_DRIVER: usize = 2;
const TO_DEVICE: usize = 3;

/// Where buffers for messages lie.
const MESSAGES: u64 = FREE + 0x1000;

const DEVICE_READY: u16 = 0;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;

/// A console, a port with a name, another console.
fn bench() -> (ConsoleBench, [Wire; 3]) {
    let wires = [Wire::new(), Wire::new(), Wire::new()];
    let [one, two, three] = wires.clone();
    let ports = vec![Port::console(one), Port::named("agent", two), Port::console(three)];
    let device = Console::new(ports).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    bench.start(feature::SIZE | feature::MULTIPORT);
    bench.run();
    (bench, wires)
}

/// Sends a message to the device.
fn tell(bench: &mut ConsoleBench, port: u32, event: u16, value: u16) {
    let message = [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat();
    bench.write(FREE, &message);
    bench.queue(TO_DEVICE).add(&[(FREE, 8)], &[]);
    bench.notify(3);
    bench.run();
    assert!(bench.queue(TO_DEVICE).used().is_some());
}

/// What the device says: it is given buffers until it has no more to say.
fn heard(bench: &mut ConsoleBench) -> Vec<(u32, u16, u16, Vec<u8>)> {
    let mut messages = Vec::new();
    loop {
        // Left over from the last time, perhaps.
        let Some((_, len)) = bench.queue(TO_DRIVER).used() else {
            bench.queue(TO_DRIVER).add(&[], &[(MESSAGES, 80)]);
            bench.notify(2);
            bench.run();
            match bench.queue(TO_DRIVER).used() {
                None => return messages,
                Some((_, len)) => {
                    messages.push(message(bench, len));
                    continue;
                }
            }
        };
        messages.push(message(bench, len));
    }
}

fn message(bench: &ConsoleBench, len: u32) -> (u32, u16, u16, Vec<u8>) {
    let bytes = bench.read(MESSAGES, len.try_into().unwrap());
    let (header, more) = bytes.split_first_chunk::<8>().unwrap();
    let [port, event, value] = [&header[..4], &header[4..6], &header[6..]];
    let half = |bytes: &[u8]| u16::from_le_bytes(bytes.try_into().unwrap());
    (u32::from_le_bytes(port.try_into().unwrap()), half(event), half(value), more.to_vec())
}

fn plain(port: u32, event: u16, value: u16) -> (u32, u16, u16, Vec<u8>) {
    (port, event, value, vec![])
}

#[test]
fn ports_are_added_introduced_and_opened() {
    let (mut bench, wires) = bench();
    assert_eq!(bench.offered(), feature::SIZE | feature::MULTIPORT | ring::OF_RING);
    assert_eq!(bench.config(4), 3_u32.to_le_bytes());
    wires[2].change(|state| state.is_open = false);
    bench.device().handle().resize(0, 80, 25);
    assert_eq!(heard(&mut bench), [], "the driver speaks first");
    tell(&mut bench, 0, DEVICE_READY, 1);
    assert_eq!(heard(&mut bench), [plain(0, 1, 1), plain(1, 1, 1), plain(2, 1, 1)]);
    for port in [0, 1, 2] {
        tell(&mut bench, port, PORT_READY, 1);
    }
    let named = (1, 7, 1, b"agent".to_vec());
    let size = (0, 5, 0, vec![80, 0, 25, 0]);
    let expected = [plain(0, 4, 1), plain(0, 6, 1), size, named, plain(1, 6, 1), plain(2, 4, 1)];
    assert_eq!(heard(&mut bench), expected);
}

/// With all ports open on both sides.
fn ready() -> (ConsoleBench, [Wire; 3]) {
    let (mut bench, wires) = bench();
    tell(&mut bench, 0, DEVICE_READY, 1);
    for port in 0..3 {
        tell(&mut bench, port, PORT_READY, 1);
        tell(&mut bench, port, PORT_OPEN, 1);
    }
    heard(&mut bench);
    (bench, wires)
}

#[test]
fn whoever_comes_and_goes_at_the_host_is_told_of() {
    let (mut bench, wires) = ready();
    wires[1].change(|state| state.is_open = false);
    bench.run();
    assert_eq!(heard(&mut bench), [plain(1, 6, 0)]);
    wires[1].change(|state| state.is_open = true);
    bench.run();
    assert_eq!(heard(&mut bench), [plain(1, 6, 1)]);
    assert_eq!(heard(&mut bench), []);
}

#[test]
fn sizes_are_told_of_each_console() {
    let (mut bench, _) = ready();
    let handle = bench.device().handle();
    handle.resize(2, 100, 0x102);
    handle.resize(1, 7, 7);
    handle.resize(3, 7, 7);
    bench.run();
    assert_eq!(heard(&mut bench), [(2, 5, 0, vec![100, 0, 2, 1])]);
    handle.resize(2, 1, 2);
    handle.resize(2, 3, 4);
    bench.run();
    assert_eq!(heard(&mut bench), [(2, 5, 0, vec![3, 0, 4, 0])], "only the last counts");
}

#[test]
fn each_port_has_its_own_data() {
    let (mut bench, wires) = ready();
    for (port, wire) in wires.iter().enumerate() {
        let text = [b'a' + u8::try_from(port).unwrap(); 4];
        wire.send(&text);
        bench.write(FREE, &text);
        bench.queue(OUTPUT[port]).add(&[(FREE, 4)], &[]);
        bench.notify(OUTPUT[port].try_into().unwrap());
        bench.queue(INPUT[port]).add(&[], &[(FREE + 100, 8)]);
        bench.notify(INPUT[port].try_into().unwrap());
        bench.run();
        assert_eq!((wire.take(), bench.read(FREE + 100, 4)), (text.to_vec(), text.to_vec()));
        assert_eq!(bench.queue(OUTPUT[port]).used(), Some((0, 0)));
        assert_eq!(bench.queue(INPUT[port]).used(), Some((0, 4)));
    }
}

#[test]
fn a_port_that_no_program_has_open_gets_no_input() {
    let (mut bench, wires) = ready();
    tell(&mut bench, 1, PORT_OPEN, 0);
    wires[1].send(b"wait");
    bench.queue(INPUT[1]).add(&[], &[(FREE + 100, 8)]);
    bench.notify(4);
    bench.run();
    assert_eq!((bench.queue(INPUT[1]).used(), wires[1].left()), (None, 4));
    tell(&mut bench, 1, PORT_OPEN, 1);
    assert_eq!(bench.queue(INPUT[1]).used(), Some((0, 4)), "without another notification");
}

#[test]
fn output_of_a_named_port_waits_for_somebody() {
    let (mut bench, wires) = ready();
    wires[1].change(|state| state.is_open = false);
    bench.write(FREE, b"kept");
    bench.queue(OUTPUT[1]).add(&[(FREE, 4)], &[]);
    bench.notify(5);
    bench.run();
    assert_eq!(bench.queue(OUTPUT[1]).used(), None);
    wires[1].change(|state| state.is_open = true);
    bench.run();
    assert_eq!((bench.queue(OUTPUT[1]).used(), wires[1].take()), (Some((0, 0)), b"kept".to_vec()));
    // The console beside it is not held up.
    wires[0].change(|state| state.is_open = false);
    bench.queue(OUTPUT[0]).add(&[(FREE, 4)], &[]);
    bench.notify(1);
    bench.run();
    assert_eq!((bench.queue(OUTPUT[0]).used(), wires[0].take()), (Some((0, 0)), vec![]));
}

#[test]
fn messages_that_mean_nothing() {
    let (mut bench, _) = ready();
    for (port, event, value) in [
        (3, PORT_READY, 1),
        (u32::MAX, PORT_OPEN, 1),
        (0, 1, 1),
        (0, 2, 1),
        (0, 4, 1),
        (0, 8, 1),
        (0, u16::MAX, u16::MAX),
    ] {
        tell(&mut bench, port, event, value);
    }
    bench.queue(TO_DEVICE).add(&[(FREE, 7)], &[]);
    bench.queue(TO_DEVICE).add(&[], &[(FREE, 64)]);
    bench.notify(3);
    bench.run();
    assert!(bench.queue(TO_DEVICE).used().is_some() && bench.queue(TO_DEVICE).used().is_some());
    assert_eq!(heard(&mut bench), []);
    // A port that could not be set up is not spoken of; a driver that cannot go on is not spoken to.
    tell(&mut bench, 2, PORT_READY, 0);
    bench.device().handle().resize(2, 1, 1);
    tell(&mut bench, 7, DEVICE_READY, 0);
    bench.device().handle().resize(0, 1, 1);
    bench.run();
    assert_eq!(heard(&mut bench), []);
}

#[test]
fn buffers_that_are_too_small_come_back_empty() {
    let (mut bench, _) = bench();
    tell(&mut bench, 0, DEVICE_READY, 1);
    for (parts, len) in [(&[(MESSAGES, 7)][..], 0), (&[(MESSAGES, 3), (MESSAGES + 3, 5)], 8)] {
        bench.queue(TO_DRIVER).add(&[], parts);
        bench.notify(2);
        bench.run();
        assert_eq!(bench.queue(TO_DRIVER).used().map(|(_, len)| len), Some(len));
    }
    bench.queue(TO_DRIVER).add(&[(MESSAGES, 80)], &[]);
    bench.notify(2);
    bench.run();
    assert_eq!(bench.queue(TO_DRIVER).used().map(|(_, len)| len), Some(0));
    assert_eq!(heard(&mut bench), [plain(1, 1, 1), plain(2, 1, 1)]);
}

#[test]
fn a_driver_that_asks_again_is_answered_again_and_nothing_piles_up() {
    let (mut bench, _) = bench();
    for _ in 0..1000 {
        tell(&mut bench, 0, DEVICE_READY, 1);
        tell(&mut bench, 1, PORT_READY, 1);
    }
    // The last word on port 1 was that it is ready.
    let expected = [plain(0, 1, 1), (1, 7, 1, b"agent".to_vec()), plain(1, 6, 1), plain(2, 1, 1)];
    assert_eq!(heard(&mut bench), expected);
}

#[test]
fn a_driver_without_messages_has_the_first_port_only() {
    let (mut bench, wires) = bench();
    bench.start(0);
    for (port, wire) in wires.iter().enumerate() {
        wire.send(b"in");
        bench.queue(OUTPUT[port]).add(&[(FREE, 4)], &[]);
        bench.queue(INPUT[port]).add(&[], &[(FREE, 4)]);
    }
    bench.queue(TO_DEVICE).add(&[(FREE, 8)], &[]);
    bench.queue(TO_DRIVER).add(&[], &[(FREE, 8)]);
    (0..8).for_each(|queue| bench.notify(queue));
    bench.run();
    for queue in 0..8 {
        assert_eq!(bench.queue(queue).used().is_some(), queue < 2, "{queue}");
    }
    assert_eq!(wires.map(|wire| wire.take().len()), [4, 0, 0]);
}

#[test]
fn a_reset_begins_the_conversation_anew() {
    let (mut bench, wires) = ready();
    bench.start(feature::MULTIPORT);
    bench.run();
    wires[0].send(b"x");
    wires[1].change(|state| state.is_open = false);
    bench.queue(INPUT[0]).add(&[], &[(FREE, 4)]);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.queue(INPUT[0]).used(), None, "no program has it open yet");
    assert_eq!(heard(&mut bench), []);
    tell(&mut bench, 0, DEVICE_READY, 1);
    assert_eq!(heard(&mut bench).len(), 3);
}

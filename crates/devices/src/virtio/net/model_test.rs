//! The device against a model that knows nothing of rings' details: what passes, in which order.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are short here")]

use std::collections::{HashMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::testing::FREE;
use super::tests::*;
use super::*;

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// The driver gives a receive buffer of pieces of these sizes.
    Buffer(Vec<u32>),
    /// A packet of so many bytes comes.
    Comes(usize),
    /// The driver sends one of pieces of these sizes.
    Sends(Vec<u32>),
    /// The host takes so many packets and no more.
    Room(Option<usize>),
    /// The workers work.
    Run,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (vec(0_u32..900, 0..3), 12_u32..900).prop_map(|(mut sizes, last)| {
            // The device gives back at once what cannot hold a header, for which there is a test of its own.
            sizes.push(last);
            Step::Buffer(sizes)
        }),
        5 => (0_usize..3000).prop_map(Step::Comes),
        5 => vec(0_u32..900, 1..4).prop_map(Step::Sends),
        1 => proptest::option::of(0_usize..4).prop_map(Step::Room),
        4 => Just(Step::Run),
        1 => Just(Step::Reset),
    ]
}

/// Where the pieces of each buffer lie, by its head.
type Places = HashMap<u16, Vec<(u64, u32)>>;

/// What the driver has out, and what must come of it.
#[derive(Debug, Default)]
struct Model {
    mergeable: bool,
    /// Receive buffers: their heads and pieces.
    buffers: VecDeque<(u16, Vec<(u64, u32)>)>,
    /// How many descriptors are out, for receiving and for sending.
    out: [usize; 2],
    coming: VecDeque<Vec<u8>>,
    sending: VecDeque<(u16, usize, Vec<u8>)>,
    sent: Vec<Vec<u8>>,
    room: Option<usize>,
    counts: Counts,
}

impl Model {
    /// Lets everything pass that can; gives the used buffers with what is in them, and the used heads of packets sent.
    fn run(&mut self) -> (Vec<(u16, Vec<u8>)>, Vec<u16>) {
        let (mut received, mut given) = (Vec::new(), Vec::new());
        while let (Some(packet), false) = (self.coming.front(), self.buffers.is_empty()) {
            let (mut count, mut room) = (0, 0);
            for (_, pieces) in &self.buffers {
                if room < packet.len() && (self.mergeable || count == 0) {
                    (count, room) = (count + 1, room + len(pieces));
                }
            }
            if packet.len() < HEADER || (room < packet.len() && !self.mergeable) {
                self.counts.not_received += 1;
                self.coming.pop_front();
                continue;
            }
            if room < packet.len() {
                break;
            }
            let mut rest = with_buffers(self.coming.pop_front().unwrap(), count);
            rest[0] = 0;
            for (head, pieces) in self.buffers.drain(..usize::from(count)) {
                let later = rest.split_off(rest.len().min(len(&pieces)));
                received.push((head, rest));
                rest = later;
                self.out[0] -= pieces.len();
            }
            self.counts.received += 1;
        }
        while let Some((head, pieces, packet)) = self.sending.front() {
            if packet.len() < HEADER {
                self.counts.not_sent += 1;
            } else if self.room == Some(0) {
                break;
            } else {
                self.room = self.room.map(|room| room - 1);
                self.counts.sent += 1;
                self.sent.push(packet.clone());
            }
            given.push(*head);
            self.out[1] -= pieces;
            self.sending.pop_front();
        }
        (received, given)
    }
}

fn len(pieces: &[(u64, u32)]) -> usize {
    pieces.iter().map(|(_, len)| *len as usize).sum()
}

/// Where the pieces of a chain lie, of which no two overlap.
fn place(next: &mut u64, sizes: &[u32]) -> Vec<(u64, u32)> {
    let pieces = sizes.iter().map(|size| {
        let at = FREE + *next % 0x10_0000;
        *next += 0x400;
        (at, *size)
    });
    pieces.collect()
}

/// Lets both run, and compares.
fn compare(bench: &mut NetBench, wire: &testing::Wire, model: &mut Model, places: &Places) {
    let (received, given) = model.run();
    bench.run();
    let used: Vec<_> = std::iter::from_fn(|| bench.queue(RX).used()).collect();
    let heads: Vec<_> = received.iter().map(|(head, bytes)| (*head, bytes.len() as u32)).collect();
    assert_eq!(used, heads);
    for (head, bytes) in &received {
        let all: Vec<u8> = places[head].iter().flat_map(|(at, len)| bench.read(*at, *len as usize)).collect();
        assert!(all.starts_with(bytes), "what is in buffer {head}");
    }
    let used: Vec<_> = std::iter::from_fn(|| bench.queue(TX).used().map(|used| used.0)).collect();
    assert_eq!(used, given);
    assert!(wire.sent() == std::mem::take(&mut model.sent));
    assert_eq!(bench.device().counts(), model.counts);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn packets_pass_as_in_the_model(mergeable: bool, steps in vec(step(), 1..80)) {
        let features = if mergeable { feature::MRG_RXBUF } else { 0 };
        let (mut bench, wire) = bench(features);
        let mut model = Model { mergeable, ..Model::default() };
        let mut next = 0;
        let mut places = Places::new();
        for step in steps.into_iter().chain([Step::Run]) {
            match step {
                Step::Buffer(sizes) if model.out[0] + sizes.len() <= 16 => {
                    let pieces = place(&mut next, &sizes);
                    let head = bench.queue(RX).add(&[], &pieces);
                    bench.notify(0);
                    model.out[0] += pieces.len();
                    places.insert(head, pieces.clone());
                    model.buffers.push_back((head, pieces));
                }
                Step::Sends(sizes) if model.out[1] + sizes.len() <= 16 => {
                    let pieces = place(&mut next, &sizes);
                    let bytes: Vec<u8> = packet(len(&pieces));
                    let mut from = 0;
                    for (at, len) in &pieces {
                        bench.write(*at, &bytes[from..from + *len as usize]);
                        from += *len as usize;
                    }
                    let head = bench.queue(TX).add(&pieces, &[]);
                    bench.notify(1);
                    model.out[1] += pieces.len();
                    model.sending.push_back((head, pieces.len(), bytes));
                }
                Step::Buffer(_) | Step::Sends(_) => {}
                Step::Comes(len) => {
                    wire.put(packet(len));
                    model.coming.push_back(packet(len));
                }
                Step::Room(room) => {
                    wire.script().room = room;
                    wire.ready();
                    model.room = room;
                }
                Step::Run => compare(&mut bench, &wire, &mut model, &places),
                Step::Reset => {
                    compare(&mut bench, &wire, &mut model, &places);
                    // What the device has taken already and could not give is lost.
                    let waits = wire.script().incoming.len();
                    model.coming.drain(..model.coming.len() - waits);
                    bench.start(features);
                    (model.buffers, model.sending, model.out) = Default::default();
                }
            }
        }
    }
}

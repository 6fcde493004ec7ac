use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;
use crate::testing::{Edges, Full, Output, inb};
use crate::{NoIrq, RestoreError, conformance};

const DATA: u64 = 0;
const IER: u64 = 1;
const IIR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const SCR: u64 = 7;

fn serial() -> (Serial, Output, Edges) {
    let (out, edges) = (Output::default(), Edges::default());
    (Serial::new(Arc::new(edges.clone()), Box::new(out.clone())), out, edges)
}

fn outb(serial: &mut Serial, register: u64, value: u8) {
    assert_eq!(serial.write(register, &[value]), Effect::None);
}

#[test]
fn what_is_sent_comes_out() {
    let (mut serial, out, _) = serial();
    for &byte in b"hello" {
        assert_eq!(inb(&mut serial, LSR) & 0x60, 0x60, "room to send");
        outb(&mut serial, DATA, byte);
    }
    assert_eq!(out.taken(), b"hello");
}

#[test]
fn a_wide_access_goes_to_consecutive_registers() {
    let (mut serial, out, _) = serial();
    // Data, interrupt enable, FIFO control, line control.
    assert_eq!(serial.write(DATA, &[b'x', 0x0f, 0x00, 0x1b]), Effect::None);
    assert_eq!(out.taken(), b"x");
    assert_eq!((inb(&mut serial, IER), inb(&mut serial, LCR)), (0x0f, 0x1b));
    outb(&mut serial, SCR, 0x42);
    let mut data = [0; 4];
    serial.read(SCR, &mut data);
    assert_eq!(data, [0x42, 0xff, 0xff, 0xff], "nothing beyond the last register");
}

#[test]
fn the_divisor_hides_data_and_interrupts() {
    let (mut serial, out, _) = serial();
    outb(&mut serial, LCR, 0x83);
    let _ = serial.write(DATA, &[0x01, 0x02]);
    let mut divisor = [0; 2];
    serial.read(DATA, &mut divisor);
    outb(&mut serial, LCR, 0x03);
    assert_eq!((divisor, inb(&mut serial, IER), out.taken()), ([1, 2], 0, vec![]));
}

#[test]
fn input_is_read_in_order_and_announced() {
    let (mut serial, _, edges) = serial();
    outb(&mut serial, IER, 0x01);
    assert_eq!((serial.enqueue(b"ab"), edges.taken()), (2, 1));
    assert_eq!((serial.enqueue(b"c"), edges.taken()), (1, 0), "the guest has not looked yet");
    assert_eq!(inb(&mut serial, IIR) & 0x0f, 0x04);
    for &byte in b"abc" {
        assert_eq!(inb(&mut serial, LSR) & 1, 1);
        assert_eq!(inb(&mut serial, DATA), byte);
    }
    assert_eq!(inb(&mut serial, LSR) & 1, 0);
    assert_eq!((serial.enqueue(b"d"), edges.taken()), (1, 1));
}

#[test]
fn interrupts_come_only_when_enabled() {
    let (mut serial, _, edges) = serial();
    serial.enqueue(b"a");
    outb(&mut serial, DATA, b'x');
    assert_eq!(edges.taken(), 0);
    outb(&mut serial, IER, 0x02);
    assert_eq!((edges.taken(), inb(&mut serial, IIR) & 0x0f), (1, 0x02), "ready to send, and that is news");
    outb(&mut serial, DATA, b'x');
    assert_eq!(edges.taken(), 1);
}

#[test]
fn the_fifo_takes_64_bytes_and_no_more() {
    let (mut serial, ..) = serial();
    assert_eq!(serial.room(), 64);
    assert_eq!(serial.enqueue(&[7; 100]), 64);
    assert_eq!((serial.room(), serial.enqueue(&[8])), (0, 0));
    inb(&mut serial, DATA);
    assert_eq!((serial.room(), serial.enqueue(&[8, 9])), (1, 1));
    assert_eq!(serial.enqueue(&[]), 0);
}

#[test]
fn nobody_hears_a_looped_port() {
    let (mut serial, out, _) = serial();
    outb(&mut serial, MCR, 0x10);
    assert_eq!((serial.room(), serial.enqueue(b"in")), (0, 0));
    outb(&mut serial, DATA, b'x');
    assert_eq!((inb(&mut serial, DATA), out.taken()), (b'x', vec![]));
}

#[test]
fn whoever_waits_is_woken_once_when_the_guest_has_taken_all() {
    let (mut serial, ..) = serial();
    let woken = Arc::new(AtomicUsize::new(0));
    let wait = |serial: &mut Serial| {
        let woken = Arc::clone(&woken);
        serial.when_drained(move || {
            woken.fetch_add(1, Relaxed);
        });
    };
    wait(&mut serial);
    assert_eq!(woken.swap(0, Relaxed), 1, "there is nothing to wait for");
    serial.enqueue(b"ab");
    wait(&mut serial);
    wait(&mut serial);
    inb(&mut serial, LSR);
    inb(&mut serial, DATA);
    assert_eq!(woken.load(Relaxed), 0);
    inb(&mut serial, DATA);
    assert_eq!(woken.swap(0, Relaxed), 2);
    inb(&mut serial, DATA);
    assert_eq!(woken.load(Relaxed), 0);

    outb(&mut serial, MCR, 0x10);
    wait(&mut serial);
    assert_eq!(woken.load(Relaxed), 0, "a looped port takes nothing");
    outb(&mut serial, MCR, 0x00);
    assert_eq!(woken.load(Relaxed), 1);
}

#[test]
fn a_failing_output_costs_its_bytes_and_nothing_else() {
    let edges = Edges::default();
    let mut serial = Serial::new(Arc::new(edges.clone()), Box::new(Full));
    outb(&mut serial, IER, 0x02);
    inb(&mut serial, IIR);
    edges.taken();
    outb(&mut serial, DATA, b'x');
    assert_eq!((serial.lost(), edges.taken()), (1, 1), "the guest is told that it may send on");
    outb(&mut serial, SCR, 1);
    assert_eq!(serial.lost(), 1);
}

#[test]
fn a_restored_port_goes_on_where_it_was() {
    let (mut old, ..) = serial();
    outb(&mut old, IER, 0x01);
    outb(&mut old, SCR, 0x42);
    old.enqueue(b"typed");
    let (mut new, out, edges) = serial();
    new.restore(&old.save()).unwrap();
    assert_eq!(edges.taken(), 1, "the old machine's edge may have been lost");
    assert_eq!((inb(&mut new, SCR), inb(&mut new, DATA), new.room()), (0x42, b't', 60));
    outb(&mut new, DATA, b'x');
    assert_eq!(out.taken(), b"x", "its output is its own");
}

#[test]
fn a_state_with_too_much_input_is_refused() {
    let (mut serial, ..) = serial();
    outb(&mut serial, SCR, 0x42);
    let before = serial.save();
    let state = SerialV1 { received: vec![0; 65], ..before.clone() };
    let error = RestoreError::TooLong { device: "serial port", what: "input", len: 65, room: 64 };
    assert_eq!(serial.restore(&state), Err(error));
    assert_eq!(serial.save(), before);
    assert_eq!(serial.restore(&SerialV1 { received: vec![0; 64], ..before }), Ok(()));
}

#[test]
fn it_conforms() {
    let make = || {
        let mut serial = Serial::new(Arc::new(NoIrq), Box::new(io::sink()));
        serial.enqueue(b"some input for the guest to read");
        serial
    };
    conformance::check("serial", Serial::LEN, || Mutex::new(make())).unwrap();
    conformance::check_saveable("serial", Serial::LEN, make).unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Read(u64),
    Write(u64, u8),
    Type(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u64..9).prop_map(Step::Read),
        3 => (0u64..9, any::<u8>()).prop_map(|(register, byte)| Step::Write(register, byte)),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Type),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(crate::testing::config())]

    /// Nothing that is sent or typed is lost, doubled or reordered, whatever else the guest does with the
    /// registers.
    #[test]
    fn bytes_go_where_they_belong(steps in steps()) {
        let (mut serial, out, _) = serial();
        let (mut sent, mut pending) = (Vec::new(), VecDeque::new());
        for step in steps {
            let divisor = inb(&mut serial, LCR) & 0x80 != 0;
            let looped = inb(&mut serial, MCR) & 0x10 != 0;
            match step {
                Step::Write(register, byte) => {
                    outb(&mut serial, register, byte);
                    if register == DATA && !divisor {
                        if !looped {
                            sent.push(byte);
                        } else if pending.len() < FIFO {
                            pending.push_back(byte);
                        }
                    }
                }
                Step::Read(DATA) if !divisor => {
                    prop_assert_eq!(inb(&mut serial, DATA), pending.pop_front().unwrap_or(0));
                }
                Step::Read(register) => {
                    inb(&mut serial, register);
                }
                Step::Type(bytes) => {
                    let room = serial.room();
                    let taken = serial.enqueue(&bytes);
                    prop_assert_eq!(taken, room.min(bytes.len()));
                    pending.extend(&bytes[..taken]);
                }
            }
            let lsr = inb(&mut serial, LSR);
            prop_assert_eq!(lsr, 0x60 | u8::from(!pending.is_empty()), "always ready to send");
        }
        prop_assert_eq!(out.taken(), sent);
        prop_assert_eq!(serial.lost(), 0);
    }
}

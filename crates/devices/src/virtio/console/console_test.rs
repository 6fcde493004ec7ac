use std::io::ErrorKind;
use std::sync::Mutex;

use super::super::testing::{Bench, FREE, Memory};
use super::super::{VirtioMmio, feature as ring};
use super::testing::Wire;
use super::*;
use crate::NoIrq;

type ConsoleBench = Bench<Console<Memory>>;

const INPUT: usize = 0;
const OUTPUT: usize = 1;

fn bench() -> (ConsoleBench, Wire) {
    let wire = Wire::new();
    let device = Console::new(vec![Port::console(wire.clone())]).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    bench.start(feature::SIZE);
    bench.run();
    (bench, wire)
}

/// Has the guest print.
fn print(bench: &mut ConsoleBench, bytes: &[u8]) {
    bench.write(FREE, bytes);
    bench.queue(OUTPUT).add(&[(FREE, bytes.len().try_into().unwrap())], &[]);
    bench.notify(1);
}

#[test]
fn one_console_needs_no_messages() {
    let (mut bench, _) = bench();
    assert_eq!(bench.register(0x08), 3);
    assert_eq!(bench.offered(), feature::SIZE | ring::OF_RING);
    bench.set_register(0x30, 2);
    assert_eq!(bench.register(0x34), 0, "there are two queues");
    assert_eq!(bench.config(0), [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_the_guest_prints_is_written_once() {
    let (mut bench, wire) = bench();
    print(&mut bench, b"hello");
    assert_eq!(bench.run(), 1);
    assert_eq!((bench.queue(OUTPUT).used(), wire.take()), (Some((0, 0)), b"hello".to_vec()));
    bench.write(FREE, b"one two");
    bench.queue(OUTPUT).add(&[(FREE, 2), (FREE + 2, 2), (FREE + 4, 3)], &[(FREE + 0x100, 5)]);
    bench.queue(OUTPUT).add(&[], &[(FREE + 0x100, 5)]);
    bench.notify(1);
    assert_eq!(bench.run(), 1);
    let queue = bench.queue(OUTPUT);
    assert_eq!((queue.used(), queue.used()), (Some((1, 0)), Some((5, 0))));
    assert_eq!(wire.take(), b"one two");
}

#[test]
fn what_is_sent_is_read_when_the_guest_has_room() {
    let (mut bench, wire) = bench();
    wire.send(b"abcdefgh");
    assert_eq!((bench.run(), wire.left()), (0, 8));
    bench.queue(INPUT).add(&[], &[(FREE, 2), (FREE + 100, 1)]);
    bench.notify(0);
    assert_eq!((bench.run(), wire.left()), (1, 5));
    assert_eq!(bench.queue(INPUT).used(), Some((0, 3)));
    assert_eq!((bench.read(FREE, 3), bench.read(FREE + 100, 2)), (b"ab\0".to_vec(), b"c\0".to_vec()));
    // A buffer that waits, one that is none, one that is only for reading.
    bench.queue(INPUT).add(&[(FREE, 4)], &[]);
    bench.queue(INPUT).add(&[], &[(FREE, 4)]);
    bench.queue(INPUT).add(&[], &[(FREE + 100, 4)]);
    bench.notify(0);
    bench.run();
    let queue = bench.queue(INPUT);
    let used = [queue.used(), queue.used(), queue.used(), queue.used()];
    assert_eq!(used, [Some((2, 0)), Some((3, 4)), Some((4, 1)), None]);
    bench.queue(INPUT).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    assert_eq!(bench.run(), 0);
    wire.send(b"xyz");
    assert_eq!(bench.run(), 1);
    assert_eq!((bench.queue(INPUT).used(), bench.read(FREE, 4)), (Some((5, 3)), b"xyzg".to_vec()));
}

#[test]
fn a_slow_reader_holds_the_request_up_and_nothing_is_lost_or_written_twice() {
    let (mut bench, wire) = bench();
    wire.change(|state| state.room = 3);
    print(&mut bench, b"0123456789");
    bench.write(FREE + 100, b"abc");
    bench.queue(OUTPUT).add(&[(FREE + 100, 3)], &[]);
    assert_eq!((bench.run(), wire.take()), (0, b"012".to_vec()));
    assert_eq!(bench.queue(OUTPUT).used(), None);
    bench.notify(1);
    assert_eq!((bench.run(), wire.take()), (0, b"".to_vec()));
    wire.change(|state| state.room = 6);
    assert_eq!((bench.run(), wire.take()), (0, b"345678".to_vec()));
    wire.change(|state| state.room = 2);
    assert_eq!((bench.run(), wire.take()), (1, b"9a".to_vec()));
    assert_eq!((bench.queue(OUTPUT).used(), bench.queue(OUTPUT).used()), (Some((0, 0)), None));
    wire.change(|state| state.room = 9);
    assert_eq!((bench.run(), wire.take()), (1, b"bc".to_vec()));
    assert_eq!(bench.queue(OUTPUT).used(), Some((1, 0)));
}

#[test]
fn a_request_that_shrinks_while_it_waits_is_done_when_it_has_no_more() {
    let (mut bench, wire) = bench();
    wire.change(|state| state.room = 5);
    print(&mut bench, b"0123456789");
    bench.run();
    bench.queue(OUTPUT).descriptor(0, (FREE, 4), 0, 0);
    wire.change(|state| state.room = 100);
    bench.run();
    assert_eq!((bench.queue(OUTPUT).used(), wire.take()), (Some((0, 0)), b"01234".to_vec()));
}

#[test]
fn much_output_is_written_bit_by_bit() {
    let (mut bench, wire) = bench();
    let much: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251).to_le_bytes()[0]).collect();
    print(&mut bench, &much);
    let len = 1 << 20;
    bench.queue(OUTPUT).add(&[(FREE, len), (FREE, len)], &[]);
    assert_eq!(bench.run(), 2);
    assert!(wire.take() == much.repeat(3));
    assert!(wire.tended() >= 3 * (1 << 20) / (256 << 10), "in between, others have their turn");
}

#[test]
fn what_a_console_prints_to_nobody_is_thrown_away() {
    let (mut bench, wire) = bench();
    wire.change(|state| state.is_open = false);
    print(&mut bench, b"nobody hears this");
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(OUTPUT).used(), Some((0, 0)));
    wire.change(|state| (state.is_open, state.room) = (true, 4));
    print(&mut bench, b"somebody went amid this");
    bench.run();
    wire.change(|state| state.is_open = false);
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(OUTPUT).used(), Some((1, 0)));
    wire.change(|state| (state.is_open, state.room) = (true, 100));
    print(&mut bench, b"here");
    bench.run();
    assert_eq!((bench.queue(OUTPUT).used(), wire.take()), (Some((2, 0)), b"somehere".to_vec()));
}

#[test]
fn a_host_that_fails() {
    let (mut bench, wire) = bench();
    wire.change(|state| state.errors.extend([ErrorKind::Interrupted, ErrorKind::StorageFull]));
    print(&mut bench, b"lost");
    assert_eq!(bench.run(), 1);
    assert_eq!((bench.queue(OUTPUT).used(), wire.take()), (Some((0, 0)), vec![]));
    print(&mut bench, b"not lost");
    bench.run();
    assert_eq!((bench.queue(OUTPUT).used(), wire.take()), (Some((1, 0)), b"not lost".to_vec()));
    // Reading goes on when it is ready again.
    wire.change(|state| state.errors.extend([ErrorKind::Interrupted, ErrorKind::Other]));
    bench.queue(INPUT).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    assert_eq!((bench.run(), bench.queue(INPUT).used()), (0, None));
    wire.send(b"x");
    bench.run();
    assert_eq!(bench.queue(INPUT).used(), Some((0, 1)));
    // One that is interrupted for ever.
    wire.change(|state| state.errors.extend([ErrorKind::Interrupted; 8]));
    print(&mut bench, b"lost");
    bench.run();
    assert_eq!((bench.queue(OUTPUT).used(), wire.take()), (Some((2, 0)), vec![]));
    assert!(!bench.needs_reset());
}

#[test]
fn a_reset_amid_a_request_forgets_it() {
    let (mut bench, wire) = bench();
    wire.change(|state| state.room = 3);
    print(&mut bench, b"0123456789");
    bench.queue(INPUT).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    bench.run();
    bench.reset();
    wire.change(|state| state.room = 100);
    wire.send(b"early");
    assert_eq!(bench.run(), 0);
    assert_eq!((wire.take(), wire.left()), (b"012".to_vec(), 5));
    bench.start(feature::SIZE);
    print(&mut bench, b"abc");
    bench.run();
    assert_eq!((wire.take(), bench.queue(OUTPUT).used()), (b"abc".to_vec(), Some((0, 0))));
    bench.queue(INPUT).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    bench.run();
    assert_eq!((bench.queue(INPUT).used(), bench.read(FREE, 5)), (Some((0, 5)), b"early".to_vec()));
}

#[test]
fn what_waited_before_the_driver_came_is_found() {
    let wire = Wire::new();
    let device = Console::new(vec![Port::console(wire.clone())]).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    wire.send(b"early");
    bench.run();
    bench.start(0);
    bench.queue(INPUT).add(&[], &[(FREE, 8)]);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.queue(INPUT).used(), Some((0, 5)));
}

#[test]
fn the_size_is_in_the_configuration_and_interrupts_once() {
    let (mut bench, _) = bench();
    let handle = bench.device().handle();
    handle.resize(0, 80, 25);
    handle.resize(1, 7, 7);
    assert_eq!((bench.run(), bench.register(0x60)), (1, 2));
    assert_eq!(bench.config(0), [80, 0, 25, 0]);
    handle.resize(0, 80, 25);
    assert_eq!(bench.run(), 0);
    bench.reset();
    handle.resize(0, 132, 43);
    assert_eq!(bench.run(), 0);
    bench.start(feature::SIZE);
    assert_eq!((bench.run(), bench.config(0)), (0, [132, 0, 43, 0]));
}

#[test]
fn what_cannot_be_a_console() {
    let ports = |names: &[&str]| {
        let ports = names.iter().map(|name| Port::named(*name, Wire::new())).collect();
        Console::<Memory>::new(ports).map(drop)
    };
    assert!(matches!(ports(&[]), Err(ConsoleError::Ports { count: 0 })));
    assert!(matches!(ports(&["a"; 17]), Err(ConsoleError::Ports { count: 17 })));
    let long = "n".repeat(65);
    for name in ["", "a/b", "a\n", &long] {
        assert!(matches!(ports(&["good", name]), Err(ConsoleError::Name { .. })), "{name:?}");
    }
    assert!(ports(&["org.qemu.guest_agent.0", &long[1..]]).is_ok());
}

#[test]
fn bears_what_a_guest_does_to_it() {
    let memory = vm_memory::GuestMemoryMmap::<()>::from_ranges(&[(vm_memory::GuestAddress(0), 0x1_0000)]);
    let memory = Arc::new(memory.unwrap());
    let make = || {
        let ports = vec![Port::console(Wire::new()), Port::named("two", Wire::new())];
        Mutex::new(VirtioMmio::new(Console::new(ports).unwrap(), Arc::clone(&memory), Arc::new(NoIrq)))
    };
    crate::conformance::check("virtio-console", VirtioMmio::LEN, make).unwrap();
}

mod model {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Print(Vec<u8>),
        Offer(u32),
        Send(Vec<u8>),
        Room(usize),
        Open(bool),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = || prop::collection::vec(any::<u8>(), 1..6000);
        prop_oneof![
            5 => bytes().prop_map(Step::Print),
            5 => (0_u32..6000).prop_map(Step::Offer),
            4 => bytes().prop_map(Step::Send),
            4 => (0_usize..9000).prop_map(Step::Room),
            2 => any::<bool>().prop_map(Step::Open),
            1 => Just(Step::Restart),
        ]
    }

    /// Two queues, two streams, a valve.
    #[derive(Default)]
    struct Model {
        requests: VecDeque<VecDeque<u8>>,
        buffers: VecDeque<u32>,
        sent: VecDeque<u8>,
        room: usize,
        is_open: bool,
        printed: Vec<u8>,
        requests_done: usize,
        received: VecDeque<Vec<u8>>,
    }

    impl Model {
        fn settle(&mut self) {
            while let Some(request) = self.requests.front_mut() {
                let taken = request.len().min(self.room);
                if self.is_open {
                    self.printed.extend(request.drain(..taken));
                    self.room -= taken;
                    if !request.is_empty() {
                        break;
                    }
                }
                self.requests.pop_front();
                self.requests_done += 1;
            }
            while let Some(len) = self.buffers.front() {
                let len = self.sent.len().min(4096).min(usize::try_from(*len).unwrap());
                if len == 0 && self.buffers[0] > 0 {
                    break;
                }
                self.buffers.pop_front();
                self.received.push_back(self.sent.drain(..len).collect());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Every byte goes through once and in order, and each request comes back when its bytes have.
        #[test]
        fn behaves_as_its_model(steps in prop::collection::vec(step(), 1..60)) {
            let (mut bench, wire) = bench();
            let mut model = Model { is_open: true, room: usize::MAX, ..Model::default() };
            let (mut prints, mut offers) = (0, 0);
            for step in steps {
                match step {
                    Step::Print(bytes) if model.requests.len() < 16 => {
                        // Each where the one before that had its descriptor lay: that one is back.
                        let at = FREE + prints % 16 * 0x2000;
                        prints += 1;
                        bench.write(at, &bytes);
                        bench.queue(OUTPUT).add(&[(at, bytes.len().try_into().unwrap())], &[]);
                        bench.notify(1);
                        model.requests.push_back(bytes.into());
                    }
                    Step::Offer(len) if model.buffers.len() < 16 => {
                        let at = FREE + 0x10_0000 + offers % 16 * 0x2000;
                        offers += 1;
                        bench.queue(INPUT).add(&[], &[(at, len)]);
                        bench.notify(0);
                        model.buffers.push_back(len);
                    }
                    Step::Send(bytes) => {
                        wire.send(&bytes);
                        model.sent.extend(bytes);
                    }
                    Step::Room(room) => {
                        wire.change(|state| state.room = room);
                        model.room = room;
                    }
                    Step::Open(is_open) => {
                        wire.change(|state| state.is_open = is_open);
                        model.is_open = is_open;
                    }
                    Step::Restart => {
                        bench.start(0);
                        (prints, offers) = (0, 0);
                        model.requests.clear();
                        model.buffers.clear();
                    }
                    Step::Print(_) | Step::Offer(_) => {}
                }
                bench.run();
                let first = offers - u64::try_from(model.buffers.len()).unwrap();
                model.settle();
                prop_assert_eq!(wire.take(), std::mem::take(&mut model.printed));
                for _ in 0..std::mem::take(&mut model.requests_done) {
                    prop_assert!(bench.queue(OUTPUT).used().is_some());
                }
                prop_assert_eq!(bench.queue(OUTPUT).used(), None);
                for (place, expected) in (first..).zip(std::mem::take(&mut model.received)) {
                    let len = expected.len();
                    prop_assert_eq!(bench.queue(INPUT).used().map(|(_, len)| len), u32::try_from(len).ok());
                    let at = FREE + 0x10_0000 + place % 16 * 0x2000;
                    prop_assert_eq!(bench.read(at, len), expected);
                }
                prop_assert_eq!(bench.queue(INPUT).used(), None);
                prop_assert_eq!(wire.left(), model.sent.len());
            }
        }
    }
}

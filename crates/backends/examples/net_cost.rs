//! What a packet of 1,500 bytes costs each way over a TAP, beside a floor written by hand that only waits, moves the bytes
//! and signals. It prints nanoseconds: on a machine whose clock counts instructions these are instructions.
//!
//! Needs root, for a network namespace of its own, and the program `ip`.

#![allow(unsafe_code, reason = "the floor calls the kernel by itself")]
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "sizes of structures")]

use std::error::Error;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use strata_backends::tap::{Tap, TapOptions};
use strata_devices::event_manager::{EventManager, MutEventSubscriber, SubscriberOps as _};
use strata_devices::virtio::net::{HEADER, Net, NetConfig, feature};
use strata_devices::virtio::testing::{FREE, Memory, Ring};
use strata_devices::virtio::{VirtioMmio, feature as ring};
use strata_devices::{DeviceMut as _, IrqLine};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const PACKETS: u32 = 20_000;
const ROUNDS: usize = 7;
const LEN: usize = HEADER + 14 + 1500;
/// Where the rings lie.
const RINGS: [u64; 2] = [0x1_0000, 0x2_0000];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Irqfd(EventFd);

impl IrqLine for Irqfd {
    fn pulse(&self) {
        let _ = self.0.write(1);
    }
}

/// A device, its driver and its event loop.
struct Machine {
    transport: VirtioMmio<Net<Tap, Memory>, Memory>,
    events: EventManager<Box<dyn MutEventSubscriber + Send>>,
    queues: [Ring; 2],
    /// How much of each queue has been used.
    used: [u16; 2],
    memory: Memory,
}

impl Machine {
    fn new(tap: Vec<Tap>) -> Result<Self> {
        let memory: Memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4 << 20)])?);
        let net = Net::new(&NetConfig::new("52:54:00:12:34:56".parse()?), tap)?;
        let mut events = EventManager::new()?;
        for worker in net.workers() {
            events.add_subscriber(worker);
        }
        let queues = RINGS.map(|at| Ring::new(Arc::clone(&memory), at, 256));
        let line = Arc::new(Irqfd(EventFd::new(EFD_NONBLOCK)?));
        let transport = VirtioMmio::new(net, Arc::clone(&memory), line);
        let mut machine = Self { transport, events, queues, used: [0; 2], memory };
        machine.restart();
        Ok(machine)
    }

    fn set(&mut self, register: u64, value: u64) {
        let _ = self.transport.write(register, &(value as u32).to_le_bytes());
    }

    /// Resets the device, and takes it as a driver does.
    fn restart(&mut self) {
        let features = feature::MRG_RXBUF | feature::OFFLOADS | ring::EVENT_IDX | ring::VERSION_1;
        for (queue, at) in self.queues.iter_mut().zip(RINGS) {
            *queue = Ring::new(Arc::clone(&self.memory), at, 256);
            let _ = self.memory.write_slice(&[0; 0x4000], GuestAddress(at));
        }
        self.used = [0; 2];
        let (low, high) = (features, features >> 32);
        let steps =
            [(0x70, 0), (0x70, 1), (0x70, 3), (0x24, 0), (0x20, low), (0x24, 1), (0x20, high), (0x70, 0xb)];
        for (register, value) in steps {
            self.set(register, value);
        }
        for queue in 0..2 {
            let areas = self.queues[queue].areas();
            self.set(0x30, queue as u64);
            self.set(0x38, 256);
            for (place, area) in (0..).zip(areas) {
                self.set(0x80 + 16 * place, area);
            }
            self.set(0x44, 1);
        }
        self.set(0x70, 0xf);
        self.run();
    }

    fn run(&mut self) {
        while self.events.run_with_timeout(0).is_ok_and(|count| count > 0) {}
    }

    /// One turn of the event loop, as a thread of the VMM's takes it; then the driver takes a used buffer.
    fn turn(&mut self, queue: usize) {
        let _ = self.events.run_with_timeout(-1);
        assert!(self.queues[queue].used().is_some());
        self.used[queue] = self.used[queue].wrapping_add(1);
        self.queues[queue].set_used_event(self.used[queue]);
    }

    fn give(&mut self, queue: usize) {
        let buffer = [(FREE, if queue == 0 { 1536 } else { LEN as u32 })];
        let (readable, writable) = if queue == 0 { (&[][..], &buffer[..]) } else { (&buffer[..], &[][..]) };
        self.queues[queue].add(readable, writable);
    }
}

/// What a program by hand needs.
struct Floor {
    tap: Tap,
    epoll: OwnedFd,
    doorbell: EventFd,
    irqfd: EventFd,
    packet: Vec<u8>,
}

impl Floor {
    fn new(tap: Tap) -> Result<Self> {
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(0)) };
        let [doorbell, irqfd] = [EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?];
        for fd in [tap.as_raw_fd(), doorbell.as_raw_fd()] {
            let mut event =
                libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET).cast_unsigned(), u64: 0 };
            // SAFETY: the event is there.
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        }
        Ok(Self { tap, epoll, doorbell, irqfd, packet: vec![0; LEN] })
    }

    /// Waits, moves a packet, signals.
    fn turn(&mut self, sends: bool) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
        // SAFETY: there are 16 events.
        unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 16, -1) };
        let piece = libc::iovec { iov_base: self.packet.as_mut_ptr().cast(), iov_len: LEN };
        let fd = self.tap.as_raw_fd();
        // SAFETY: the packet is there, for reading and for writing.
        let moved = unsafe {
            if sends { libc::writev(fd, &raw const piece, 1) } else { libc::readv(fd, &raw const piece, 1) }
        };
        assert_eq!(moved, LEN as isize);
        let _ = self.irqfd.write(1);
    }
}

/// The host's side: a socket that puts packets on an interface.
struct Source(OwnedFd, libc::sockaddr_ll);

impl Source {
    fn new(interface: &str) -> Result<Self> {
        let name = std::ffi::CString::new(interface)?;
        // SAFETY: the name ends with a zero, the address is plain data, and the descriptor is nobody else's.
        unsafe {
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()).cast_signed();
            address.sll_halen = 6;
            Ok(Self(OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)), address))
        }
    }

    fn send(&self, frame: &[u8]) {
        let (address, size) = ((&raw const self.1).cast(), size_of_val(&self.1) as u32);
        // SAFETY: the frame and the address are there.
        let sent =
            unsafe { libc::sendto(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, size) };
        assert_eq!(sent, frame.len() as isize);
    }
}

/// Nanoseconds a packet.
fn time(mut packet: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..PACKETS {
        packet();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(PACKETS)
}

/// Without what both have in common: the other side's work.
fn report(what: &str, rounds: &[[f64; 3]]) {
    let median = |of: usize| {
        let mut times: Vec<_> = rounds.iter().map(|round| round[of]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (floor, device) = (median(1) - median(0), median(2) - median(0));
    println!("{what}: floor {floor:.0} ns, device {device:.0} ns, ratio {:.2}", device / floor);
}

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status()?;
    if status.success() { Ok(()) } else { Err(format!("ip {arguments} failed").into()) }
}

fn main() -> Result<()> {
    // SAFETY: it changes nothing but this process's namespace.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err("a network namespace of its own needs root".into());
    }
    let mut floor = Floor::new(Tap::open(&TapOptions::new("floor"))?.remove(0))?;
    let mut machine = Machine::new(Tap::open(&TapOptions::new("device"))?)?;
    for name in ["floor", "device"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        ip(&format!("link set {name} up"))?;
    }
    // Of a protocol that nobody knows, to everybody.
    let ethernet = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5];
    floor.packet[HEADER..HEADER + 14].copy_from_slice(&ethernet);
    let frame = floor.packet[HEADER..].to_vec();
    machine.memory.write_slice(&floor.packet, GuestAddress(FREE))?;

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        machine.restart();
        let common = time(|| {
            machine.give(1);
            machine.queues[1].set_used_event(0);
            machine.queues[1].used();
            let _ = floor.irqfd.write(1);
        });
        let by_hand = time(|| {
            machine.give(1);
            machine.queues[1].set_used_event(0);
            machine.queues[1].used();
            let _ = floor.doorbell.write(1);
            floor.turn(true);
        });
        machine.restart();
        let device = time(|| {
            machine.give(1);
            machine.transport.doorbells()[1].ring();
            machine.turn(1);
        });
        rounds.push([common, by_hand, device]);
    }
    report("sending", &rounds);

    rounds.clear();
    let (to_floor, to_device) = (Source::new("floor")?, Source::new("device")?);
    for _ in 0..ROUNDS {
        let common = time(|| {
            machine.give(0);
            machine.queues[0].used();
        });
        let by_hand = time(|| {
            machine.give(0);
            machine.queues[0].used();
            to_floor.send(&frame);
            floor.turn(false);
        });
        machine.restart();
        (0..200).for_each(|_| machine.give(0));
        machine.transport.doorbells()[0].ring();
        machine.run();
        let device = time(|| {
            to_device.send(&frame);
            machine.turn(0);
            machine.give(0);
        });
        rounds.push([common, by_hand, device]);
    }
    report("receiving, with what the host's sender does", &rounds);
    Ok(())
}

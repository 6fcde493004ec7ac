//! A guest and exits that nobody made.

use std::sync::Arc;

use strata_cpu::X86State;
use strata_vmm::devices::AddressSpace;
use strata_vmm::vcpu::ExitRecord;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::event::{Cpu, Event, What};
use super::line::Reader;
use super::writer::Render;
use super::{Guest, Place};
use crate::Symbols;
use crate::clock::Times;

pub(crate) type Memory = GuestMemoryMmap<()>;

/// Real-mode code at `start`, 0x1000: `out dx,al; in al,0x60; mov [0x8000],eax; mov al,[0x8000]; hlt`.
const CODE: &[u8] = b"\xee\xe4\x60\x66\xa3\x00\x80\xa0\x00\x80\xf4";

/// RIP for each of [`exits`], as KVM leaves it.
const RIPS: [u16; 5] = [0x1000, 0x1001, 0x1007, 0x1007, 0x100b];

pub(crate) fn place(space: AddressSpace, first: u64, len: u64, name: &str) -> Place {
    Place { space, first, last: first + len - 1, name: name.to_owned() }
}

pub(crate) fn places() -> Vec<Place> {
    vec![
        place(AddressSpace::Pio, 0x60, 1, "i8042"),
        place(AddressSpace::Pio, 0x64, 1, "i8042"),
        place(AddressSpace::Pio, 0x3f8, 8, "com1"),
        place(AddressSpace::Mmio, 0xd000_0000, 0x1000, "disk"),
    ]
}

pub(crate) fn guest() -> Guest<Memory> {
    let memory = Memory::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap();
    memory.write_slice(CODE, GuestAddress(0x1000)).unwrap();
    let symbols = Symbols::read(b"0000000000001000 T start\n0000000000001007 T done\n").unwrap();
    Guest { memory, cpus: 4, places: places(), symbols: Some(Arc::new(symbols)) }
}

/// The exits of the code, 10 microseconds in the guest and 2.5 in the VMM each.
pub(crate) fn exits() -> [ExitRecord; 5] {
    [
        ExitRecord::PioWrite { port: 0x3f8, width: 1, data: b"H".to_vec() },
        ExitRecord::PioRead { port: 0x60, width: 1, data: vec![0x1c] },
        ExitRecord::MmioWrite { addr: 0x8000, data: vec![0x1c, 0, 0, 0] },
        ExitRecord::MmioRead { addr: 0x8000, data: vec![0xff] },
        ExitRecord::Halt,
    ]
}

pub(super) fn event(number: u16, record: &ExitRecord) -> Event {
    let mut state = X86State::real(RIPS[usize::from(number) % RIPS.len()]);
    state.regs.rdx = 0x3f8;
    state.regs.rax = if number == 0 { 0x48 } else { 0x1c };
    let back = u64::from(number) * 12_500 + 10_000;
    Event {
        vcpu: 0,
        times: Times { back, guest: 10_000, host: 2_500 },
        what: What::of(&record.clone().lend()),
        cpu: Some(Cpu::of(&guest().memory, &state)),
    }
}

pub(super) fn events() -> Vec<Event> {
    (0..).zip(exits()).map(|(number, record)| event(number, &record)).collect()
}

/// What these look like.
pub(super) fn rendered(mut render: impl Render, events: &[Event], dropped: u64) -> String {
    let mut reader = Reader::new(guest());
    let mut out = Vec::new();
    render.begin(&mut out).unwrap();
    for event in events {
        render.event(&reader.read(event), &mut out).unwrap();
    }
    render.end(dropped, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

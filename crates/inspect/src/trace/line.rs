//! What a trace says of an exit: everything that its formats have in common.

use strata_cpu::{RFlags, Registers};
use strata_vmm::devices::AddressSpace;
use vm_memory::{Bytes, GuestAddress};

use super::Guest;
use super::event::{Access, Event, What};
use super::place::{self, Place};
use super::registers::{self, Register};
use crate::View;
use crate::disasm::{self, Instruction};
use crate::symbols::{self, Symbol};

/// An event with names.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) event: &'a Event,
    /// The index of the device that took the access, and its name.
    pub(super) device: Option<(usize, &'a str)>,
    /// Where in the device.
    pub(super) offset: u64,
    pub(super) register: Option<Register>,
    /// What a PC has at a port that no device has.
    pub(super) custom: Option<&'static str>,
    pub(super) instruction: Option<Instruction>,
    /// The linear address that RIP was at.
    pub(super) rip: Option<u64>,
    /// The linear address of the instruction, or else of RIP.
    pub(super) at: Option<u64>,
    pub(super) symbol: Option<Symbol<'a>>,
    pub(super) source: Option<symbols::Line>,
    /// The registers that have changed since this vCPU's last line, but RIP.
    pub(super) changed: Vec<(&'static str, u64)>,
}

impl<'a> Line<'a> {
    /// Without any name.
    pub(super) fn bare(event: &'a Event) -> Self {
        Self {
            event,
            device: None,
            offset: 0,
            register: None,
            custom: None,
            instruction: None,
            rip: None,
            at: None,
            symbol: None,
            source: None,
            changed: Vec::new(),
        }
    }

    /// What an access was to, e.g. `com1.thr`, `stub0+0x4`, `0x80`.
    pub(super) fn target(&self) -> Option<String> {
        let What::Access(access) = &self.event.what else { return None };
        let device = self.device.map(|(_, name)| name).or(self.custom);
        Some(match (device, self.register) {
            (Some(device), Some(register)) => format!("{device}.{}", register.name),
            (Some(device), None) if self.offset > 0 => format!("{device}+{:#x}", self.offset),
            (Some(device), None) => device.to_owned(),
            (None, _) => format!("{:#x}", access.at),
        })
    }
}

/// Finds names for events.
#[derive(Debug)]
pub(super) struct Reader<M> {
    guest: Guest<M>,
    /// Each vCPU's registers at its last line.
    last: Vec<Registers>,
    /// Whether a place's divisor latch is open; of serial ports.
    dlab: Vec<bool>,
}

impl<M: Bytes<GuestAddress>> Reader<M> {
    pub(super) fn new(guest: Guest<M>) -> Self {
        let dlab = vec![false; guest.places.len()];
        Self { guest, last: Vec::new(), dlab }
    }

    fn instruction(&self, event: &Event) -> Option<Instruction> {
        let cpu = event.cpu.as_ref()?;
        // The guest runs on: its page tables may have changed since, and then no instruction is named. The code is as
        // it was.
        let view = View::new(&self.guest.memory, &cpu.state);
        let code = (cpu.code.before(), cpu.code.after());
        disasm::of_past_exit(&view, &event.what.record().lend(), code, self.guest.symbols.as_deref())
    }

    pub(super) fn read<'a>(&'a mut self, event: &'a Event) -> Line<'a> {
        let changed = self.changed(event);
        if let What::Access(access) = &event.what {
            follow(&self.guest.places, &mut self.dlab, access);
        }
        let instruction = self.instruction(event);
        let rip = event.cpu.as_ref().map(|cpu| View::new(&self.guest.memory, &cpu.state).rip());
        let at = instruction.as_ref().map(|instruction| instruction.address).or(rip);
        let symbols = self.guest.symbols.as_deref();
        let mut line = Line {
            symbol: at.zip(symbols).and_then(|(at, symbols)| symbols.find(at)),
            source: at.zip(symbols).and_then(|(at, symbols)| symbols.line(at)),
            instruction,
            rip,
            at,
            changed,
            ..Line::bare(event)
        };
        if let What::Access(access) = &event.what {
            name((&self.guest.places, &self.dlab), access, &mut line);
        }
        line
    }

    fn changed(&mut self, event: &Event) -> Vec<(&'static str, u64)> {
        let Some(now) = event.cpu.as_ref().map(|cpu| cpu.state.regs) else { return Vec::new() };
        let vcpu = usize::from(event.vcpu);
        if self.last.len() <= vcpu {
            self.last.resize(vcpu + 1, Registers::default());
        }
        let before = self.last.get_mut(vcpu).map(|last| std::mem::replace(last, now)).unwrap_or_default();
        let pairs = named(&before).zip(named(&now));
        pairs.filter(|((_, before), (_, now))| before != now).map(|(_, now)| now).collect()
    }
}

/// What the devices at these places call an access, with the state of their divisor latches.
pub(super) fn name<'a>((places, dlab): (&'a [Place], &[bool]), access: &Access, line: &mut Line<'a>) {
    let found = place::find(places, access.space(), access.at);
    if let Some((index, place)) = found.and_then(|index| Some((index, places.get(index)?))) {
        let dlab = dlab.get(index).is_some_and(|dlab| *dlab);
        line.device = Some((index, &place.name));
        line.offset = access.at - place.first;
        line.register = registers::of_device(place, access.at, access.is_write(), dlab);
    } else if access.space() == AddressSpace::Pio
        && let Some((device, register)) = registers::of_port(access.at, access.is_write())
    {
        (line.custom, line.register) = (Some(device), Some(register));
    }
}

/// Keeps in mind what changes the meaning of later accesses. What was not shown or lost is not known here.
pub(super) fn follow(places: &[Place], dlab: &mut [bool], access: &Access) {
    if let Some(index) = place::find(places, access.space(), access.at)
        && let Some(place) = places.get(index)
        && place.name == "com1"
        && access.is_write()
        && access.at - place.first == registers::LCR
        && let (Some(value), Some(latch)) = (access.value(), dlab.get_mut(index))
    {
        *latch = value & registers::DLAB != 0;
    }
}

/// The flags that are the result of arithmetic (SDM vol. 1, 3.4.3.1 "Status Flags").
const STATUS: RFlags =
    RFlags::CF.union(RFlags::PF).union(RFlags::AF).union(RFlags::ZF).union(RFlags::SF).union(RFlags::OF);

/// The registers in the order in which they are shown. Of RFLAGS those that a compiler does not change all the time.
fn named(registers: &Registers) -> impl Iterator<Item = (&'static str, u64)> {
    let flags = ("rflags", registers.rflags.difference(STATUS).bits());
    registers.general().into_iter().chain([flags])
}

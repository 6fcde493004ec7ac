//! `monitor`: what gdb has no command for.

use std::fmt::Write as _;

use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd};
use strata_cpu::{AccessKind, SegmentKind, Translation, X86State};
use vm_memory::{Bytes, GuestAddress};

use super::guest::{Guest, Never};
use super::layout::Layout;
use super::{Exits, Memory};
use crate::fault::{self, Next};
use crate::{View, disasm};

const HELP: &str = "\
monitor exits [N]       the last N exits of this vCPU (16), from the flight recorder
monitor tables ADDRESS  the page tables' way from a linear address to a physical one
monitor regs            this vCPU's registers, with what segments hide
monitor explain         what this vCPU's next instruction runs into, and why
monitor host            what the host can do for a debugger
monitor phys [on|off]   whether addresses that gdb reads and writes are physical
monitor arch [auto|x86-64|i386|i8086]
                        what gdb is told to take the guest for when it connects the next time
monitor vcpu N          which vCPU \"this vCPU\" is; at each stop, the one that stopped
";

/// How many exits are shown unless more are asked for.
const EXITS: usize = 16;

impl<M: Memory> MonitorCmd for Guest<M> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), Never> {
        let command = String::from_utf8_lossy(command);
        let mut words = command.split_ascii_whitespace();
        let name = words.next().unwrap_or("help");
        let argument = words.next();
        let text = match name {
            "help" => HELP.to_owned(),
            "exits" => self.exits(argument),
            "tables" => self.tables(argument),
            "regs" => self.regs(),
            "explain" => self.explain(),
            "host" => self.host(),
            "phys" => self.phys(argument),
            "arch" => self.arch(argument),
            "vcpu" => self.choose(argument),
            _ => format!("there is no `monitor {name}`; `monitor help` lists what there is\n"),
        };
        // It goes out in packets, each of which gdb has to take.
        for line in text.split_inclusive('\n') {
            out.write_raw(line.as_bytes());
        }
        Ok(())
    }
}

impl<M: Memory> Guest<M> {
    /// Does something with the current vCPU's registers; says so if it cannot tell them.
    fn with_state(&mut self, what: impl FnOnce(&Self, &X86State) -> String) -> String {
        let vcpu = self.current;
        match self.state(vcpu) {
            Some(state) => what(self, &state),
            None => format!("the registers of vCPU {vcpu} cannot be read\n"),
        }
    }

    fn exits(&self, argument: Option<&str>) -> String {
        let Some(count) = argument.map_or(Some(EXITS), |text| text.parse().ok()) else {
            return "write a number of exits, as in `monitor exits 20`\n".to_owned();
        };
        let Some(exits) = self.setup.exits.as_ref() else {
            return "no flight recorder is on\n".to_owned();
        };
        let exits: &Exits = &**exits;
        let lines = exits(self.current, count);
        if lines.is_empty() { "there were no exits\n".to_owned() } else { lines.join("\n") + "\n" }
    }

    fn tables(&mut self, argument: Option<&str>) -> String {
        let Some(address) = argument.and_then(number) else {
            return "write an address, as in `monitor tables 0xffff800000001000`\n".to_owned();
        };
        self.with_state(|guest, state| {
            let view = View::new(&guest.setup.memory, state);
            match view.translate(address, AccessKind::Read) {
                Ok(found) => walked(&found),
                Err(fault) => format!("{fault}\n"),
            }
        })
    }

    fn regs(&mut self) -> String {
        self.with_state(|guest, state| registers(guest.current, state))
    }

    fn explain(&mut self) -> String {
        let mut text = self.with_state(|guest, state| {
            let view = View::new(&guest.setup.memory, state);
            match guest.setup.explain.as_deref() {
                Some(explain) => explain(&view),
                None => next(&view),
            }
        });
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    fn host(&self) -> String {
        let can = self.setup.abilities;
        let word = |can| if can { "yes" } else { "no" };
        let mut text = String::new();
        for (what, can, instead) in [
            ("single steps", can.single_step, "nothing"),
            ("breakpoint registers", can.breakpoints, "single steps"),
            ("watchpoint registers", can.watchpoints, "single steps, which see changes only"),
            ("int3 breakpoints", can.software_breakpoints, "breakpoint registers, then single steps"),
        ] {
            let instead = if can { String::new() } else { format!("; instead: {instead}") };
            let _ = writeln!(text, "{what}: {}{instead}", word(can));
        }
        text
    }

    fn phys(&mut self, argument: Option<&str>) -> String {
        match argument {
            Some("on") => self.is_physical = true,
            Some("off") => self.is_physical = false,
            None => {}
            Some(_) => return "write `on` or `off`\n".to_owned(),
        }
        let kind = if self.is_physical { "physical" } else { "linear" };
        format!("addresses are {kind}\n")
    }

    fn arch(&mut self, argument: Option<&str>) -> String {
        let layout = match argument {
            Some("auto") => None,
            Some("x86-64" | "i386:x86-64") => Some(Layout::X86_64),
            Some("i386") => Some(Layout::I386),
            Some("i8086") => Some(Layout::I8086),
            None => return format!("gdb takes the guest for {}\n", self.layout.architecture()),
            Some(_) => return "write `auto`, `x86-64`, `i386` or `i8086`\n".to_owned(),
        };
        self.setup.layout.set(layout);
        "from the next connection on: type `disconnect`, then `target remote` again\n".to_owned()
    }

    fn choose(&mut self, argument: Option<&str>) -> String {
        if let Some(text) = argument {
            let Some(vcpu) = text.parse().ok().filter(|&vcpu: &u8| vcpu < self.setup.cpus) else {
                return format!("there are vCPUs 0 to {}\n", self.setup.cpus.saturating_sub(1));
            };
            self.current = vcpu;
        }
        format!("vCPU {}\n", self.current)
    }
}

/// The next instruction, and what becomes of it.
fn next<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> String {
    let instruction =
        disasm::at(view, view.rip(), None).map_or_else(|| "(nothing)".to_owned(), |found| found.text);
    let fate = match fault::next(view) {
        Next::Runs => "nothing is wrong with it".to_owned(),
        Next::Raises(fault) => fault.to_string(),
        Next::Perhaps(fault) => format!("perhaps {fault}"),
        Next::NoCode { linear, phys } => format!("fetching {linear:#x}: there is no RAM at {phys:#x}"),
        Next::Unknown(why) => why.to_string(),
    };
    format!("{:#x}: {instruction}\n  {fate}", view.rip())
}

/// Decimal, or hexadecimal with `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn walked(found: &Translation) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{found}");
    text
}

fn registers(vcpu: u8, state: &X86State) -> String {
    let mut text = format!("vCPU {vcpu}, {}\n", state.mode());
    let segments = [
        ("cs", &state.cs),
        ("ss", &state.ss),
        ("ds", &state.ds),
        ("es", &state.es),
        ("fs", &state.fs),
        ("gs", &state.gs),
        ("tr", &state.tr),
        ("ldt", &state.ldt),
    ];
    let regs = &state.regs;
    let _ =
        writeln!(text, "rip {:#018x}  rsp {:#018x}  rflags {:#x}", regs.rip, regs.rsp, regs.rflags.bits());
    for (name, segment) in segments {
        let _ = writeln!(
            text,
            "{name:<4}{:#06x}  base {:#018x}  limit {:#010x}  dpl {}  {}{}",
            segment.selector,
            segment.base,
            segment.limit,
            segment.dpl,
            kind(segment.kind),
            if segment.unusable { "  unusable" } else { "" }
        );
    }
    for (name, table) in [("gdt", &state.gdt), ("idt", &state.idt)] {
        let _ = writeln!(text, "{name} base {:#018x}  limit {:#06x}", table.base, table.limit);
    }
    let _ = writeln!(
        text,
        "cr0 {:#x} {}\ncr2 {:#x}\ncr3 {:#x}\ncr4 {:#x} {}\nefer {:#x} {}",
        state.cr0.bits(),
        names(state.cr0.iter_names().map(|(name, _)| name)),
        state.cr2,
        state.cr3,
        state.cr4.bits(),
        names(state.cr4.iter_names().map(|(name, _)| name)),
        state.efer.bits(),
        names(state.efer.iter_names().map(|(name, _)| name))
    );
    text
}

/// In words, as the manuals have them: `code, readable, accessed`.
fn kind(kind: SegmentKind) -> String {
    let with = |what: &str, attributes: &[(bool, &str)]| {
        let set = attributes.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
        std::iter::once(what).chain(set).collect::<Vec<_>>().join(", ")
    };
    match kind {
        SegmentKind::Code { readable, conforming, accessed } => {
            with("code", &[(readable, "readable"), (conforming, "conforming"), (accessed, "accessed")])
        }
        SegmentKind::Data { writable, expand_down, accessed } => {
            with("data", &[(writable, "writable"), (expand_down, "expand-down"), (accessed, "accessed")])
        }
        SegmentKind::Ldt => "LDT".to_owned(),
        SegmentKind::Tss { busy } => with("TSS", &[(busy, "busy")]),
        SegmentKind::System(bits) => format!("system, type {bits:#x}"),
    }
}

/// `PE ET NE`.
fn names(set: impl Iterator<Item = &'static str>) -> String {
    set.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "monitor_test.rs"]
mod tests;

//! Addresses and instructions as text.

use strata_cpu::WalkFault;
use vm_memory::{Bytes, GuestAddress};

use super::Death;
use crate::{Symbols, View, disasm};

/// `kmain+0x1c (0x10011c)`, or the address alone.
pub(super) fn name(symbols: Option<&Symbols>, address: u64) -> String {
    match symbols.and_then(|symbols| symbols.find(address)) {
        Some(symbol) => format!("{symbol} ({address:#x})"),
        None => format!("{address:#x}"),
    }
}

/// `kmain+0x1c: mov [rdi],rax    48 89 07    src/main.rs:12`; nothing where no instruction can be read.
pub(super) fn instruction<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    symbols: Option<&Symbols>,
    address: u64,
) -> Option<String> {
    let instruction = disasm::at(view, address, symbols)?;
    let place = match symbols.and_then(|symbols| symbols.find(address)) {
        Some(symbol) => symbol.to_string(),
        None => format!("{address:#x}"),
    };
    let bytes = hex(&instruction.bytes);
    let line = symbols.and_then(|symbols| symbols.line(address));
    let line = line.map(|line| format!("    {}:{}", line.file, line.line)).unwrap_or_default();
    Some(format!("{place}: {instruction}    {bytes}{line}"))
}

/// `48 89 07`
pub(super) fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

/// A walk through page tables, entry by entry, the guilty one marked.
pub(super) fn walk(fault: &WalkFault) -> Vec<String> {
    let line = |step| {
        let mark = if Some(step) == fault.at.as_ref() { ">" } else { " " };
        format!("{mark} {step}")
    };
    fault.steps.iter().map(line).collect()
}

impl<M: Bytes<GuestAddress>> Death<'_, M> {
    pub(super) fn name(&self, address: u64) -> String {
        name(self.symbols, address)
    }

    /// The line of the instruction at a linear address.
    pub(super) fn shown(&self, address: u64) -> Vec<String> {
        instruction(&self.view, self.symbols, address).into_iter().collect()
    }

    /// ` on vCPU 1`, where that has to be said.
    pub(super) fn on_vcpu(&self) -> String {
        self.vcpu.map(|vcpu| format!(" on vCPU {vcpu}")).unwrap_or_default()
    }
}

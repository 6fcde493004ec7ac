//! One instruction as text, and the instruction that caused an exit.

mod cause;

use std::fmt;

use iced_x86::{
    Decoder, DecoderError, DecoderOptions, Formatter, Instruction as Decoded, NasmFormatter, Register,
    SymbolResolver, SymbolResult,
};
use strata_cpu::Mode;
use strata_vmm::Exit;
use vm_memory::{Bytes, GuestAddress};

use crate::{Symbols, View};

/// The longest instruction, in bytes; a longer one is #GP. SDM 2A 2.3.11.
pub const MAX_LEN: usize = 15;

/// An instruction: [`Display`](fmt::Display) prints its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Linear address of its first byte.
    pub address: u64,
    /// Its 1 to [`MAX_LEN`] bytes; if they are no instruction, those that show it.
    pub bytes: Vec<u8>,
    /// As nasm writes it, e.g. `mov [rdi],rax`; `(bad)` where the bytes are no instruction.
    pub text: String,
}

/// The instruction at a linear address, decoded for the processor's current mode. `None` where its bytes cannot all be
/// read, because memory is not mapped or there is no RAM.
///
/// With symbols, the targets of branches and the addresses of memory operands that are known without looking at
/// registers are printed as symbols.
///
/// ```
/// use strata_cpu::X86State;
/// use strata_inspect::{View, disasm};
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
///
/// let memory: GuestMemoryMmap<()> = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)])?;
/// memory.write_slice(b"\x66\xba\xf8\x03\xee", GuestAddress(0x100))?;
/// let state = X86State::protected(0x100, 0);
/// let view = View::new(&memory, &state);
/// assert_eq!(disasm::at(&view, 0x100, None).unwrap().text, "mov dx,0x3f8");
/// assert_eq!(disasm::at(&view, 0x104, None).unwrap().text, "out dx,al");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn at<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    linear: u64,
    symbols: Option<&Symbols>,
) -> Option<Instruction> {
    let mut bytes = [0; MAX_LEN];
    let len = view.read(linear, &mut bytes);
    let decoded = decode(view, linear, bytes.get(..len)?)?;
    Some(show(view, linear, (&decoded, &bytes), symbols))
}

/// The instruction that caused an exit; `None` for exits without one, and where none near RIP fits.
///
/// The state has to be the one of the exit, and memory as the instruction left it. KVM leaves RIP at the instruction for
/// reads, and for `out` where it need not emulate it; for writes to memory, `hlt` and an emulated `out` RIP is behind it.
/// So this decodes at RIP and backwards, and takes what fits: the port and the width, or an operand that translates to
/// the exit's address. Where two in a row fit alike (`out dx,al` twice), it may name the other one.
pub fn of_exit<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    exit: &Exit<'_>,
    symbols: Option<&Symbols>,
) -> Option<Instruction> {
    cause::find(view, exit, symbols)
}

/// As [`of_exit`], for one that is past: `before` are the bytes that ended at RIP, `ahead` those that began there, up to
/// [`MAX_LEN`] each, as they were. Operands are still translated by the view's page tables.
pub(crate) fn of_past_exit<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    exit: &Exit<'_>,
    code: (&[u8], &[u8]),
    symbols: Option<&Symbols>,
) -> Option<Instruction> {
    cause::find_in(view, exit, code, symbols)
}

/// What the bytes at a linear address are; `None` if they end before the instruction.
fn decode<M: Bytes<GuestAddress>>(view: &View<'_, M>, linear: u64, bytes: &[u8]) -> Option<Decoded> {
    let offset = linear.wrapping_sub(code_base(view));
    // RIP counts 16 bits in 16-bit code, and 32 in 32-bit code.
    let offset = match view.bitness() {
        16 => offset & 0xffff,
        32 => offset & 0xffff_ffff,
        _ => offset,
    };
    let mut decoder = Decoder::with_ip(view.bitness(), bytes, offset, DecoderOptions::NONE);
    let decoded = decoder.decode();
    (decoder.last_error() != DecoderError::NoMoreBytes).then_some(decoded)
}

/// What is added to an offset in CS. In 64-bit mode nothing is.
fn code_base<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> u64 {
    match view.state().mode() {
        Mode::Long64 => 0,
        _ => view.state().cs.base,
    }
}

fn show<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    linear: u64,
    (decoded, bytes): (&Decoded, &[u8]),
    symbols: Option<&Symbols>,
) -> Instruction {
    let known = symbols.and_then(|symbols| Known::of(view, decoded, symbols));
    let known = known.map(|known| Box::new(known) as Box<dyn SymbolResolver>);
    let mut formatter = NasmFormatter::with_options(known, None);
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    let mut text = String::new();
    formatter.format(decoded, &mut text);
    Instruction { address: linear, bytes: bytes.iter().copied().take(decoded.len()).collect(), text }
}

/// The one address in an instruction's operands that needs no register to be known, and the symbol there.
struct Known {
    addr: u64,
    start: u64,
    name: String,
}

impl Known {
    fn of<M: Bytes<GuestAddress>>(view: &View<'_, M>, decoded: &Decoded, symbols: &Symbols) -> Option<Self> {
        let (addr, base) = match decoded.near_branch_target() {
            0 if decoded.is_ip_rel_memory_operand() => (decoded.memory_displacement64(), 0),
            0 => Self::absolute(view, decoded)?,
            target => (target, code_base(view)),
        };
        let symbol = symbols.find(addr.wrapping_add(base))?;
        Some(Self { addr, start: addr.wrapping_sub(symbol.offset), name: symbol.name.to_owned() })
    }

    /// An operand like `[0x1000]`, and the base of its segment.
    fn absolute<M: Bytes<GuestAddress>>(view: &View<'_, M>, decoded: &Decoded) -> Option<(u64, u64)> {
        let state = view.state();
        let plain = decoded.memory_base() == Register::None
            && decoded.memory_index() == Register::None
            && decoded.memory_displ_size() != 0;
        let base = match (decoded.memory_segment(), state.mode()) {
            // Of these only the kernel's per-processor area starts somewhere.
            (Register::FS | Register::GS, _) => return None,
            (_, Mode::Long64) => 0,
            (Register::CS, _) => state.cs.base,
            (Register::SS, _) => state.ss.base,
            (Register::ES, _) => state.es.base,
            _ => state.ds.base,
        };
        plain.then(|| (decoded.memory_displacement64(), base))
    }
}

impl SymbolResolver for Known {
    fn symbol(
        &mut self,
        _: &Decoded,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        (address == self.addr).then(|| SymbolResult::with_str(self.start, &self.name))
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
#[path = "disasm_test.rs"]
mod tests;

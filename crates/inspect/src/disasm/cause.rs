//! Which instruction caused an exit.

use iced_x86::{Code, Instruction as Decoded, InstructionInfoFactory, OpAccess, Register, UsedMemory};
use strata_cpu::{AccessKind, Mode, RFlags, Registers};
use strata_vmm::Exit;
use vm_memory::{Bytes, GuestAddress};

use super::{Instruction, MAX_LEN, decode, show};
use crate::{Symbols, View};

/// The largest memory operand that is followed from page to page, in bytes: a register of AVX-512.
const MAX_OPERAND: u64 = 64;
const PAGE: u64 = 4096;

/// What an instruction has to do to fit an exit.
#[derive(Clone, Copy)]
enum Wanted {
    Port { write: bool, port: u16, width: u8 },
    Memory { write: bool, addr: u64, len: u64 },
    Halt,
}

impl Wanted {
    fn of(exit: &Exit<'_>) -> Option<Self> {
        Some(match exit {
            Exit::PioRead { port, width, .. } => Self::Port { write: false, port: *port, width: *width },
            Exit::PioWrite { port, width, .. } => Self::Port { write: true, port: *port, width: *width },
            Exit::MmioRead { addr, data } => {
                Self::Memory { write: false, addr: *addr, len: data.len() as u64 }
            }
            Exit::MmioWrite { addr, data } => {
                Self::Memory { write: true, addr: *addr, len: data.len() as u64 }
            }
            Exit::Halt => Self::Halt,
            _ => return None,
        })
    }

    /// RIP is behind the instruction more often than at it.
    fn is_done(self) -> bool {
        matches!(self, Self::Halt | Self::Memory { write: true, .. })
    }
}

pub(super) fn find<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    exit: &Exit<'_>,
    symbols: Option<&Symbols>,
) -> Option<Instruction> {
    let mut ahead = [0; MAX_LEN];
    let len = view.read(view.rip(), &mut ahead);
    find_in(view, exit, (&before(view, view.rip()), ahead.get(..len)?), symbols)
}

/// `before` ends at RIP, `ahead` begins there.
pub(super) fn find_in<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    exit: &Exit<'_>,
    (before, ahead): (&[u8], &[u8]),
    symbols: Option<&Symbols>,
) -> Option<Instruction> {
    let rip = view.rip();
    let regs = (view.state().cs.base, view.state().regs.rip);
    // Where a vCPU that shuts down is reset, RIP is at the reset vector (SDM 3A "First Instruction Executed"), which has done nothing.
    let died = matches!(exit, Exit::Shutdown) && regs != (0xffff_0000, 0xfff0);
    if died || matches!(exit, Exit::InternalError { .. }) {
        // What KVM could not emulate, and what no handler could be found for, has not happened.
        return Some(show(view, rip, (&decode(view, rip, ahead)?, ahead), symbols));
    }
    let search = Search { view, wanted: Wanted::of(exit)? };
    let at = || {
        let decoded = decode(view, rip, ahead)?;
        search.fits(&decoded, false).then(|| show(view, rip, (&decoded, ahead), symbols))
    };
    let behind = || {
        let (from, decoded) = search.ending_at(rip, before)?;
        let own = before.get(before.len().checked_sub(decoded.len())?..)?;
        Some(show(view, from, (&decoded, own), symbols))
    };
    if search.wanted.is_done() { behind().or_else(at) } else { at().or_else(behind) }
}

/// As many of the bytes before a linear address as there are, [`MAX_LEN`] at most.
fn before<M: Bytes<GuestAddress>>(view: &View<'_, M>, linear: u64) -> Vec<u8> {
    // Where the page before is not mapped, those on this page are.
    let on_page = usize::try_from(linear % PAGE).unwrap_or(0);
    [MAX_LEN, on_page.min(MAX_LEN)]
        .into_iter()
        .find_map(|len| {
            let mut bytes = vec![0; len];
            let start = linear.checked_sub(len as u64)?;
            (view.read(start, &mut bytes) == len).then_some(bytes)
        })
        .unwrap_or_default()
}

struct Search<'a, 'v, M> {
    view: &'a View<'v, M>,
    wanted: Wanted,
}

impl<M: Bytes<GuestAddress>> Search<'_, '_, M> {
    /// The instruction that ends at `rip` and fits, and where it begins. The shortest: what a longer one has before it is
    /// mostly the end of the instruction before. But a string instruction is seldom without `rep`.
    fn ending_at(&self, rip: u64, bytes: &[u8]) -> Option<(u64, Decoded)> {
        let mut found: Option<(u64, Decoded)> = None;
        for len in 1..=bytes.len() {
            let from = rip.wrapping_sub(len as u64);
            let Some(own) = bytes.get(bytes.len() - len..) else { break };
            let Some(decoded) = decode(self.view, from, own) else { continue };
            if decoded.len() != len || !self.fits(&decoded, true) {
                continue;
            }
            match &found {
                None => found = Some((from, decoded)),
                Some((_, short)) if decoded.code() == short.code() && is_repeated(&decoded) => {
                    found = Some((from, decoded));
                }
                Some(_) => {}
            }
        }
        found
    }

    /// `done`: the registers are as the instruction left them.
    fn fits(&self, decoded: &Decoded, done: bool) -> bool {
        match self.wanted {
            Wanted::Halt => decoded.code() == Code::Hlt,
            Wanted::Port { write, port, width } => port_access(decoded).is_some_and(|access| {
                let used = match access.port {
                    Some(port) => port.into(),
                    None => self.view.state().regs.rdx & 0xffff,
                };
                access.write == write && access.width == width && used == u64::from(port)
            }),
            Wanted::Memory { write, .. } => {
                // It reads from or writes to memory itself, and not through a port.
                let mut factory = InstructionInfoFactory::new();
                let info = factory.info(decoded);
                info.used_memory().iter().any(|used| {
                    let direction = if write { writes(used.access()) } else { reads(used.access()) };
                    direction && self.touches(decoded, used, done)
                })
            }
        }
    }

    fn touches(&self, decoded: &Decoded, used: &UsedMemory, done: bool) -> bool {
        // Of a repeated string instruction, which touches memory as often as a register says, one step.
        let size = match used.memory_size().size() {
            0 => decoded.memory_size().size(),
            size => size,
        };
        let len = (size as u64).min(MAX_OPERAND);
        let now = self.view.state().regs;
        let stepped = stepped_back(decoded, len, &now);
        // A string instruction with a count stays where it is, but its pointers have moved on.
        let candidates = [(!done || stepped.is_none()).then_some(now), stepped];
        let mut candidates = candidates.into_iter().flatten();
        candidates
            .any(|regs| self.linear(used, &regs, decoded).is_some_and(|linear| self.translates(linear, len)))
    }

    /// The linear address of an operand.
    fn linear(&self, used: &UsedMemory, regs: &Registers, decoded: &Decoded) -> Option<u64> {
        let linear = used.virtual_address(0, |register, _, _| self.register(register, regs, decoded))?;
        Some(if self.view.bitness() == 64 { linear } else { linear & 0xffff_ffff })
    }

    fn register(&self, register: Register, regs: &Registers, decoded: &Decoded) -> Option<u64> {
        let state = self.view.state();
        let flat = state.mode() == Mode::Long64;
        let value = match register.full_register() {
            Register::CS if !flat => state.cs.base,
            Register::DS if !flat => state.ds.base,
            Register::ES if !flat => state.es.base,
            Register::SS if !flat => state.ss.base,
            Register::CS | Register::DS | Register::ES | Register::SS => 0,
            Register::FS => state.fs.base,
            Register::GS => state.gs.base,
            Register::RIP => decoded.next_ip(),
            full => general(regs, full)?,
        };
        Some(match register.size() {
            _ if register.is_segment_register() => value,
            1 => value & 0xff,
            2 => value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        })
    }

    /// The operand at a linear address has the exit's bytes. An operand on two pages makes two exits, and one of more
    /// than eight bytes makes one for each eight.
    fn translates(&self, linear: u64, len: u64) -> bool {
        let Wanted::Memory { addr, len: wanted, write } = self.wanted else { return false };
        let kind = if write { AccessKind::Write } else { AccessKind::Read };
        // As ring 0 could: segment registers are loaded with its rights.
        let context = strata_cpu::WalkContext {
            cpl: 0,
            alignment_check: true,
            cr0: self.view.state().cr0.difference(strata_cpu::Cr0::WP),
            ..self.view.state().walk_context()
        };
        let mut done = 0;
        while done < len {
            let at = linear.wrapping_add(done);
            let piece = (PAGE - at % PAGE).min(len - done);
            if let Ok(found) = self.view.translate_as(&context, at, kind)
                && let Some(offset) = addr.checked_sub(found.phys)
                && offset < piece
                && wanted <= piece - offset
                // A whole operand, the rest of one, or eight bytes of a large one.
                && (offset == 0 || len > 8 && offset % 8 == 0)
                && (wanted == piece || len > 8)
            {
                return true;
            }
            done += piece;
        }
        false
    }
}

/// The registers before the last step of an instruction that moves pointers along: string instructions by `len`, `push`
/// and the like the stack pointer.
fn stepped_back(decoded: &Decoded, len: u64, now: &Registers) -> Option<Registers> {
    let mut regs = *now;
    if decoded.is_string_instruction() {
        let step = if now.rflags.contains(RFlags::DF) { len.wrapping_neg() } else { len };
        regs.rsi = regs.rsi.wrapping_sub(step);
        regs.rdi = regs.rdi.wrapping_sub(step);
        return Some(regs);
    }
    let increment = i64::from(decoded.stack_pointer_increment());
    regs.rsp = regs.rsp.wrapping_sub(increment.cast_unsigned());
    (increment != 0).then_some(regs)
}

fn is_repeated(decoded: &Decoded) -> bool {
    decoded.is_string_instruction() && (decoded.has_rep_prefix() || decoded.has_repne_prefix())
}

fn reads(access: OpAccess) -> bool {
    use OpAccess::{CondRead, Read, ReadCondWrite, ReadWrite};
    matches!(access, Read | CondRead | ReadWrite | ReadCondWrite)
}

fn writes(access: OpAccess) -> bool {
    use OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
    matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite)
}

/// What an instruction does with a port; `port` is `None` for the one in DX.
struct PortAccess {
    write: bool,
    width: u8,
    port: Option<u8>,
}

/// SDM 1 chapter 19 "Input/Output", 19.3.
fn port_access(decoded: &Decoded) -> Option<PortAccess> {
    use Code::{
        In_AL_DX, In_AL_imm8, In_AX_DX, In_AX_imm8, In_EAX_DX, In_EAX_imm8, Insb_m8_DX, Insd_m32_DX,
        Insw_m16_DX, Out_DX_AL, Out_DX_AX, Out_DX_EAX, Out_imm8_AL, Out_imm8_AX, Out_imm8_EAX, Outsb_DX_m8,
        Outsd_DX_m32, Outsw_DX_m16,
    };
    let (write, width) = match decoded.code() {
        In_AL_imm8 | In_AL_DX | Insb_m8_DX => (false, 1),
        In_AX_imm8 | In_AX_DX | Insw_m16_DX => (false, 2),
        In_EAX_imm8 | In_EAX_DX | Insd_m32_DX => (false, 4),
        Out_imm8_AL | Out_DX_AL | Outsb_DX_m8 => (true, 1),
        Out_imm8_AX | Out_DX_AX | Outsw_DX_m16 => (true, 2),
        Out_imm8_EAX | Out_DX_EAX | Outsd_DX_m32 => (true, 4),
        _ => return None,
    };
    let port = match decoded.code() {
        In_AL_imm8 | In_AX_imm8 | In_EAX_imm8 | Out_imm8_AL | Out_imm8_AX | Out_imm8_EAX => {
            Some(decoded.immediate8())
        }
        _ => None,
    };
    Some(PortAccess { write, width, port })
}

fn general(regs: &Registers, register: Register) -> Option<u64> {
    Some(match register {
        Register::RAX => regs.rax,
        Register::RBX => regs.rbx,
        Register::RCX => regs.rcx,
        Register::RDX => regs.rdx,
        Register::RSI => regs.rsi,
        Register::RDI => regs.rdi,
        Register::RSP => regs.rsp,
        Register::RBP => regs.rbp,
        Register::R8 => regs.r8,
        Register::R9 => regs.r9,
        Register::R10 => regs.r10,
        Register::R11 => regs.r11,
        Register::R12 => regs.r12,
        Register::R13 => regs.r13,
        Register::R14 => regs.r14,
        Register::R15 => regs.r15,
        _ => return None,
    })
}

//! The notes of a core dump: what is known about each processor.

use strata_cpu::{Segment, SegmentKind, TableRegister, X86State};

/// Linux' `elf.h`: the type of `struct elf_prstatus`, and of `struct elf_prpsinfo`.
const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;

/// For each processor its general registers; what ran; for each processor the rest.
pub(super) fn notes(cpus: &[X86State], name: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    // A debugger takes what follows a thread's registers as that thread's.
    for (state, thread) in cpus.iter().zip(1..) {
        note(&mut out, "CORE", NT_PRSTATUS, &prstatus(state, thread));
        if thread == 1 {
            note(&mut out, "CORE", NT_PRPSINFO, &prpsinfo(name));
        }
    }
    for state in cpus {
        note(&mut out, "QEMU", 0, &cpu_state(state));
    }
    out
}

/// System V ABI, "Note Section": lengths, type, name, description; both padded to four bytes.
fn note(out: &mut Vec<u8>, name: &str, kind: u32, desc: &[u8]) {
    let len = |len: usize| u32::try_from(len).unwrap_or(0).to_le_bytes();
    out.extend(len(name.len() + 1));
    out.extend(len(desc.len()));
    out.extend(kind.to_le_bytes());
    for part in [name.as_bytes(), b"\0"] {
        out.extend(part);
    }
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(desc);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// `struct elf_prstatus` of x86-64: 32 bytes about signals, the thread's number and 76 more bytes, `struct
/// user_regs_struct` from byte 112 on, and whether there are floating-point registers.
fn prstatus(state: &X86State, thread: u32) -> Vec<u8> {
    let regs = &state.regs;
    let mut out = vec![0; 32];
    out.extend(thread.to_le_bytes());
    out.resize(112, 0);
    let selector = |segment: &Segment| u64::from(segment.selector);
    let registers = [
        regs.r15,
        regs.r14,
        regs.r13,
        regs.r12,
        regs.rbp,
        regs.rbx,
        regs.r11,
        regs.r10,
        regs.r9,
        regs.r8,
        regs.rax,
        regs.rcx,
        regs.rdx,
        regs.rsi,
        regs.rdi,
        // `orig_rax`: in no system call.
        u64::MAX,
        regs.rip,
        selector(&state.cs),
        regs.rflags.bits(),
        regs.rsp,
        selector(&state.ss),
        state.fs.base,
        state.gs.base,
        selector(&state.ds),
        selector(&state.es),
        selector(&state.fs),
        selector(&state.gs),
    ];
    words(&mut out, &registers);
    out.resize(336, 0);
    out
}

/// `struct elf_prpsinfo` of x86-64: 40 bytes of numbers, a name of 16 bytes, a command line of 80.
fn prpsinfo(name: Option<&str>) -> Vec<u8> {
    let mut out = vec![0; 24];
    out.extend(1u32.to_le_bytes());
    out.resize(40, 0);
    // As the kernel has it, cut to leave a zero at its end.
    out.extend(name.unwrap_or("guest").bytes().filter(|byte| !byte.is_ascii_control()).take(15));
    out.resize(56, 0);
    out.extend(b"a guest of Strata");
    out.resize(136, 0);
    out
}

/// QEMU's note, version 1: general registers, RIP, RFLAGS; CS, DS, ES, FS, GS, SS; LDTR, TR, GDTR, IDTR; CR0 to CR4; the
/// base that `swapgs` would load.
fn cpu_state(state: &X86State) -> Vec<u8> {
    let regs = &state.regs;
    let mut out = Vec::new();
    out.extend(1u32.to_le_bytes());
    out.extend(440u32.to_le_bytes());
    let general = [
        regs.rax,
        regs.rbx,
        regs.rcx,
        regs.rdx,
        regs.rsi,
        regs.rdi,
        regs.rsp,
        regs.rbp,
        regs.r8,
        regs.r9,
        regs.r10,
        regs.r11,
        regs.r12,
        regs.r13,
        regs.r14,
        regs.r15,
        regs.rip,
        regs.rflags.bits(),
    ];
    words(&mut out, &general);
    for loaded in [&state.cs, &state.ds, &state.es, &state.fs, &state.gs, &state.ss, &state.ldt, &state.tr] {
        segment(&mut out, loaded.selector, loaded.limit, (attributes(loaded), loaded.base));
    }
    for TableRegister { base, limit } in [state.gdt, state.idt] {
        segment(&mut out, 0, limit.into(), (0, base));
    }
    words(&mut out, &[state.cr0.bits(), 0, state.cr2, state.cr3, state.cr4.bits(), 0]);
    out
}

fn segment(out: &mut Vec<u8>, selector: u16, limit: u32, (attributes, base): (u32, u64)) {
    for field in [u32::from(selector), limit, attributes, 0] {
        out.extend(field.to_le_bytes());
    }
    out.extend(base.to_le_bytes());
}

/// Where the upper half of a descriptor has them: type in bits 8 to 11, S, DPL, P; AVL in bit 20, L, D/B, G. SDM 3A 3.4.5.
fn attributes(segment: &Segment) -> u32 {
    let code_or_data = matches!(segment.kind, SegmentKind::Code { .. } | SegmentKind::Data { .. });
    let bit = |set: bool, bit: u32| u32::from(set) << bit;
    u32::from(segment.kind.type_bits()) << 8
        | bit(code_or_data, 12)
        | u32::from(segment.dpl & 3) << 13
        | bit(segment.present, 15)
        | bit(segment.available, 20)
        | bit(segment.long, 21)
        | bit(segment.big, 22)
        | bit(segment.granular, 23)
}

fn words(out: &mut Vec<u8>, words: &[u64]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

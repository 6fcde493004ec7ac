//! Which registers gdb is told of, in which order, and how it is told: one table makes the target description and the
//! packets.
//!
//! gdb wants the features `org.gnu.gdb.i386.core`, `.sse` and `.segments` with registers of these names (gdb manual, "i386
//! Features"); the control registers are a feature of our own, as every VMM has one.

use std::fmt::Write as _;

use strata_cpu::Registers;

/// What gdb takes the guest for. It believes what it is told when it connects, until it connects again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `i386:x86-64`: 16 registers of 64 bits.
    X86_64,
    /// `i386`: 8 registers of 32 bits.
    I386,
    /// `i8086`: the same registers, disassembled as 16-bit code.
    I8086,
}

/// A register.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reg {
    General(fn(&mut Registers) -> &mut u64),
    Rip,
    Flags,
    Selector(Segment),
    Base(Segment),
    /// An x87 register, counted from the top of its stack.
    St(usize),
    Fpu(FpuWord),
    Xmm(usize),
    Mxcsr,
    KernelGsBase,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Cr8,
    Efer,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Segment {
    Cs,
    Ss,
    Ds,
    Es,
    Fs,
    Gs,
}

/// What of the x87 is not a number on its stack, in gdb's order and by gdb's names: `fctrl`, `fstat`, `ftag`, then where the
/// last instruction and its operand were, and its opcode.
#[derive(Debug, Clone, Copy)]
pub(super) enum FpuWord {
    Control,
    Status,
    Tags,
    CodeSegment,
    CodeOffset,
    DataSegment,
    DataOffset,
    Opcode,
}

/// A register as gdb is told of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) bytes: usize,
    kind: &'static str,
    feature: &'static str,
    pub(super) reg: Reg,
}

const CORE: &str = "org.gnu.gdb.i386.core";
const SSE: &str = "org.gnu.gdb.i386.sse";
const SEGMENTS: &str = "org.gnu.gdb.i386.segments";
const SYSTEM: &str = "org.strata.x86.system";

type General = (&'static str, fn(&mut Registers) -> &mut u64);

const WIDE: [General; 16] = [
    ("rax", |regs| &mut regs.rax),
    ("rbx", |regs| &mut regs.rbx),
    ("rcx", |regs| &mut regs.rcx),
    ("rdx", |regs| &mut regs.rdx),
    ("rsi", |regs| &mut regs.rsi),
    ("rdi", |regs| &mut regs.rdi),
    ("rbp", |regs| &mut regs.rbp),
    ("rsp", |regs| &mut regs.rsp),
    ("r8", |regs| &mut regs.r8),
    ("r9", |regs| &mut regs.r9),
    ("r10", |regs| &mut regs.r10),
    ("r11", |regs| &mut regs.r11),
    ("r12", |regs| &mut regs.r12),
    ("r13", |regs| &mut regs.r13),
    ("r14", |regs| &mut regs.r14),
    ("r15", |regs| &mut regs.r15),
];

const NARROW: [General; 8] = [
    ("eax", |regs| &mut regs.rax),
    ("ecx", |regs| &mut regs.rcx),
    ("edx", |regs| &mut regs.rdx),
    ("ebx", |regs| &mut regs.rbx),
    ("esp", |regs| &mut regs.rsp),
    ("ebp", |regs| &mut regs.rbp),
    ("esi", |regs| &mut regs.rsi),
    ("edi", |regs| &mut regs.rdi),
];

const SELECTORS: [(&str, Segment); 6] = [
    ("cs", Segment::Cs),
    ("ss", Segment::Ss),
    ("ds", Segment::Ds),
    ("es", Segment::Es),
    ("fs", Segment::Fs),
    ("gs", Segment::Gs),
];

const FPU: [(&str, FpuWord); 8] = [
    ("fctrl", FpuWord::Control),
    ("fstat", FpuWord::Status),
    ("ftag", FpuWord::Tags),
    ("fiseg", FpuWord::CodeSegment),
    ("fioff", FpuWord::CodeOffset),
    ("foseg", FpuWord::DataSegment),
    ("fooff", FpuWord::DataOffset),
    ("fop", FpuWord::Opcode),
];

impl Layout {
    fn is_wide(self) -> bool {
        self == Self::X86_64
    }

    /// gdb's name for the architecture.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::X86_64 => "i386:x86-64",
            Self::I386 => "i386",
            Self::I8086 => "i8086",
        }
    }

    /// The registers, in the order of their numbers.
    pub(super) fn rows(self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut add = |feature, name: &str, bytes, kind, reg| {
            rows.push(Row { name: name.to_owned(), bytes, kind, feature, reg });
        };
        let (word, integer, general, ip): (_, _, &[General], _) =
            if self.is_wide() { (8, "int64", &WIDE, "rip") } else { (4, "int32", &NARROW, "eip") };
        for (name, reg) in general {
            let kind = if name.ends_with("sp") || name.ends_with("bp") { "data_ptr" } else { integer };
            add(CORE, name, word, kind, Reg::General(*reg));
        }
        add(CORE, ip, word, "code_ptr", Reg::Rip);
        add(CORE, "eflags", 4, "eflags_bits", Reg::Flags);
        for (name, segment) in SELECTORS {
            add(CORE, name, 4, "int32", Reg::Selector(segment));
        }
        for n in 0..8 {
            add(CORE, &format!("st{n}"), 10, "i387_ext", Reg::St(n));
        }
        for (name, part) in FPU {
            add(CORE, name, 4, "int32", Reg::Fpu(part));
        }
        for n in 0..general.len() {
            add(SSE, &format!("xmm{n}"), 16, "xmm", Reg::Xmm(n));
        }
        add(SSE, "mxcsr", 4, "mxcsr_bits", Reg::Mxcsr);
        // A 32-bit gdb does not know the bases, and takes them for a feature of ours.
        let unsigned = if self.is_wide() { "uint64" } else { "uint32" };
        let bases = if self.is_wide() { SEGMENTS } else { SYSTEM };
        add(bases, "fs_base", word, unsigned, Reg::Base(Segment::Fs));
        add(bases, "gs_base", word, unsigned, Reg::Base(Segment::Gs));
        for (name, segment) in SELECTORS.iter().take(4) {
            add(SYSTEM, &format!("{name}_base"), word, unsigned, Reg::Base(*segment));
        }
        add(SYSTEM, "k_gs_base", 8, "uint64", Reg::KernelGsBase);
        add(SYSTEM, "cr0", word, "cr0_bits", Reg::Cr0);
        add(SYSTEM, "cr2", word, unsigned, Reg::Cr2);
        add(SYSTEM, "cr3", word, unsigned, Reg::Cr3);
        add(SYSTEM, "cr4", word, "cr4_bits", Reg::Cr4);
        add(SYSTEM, "cr8", word, integer, Reg::Cr8);
        add(SYSTEM, "efer", 8, "efer_bits", Reg::Efer);
        rows
    }

    /// `target.xml` (gdb manual, "Target Description Format").
    pub(super) fn description(self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n");
        let _ = writeln!(xml, "<target><architecture>{}</architecture>", self.architecture());
        let rows = self.rows();
        for feature in [CORE, SSE, SEGMENTS, SYSTEM] {
            let mut of_it = rows.iter().filter(|row| row.feature == feature).peekable();
            if of_it.peek().is_none() {
                continue;
            }
            let _ = writeln!(xml, "<feature name=\"{feature}\">");
            self.describe_types(feature, &mut xml);
            for Row { name, bytes, kind, .. } in of_it {
                let bits = bytes * 8;
                let _ = writeln!(xml, "<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\"/>");
            }
            xml.push_str("</feature>\n");
        }
        xml.push_str("</target>\n");
        xml
    }

    /// The types that a feature's registers have beside gdb's own.
    fn describe_types(self, feature: &str, xml: &mut String) {
        let size = if self.is_wide() { 8 } else { 4 };
        match feature {
            CORE => flags(xml, "eflags_bits", 4, EFLAGS),
            SSE => {
                let _ = writeln!(
                    xml,
                    "<vector id=\"floats\" type=\"ieee_single\" count=\"4\"/>\
                     <vector id=\"doubles\" type=\"ieee_double\" count=\"2\"/>\
                     <vector id=\"bytes\" type=\"uint8\" count=\"16\"/>\
                     <vector id=\"words\" type=\"uint16\" count=\"8\"/>\
                     <vector id=\"dwords\" type=\"uint32\" count=\"4\"/>\
                     <vector id=\"qwords\" type=\"uint64\" count=\"2\"/>\
                     <union id=\"xmm\"><field name=\"v4_float\" type=\"floats\"/>\
                     <field name=\"v2_double\" type=\"doubles\"/><field name=\"v16_int8\" type=\"bytes\"/>\
                     <field name=\"v8_int16\" type=\"words\"/><field name=\"v4_int32\" type=\"dwords\"/>\
                     <field name=\"v2_int64\" type=\"qwords\"/><field name=\"uint128\" type=\"uint128\"/></union>"
                );
                flags(xml, "mxcsr_bits", 4, MXCSR);
            }
            SYSTEM => {
                flags(xml, "cr0_bits", size, CR0);
                flags(xml, "cr4_bits", size, CR4);
                flags(xml, "efer_bits", 8, EFER);
            }
            _ => {}
        }
    }
}

fn flags(xml: &mut String, id: &str, size: usize, bits: &[(&str, u8)]) {
    let _ = write!(xml, "<flags id=\"{id}\" size=\"{size}\">");
    for (name, bit) in bits {
        let _ = write!(xml, "<field name=\"{name}\" start=\"{bit}\" end=\"{bit}\"/>");
    }
    xml.push_str("</flags>\n");
}

/// SDM 1 3.4.3, figure 3-8.
const EFLAGS: &[(&str, u8)] = &[
    ("CF", 0),
    ("", 1),
    ("PF", 2),
    ("AF", 4),
    ("ZF", 6),
    ("SF", 7),
    ("TF", 8),
    ("IF", 9),
    ("DF", 10),
    ("OF", 11),
    ("NT", 14),
    ("RF", 16),
    ("VM", 17),
    ("AC", 18),
    ("VIF", 19),
    ("VIP", 20),
    ("ID", 21),
];

/// SDM 1 10.2.3, figure 10-3.
const MXCSR: &[(&str, u8)] = &[
    ("IE", 0),
    ("DE", 1),
    ("ZE", 2),
    ("OE", 3),
    ("UE", 4),
    ("PE", 5),
    ("DAZ", 6),
    ("IM", 7),
    ("DM", 8),
    ("ZM", 9),
    ("OM", 10),
    ("UM", 11),
    ("PM", 12),
    ("FZ", 15),
];

/// SDM 3A 2.5, figure 2-7.
const CR0: &[(&str, u8)] = &[
    ("PE", 0),
    ("MP", 1),
    ("EM", 2),
    ("TS", 3),
    ("ET", 4),
    ("NE", 5),
    ("WP", 16),
    ("AM", 18),
    ("NW", 29),
    ("CD", 30),
    ("PG", 31),
];

/// SDM 3A 2.5, figure 2-7.
const CR4: &[(&str, u8)] = &[
    ("VME", 0),
    ("PVI", 1),
    ("TSD", 2),
    ("DE", 3),
    ("PSE", 4),
    ("PAE", 5),
    ("MCE", 6),
    ("PGE", 7),
    ("PCE", 8),
    ("OSFXSR", 9),
    ("OSXMMEXCPT", 10),
    ("UMIP", 11),
    ("LA57", 12),
    ("VMXE", 13),
    ("SMXE", 14),
    ("FSGSBASE", 16),
    ("PCIDE", 17),
    ("OSXSAVE", 18),
    ("SMEP", 20),
    ("SMAP", 21),
    ("PKE", 22),
    ("CET", 23),
    ("PKS", 24),
];

/// SDM 3A 2.2.1; APM 2 3.1.7.
const EFER: &[(&str, u8)] =
    &[("SCE", 0), ("LME", 8), ("LMA", 10), ("NXE", 11), ("SVME", 12), ("LMSLE", 13), ("FFXSR", 14)];

#[cfg(test)]
#[path = "layout_test.rs"]
mod tests;

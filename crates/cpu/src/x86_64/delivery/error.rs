//! Why a delivery fails, as values that explain themselves.

use std::fmt;

use thiserror::Error;

use crate::x86_64::{
    exception::{Exception, VectorName},
    paging::WalkFault,
};

/// An exception was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct DeliveryFault {
    /// What the processor raises instead; `None` where that is not to be said: behind a task gate, and where the
    /// addresses lead to no RAM. There a processor reads ones and goes on, and KVM gives up with an internal error.
    pub raised: Option<Exception>,
    /// What is wrong.
    pub why: DeliveryError,
}

/// What is wrong with the way to an exception's handler: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeliveryError {
    /// #GP: there is no such entry. SDM 3A 7.13, APM 2 8.2.14.
    #[error("IDT entry {vector} lies beyond the IDT's limit {limit:#x}")]
    BeyondIdt {
        /// The exception's vector.
        vector: u8,
        /// IDTR's limit.
        limit: u16,
    },
    /// The entry's address leads nowhere.
    #[error("the IDT's page cannot be read: {cause} (IDT entry {vector} is at {at:#x})")]
    IdtUnreadable {
        /// The exception's vector.
        vector: u8,
        /// Linear address of the entry.
        at: u64,
        /// Why.
        cause: MemoryFault,
    },
    /// #GP: the entry is of a type that no exception goes through in this mode. SDM 3A 7.11.
    #[error("IDT entry {vector} at {at:#x} {}", NotAGate { present: *.present, kind: *.kind })]
    NotAGate {
        /// The exception's vector.
        vector: u8,
        /// Linear address of the entry.
        at: u64,
        /// Bit S (bit 44) and the four type bits below it.
        kind: u8,
        /// P is set.
        present: bool,
    },
    /// #NP: P is clear. SDM 3A 7.15, "Interrupt 11".
    #[error("IDT entry {vector} at {at:#x} is not present (P=0)")]
    NotPresent {
        /// The exception's vector.
        vector: u8,
        /// Linear address of the entry.
        at: u64,
    },
    /// #GP: INT3 or INTO in a ring that the gate does not admit. SDM 3A 7.12.1.1.
    #[error("IDT entry {vector} at {at:#x} admits rings up to {dpl} (DPL), and the guest was in ring {cpl}")]
    NotAdmitted {
        /// The exception's vector.
        vector: u8,
        /// Linear address of the entry.
        at: u64,
        /// The gate's DPL.
        dpl: u8,
        /// The current ring.
        cpl: u8,
    },
    /// The exception is to switch tasks. SDM 3A 7.12.2. That is not followed.
    #[error(
        "IDT entry {vector} at {at:#x} is a task gate to selector {selector:#x}, and task switches are not followed"
    )]
    TaskGate {
        /// The exception's vector.
        vector: u8,
        /// Linear address of the entry.
        at: u64,
        /// The TSS' selector.
        selector: u16,
    },
    /// The gate's code segment cannot be loaded.
    #[error("IDT entry {vector} names selector {selector:#x}, {why}")]
    Code {
        /// The exception's vector.
        vector: u8,
        /// The selector in the gate.
        selector: u16,
        /// Why not.
        why: SelectorError,
    },
    /// The handler lies where no instruction can.
    #[error("IDT entry {vector} leads to {handler:#x}, {why}")]
    Handler {
        /// The exception's vector.
        vector: u8,
        /// Offset of the handler in its code segment.
        handler: u64,
        /// Why not.
        why: HandlerError,
    },
    /// #TS: a stack has to be read from the TSS, and TR holds nothing.
    #[error("there is no TSS (TR is null), and {field} is needed")]
    NoTss {
        /// What has to be read.
        field: TssField,
    },
    /// #TS: the TSS ends before the stack pointer that has to be read. SDM 3A 7.15, "Interrupt 10".
    #[error("{field} lies beyond the limit {limit:#x} of {tss}")]
    TssTooShort {
        /// What has to be read.
        field: TssField,
        /// Where from.
        tss: TssAt,
        /// TR's limit.
        limit: u32,
    },
    /// The TSS' address leads nowhere.
    #[error("{field} in {tss} cannot be read: {cause}")]
    TssUnreadable {
        /// What has to be read.
        field: TssField,
        /// Where from.
        tss: TssAt,
        /// Why.
        cause: MemoryFault,
    },
    /// #TS or #SS: the stack segment in the TSS cannot be loaded. Outside long mode.
    #[error("SS{ring} in {tss} is selector {selector:#x}, {why}")]
    Stack {
        /// The ring that is entered.
        ring: u8,
        /// Where the selector comes from.
        tss: TssAt,
        /// The selector.
        selector: u16,
        /// Why not.
        why: SelectorError,
    },
    /// The frame finds no place.
    #[error("pushing the frame of {} on the stack at {stack:#x} failed: {why}{source_of}", VectorName(*.vector))]
    Push {
        /// The exception's vector.
        vector: u8,
        /// Linear address of the stack before the push.
        stack: u64,
        /// Why.
        why: PushError,
        /// Where the stack pointer comes from.
        source_of: StackSource,
    },
}

/// Of an entry that is no gate.
struct NotAGate {
    present: bool,
    kind: u8,
}

impl fmt::Display for NotAGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { present, kind } = self;
        if *present {
            write!(f, "is no gate that an exception can go through in this mode (type {kind:#x})")
        } else {
            // What a table that nobody has filled is full of.
            let empty = if *kind == 0 { "empty" } else { "no gate" };
            write!(f, "is not present (P=0): it is {empty} (type {kind:#x})")
        }
    }
}

/// Why memory cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MemoryFault {
    /// The page tables do not allow it.
    #[error("{}", .0.cause())]
    Walk(Box<WalkFault>),
    /// They allow it, and nothing is there.
    #[error("there is no RAM at {phys:#x}")]
    NoRam {
        /// The physical address.
        phys: u64,
    },
}

/// Why a selector cannot be loaded into CS or SS: a relative clause.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// It is null.
    #[error("which is null")]
    Null,
    /// Its index is too large.
    #[error("which lies beyond the {table}'s limit {limit:#x}")]
    BeyondLimit {
        /// Which table it is in.
        table: DescriptorTable,
        /// The table's limit.
        limit: u32,
    },
    /// Its TI is set, and LDTR holds nothing.
    #[error("which lies in the LDT, and there is none (LDTR is null)")]
    NoLdt,
    /// The descriptor's address leads nowhere.
    #[error("whose descriptor at {at:#x} cannot be read: {cause}")]
    Unreadable {
        /// Linear address of the descriptor.
        at: u64,
        /// Why.
        cause: MemoryFault,
    },
    /// The descriptor's accessed bit is clear and cannot be set. SDM 3A 3.4.5.1.
    #[error("whose descriptor at {at:#x} cannot be marked as accessed: {cause}")]
    Unmarkable {
        /// Linear address of the descriptor.
        at: u64,
        /// Why.
        cause: MemoryFault,
    },
    /// It is for CS.
    #[error("which is not a code segment")]
    NotCode,
    /// Long mode enters 64-bit code only. SDM 3A 7.14.2.
    #[error("which is not a 64-bit code segment (L={}, D={})", u8::from(*.long), u8::from(*.big))]
    NotLong {
        /// L.
        long: bool,
        /// D.
        big: bool,
    },
    /// A handler is never less privileged than what it interrupts. SDM 3A 7.12.1.1.
    #[error("which is of ring {dpl} (DPL), and the guest was in ring {cpl}")]
    LessPrivileged {
        /// The segment's DPL.
        dpl: u8,
        /// The current ring.
        cpl: u8,
    },
    /// From virtual-8086 mode only ring 0 can be entered. SDM 3B "Handling Interrupts and Exceptions in
    /// Virtual-8086 Mode".
    #[error("which is not of ring 0, and the guest was in virtual-8086 mode")]
    NotFromVirtual8086,
    /// It is for SS.
    #[error("which is not a writable data segment")]
    NotWritable,
    /// SS' RPL and DPL have to be the ring that is entered.
    #[error("which is of ring {dpl} (RPL {rpl}), and the handler of ring {ring}")]
    OtherRing {
        /// The segment's DPL.
        dpl: u8,
        /// The selector's RPL.
        rpl: u8,
        /// The ring that is entered.
        ring: u8,
    },
    /// P is clear.
    #[error("which is not present (P=0)")]
    NotPresent,
}

/// Why no instruction can be at the handler's address: a relative clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandlerError {
    /// Bits 63 to 47 (56) are not equal.
    #[error("which is not canonical")]
    NonCanonical,
    /// It lies behind its code segment.
    #[error("which lies beyond the limit {limit:#x} of its code segment {selector:#x}")]
    BeyondLimit {
        /// The gate's selector.
        selector: u16,
        /// The segment's limit.
        limit: u32,
    },
}

/// Why the frame cannot be pushed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// A word of the frame cannot be written.
    #[error("{0}")]
    Memory(MemoryFault),
    /// #SS: bits 63 to 47 (56) are not equal.
    #[error("{at:#x} is not canonical")]
    NonCanonical {
        /// Linear address of the first word that does not fit.
        at: u64,
    },
    /// #SS: the frame would end outside its segment.
    #[error("offset {offset:#x} lies outside the stack segment (limit {limit:#x})")]
    Limit {
        /// Offset of the first word that does not fit.
        offset: u64,
        /// The segment's limit.
        limit: u32,
    },
}

/// Where the stack that a frame goes to comes from. Nothing is printed for the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackSource {
    /// The stack in use.
    Current,
    /// The TSS.
    Tss {
        /// Which of its fields.
        field: TssField,
        /// Which TSS.
        tss: TssAt,
        /// The field's value.
        value: u64,
    },
}

impl fmt::Display for StackSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => Ok(()),
            Self::Tss { field, tss, value } => {
                if tss.null {
                    // What is read at the base that TR is left with is nobody's RSP0.
                    return write!(f, "; there is no TSS (TR is null) to have {field}");
                }
                write!(f, "; {field} in {tss} is {value:#x}")
            }
        }
    }
}

/// A TSS by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TssAt {
    /// TR's base, a linear address.
    pub base: u64,
    /// TR's selector is null: nobody has loaded it since reset, and its base is what reset has left there.
    pub null: bool,
}

impl fmt::Display for TssAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the TSS at {:#x}", self.base)
    }
}

/// A stack pointer in a TSS. SDM 3A 9.2.1, 9.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TssField {
    /// The 64-bit TSS' stack of a ring, 0 to 2.
    Rsp(u8),
    /// The 64-bit TSS' interrupt stack, 1 to 7.
    Ist(u8),
    /// The 32-bit or 16-bit TSS' stack of a ring, 0 to 2.
    Esp(u8),
}

impl fmt::Display for TssField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsp(n) => write!(f, "RSP{n}"),
            Self::Ist(n) => write!(f, "IST{n}"),
            Self::Esp(n) => write!(f, "ESP{n}"),
        }
    }
}

/// Which table a selector's TI chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DescriptorTable {
    /// The global one.
    Gdt,
    /// The local one.
    Ldt,
}

impl fmt::Display for DescriptorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gdt => "GDT",
            Self::Ldt => "LDT",
        })
    }
}

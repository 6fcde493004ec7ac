//! What the instruction at RIP would raise, and why.
//!
//! [`next`] looks at one instruction as the processor would, in its order (SDM 3A 7.9 "Prioritization of Concurrent Events",
//! table 7-2): can it be fetched, does it exist, is it enabled, may this ring use it, can its operands be touched, are its values
//! allowed. It is a judge, not an emulator: it knows what is forbidden and has nothing to say of results. Where it does not
//! know, it says so, since a wrong accusation costs more than none. Nothing is written, and nothing is taken on trust: every
//! table is read from the guest's memory, within bounds.
//!
//! It knows nothing of CPUID: an instruction that exists somewhere is taken to exist here.

mod control;
mod divide;
mod fetch;
mod gate;
mod operand;
mod privilege;
mod selector;
mod step;
mod transfer;
mod undefined;

use std::fmt;

use iced_x86::{Mnemonic, Register};
use strata_cpu::{AccessKind, Exception, RFlags, WalkFault, X86State};
use vm_memory::{Bytes, GuestAddress};

pub use control::ControlError;
pub use divide::DivideError;
pub use gate::GateFault;
pub use operand::OperandError;
pub use privilege::PrivilegeError;
pub use selector::{SelectorError, Table};
pub use transfer::TargetError;
pub use undefined::UndefinedError;

use crate::View;
use step::Step;

/// What becomes of the next instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is wrong with it.
    Runs,
    /// It raises this.
    Raises(Fault),
    /// It raises this if the processor lacks something that cannot be seen from here.
    Perhaps(Fault),
    /// There is no RAM where it should be fetched from. A device cannot be executed: KVM gives up with an internal error, and
    /// hardware would execute whatever the bus says.
    NoCode {
        /// The linear address of the first byte that is missing.
        linear: u64,
        /// The guest-physical address it translates to.
        phys: u64,
    },
    /// It cannot be told.
    Unknown(Unknown),
}

/// Why it cannot be told what an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// In virtual-8086 mode, which is not looked into.
    Virtual8086,
    /// An operand that depends on a register which is not part of the state, or on a device.
    Operand,
    /// A task switch or a call gate.
    TaskOrGate,
}

/// An exception, and what is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is raised.
    pub exception: Exception,
    /// What is to blame.
    pub why: Why,
    /// What was to be touched, where memory is to blame.
    pub access: Option<Touch>,
}

/// An access to memory by a linear address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// What for.
    pub kind: AccessKind,
    /// The linear address.
    pub address: u64,
}

/// What is to blame for an exception. `Display` is a sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The page tables.
    Walk(Box<WalkFault>),
    /// The instruction is not one, or it is turned off.
    Undefined(UndefinedError),
    /// The ring.
    Privilege(PrivilegeError),
    /// A segment or an address.
    Operand(OperandError),
    /// The divisor.
    Divide(DivideError),
    /// The value for a control register or an MSR.
    Control(ControlError),
    /// A selector, or what it names.
    Selector(SelectorError),
    /// Where control should go.
    Target(TargetError),
    /// The gate of `int n`.
    Gate(GateFault),
}

/// What the instruction at RIP would raise.
///
/// The address it is fetched from is [`View::rip`].
pub fn next<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Next {
    match judge(view) {
        Ok(()) => Next::Runs,
        Err(next) => *next,
    }
}

/// What the next instruction touches for certain, by its operands and the stack; nothing where it cannot be fetched.
pub fn touches<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Vec<Touch> {
    let instruction = fetch::instruction(view).ok();
    instruction.map(|instruction| operand::touches(&Step::new(*view, instruction))).unwrap_or_default()
}

/// The state behind a `mov cr3`, if that is the next instruction: what it loads is only found to be wrong by the one after it.
pub(crate) fn after_cr3_load<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Option<X86State> {
    let step = Step::new(*view, fetch::instruction(view).ok()?);
    let loads =
        step.instruction.mnemonic() == Mnemonic::Mov && step.instruction.op0_register() == Register::CR3;
    let cr3 = step.register(step.instruction.op1_register()).filter(|_| loads)?;
    let mut state = *view.state();
    state.cr3 = cr3;
    state.regs.rip = step.instruction.next_ip();
    Some(state)
}

/// `Ok` goes on to the next check.
type Verdict<T = ()> = Result<T, Box<Next>>;

fn judge<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Verdict {
    if view.state().regs.rflags.contains(RFlags::VM) {
        return Err(Unknown::Virtual8086.into());
    }
    let step = Step::new(*view, fetch::instruction(view)?);
    undefined::check(&step)?;
    privilege::check(&step)?;
    operand::check(&step)?;
    divide::check(&step)?;
    control::check(&step)?;
    selector::check(&step)?;
    transfer::check(&step)?;
    gate::check(&step)
}

impl Fault {
    fn new(exception: Exception, why: impl Into<Why>) -> Self {
        Self { exception, why: why.into(), access: None }
    }

    /// What the page tables refuse: #PF, or where the address is not canonical #GP, or #SS through the stack segment.
    ///
    /// Tables that are not in memory have no defined content; KVM treats their entries as not present.
    fn walk(fault: WalkFault, stack: bool) -> Self {
        let access = Some(Touch { kind: fault.kind, address: fault.virt });
        let exception = match (fault.why, fault.error_code) {
            (strata_cpu::FaultReason::NonCanonical, _) if stack => Exception::with_code(12, 0),
            (strata_cpu::FaultReason::NonCanonical, _) => Exception::gp(0),
            (_, Some(code)) => Exception::pf(fault.virt, code.bits()),
            (_, None) => {
                let write = if fault.kind == AccessKind::Write { 2 } else { 0 };
                let user = if fault.cpl == 3 { 4 } else { 0 };
                Exception::pf(fault.virt, write | user)
            }
        };
        Self { exception, why: Why::Walk(Box::new(fault)), access }
    }
}

impl From<Fault> for Box<Next> {
    fn from(fault: Fault) -> Self {
        Self::new(Next::Raises(fault))
    }
}

impl From<Unknown> for Box<Next> {
    fn from(unknown: Unknown) -> Self {
        Self::new(Next::Unknown(unknown))
    }
}

macro_rules! why {
    ($($variant:ident($error:ty)),*) => {
        $(impl From<$error> for Why {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

why!(
    Undefined(UndefinedError),
    Privilege(PrivilegeError),
    Operand(OperandError),
    Divide(DivideError),
    Control(ControlError),
    Selector(SelectorError),
    Target(TargetError),
    Gate(GateFault)
);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Walk(fault) => fault.cause().fmt(f),
            Self::Undefined(error) => error.fmt(f),
            Self::Privilege(error) => error.fmt(f),
            Self::Operand(error) => error.fmt(f),
            Self::Divide(error) => error.fmt(f),
            Self::Control(error) => error.fmt(f),
            Self::Selector(error) => error.fmt(f),
            Self::Target(error) => error.fmt(f),
            Self::Gate(error) => error.fmt(f),
        }
    }
}

/// `writing 0x1000`.
impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.kind {
            AccessKind::Read => "reading",
            AccessKind::Write => "writing",
            AccessKind::Fetch => "fetching",
        };
        write!(f, "{doing} {:#x}", self.address)
    }
}

/// `#PF writing 0x1000: the PTE at 0x2000 is not present (P=0)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.exception.name())?;
        if let Some(access) = self.access {
            write!(f, " {access}")?;
        }
        write!(f, ": {}", self.why)
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Virtual8086 => "the guest is in virtual-8086 mode, which Strata does not look into",
            Self::Operand => "it depends on a value that cannot be read from here",
            Self::TaskOrGate => {
                "it switches tasks or goes through a call gate, which Strata does not look into"
            }
        })
    }
}

#[cfg(test)]
#[path = "fault_test.rs"]
mod tests;

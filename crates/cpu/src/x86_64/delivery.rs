//! How an exception is delivered, and why that fails.
//!
//! What the processor does between the instruction that faults and the first one of the handler, from a state and a
//! reader of physical memory; nothing is written. SDM 3A chapter 7 "Interrupt and Exception Handling" and 2A "INT
//! n/INTO/INT3/INT1", whose pseudocode has the order of the checks; APM 2 chapter 8, 8.9 for long mode.
//!
//! Real mode goes through the vectors of the 8086, protected mode through 16-bit and 32-bit gates (a task gate is
//! recognised and not followed), long mode through 64-bit gates. Shadow stacks (CET) are not known here.

mod cpu;
mod error;
mod long;
mod protected;
mod real;
#[cfg(test)]
mod world_test;

pub use error::{
    DeliveryError, DeliveryFault, DescriptorTable, HandlerError, MemoryFault, PushError, SelectorError,
    StackSource, TssAt, TssField,
};

use super::{exception::Exception, flags::Cr0, state::X86State};
use cpu::Cpu;

/// An exception that has reached its handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Linear address of the handler's first instruction.
    pub handler: u64,
    /// Linear address of the stack, with the frame on it.
    pub stack: u64,
    /// The ring that the handler runs in.
    pub cpl: u8,
    /// Linear address of the entry of the IDT (in real mode, of the vector) that led there.
    pub entry_at: u64,
    /// Why the handler's first instruction cannot be fetched, if it cannot: that fault is not one of the delivery
    /// but the next one, and no double fault.
    pub handler_fetch: Option<MemoryFault>,
    /// The registers with which the handler begins, as far as the delivery changes them: CS, RIP, SS, RSP, RFLAGS
    /// and CR2.
    pub state: Box<X86State>,
}

/// Delivers `exception` to a processor in `state`, whose RIP is that of the instruction which raised it.
///
/// `read` gives the eight bytes of physical memory at an address that is a multiple of eight, as a little-endian
/// number, or `None` where there is no memory.
pub fn deliver(
    read: impl FnMut(u64) -> Option<u64>,
    state: &X86State,
    exception: Exception,
) -> Result<Delivered, DeliveryFault> {
    let mut cpu = Cpu { read, state, exception };
    if cpu.long() {
        long::deliver(&mut cpu)
    } else if state.cr0.contains(Cr0::PE) {
        protected::deliver(&mut cpu)
    } else {
        real::deliver(&mut cpu)
    }
}

/// One exception of a [`Chain`], and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was to be delivered.
    pub exception: Exception,
    /// Whether it was.
    pub outcome: Result<Delivered, DeliveryFault>,
}

/// What an exception leads to: itself, and those that are raised because the one before was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The exceptions in their order: at least one, and never more than five.
    pub attempts: Vec<Attempt>,
}

impl Chain {
    /// The processor shuts down, since the double fault was not delivered either. SDM 3A 7.15, "Interrupt 8".
    pub fn is_triple_fault(&self) -> bool {
        self.attempts.last().is_some_and(|last| {
            let raised = last.outcome.as_ref().err().and_then(|fault| fault.raised);
            last.exception.vector == Exception::DF.vector && raised.is_some()
        })
    }

    /// The handler that is reached in the end, if one is.
    pub fn delivered(&self) -> Option<&Delivered> {
        self.attempts.last()?.outcome.as_ref().ok()
    }
}

/// Delivers `exception`, and what is raised instead, until a handler is reached or the processor shuts down.
///
/// It takes at most a benign exception, a contributory one, a page fault and a double fault. SDM 3A table 7-5.
pub fn deliver_all(
    mut read: impl FnMut(u64) -> Option<u64>,
    state: &X86State,
    exception: Exception,
) -> Chain {
    let mut chain = Chain { attempts: Vec::new() };
    let (mut next, mut state) = (Some(exception), *state);
    // Each is of a worse class than the one before, so five are enough; the bound does not rely on it.
    while let Some(exception) = next.take().filter(|_| chain.attempts.len() < 5) {
        let outcome = deliver(&mut read, &state, exception);
        // CR2 is loaded before a page fault is delivered, and stays when that fails.
        state.cr2 = exception.address.unwrap_or(state.cr2);
        let raised = outcome.as_ref().err().and_then(|fault| fault.raised);
        next = raised.filter(|_| exception.vector != Exception::DF.vector);
        next = next.map(|raised| if exception.doubles_with(&raised) { Exception::DF } else { raised });
        chain.attempts.push(Attempt { exception, outcome });
    }
    chain
}

#[cfg(test)]
#[path = "delivery_test.rs"]
mod tests;

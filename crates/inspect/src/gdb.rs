//! A server for gdb, by its remote protocol (feature `gdb`).
//!
//! ```text
//! gdb ─► Listener ─► Framing ─► gdbstub ─► Guest ─► Debugger ─► vCPU threads
//! ```
//!
//! [`start`] gives a machine that is about to run a thread that waits for a debugger. Nobody is attached until one has sent
//! a first whole packet: whoever only knocks at the port, or talks of something else, changes nothing.
//!
//! | the client | the guest |
//! | --- | --- |
//! | connects | is paused |
//! | sends `detach`, or ends | goes on, without breakpoints |
//! | sends `kill` | ends |
//! | goes without a word (`disconnect`, a lost connection) | stays as it is, paused or running, without breakpoints; the next client finds it so |
//!
//! A guest that dies is paused before it ends, as long as a debugger is attached.

mod breakpoints;
mod framing;
mod guest;
mod layout;
mod listen;
mod memory;
mod monitor;
mod registers;
mod resume;
mod server;
mod session;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use strata_vmm::Control;
use strata_vmm::host::DebugAbilities;
use vm_memory::{Bytes, GuestAddress};

use crate::View;

pub use layout::Layout;
pub use listen::{Address, ListenError, Listener, ParseAddressError};
pub use server::{Server, start};

/// The guest's memory, whose clones are the same memory: vm-memory's `GuestMemoryMmap` is, and an `Arc` of it.
pub trait Memory: Bytes<GuestAddress> + Clone + Send + Sync + 'static {}

impl<M: Bytes<GuestAddress> + Clone + Send + Sync + 'static> Memory for M {}

/// Gives the last exits of a vCPU as lines, the oldest first: of which vCPU, and how many at most.
pub type Exits = dyn Fn(u8, usize) -> Vec<String> + Send + Sync;
/// Says what a guest that stands still runs into.
pub type Explain<M> = dyn Fn(&View<'_, M>) -> String + Send + Sync;
/// Takes a line for whoever started the machine.
pub type Say = dyn Fn(&str) + Send + Sync;

/// What a debugger is given.
pub struct Setup<M> {
    control: Control,
    memory: M,
    cpus: u8,
    abilities: DebugAbilities,
    wait: bool,
    is_64_bit: bool,
    layout: ChosenLayout,
    exits: Option<Arc<Exits>>,
    explain: Option<Arc<Explain<M>>>,
    say: Arc<Say>,
}

/// What the user wants gdb to be told; `None` decides by the guest's mode.
#[derive(Debug, Default)]
struct ChosenLayout(Mutex<Option<Layout>>);

impl ChosenLayout {
    fn get(&self) -> Option<Layout> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, layout: Option<Layout>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = layout;
    }
}

impl<M: Memory> Setup<M> {
    /// For a machine with this handle, memory and number of vCPUs, on a host that can do everything.
    pub fn new(control: Control, memory: M, cpus: u8) -> Self {
        Self {
            control,
            memory,
            cpus,
            abilities: DebugAbilities::ALL,
            wait: false,
            is_64_bit: false,
            layout: ChosenLayout::default(),
            exits: None,
            explain: None,
            say: Arc::new(|line| log::warn!("{line}")),
        }
    }

    /// What the host can do: see [`probe_debugging`](strata_vmm::host::probe_debugging).
    #[must_use]
    pub fn abilities(mut self, abilities: DebugAbilities) -> Self {
        self.abilities = abilities;
        self
    }

    /// The guest is not to run before a debugger lets it.
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// The guest's image is 64-bit code, which gdb is to be told even while the guest is still in 32-bit mode: it could not
    /// make anything of the image's symbols otherwise.
    #[must_use]
    pub fn is_64_bit(mut self, is_64_bit: bool) -> Self {
        self.is_64_bit = is_64_bit;
        self
    }

    /// What `monitor exits` shows.
    #[must_use]
    pub fn exits(mut self, exits: Arc<Exits>) -> Self {
        self.exits = Some(exits);
        self
    }

    /// What `monitor explain` shows, by default what becomes of the next instruction.
    #[must_use]
    pub fn explain(mut self, explain: Arc<Explain<M>>) -> Self {
        self.explain = Some(explain);
        self
    }

    /// Where messages go: who has connected, and what became of that. By default into the log, as warnings.
    #[must_use]
    pub fn say(mut self, say: Arc<Say>) -> Self {
        self.say = say;
        self
    }
}

impl<M> fmt::Debug for Setup<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, abilities, wait, is_64_bit, layout, .. } = self;
        f.debug_struct("Setup")
            .field("cpus", cpus)
            .field("abilities", abilities)
            .field("wait", wait)
            .field("is_64_bit", is_64_bit)
            .field("layout", layout)
            .finish_non_exhaustive()
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The machine has a debugger already.
    #[error("the machine has a debugger already: let that one go first")]
    Attached,
    /// The host gives no descriptor or no thread.
    #[error("cannot start a thread for the debugger")]
    Thread(#[source] io::Error),
}

#[cfg(test)]
#[path = "gdb/gdb_test.rs"]
mod tests;

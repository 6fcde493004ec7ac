//! strace for a guest: every exit, with where it comes from and what it does.
//!
//! A [`Trace`] is started with a writer; a [`Tap`] is the [`Tracer`](strata_vmm::Tracer) of one vCPU. On the vCPU's thread a
//! tap reads clocks, registers and the bytes of the instruction, puts them in a queue and goes on; all that takes time
//! (names, disassembly, formatting, writing) is done by a thread of the trace. When the queue is full, exits are dropped
//! and counted: a trace never makes the guest wait. Exits of several vCPUs come in the order in which they were handled,
//! which may differ a little from that of their times.
//!
//! # JSON Lines
//!
//! Each line is an object. An exit (`"event":"exit"`) has these fields; those with a `?` only where it is known or there is one.
//! Numbers that may need 64 bits are strings, `"0x3f8"`; times are nanoseconds, bytes are hexadecimal digits in memory order.
//!
//! | field | what |
//! | --- | --- |
//! | `time_ns` | when the guest came back, since the trace began |
//! | `vcpu` | the vCPU's number |
//! | `guest_ns`, `host_ns` | how long the guest had run, and how long the VMM took |
//! | `kind` | a name of [`Kind`] |
//! | `address`, `width`, `count` ? | of an access: the port or guest-physical address, bytes of one access, how many of them (a string instruction) |
//! | `data`, `value` ? | its bytes, 32 at most; of a single access the number |
//! | `device`, `offset`, `register` ? | the device that took it (`null`: nobody), where in it, its register's name |
//! | `detail` ? | of another exit: its line |
//! | `rip`, `at` ? | linear addresses: where RIP was, and the instruction's, which may be the one before |
//! | `symbol`, `symbol_offset`, `file`, `line` ? | what is at `at` |
//! | `instruction`, `code` ? | in words, and its bytes |
//! | `registers` | those that have changed since this vCPU's last line, but RIP and the arithmetic flags |
//!
//! A trace that lost exits ends with `{"event":"dropped","exits":N}`.
//!
//! ```no_run
//! use strata_inspect::trace::{Format, Guest, Options, Trace};
//! use strata_vmm::{Config, Machine};
//!
//! let config = Config::from_toml("mode = \"real16\"\n[memory]\nsize = \"64K\"")?;
//! // mov al, 'H'; out 0xe9, al; hlt
//! let machine = Machine::builder(config).image(*b"\xb0H\xe6\xe9\xf4").build()?;
//! let options = Options { format: Format::Text { colour: true }, ..Options::default() };
//! let guest = Guest {
//!     memory: machine.ram().memory().clone(),
//!     cpus: machine.cpus(),
//!     places: machine.places(),
//!     symbols: None,
//! };
//! let trace = Trace::start(&options, std::io::stderr(), guest)?;
//! let outcome = machine.run_traced(|vcpu| trace.tap(vcpu))?;
//! let summary = trace.finish();
//! assert_eq!((summary.events, summary.dropped), (2, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod event;
mod filter;
mod json;
mod kind;
mod line;
mod perfetto;
mod phrase;
mod place;
mod registers;
#[cfg(test)]
pub(crate) mod sample;
mod tap;
mod text;
mod writer;

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

pub use filter::{Filter, FilterError};
pub use kind::Kind;
pub(crate) use phrase::Phrases;
pub use place::Place;
pub(crate) use place::{address, find};
pub use tap::Tap;

use vm_memory::{Bytes, GuestAddress};

use crate::Symbols;
use event::Event;
use line::Reader;
use writer::{Render, Shared, Written};

/// How a trace is to be made.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it looks like.
    pub format: Format,
    /// Which exits it shows.
    pub filter: Filter,
    /// For how many exits there is room while they wait to be written; each takes about 700 bytes.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { format: Format::default(), filter: Filter::default(), queue: 1 << 13 }
    }
}

/// What a trace looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A line an exit, in columns, for people.
    Text {
        /// With the colours of a terminal.
        colour: bool,
    },
    /// JSON Lines: [an object](self#json-lines) an exit.
    Json,
    /// The JSON trace event format, which Perfetto and Chrome show: a track for each vCPU, one for each device.
    Perfetto,
}

impl Default for Format {
    fn default() -> Self {
        Self::Text { colour: false }
    }
}

/// There is no such format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no trace format named {name}: there are text, json and perfetto")]
pub struct FormatError {
    /// What was given.
    pub name: String,
}

impl FromStr for Format {
    type Err = FormatError;

    /// `text` (without colours), `json` or `perfetto`.
    fn from_str(name: &str) -> Result<Self, FormatError> {
        match name {
            "text" => Ok(Self::default()),
            "json" => Ok(Self::Json),
            "perfetto" => Ok(Self::Perfetto),
            _ => Err(FormatError { name: name.to_owned() }),
        }
    }
}

impl Format {
    fn render(self) -> Box<dyn Render> {
        match self {
            Self::Text { colour } => Box::new(text::Text::new(colour)),
            Self::Json => Box::new(json::Json),
            Self::Perfetto => Box::new(perfetto::Perfetto::default()),
        }
    }
}

/// Why a trace could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The filter names what the machine has not.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The host gave no thread.
    #[error("cannot start the thread that writes the trace")]
    Thread(#[source] io::Error),
}

/// How a trace ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Summary {
    /// How many exits were written.
    pub events: u64,
    /// How many were lost, because the queue was full.
    pub dropped: u64,
    /// Why the trace ended before the guest did: what it was written to could take no more.
    pub error: Option<io::Error>,
}

/// What a trace has to know of the guest.
#[derive(Debug, Clone)]
pub struct Guest<M> {
    /// Its memory.
    pub memory: M,
    /// How many vCPUs it has.
    pub cpus: usize,
    /// Where its devices are.
    pub places: Vec<Place>,
    /// Its symbols.
    pub symbols: Option<Arc<Symbols>>,
}

/// A trace that is being written.
#[derive(Debug)]
pub struct Trace<M> {
    memory: M,
    shared: Arc<Shared>,
    queue: SyncSender<Event>,
    writer: Option<JoinHandle<Written>>,
}

impl<M: Bytes<GuestAddress> + Clone + Send + 'static> Trace<M> {
    /// Starts a trace to `out`, which needs no buffer of its own. Debug information is read here, which may take a second,
    /// so that it does not keep the trace waiting.
    ///
    /// # Errors
    ///
    /// [`StartError`]
    pub fn start(
        options: &Options,
        out: impl Write + Send + 'static,
        guest: Guest<M>,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::new(options.filter.sieve(&guest.places, guest.cpus)?));
        let _ = guest.symbols.as_ref().map(|symbols| symbols.line(0));
        let (queue, events) = sync_channel(options.queue.max(1));
        let memory = guest.memory.clone();
        let reader = Reader::new(guest);
        let (format, theirs) = (options.format, Arc::clone(&shared));
        let writer = Builder::new()
            .name("trace".to_owned())
            .spawn(move || writer::write(&events, &theirs, reader, (format, out)))
            .map_err(StartError::Thread)?;
        Ok(Self { memory, shared, queue, writer: Some(writer) })
    }

    /// What watches one vCPU.
    pub fn tap(&self, vcpu: u8) -> Tap<M> {
        Tap::new(vcpu, self.memory.clone(), Arc::clone(&self.shared), self.queue.clone())
    }
}

impl<M> Trace<M> {
    /// Writes what is left. Taps that are still there see nothing any more. This waits for whoever reads the trace, as
    /// writing to a full pipe does.
    pub fn finish(mut self) -> Summary {
        let written = self.stop();
        Summary {
            events: written.events,
            dropped: self.shared.dropped.load(std::sync::atomic::Ordering::Relaxed),
            error: written.error,
        }
    }

    fn stop(&mut self) -> Written {
        self.shared.end();
        let failed = || Written { events: 0, error: Some(io::Error::other("the trace's thread panicked")) };
        self.writer.take().map_or_else(Written::default, |writer| writer.join().unwrap_or_else(|_| failed()))
    }
}

impl<M> Drop for Trace<M> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
#[path = "trace_test.rs"]
mod tests;

//! The other side: a thread that makes something readable of events.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use strata_vmm::Exit;
use vm_memory::{Bytes, GuestAddress};

use super::Format;
use super::event::Event;
use super::filter::Sieve;
use super::line::{Line, Reader};

/// What the taps and the writer both know.
#[derive(Debug)]
pub(super) struct Shared {
    /// When the trace began.
    pub(super) start: Instant,
    sieve: Sieve,
    /// Events for which there was no room.
    pub(super) dropped: AtomicU64,
    /// No more events are wanted.
    ended: AtomicBool,
}

impl Shared {
    pub(super) fn new(sieve: Sieve) -> Self {
        Self { start: Instant::now(), sieve, dropped: AtomicU64::new(0), ended: AtomicBool::new(false) }
    }

    #[inline]
    pub(super) fn wants(&self, vcpu: u8, exit: &Exit<'_>) -> bool {
        !self.ended.load(Relaxed) && self.sieve.passes(vcpu, exit)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Release);
    }
}

/// One way to write a trace.
pub(super) trait Render: Send {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()>;
    fn event(&mut self, event: &Line<'_>, out: &mut dyn Write) -> io::Result<()>;
    fn end(&mut self, dropped: u64, out: &mut dyn Write) -> io::Result<()>;
}

/// What a trace's thread has done.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) events: u64,
    pub(super) error: Option<io::Error>,
}

/// Writes events until the trace is told to end, or cannot be written any more.
pub(super) fn write<M: Bytes<GuestAddress>, W: Write>(
    queue: &Receiver<Event>,
    shared: &Arc<Shared>,
    mut reader: Reader<M>,
    (format, out): (Format, W),
) -> Written {
    let mut written = Written::default();
    let mut render = format.render();
    let mut out = BufWriter::with_capacity(1 << 16, out);
    if let Err(error) = all(queue, shared, (&mut reader, &mut *render), &mut out, &mut written.events) {
        // From here on the taps take nothing along.
        shared.end();
        // What is still in the buffer is not tried again: that could wait, or fail once more.
        let _ = out.into_parts();
        written.error = Some(error);
    }
    written
}

fn all<M: Bytes<GuestAddress>>(
    queue: &Receiver<Event>,
    shared: &Shared,
    (reader, render): (&mut Reader<M>, &mut dyn Render),
    out: &mut dyn Write,
    events: &mut u64,
) -> io::Result<()> {
    // The taps never wake this thread, which would cost them a system call: it looks by itself, the more often the
    // busier the guest.
    const BUSY: Duration = Duration::from_micros(200);
    const IDLE: Duration = Duration::from_millis(4);
    render.begin(out)?;
    out.flush()?;
    let mut pause = BUSY;
    loop {
        // Asked before the queue is: what was sent before the end is then seen.
        let last = shared.ended.load(Acquire);
        match queue.try_recv() {
            Ok(event) => {
                render.event(&reader.read(&event), out)?;
                *events += 1;
                pause = BUSY;
            }
            Err(TryRecvError::Empty) if !last => {
                out.flush()?;
                std::thread::sleep(pause);
                pause = (pause * 2).min(IDLE);
            }
            Err(_) => break,
        }
    }
    render.end(shared.dropped.load(Relaxed), out)?;
    out.flush()
}

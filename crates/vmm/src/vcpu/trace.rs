//! Watching exits go by.

use super::exit::Exit;
use super::synced::{Sync, Synced};

/// Sees every exit of one vCPU, after its device has answered.
///
/// It is a type parameter of the loop, not a trait object: with [`NoTrace`] the calls vanish.
pub trait Tracer: Send {
    /// The registers it is to be shown with every exit. Asked once, before the vCPU first runs.
    fn wants(&self) -> Sync {
        Sync::Nothing
    }

    /// The guest has just come back to the VMM, which has done nothing about it yet: for clocks. Kicks and signals, which
    /// are not shown to [`exit`](Self::exit), are told here too.
    #[allow(clippy::inline_always, reason = "on the way of every exit: see `vcpu::run`")]
    #[inline(always)]
    fn back(&mut self) {}

    /// One exit, handled. Answers to reads are in it.
    ///
    /// What is to cost next to nothing is `#[inline(always)]` and gives `exit` to no function that is not: then the loop
    /// need not make a value of it.
    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>);
}

/// Sees nothing, costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTrace;

impl Tracer for NoTrace {
    #[allow(clippy::inline_always, reason = "on the way of every exit: see `vcpu::run`")]
    #[inline(always)]
    fn exit(&mut self, _: &Exit<'_>, _: Synced<'_>) {}
}

/// Two tracers see the same exits, in this order.
impl<A: Tracer, B: Tracer> Tracer for (A, B) {
    fn wants(&self) -> Sync {
        self.0.wants().max(self.1.wants())
    }

    #[inline]
    fn back(&mut self) {
        self.0.back();
        self.1.back();
    }

    #[allow(clippy::inline_always, reason = "see `Tracer::exit`")]
    #[inline(always)]
    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        self.0.exit(exit, synced);
        self.1.exit(exit, synced);
    }
}

/// A tracer that may not be there.
impl<T: Tracer> Tracer for Option<T> {
    fn wants(&self) -> Sync {
        self.as_ref().map_or(Sync::Nothing, Tracer::wants)
    }

    #[inline]
    fn back(&mut self) {
        if let Some(tracer) = self {
            tracer.back();
        }
    }

    #[allow(clippy::inline_always, reason = "see `Tracer::exit`")]
    #[inline(always)]
    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        if let Some(tracer) = self {
            tracer.exit(exit, synced);
        }
    }
}

/// Keeps every exit as its line of text; a line that repeats is kept once, with its count.
#[derive(Debug, Clone, Default)]
pub struct ExitLog {
    lines: Vec<(u64, String)>,
    dropped: u64,
}

impl ExitLog {
    /// How many different lines in a row are kept; the exits of later ones are only counted.
    pub const LIMIT: usize = 100_000;

    /// The exits in order: how often in a row, and what.
    pub fn lines(&self) -> &[(u64, String)] {
        &self.lines
    }

    /// How many exits came after [`LIMIT`](Self::LIMIT) was reached.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many exits there were.
    pub fn count(&self) -> u64 {
        self.lines.iter().map(|(count, _)| count).sum::<u64>() + self.dropped
    }
}

impl Tracer for ExitLog {
    fn exit(&mut self, exit: &Exit<'_>, _: Synced<'_>) {
        let line = exit.to_string();
        if let Some((count, last)) = self.lines.last_mut()
            && *last == line
        {
            *count += 1;
        } else if self.lines.len() < Self::LIMIT {
            self.lines.push((1, line));
        } else {
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_the_log_is_bounded() {
        let mut log = ExitLog::default();
        for _ in 0..1000 {
            log.exit(&Exit::PioWrite { port: 0x80, width: 1, data: &[0] }, Synced::NONE);
        }
        log.exit(&Exit::Halt, Synced::NONE);
        assert_eq!(log.lines(), [(1000, "out 0x80/1 <- 00".to_owned()), (1, "hlt".to_owned())]);
        for addr in 0..u64::try_from(ExitLog::LIMIT).unwrap() {
            log.exit(&Exit::MmioWrite { addr, data: &[1] }, Synced::NONE);
        }
        assert_eq!((log.lines().len(), log.dropped()), (ExitLog::LIMIT, 2));
        assert_eq!(log.count(), 1001 + u64::try_from(ExitLog::LIMIT).unwrap());
    }
}

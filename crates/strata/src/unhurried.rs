//! A file whose reader may be slow, written while the guest runs.

use std::io::{self, ErrorKind, Write};

/// Writes to `out`, waiting for its reader, until the run has ended: what a pipe does not take by then is held until
/// [`flush`](Write::flush).
///
/// A vCPU that waits here is interrupted by the kick that ends the run, and must come back to its loop. When the rest is
/// written, signals end the process again.
pub(crate) struct Unhurried<W, F> {
    out: W,
    /// Whether the run has ended.
    ended: F,
    held: Vec<u8>,
}

impl<W: Write, F: Fn() -> bool> Unhurried<W, F> {
    pub(crate) fn new(out: W, ended: F) -> Self {
        Self { out, ended, held: Vec::new() }
    }
}

impl<W: Write, F: Fn() -> bool> Write for Unhurried<W, F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            match self.out.write(data) {
                Err(error) if error.kind() == ErrorKind::Interrupted && (self.ended)() => {}
                written => return written,
            }
        }
        self.held.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&std::mem::take(&mut self.held))?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A pipe that is full, or has become free.
    struct Pipe<'a>(&'a Cell<bool>, Vec<u8>);

    impl Write for Pipe<'_> {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            if self.0.get() { Err(ErrorKind::Interrupted.into()) } else { self.1.write(data) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_interrupted_by_the_end_is_written_later_and_in_order() {
        let (full, ended) = (Cell::new(false), Cell::new(false));
        let mut file = Unhurried::new(Pipe(&full, Vec::new()), || ended.get());
        file.write_all(b"one ").unwrap();
        full.set(true);
        // A pause, say: the writer tries again.
        assert_eq!(file.write(b"two ").unwrap_err().kind(), ErrorKind::Interrupted);
        ended.set(true);
        file.write_all(b"two ").unwrap();
        full.set(false);
        file.write_all(b"three").unwrap();
        assert_eq!(file.out.1, b"one ");
        file.flush().unwrap();
        assert_eq!(file.out.1, b"one two three");
    }
}

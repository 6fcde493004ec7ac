//! A Linux guest's console: input of ours that nobody types waits until the guest is ready for it.

use std::io::{self, IsTerminal, Read, Write};
use std::process::{Command, Stdio};

use crate::rig::keyboard::{Gate, feed};

/// How the line begins that a guest's process 1 prints: the console is open then.
const READY: &[u8] = b"strata: Linux ";

/// Passes on what a guest prints, and opens a gate when the guest is ready.
#[derive(Debug)]
pub(super) struct Watched<W> {
    to: W,
    gate: Gate,
    /// How many bytes of [`READY`] were seen last.
    seen: usize,
}

impl<W> Watched<W> {
    pub(super) fn new(to: W, gate: Gate) -> Self {
        Self { to, gate, seen: 0 }
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        for byte in &bytes[..written] {
            if self.seen == READY.len() {
                if *byte == b'\n' {
                    self.gate.open();
                }
                continue;
            }
            // No part of the text but its beginning is like its beginning: nothing is missed by starting over.
            let matches = |at: usize| READY[at] == *byte;
            self.seen = if matches(self.seen) { self.seen + 1 } else { usize::from(matches(0)) };
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Runs strata on this host; gives its exit code.
///
/// A terminal is strata's own. Other input comes through us, and so does output then, since that says when.
pub(crate) fn run(mut command: Command) -> io::Result<i32> {
    if io::stdin().is_terminal() {
        return Ok(command.status()?.code().unwrap_or(-1));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let gate = Gate::default();
    if let Some(input) = child.stdin.take() {
        feed(input, gate.clone());
    }
    let mut to = Watched::new(io::stdout(), gate);
    let mut from = child.stdout.take();
    let mut buffer = [0; 4096];
    while let Some(length @ 1..) = from.as_mut().map(|from| from.read(&mut buffer)).transpose()? {
        to.write_all(&buffer[..length])?;
        to.flush()?;
    }
    Ok(child.wait()?.code().unwrap_or(-1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_opens_at_the_line_however_it_is_cut() {
        let mut watched = Watched::new(Vec::new(), Gate::default());
        for piece in ["[ 1.0] strata: Lin", "strata: L", "inux 6.1 on", "1 CPU\n"] {
            assert!(!watched.gate.is_open());
            watched.write_all(piece.as_bytes()).unwrap();
        }
        assert!(watched.gate.is_open());
        assert_eq!(watched.to, b"[ 1.0] strata: Linstrata: Linux 6.1 on1 CPU\n");
    }
}

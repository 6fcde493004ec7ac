//! A device that answers from a list.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

use crate::device::{DeviceMut, Effect};
use crate::irq::IrqLine;
use crate::saved::{RestoreError, Saveable};

/// Stands in for a host's device in a test: reads take the next bytes of a list, then `0xff`; written bytes
/// can be printed, and a write can pulse an interrupt.
///
/// # Examples
///
/// ```
/// use strata_devices::{DeviceMut, Stub};
/// let mut stub = Stub::new([0xaa]);
/// let mut data = [0; 2];
/// stub.read(0, &mut data);
/// assert_eq!(data, [0xaa, 0xff]);
/// ```
#[derive(Default)]
pub struct Stub {
    answers: VecDeque<u8>,
    out: Option<Box<dyn Write + Send>>,
    irq: Option<Arc<dyn IrqLine>>,
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub").field("answers", &self.answers).finish_non_exhaustive()
    }
}

/// What is left of a [`Stub`]'s list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StubV1 {
    /// The bytes that reads will take.
    pub answers: Vec<u8>,
}

impl Stub {
    /// A stub that answers with these bytes, in this order.
    pub fn new(answers: impl IntoIterator<Item = u8>) -> Self {
        Self { answers: answers.into_iter().collect(), out: None, irq: None }
    }

    /// Sends written bytes to `out` too. What `out` refuses is dropped; its owner knows, for it refused.
    #[must_use]
    pub fn print_to(mut self, out: Box<dyn Write + Send>) -> Self {
        self.out = Some(out);
        self
    }

    /// Pulses `line` at each write.
    #[must_use]
    pub fn interrupt_by(mut self, line: Arc<dyn IrqLine>) -> Self {
        self.irq = Some(line);
        self
    }
}

impl DeviceMut for Stub {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill_with(|| self.answers.pop_front().unwrap_or(0xff));
    }

    fn write(&mut self, _: u64, data: &[u8]) -> Effect {
        if data.is_empty() {
            return Effect::None;
        }
        if let Some(out) = &mut self.out {
            let _ = out.write_all(data).and_then(|()| out.flush());
        }
        if let Some(irq) = &self.irq {
            irq.pulse();
        }
        Effect::None
    }
}

impl Saveable for Stub {
    type State = StubV1;

    fn save(&self) -> StubV1 {
        StubV1 { answers: self.answers.iter().copied().collect() }
    }

    fn restore(&mut self, state: &StubV1) -> Result<(), RestoreError> {
        let StubV1 { answers } = state;
        self.answers = answers.iter().copied().collect();
        Ok(())
    }
}

#[cfg(test)]
#[path = "stub_test.rs"]
mod tests;

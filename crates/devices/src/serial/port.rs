//! The port: vm-superio's 16550 behind this crate's traits.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use vm_superio::serial::{Error as UartError, NoEvents};

use super::state::{self, SerialV1};
use crate::{DeviceMut, Effect, IrqLine, RestoreError, Saveable, bytewise};

/// Modem control register: its offset, and the bit that loops the port back to itself (16550D data sheet,
/// 8.7).
const MODEM_CONTROL: u8 = 4;
const LOOP: u8 = 1 << 4;
/// What vm-superio's receive FIFO holds.
pub(super) const FIFO: usize = 64;

/// An interrupt line where vm-superio wants its own trait.
#[derive(Clone)]
struct Line(Arc<dyn IrqLine>);

impl vm_superio::Trigger for Line {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.pulse();
        Ok(())
    }
}

type Uart = vm_superio::Serial<Line, NoEvents, Box<dyn Write + Send>>;

/// A 16550A serial port (National Semiconductor PC16550D data sheet), with vm-superio's register model.
///
/// Eight registers of a byte each; a wider access goes to consecutive registers. Sending takes no time: the
/// transmitter is always empty, and each byte is written to the output and flushed before the guest goes on.
/// The baud rate can be set and means nothing. The receive FIFO holds 64 bytes and cannot be cleared by the
/// guest, so that input which came before the guest's driver is not lost.
///
/// # An output that fails
///
/// The guest's bytes go on into nothing when the output returns an error (`EPIPE`, `ENOSPC`; also `EAGAIN`,
/// so give it an output that blocks or buffers). Whoever made the output sees the error in its own `Write`
/// and decides there what becomes of the machine; [`Serial::lost`] counts the bytes. The port itself neither
/// stops nor retries.
///
/// ```
/// use std::io::{self, Write};
/// use std::sync::{Arc, mpsc};
/// use strata_devices::{DeviceMut, NoIrq, Serial};
///
/// /// Reports the first error to the thread that owns the machine.
/// struct Watched<W>(W, mpsc::Sender<io::Error>);
///
/// impl<W: Write> Write for Watched<W> {
///     fn write(&mut self, data: &[u8]) -> io::Result<usize> {
///         self.0.write(data).inspect_err(|error| {
///             let _ = self.1.send(error.kind().into());
///         })
///     }
///     fn flush(&mut self) -> io::Result<()> {
///         self.0.flush()
///     }
/// }
///
/// let (sender, failed) = mpsc::channel();
/// let (reader, writer) = io::pipe()?;
/// let mut serial = Serial::new(Arc::new(NoIrq), Box::new(Watched(writer, sender)));
/// drop(reader);
/// let _ = serial.write(0, b"!");
/// assert_eq!(serial.lost(), 1);
/// assert_eq!(failed.recv().unwrap().kind(), io::ErrorKind::BrokenPipe);
/// # Ok::<(), io::Error>(())
/// ```
pub struct Serial {
    uart: Uart,
    irq: Line,
    lost: u64,
    /// To be called when the guest has taken all input.
    waiting: Vec<Box<dyn FnOnce() + Send>>,
}

impl Serial {
    /// How many ports (or bytes of address space) it takes.
    pub const LEN: u64 = 8;

    /// A port after reset that sends to `out` and interrupts by `irq`.
    pub fn new(irq: Arc<dyn IrqLine>, out: Box<dyn Write + Send>) -> Self {
        let irq = Line(irq);
        Self { uart: Uart::new(irq.clone(), out), irq, lost: 0, waiting: Vec::new() }
    }

    /// Gives the guest input; returns how many bytes of it were taken: at most [`room`](Self::room). The rest
    /// is the caller's to keep until [`when_drained`](Self::when_drained).
    pub fn enqueue(&mut self, input: &[u8]) -> usize {
        // The error is "FIFO full": the line's own cannot happen.
        self.uart.enqueue_raw_bytes(input).unwrap_or(0)
    }

    /// How many bytes of input the port would take now: 0 to 64. 0 also while the guest loops the port back
    /// to itself, since the chip's input is cut off then.
    pub fn room(&mut self) -> usize {
        if self.is_looped() { 0 } else { self.uart.fifo_capacity() }
    }

    /// Calls `wake` once, as soon as the guest has taken all input; at once if it already has. The port is
    /// locked then, so `wake` must not access it: it writes to an eventfd or sends a message.
    pub fn when_drained(&mut self, wake: impl FnOnce() + Send + 'static) {
        self.waiting.push(Box::new(wake));
        self.wake();
    }

    /// How many bytes the output has refused.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn is_looped(&mut self) -> bool {
        // A register without side effects; vm-superio's own copy of it is private.
        self.uart.read(MODEM_CONTROL) & LOOP != 0
    }

    fn wake(&mut self) {
        if !self.waiting.is_empty() && self.room() == FIFO {
            for wake in mem::take(&mut self.waiting) {
                wake();
            }
        }
    }
}

/// The chip's register at `offset`, if it is one.
fn register(offset: u64) -> Option<u8> {
    u8::try_from(offset).ok().filter(|&register| u64::from(register) < Serial::LEN)
}

impl DeviceMut for Serial {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        bytewise::read(offset, data, |at| register(at).map_or(0xff, |register| self.uart.read(register)));
        self.wake();
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        let effect = bytewise::write(offset, data, |at, byte| {
            if let Some(register) = register(at)
                && let Err(UartError::IOError(_)) = self.uart.write(register, byte)
            {
                // The output's owner has seen the error; the guest is not to be held up by it.
                self.lost = self.lost.saturating_add(1);
            }
            Effect::None
        });
        // The guest may just have ended loopback.
        self.wake();
        effect
    }
}

impl Saveable for Serial {
    type State = SerialV1;

    fn save(&self) -> SerialV1 {
        state::save(&self.uart.state(), self.lost)
    }

    /// If the state has an interrupt pending, the line is pulsed: its edge may have been lost with the old
    /// machine.
    fn restore(&mut self, state: &SerialV1) -> Result<(), RestoreError> {
        let (uart_state, lost) = state::load(state)?;
        let out = mem::replace(self.uart.writer_mut(), Box::new(io::sink()));
        // Fails only for more input than the FIFO holds, which `load` has refused.
        if let Ok(uart) = Uart::from_state(&uart_state, self.irq.clone(), NoEvents, out) {
            self.uart = uart;
        }
        self.lost = lost;
        self.wake();
        Ok(())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.uart.state();
        f.debug_struct("Serial").field("state", &state).field("lost", &self.lost).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "port_test.rs"]
mod tests;

//! COM1 as the console: [`print!`](crate::print) and [`println!`](crate::println).
//!
//! The port is a 16550 (National Semiconductor, PC16550D data sheet), which a monitor or a BIOS has set up; only the
//! FIFO is turned on here, so that a line of text is few exits.

#![allow(unsafe_code, reason = "a port")]

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::port;

/// COM1's first port.
const COM1: u16 = 0x3f8;
const FIFO_CONTROL: u16 = COM1 + 2;
const LINE_STATUS: u16 = COM1 + 5;
/// FIFO control: enabled, both cleared.
const ENABLE_FIFO: u8 = 0x07;
/// Line status: what was to be sent has been.
const TRANSMITTER_EMPTY: u8 = 0x20;
/// What an empty FIFO takes.
const FIFO_LEN: usize = 16;

/// COM1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Serial {
    /// Sends `bytes`, waiting for the port as long as it takes.
    pub fn send(self, bytes: &[u8]) {
        static IS_SET_UP: AtomicBool = AtomicBool::new(false);
        if !IS_SET_UP.swap(true, Relaxed) {
            // SAFETY: COM1 is a serial port on a PC; it does not touch memory.
            unsafe { port::write_u8(FIFO_CONTROL, ENABLE_FIFO) };
        }
        for part in bytes.chunks(FIFO_LEN) {
            // SAFETY: as above, and reading the status changes nothing. Where there is no port, it reads as ones.
            while unsafe { port::read_u8(LINE_STATUS) } & TRANSMITTER_EMPTY == 0 {
                core::hint::spin_loop();
            }
            // SAFETY: as above.
            unsafe { port::write_bytes(COM1, part) };
        }
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.send(text.as_bytes());
        Ok(())
    }
}

/// What the macros call.
#[doc(hidden)]
pub fn print(text: fmt::Arguments<'_>) {
    // Sending to a port does not fail; a value that cannot be formatted is no reason to end the machine.
    let _ = fmt::Write::write_fmt(&mut Serial, text);
}

/// Prints to COM1, as std's `print!` does to standard output.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => {
        $crate::serial::print(::core::format_args!($($text)*))
    };
}

/// Prints a line to COM1, as std's `println!` does to standard output.
#[macro_export]
macro_rules! println {
    () => {
        $crate::print!("\n")
    };
    ($($text:tt)*) => {
        $crate::serial::print(::core::format_args!("{}\n", ::core::format_args!($($text)*)))
    };
}

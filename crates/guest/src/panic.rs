//! Panics: printed as std prints them, and the end of the machine, or of the test.

use core::fmt::{self, Write};

use crate::{Verdict, exit, println, test};

/// Panics end here.
#[cfg(target_os = "none")]
#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => println!("panicked at {place}:\n{}", info.message()),
        None => println!("panicked:\n{}", info.message()),
    }
    end(&info.message())
}

/// A panic with this message: the verdict is the running test's.
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "std has a panic handler of its own"))]
fn end(message: &dyn fmt::Display) -> ! {
    let Some(running) = test::running().filter(|test| test.should_panic()) else { exit(Verdict::Failure) };
    match running.expected_message() {
        Some(expected) if !contains(message, expected) => {
            println!("note: the panic was to contain {expected:?}");
            exit(Verdict::Failure)
        }
        _ => exit(Verdict::Success),
    }
}

/// Whether `message`, formatted, contains `text`: as far as its first KiB goes.
fn contains(message: &dyn fmt::Display, text: &str) -> bool {
    let mut start = Start { bytes: [0; 1024], len: 0 };
    // It ends early where there is no more room.
    let _ = write!(start, "{message}");
    let message = start.bytes.get(..start.len).unwrap_or_default();
    text.is_empty() || message.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The start of a text.
struct Start {
    bytes: [u8; 1024],
    len: usize,
}

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (to, byte) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *to = byte;
            self.len += 1;
        }
        if self.len == self.bytes.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "panic_test.rs"]
mod tests;

//! Names from an image, made fit for a terminal.

use std::fmt::{self, Write};

/// How much of a name is looked at, in bytes. Longer ones are cut.
const MAX_RAW: usize = 1024;
/// How much of it is shown, in characters.
const MAX_SHOWN: usize = 256;

/// The bytes from `at` on to the next zero byte, or as many as are looked at.
pub(super) fn c_string(strings: &[u8], at: usize) -> Option<&[u8]> {
    let rest = strings.get(at..)?;
    let rest = rest.get(..MAX_RAW).unwrap_or(rest);
    rest.split(|byte| *byte == 0).next()
}

/// Appends a symbol's name: demangled if it is Rust's.
pub(super) fn push_symbol(into: &mut String, raw: &[u8]) {
    let text = String::from_utf8_lossy(raw.get(..MAX_RAW).unwrap_or(raw));
    let mut shown = Shown { into, chars: 0 };
    // What ends these early is that enough is shown.
    let _ = match rustc_demangle::try_demangle(&text) {
        Ok(name) => write!(shown, "{name:#}"),
        Err(_) => shown.write_str(&text),
    };
}

/// A path or part of one.
pub(super) fn path(raw: &[u8]) -> String {
    let mut path = String::new();
    let text = String::from_utf8_lossy(raw.get(..MAX_RAW).unwrap_or(raw));
    let _ = Shown { into: &mut path, chars: 0 }.write_str(&text);
    path
}

/// Lets through what a terminal shows as it is, and escapes the rest; refuses more than is shown.
struct Shown<'a> {
    into: &'a mut String,
    chars: usize,
}

impl Write for Shown<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.chars >= MAX_SHOWN {
                self.into.push_str("...");
                return Err(fmt::Error);
            }
            if is_plain(char) {
                self.into.push(char);
                self.chars += 1;
            } else {
                let escaped = char.escape_unicode();
                self.chars += escaped.len();
                self.into.extend(escaped);
            }
        }
        Ok(())
    }
}

/// Neither a control character nor one of Unicode's invisible ones, which turn the direction of what follows, join or
/// separate lines.
fn is_plain(char: char) -> bool {
    !char.is_control()
        && !matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

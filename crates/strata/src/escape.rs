//! The keys that are Strata's and not the guest's, as QEMU has them: Ctrl-a and one more.

/// Ctrl-a, with which every escape begins.
const ESCAPE: u8 = 0x01;

/// What the escapes are, for whoever types Ctrl-a h.
pub(crate) const HELP: &str =
    "Ctrl-a x ends the run, Ctrl-a Ctrl-a (or Ctrl-a a) sends Ctrl-a to the guest, Ctrl-a h shows this";

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// It is the guest's.
    Guest(u8),
    /// It ends the run.
    Leave,
    /// It asks for [`HELP`].
    Help,
    /// It begins an escape, or ends one that means nothing.
    Nothing,
}

/// Sorts keys, one by one: an escape may be spread over any number of reads.
#[derive(Debug, Default)]
pub(crate) struct Escape {
    /// The last key was Ctrl-a.
    begun: bool,
}

impl Escape {
    /// What the next key does.
    pub(crate) fn key(&mut self, byte: u8) -> Key {
        if !std::mem::take(&mut self.begun) {
            self.begun = byte == ESCAPE;
            return if self.begun { Key::Nothing } else { Key::Guest(byte) };
        }
        match byte {
            ESCAPE | b'a' => Key::Guest(ESCAPE),
            b'x' => Key::Leave,
            b'h' | b'?' => Key::Help,
            _ => Key::Nothing,
        }
    }
}

#[cfg(test)]
#[path = "escape_test.rs"]
mod tests;

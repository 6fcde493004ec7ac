//! Packets out of a stream of bytes: `$data#checksum` (gdb manual, "Overview" of the remote protocol).
//!
//! Only what is whole and right is handed on: everything else a client can send is answered or dropped here.

use std::fmt::Write as _;

/// The longest packet. gdb asks how long it may be, and keeps to it.
pub(super) const LONGEST: usize = 0x4000;
/// How much may come before a first packet. Whoever sends more is no debugger.
const NOISE: usize = 4096;

/// What has come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A whole packet with `$`, `#` and its checksum.
    Packet(Vec<u8>),
    /// Ctrl-C.
    Interrupt,
    /// A packet that arrived damaged: it wants to be sent again.
    Damaged,
    /// A packet longer than [`LONGEST`], which was not kept.
    TooLong,
    /// Something that is not gdb.
    Noise,
}

/// Takes a stream apart.
#[derive(Debug, Default)]
pub(super) struct Framing {
    packet: Vec<u8>,
    place: Place,
    is_too_long: bool,
    /// Bytes outside of packets, while there has been none.
    noise: usize,
    has_seen_any: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    Inside,
    /// After the `#`: this many digits are still to come.
    Checksum(u8),
}

impl Framing {
    /// Takes a byte.
    pub(super) fn push(&mut self, byte: u8) -> Option<Input> {
        match self.place {
            Place::Outside => return self.outside(byte),
            // The packet before it was never ended.
            Place::Inside if byte == b'$' => self.begin(),
            Place::Inside => {
                self.keep(byte);
                if byte == b'#' {
                    self.place = Place::Checksum(2);
                }
            }
            Place::Checksum(left) => {
                self.keep(byte);
                self.place = if left > 1 { Place::Checksum(left - 1) } else { Place::Outside };
                if self.place == Place::Outside {
                    return Some(self.end());
                }
            }
        }
        None
    }

    fn outside(&mut self, byte: u8) -> Option<Input> {
        match byte {
            b'$' => self.begin(),
            3 => return Some(Input::Interrupt),
            // Acknowledged, or not: TCP loses nothing, so there is nothing to be sent again.
            b'+' | b'-' => {}
            _ if self.has_seen_any => {}
            _ => {
                self.noise += 1;
                if self.noise == NOISE {
                    return Some(Input::Noise);
                }
            }
        }
        None
    }

    fn begin(&mut self) {
        self.packet.clear();
        self.packet.push(b'$');
        self.is_too_long = false;
        self.place = Place::Inside;
    }

    fn keep(&mut self, byte: u8) {
        if self.packet.len() < LONGEST {
            self.packet.push(byte);
        } else {
            self.is_too_long = true;
        }
    }

    fn end(&mut self) -> Input {
        let packet = std::mem::take(&mut self.packet);
        if self.is_too_long {
            return Input::TooLong;
        }
        let Some((body, [b'#', checksum @ ..])) = packet.split_at_checked(packet.len().saturating_sub(3))
        else {
            return Input::Damaged;
        };
        let sum = body.iter().skip(1).fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let stated =
            std::str::from_utf8(checksum).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if stated == Some(sum) {
            self.has_seen_any = true;
            Input::Packet(packet)
        } else {
            Input::Damaged
        }
    }
}

/// What is in a packet.
pub(super) fn body(packet: &[u8]) -> &[u8] {
    packet.get(1..packet.len().saturating_sub(3)).unwrap_or_default()
}

/// A packet with this in it; of the characters that have a meaning there must be none.
pub(super) fn packet(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let mut packet = Vec::with_capacity(body.len() + 4);
    packet.push(b'$');
    packet.extend_from_slice(body);
    packet.extend_from_slice(format!("#{sum:02x}").as_bytes());
    packet
}

/// A packet that has gdb print a line ("Stop Reply Packets", `O`). Only while the guest runs.
pub(super) fn console(text: &str) -> Vec<u8> {
    let mut body = String::from("O");
    for byte in text.bytes().chain([b'\n']) {
        let _ = write!(body, "{byte:02x}");
    }
    packet(body.as_bytes())
}

#[cfg(test)]
#[path = "framing_test.rs"]
mod tests;

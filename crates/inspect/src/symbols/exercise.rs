// What the fuzz target and the test that replays its corpus ask of symbols.

use crate::Symbols;

/// Asks for many addresses that may be in the image. Whatever it is, names are short and fit for a terminal.
#[allow(unreachable_pub, reason = "the fuzz target has it in a program")]
pub fn exercise(symbols: &Symbols, image: &[u8]) {
    let words = image.windows(8).step_by(4).take(256);
    let words = words.filter_map(|word| Some(u64::from_le_bytes(*word.first_chunk()?)));
    for word in words.flat_map(|word| [word, word & 0xffff_ffff]) {
        for addr in [word, word.wrapping_add(5)] {
            if let Some(symbol) = symbols.find(addr) {
                // Each of 256 characters may be escaped, and the last be longer than what is left.
                assert!(symbol.name.chars().count() < 256 + 16, "{symbol}");
                assert!(!symbol.name.contains(char::is_control), "{symbol}");
            }
            if let Some(line) = symbols.line(addr) {
                assert!(!line.file.contains(char::is_control) && line.line > 0, "{line}");
            }
        }
    }
}

//! What `nm` prints: `ffffffff81000000 T _text`, with `-S` a size in between; `System.map` and `/proc/kallsyms` are such.

use super::{
    SymbolError,
    table::{Builder, Raw, Table},
};

/// How far behind the last label before it an address may lie.
const MAX_DISTANCE: u64 = 1 << 20;

/// Reads lines; those that are none of `nm`'s are passed over. If already the first is none, this is another format.
pub(super) fn read(text: &[u8]) -> Result<Table, SymbolError> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let mut builder = Builder::default();
    let Some(first) = lines.next().and_then(parse) else { return builder.build() };
    for line in [Some(first)].into_iter().chain(lines.map(parse)).flatten() {
        if let Line::Defined(symbol) = line {
            builder.push(symbol)?;
        }
    }
    if builder.addresses().count() > 1 && builder.addresses().all(|addr| addr == 0) {
        return Err(SymbolError::Hidden);
    }
    builder.build()
}

enum Line<'a> {
    /// Undefined, or absolute: a number and no address.
    Other,
    Defined(Raw<'a>),
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (first, rest) = word(line);
    if let [b'U' | b'w' | b'v'] = first {
        return (!rest.is_empty()).then_some(Line::Other);
    }
    let addr = number(first)?;
    let (second, behind) = word(rest);
    let (size, kind, name) = match number(second) {
        // A kind is one letter, a size at least eight digits.
        Some(size) if second.len() > 1 => {
            let (kind, name) = word(behind);
            (Some(size), kind, name)
        }
        _ => (None, second, behind),
    };
    let [kind] = kind else { return None };
    if !kind.is_ascii_alphabetic() && *kind != b'?' || name.is_empty() {
        return None;
    }
    if matches!(kind, b'a' | b'A' | b'U' | b'N' | b'n') {
        return Some(Line::Other);
    }
    let end = size.filter(|size| *size > 0).map(|size| addr.saturating_add(size));
    let rank = u8::from(end.is_some()) * 2 + u8::from(kind.is_ascii_uppercase());
    let bound = end.unwrap_or_else(|| addr.saturating_add(MAX_DISTANCE));
    Some(Line::Defined(Raw { name, addr, end, bound, rank }))
}

/// The first word, and what comes after the blanks behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_ascii_start())
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.strip_prefix(b"0x").unwrap_or(digits);
    if digits.first() == Some(&b'+') {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

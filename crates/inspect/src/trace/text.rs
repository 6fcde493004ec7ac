//! A trace for people: a line an exit.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use strata_vmm::vcpu::ExitRecord;

use super::event::{Access, BYTES, What};
use super::line::Line;
use super::writer::Render;

/// The columns where the fields begin. Those on the right make room for what is longer than their column, and keep it, so
/// that the lines after it are in line with it; but not for what is longer than most, which stands out alone.
mod column {
    pub(super) const VCPU: usize = 11;
    /// The ends of these two, whose numbers are flush right.
    pub(super) const GUEST_END: usize = 20;
    pub(super) const HOST_END: usize = 28;
    pub(super) const AT: usize = 30;
    pub(super) const INSTRUCTION: usize = 56;
    pub(super) const WHAT: usize = 78;
    pub(super) const CHANGED: usize = 108;
}

/// Between two words at least, and between two columns.
const GAP: usize = 1;
const COLUMN_GAP: usize = 2;

/// A column that makes room for what is before it.
#[derive(Debug, Clone, Copy)]
struct Stop {
    begin: usize,
    /// How far to the right it goes.
    most: usize,
}

impl Stop {
    /// Where the field begins in a line of so many columns.
    fn behind(&mut self, width: usize) -> usize {
        let begin = self.begin.max(width + COLUMN_GAP);
        if begin <= self.most {
            self.begin = begin;
        }
        begin
    }
}

/// Lines of text.
#[derive(Debug)]
pub(super) struct Text {
    colour: bool,
    line: Columns,
    instruction: Stop,
    what: Stop,
    changed: Stop,
}

/// SGR parameters (ECMA-48, 8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Dim,
    Cyan,
    Green,
    Yellow,
    Magenta,
    Red,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Cyan => "36",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Magenta => "35",
            Self::Red => "1;31",
        }
    }
}

/// One line while it is made.
#[derive(Debug, Default)]
struct Columns {
    text: String,
    /// How many columns it has, without what only colours it.
    width: usize,
    colour: bool,
}

impl Columns {
    fn clear(&mut self, colour: bool) {
        (self.width, self.colour) = (0, colour);
        self.text.clear();
    }

    /// Goes to a column; further right if that is taken.
    fn to(&mut self, column: usize) {
        let least = if self.width == 0 { 0 } else { self.width + GAP };
        let to = column.max(least);
        self.text.extend(std::iter::repeat_n(' ', to - self.width));
        self.width = to;
    }

    fn put(&mut self, style: Style, field: &dyn fmt::Display) {
        if self.colour && style != Style::Plain {
            let _ = write!(self.text, "\x1b[{}m", style.code());
        }
        let start = self.text.len();
        let _ = write!(self.text, "{field}");
        self.width += self.text.get(start..).map_or(0, |field| field.chars().count());
        if self.colour && style != Style::Plain {
            self.text.push_str("\x1b[0m");
        }
    }

    /// Puts a field so that it ends before a column, if it can.
    fn right(&mut self, end: usize, style: Style, field: &str) {
        self.to(end.saturating_sub(field.len()));
        self.put(style, &field);
    }
}

impl Text {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            colour,
            line: Columns::default(),
            instruction: Stop { begin: column::INSTRUCTION, most: 72 },
            what: Stop { begin: column::WHAT, most: 100 },
            changed: Stop { begin: column::CHANGED, most: 136 },
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.line.text.push('\n');
        out.write_all(self.line.text.as_bytes())
    }
}

impl Render for Text {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.line.clear(self.colour);
        let line = &mut self.line;
        line.right(10, Style::Bold, "seconds");
        line.to(column::VCPU);
        line.put(Style::Bold, &"cpu");
        line.right(column::GUEST_END, Style::Bold, "guest");
        line.right(column::HOST_END, Style::Bold, "host us");
        for (at, name) in [
            (column::AT, "at"),
            (column::INSTRUCTION, "instruction"),
            (column::WHAT, "exit"),
            (column::CHANGED, "registers changed"),
        ] {
            line.to(at);
            line.put(Style::Bold, &name);
        }
        self.finish(out)
    }

    fn event(&mut self, seen: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
        let event = seen.event;
        self.line.clear(self.colour);
        let line = &mut self.line;
        line.right(10, Style::Dim, &seconds(event.times.back));
        line.to(column::VCPU);
        line.put(Style::Plain, &event.vcpu);
        line.right(column::GUEST_END, Style::Dim, &micros(event.times.guest));
        line.right(column::HOST_END, Style::Dim, &micros(event.times.host));
        if let Some(at) = seen.at {
            line.to(column::AT);
            match seen.symbol {
                Some(symbol) => line.put(Style::Cyan, &symbol),
                None => line.put(Style::Cyan, &format_args!("{at:#x}")),
            }
        }
        if let Some(source) = &seen.source {
            line.to(line.width + GAP);
            let file = source.file.rsplit('/').next().unwrap_or_default();
            line.put(Style::Dim, &format_args!("{file}:{}", source.line));
        }
        if let Some(instruction) = &seen.instruction {
            line.to(self.instruction.behind(line.width));
            line.put(Style::Plain, &instruction.text);
        }
        line.to(self.what.behind(line.width));
        match &event.what {
            What::Access(access) => {
                put_access(line, access, seen);
                put_target(line, seen);
            }
            What::Other(record) => put_other(line, record),
        }
        if !seen.changed.is_empty() {
            line.to(self.changed.behind(line.width));
            let changed: Vec<_> =
                seen.changed.iter().map(|(name, value)| format!("{name}={value:#x}")).collect();
            line.put(Style::Dim, &changed.join(" "));
        }
        self.finish(out)
    }

    fn end(&mut self, dropped: u64, out: &mut dyn Write) -> io::Result<()> {
        if dropped == 0 {
            return Ok(());
        }
        self.line.clear(self.colour);
        let s = if dropped == 1 { "" } else { "s" };
        let said = format_args!(
            "{dropped} exit{s} dropped: the output could not keep up; a filter or a file on a fast disk helps"
        )
        .to_string();
        self.line.put(Style::Red, &said);
        self.finish(out)
    }
}

/// What an exit is, as a line has it, without colours; with `target` also what takes it.
pub(super) fn plain(seen: &Line<'_>, target: bool) -> String {
    let mut line = Columns::default();
    match &seen.event.what {
        What::Access(access) => {
            put_access(&mut line, access, seen);
            if target {
                put_target(&mut line, seen);
            }
        }
        What::Other(record) => put_other(&mut line, record),
    }
    line.text
}

fn put_access(line: &mut Columns, access: &Access, seen: &Line<'_>) {
    let (verb, arrow) = match (access.space(), access.is_write()) {
        (strata_vmm::devices::AddressSpace::Pio, false) => ("in", "->"),
        (strata_vmm::devices::AddressSpace::Pio, true) => ("out", "<-"),
        (_, false) => ("mmio read", "->"),
        (_, true) => ("mmio write", "<-"),
    };
    let style = if access.is_write() { Style::Yellow } else { Style::Green };
    line.put(style, &format_args!("{verb} {:#x}", access.at));
    let is_byte = access.width == 1 && verb.len() <= 3;
    if !is_byte {
        line.put(style, &format_args!("/{}", access.width));
    }
    if access.times() > 1 {
        line.put(style, &format_args!(" x{}", access.times()));
    }
    // A register that is known says whether its bytes are text; any other that is written may be a console.
    let is_text = seen.register.map_or(seen.offset == 0 && verb == "out", |register| register.text);
    line.put(style, &format_args!(" {arrow} {}", Data { access, is_text }));
}

fn put_target(line: &mut Columns, seen: &Line<'_>) {
    if seen.device.or(seen.custom.map(|name| (0, name))).is_some() {
        line.to(line.width + GAP);
        line.put(Style::Magenta, &seen.target().unwrap_or_default());
    }
    if seen.device.is_none() {
        line.to(line.width + GAP);
        line.put(Style::Dim, &"(nobody)");
    }
}

fn put_other(line: &mut Columns, record: &ExitRecord) {
    match record {
        ExitRecord::Halt => line.put(Style::Bold, &"hlt"),
        ExitRecord::Debug { .. } => line.put(Style::Bold, record),
        ExitRecord::Shutdown => line.put(Style::Red, &"shutdown (triple fault)"),
        other => line.put(Style::Red, other),
    }
}

/// `0x1c`, `'H'`, or `"Hello\n"`.
struct Data<'a> {
    access: &'a Access,
    is_text: bool,
}

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.access.bytes();
        let printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
        let rest = if self.access.len as usize > BYTES { ".." } else { "" };
        if let (1, Some(value)) = (self.access.times(), self.access.value()) {
            return match u8::try_from(value) {
                Ok(byte) if self.is_text && self.access.len == 1 && printable(&byte) => {
                    write!(f, "'{}'", byte.escape_ascii())
                }
                _ => write!(f, "{value:#x}"),
            };
        }
        if self.access.width == 1 && bytes.iter().all(printable) {
            return write!(f, "\"{}\"{rest}", bytes.escape_ascii());
        }
        for (n, one) in bytes.chunks(usize::from(self.access.width.max(1))).enumerate() {
            let mut number = [0; 8];
            for (digit, byte) in number.iter_mut().zip(one) {
                *digit = *byte;
            }
            write!(f, "{}{:#x}", if n == 0 { "" } else { " " }, u64::from_le_bytes(number))?;
        }
        f.write_str(rest)
    }
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:06}", nanos / 1_000_000_000, nanos / 1000 % 1_000_000)
}

/// Microseconds with one decimal, as long as that fits.
fn micros(nanos: u64) -> String {
    match nanos / 1000 {
        micros @ ..100_000 => format!("{micros}.{}", nanos / 100 % 10),
        micros => micros.to_string(),
    }
}

#[cfg(test)]
#[path = "text_test.rs"]
mod tests;

//! The map as a picture: a column of boxes for the guest-physical addresses, one for the linear ones.
//!
//! A box's height grows with the logarithm of its size, so that a page and a terabyte go on one sheet; each holds one
//! line of text and is never less high than that.

use std::fmt;

use strata_cpu::{PageRegion, WindowKind};

use super::{
    AreaKind, Map, Paging, Placed, Printable, Size, name,
    text::{PageSizes, Rights},
};

/// Boxes of a column; a picture of more is not looked at.
const BOXES: usize = 96;
/// Characters of a label.
const LABEL: usize = 56;
/// Pixels. A character of 12 px in a font of one width takes 7.2 to 7.3.
const CHAR: f64 = 7.4;
const LINE: f64 = 18.0;
const MARGIN: f64 = 16.0;
const TOP: f64 = 48.0;
const PAD: f64 = 8.0;

/// Colours for both kinds of background; the classes are what boxes are of.
const STYLE: &str = "\
svg{background:#fff}text{font:12px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1b1f24}\
.page{fill:#fff}.title{font-weight:bold}.faint{fill:#57606a}rect{stroke:#8c959f;stroke-width:1}.page{stroke:none}\
.hole{fill:#f0f2f4;stroke-dasharray:3 3}.ram{fill:#d8ecd9}.slot{fill:#c4e3c6}.device{fill:#fde3c2}.image{fill:#cfe2fb}\
.table{fill:#e4d8f7}.r{fill:#e6e8ea}.rw{fill:#d8ecd9}.rx{fill:#cfe2fb}.window{fill:#e4d8f7}\
.bad{fill:#ffd3d0;stroke:#cf222e;stroke-width:2}\
@media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.page{fill:#0d1117}.faint{fill:#9da7b3}\
rect{stroke:#6e7681}.hole{fill:#161b22}.ram{fill:#1d3b26}.slot{fill:#244a2f}.device{fill:#553a14}.image{fill:#1b3a63}\
.table{fill:#402a66}.r{fill:#2d333b}.rw{fill:#1d3b26}.rx{fill:#1b3a63}.window{fill:#402a66}\
.bad{fill:#67191d;stroke:#ff7b72}}";

pub(super) struct Svg<'a>(pub(super) &'a Map);

/// A box of a column.
struct Piece {
    start: u64,
    size: u128,
    class: &'static str,
    label: String,
}

impl Piece {
    /// One line, and one more for each factor of 16 beyond a page, up to four.
    fn height(&self) -> f64 {
        let lines = match self.size >> 12 {
            _ if self.class == "hole" => 0,
            0 | 1 => 0,
            pages => (pages.ilog2() / 4).min(3),
        };
        LINE + 8.0 * f64::from(lines)
    }

    fn size(&self) -> String {
        Size(self.size).to_string()
    }
}

/// A column's boxes, how wide its parts are, and its title.
struct Column {
    title: &'static str,
    pieces: Vec<Piece>,
    left_out: usize,
    /// Hexadecimal digits of an address.
    digits: usize,
}

impl Column {
    fn new(title: &'static str, mut pieces: Vec<Piece>, digits: usize) -> Self {
        let left_out = pieces.len().saturating_sub(BOXES);
        pieces.truncate(BOXES);
        for piece in &mut pieces {
            if piece.label.chars().count() > LABEL {
                piece.label = piece.label.chars().take(LABEL - 2).chain("..".chars()).collect();
            }
        }
        Self { title, pieces, left_out, digits }
    }

    fn address_width(&self) -> f64 {
        pixels(self.digits + 2) + PAD
    }

    fn box_width(&self) -> f64 {
        let longest = |length: fn(&Piece) -> usize| self.pieces.iter().map(length).max().unwrap_or_default();
        let label = longest(|piece| piece.label.chars().count()).max(self.title.len());
        pixels(label) + pixels(longest(|piece| piece.size().len())) + 4.0 * PAD
    }

    fn width(&self) -> f64 {
        self.address_width() + self.box_width()
    }

    fn height(&self) -> f64 {
        let more = if self.left_out > 0 { LINE } else { 0.0 };
        self.pieces.iter().map(Piece::height).sum::<f64>() + more
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, left: f64) -> fmt::Result {
        let (box_left, width, mut y) = (left + self.address_width(), self.box_width(), TOP);
        writeln!(
            f,
            "<text class=\"title\" x=\"{box_left:.1}\" y=\"{:.1}\">{}</text>",
            TOP - 14.0,
            self.title
        )?;
        for piece in &self.pieces {
            let Piece { start, class, label, .. } = piece;
            let (height, digits) = (piece.height(), self.digits + 2);
            let base = y + height / 2.0 + 4.0;
            writeln!(
                f,
                "<rect class=\"{class}\" x=\"{box_left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            )?;
            text(f, (box_left - PAD, base), "faint", "end", &format!("{start:#0digits$x}"))?;
            text(f, (box_left + PAD, base), "", "start", label)?;
            text(f, (box_left + width - PAD, base), "faint", "end", &piece.size())?;
            y += height;
        }
        if self.left_out > 0 {
            text(
                f,
                (box_left + PAD, y + LINE - 4.0),
                "faint",
                "start",
                &format!("... and {} more", self.left_out),
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few dozen characters")]
fn pixels(characters: usize) -> f64 {
    characters as f64 * CHAR
}

fn text(
    f: &mut fmt::Formatter<'_>,
    (x, y): (f64, f64),
    class: &str,
    anchor: &str,
    text: &str,
) -> fmt::Result {
    let text = Escaped(text);
    writeln!(f, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
}

impl fmt::Display for Svg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns = vec![Column::new("guest-physical memory", physical(&self.0.place()), 12)];
        let mut legend = vec![("ram", "RAM"), ("device", "device"), ("image", "image"), ("table", "table")];
        let mut bad = "overlap";
        match &self.0.pages {
            Some(Paging::On(pages)) => {
                columns.push(Column::new("page tables: linear to physical", linear(pages), 16));
                legend.extend([("rx", "executable"), ("rw", "writable"), ("r", "read only")]);
                bad = "overlap, W+X";
            }
            Some(Paging::Off) => {
                let label = "linear addresses are physical".to_owned();
                let all = Piece { start: 0, size: 1 << 32, class: "r", label };
                columns.push(Column::new("paging is off", vec![all], 16));
            }
            None => {}
        }
        legend.extend([("hole", "nothing"), ("bad", bad)]);
        let legend_width: f64 = legend.iter().map(|(_, name)| legend_item(name)).sum();
        let gaps = MARGIN * 2.0 * f64::from(u8::from(columns.len() > 1));
        let width = columns.iter().map(Column::width).sum::<f64>() + gaps;
        let width = width.max(legend_width) + 2.0 * MARGIN;
        let bottom = TOP + columns.iter().map(Column::height).fold(0.0, f64::max);
        let height = bottom + LINE + 2.0 * MARGIN;
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"100%\" height=\"100%\"/>"
        )?;
        let mut left = MARGIN;
        for column in &columns {
            column.draw(f, left)?;
            left += column.width() + 2.0 * MARGIN;
        }
        let (mut x, y) = (MARGIN, bottom + MARGIN);
        for (class, name) in legend {
            writeln!(f, "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"12\" height=\"12\"/>")?;
            text(f, (x + 18.0, y + 10.5), "faint", "start", name)?;
            x += legend_item(name);
        }
        f.write_str("</svg>\n")
    }
}

fn legend_item(name: &str) -> f64 {
    pixels(name.len()) + 36.0
}

/// The addresses one after the other: each box is the innermost area there, named with those around it.
fn physical(placed: &[Placed<'_>]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut open, mut cursor) = (Vec::<&Placed<'_>>::new(), 0u128);
    for one in placed {
        let start = u128::from(one.area.start);
        close(&mut pieces, &mut open, &mut cursor, start);
        segment(&mut pieces, &open, &mut cursor, start);
        open.push(one);
    }
    close(&mut pieces, &mut open, &mut cursor, u128::MAX);
    pieces
}

/// Ends the areas that lie before `until`.
fn close<'a>(pieces: &mut Vec<Piece>, open: &mut Vec<&'a Placed<'a>>, cursor: &mut u128, until: u128) {
    while let Some(end) = open.last().map(|top| u128::from(top.area.last()) + 1).filter(|end| *end <= until) {
        segment(pieces, open, cursor, end);
        open.pop();
    }
}

/// What lies from the cursor to `until`, in the innermost of the open areas.
fn segment(pieces: &mut Vec<Piece>, open: &[&Placed<'_>], cursor: &mut u128, until: u128) {
    let (Ok(start), true) = (u64::try_from(*cursor), *cursor < until) else { return };
    let size = until - *cursor;
    *cursor = until;
    let Some(inner) = open.last() else {
        pieces.push(Piece { start, size, class: "hole", label: String::new() });
        return;
    };
    let class = match inner.area.kind {
        _ if inner.conflict.is_some() => "bad",
        AreaKind::Ram => "ram",
        AreaKind::Slot => "slot",
        AreaKind::Device => "device",
        AreaKind::Image => "image",
        AreaKind::Table => "table",
    };
    let mut label = match inner.area.kind {
        AreaKind::Slot => format!("RAM ({})", name(inner.area)),
        _ => name(inner.area).to_owned(),
    };
    // What it lies in, unless that is memory and nothing more.
    let outer = open.iter().rev().skip(1).map(|outer| outer.area);
    let mut outer = outer.filter(|outer| !matches!(outer.kind, AreaKind::Ram | AreaKind::Slot));
    if let Some(outer) = outer.next() {
        label = format!("{label} (in {})", name(outer));
    }
    if let Some(other) = inner.conflict {
        label = format!("! {label}: overlaps {}", name(other));
    }
    pieces.push(Piece { start, size, class, label });
}

/// Regions and windows, and what is not mapped between them.
fn linear(pages: &strata_cpu::PageRegions) -> Vec<Piece> {
    let regions = pages.regions.iter().map(|region| Piece {
        start: region.virt,
        size: region.len.into(),
        class: class(region),
        label: label(region),
    });
    let windows = pages.windows.iter().map(|window| Piece {
        start: window.virt,
        size: window.len.into(),
        class: "window",
        label: match window.kind {
            WindowKind::Loop => format!("the page tables, by {:#x}", window.table),
            WindowKind::Shared => format!("shared tables, at {:#x}", window.table),
        },
    });
    let mut mapped: Vec<_> = regions.chain(windows).collect();
    mapped.sort_by_key(|piece| piece.start);
    let (mut pieces, mut cursor) = (Vec::new(), 0u128);
    // A hole at most before each.
    for piece in mapped {
        segment(&mut pieces, &[], &mut cursor, piece.start.into());
        cursor = cursor.max(u128::from(piece.start) + piece.size);
        pieces.push(piece);
    }
    pieces
}

fn class(region: &PageRegion) -> &'static str {
    match (region.writable, region.executable) {
        (true, true) => "bad",
        (true, false) => "rw",
        (false, true) => "rx",
        (false, false) => "r",
    }
}

fn label(region: &PageRegion) -> String {
    let mark = if region.is_write_execute() { "! " } else { "" };
    format!("{mark}{} at {:#x}, {} pages", Rights(region), region.phys, PageSizes(region))
}

/// As text between tags.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Printable(self.0).to_string();
        text.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            // What XML 1.0 forbids beside control characters, 2.2.
            '\u{fffe}' | '\u{ffff}' => f.write_str("?"),
            c => fmt::Write::write_char(f, c),
        })
    }
}

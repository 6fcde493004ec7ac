//! Source lines, from DWARF's line tables alone.
//!
//! `.debug_line` is a row of programs, one a compilation unit, each of which prints rows "address, file, line" (DWARF 5,
//! 6.2). The rest of the debug information would say which unit an address belongs to; running all programs once says so
//! too, and takes time that grows with their size alone: units, abbreviations and ranges may refer to one another so that
//! a small file takes forever.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use gimli::{
    AttributeValue, DebugLine, DebugLineOffset, EndianSlice, IncompleteLineProgram, LineProgramHeader,
    LittleEndian,
};

use super::{
    Line,
    name::{self, c_string},
};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// A program longer than this is not run: it may name files all along, each of which takes memory.
const MAX_PROGRAM: usize = 8 << 20;
/// Nor one with longer tables of files and folders.
const MAX_HEADER: u64 = 1 << 20;
/// The most sequences of one image, and the most rows of one program.
const MAX_ROWS: usize = 1 << 20;
/// The most rows of all programs that are kept.
const MAX_KEPT: usize = 4 * MAX_ROWS;
/// The most files of one program.
const MAX_FILES: usize = 1 << 12;

/// The line tables of an image.
#[derive(Debug, Default)]
pub(super) struct Lines {
    address_size: u8,
    line: Vec<u8>,
    line_str: Vec<u8>,
    str: Vec<u8>,
    sequences: OnceLock<Vec<Sequence>>,
    kept: Mutex<Kept>,
}

/// Programs that have been run, by their offsets.
#[derive(Debug, Default)]
struct Kept {
    programs: HashMap<usize, Arc<Program>>,
    rows: usize,
}

/// Addresses that follow one another without a gap, `start..end`.
#[derive(Debug)]
struct Sequence {
    start: u64,
    end: u64,
    program: Range<usize>,
}

/// What a program prints.
#[derive(Debug, Default)]
struct Program {
    /// By ascending address.
    rows: Vec<Row>,
    files: HashMap<u32, String>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    addr: u64,
    /// 0 ends a sequence: what follows has no line.
    line: u32,
    file: u32,
}

impl Lines {
    pub(super) fn new(address_size: u8, line: &[u8], line_str: &[u8], str: &[u8]) -> Self {
        let (line_str, str) = if line.is_empty() { (&[][..], &[][..]) } else { (line_str, str) };
        Self {
            address_size,
            line: line.to_vec(),
            line_str: line_str.to_vec(),
            str: str.to_vec(),
            ..Self::default()
        }
    }

    pub(super) fn find(&self, addr: u64) -> Option<Line> {
        if self.line.is_empty() {
            return None;
        }
        let sequences = self.sequences.get_or_init(|| self.sequences());
        let above = sequences.partition_point(|sequence| sequence.start <= addr);
        let sequence = sequences.get(above.checked_sub(1)?).filter(|sequence| addr < sequence.end)?;
        let program = self.program(&sequence.program);
        let above = program.rows.partition_point(|row| row.addr <= addr);
        let row = program.rows.get(above.checked_sub(1)?).filter(|row| row.line != 0)?;
        Some(Line { file: program.files.get(&row.file)?.clone(), line: row.line })
    }

    /// Runs every program once, to know what is where.
    fn sequences(&self) -> Vec<Sequence> {
        let mut sequences = Vec::new();
        let mut at = 0;
        while let Some(range) = self.program_at(at) {
            at = range.end;
            let Some(program) = self.parse(&range) else { continue };
            let mut rows = program.rows();
            let mut start = None;
            while let Ok(Some((_, row))) = rows.next_row() {
                if sequences.len() == MAX_ROWS {
                    break;
                }
                let first = *start.get_or_insert(row.address());
                if row.end_sequence() {
                    // Address 0: of a function that the linker has thrown away.
                    if first != 0 && first < row.address() {
                        sequences.push(Sequence { start: first, end: row.address(), program: range.clone() });
                    }
                    start = None;
                }
            }
        }
        sequences.sort_by_key(|sequence| sequence.start);
        sequences
    }

    /// The program that begins at an offset, by its length field; DWARF 5, 7.4.
    fn program_at(&self, at: usize) -> Option<Range<usize>> {
        let rest = self.line.get(at..)?;
        let (length, field) = match u32::from_le_bytes(*rest.first_chunk()?) {
            u32::MAX => (u64::from_le_bytes(*rest.get(4..)?.first_chunk()?), 12),
            length => (u64::from(length), 4),
        };
        let end = usize::try_from(length).ok()?.checked_add(at)?.checked_add(field)?;
        (end <= self.line.len()).then_some(at..end)
    }

    fn parse(&self, range: &Range<usize>) -> Option<IncompleteLineProgram<Slice<'_>>> {
        let bytes = self.line.get(range.clone()).filter(|bytes| bytes.len() <= MAX_PROGRAM)?;
        // gimli makes room for as many files as the header could name: look at its length first. It follows the length of
        // the whole, the version and, since version 5, two sizes.
        let wide = bytes.first_chunk() == Some(&[0xff; 4]);
        let behind_length = if wide { 12 } else { 4 };
        let version = u16::from_le_bytes(*bytes.get(behind_length..)?.first_chunk()?);
        let field = bytes.get(behind_length + if version >= 5 { 4 } else { 2 }..)?;
        let header = if wide {
            u64::from_le_bytes(*field.first_chunk()?)
        } else {
            u32::from_le_bytes(*field.first_chunk()?).into()
        };
        if header > MAX_HEADER {
            return None;
        }
        let line = DebugLine::new(bytes, LittleEndian);
        line.program(DebugLineOffset(0), self.address_size, None, None).ok()
    }

    fn program(&self, range: &Range<usize>) -> Arc<Program> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = kept.programs.get(&range.start) {
            return Arc::clone(program);
        }
        let program = Arc::new(self.run(range));
        if kept.rows + program.rows.len() > MAX_KEPT {
            *kept = Kept::default();
        }
        kept.rows += program.rows.len();
        kept.programs.insert(range.start, Arc::clone(&program));
        program
    }

    fn run(&self, range: &Range<usize>) -> Program {
        let mut program = Program::default();
        let Some(parsed) = self.parse(range) else { return program };
        let mut rows = parsed.rows();
        while let Ok(Some((header, row))) = rows.next_row() {
            if program.rows.len() == MAX_ROWS {
                break;
            }
            let line = row.line().filter(|_| !row.end_sequence()).map_or(0, std::num::NonZero::get);
            let line = u32::try_from(line).unwrap_or(0);
            let file = u32::try_from(row.file_index()).unwrap_or(u32::MAX);
            if line != 0 && program.files.len() < MAX_FILES && !program.files.contains_key(&file) {
                program.files.insert(file, self.file(header, file.into()));
            }
            program.rows.push(Row { addr: row.address(), line, file });
        }
        // A sequence's end comes before the beginning of the next one at the same address; of several rows at one address
        // the last counts.
        program.rows.sort_by_key(|row| (row.addr, row.line != 0));
        program
    }

    /// A file's path: what the compiler was told, relative to where it was started.
    fn file(&self, header: &LineProgramHeader<Slice<'_>>, index: u64) -> String {
        let Some(file) = header.file(index) else { return "?".to_owned() };
        let name = self.text(file.path_name());
        // Folder 0 is the one the compiler was started in.
        if name.starts_with('/') || file.directory_index() == 0 {
            return name;
        }
        match file.directory(header) {
            Some(folder) => format!("{}/{name}", self.text(folder)),
            None => name,
        }
    }

    fn text(&self, value: AttributeValue<Slice<'_>>) -> String {
        let raw = match value {
            AttributeValue::String(text) => Some(text.slice()),
            AttributeValue::DebugStrRef(at) => c_string(&self.str, at.0),
            AttributeValue::DebugLineStrRef(at) => c_string(&self.line_str, at.0),
            _ => None,
        };
        raw.map_or_else(|| "?".to_owned(), name::path)
    }
}

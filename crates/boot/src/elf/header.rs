//! From bytes to checked segments, of either class.

use std::io;

use object::LittleEndian;
use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_386, EM_X86_64, ET_EXEC, EV_CURRENT, FileHeader32,
    FileHeader64, PN_XNUM, PT_LOAD, PT_NOTE, ProgramType,
};
use object::pod;
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader as _};

use super::{ElfError, MAX_SEGMENTS};
use crate::image::{Image, Part, read_up_to};

/// Which files a loader takes. All are little-endian executables at fixed addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// 64-bit, for x86-64.
    Only64,
    /// That, or 32-bit for the 80386 and its successors.
    Either,
}

/// The header and the program headers.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) class64: bool,
    pub(crate) entry: u64,
    /// How much of the file's start is the ELF header and the program headers, if those lie together.
    headers_len: u64,
    headers: Vec<ProgramHeader>,
}

/// The fields of a program header that both classes have, in the width of the larger.
#[derive(Debug)]
struct ProgramHeader {
    kind: ProgramType,
    offset: u64,
    virt: u64,
    phys: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

/// One `PT_LOAD` segment that is not empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    /// Its place among all program headers.
    pub(crate) index: usize,
    pub(crate) virt: u64,
    pub(crate) phys: u64,
    /// What the file has of it, if anything; zeros follow.
    pub(crate) part: Option<Part<'a>>,
    pub(crate) memory_size: u64,
    /// Whether it has nothing but the ELF header and program headers. Linkers put those in front of the first
    /// section, on a page of their own, for programs that look at them; a kernel has not asked for that.
    pub(crate) only_headers: bool,
}

/// A note: something that somebody wants to be known of the file (gABI, "Note Section").
#[derive(Debug)]
pub(crate) struct Note {
    /// Whose it is, without the NUL.
    pub(crate) owner: Vec<u8>,
    pub(crate) kind: u32,
    pub(crate) desc: Vec<u8>,
}

impl File {
    /// Reads the headers of an executable for x86.
    pub(crate) fn read(image: &dyn Image, accept: Accept) -> Result<Self, ElfError> {
        let bytes = read_up_to(image, 0, size_of::<FileHeader64<LittleEndian>>() as u64)?;
        let truncated = |size| ElfError::TruncatedHeader { len: image.len(), size };
        let rest = bytes.strip_prefix(&ELFMAG).ok_or(ElfError::NotElf)?;
        // These bytes mean the same in files of every class, so they are looked at before the rest.
        let [class, encoding, version, ..] = *rest else { return Err(truncated(64)) };
        let class32 = class == ELFCLASS32.0 && accept == Accept::Either;
        if class != ELFCLASS64.0 && !class32 {
            return Err(ElfError::WrongClass { class });
        }
        if encoding != ELFDATA2LSB.0 {
            return Err(ElfError::WrongEndian { encoding });
        }
        if version != EV_CURRENT.0 {
            return Err(ElfError::WrongVersion { version });
        }
        if class32 {
            Self::of::<FileHeader32<_>>(image, &bytes)
        } else {
            Self::of::<FileHeader64<_>>(image, &bytes)
        }
    }

    fn of<H: FileHeader<Endian = LittleEndian>>(image: &dyn Image, bytes: &[u8]) -> Result<Self, ElfError> {
        let size = size_of::<H>();
        let Ok((header, _)) = pod::from_bytes::<H>(bytes) else {
            return Err(ElfError::TruncatedHeader { len: image.len(), size });
        };
        let machine = header.e_machine(LittleEndian);
        if machine != if header.is_type_64() { EM_X86_64 } else { EM_386 } {
            return Err(ElfError::WrongMachine { machine: machine.0 });
        }
        let file_type = header.e_type(LittleEndian);
        if file_type != ET_EXEC {
            return Err(ElfError::WrongType { file_type: file_type.0 });
        }
        let entry = header.e_entry(LittleEndian).into();
        let headers = program_headers(header, image)?;
        let all = headers.len() as u64 * size_of::<H::ProgramHeader>() as u64;
        let together = header.e_phoff(LittleEndian).into() == size as u64;
        let headers_len = size as u64 + if together { all } else { 0 };
        Ok(Self { class64: header.is_type_64(), entry, headers_len, headers })
    }

    /// All segments to load, checked one by one.
    pub(crate) fn segments<'a>(&self, image: &'a dyn Image) -> Result<Vec<Segment<'a>>, ElfError> {
        let mut segments = Vec::new();
        for (index, header) in self.headers.iter().enumerate() {
            let ProgramHeader { kind, offset, virt, phys, file_size, memory_size, .. } = *header;
            if kind != PT_LOAD || memory_size == 0 {
                continue;
            }
            if segments.len() == MAX_SEGMENTS {
                return Err(ElfError::TooManySegments);
            }
            if file_size > memory_size {
                return Err(ElfError::FileLargerThanMemory { index, file_size, memory_size });
            }
            let part = match file_size {
                0 => None,
                _ => Some(Part::new(image, offset, file_size).ok_or(ElfError::TruncatedSegment { index })?),
            };
            let only_headers =
                memory_size == file_size && offset.saturating_add(file_size) <= self.headers_len;
            segments.push(Segment { index, virt, phys, part, memory_size, only_headers });
        }
        if segments.is_empty() { Err(ElfError::NoSegments) } else { Ok(segments) }
    }

    /// Its notes. What the file ends in, what is absurdly large, and what follows damage is left out.
    pub(crate) fn notes(&self, image: &dyn Image) -> io::Result<Vec<Note>> {
        // Notes take hundreds of bytes, in one segment or two.
        const MAX: u64 = 64 << 10;
        const MAX_COUNT: usize = 16;
        let mut notes = Vec::new();
        let headers = self.headers.iter().filter(|it| it.kind == PT_NOTE && it.file_size <= MAX);
        for header in headers.take(MAX_COUNT) {
            let bytes = read_up_to(image, header.offset, header.file_size)?;
            // A note looks the same in both classes. Its parts are aligned to 4 bytes, or to 8 where the
            // segment says so; linkers write other numbers too, and mean 4.
            let align = if header.align == 8 { 8 } else { 4 };
            let found = NoteIterator::<FileHeader64<_>>::new(LittleEndian, align, &bytes);
            let Ok(mut found) = found else { continue };
            while let Ok(Some(note)) = found.next() {
                let (owner, kind, desc) =
                    (note.name().to_vec(), note.n_type(LittleEndian).0, note.desc().to_vec());
                notes.push(Note { owner, kind, desc });
            }
        }
        Ok(notes)
    }
}

fn program_headers<H: FileHeader<Endian = LittleEndian>>(
    header: &H,
    image: &dyn Image,
) -> Result<Vec<ProgramHeader>, ElfError> {
    let count = header.e_phnum(LittleEndian);
    let (size, expected) = (header.e_phentsize(LittleEndian), size_of::<H::ProgramHeader>());
    if count != 0 && usize::from(size) != expected {
        return Err(ElfError::ProgramHeaderSize { size, expected });
    }
    // The number stands elsewhere then, and is at least this.
    if count == PN_XNUM {
        return Err(ElfError::TooManySegments);
    }
    let len = u64::from(count) * expected as u64;
    let bytes = read_up_to(image, header.e_phoff(LittleEndian).into(), len)?;
    let (headers, _) = pod::slice_from_bytes::<H::ProgramHeader>(&bytes, count.into())
        .map_err(|()| ElfError::TruncatedProgramHeaders)?;
    let read = |it: &H::ProgramHeader| ProgramHeader {
        kind: it.p_type(LittleEndian),
        offset: it.p_offset(LittleEndian).into(),
        virt: it.p_vaddr(LittleEndian).into(),
        phys: it.p_paddr(LittleEndian).into(),
        file_size: it.p_filesz(LittleEndian).into(),
        memory_size: it.p_memsz(LittleEndian).into(),
        align: it.p_align(LittleEndian).into(),
    };
    Ok(headers.iter().map(read).collect())
}

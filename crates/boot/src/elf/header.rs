//! From bytes to checked segments.

use object::LittleEndian;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64, ET_EXEC, EV_CURRENT, PT_LOAD, ProgramHeader64,
};
use object::read::elf::{FileHeader, ProgramHeader};

use super::{ElfError, Header, MAX_SEGMENTS};

/// One `PT_LOAD` segment that is not empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    /// Its place among all program headers.
    pub(super) index: usize,
    pub(super) virt: u64,
    pub(super) phys: u64,
    /// What the file has of it; zeros follow.
    pub(super) bytes: &'a [u8],
    pub(super) memory_size: u64,
}

/// The header of an executable for x86-64.
pub(super) fn parse(image: &[u8]) -> Result<&Header, ElfError> {
    let truncated = || ElfError::TruncatedHeader { len: image.len() };
    let rest = image.strip_prefix(&ELFMAG).ok_or(ElfError::NotElf)?;
    // These bytes mean the same in files of every class, so they are looked at before the rest.
    let [class, encoding, version, ..] = *rest else { return Err(truncated()) };
    if class != ELFCLASS64.0 {
        return Err(ElfError::WrongClass { class });
    }
    if encoding != ELFDATA2LSB.0 {
        return Err(ElfError::WrongEndian { encoding });
    }
    if version != EV_CURRENT.0 {
        return Err(ElfError::WrongVersion { version });
    }
    let header = Header::parse(image).map_err(|_| truncated())?;
    let machine = header.e_machine(LittleEndian);
    if machine != EM_X86_64 {
        return Err(ElfError::WrongMachine { machine: machine.0 });
    }
    let file_type = header.e_type(LittleEndian);
    if file_type != ET_EXEC {
        return Err(ElfError::WrongType { file_type: file_type.0 });
    }
    Ok(header)
}

/// All segments to load, checked one by one.
pub(super) fn segments<'a>(header: &Header, image: &'a [u8]) -> Result<Vec<Segment<'a>>, ElfError> {
    let size = header.e_phentsize(LittleEndian);
    if header.e_phnum(LittleEndian) != 0 && usize::from(size) != size_of::<ProgramHeader64<LittleEndian>>() {
        return Err(ElfError::ProgramHeaderSize { size });
    }
    let headers =
        header.program_headers(LittleEndian, image).map_err(|_| ElfError::TruncatedProgramHeaders)?;

    let mut segments = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        let memory_size = header.p_memsz(LittleEndian);
        if header.p_type(LittleEndian) != PT_LOAD || memory_size == 0 {
            continue;
        }
        if segments.len() == MAX_SEGMENTS {
            return Err(ElfError::TooManySegments);
        }
        let file_size = header.p_filesz(LittleEndian);
        if file_size > memory_size {
            return Err(ElfError::FileLargerThanMemory { index, file_size, memory_size });
        }
        let bytes = header.data(LittleEndian, image).map_err(|()| ElfError::TruncatedSegment { index })?;
        let (virt, phys) = (header.p_vaddr(LittleEndian), header.p_paddr(LittleEndian));
        segments.push(Segment { index, virt, phys, bytes, memory_size });
    }
    if segments.is_empty() { Err(ElfError::NoSegments) } else { Ok(segments) }
}

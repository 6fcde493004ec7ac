//! The symbols of an ELF image. System V ABI, chapter 4 "Sections", "Symbol Table".

use object::{
    LittleEndian as Le, elf,
    read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym},
};

use super::{
    Load, SymbolError, Symbols,
    lines::Lines,
    name::c_string,
    table::{Builder, Raw, Table},
};

/// A linked image has some tens.
const MAX_SECTIONS: usize = 1 << 14;
/// More segments that lie elsewhere than linked are not looked at.
const MAX_LOADS: usize = 16;

pub(super) fn read(image: &[u8]) -> Result<Symbols, SymbolError> {
    // Byte 4 of the identification is the class.
    match image.get(4) {
        Some(1) => read_class::<elf::FileHeader32<Le>>(image),
        _ => read_class::<elf::FileHeader64<Le>>(image),
    }
}

fn read_class<Elf: FileHeader<Endian = Le>>(image: &[u8]) -> Result<Symbols, SymbolError> {
    let header = Elf::parse(image).map_err(SymbolError::Header)?;
    let endian = header.endian().map_err(SymbolError::Header)?;
    if header.e_type(endian) == elf::ET_REL {
        return Err(SymbolError::NotLinked);
    }
    let sections = header.section_headers(endian, image).map_err(SymbolError::Sections)?;
    if sections.len() > MAX_SECTIONS {
        return Err(SymbolError::TooManySections(sections.len()));
    }
    // Without program headers nothing was moved.
    let segments = header.program_headers(endian, image).unwrap_or_default();
    let loads = segments.iter().filter_map(|segment| {
        let (phys, virt) = (segment.p_paddr(endian).into(), segment.p_vaddr(endian).into());
        let moved = segment.p_type(endian) == elf::PT_LOAD && phys != virt;
        moved.then(|| Load { phys, virt, len: segment.p_memsz(endian).into() })
    });
    let name_section = header.shstrndx(endian, image).ok().and_then(|index| sections.get(index as usize));
    let names = name_section.and_then(|section| section.data(endian, image).ok()).unwrap_or_default();
    let debug = |wanted: &[u8]| {
        let found = sections.iter().find(|section| {
            c_string(names, section.sh_name(endian) as usize) == Some(wanted)
                && !section.sh_flags(endian).contains(elf::SHF_COMPRESSED)
        });
        found.and_then(|section| section.data(endian, image).ok()).unwrap_or_default()
    };
    let lines = Lines::new(
        if header.is_type_64() { 8 } else { 4 },
        debug(b".debug_line"),
        debug(b".debug_line_str"),
        debug(b".debug_str"),
    );
    let loads = loads.take(MAX_LOADS).collect();
    Ok(Symbols { table: table::<Elf>(image, sections)?, lines, loads, bias: 0 })
}

fn table<Elf: FileHeader<Endian = Le>>(
    image: &[u8],
    sections: &[Elf::SectionHeader],
) -> Result<Table, SymbolError> {
    let endian = Le;
    let mut builder = Builder::default();
    let of_type = |wanted| sections.iter().find(|section| section.sh_type(endian) == wanted);
    // A stripped image may still have those that it shows to others.
    let Some(section) = of_type(elf::SHT_SYMTAB).or_else(|| of_type(elf::SHT_DYNSYM)) else {
        return builder.build();
    };
    let symbols: &[Elf::Sym] = section.data_as_array(endian, image).map_err(SymbolError::Table)?;
    let strings = match sections.get(section.sh_link(endian) as usize) {
        Some(strings) => strings.data(endian, image).map_err(SymbolError::Table)?,
        None => &[],
    };
    for symbol in symbols {
        let of_type = match symbol.st_type() {
            elf::STT_FUNC | elf::STT_OBJECT | elf::STT_GNU_IFUNC => 4,
            elf::STT_NOTYPE => 0,
            _ => continue,
        };
        // Absolute and common symbols are no addresses.
        let Some(index) = symbol.st_shndx(endian).index().filter(|index| *index != 0) else { continue };
        let Some(section) = sections.get(usize::from(index)) else { continue };
        if !section.sh_flags(endian).contains(elf::SHF_ALLOC) {
            continue;
        }
        let (start, len) = (section.sh_addr(endian).into(), section.sh_size(endian).into());
        let (addr, size): (u64, u64) = (symbol.st_value(endian).into(), symbol.st_size(endian).into());
        // A data's size says nothing of code: NASM gives the last label the type and size of its first directive, a byte.
        let is_code = section.sh_flags(endian).contains(elf::SHF_EXECINSTR);
        let size = if is_code && symbol.st_type() == elf::STT_OBJECT { 0 } else { size };
        let Some(name) = c_string(strings, symbol.st_name(endian) as usize) else { continue };
        // Mapping symbols and the compiler's labels.
        if addr < start || name.starts_with(b"$") || name.starts_with(b".L") {
            continue;
        }
        let of_bind = match symbol.st_bind() {
            elf::STB_LOCAL => 0,
            elf::STB_WEAK => 1,
            _ => 2,
        };
        builder.push(Raw {
            name,
            addr,
            end: (size > 0).then(|| addr.saturating_add(size)),
            bound: start.saturating_add(len),
            rank: u8::from(size > 0) * 8 + of_type + of_bind,
        })?;
    }
    builder.build()
}

//! Small ELF files with symbols.

/// Where [`with_symbols`] puts the image, and its code behind the headers.
pub(crate) const BASE: u64 = 0x20_0000;
/// Where the code begins.
pub(crate) const CODE: u64 = BASE + 0x78;

/// An ELF64 executable with one function, `name`, that is all of its code. The symbol table lies at `symbols_at` in the file
/// if that is given, which may be wrong.
pub(crate) fn with_symbols(code: &[u8], name: &str, symbols_at: Option<u64>) -> Vec<u8> {
    let size = 0x78 + code.len() as u64;
    // An empty symbol and the function; then the names: "\0NAME\0".
    let table = size.next_multiple_of(8);
    let names = table + 48;
    let sections = (names + name.len() as u64 + 2).next_multiple_of(8);
    // e_ident, e_type EXEC, e_machine x86-64, e_version; e_entry, e_phoff, e_shoff; e_flags
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([CODE, 64, sections].into_iter().flat_map(u64::to_le_bytes));
    file.extend(0u32.to_le_bytes());
    // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    file.extend([64, 56, 1, 64, 4, 2].into_iter().flat_map(u16::to_le_bytes));
    // p_type PT_LOAD, p_flags RX; p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    file.extend([0, BASE, BASE, size, size, 0x1000].into_iter().flat_map(u64::to_le_bytes));
    file.extend(code);
    file.resize(usize::try_from(table).unwrap() + 24, 0);
    // st_name, st_info GLOBAL FUNC, st_other, st_shndx; st_value, st_size
    file.extend(b"\x01\0\0\0\x12\0\x03\0");
    file.extend([CODE, code.len() as u64].into_iter().flat_map(u64::to_le_bytes));
    file.extend([b"\0", name.as_bytes(), b"\0"].concat());
    file.resize(usize::try_from(sections).unwrap() + 64, 0);
    // SHT_SYMTAB with its names, SHT_STRTAB, and the code as SHT_PROGBITS.
    section(&mut file, [2, 0, 0, symbols_at.unwrap_or(table), 48, 2 | 1 << 32, 8, 24]);
    section(&mut file, [3, 0, 0, names, name.len() as u64 + 2, 0, 1, 0]);
    section(&mut file, [1, 6, CODE, 0x78, code.len() as u64, 0, 1, 0]);
    file
}

/// A section header without a name: `sh_type`, `sh_flags`, `sh_addr`, `sh_offset`, `sh_size`, `sh_link` with `sh_info` above it,
/// `sh_addralign` and `sh_entsize`.
fn section(file: &mut Vec<u8>, mut words: [u64; 8]) {
    words[0] <<= 32;
    file.extend(words.into_iter().flat_map(u64::to_le_bytes));
}

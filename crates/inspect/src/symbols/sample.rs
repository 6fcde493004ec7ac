//! Small images for tests: what a linker and a compiler write, by hand.

/// Where [`Sample`]'s code is linked.
pub(crate) const AT: u64 = 0xffff_ffff_8010_0000;

/// An ELF image under construction: `.text`, a symbol table, and more sections.
pub(crate) struct Sample {
    pub(crate) wide: bool,
    pub(crate) kind: u16,
    pub(crate) at: u64,
    pub(crate) phys: u64,
    pub(crate) text_len: u64,
    pub(crate) symbols: Vec<Entry>,
    pub(crate) more: Vec<(&'static str, Vec<u8>)>,
}

/// A symbol: its name, address, size, `st_info` and section; `.text` is 1.
pub(crate) type Entry = (Vec<u8>, u64, u64, u8, u16);

pub(crate) const GLOBAL_FUNC: u8 = 0x12;
pub(crate) const LOCAL_LABEL: u8 = 0;

impl Sample {
    /// A 64-bit kernel in the higher half, loaded at 1 MiB.
    pub(crate) fn kernel() -> Self {
        Self {
            wide: true,
            kind: 2,
            at: AT,
            phys: 0x10_0000,
            text_len: 0x100,
            symbols: vec![
                (b"kmain".to_vec(), AT, 0x40, GLOBAL_FUNC, 1),
                (b"_ZN6kernel5panic17h0123456789abcdefE".to_vec(), AT + 0x40, 0x20, GLOBAL_FUNC, 1),
                (b"label".to_vec(), AT + 0x80, 0, LOCAL_LABEL, 1),
            ],
            more: vec![(".debug_line", line_program_4(AT))],
        }
    }

    /// A 32-bit one at 1 MiB, its line table of version 5.
    pub(crate) fn protected() -> Self {
        let at = 0x10_0000;
        Self {
            wide: false,
            at,
            phys: at,
            symbols: vec![
                (b"start".to_vec(), at, 0x40, GLOBAL_FUNC, 1),
                (b"end".to_vec(), at + 0x60, 0, 0x10, 1),
            ],
            more: vec![
                (".debug_line", line_program_5(at)),
                (".debug_line_str", b"/home/os\0src\0main.rs\0lib.rs\0".to_vec()),
            ],
            ..Self::kernel()
        }
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut symbols = Out { wide: self.wide, bytes: vec![0; if self.wide { 24 } else { 16 }] };
        for (name, addr, size, info, section) in &self.symbols {
            symbols.u32(strings.len());
            strings.extend([name, &b"\0"[..]].concat());
            if self.wide {
                symbols.bytes.extend([*info, 0]);
                symbols.u16(*section);
                symbols.word(*addr);
                symbols.word(*size);
            } else {
                symbols.word(*addr);
                symbols.word(*size);
                symbols.bytes.extend([*info, 0]);
                symbols.u16(*section);
            }
        }
        // Name, type, flags, address, bytes, link.
        let text = vec![0x90; usize::try_from(self.text_len).unwrap()];
        let mut sections = vec![
            ("", 0, 0, 0, vec![], 0),
            (".text", 1, 6, self.at, text, 0),
            (".symtab", 2, 0, 0, symbols.bytes, 3),
            (".strtab", 3, 0, 0, strings, 0),
        ];
        sections.extend(self.more.iter().map(|(name, bytes)| (*name, 1, 0, 0, bytes.clone(), 0)));
        let names: Vec<u8> = sections
            .iter()
            .flat_map(|section| [section.0.as_bytes(), b"\0"].concat())
            .chain(*b".shstrtab\0")
            .collect();
        sections.push((".shstrtab", 3, 0, 0, names, 0));

        let (header, segment) = if self.wide { (64, 56) } else { (52, 32) };
        let mut body = Out { wide: self.wide, bytes: vec![] };
        let mut table = Out { wide: self.wide, bytes: vec![] };
        let mut name_at = 0;
        let start = header + segment;
        for (name, kind, flags, addr, bytes, link) in &sections {
            body.bytes.resize(body.bytes.len().next_multiple_of(8), 0);
            table.u32(name_at);
            name_at += name.len() + 1;
            table.u32(*kind);
            table.word(*flags);
            table.word(*addr);
            table.word((start + body.bytes.len()) as u64);
            table.word(bytes.len() as u64);
            table.u32(*link);
            table.u32(0);
            table.word(1);
            table.word(0);
            body.bytes.extend(bytes);
        }
        body.bytes.resize(body.bytes.len().next_multiple_of(8), 0);
        let mut out = self.header(start + body.bytes.len(), sections.len());
        out.bytes.extend(body.bytes);
        out.bytes.extend(table.bytes);
        out.bytes
    }

    fn header(&self, table_at: usize, sections: usize) -> Out {
        let (header, segment, section, machine) = if self.wide { (64, 56, 64, 62) } else { (52, 32, 40, 3) };
        let mut out =
            Out { wide: self.wide, bytes: vec![0x7f, b'E', b'L', b'F', 1 + u8::from(self.wide), 1, 1] };
        out.bytes.resize(16, 0);
        out.u16(self.kind);
        out.u16(machine);
        out.u32(1);
        out.word(self.at);
        out.word(u64::from(header));
        out.word(table_at as u64);
        out.u32(0);
        for field in [header, segment, 1, section] {
            out.u16(field);
        }
        let count = u16::try_from(sections).unwrap();
        out.u16(count);
        out.u16(count - 1);
        // The one segment; 32-bit headers have the flags behind the sizes.
        out.u32(1);
        if self.wide {
            out.u32(5);
        }
        for word in [0, self.at, self.phys, self.text_len, self.text_len] {
            out.word(word);
        }
        if !self.wide {
            out.u32(5);
        }
        out.word(0x1000);
        out
    }
}

struct Out {
    wide: bool,
    bytes: Vec<u8>,
}

impl Out {
    fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn u32(&mut self, value: usize) {
        self.bytes.extend(u32::try_from(value).unwrap().to_le_bytes());
    }

    /// An address, or a size.
    fn word(&mut self, value: u64) {
        let bytes = value.to_le_bytes();
        self.bytes.extend(&bytes[..if self.wide { 8 } else { 4 }]);
    }
}

/// The fields from `minimum_instruction_length` to the lengths of the standard opcodes.
const COMMON: [u8; 18] = [1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];

/// Line 10 of `src/main.rs` at `at`, line 11 four bytes behind, and 0x40 bytes in all.
pub(crate) fn line_program_4(at: u64) -> Vec<u8> {
    let tables = b"src\0\0main.rs\0\x01\0\0\0";
    let header = [&COMMON[..], tables].concat();
    program(&[4, 0], &header, &[&[0, 9, 2][..], &at.to_le_bytes()].concat())
}

/// The same as version 5, of a 32-bit program.
pub(crate) fn line_program_5(at: u64) -> Vec<u8> {
    // One field for a folder, a path in .debug_line_str; two for a file, the second its folder's number.
    let tables = [
        &[1, 1, 0x1f, 2][..],
        &0u32.to_le_bytes(),
        &9u32.to_le_bytes(),
        &[2, 1, 0x1f, 2, 0x0b, 2],
        &21u32.to_le_bytes(),
        &[1],
        &13u32.to_le_bytes(),
        &[1],
    ];
    let header = [&COMMON[..], &tables.concat()].concat();
    let at = u32::try_from(at).unwrap().to_le_bytes();
    program(&[5, 0, 4, 0], &header, &[&[0, 5, 2][..], &at].concat())
}

fn program(version: &[u8], header: &[u8], set_address: &[u8]) -> Vec<u8> {
    // advance_line 9, copy; advance_pc 4, advance_line 1, copy; advance_pc 0x3c, end_sequence.
    let rows = [3, 9, 1, 2, 4, 3, 1, 1, 2, 0x3c, 0, 1, 1];
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let body = [version, &len(header), header, set_address, &rows].concat();
    [&len(&body)[..], &body].concat()
}

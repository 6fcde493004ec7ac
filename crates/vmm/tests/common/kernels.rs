//! Kernels of a few instructions, made byte by byte from their formats' documents, for tests that spoil one field or run
//! one.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

/// Where the kernels of these tests are linked.
pub const AT: u64 = 0x20_0000;

/// Offsets into an ELF file of header fields, for tests that spoil one (System V gABI, "ELF Header"). The last three are
/// those of an ELF64 file.
pub const EI_CLASS: usize = 4;
pub const EI_DATA: usize = 5;
pub const EI_VERSION: usize = 6;
pub const E_TYPE: usize = 16;
pub const E_MACHINE: usize = 18;
pub const E_PHENTSIZE: usize = 54;

/// Offsets into a bzImage (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
pub const VERSION: usize = 0x206;
pub const LOADFLAGS: usize = 0x211;
pub const XLOADFLAGS: usize = 0x236;
pub const PAYLOAD_OFFSET: usize = 0x248;
pub const PAYLOAD_LENGTH: usize = 0x24c;
pub const PREF_ADDRESS: usize = 0x258;
pub const INIT_SIZE: usize = 0x260;
/// Where its protected-mode code begins.
pub const CODE: usize = 0x400;

/// A program header and the bytes it is about.
#[derive(Clone)]
pub struct Segment {
    /// `PT_LOAD` is 1, `PT_NOTE` 4.
    pub kind: u32,
    /// The virtual and physical address.
    pub at: u64,
    pub bytes: Vec<u8>,
    /// Zeros follow the bytes up to this.
    pub memory_size: u64,
}

/// A segment to load.
pub fn load(at: u64, bytes: &[u8]) -> Segment {
    Segment { kind: 1, at, bytes: bytes.to_vec(), memory_size: bytes.len() as u64 }
}

/// A note of this owner and type.
pub fn note(owner: &str, kind: u32, desc: &[u8]) -> Segment {
    let mut bytes = Vec::new();
    for word in [owner.len() + 1, desc.len(), kind as usize] {
        bytes.extend(u32::try_from(word).unwrap().to_le_bytes());
    }
    for part in [[owner.as_bytes(), b"\0"].concat().as_slice(), desc] {
        bytes.extend(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Segment { kind: 4, ..load(0, &bytes) }
}

/// An ELF64 x86-64 executable. Each segment's bytes have pages of their own and lie in them as they will in memory, as
/// linkers place them.
pub fn elf(entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes()); // e_entry, e_phoff, e_shoff
    }
    for half in [0, 0, 64, 56, u16::try_from(segments.len()).unwrap(), 64, 0, 0] {
        file.extend(half.to_le_bytes()); // e_flags, e_ehsize, e_phentsize, e_phnum, sections
    }
    let mut offset = 0x1000;
    for Segment { kind, at, bytes, memory_size } in segments {
        offset += at % 0x1000;
        file.extend(kind.to_le_bytes());
        file.extend(7_u32.to_le_bytes()); // p_flags
        let words = [offset, *at, *at, bytes.len() as u64, *memory_size, 0x1000];
        file.extend(words.into_iter().flat_map(u64::to_le_bytes));
        offset = (offset + bytes.len() as u64).next_multiple_of(0x1000);
    }
    for Segment { at, bytes, .. } in segments {
        let in_page = usize::try_from(at % 0x1000).unwrap();
        file.resize(file.len().next_multiple_of(0x1000) + in_page, 0);
        file.extend(bytes);
    }
    file
}

/// An ELF file of Linux, by its note, with these segments; entered at [`AT`].
pub fn vmlinux_of(segments: &[Segment]) -> Vec<u8> {
    elf(AT, &[&[note("Linux", 0x101, &[0; 4])], segments].concat())
}

/// The same with this code.
pub fn vmlinux(code: &[u8]) -> Vec<u8> {
    vmlinux_of(&[load(AT, code)])
}

/// An ELF file with a PVH entry at [`AT`] and these segments.
pub fn pvh_of(segments: &[Segment]) -> Vec<u8> {
    let entry = u32::try_from(AT).unwrap();
    elf(0, &[&[note("Xen", 18, &entry.to_le_bytes())], segments].concat())
}

/// The same with this code.
pub fn pvh(code: &[u8]) -> Vec<u8> {
    pvh_of(&[load(AT, code)])
}

/// A kernel with a multiboot header that says where it is loaded: at `at`, its code behind the header.
pub fn multiboot_at(at: u32, code: &[u8]) -> Vec<u8> {
    let flags = 0x1_0000_u32;
    let checksum = 0_u32.wrapping_sub(0x1bad_b002 + flags);
    let header = [0x1bad_b002, flags, checksum, at, at, 0, 0, at + 0x20];
    [header.into_iter().flat_map(u32::to_le_bytes).collect(), code.to_vec()].concat()
}

/// The same at [`AT`].
pub fn multiboot(code: &[u8]) -> Vec<u8> {
    multiboot_at(u32::try_from(AT).unwrap(), code)
}

/// A bzImage: a sector and another one of setup, then `code`, which it wants at [`AT`]; its 64-bit entry is 0x200 behind
/// that. `payload` is where in the code its compressed part lies, and how long that is.
pub fn bzimage(code: &[u8], payload: (usize, usize)) -> Vec<u8> {
    let mut file = vec![0; CODE];
    let paragraphs = code.len().div_ceil(16);
    let word = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x1f1, &[1]); // setup_sects
    put(0x1f4, &word(paragraphs)); // syssize
    put(0x1fe, b"\x55\xaa\xeb\x6aHdrS\x0f\x02"); // boot_flag, jump, header, version 2.15
    put(LOADFLAGS, &[1]); // LOADED_HIGH
    put(0x22c, &word(0x7fff_ffff)); // initrd_addr_max
    put(XLOADFLAGS, &[1, 0]); // XLF_KERNEL_64
    put(0x238, &word(2047)); // cmdline_size
    put(PAYLOAD_OFFSET, &word(payload.0));
    put(PAYLOAD_LENGTH, &word(payload.1));
    put(PREF_ADDRESS, &AT.to_le_bytes());
    put(INIT_SIZE, &word(0x10_0000));
    file.extend(code);
    file.resize(CODE + paragraphs * 16, 0);
    file
}

/// A bzImage that unpacks itself: 0x200 bytes which are not entered in 64-bit mode, then this code.
pub fn classic(code: &[u8]) -> Vec<u8> {
    bzimage(&[&[0; 0x200], code].concat(), (0, 0))
}

/// A bzImage with this kernel in it, compressed by gzip. Its own code is `hlt`.
pub fn packed(kernel: &[u8]) -> Vec<u8> {
    let payload = gzip(kernel);
    let stub = [[0xf4; 0x210].as_slice(), &payload].concat();
    bzimage(&stub, (0x210, payload.len()))
}

/// `bytes` as gzip (RFC 1952) has them, in stored blocks (RFC 1951, 3.2.4).
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let len = u16::try_from(block.len()).unwrap();
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(len.to_le_bytes());
        file.extend((!len).to_le_bytes());
        file.extend(block);
    }
    file.extend(crc32(bytes).to_le_bytes());
    file.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    file
}

/// The checksum of gzip, bit by bit (RFC 1952, 8).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

//! The setup header: the first two sectors of a bzImage, a part of the zero page (Linux,
//! Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").

use std::io;

use thiserror::Error;

use crate::image::{Image, read_up_to};

/// Where the setup header begins, in a bzImage and in the zero page alike.
pub(super) const START: usize = 0x1f1;
/// Where the zero page has something else again.
const END: usize = 0x290;

/// Offsets of fields, counted from where the image begins.
const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: usize = 0x1f4;
const BOOT_FLAG: usize = 0x1fe;
/// The second byte of the jump at 0x200: where it leads, the header ends.
const JUMP_OFFSET: usize = 0x201;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
pub(super) const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const CODE32_START: usize = 0x214;
pub(super) const RAMDISK_IMAGE: usize = 0x218;
pub(super) const RAMDISK_SIZE: usize = 0x21c;
pub(super) const CMD_LINE_PTR: usize = 0x228;
const INITRD_ADDR_MAX: usize = 0x22c;
const XLOADFLAGS: usize = 0x236;
const CMDLINE_SIZE: usize = 0x238;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const PREF_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;

/// `boot_flag`: the last two bytes of a boot sector.
const BOOT_FLAG_MAGIC: u16 = 0xaa55;
/// `header`, from protocol 2.00 on.
const HEADER_MAGIC: &[u8; 4] = b"HdrS";
/// `loadflags`: the protected-mode code is loaded at 1 MiB, not at 64 KiB: a bzImage, no zImage.
const LOADED_HIGH: u8 = 1;
/// `xloadflags`: there is a 64-bit entry point at 0x200 of the protected-mode code.
const XLF_KERNEL_64: u16 = 1;
/// The first version with `xloadflags`.
const VERSION_2_12: u16 = 0x020c;
/// The version whose fields a header that [`SetupHeader::for_elf`] makes up has.
const VERSION_2_15: u16 = 0x020f;

const SECTOR: u64 = 512;
/// What the protected-mode code is measured in.
const PARAGRAPH: u64 = 16;

/// Why an image is no bzImage that can be entered in 64-bit mode.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BzImageError {
    /// The file cannot be read.
    #[error("the image cannot be read")]
    Read(#[from] io::Error),
    /// It has no setup header.
    #[error("the image is no bzImage: name the kernel's file itself (arch/x86/boot/bzImage, vmlinuz)")]
    NotBzImage,
    /// It is a zImage, which is loaded below 640 KiB.
    #[error("the kernel is a zImage, which nothing has made since Linux 2.6: build a bzImage")]
    ZImage,
    /// Its boot protocol has no 64-bit entry.
    #[error(
        "the kernel has boot protocol {}.{:02}, and 2.12 (Linux 3.8) is the first that can be entered in \
         64-bit mode: use a newer kernel", version >> 8, version & 0xff
    )]
    TooOld {
        /// Major and minor version, a byte each.
        version: u16,
    },
    /// It is a 32-bit kernel.
    #[error("the kernel is for 32-bit processors only: build it with CONFIG_64BIT")]
    Only32Bit,
    /// The file ends before the kernel does.
    #[error("the kernel ends after {len:#x} of {expected:#x} bytes: was it copied completely?")]
    Truncated {
        /// The file's size.
        len: u64,
        /// What its header says.
        expected: u64,
    },
    /// It says that it has no code, or no room to run in, or none for its code.
    #[error(
        "the kernel's header asks for {init_size:#x} bytes of memory for {code_size:#x} bytes of code: is it \
         damaged?"
    )]
    Sizes {
        /// `init_size`.
        init_size: u64,
        /// The size of the protected-mode code.
        code_size: u64,
    },
    /// The compressed kernel is said to lie outside the code.
    #[error("the kernel's header has its payload outside its code: is it damaged?")]
    Payload,
}

/// The bytes of a setup header, from [`START`] on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetupHeader(Vec<u8>);

impl SetupHeader {
    /// A header for a kernel that has none, being an ELF file: the fields which any boot loader fills in.
    pub(super) fn for_elf() -> Self {
        let mut header = Self(vec![0; END - START]);
        header.put(BOOT_FLAG, &BOOT_FLAG_MAGIC.to_le_bytes());
        header.put(HEADER, HEADER_MAGIC);
        header.put(VERSION, &VERSION_2_15.to_le_bytes());
        header.put(LOADFLAGS, &[LOADED_HIGH]);
        header
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = at.checked_sub(START).and_then(|at| self.0.get_mut(at..at + bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    /// The bytes at `at`; zeros where an older header ends before.
    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let bytes = at.checked_sub(START).and_then(|at| self.0.get(at..)?.first_chunk());
        bytes.copied().unwrap_or([0; N])
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.get(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.get(at))
    }

    /// The address the code is loaded at.
    pub(super) fn set_code32_start(&mut self, at: u32) {
        self.put(CODE32_START, &at.to_le_bytes());
    }
}

/// A bzImage whose header is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BzImage {
    pub(super) header: SetupHeader,
    /// Where the protected-mode code begins in the file, and its size.
    pub(super) code: (u64, u64),
    /// Where the compressed kernel begins in the file, and its size; both 0 if it has none.
    pub(super) payload: (u64, u64),
    /// Where the code wants to lie.
    pub(super) pref_address: u64,
    /// How much memory it needs there to run.
    pub(super) init_size: u64,
    /// The last address an initrd may take.
    pub(super) initrd_addr_max: u64,
    /// The longest command line, without its NUL.
    pub(super) cmdline_size: usize,
}

/// Whether these, the first bytes of an image, are those of a bzImage or a zImage.
pub(crate) fn is_bzimage(start: &[u8]) -> bool {
    start.get(BOOT_FLAG..).is_some_and(|it| it.starts_with(&BOOT_FLAG_MAGIC.to_le_bytes()))
        && start.get(HEADER..).is_some_and(|it| it.starts_with(HEADER_MAGIC))
}

impl BzImage {
    /// Reads the header and checks it.
    pub(super) fn read(image: &dyn Image) -> Result<Self, BzImageError> {
        let start = read_up_to(image, 0, END as u64)?;
        if !is_bzimage(&start) {
            return Err(BzImageError::NotBzImage);
        }
        // The rest of the sector and whatever fields this version has; what follows is code.
        let end = start.get(JUMP_OFFSET).map_or(END, |jump| HEADER + usize::from(*jump)).min(END);
        let mut header = SetupHeader(start.get(START..end.min(start.len())).unwrap_or_default().to_vec());
        header.0.resize(END - START, 0);

        let version = header.u16(VERSION);
        let [flags] = header.get(LOADFLAGS);
        if flags & LOADED_HIGH == 0 {
            return Err(BzImageError::ZImage);
        }
        if version < VERSION_2_12 {
            return Err(BzImageError::TooOld { version });
        }
        if header.u16(XLOADFLAGS) & XLF_KERNEL_64 == 0 {
            return Err(BzImageError::Only32Bit);
        }
        // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
        let [sectors] = header.get(SETUP_SECTS);
        let offset = (u64::from(if sectors == 0 { 4 } else { sectors }) + 1) * SECTOR;
        let code_size = u64::from(header.u32(SYSSIZE)) * PARAGRAPH;
        if offset + code_size > image.len() {
            return Err(BzImageError::Truncated { len: image.len(), expected: offset + code_size });
        }
        let init_size = u64::from(header.u32(INIT_SIZE));
        if code_size <= ENTRY_64 || init_size < code_size {
            return Err(BzImageError::Sizes { init_size, code_size });
        }
        let [payload, payload_len] = [header.u32(PAYLOAD_OFFSET), header.u32(PAYLOAD_LENGTH)].map(u64::from);
        if payload + payload_len > code_size {
            return Err(BzImageError::Payload);
        }
        Ok(Self {
            code: (offset, code_size),
            payload: (offset + payload, payload_len),
            pref_address: u64::from_le_bytes(header.get(PREF_ADDRESS)),
            init_size,
            initrd_addr_max: header.u32(INITRD_ADDR_MAX).into(),
            cmdline_size: usize::try_from(header.u32(CMDLINE_SIZE)).unwrap_or(usize::MAX),
            header,
        })
    }
}

/// Where the protected-mode code is entered in 64-bit mode.
pub(super) const ENTRY_64: u64 = 0x200;

#[cfg(test)]
#[path = "header_test.rs"]
mod tests;

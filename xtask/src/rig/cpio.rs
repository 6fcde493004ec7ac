//! The archive format `newc`, in which Linux takes its initial file system.
//!
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst of the Linux kernel. Each member is a header of
//! six digits of magic and thirteen numbers of eight hexadecimal digits, its name with a NUL, and its content; name
//! and content are padded to a multiple of four bytes. Archives may be laid one behind the other.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 6] = b"070701";
const NUMBERS: usize = 13;
const DIGITS: usize = 8;
const HEADER: usize = MAGIC.len() + NUMBERS * DIGITS;
/// Name of the member that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// Longest name that Linux takes (`PATH_MAX`), with its NUL.
const LONGEST_NAME: usize = 4096;
/// Longest content of a member read: a number that is wrong must not use up all memory.
const LONGEST_CONTENT: u32 = 1 << 30;

const TYPE_BITS: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    Folder,
    File {
        executable: bool,
        content: Vec<u8>,
    },
    /// A symbolic link to this.
    Link(PathBuf),
}

/// Writes one archive. Owners and times are left at 0: the same members always give the same bytes.
#[derive(Debug)]
pub(super) struct Writer<W> {
    out: W,
    members: u32,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, members: 0 }
    }

    /// Adds a member; `name` is absolute or starts at the root all the same. Folders come before what is in them.
    pub(super) fn add(&mut self, name: &Path, member: &Member) -> io::Result<()> {
        let name = name.strip_prefix("/").unwrap_or(name).as_os_str();
        match member {
            Member::Folder => self.member(name, FOLDER | 0o755, &[]),
            Member::File { executable, content } => {
                self.member(name, FILE | if *executable { 0o755 } else { 0o644 }, content)
            }
            Member::Link(to) => self.member(name, LINK | 0o777, to.as_os_str().as_bytes()),
        }
    }

    /// Ends the archive and gives back what it was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.member(OsStr::new(TRAILER), 0, &[])?;
        Ok(self.out)
    }

    fn member(&mut self, name: &OsStr, mode: u32, content: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let length = u32::try_from(content.len()).map_err(too_long)?;
        let name_length = u32::try_from(name.len() + 1).map_err(too_long)?;
        // Members with one number would be taken for hard links of each other.
        self.members += 1;
        let numbers: [u32; NUMBERS] = [
            self.members, // inode
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            length,
            0, // device, major
            0, // device, minor
            0, // number of a device node, major
            0, // number of a device node, minor
            name_length,
            0, // checksum, not in this variant
        ];
        self.out.write_all(MAGIC)?;
        for number in numbers {
            write!(self.out, "{number:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.out.write_all(padding(HEADER + name.len() + 1))?;
        self.out.write_all(content)?;
        self.out.write_all(padding(content.len()))
    }
}

/// The zeros that follow `length` bytes.
fn padding(length: usize) -> &'static [u8] {
    let zeros: &[u8; 3] = &[0; 3];
    &zeros[..length.next_multiple_of(4) - length]
}

/// Why an archive can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("could not read the archive")]
    Read(#[source] io::Error),
    #[error("this is no archive of the format newc, or it is damaged")]
    Malformed,
}

/// Reads the folders, files and symbolic links of an archive, and skips what else there is.
pub(super) fn read(from: &mut impl Read) -> Result<Vec<(PathBuf, Member)>, ReadError> {
    let mut members = Vec::new();
    loop {
        let mut header = [0; HEADER];
        from.read_exact(&mut header).map_err(ReadError::Read)?;
        let (magic, numbers) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ReadError::Malformed);
        }
        let number = |index: usize| {
            let digits = std::str::from_utf8(&numbers[index * DIGITS..][..DIGITS]).ok();
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or(ReadError::Malformed)
        };
        let (mode, length, name_length) = (number(1)?, number(6)?, number(11)? as usize);
        if length > LONGEST_CONTENT || !(1..=LONGEST_NAME).contains(&name_length) {
            return Err(ReadError::Malformed);
        }
        let mut name = bytes(from, name_length, padding(HEADER + name_length).len())?;
        name.pop();
        let content = bytes(from, length as usize, padding(length as usize).len())?;
        if name == TRAILER.as_bytes() {
            return Ok(members);
        }
        let member = match mode & TYPE_BITS {
            FOLDER => Member::Folder,
            FILE => Member::File { executable: mode & 0o111 != 0, content },
            LINK => Member::Link(std::ffi::OsString::from_vec(content).into()),
            _ => continue,
        };
        members.push((PathBuf::from(std::ffi::OsString::from_vec(name)), member));
    }
}

fn bytes(from: &mut impl Read, length: usize, padding: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; length + padding];
    from.read_exact(&mut bytes).map_err(ReadError::Read)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
#[path = "cpio_test.rs"]
mod tests;

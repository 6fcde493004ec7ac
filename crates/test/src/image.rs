//! What a program has to say of its tests: their records, read without running it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use object::elf::ET_DYN;
use object::read::elf::{ElfFile64, FileHeader as _};
use object::read::{Object as _, ObjectSection as _, ObjectSegment as _, ReadCache, ReadRef};
use object::{Endianness, elf};

/// Where `strata-guest` leaves the records.
const SECTION: &str = "strata_tests";
/// The record's version, and its size in bytes: the documentation of `strata_guest::test` has the layout.
const VERSION: u32 = 1;
const RECORD: usize = 48;
const IGNORED: u64 = 1 << 32;
const SHOULD_PANIC: u64 = 1 << 33;
/// No program has more tests, and none a longer name: what says so is damaged.
const MAX_TESTS: usize = 1 << 16;
const MAX_NAME: u64 = 4096;

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// Its tests, in the order of their records; `None` for a program without: it is run as a whole.
    pub tests: Option<Vec<GuestTest>>,
}

/// One test of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestTest {
    /// `module::function`.
    pub name: String,
    /// Whether it is run only if it is asked for.
    pub ignored: bool,
    /// Whether it passes if it panics.
    pub should_panic: bool,
}

/// Why a program's tests cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// It is an ELF file, but not one that can be read.
    #[error("cannot read the ELF file {}", path.display())]
    Elf {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: object::Error,
    },
    /// It is linked to run at any address, and nothing relocates it.
    #[error(
        "{} is position-independent: put `rustflags = [\"-Crelocation-model=static\"]` beside `runner` in .cargo/config.toml",
        path.display()
    )]
    PositionIndependent {
        /// Which.
        path: PathBuf,
    },
    /// The records are of another version.
    #[error(
        "the tests of {} have version {version}, not {VERSION}: use versions of strata-guest and strata-test that belong together",
        path.display()
    )]
    Version {
        /// Which.
        path: PathBuf,
        /// The first record's.
        version: u32,
    },
    /// The records cannot be what `strata-guest` made.
    #[error("the records of the tests in {} are damaged: build it again", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

impl Image {
    /// Reads the records of the tests in the file at `path`. What is no 64-bit ELF file has none.
    ///
    /// # Errors
    ///
    /// Each case of [`ImageError`].
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let path = path.into();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) => return Err(ImageError::Open { path, source }),
        };
        let tests = records(&path, &ReadCache::new(file))?;
        Ok(Self { path, tests })
    }

    /// What the whole program is called as a test: the file's name, without the hash that cargo has put behind it.
    pub fn name(&self) -> String {
        let stem = self.path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        match stem.rsplit_once('-') {
            Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                name.to_owned()
            }
            _ => stem,
        }
    }

    /// Whether cargo made it to be a test: those lie in a folder `deps`.
    pub fn is_test(&self) -> bool {
        self.tests.is_some()
            || self.path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "deps")
    }
}

/// The records in an ELF file's section, if there is one.
fn records<'a, R: ReadRef<'a>>(path: &Path, data: R) -> Result<Option<Vec<GuestTest>>, ImageError> {
    // Magic number and class.
    if data.read_bytes_at(0, 5) != Ok(&[0x7f, b'E', b'L', b'F', elf::ELFCLASS64.0]) {
        return Ok(None);
    }
    let bad = |source| ImageError::Elf { path: path.to_owned(), source };
    let damaged = || ImageError::Damaged { path: path.to_owned() };
    let file = ElfFile64::<Endianness, R>::parse(data).map_err(bad)?;
    if file.elf_header().e_type(file.endian()) == ET_DYN {
        return Err(ImageError::PositionIndependent { path: path.to_owned() });
    }
    let Some(section) = file.section_by_name(SECTION) else { return Ok(None) };
    let bytes = section.data().map_err(bad)?;
    if bytes.len() / RECORD > MAX_TESTS {
        return Err(damaged());
    }
    let text = |address: u64, len: u64| {
        if len > MAX_NAME {
            return None;
        }
        let found = file.segments().find_map(|segment| segment.data_range(address, len).ok().flatten());
        // No function's name has a control character: one that has would write what it likes among the results.
        String::from_utf8(found?.to_vec()).ok().filter(|name| !name.contains(char::is_control))
    };
    let mut tests = Vec::new();
    for record in bytes.chunks(RECORD) {
        let words: Vec<u64> =
            record.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let [flags, name, len, ..] = words.as_slice() else { return Err(damaged()) };
        #[expect(clippy::cast_possible_truncation, reason = "the low half is the version")]
        let version = *flags as u32;
        if version != VERSION {
            return Err(ImageError::Version { path: path.to_owned(), version });
        }
        let name = text(*name, *len).ok_or_else(damaged)?;
        tests.push(GuestTest {
            name,
            ignored: flags & IGNORED != 0,
            should_panic: flags & SHOULD_PANIC != 0,
        });
    }
    Ok(Some(tests))
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;

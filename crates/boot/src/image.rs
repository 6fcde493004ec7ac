//! The bytes of an image, wherever they are: in memory, in a file, in a file that the guest's RAM maps.
//!
//! A loader reads headers and notes with [`Image::read_at`], a few KiB in all, and leaves the rest where it
//! is until it goes to guest memory. So a kernel of 50 MB costs a monitor no 50 MB of heap.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use thiserror::Error;

/// The bytes of an image.
///
/// Byte slices, arrays and vectors are images; a regular file is one through [`FileImage`].
///
/// ```
/// use strata_boot::Image;
///
/// let image: &[u8] = b"\x7fELF";
/// let mut letters = [0; 3];
/// image.read_at(1, &mut letters)?;
/// assert_eq!((&letters, Image::len(image)), (b"ELF", 4));
/// assert!(image.read_at(2, &mut letters).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Image {
    /// Its size in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the image ends before, and whatever reading meets.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// All bytes, if they lie in this process' memory anyway: a loader then copies them once, not twice.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }

    /// Makes `len` bytes from `offset` on appear in guest memory from the guest-physical address `at` on
    /// without copying them, as far as that is possible, and says which of them it has done (counted from
    /// `offset`). The loader copies the others.
    ///
    /// Does nothing by default. An image which knows the RAM it is loaded into can map the whole pages among
    /// these bytes, privately. It is called for RAM that nothing else is planned for; that the pages written
    /// to are those of the memory given to the loader is the implementer's duty.
    ///
    /// # Errors
    /// That what could be mapped was not, if the implementer would rather fail than have it copied.
    fn map(&self, offset: u64, len: u64, at: u64) -> io::Result<Range<u64>> {
        let _ = (offset, len, at);
        Ok(0..0)
    }
}

impl Image for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)?.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// The same as that of what it leads to.
macro_rules! delegate {
    ($self:ident => $to:expr) => {
        fn len(&$self) -> u64 {
            Image::len($to)
        }

        fn read_at(&$self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            Image::read_at($to, offset, into)
        }

        fn as_slice(&$self) -> Option<&[u8]> {
            Image::as_slice($to)
        }

        fn map(&$self, offset: u64, len: u64, at: u64) -> io::Result<Range<u64>> {
            Image::map($to, offset, len, at)
        }
    };
}

impl<const N: usize> Image for [u8; N] {
    delegate!(self => &self[..]);
}

impl Image for Vec<u8> {
    delegate!(self => self.as_slice());
}

impl<I: Image + ?Sized> Image for &I {
    delegate!(self => *self);
}

/// Why a file is no image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileImageError {
    /// Its type and size cannot be found out.
    #[error("cannot find out the size of the image")]
    Metadata(#[source] io::Error),
    /// It is a directory, a FIFO, a socket or a device.
    #[error("the image is not a regular file: name the file itself")]
    NotRegular,
}

/// A regular file as an image: read where and when its bytes are needed, by `pread`.
///
/// Its size is that of the moment it was made; a file which shrinks afterwards gives errors, not less.
#[derive(Debug)]
pub struct FileImage {
    file: File,
    len: u64,
}

impl FileImage {
    /// Takes an open file. Opening a FIFO waits for a writer unless it is done with `O_NONBLOCK`.
    ///
    /// # Errors
    /// Each case of [`FileImageError`].
    pub fn new(file: File) -> Result<Self, FileImageError> {
        let metadata = file.metadata().map_err(FileImageError::Metadata)?;
        if metadata.is_file() {
            Ok(Self { file, len: metadata.len() })
        } else {
            Err(FileImageError::NotRegular)
        }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Image for FileImage {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

/// A range of an image which lies in it.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    image: &'a dyn Image,
    offset: u64,
    len: u64,
}

impl<'a> Part<'a> {
    /// `None` if the image ends before.
    pub(crate) fn new(image: &'a dyn Image, offset: u64, len: u64) -> Option<Self> {
        (offset.checked_add(len)? <= image.len()).then_some(Self { image, offset, len })
    }

    pub(crate) fn whole(image: &'a dyn Image) -> Self {
        Self { image, offset: 0, len: image.len() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Maps what can be mapped to `at`; which bytes of the part that are.
    pub(crate) fn map(&self, at: u64) -> io::Result<Range<u64>> {
        let mapped = self.image.map(self.offset, self.len, at)?;
        let end = mapped.end.min(self.len);
        Ok(mapped.start.min(end)..end)
    }

    /// Calls `each` with these bytes of the part, piece by piece, and how far into the part a piece lies.
    pub(crate) fn read<E: From<io::Error>>(
        &self,
        range: Range<u64>,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        const CHUNK: u64 = 64 << 10;
        if range.is_empty() {
            return Ok(());
        }
        let (start, end) = (self.offset + range.start, self.offset + range.end);
        if let Some(bytes) = self.image.as_slice() {
            let [start, end] = [start, end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
            return each(range.start, bytes.get(start..end).ok_or_else(eof)?);
        }
        let mut chunk = vec![0; usize::try_from(CHUNK.min(end - start)).map_err(|_| eof())?];
        for at in (range.start..range.end).step_by(chunk.len()) {
            let len = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            let room = chunk.len().min(len);
            let piece = chunk.get_mut(..room).ok_or_else(eof)?;
            self.image.read_at(self.offset + at, piece)?;
            each(at, piece)?;
        }
        Ok(())
    }
}

fn eof() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl std::fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x} bytes from {:#x} of an image", self.len, self.offset)
    }
}

/// Up to `len` bytes from `offset` on: fewer where the image ends.
pub(crate) fn read_up_to(image: &dyn Image, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let len = image.len().saturating_sub(offset).min(len);
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| eof())?];
    if !bytes.is_empty() {
        image.read_at(offset, &mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;

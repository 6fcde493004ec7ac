//! What RAM is wanted: plain data, checked before anything is mapped.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use vm_memory::GuestAddress;

use super::{Ram, RamError};
use crate::layout::{FIRST_ADDRESS_ABOVE_4G, MMIO_GAP_START, PAGE_SIZE, PHYSICAL_ADDRESS_END};

/// One contiguous range of guest RAM. Displayed as its first and last address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first guest-physical address, a multiple of 4 KiB.
    pub start: GuestAddress,
    /// Its size in bytes, a multiple of 4 KiB, not 0.
    pub len: u64,
    /// Whether the guest may only read it. This process may always write.
    pub read_only: bool,
}

impl Piece {
    /// One past the last address; does not overflow for a piece of a built [`Ram`].
    pub const fn end(&self) -> u64 {
        self.start.0.saturating_add(self.len)
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start.0, self.end().saturating_sub(1))
    }
}

/// The two huge page sizes of x86-64 (SDM vol. 3A 5.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HugePageSize {
    /// 2 MiB.
    M2,
    /// 1 GiB.
    G1,
}

impl HugePageSize {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::M2 => 2 << 20,
            Self::G1 => 1 << 30,
        }
    }
}

impl fmt::Display for HugePageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::M2 => "2 MiB",
            Self::G1 => "1 GiB",
        })
    }
}

/// What lies behind guest RAM.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Backing {
    /// Private anonymous memory: the default, and the fastest to set up.
    #[default]
    Anonymous,
    /// A memory file (`memfd_create(2)`), shared: another process that is handed the descriptor sees the same
    /// RAM, as vhost-user back ends need. Its size is sealed, so nobody can cut it off under the guest.
    Memfd,
    /// The same on huge pages the host has reserved; they are taken when the RAM is built, not when it is
    /// touched.
    HugePages {
        /// Their size: what start and length of every piece have to be multiples of.
        size: HugePageSize,
    },
    /// A file, mapped shared from its start, the pieces one after another. It has to be opened for reading
    /// and writing and be long enough; if somebody shortens it later, touching what was cut off kills this
    /// process.
    File(Arc<File>),
}

impl Backing {
    pub(super) fn huge_page_size(&self) -> Option<HugePageSize> {
        match self {
            Self::HugePages { size } => Some(*size),
            Self::Anonymous | Self::Memfd | Self::File(_) => None,
        }
    }
}

impl From<File> for Backing {
    fn from(file: File) -> Self {
        Self::File(Arc::new(file))
    }
}

/// A plan of guest RAM. Nothing is checked or mapped before [`build`](Self::build).
///
/// ```
/// use strata_memory::{Piece, RamSpec};
/// use strata_memory::vm_memory::GuestAddress;
///
/// // Planned: 4 GiB, of which 3 lie below the MMIO gap and 1 above 4 GiB.
/// assert_eq!(RamSpec::new(4 << 30).pieces().len(), 2);
///
/// // Explicit: 16 KiB at 0x1000, nothing else.
/// let spec = RamSpec::empty().piece(Piece { start: GuestAddress(0x1000), len: 0x4000, read_only: false });
/// let ram = spec.build()?;
/// assert_eq!(ram.size(), 0x4000);
/// # Ok::<(), strata_memory::RamError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RamSpec {
    pieces: Vec<Piece>,
    pub(super) backing: Backing,
    pub(super) transparent_huge_pages: bool,
    pub(super) track_dirty: bool,
}

impl RamSpec {
    /// `bytes` of RAM, from address 0 to the MMIO gap and, if that isn't enough, on from 4 GiB.
    pub fn new(bytes: u64) -> Self {
        let low = bytes.min(MMIO_GAP_START);
        let spec = Self::empty().piece(Piece { start: GuestAddress(0), len: low, read_only: false });
        match bytes - low {
            0 => spec,
            high => {
                spec.piece(Piece { start: GuestAddress(FIRST_ADDRESS_ABOVE_4G), len: high, read_only: false })
            }
        }
    }

    /// No RAM yet: for guests whose pieces are given one by one.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a piece, in any order. It may lie in the MMIO gap (firmware below 4 GiB does); then no device
    /// can.
    #[must_use]
    pub fn piece(mut self, piece: Piece) -> Self {
        self.pieces.push(piece);
        self
    }

    /// What lies behind the RAM; [`Backing::Anonymous`] unless said otherwise.
    #[must_use]
    pub fn backing(mut self, backing: impl Into<Backing>) -> Self {
        self.backing = backing.into();
        self
    }

    /// Whether to ask the kernel for transparent huge pages (`madvise(2)`, `MADV_HUGEPAGE`); off unless said
    /// otherwise.
    /// [`Ram::huge_pages_advised`] tells whether it listened.
    #[must_use]
    pub fn transparent_huge_pages(mut self, on: bool) -> Self {
        self.transparent_huge_pages = on;
        self
    }

    /// Whether to record which pages this process writes; off unless said otherwise.
    #[must_use]
    pub fn track_dirty(mut self, on: bool) -> Self {
        self.track_dirty = on;
        self
    }

    /// The pieces so far, in the order given.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Checks the plan and maps it.
    ///
    /// # Errors
    /// Each case of [`RamError`]; whatever was mapped by then is unmapped again.
    pub fn build(&self) -> Result<Ram, RamError> {
        Ram::build(self)
    }

    /// The pieces in ascending order, if they can be had on a host with `host_memory` bytes (`None`:
    /// unknown).
    pub(super) fn validated(&self, host_memory: Option<u64>) -> Result<Vec<Piece>, RamError> {
        let mut pieces = self.pieces.clone();
        if pieces.is_empty() {
            return Err(RamError::Empty);
        }
        let required = self.backing.huge_page_size().map_or(PAGE_SIZE, HugePageSize::bytes);
        for piece in &pieces {
            validate(piece, required)?;
        }
        pieces.sort_unstable_by_key(|piece| piece.start);
        for (a, b) in pieces.iter().zip(pieces.iter().skip(1)) {
            if a.end() > b.start.0 {
                return Err(RamError::Overlap { a: *a, b: *b });
            }
        }
        // Huge pages are counted by the host itself, and a file may well be larger than RAM.
        if let (Backing::Anonymous | Backing::Memfd, Some(host)) = (&self.backing, host_memory) {
            let requested = pieces.iter().map(|piece| piece.len).sum();
            if requested > host {
                return Err(RamError::TooLarge { requested, host });
            }
        }
        Ok(pieces)
    }
}

fn validate(piece: &Piece, required: u64) -> Result<(), RamError> {
    let Piece { start: GuestAddress(start), len, .. } = *piece;
    if len == 0 {
        return Err(RamError::ZeroSize { start });
    }
    if !start.is_multiple_of(required) || !len.is_multiple_of(required) {
        return Err(RamError::Misaligned { start, len, required });
    }
    match start.checked_add(len) {
        Some(end) if end <= PHYSICAL_ADDRESS_END => Ok(()),
        _ => Err(RamError::AddressOverflow { start, len }),
    }
}

#[cfg(test)]
#[path = "spec_test.rs"]
mod tests;

//! Page tables: what a mapping is, a builder, and a walker that shares no code with it; what tables map, as regions.
//!
//! SDM 3A chapter 5 "Paging" (chapter 4 in older editions); APM 2 chapter 5. Virtual addresses are called
//! *linear* in the SDM; segment bases are zero wherever these tables are used, so the two are the same.

mod builder;
mod explain;
mod regions;
mod walker;

use std::{fmt, str::FromStr};

use thiserror::Error;

pub use builder::{MapError, PageTables, PageTablesBuilder};
pub use explain::{AccessKind, FaultReason, Level, Translation, WalkFault, WalkStep};
pub use regions::{Alias, BrokenEntry, PageRegion, PageRegions, RegionLimits, Window, WindowKind};
pub use walker::{WalkContext, walk};

/// How much one leaf entry of 4-level paging maps. SDM 3A 5.5.4; APM 2 5.3.3 to 5.3.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageSize {
    /// 4 KiB, by a PTE.
    Size4K,
    /// 2 MiB, by a PDE.
    Size2M,
    /// 1 GiB, by a PDPTE; the processor says in CPUID `8000_0001H`:EDX bit 26 whether it can.
    Size1G,
}

impl PageSize {
    /// All sizes, smallest first.
    pub const ALL: [Self; 3] = [Self::Size4K, Self::Size2M, Self::Size1G];

    /// Bytes of one page.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size4K => 4 << 10,
            Self::Size2M => 2 << 20,
            Self::Size1G => 1 << 30,
        }
    }

    /// The name the size has in text: `4K`, `2M` or `1G`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size4K => "4K",
            Self::Size2M => "2M",
            Self::Size1G => "1G",
        }
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no page size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no page size; use 4K, 2M or 1G")]
pub struct ParsePageSizeError {
    /// What was given.
    pub text: String,
}

impl FromStr for PageSize {
    type Err = ParsePageSizeError;

    fn from_str(text: &str) -> Result<Self, ParsePageSizeError> {
        Self::ALL
            .into_iter()
            .find(|size| size.name() == text)
            .ok_or_else(|| ParsePageSizeError { text: text.into() })
    }
}

/// What may be done with a page. Reading is always allowed: x86 has no other kind. SDM 3A 5.6; APM 2 5.6.
#[expect(
    clippy::struct_excessive_bools,
    reason = "three are bits of the entry; all combinations mean something"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// It can be written (ring 0 obeys this with CR0.WP set only).
    pub write: bool,
    /// Instructions can be fetched from it.
    pub execute: bool,
    /// Ring 3 may use it.
    pub user: bool,
    /// Both [`write`](Self::write) and [`execute`](Self::execute) are meant. Without it a mapping that
    /// has both is refused, because a page that can be written and executed is mostly a mistake.
    pub allow_write_execute: bool,
}

impl Access {
    /// Read only.
    pub const R: Self = Self { write: false, execute: false, user: false, allow_write_execute: false };
    /// Read and write.
    pub const RW: Self = Self { write: true, ..Self::R };
    /// Read and execute.
    pub const RX: Self = Self { execute: true, ..Self::R };
    /// Everything, and that is meant so.
    pub const RWX: Self = Self { write: true, execute: true, allow_write_execute: true, ..Self::R };

    /// The same for ring 3 too.
    #[must_use]
    pub const fn user(self) -> Self {
        Self { user: true, ..self }
    }
}

/// The letters `FromStr` takes, of `r`, `w`, `x`, `u`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [("r", true), ("w", self.write), ("x", self.execute), ("u", self.user)];
        letters.iter().filter(|(_, set)| *set).try_for_each(|(letter, _)| f.write_str(letter))
    }
}

/// The text names no access.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no page access; use `r`, with any of `w`, `x` and `u` behind it")]
pub struct ParseAccessError {
    /// What was given.
    pub text: String,
}

/// Takes `r` and then any of `w`, `x`, `u`. Writing `w` and `x` both is asking for both.
impl FromStr for Access {
    type Err = ParseAccessError;

    fn from_str(text: &str) -> Result<Self, ParseAccessError> {
        let error = || ParseAccessError { text: text.into() };
        let rest = text.strip_prefix('r').ok_or_else(error)?;
        let access = rest.chars().try_fold(Self::R, |access, letter| match letter {
            'w' if !access.write => Some(Self { write: true, ..access }),
            'x' if !access.execute => Some(Self { execute: true, ..access }),
            'u' if !access.user => Some(access.user()),
            _ => None,
        });
        let access = access.ok_or_else(error)?;
        Ok(Self { allow_write_execute: access.write && access.execute, ..access })
    }
}

/// A run of pages: virtual addresses, the physical ones they become, and what may be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// First virtual address; canonical, a multiple of the page size.
    pub virt: u64,
    /// First physical address; a multiple of the page size.
    pub phys: u64,
    /// Bytes; a multiple of the page size, not zero.
    pub len: u64,
    /// Size of the pages.
    pub page: PageSize,
    /// What may be done.
    pub access: Access,
}

impl Mapping {
    /// A mapping to the same addresses.
    pub const fn identity(start: u64, len: u64, page: PageSize, access: Access) -> Self {
        Self { virt: start, phys: start, len, page, access }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { virt, phys, len, page, access } = self;
        write!(f, "{virt:#x} to {phys:#x}, {len:#x} bytes by {page} pages, {access}")
    }
}

#[cfg(test)]
#[path = "paging_test.rs"]
mod tests;

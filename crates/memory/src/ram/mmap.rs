//! The host's side: `mmap(2)`, `memfd_create(2)`, `madvise(2)`, `sysinfo(2)`.

#![allow(
    unsafe_code,
    reason = "memory that the guest shares is mapped by the kernel, outside Rust's allocator"
)]
#![allow(clippy::cast_possible_truncation, reason = "vm-memory builds for 64-bit targets only: usize is u64")]

use std::any::Any;
use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryRegion as _, GuestRegionMmap};

use super::{HugePageSize, Piece, RegionBitmap};

/// From this size on, a piece is placed for the host's huge pages, and they are asked for.
const HUGE: u64 = HugePageSize::M2.bytes();

/// One successful `mmap` call: its arguments as the kernel got them, and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The address asked for: 0 (`NULL`) unless `flags` has `MAP_FIXED`.
    pub asked_addr: u64,
    /// The length in bytes.
    pub len: u64,
    /// The protection: `PROT_*` bits.
    pub prot: i32,
    /// The flags: `MAP_*` bits.
    pub flags: i32,
    /// The file descriptor as it was then, -1 for none.
    pub fd: i32,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// The address the kernel returned.
    pub result: u64,
}

impl Mapping {
    /// Anonymous memory anywhere, not mapped yet.
    fn request(len: u64, prot: c_int, flags: c_int) -> Self {
        Self { asked_addr: 0, len, prot, flags, fd: -1, offset: 0, result: 0 }
    }

    fn of_file(self, file: &FileOffset) -> Self {
        Self { fd: file.file().as_raw_fd(), offset: file.start(), ..self }
    }
}

/// What a piece is mapped from.
pub(super) enum Source {
    Anonymous,
    File { file: FileOffset, hugetlb: bool },
}

/// A range of this process's address space that nothing else uses; unmapped when dropped, as a whole, whatever has been
/// mapped into it since.
#[derive(Debug)]
pub(super) struct Reservation {
    addr: usize,
    len: usize,
    /// Dropped before the range is unmapped: see [`Ram::keep`](super::Ram::keep).
    kept: Mutex<Vec<Box<dyn Any + Send + Sync>>>,
}

impl Reservation {
    pub(super) fn keep(&self, value: Box<dyn Any + Send + Sync>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.kept.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        // SAFETY: this value stands for the range, which `mmap` returned. It is dropped by the region that
        // held the only pointer into it (`RegionBitmap` says why), or before one was made.
        let result = unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.addr), self.len) };
        debug_assert_eq!(result, 0, "munmap of a range we mapped: {}", io::Error::last_os_error());
    }
}

/// A piece that has been mapped.
pub(super) struct Placed {
    reservation: Reservation,
    addr: usize,
    len: usize,
    prot: c_int,
    flags: c_int,
    source: Source,
}

/// Maps `piece` and logs every `mmap` made for it.
///
/// Three ways, so that each makes as few calls as it can:
/// small pieces and hugetlb files go where the kernel likes (it aligns the latter itself);
/// anonymous memory is mapped 2 MiB too long, and used from where the alignment fits;
/// a file, which has to begin at that very address, is mapped over part of a range reserved before.
pub(super) fn place(piece: &Piece, source: Source, log: &mut Vec<Mapping>) -> io::Result<Placed> {
    const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;
    const ANONYMOUS: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let len = piece.len;
    let small = len < HUGE;

    let (reservation, addr, request) = match &source {
        Source::Anonymous => {
            let request = Mapping::request(if small { len } else { len + HUGE }, READ_WRITE, ANONYMOUS);
            let reservation = anywhere(request, log)?;
            let addr = if small { reservation.addr } else { congruent(reservation.addr, piece.start) };
            (reservation, addr, request)
        }
        Source::File { file, hugetlb } => {
            // Without MAP_NORESERVE, hugetlb takes its pages now or fails now, instead of by SIGBUS at first
            // touch.
            let flags = libc::MAP_SHARED | if *hugetlb { 0 } else { libc::MAP_NORESERVE };
            let request = Mapping::request(len, READ_WRITE, flags).of_file(file);
            if small || *hugetlb {
                let reservation = anywhere(request, log)?;
                let addr = reservation.addr;
                (reservation, addr, request)
            } else {
                let reservation = anywhere(Mapping::request(len + HUGE, libc::PROT_NONE, ANONYMOUS), log)?;
                let addr = congruent(reservation.addr, piece.start);
                let request = Mapping { asked_addr: addr as u64, flags: flags | libc::MAP_FIXED, ..request };
                // SAFETY: `congruent` moves up by less than `HUGE`, so the range lies inside the reservation,
                // which is ours and holds nothing.
                unsafe { mmap(request, log)? };
                (reservation, addr, request)
            }
        }
    };
    Ok(Placed { reservation, addr, len: len as usize, prot: request.prot, flags: request.flags, source })
}

/// The first address from `addr` on whose low 21 bits are those of `start`.
fn congruent(addr: usize, start: GuestAddress) -> usize {
    const MASK: u64 = HUGE - 1;
    addr + (start.0.wrapping_sub(addr as u64) & MASK) as usize
}

/// Maps what is requested wherever there is room.
fn anywhere(request: Mapping, log: &mut Vec<Mapping>) -> io::Result<Reservation> {
    debug_assert_eq!(request.flags & libc::MAP_FIXED, 0);
    // SAFETY: without MAP_FIXED the kernel picks a range that nothing uses.
    let addr = unsafe { mmap(request, log)? };
    Ok(Reservation { addr, len: request.len as usize, kept: Mutex::default() })
}

/// Maps `len` bytes of `file` from `offset` on over the part of `region` that starts `into` bytes after its first:
/// private, copy-on-write. The caller has checked that `region` holds the range and is private itself.
pub(super) fn file_over(
    region: &GuestRegionMmap<RegionBitmap>,
    into: u64,
    file: &File,
    offset: u64,
    len: u64,
) -> io::Result<Mapping> {
    debug_assert!(into + len <= region.len() && region.flags() & libc::MAP_PRIVATE != 0);
    let request = Mapping {
        asked_addr: region.as_ptr().addr() as u64 + into,
        len,
        prot: libc::PROT_READ | libc::PROT_WRITE,
        // As for anonymous memory: not every page will be written, so none is paid for in advance.
        flags: libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
        fd: file.as_raw_fd(),
        offset,
        result: 0,
    };
    let mut log = Vec::with_capacity(1);
    // SAFETY: The range lies inside the region's, which belongs to its reservation and to nothing else; so nothing is
    // mapped there but guest memory. Pointers into it exist, but no references: guest memory is read and written only
    // through `vm-memory`, by volatile and atomic accesses that expect any other party to change the bytes at any time
    // (the guest does). The kernel exchanges the pages under its lock: an access finds the old page or the new one,
    // never none. The new pages are readable and writable as the old ones were, and are unmapped with them, since the
    // reservation unmaps its range as a whole. What this cannot promise is that the file keeps its length; an access
    // beyond a new end raises SIGBUS, which stops the process or is handled, and is no undefined behaviour.
    unsafe { mmap(request, &mut log)? };
    log.pop().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Has the kernel take back the `len` bytes of `region` that start `into` bytes after its first. The caller has checked
/// that `region` holds the range and that it is whole pages of the kind that back it.
pub(super) fn discard(region: &GuestRegionMmap<RegionBitmap>, into: u64, len: u64) -> io::Result<()> {
    debug_assert!(into + len <= region.len());
    // What is private is dropped; of what is shared, the file's pages are, for everybody who maps it.
    let is_private = region.flags() & libc::MAP_PRIVATE != 0;
    let advice = if is_private { libc::MADV_DONTNEED } else { libc::MADV_REMOVE };
    let addr = ptr::with_exposed_provenance_mut(region.as_ptr().expose_provenance() + into as usize);
    // SAFETY: The range lies inside the region's, which belongs to its reservation and to nothing else, so nothing is
    // there but guest memory. It stays mapped, and pages that are touched again are there again, as zeros or as a file
    // has them. Nobody holds references into guest memory; whoever accesses it expects any other party to change the
    // bytes at any time.
    if unsafe { libc::madvise(addr, len as usize, advice) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `mmap(2)`, with a line in the log.
///
/// # Safety
/// With `MAP_FIXED`, the range has to be the caller's own and hold nothing that anybody points to.
unsafe fn mmap(request: Mapping, log: &mut Vec<Mapping>) -> io::Result<usize> {
    let Mapping { asked_addr, len, prot, flags, fd, offset, result: _ } = request;
    let asked = ptr::without_provenance_mut(asked_addr as usize);
    let offset = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: the caller answers for a fixed address; any other argument the kernel checks.
    let result = unsafe { libc::mmap(asked, len as usize, prot, flags, fd, offset) };
    if result == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let result = result.expose_provenance();
    log.push(Mapping { result: result as u64, ..request });
    Ok(result)
}

impl Placed {
    /// Asks for transparent huge pages where the piece is large enough for one; whether the kernel agreed.
    pub(super) fn advise_huge_pages(&self) -> bool {
        if (self.len as u64) < HUGE {
            return true;
        }
        let addr = ptr::with_exposed_provenance_mut(self.addr);
        // SAFETY: the range lies inside our reservation, and this advice does not change what is in it.
        unsafe { libc::madvise(addr, self.len, libc::MADV_HUGEPAGE) == 0 }
    }

    /// Hands the mapping over to `vm-memory`.
    pub(super) fn into_region(
        self,
        piece: &Piece,
        track_dirty: bool,
    ) -> Result<GuestRegionMmap<RegionBitmap>, MmapRegionError> {
        let bitmap = RegionBitmap::new(self.reservation, self.len, track_dirty);
        let mut builder = MmapRegionBuilder::new_with_bitmap(self.len, bitmap)
            .with_mmap_prot(self.prot)
            .with_mmap_flags(self.flags);
        if let Source::File { file, hugetlb } = self.source {
            builder = builder.with_file_offset(file).with_hugetlbfs(hugetlb);
        }
        // SAFETY: the `len` bytes at `addr` are mapped readable and writable, and stay so until the region,
        // which owns the reservation through its bitmap, is dropped.
        let builder = unsafe { builder.with_raw_mmap_pointer(ptr::with_exposed_provenance_mut(self.addr)) };
        GuestRegionMmap::new(builder.build()?, piece.start).ok_or(MmapRegionError::InvalidOffsetLength)
    }
}

/// A memory file of `len` bytes, whose size nobody can change any more.
pub(super) fn memfd(len: u64, huge: Option<HugePageSize>) -> io::Result<File> {
    let huge = match huge {
        None => 0,
        Some(HugePageSize::M2) => libc::MFD_HUGETLB | libc::MFD_HUGE_2MB,
        Some(HugePageSize::G1) => libc::MFD_HUGETLB | libc::MFD_HUGE_1GB,
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | huge;
    // SAFETY: the name is a C string, and the kernel only reads it.
    let fd = unsafe { libc::memfd_create(c"guest-ram".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, so this is its only owner.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(len)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: this command takes an integer and touches none of our memory.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// How many bytes of memory and swap the host has, used or not; `None` if it won't say.
pub(super) fn host_memory() -> Option<u64> {
    let mut info = std::mem::MaybeUninit::<libc::sysinfo>::zeroed();
    // SAFETY: the kernel fills in the struct it is given.
    let result = unsafe { libc::sysinfo(info.as_mut_ptr()) };
    // SAFETY: it is plain integers, for which zeroes are values, too.
    let info = unsafe { info.assume_init() };
    let units = info.totalram.checked_add(info.totalswap)?;
    if result == 0 { units.checked_mul(info.mem_unit.into()) } else { None }
}

#[cfg(test)]
#[path = "mmap_test.rs"]
mod tests;

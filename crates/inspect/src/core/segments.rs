//! Which piece of the file is at which address: ELF header and program headers.

use strata_cpu::{PageRegions, RegionLimits};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{CoreError, PAGE};
use crate::View;

/// In a core dump with linear addresses, RAM is at its guest-physical address plus this: no processor can use these
/// addresses, so nothing of the guest's is there. `x/4gx 0x8000000000000000 + 0x1000` looks at physical `0x1000`.
pub const PHYSICAL_WINDOW: u64 = 1 << 63;

/// The program header counts in 16 bits.
const MAX_SEGMENTS: usize = 65_000;
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// A piece of RAM, and where it is in the file behind the headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) phys: u64,
    pub(super) len: u64,
    pub(super) file: u64,
}

/// A `PT_LOAD`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    virt: u64,
    phys: u64,
    len: u64,
    file: u64,
    flags: u32,
}

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

/// RAM by ascending address.
pub(super) fn pieces<M: GuestMemoryBackend>(memory: &M) -> Vec<Piece> {
    let mut file = 0;
    let mut pieces: Vec<_> = memory
        .iter()
        .map(|region| Piece { phys: region.start_addr().raw_value(), len: region.len(), file: 0 })
        .collect();
    pieces.sort_by_key(|piece| piece.phys);
    for piece in &mut pieces {
        piece.file = file;
        file += piece.len.next_multiple_of(PAGE as u64);
    }
    pieces
}

/// The segments by ascending virtual address: RAM as it is, or as `paged` sees it and behind a window; and up to where
/// the latter was looked at.
pub(super) fn segments<M: Bytes<GuestAddress>>(
    pieces: &[Piece],
    paged: Option<&View<'_, M>>,
) -> Result<(Vec<Segment>, Option<u64>), CoreError> {
    if pieces.len() > MAX_SEGMENTS {
        return Err(CoreError::TooManyPieces(pieces.len()));
    }
    let window = if paged.is_some() { PHYSICAL_WINDOW } else { 0 };
    let mut segments: Vec<_> = pieces
        .iter()
        .map(|piece| Segment {
            virt: window | piece.phys,
            phys: piece.phys,
            len: piece.len,
            file: piece.file,
            flags: READ | WRITE | EXECUTE,
        })
        .collect();
    let Some(view) = paged else { return Ok((segments, None)) };
    let limits = RegionLimits { regions: MAX_SEGMENTS, ..RegionLimits::default() };
    let context = view.state().walk_context();
    let found = PageRegions::read(|at| view.word(at), &context, limits);
    let mut truncated_at = found.truncated_at;
    'regions: for region in &found.regions {
        let flags =
            READ | if region.writable { WRITE } else { 0 } | if region.executable { EXECUTE } else { 0 };
        for piece in pieces {
            let start = piece.phys.max(region.phys);
            let last = (piece.phys + (piece.len - 1)).min(region.last_phys());
            if start > last {
                continue;
            }
            if segments.len() == MAX_SEGMENTS {
                truncated_at = Some(region.virt);
                break 'regions;
            }
            segments.push(Segment {
                virt: region.virt.wrapping_add(start - region.phys),
                phys: start,
                len: last - start + 1,
                file: piece.file + (start - piece.phys),
                flags,
            });
        }
    }
    segments.sort_by_key(|segment| segment.virt);
    Ok((segments, truncated_at))
}

/// The ELF header and the program headers, and where RAM begins in the file.
pub(super) fn headers(segments: &[Segment], notes_len: usize) -> (Vec<u8>, u64) {
    // SysV ABI, "ELF Header": 64-bit, little-endian, version 1; type core, machine x86-64.
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    out.resize(16, 0);
    out.extend(4u16.to_le_bytes());
    out.extend(62u16.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    words(&mut out, &[0, HEADER as u64, 0]);
    out.extend([0; 4]);
    let count = u16::try_from(segments.len() + 1).unwrap_or(u16::MAX);
    for field in [64, 56, count, 0, 0, 0] {
        out.extend(field.to_le_bytes());
    }
    let notes_at = HEADER + (segments.len() + 1) * PROGRAM_HEADER;
    let ram_at = (notes_at + notes_len).next_multiple_of(PAGE) as u64;
    // PT_NOTE, then each PT_LOAD: type, flags, offset, addresses, sizes, alignment.
    out.extend([4, 0, 0, 0, 0, 0, 0, 0]);
    words(&mut out, &[notes_at as u64, 0, 0, notes_len as u64, notes_len as u64, 4]);
    for Segment { virt, phys, len, file, flags } in segments {
        out.extend(1u32.to_le_bytes());
        out.extend(flags.to_le_bytes());
        words(&mut out, &[ram_at + file, *virt, *phys, *len, *len, PAGE as u64]);
    }
    (out, ram_at)
}

fn words(out: &mut Vec<u8>, words: &[u64]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

//! What a driver asks for (Virtio 1.2, 5.2.6), as far as it can be told without a disk.

use vm_memory::{GuestAddress, GuestMemory};

use super::super::{Buffer, Chain};
use super::{MIN_DEPTH, Properties};

/// The unit of the protocol, whatever the disk's blocks are.
pub(super) const SECTOR: u64 = 512;
/// How many ranges one request may name; see `max_discard_seg`.
pub(super) const MAX_RANGES: usize = MIN_DEPTH as usize;
/// How many sectors such a range may have: 2 GiB for what is forgotten, 32 MiB for zeros, which may have to be written.
pub(super) const MAX_DISCARD: u32 = 1 << 22;
/// See [`MAX_DISCARD`].
pub(super) const MAX_ZEROES: u32 = 1 << 16;

/// A request's header.
const HEADER: usize = 16;
/// A range in a request.
const RANGE: usize = 16;
/// A range's flag: the device may give up the space.
const UNMAP: u32 = 1;

/// Request types.
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
    pub(super) const DISCARD: u32 = 11;
    pub(super) const WRITE_ZEROES: u32 = 13;
}

/// What the driver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoErr = 1,
    Unsupported = 2,
}

/// A range of the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) unmap: bool,
}

/// Ranges of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ranges {
    ranges: [Range; MAX_RANGES],
    count: usize,
}

impl Ranges {
    pub(super) fn iter(&self) -> impl Iterator<Item = Range> {
        self.ranges.into_iter().take(self.count)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

/// What is to be done for a request.
#[derive(Debug)]
pub(super) enum Request<'a> {
    Read {
        offset: u64,
        into: Buffer<'a>,
    },
    Write {
        offset: u64,
        from: Buffer<'a>,
    },
    Flush,
    GetId {
        into: Buffer<'a>,
    },
    Discard(Ranges),
    WriteZeroes(Ranges),
    /// Nothing but this answer.
    Answer(Status),
}

/// What a driver may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) properties: Properties,
    pub(super) may_discard: bool,
    pub(super) may_write_zeroes: bool,
}

/// The place for a request's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the status goes.
    pub(super) status_at: GuestAddress,
    /// How much of the driver's buffer has been written with nothing but the status: 0 if there is more before it, for
    /// what is counted is written without a gap (2.7.8.2).
    pub(super) written: u32,
}

/// A request with the place for its answer; `None` if the driver has left none.
pub(super) fn parse<'a, G: GuestMemory>(
    chain: &'a Chain,
    memory: &G,
    terms: &Terms,
) -> Option<(Request<'a>, Place)> {
    // Where descriptors begin and end says nothing: the header is the first 16 bytes, the status the last.
    let (data_in, status) = chain.writable().split_last(1);
    let status_at = status.segments().next()?.addr;
    let place = Place { status_at, written: data_in.is_empty().into() };
    let (header, data_out) = chain.readable().split_at(HEADER as u64);
    let mut bytes = [0; HEADER];
    if header.read(memory, &mut bytes) < HEADER {
        return Some((Request::Answer(Status::IoErr), place));
    }
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = bytes;
    let sector = u64::from_le_bytes(sector);
    let request = match u32::from_le_bytes([t0, t1, t2, t3]) {
        kind::IN => transfer(sector, data_in, terms, |offset, into| Request::Read { offset, into }),
        kind::OUT if terms.properties.read_only => Err(Status::IoErr),
        kind::OUT => transfer(sector, data_out, terms, |offset, from| Request::Write { offset, from }),
        kind::FLUSH => Ok(Request::Flush),
        kind::GET_ID => Ok(Request::GetId { into: data_in }),
        kind::DISCARD if terms.may_discard => {
            ranges(data_out, memory, terms, (MAX_DISCARD, 0)).map(Request::Discard)
        }
        kind::WRITE_ZEROES if terms.may_write_zeroes => {
            ranges(data_out, memory, terms, (MAX_ZEROES, UNMAP)).map(Request::WriteZeroes)
        }
        _ => Err(Status::Unsupported),
    };
    Some((request.unwrap_or_else(Request::Answer), place))
}

/// Where so many bytes from this sector on lie, if the disk has them.
fn locate(sector: u64, len: u64, disk: u64) -> Result<u64, Status> {
    let offset = sector.checked_mul(SECTOR).ok_or(Status::IoErr)?;
    let end = offset.checked_add(len).ok_or(Status::IoErr)?;
    if end <= disk / SECTOR * SECTOR { Ok(offset) } else { Err(Status::IoErr) }
}

fn transfer<'a>(
    sector: u64,
    data: Buffer<'a>,
    terms: &Terms,
    request: impl FnOnce(u64, Buffer<'a>) -> Request<'a>,
) -> Result<Request<'a>, Status> {
    // With its status it has to fit the used ring's length, as every chain has to (2.7.4).
    if !data.len().is_multiple_of(SECTOR) || data.len() >= u32::MAX.into() {
        return Err(Status::IoErr);
    }
    let offset = locate(sector, data.len(), terms.properties.len)?;
    if data.is_empty() { Err(Status::Ok) } else { Ok(request(offset, data)) }
}

/// Reads the ranges of a request, none of more than `most` sectors, with no flags but these.
fn ranges<G: GuestMemory>(
    data: Buffer<'_>,
    memory: &G,
    terms: &Terms,
    (most, flags): (u32, u32),
) -> Result<Ranges, Status> {
    if terms.properties.read_only || !data.len().is_multiple_of(RANGE as u64) {
        return Err(Status::IoErr);
    }
    let count = usize::try_from(data.len()).map_or(usize::MAX, |len| len / RANGE);
    if count > MAX_RANGES {
        return Err(Status::IoErr);
    }
    let mut all = Ranges { ranges: [Range::default(); MAX_RANGES], count: 0 };
    let mut rest = data;
    while !rest.is_empty() {
        let (range, behind) = rest.split_at(RANGE as u64);
        rest = behind;
        let mut bytes = [0; RANGE];
        range.read(memory, &mut bytes);
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, f0, f1, f2, f3] = bytes;
        let (count, flagged) = (u32::from_le_bytes([n0, n1, n2, n3]), u32::from_le_bytes([f0, f1, f2, f3]));
        if flagged & !flags != 0 {
            return Err(Status::Unsupported);
        }
        if count > most {
            return Err(Status::IoErr);
        }
        let len = u64::from(count) * SECTOR;
        let offset = locate(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), len, terms.properties.len)?;
        if len > 0
            && let Some(free) = all.ranges.get_mut(all.count)
        {
            *free = Range { offset, len, unmap: flagged & UNMAP != 0 };
            all.count += 1;
        }
    }
    if all.count == 0 { Err(Status::Ok) } else { Ok(all) }
}

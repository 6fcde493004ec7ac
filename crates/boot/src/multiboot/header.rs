//! The multiboot header (Multiboot Specification 0.6.96, 3.1).

use crate::image::{Image, read_up_to};

use super::MultibootError;

/// How much of an image is searched for the header.
const SEARCHED: u64 = 8192;
const MAGIC: u32 = 0x1bad_b002;
/// `flags`: the address fields are there and tell how to load the image.
const HAS_ADDRESSES: u32 = 1 << 16;
/// The flags a boot loader has to obey or to refuse the image.
const REQUIRED: u32 = 0xffff;
/// Of these, the ones obeyed here: modules aligned to pages, and memory information.
const KNOWN: u32 = 1 | 2;

/// What a header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How to load an image by the header rather than as ELF.
    pub(super) addresses: Option<Addresses>,
}

/// What of the image goes where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Where in the file the first byte is, and how many there are.
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Where it is loaded to.
    pub(super) load: u32,
    /// How much memory is taken, with the zeros behind the image.
    pub(super) memory_size: u64,
    pub(super) entry: u32,
}

/// Whether an image has a header, and whether that one has addresses.
pub(crate) fn find(image: &dyn Image) -> std::io::Result<Option<bool>> {
    Ok(candidate(&read_up_to(image, 0, SEARCHED)?).ok().map(|(_, fields)| fields.flags & HAS_ADDRESSES != 0))
}

/// The header's fields, as they stand there.
struct Fields {
    flags: u32,
    addresses: [u32; 5],
}

/// The first header with a right checksum, and where it is.
fn candidate(bytes: &[u8]) -> Result<(usize, Fields), MultibootError> {
    let word = |at: usize| {
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
        word.map(|word| u32::from_le_bytes(*word))
    };
    let mut seen = false;
    for at in (0..bytes.len()).step_by(4) {
        let (Some(MAGIC), Some(flags), Some(checksum)) = (word(at), word(at + 4), word(at + 8)) else {
            continue;
        };
        seen = true;
        if MAGIC.wrapping_add(flags).wrapping_add(checksum) != 0 {
            continue;
        }
        let mut addresses = [0; 5];
        if flags & HAS_ADDRESSES != 0 {
            for (field, offset) in addresses.iter_mut().zip([12, 16, 20, 24, 28]) {
                *field = word(at + offset).ok_or(MultibootError::TruncatedHeader)?;
            }
        }
        return Ok((at, Fields { flags, addresses }));
    }
    Err(if seen { MultibootError::Checksum } else { MultibootError::NoHeader })
}

/// Finds the header and checks it.
pub(super) fn read(image: &dyn Image) -> Result<Header, MultibootError> {
    let (at, Fields { flags, addresses }) = candidate(&read_up_to(image, 0, SEARCHED)?)?;
    let unknown = flags & REQUIRED & !KNOWN;
    if unknown != 0 {
        return Err(MultibootError::Flags { flags: unknown });
    }
    if flags & HAS_ADDRESSES == 0 {
        return Ok(Header { addresses: None });
    }
    let [header, load, load_end, bss_end, entry] = addresses;
    let wrong = MultibootError::Addresses { header, load, load_end, bss_end };
    // "load_addr must be less than or equal to header_addr", and the file has what lies between.
    let offset = header.checked_sub(load).and_then(|before| (at as u64).checked_sub(before.into()));
    let Some(offset) = offset else { return Err(wrong) };
    let len = match load_end {
        0 => image.len() - offset, // "the text and data segments occupy the whole OS image file"
        end => match end.checked_sub(load) {
            Some(len) if len > 0 => len.into(),
            _ => return Err(wrong),
        },
    };
    if offset + len > image.len() {
        return Err(MultibootError::Truncated { len: image.len(), expected: offset + len });
    }
    let memory_size = match bss_end {
        0 => len, // "no bss segment is present"
        end => match u64::from(end).checked_sub(load.into()) {
            Some(size) if size >= len => size,
            _ => return Err(wrong),
        },
    };
    Ok(Header { addresses: Some(Addresses { offset, len, load, memory_size, entry }) })
}

#[cfg(test)]
#[path = "header_test.rs"]
mod tests;

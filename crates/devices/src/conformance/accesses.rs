//! The accesses of the conformance kit.

use super::Access;

/// One instruction's widths, those that no instruction has, and a string's.
const WIDTHS: [usize; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 64, if cfg!(miri) { 65 } else { 4097 }];
/// Up to here every offset of a range is tried.
const SMALL: u64 = 64;

/// The offsets that matter: the range, or its edges and a sample; around its end; beyond; the last there is.
fn offsets(len: u64) -> Vec<u64> {
    let mut offsets: Vec<u64> = (0..len.min(SMALL)).collect();
    if len > SMALL {
        offsets.extend((6..64).map(|bit| 1 << bit).filter(|&offset| offset < len));
        offsets.extend((len - SMALL)..len);
    }
    offsets.extend((0..10).map(|beyond| len.saturating_add(beyond)));
    offsets.extend([
        len.saturating_mul(2),
        0xffff,
        0xffff_ffff,
        1 << 32,
        1 << 63,
        u64::MAX - 8,
        u64::MAX - 1,
        u64::MAX,
    ]);
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

/// Every offset in every width, read, written and read again; then every value of a byte at every offset.
pub(super) fn thorough(len: u64) -> impl Iterator<Item = Access> {
    let places = offsets(len).into_iter().flat_map(|offset| WIDTHS.map(|width| (offset, width)));
    let widths = places.flat_map(|(offset, width)| {
        [None, Some(0x00), Some(0xff), Some(0x5a), None].map(|value| Access { offset, width, value })
    });
    let bytes = offsets(len).into_iter().filter(move |&offset| offset < len).flat_map(|offset| {
        (0..=u8::MAX)
            .flat_map(move |value| [Some(value), None].map(|value| Access { offset, width: 1, value }))
    });
    widths.chain(bytes)
}

/// Accesses without end, nearly all of them within the range; the same for the same `seed`.
pub(super) fn random(len: u64, seed: u64) -> impl Iterator<Item = Access> {
    let offsets = offsets(len);
    let mut random = Random(seed);
    std::iter::repeat_with(move || {
        let bits = random.next();
        let [place, width, value, kind, ..] = bits.to_le_bytes();
        let offset = if kind % 8 == 0 {
            let place = usize::from(place) % offsets.len().max(1);
            offsets.get(place).copied().unwrap_or(0)
        } else {
            (bits >> 32) % len.max(1)
        };
        // Mostly a byte, since most registers are: a wide access touches many of them at once.
        let width = if width < 160 { 1 } else { usize::from(width) % 9 };
        Access { offset, width, value: (kind >= 128).then_some(value) }
    })
}

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

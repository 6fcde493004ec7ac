use proptest::prelude::*;

use super::*;
use crate::layout::{MAP, SPANS};

fn piece(start: u64, len: u64) -> Piece {
    Piece { start: GuestAddress(start), len, read_only: false }
}

fn validated(pieces: &[Piece]) -> Result<Vec<Piece>, RamError> {
    pieces.iter().fold(RamSpec::empty(), |spec, piece| spec.piece(*piece)).validated(None)
}

#[test]
fn pieces_are_sorted_and_neighbours_may_touch() {
    let sorted = validated(&[piece(0x2000, 0x1000), piece(0x1000, 0x1000)]).unwrap();
    assert_eq!(sorted, [piece(0x1000, 0x1000), piece(0x2000, 0x1000)]);
}

#[test]
fn no_ram_is_refused() {
    assert!(matches!(RamSpec::empty().build(), Err(RamError::Empty)));
    assert!(matches!(RamSpec::new(0).build(), Err(RamError::ZeroSize { start: 0 })));
}

#[test]
fn an_empty_piece_is_refused() {
    assert!(matches!(validated(&[piece(0x5000, 0)]), Err(RamError::ZeroSize { start: 0x5000 })));
}

#[test]
fn half_pages_are_refused() {
    for (start, len) in [(0x800, 0x1000), (0, 0x1800), (1, 0x1000), (0, 1)] {
        let error = validated(&[piece(start, len)]).unwrap_err();
        assert!(matches!(error, RamError::Misaligned { required: 0x1000, .. }), "{error}");
    }
}

#[test]
fn huge_pages_ask_for_their_own_alignment() {
    for (size, bytes) in [(HugePageSize::M2, 2 << 20), (HugePageSize::G1, 1 << 30)] {
        let spec =
            |start, len| RamSpec::empty().piece(piece(start, len)).backing(Backing::HugePages { size });
        assert!(spec(bytes, 3 * bytes).validated(None).is_ok());
        for (start, len) in [(0x1000, bytes), (0, bytes + 0x1000), (bytes / 2, bytes)] {
            let error = spec(start, len).validated(None).unwrap_err();
            assert!(matches!(error, RamError::Misaligned { required, .. } if required == bytes), "{error}");
        }
    }
}

#[test]
fn overlap_names_both_pieces_lower_first() {
    let (low, high) = (piece(0x1000, 0x2000), piece(0x2000, 0x1000));
    match validated(&[high, low]) {
        Err(RamError::Overlap { a, b }) => assert_eq!((a, b), (low, high)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(validated(&[low, low]), Err(RamError::Overlap { .. })));
}

#[test]
fn ram_ends_where_physical_addresses_end() {
    let last = PHYSICAL_ADDRESS_END - 0x1000;
    assert!(validated(&[piece(last, 0x1000)]).is_ok());
    assert!(matches!(validated(&[piece(last, 0x2000)]), Err(RamError::AddressOverflow { .. })));
    assert!(matches!(validated(&[piece(!0xfff, 0x1000)]), Err(RamError::AddressOverflow { .. })));
    assert!(matches!(RamSpec::new(!0xfff).validated(None), Err(RamError::AddressOverflow { .. })));
}

#[test]
fn more_than_the_host_has_is_refused_to_the_byte() {
    let spec = RamSpec::new(8 << 20);
    assert!(spec.validated(Some(8 << 20)).is_ok());
    let error = spec.validated(Some((8 << 20) - 1)).unwrap_err();
    assert!(matches!(error, RamError::TooLarge { requested: 0x80_0000, host: 0x7f_ffff }), "{error}");
    assert!(spec.clone().backing(Backing::Memfd).validated(Some(0)).is_err());
}

#[test]
fn huge_pages_and_files_are_not_limited_by_the_hosts_memory() {
    let spec = RamSpec::new(2 << 20).backing(Backing::HugePages { size: HugePageSize::M2 });
    assert!(spec.validated(Some(0)).is_ok());
    let file = File::open("/dev/null").unwrap();
    assert!(RamSpec::new(2 << 20).backing(file).validated(Some(0)).is_ok());
}

#[test]
fn this_host_is_asked_when_ram_is_built() {
    // 2 PiB in one piece: no host has that, and the address space of the guest does.
    let error = RamSpec::new(2 << 50).build().unwrap_err();
    assert!(matches!(error, RamError::TooLarge { requested, .. } if requested == 2 << 50), "{error}");
}

fn pages() -> impl Strategy<Value = u64> {
    let gap = MMIO_GAP_START / PAGE_SIZE;
    prop_oneof![1..gap * 4, gap - 3..gap + 3, Just((1 << 48) / PAGE_SIZE)]
}

proptest! {
    #[test]
    fn planned_ram_keeps_the_total_and_leaves_the_gap_alone(pages in pages()) {
        let bytes = pages * PAGE_SIZE;
        let pieces = RamSpec::new(bytes).validated(None).unwrap();
        prop_assert_eq!(pieces.iter().map(|piece| piece.len).sum::<u64>(), bytes);
        prop_assert_eq!(pieces[0].start.0, 0);
        let gap = SPANS.iter().find(|span| span.name == "MMIO gap").unwrap();
        for piece in &pieces {
            prop_assert!(piece.end() <= gap.start || piece.start.0 >= gap.end(), "{} touches the gap", piece);
            for device in MAP.iter().filter(|region| region.start >= gap.start) {
                prop_assert!(piece.end() <= device.start || piece.start.0 >= device.end(), "{}", device.name);
            }
        }
        let low_is_full = pieces[0].end() == MMIO_GAP_START;
        prop_assert!(pieces.len() == 1 || low_is_full, "RAM goes on above 4 GiB too early");
    }

    /// Any list of pieces, sane or not: validation says yes only to what can be mapped.
    #[test]
    fn what_is_accepted_is_aligned_sorted_and_disjoint(
        list in prop::collection::vec((any::<u64>(), any::<u64>(), 0..4), 0..6),
    ) {
        let pieces = list.into_iter().map(|(start, len, how)| match how {
            0 => piece(start, len),
            1 => piece(start & !0xfff, len & !0xfff),
            _ => piece((start % 64) << 12, (len % 8) << 12),
        });
        let spec = pieces.fold(RamSpec::empty(), RamSpec::piece);
        if let Ok(pieces) = spec.validated(None) {
            prop_assert_eq!(pieces.len(), spec.pieces().len());
            prop_assert!(pieces.windows(2).all(|pair| pair[0].end() <= pair[1].start.0));
            for piece in &pieces {
                prop_assert!(piece.len > 0 && piece.start.0 % PAGE_SIZE == 0 && piece.len % PAGE_SIZE == 0);
                prop_assert!(piece.end() <= PHYSICAL_ADDRESS_END);
            }
        }
    }
}

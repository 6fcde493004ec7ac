use super::*;

/// What is released of these ranges.
fn released(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut run = Run::default();
    let mut released: Vec<_> = ranges.iter().filter_map(|(start, len)| run.add(*start, *len)).collect();
    released.extend(run.into_pages());
    released.into_iter().map(|(start, len)| (start.0, len)).collect()
}

#[test]
fn pages_in_a_row_are_one_range_whatever_their_order() {
    assert_eq!(released(&[(0x1000, 0x1000), (0x2000, 0x1000), (0x3000, 0x1000)]), [(0x1000, 0x3000)]);
    assert_eq!(released(&[(0x3000, 0x1000), (0x2000, 0x1000), (0x1000, 0x1000)]), [(0x1000, 0x3000)]);
    assert_eq!(released(&[(0x1000, 0x1000), (0x1000, 0x1000)]), [(0x1000, 0x1000)]);
    assert_eq!(released(&[(0, 0x1000), (0x1000, 0x1000)]), [(0, 0x2000)]);
}

#[test]
fn others_are_ranges_of_their_own() {
    let pages = [(0x1000, 0x1000), (0x3000, 0x1000), (0x1000, 0x1000)];
    assert_eq!(released(&pages), pages);
    assert_eq!(released(&[]), []);
}

#[test]
fn only_whole_pages_are_released() {
    assert_eq!(released(&[(0x1800, 0x1000)]), []);
    assert_eq!(released(&[(0x1800, 0x1800)]), [(0x2000, 0x1000)]);
    assert_eq!(released(&[(0x1000, 0x800), (0x1800, 0x800)]), [(0x1000, 0x1000)], "two halves");
    assert_eq!(released(&[(u64::MAX - 1, 100)]), []);
}

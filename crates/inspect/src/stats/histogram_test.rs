use super::*;

#[test]
fn buckets_follow_each_other_without_gaps() {
    for index_ in 0..BUCKETS - 1 {
        assert_eq!(index(first(index_)), index_);
        assert_eq!(index(first(index_ + 1) - 1), index_, "up to {}", first(index_ + 1));
    }
    assert_eq!(index(u64::MAX), BUCKETS - 1);
}

#[test]
fn percentiles_are_a_sixteenth_off_at_most() {
    let mut histogram = Histogram::default();
    assert_eq!((histogram.min(), histogram.percentile(50), histogram.max()), (0, 0, 0));
    for time in 1..=10_000 {
        histogram.record(time * 10);
    }
    for (percent, exact) in [(1, 1_000), (50, 50_000), (99, 99_000), (100, 100_000)] {
        let found: u64 = histogram.percentile(percent);
        assert!(found.abs_diff(exact) <= exact / 16, "{percent}: {found}");
    }
    assert_eq!((histogram.min(), histogram.max(), histogram.count()), (10, 100_000, 10_000));
    assert_eq!(histogram.sum(), 500_050_000);
}

#[test]
fn merging_is_counting_both() {
    let (mut one, mut other, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
    for time in [3, 70, 70, 5_000] {
        one.record(time);
        both.record(time);
    }
    for time in [u64::MAX, 0] {
        other.record(time);
        both.record(time);
    }
    one.merge(&other);
    assert_eq!((one.powers(), one.min(), one.max()), (both.powers(), 0, u64::MAX));
    assert_eq!(one.percentile(50), both.percentile(50));
}

#[test]
fn powers_have_no_gaps() {
    let mut histogram = Histogram::default();
    for time in [9, 12, 40] {
        histogram.record(time);
    }
    assert_eq!(histogram.powers(), [(8, 2), (16, 0), (32, 1)]);
}

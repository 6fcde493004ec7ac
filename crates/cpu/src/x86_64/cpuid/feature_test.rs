use std::collections::BTreeSet;

use super::*;

#[test]
fn every_name_and_every_bit_is_there_once() {
    let (mut names, mut bits) = (BTreeSet::new(), BTreeSet::new());
    for feature in Feature::all() {
        assert!(names.insert(feature.name), "{} twice", feature.name);
        assert!(feature.bit < 32, "{}", feature.name);
        let at = (feature.word.function, feature.word.index, feature.word.register, feature.bit);
        assert!(bits.insert(at), "{}: another has its bit", feature.name);
        assert_eq!(Feature::named(feature.name), Some(feature));
    }
    assert_eq!(Feature::named("warp drive"), None);
}

#[test]
fn what_is_part_of_a_baseline_survives_in_it() {
    for feature in Feature::all() {
        for baseline in Baseline::ALL.into_iter().filter(|baseline| feature.class.is_part_of(*baseline)) {
            assert!(feature.class.survives(baseline, Options::default()), "{}", feature.name);
        }
        // A lower level has nothing that a higher one lacks.
        let part = |baseline| feature.class.is_part_of(baseline);
        assert!(part(Baseline::X86_64V3) || !part(Baseline::X86_64V2), "{}", feature.name);
    }
}

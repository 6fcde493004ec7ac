use super::*;

fn values(list: &[(&str, f64)]) -> Values {
    list.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn a_figure_is_met_up_to_its_limit() {
    let figure = ratio("x", "exit.pio", 1.04);
    let is_met =
        |strata| figure.row(&values(&[("exit.pio.strata", strata), ("exit.pio.floor", 100.0)])).is_met;
    assert_eq!((is_met(104.0), is_met(104.1)), (Some(true), Some(false)));
    let row = figure.row(&values(&[("exit.pio.strata", 104.0)]));
    assert_eq!((row.is_met, row.measured.as_str()), (None, "-"));
    let two = FIGURES.iter().find(|figure| figure.what.starts_with("two")).unwrap();
    let is_met = |value| two.row(&values(&[("two.strata", value)])).is_met;
    assert_eq!((is_met(1.9), is_met(1.89)), (Some(true), Some(false)));
}

#[test]
fn what_is_added_is_compared_with_the_same_without() {
    let row =
        |value| recorder("x", "a.with", "a.without").row(&values(&[("a.with", value), ("a.without", 100.0)]));
    assert_eq!((row(105.0).is_met, row(105.1).is_met), (Some(true), Some(false)));
    let trace = FIGURES.iter().find(|figure| figure.what.starts_with("a text trace")).unwrap();
    let row = trace.row(&values(&[("trace.text", 5000.0), ("trace.strata", 2900.0)]));
    assert_eq!((row.is_met, row.measured.as_str()), (Some(true), "2100.0 ns (5000 - 2900)"));
}

#[test]
fn what_moved_is_named_and_what_cannot_repeat_is_not_compared() {
    let recorded = values(&[("a", 100.0), ("b", 100.0), ("c", 1.0), ("two.strata", 1.0), ("local.a", 1.0)]);
    let measured = values(&[("a", 101.0), ("b", 98.9), ("d", 1.0), ("two.strata", 2.0)]);
    assert_eq!(
        moved(&recorded, &measured),
        ["b was 100 and is 98.9: -1.1 %", "c is recorded as 1 and was not measured", "d is not recorded"]
    );
}

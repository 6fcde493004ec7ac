use super::*;

#[test]
fn names_are_read_as_they_are_written() {
    for mode in Mode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    assert_eq!(Mode::ALL.map(Mode::name), ["real16", "protected32", "long64"]);
}

#[test]
fn another_name_is_refused_with_the_right_ones() {
    let error = "Long64".parse::<Mode>().unwrap_err();
    assert_eq!(error.to_string(), "`Long64` is no processor mode; use real16, protected32 or long64");
}

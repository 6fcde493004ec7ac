use super::*;

#[test]
fn what_is_an_address() {
    assert_eq!("02:0A:ff:00:01:7f".parse(), Ok(Mac([2, 10, 255, 0, 1, 127])));
    for form in [
        "",
        "02",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "2:0:0:0:0:1",
        "02:00:00:00:00:0g",
        "+2:00:00:00:00:01",
    ] {
        assert_eq!(form.parse::<Mac>(), Err(MacError::Form), "{form:?}");
    }
    assert_eq!("ff:ff:ff:ff:ff:ff".parse::<Mac>(), Err(MacError::Group));
    assert_eq!("00:00:00:00:00:00".parse::<Mac>(), Err(MacError::Zero));
}

#[test]
fn local_addresses_are_stations() {
    for bits in [0, u64::MAX, 0x1234_5678_9abc_def0] {
        let mac = Mac::local(bits);
        assert_eq!((Mac::new(mac.bytes()), mac.bytes()[0] & 3), (Ok(mac), 2));
    }
}

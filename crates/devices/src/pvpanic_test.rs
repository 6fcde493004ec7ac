use super::*;
use crate::conformance;

/// Bit 2 is a shutdown in newer versions of QEMU, which is not offered.
#[test]
fn of_all_values_the_two_low_bits_count() {
    for value in 0..=u8::MAX {
        let expected = match value & 3 {
            0 => Effect::None,
            2 => Effect::CrashLoaded,
            _ => Effect::Panicked,
        };
        assert_eq!(Pvpanic.write(0, &[value]), expected, "{value:#x}");
    }
    assert_eq!(Pvpanic.write(0, &[0, 1, 1, 1]), Effect::None, "there is one port");
    assert_eq!(Pvpanic.write(1, &[1]), Effect::None);
}

#[test]
fn a_read_gives_the_events_it_knows() {
    let mut data = [0; 2];
    Pvpanic.read(0, &mut data);
    assert_eq!(data, [3, 0xff]);
}

#[test]
fn it_conforms() {
    conformance::check("pvpanic", Pvpanic::LEN, || Pvpanic).unwrap();
}

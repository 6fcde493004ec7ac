use super::*;

#[test]
fn only_the_sleep_bit_switches_off() {
    assert_eq!(PowerOff.write(0, &[0, 0x20]), Effect::PowerOff);
    assert_eq!(PowerOff.write(0, &[0, 0x34, 0, 0]), Effect::PowerOff);
    assert_eq!(PowerOff.write(1, &[0x34]), Effect::PowerOff);
    assert_eq!(PowerOff.write(0, &[0x20]), Effect::None);
    assert_eq!(PowerOff.write(0, &[0xff, 0xdf]), Effect::None);
    assert_eq!(PowerOff.write(2, &[0xff]), Effect::None);
    assert_eq!(PowerOff.write(u64::MAX, &[0xff, 0xff, 0xff]), Effect::None);
    assert_eq!(PowerOff.write(0, &[]), Effect::None);
}

#[test]
fn it_reads_as_zero() {
    let mut data = [0xff; 2];
    PowerOff.read(0, &mut data);
    assert_eq!(data, [0, 0]);
}

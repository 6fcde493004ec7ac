use super::*;

#[test]
fn a_wide_access_reaches_consecutive_registers() {
    let mut data = [0; 4];
    read(6, &mut data, |at| u8::try_from(at).unwrap());
    assert_eq!(data, [6, 7, 8, 9]);
    let mut seen = Vec::new();
    let effect = write(6, &[1, 2, 3], |at, byte| {
        seen.push((at, byte));
        if byte > 1 { Effect::DebugExit(byte.into()) } else { Effect::None }
    });
    assert_eq!(seen, [(6, 1), (7, 2), (8, 3)]);
    assert_eq!(effect, Effect::DebugExit(2), "the first");
}

#[test]
fn there_is_no_register_beyond_the_last_offset() {
    let mut data = [0; 3];
    read(u64::MAX - 1, &mut data, |at| at.to_le_bytes()[0]);
    assert_eq!(data, [0xfe, 0xff, 0xff]);
    let mut seen = Vec::new();
    let _ = write(u64::MAX, &[1, 2], |at, byte| {
        seen.push((at, byte));
        Effect::None
    });
    assert_eq!(seen, [(u64::MAX, 1)]);
}

use super::*;

#[test]
fn what_is_written_comes_out() {
    assert_eq!(DebugExit.write(0, &[0x10]), Effect::DebugExit(0x10));
    assert_eq!(DebugExit.write(3, &[0x10]), Effect::DebugExit(0x10));
    assert_eq!(DebugExit.write(0, &[0x34, 0x12]), Effect::DebugExit(0x1234));
    assert_eq!(DebugExit.write(0, &[0x78, 0x56, 0x34, 0x12]), Effect::DebugExit(0x1234_5678));
    assert_eq!(DebugExit.write(0, &[0xff; 8]), Effect::DebugExit(u32::MAX));
}

#[test]
fn nothing_written_and_nothing_here_ends_nothing() {
    assert_eq!(DebugExit.write(0, &[]), Effect::None);
    assert_eq!(DebugExit.write(DebugExit::LEN, &[1]), Effect::None);
    assert_eq!(DebugExit.write(u64::MAX, &[1]), Effect::None);
}

#[test]
fn the_status_is_odd() {
    assert_eq!((DebugExit::exit_status(0), DebugExit::exit_status(0x10)), (1, 33));
    assert_eq!(DebugExit::exit_status(u32::MAX), u32::MAX);
}

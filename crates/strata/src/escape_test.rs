use super::*;

fn keys(typed: &[u8]) -> Vec<Key> {
    let mut escape = Escape::default();
    typed.iter().map(|&byte| escape.key(byte)).collect()
}

#[test]
fn every_byte_but_the_escapes_is_the_guests() {
    let mut escape = Escape::default();
    for byte in (0..=u8::MAX).filter(|&byte| byte != ESCAPE) {
        assert_eq!(escape.key(byte), Key::Guest(byte));
    }
}

#[test]
fn every_key_after_ctrl_a_is_ours_and_only_that_one() {
    for byte in 0..=u8::MAX {
        let meant = match byte {
            0x01 | b'a' => Key::Guest(0x01),
            b'x' => Key::Leave,
            b'h' | b'?' => Key::Help,
            _ => Key::Nothing,
        };
        assert_eq!(keys(&[0x01, byte, b'x']), [Key::Nothing, meant, Key::Guest(b'x')], "{byte:#x}");
    }
}

#[test]
fn three_ctrl_a_are_one_and_a_beginning() {
    assert_eq!(keys(b"\x01\x01\x01x"), [Key::Nothing, Key::Guest(0x01), Key::Nothing, Key::Leave]);
}

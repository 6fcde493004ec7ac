use super::*;

fn taken(bytes: &[u8]) -> Vec<Input> {
    let mut framing = Framing::default();
    bytes.iter().filter_map(|byte| framing.push(*byte)).collect()
}

#[test]
fn packets_come_out_whole() {
    let sent = packet(b"m0,4");
    assert_eq!(sent, b"$m0,4#fd");
    assert_eq!(body(&sent), b"m0,4");
    let stream = [b"+".as_slice(), &sent, b"\x03-", &sent].concat();
    let packet = || Input::Packet(sent.clone());
    assert_eq!(taken(&stream), [packet(), Input::Interrupt, packet()]);
    assert_eq!(taken(&sent[..6]), []);
}

#[test]
fn what_is_damaged_is_not_handed_on() {
    assert_eq!(taken(b"$m0,4#fe"), [Input::Damaged]);
    assert_eq!(taken(b"$m0,4#xy"), [Input::Damaged]);
    assert_eq!(taken(b"$#00"), [Input::Packet(b"$#00".to_vec())]);
    // A packet that was broken off, and another one.
    assert_eq!(taken(b"$m0,$m0,4#fd"), [Input::Packet(b"$m0,4#fd".to_vec())]);
}

#[test]
fn too_much_is_dropped() {
    let long = [b"$".as_slice(), &vec![b'A'; LONGEST], b"#00$?#3f"].concat();
    assert_eq!(taken(&long), [Input::TooLong, Input::Packet(b"$?#3f".to_vec())]);
    assert_eq!(taken(&b"GET / HTTP/1.1\r\n".repeat(300)), [Input::Noise]);
}

#[test]
fn a_line_for_the_console_is_hexadecimal() {
    assert_eq!(console("A"), b"$O410a#45");
}

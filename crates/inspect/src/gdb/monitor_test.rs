use super::*;

#[test]
fn numbers_are_decimal_or_hexadecimal() {
    assert_eq!(
        ["10", "0x10", "0xffff800000000000"].map(number),
        [Some(10), Some(16), Some(0xffff_8000_0000_0000)]
    );
    assert_eq!(["", "0x", "x", "-1", "0x1_0"].map(number), [None; 5]);
}

#[test]
fn registers_are_shown_with_what_segments_hide() {
    let text = registers(1, &X86State::real_at(0xf000, 0xfff0));
    assert!(text.starts_with("vCPU 1, real16\n"), "{text}");
    assert!(text.contains("cs  0xf000  base 0x00000000000f0000"), "{text}");
    let text = registers(0, &X86State::long(0x1000, 0x9000, 0x500));
    for expected in [
        "  dpl 0  code, readable, accessed\n",
        "  dpl 0  data, writable, accessed\n",
        "\ncr0 0x80010031 PE ET NE WP PG\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(!text.contains(['{', '(', '|']), "{text}");
}

#[test]
fn the_next_instruction_is_explained() {
    let memory: vm_memory::GuestMemoryMmap<()> =
        vm_memory::GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    memory.write_slice(b"\x0f\x0b", GuestAddress(0x100)).unwrap();
    let state = X86State::real(0x100);
    let text = next(&View::new(&memory, &state));
    assert!(text.starts_with("0x100: ud2\n  #UD: "), "{text}");
}

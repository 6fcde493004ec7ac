use super::*;

const LINE: &str = "0x00000007 0x01: eax=0x00000001 ebx=0x00000002 ecx=0x00000003 edx=0x00000004";

#[test]
fn a_leaf_is_a_line_of_text_and_back() {
    let leaf: Leaf = LINE.parse().unwrap();
    assert_eq!(leaf, Leaf { function: 7, index: Some(1), eax: 1, ebx: 2, ecx: 3, edx: 4 });
    assert_eq!(leaf.to_string(), LINE);
    assert_eq!(format!("   {LINE}\n").parse(), Ok(leaf));
    let plain: Leaf = LINE.replace("0x00000007 0x01", "0x00000001 0x00").parse().unwrap();
    assert_eq!((plain.function, plain.index), (1, None));
    for wrong in [
        "",
        "CPU 0:",
        "0x1 0x0:",
        &LINE.replace("ebx", "rbx"),
        &LINE.replace("0x01:", "0x01 0x02:"),
        &LINE.replace("0x00000004", "0x100000004"),
        &format!("{LINE} x"),
    ] {
        let said = wrong.parse::<Leaf>().unwrap_err().to_string();
        assert!(said.contains("cpuid --raw"), "{said}");
    }
}

#[test]
fn the_order_of_leaves_does_not_matter() {
    let [a, b, c] = [(7, Some(0)), (7, Some(1)), (1, None)]
        .map(|(function, index)| Leaf { ebx: function + index.unwrap_or(9), ..Leaf::zero(function, index) });
    let sorted = Cpuid::new([c, a, b]);
    assert_eq!(Cpuid::new([b, c, a]), sorted);
    assert_eq!([sorted.get(7, 0), sorted.get(7, 1), sorted.get(1, 5)], [a, b, c]);
    assert_eq!(sorted.get(7, 2), Leaf::zero(7, Some(2)));
    assert_eq!(Cpuid::new([a, Leaf { ebx: 0, ..a }]).leaves(), [a]);
    let mut made = Cpuid::default();
    made.get_mut(7, Some(1)).ebx = 8;
    made.get_mut(7, Some(0)).ebx = 7;
    made.get_mut(1, None).ebx = 10;
    assert_eq!(made, sorted);
}

#[test]
fn the_apic_id_is_in_every_place_that_reports_it() {
    let leaf = |function, index, ebx| Leaf { ebx, ..Leaf::zero(function, index) };
    let cpuid = Cpuid::new([
        leaf(0, None, 7),
        leaf(1, None, 0xffff_ffff),
        leaf(0xb, Some(0), 2),
        leaf(0xb, Some(1), 3),
        leaf(0x8000_001e, None, 0x1ff),
    ]);
    let own = cpuid.for_vcpu(5);
    assert_eq!((own.get(0, 0).ebx, own.get(0, 0).edx), (7, 0));
    assert_eq!(own.get(1, 0).ebx, 0x05ff_ffff);
    assert_eq!((own.get(0xb, 0).edx, own.get(0xb, 1).edx), (5, 5));
    let amd = own.get(0x8000_001e, 0);
    assert_eq!((amd.eax, amd.ebx), (5, 0x102)); // two threads a core: 5 is in core 2
    assert_eq!(cpuid.for_vcpu(0x105).get(1, 0).ebx >> 24, 5);
}

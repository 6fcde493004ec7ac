use strata_cpu::SegmentKind;

use super::*;
use crate::gdb::Layout;

fn cpu(state: &X86State) -> Cpu {
    Cpu { state: *state, fpu: Some(Fxsave::default()), hidden: Some(Hidden::default()) }
}

fn row(layout: Layout, name: &str) -> Row {
    layout.rows().into_iter().find(|row| row.name == name).unwrap()
}

#[test]
fn every_register_takes_what_it_is_given() {
    for layout in [Layout::X86_64, Layout::I386, Layout::I8086] {
        for row in layout.rows() {
            let mut cpu = cpu(&X86State::long(0x1000, 0x2000, 0x3000));
            // Small enough for a selector and for a tag word of full registers.
            let value: Vec<u8> = [0x10].into_iter().chain(std::iter::repeat(0)).take(row.bytes).collect();
            let before = cpu.get(&row).unwrap();
            assert_eq!(before.len(), row.bytes, "{}", row.name);
            cpu.set(&row, &value).unwrap_or_else(|| panic!("{}", row.name));
            let expected = if row.name == "ftag" { 0u32.to_le_bytes().to_vec() } else { value.clone() };
            assert_eq!(cpu.get(&row).unwrap(), expected, "{}", row.name);
            assert_eq!(cpu.set(&row, &value[1..]), None, "{}", row.name);
            cpu.set(&row, &before).unwrap();
        }
    }
}

#[test]
fn empty_fpu_registers_have_tags_of_3() {
    assert_eq!((full_tags(0), full_tags(0xff), full_tags(0x81)), (0xffff, 0, 0x3ffc));
    assert_eq!((abridged_tags(0xffff), abridged_tags(0), abridged_tags(0x3ffc)), (0, 0xff, 0x81));
}

#[test]
fn the_program_counter_is_an_address() {
    let mut cpu = cpu(&X86State::real_at(0x100, 0x20));
    let eip = row(Layout::I8086, "eip");
    assert_eq!(cpu.get(&eip).unwrap(), 0x1020u32.to_le_bytes());
    cpu.set(&eip, &0x1030u32.to_le_bytes()).unwrap();
    assert_eq!(cpu.state.regs.rip, 0x30);
    // A selector has a base in real mode.
    cpu.set(&row(Layout::I8086, "ds"), &0x200u32.to_le_bytes()).unwrap();
    assert_eq!((cpu.state.ds.base, cpu.state.ds.kind), (0x2000, SegmentKind::DATA));
}

#[test]
fn a_32_bit_gdb_changes_half_of_a_register() {
    let mut cpu = cpu(&X86State::long(0, 0, 0));
    cpu.state.regs.rax = 0x1111_2222_3333_4444;
    cpu.set(&row(Layout::I386, "eax"), &5u32.to_le_bytes()).unwrap();
    assert_eq!(cpu.state.regs.rax, 0x1111_2222_0000_0005);
}

#[test]
fn what_a_vcpu_does_not_tell_is_not_made_up() {
    let mut cpu = Cpu { state: X86State::real(0), fpu: None, hidden: None };
    for name in ["st0", "xmm15", "mxcsr", "ftag", "cr8", "k_gs_base"] {
        let row = row(Layout::X86_64, name);
        assert_eq!((cpu.get(&row), cpu.set(&row, &vec![0; row.bytes])), (None, None), "{name}");
    }
}

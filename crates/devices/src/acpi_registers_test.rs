use std::sync::Mutex;

use super::*;
use crate::testing::{Edges, inb};
use crate::{NoIrq, conformance};

fn registers() -> AcpiRegisters {
    AcpiRegisters::new(Arc::new(NoIrq))
}

#[test]
fn of_all_values_only_s5_with_slp_en_switches_off() {
    for value in 0..=u8::MAX {
        let off = value & 0b11_1100 == 0b11_0100;
        let expected = if off { Effect::PowerOff } else { Effect::None };
        assert_eq!(registers().write(0, &[value]), expected, "{value:#010b}");
    }
}

/// The order of ACPICA's `AcpiHwExtendedSleep`: clear `WAK_STS`, sleep, wait for `WAK_STS`.
#[test]
fn a_sleep_that_there_is_not_ends_at_once() {
    let device = &mut registers();
    for _ in 0..2 {
        assert_eq!(device.write(1, &[0x80]), Effect::None);
        assert_eq!(inb(device, 1), 0, "awake, and has not slept");
        assert_eq!(device.write(0, &[0b10_1100]), Effect::None, "S3");
        assert_eq!(inb(device, 1), 0x80);
        assert_eq!(inb(device, 0), 0b1100, "SLP_EN reads as 0");
    }
    let _ = device.write(1, &[0x7f]);
    assert_eq!(inb(device, 1), 0x80, "only a 1 clears it");
}

#[test]
fn of_all_values_one_resets() {
    for value in 0..=u8::MAX {
        let expected = if value == 1 { Effect::Reset } else { Effect::None };
        assert_eq!(registers().write(2, &[value]), expected, "{value:#x}");
    }
    assert_eq!(inb(&mut registers(), 2), 0);
    assert_eq!(registers().write(0, &[0, 0, 1, 0]), Effect::Reset, "of a wide write, the byte that is there");
}

#[test]
fn the_power_button_interrupts_and_is_read_once() {
    let edges = Edges::default();
    let device = &mut AcpiRegisters::new(Arc::new(edges.clone()));
    assert_eq!((inb(device, 3), edges.taken()), (0, 0));

    device.power_button();
    assert_eq!(edges.taken(), 1);
    assert_eq!((inb(device, 3), inb(device, 3)), (1, 0));

    device.power_button();
    device.power_button();
    assert_eq!(edges.taken(), 2, "an edge each: the first may have been lost on a guest that was not ready");
    assert_eq!((inb(device, 3), inb(device, 3)), (1, 0));
}

#[test]
fn events_cannot_be_written() {
    let device = &mut registers();
    device.power_button();
    assert_eq!(device.write(3, &[0xff]), Effect::None);
    assert_eq!(inb(device, 3), 1);
    let _ = device.write(3, &[0xff]);
    assert_eq!(inb(device, 3), 0);
}

#[test]
fn a_press_before_a_save_is_read_after_the_restore_without_another_interrupt() {
    let mut pressed = registers();
    pressed.power_button();
    let edges = Edges::default();
    let mut restored = AcpiRegisters::new(Arc::new(edges.clone()));
    restored.restore(&pressed.save()).unwrap();
    assert_eq!((inb(&mut restored, 3), edges.taken()), (1, 0));
}

#[test]
fn a_restored_sleep_control_register_has_only_its_own_bits() {
    let mut device = registers();
    device.restore(&AcpiRegistersV1 { sleep_control: 0xff, woken: false, events: 0 }).unwrap();
    assert_eq!(inb(&mut device, 0), 0b1_1100);
}

#[test]
fn it_conforms() {
    let pressed = || {
        let mut device = registers();
        device.power_button();
        device
    };
    conformance::check("acpi", AcpiRegisters::LEN, || Mutex::new(pressed())).unwrap();
    conformance::check_saveable("acpi", AcpiRegisters::LEN, pressed).unwrap();
}

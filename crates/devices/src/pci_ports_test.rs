use super::*;
use crate::{conformance, testing::inb};
use std::sync::Mutex;

#[test]
fn the_address_is_kept_and_its_reserved_bits_are_not() {
    let mut ports = PciPorts::default();
    for (written, read) in [(0x8000_0000_u32, 0x8000_0000_u32), (0xffff_ffff, 0x80ff_fffc), (0, 0)] {
        assert_eq!(ports.write(0, &written.to_le_bytes()), Effect::None);
        let mut data = [0; 4];
        ports.read(0, &mut data);
        assert_eq!(u32::from_le_bytes(data), read);
    }
    // Parts of it are other registers, or none.
    assert_eq!(ports.write(0, &[0xff, 0xff]), Effect::None);
    assert_eq!(ports.save().address, 0);
    assert_eq!(inb(&mut ports, 0), 0xff);
}

#[test]
fn there_is_no_device_whatever_the_address() {
    let mut ports = PciPorts::default();
    let _ = ports.write(0, &0x8000_0000_u32.to_le_bytes());
    for width in [1, 2, 4] {
        let mut data = vec![0; width];
        ports.read(4, &mut data);
        assert!(data.iter().all(|byte| *byte == 0xff));
        assert_eq!(ports.write(4, &data), Effect::None);
    }
}

#[test]
fn only_the_reset_bit_resets() {
    for value in 0..=u8::MAX {
        let expected = if value & 4 != 0 { Effect::Reset } else { Effect::None };
        assert_eq!(PciPorts::default().write(1, &[value]), expected, "{value:#x}");
    }
    assert_eq!(PciPorts::default().write(3, &[4]), Effect::None);
}

#[test]
fn it_answers_whatever_a_guest_does() {
    let device = || Mutex::new(PciPorts::default());
    conformance::check("pci", PciPorts::LEN, device).unwrap();
    conformance::check_saveable("pci", PciPorts::LEN, PciPorts::default).unwrap();
}

//! For a VMM with a CPU and memory of its own: `strata-devices` alone, and a device beside it.

use strata_devices::{DeviceMut, Effect, RestoreError, Saveable};

/// Two ports: what is written to the first is added up, the second reads as the sum. 0xff there switches off.
#[derive(Debug, Default)]
pub struct Adder {
    sum: u8,
}

impl DeviceMut for Adder {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (1, Some(first)) = (offset, data.first_mut()) {
            *first = self.sum;
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        match (offset, data) {
            (0, [first, ..]) => self.sum = self.sum.wrapping_add(*first),
            (1, [0xff, ..]) => return Effect::PowerOff,
            _ => {}
        }
        Effect::None
    }
}

impl Saveable for Adder {
    type State = u8;

    fn save(&self) -> u8 {
        self.sum
    }

    fn restore(&mut self, state: &u8) -> Result<(), RestoreError> {
        self.sum = *state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use strata_devices::adapter::VmDevice;
    use strata_devices::vm_device::bus::{PioAddress, PioRange};
    use strata_devices::vm_device::device_manager::{IoManager, PioManager};
    use strata_devices::{AddressSpace, Bus, NoIrq, Serial, conformance};

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_device_of_ones_own_conforms() {
        conformance::check("adder", 2, || Mutex::new(Adder::default())).unwrap();
        conformance::check_saveable("adder", 2, Adder::default).unwrap();
    }

    #[test]
    fn a_serial_port_and_ones_own_device_share_a_bus() {
        let screen = Screen::default();
        let serial = Serial::new(Arc::new(NoIrq), Box::new(screen.clone()));
        let mut ports = Bus::new(AddressSpace::Pio);
        ports.insert(0x3f8, Serial::LEN, "com1", Arc::new(Mutex::new(serial))).unwrap();
        ports.insert(0x500, 2, "adder", Arc::new(Mutex::new(Adder::default()))).unwrap();
        for byte in b"ok" {
            assert_eq!(ports.write(0x3f8, &[*byte]), Effect::None);
            assert_eq!(ports.write(0x500, &[*byte]), Effect::None);
        }
        let (mut sum, mut nobody) = ([0], [0]);
        ports.read(0x501, &mut sum);
        ports.read(0x502, &mut nobody);
        assert_eq!((sum, nobody), ([b'o' + b'k'], [0xff]));
        assert_eq!(*screen.0.lock().unwrap(), b"ok");
        assert_eq!(ports.write(0x501, &[0xff]), Effect::PowerOff);
        let error = ports.insert(0x3fb, 1, "second", Arc::new(Mutex::new(Adder::default()))).unwrap_err();
        assert!(error.to_string().contains("com1"), "{error}");
    }

    #[test]
    fn the_same_device_works_on_rust_vmms_bus() {
        let effects = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&effects);
        let device = Arc::new(Mutex::new(Adder::default()));
        let adapted = VmDevice::new(device, move |effect| seen.lock().unwrap().push(effect));
        let mut manager = IoManager::new();
        manager.register_pio(PioRange::new(PioAddress(0x500), 2).unwrap(), Arc::new(adapted)).unwrap();
        manager.pio_write(PioAddress(0x500), &[7]).unwrap();
        let mut sum = [0];
        manager.pio_read(PioAddress(0x501), &mut sum).unwrap();
        manager.pio_write(PioAddress(0x501), &[0xff]).unwrap();
        assert_eq!((sum, effects.lock().unwrap().as_slice()), ([7], [Effect::PowerOff].as_slice()));
    }
}

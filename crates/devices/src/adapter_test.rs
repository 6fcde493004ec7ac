use std::sync::Mutex;

use vm_device::bus::{MmioRange, PioRange};
use vm_device::device_manager::{IoManager, MmioManager, PioManager};

use super::*;
use crate::{DebugExit, I8042, Stub};

#[test]
fn our_devices_work_on_both_buses_of_an_io_manager() {
    let effects = Arc::new(Mutex::new(Vec::new()));
    let adapted = |device: Arc<dyn Device>| {
        let effects = Arc::clone(&effects);
        Arc::new(VmDevice::new(device, move |effect| effects.lock().unwrap().push(effect)))
    };
    let mut manager = IoManager::new();
    let (i8042, exit) = (adapted(Arc::new(Mutex::new(I8042::new()))), adapted(Arc::new(DebugExit)));
    let stub = adapted(Arc::new(Mutex::new(Stub::new([1, 2]))));
    manager.register_pio(PioRange::new(PioAddress(0x60), 5).unwrap(), i8042).unwrap();
    manager.register_pio(PioRange::new(PioAddress(0xf4), 4).unwrap(), exit.clone()).unwrap();
    manager.register_mmio(MmioRange::new(MmioAddress(0xd000_0000), 0x1000).unwrap(), stub).unwrap();
    manager.register_mmio(MmioRange::new(MmioAddress(0xe000_0000), 4).unwrap(), exit).unwrap();

    let mut data = [0; 1];
    manager.pio_read(PioAddress(0x64), &mut data).unwrap();
    assert_eq!(data, [0x14], "the offset is passed on");
    let mut data = [0; 3];
    manager.mmio_read(MmioAddress(0xd000_0ffd), &mut data).unwrap();
    assert_eq!(data, [1, 2, 0xff]);

    manager.pio_write(PioAddress(0x64), &[0xaa]).unwrap();
    manager.mmio_write(MmioAddress(0xd000_0000), &[0]).unwrap();
    assert_eq!(*effects.lock().unwrap(), [], "nothing is no effect");
    manager.pio_write(PioAddress(0x64), &[0xfe]).unwrap();
    manager.pio_write(PioAddress(0xf4), &[3, 0]).unwrap();
    manager.mmio_write(MmioAddress(0xe000_0000), &[4]).unwrap();
    assert_eq!(*effects.lock().unwrap(), [Effect::Reset, Effect::DebugExit(3), Effect::DebugExit(4)]);
}

#[test]
fn an_adapted_device_conforms() {
    struct Back(VmDevice<fn(Effect)>);
    impl Device for Back {
        fn read(&self, offset: u64, data: &mut [u8]) {
            self.0.mmio_read(MmioAddress(0), offset, data);
        }
        fn write(&self, offset: u64, data: &[u8]) -> Effect {
            self.0.mmio_write(MmioAddress(0), offset, data);
            Effect::None
        }
    }
    let make = || Back(VmDevice::new(Arc::new(Mutex::new(I8042::new())), |_| {}));
    crate::conformance::check("adapted i8042", I8042::LEN, make).unwrap();
}

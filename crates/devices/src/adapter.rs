//! Our devices on rust-vmm's `vm-device` bus.

use std::fmt;
use std::sync::Arc;

use vm_device::bus::{MmioAddress, MmioAddressOffset, PioAddress, PioAddressOffset};
use vm_device::{DeviceMmio, DevicePio};

use crate::{Device, Effect};

/// A [`Device`] that vm-device's `IoManager` takes, on either of its buses.
///
/// `IoManager` has no way to return an [`Effect`], so whoever makes the adapter says where effects go: into a
/// channel, or an atomic that the vCPU's loop looks at after each exit. The function is called on the vCPU's
/// thread, after the device has been unlocked, and never with [`Effect::None`].
///
/// Unlike [`Bus`](crate::Bus), `IoManager` refuses an access that nobody claims or that leaves a device's
/// range, and leaves the data as it was: fill it with 0xff beforehand.
pub struct VmDevice<F> {
    device: Arc<dyn Device>,
    effects: F,
}

impl<F: Fn(Effect) + Send + Sync> VmDevice<F> {
    /// Adapts `device`; `effects` is told what its writes mean for the machine.
    pub fn new(device: Arc<dyn Device>, effects: F) -> Self {
        Self { device, effects }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let effect = self.device.write(offset, data);
        if effect != Effect::None {
            (self.effects)(effect);
        }
    }
}

impl<F: Fn(Effect) + Send + Sync> DevicePio for VmDevice<F> {
    fn pio_read(&self, _: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        self.device.read(offset.into(), data);
    }

    fn pio_write(&self, _: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        self.write(offset.into(), data);
    }
}

impl<F: Fn(Effect) + Send + Sync> DeviceMmio for VmDevice<F> {
    fn mmio_read(&self, _: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        self.device.read(offset, data);
    }

    fn mmio_write(&self, _: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.write(offset, data);
    }
}

impl<F> fmt::Debug for VmDevice<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmDevice").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "adapter_test.rs"]
mod tests;

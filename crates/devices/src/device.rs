//! What a device is.

use std::sync::{Arc, Mutex, PoisonError};

/// A device on a bus, shared by all vCPUs.
///
/// Offsets count from the start of the range that the device was inserted at. A guest can access any offset
/// in any width, aligned or not: a device answers all of them. A read fills the whole of `data`, in memory
/// order; what there is nothing at reads as `0xff` by custom.
pub trait Device: Send + Sync {
    /// The guest reads `data.len()` bytes.
    fn read(&self, offset: u64, data: &mut [u8]);

    /// The guest writes `data`.
    fn write(&self, offset: u64, data: &[u8]) -> Effect;
}

/// A device that wants `&mut self`. In a [`Mutex`] it is a [`Device`], with that one lock.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use strata_devices::{AddressSpace, Bus, DeviceMut, Effect};
///
/// struct Counter(u8);
///
/// impl DeviceMut for Counter {
///     fn read(&mut self, _offset: u64, data: &mut [u8]) {
///         self.0 = self.0.wrapping_add(1);
///         data.fill(self.0);
///     }
///     fn write(&mut self, _offset: u64, _data: &[u8]) -> Effect {
///         Effect::Reset
///     }
/// }
///
/// let mut bus = Bus::new(AddressSpace::Pio);
/// bus.insert(0x10, 1, "counter", Arc::new(Mutex::new(Counter(0))))?;
/// let mut answer = [0];
/// bus.read(0x10, &mut answer);
/// assert_eq!((answer, bus.write(0x10, &[0])), ([1], Effect::Reset));
/// # Ok::<(), strata_devices::BusError>(())
/// ```
pub trait DeviceMut: Send {
    /// As [`Device::read`].
    fn read(&mut self, offset: u64, data: &mut [u8]);

    /// As [`Device::write`].
    fn write(&mut self, offset: u64, data: &[u8]) -> Effect;
}

/// A panic in the device, which poisons the lock, is its own thread's affair; the device stays reachable.
impl<T: DeviceMut + ?Sized> Device for Mutex<T> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        self.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data)
    }
}

impl<T: Device + ?Sized> Device for Arc<T> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        (**self).read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        (**self).write(offset, data)
    }
}

/// What a write means for the whole machine. The VMM acts on it; the device does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[must_use = "a device cannot act on the machine itself: the VMM has to"]
#[non_exhaustive]
pub enum Effect {
    /// Nothing beyond the device.
    #[default]
    None,
    /// The machine is to be switched off.
    PowerOff,
    /// The machine is to be reset.
    Reset,
    /// The guest is done and leaves this value. A process that ran it exits with [`DebugExit::exit_status`].
    ///
    /// [`DebugExit::exit_status`]: crate::DebugExit::exit_status
    DebugExit(u32),
    /// The guest's kernel has panicked and will do nothing more: a stop, with its memory as the panic left it.
    Panicked,
    /// The guest's kernel has panicked and its crash kernel takes over, to save a dump for instance: not a
    /// stop. It is for the VMM to tell its user; the guest ends the run in its own way.
    CrashLoaded,
}

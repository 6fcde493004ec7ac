//! Virtio over MMIO.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vm_memory::GuestAddressSpace;

use super::common::Common;
use super::{Doorbell, Interrupt, InterruptSink, VirtioDevice};
use crate::{DeviceMut, Effect, IrqLine};

/// Offsets of the registers (Virtio 1.2, 4.2.2).
mod register {
    pub(super) const MAGIC_VALUE: u64 = 0x00;
    pub(super) const VERSION: u64 = 0x04;
    pub(super) const DEVICE_ID: u64 = 0x08;
    pub(super) const VENDOR_ID: u64 = 0x0c;
    pub(super) const DEVICE_FEATURES: u64 = 0x10;
    pub(super) const DEVICE_FEATURES_SEL: u64 = 0x14;
    pub(super) const DRIVER_FEATURES: u64 = 0x20;
    pub(super) const DRIVER_FEATURES_SEL: u64 = 0x24;
    pub(super) const QUEUE_SEL: u64 = 0x30;
    pub(super) const QUEUE_NUM_MAX: u64 = 0x34;
    pub(super) const QUEUE_NUM: u64 = 0x38;
    pub(super) const QUEUE_READY: u64 = 0x44;
    pub(super) const QUEUE_NOTIFY: u64 = 0x50;
    pub(super) const INTERRUPT_STATUS: u64 = 0x60;
    pub(super) const INTERRUPT_ACK: u64 = 0x64;
    pub(super) const STATUS: u64 = 0x70;
    /// Three areas, each with a low and a high half, 16 bytes apart.
    pub(super) const QUEUE_AREAS: u64 = 0x80;
    pub(super) const QUEUE_AREAS_LAST: u64 = 0xa4;
    pub(super) const SHM_LEN_LOW: u64 = 0xb0;
    pub(super) const SHM_BASE_HIGH: u64 = 0xbc;
    pub(super) const CONFIG_GENERATION: u64 = 0xfc;
    pub(super) const CONFIG: u64 = 0x100;
}

/// "virt", in memory order.
const MAGIC: u32 = u32::from_le_bytes(*b"virt");
/// Of the register layout: 1 was that before Virtio 1.
const VERSION: u32 = 2;
/// Of the vendor that a driver may show; "STRA", in memory order.
const VENDOR: u32 = u32::from_le_bytes(*b"STRA");

/// Bits of the interrupt status.
const USED_BUFFER: u32 = 1;
const CONFIGURATION_CHANGE: u32 = 2;

/// A virtio device behind memory-mapped registers (Virtio 1.2, 4.2; its version 2, without the legacy
/// interface). Put it on an MMIO bus in a [`Mutex`](std::sync::Mutex).
///
/// All registers are 32 bits wide and take accesses of that width only; the configuration space takes any. The
/// one interrupt is an edge of the line, however many reasons there are for it.
///
/// A guest rings with a write to [`NOTIFY`](Self::NOTIFY). Each such write passes through here and a lock, unless
/// the VMM has the hypervisor ring [`doorbells`](Self::doorbells) by itself: it should.
///
/// A driver that unsets `QueueReady` of a running device is not heeded: queues end with a reset, as Linux has it.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use strata_devices::virtio::{VirtioMmio, rng::Rng, vm_memory::{GuestAddress, GuestMemoryMmap}};
/// use strata_devices::{AddressSpace, Bus, NoIrq};
///
/// let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 64 << 10)])?;
/// let rng = VirtioMmio::new(Rng::new(std::io::repeat(4))?, Arc::new(memory), Arc::new(NoIrq));
/// let mut bus = Bus::new(AddressSpace::Mmio);
/// bus.insert(0xd000_0000, VirtioMmio::LEN, "rng", Arc::new(Mutex::new(rng)))?;
///
/// let mut id = [0; 4];
/// bus.read(0xd000_0008, &mut id);
/// assert_eq!(u32::from_le_bytes(id), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VirtioMmio<D, M> {
    common: Common<D, M>,
    line: Arc<Line>,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
}

impl<D, M> fmt::Debug for VirtioMmio<D, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioMmio").field("interrupt", &self.common.interrupt).finish_non_exhaustive()
    }
}

impl VirtioMmio<(), ()> {
    /// How many bytes of address space it takes: a page.
    pub const LEN: u64 = 0x1000;
    /// The offset of the register that the driver writes a queue's number to, 32 bits, when it has filled it.
    pub const NOTIFY: u64 = register::QUEUE_NOTIFY;
}

impl<M: GuestAddressSpace, D: VirtioDevice<M>> VirtioMmio<D, M> {
    /// Puts the registers before a device that works in `memory` and interrupts by edges of `line`.
    pub fn new(device: D, memory: M, line: Arc<dyn IrqLine>) -> Self {
        let line = Arc::new(Line { status: AtomicU32::new(0), line });
        let interrupt = Interrupt::new(line.clone());
        Self {
            common: Common::new(device, memory, interrupt),
            line,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
        }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.common.device
    }

    /// For each queue what a write of its number to [`NOTIFY`](VirtioMmio::NOTIFY) rings.
    pub fn doorbells(&self) -> &[Doorbell] {
        self.common.device.doorbells()
    }

    fn read_register(&self, offset: u64) -> u32 {
        let queue = || self.common.queue(self.queue_sel as usize);
        match offset {
            register::MAGIC_VALUE => MAGIC,
            register::VERSION => VERSION,
            register::DEVICE_ID => self.common.device.id(),
            register::VENDOR_ID => VENDOR,
            register::DEVICE_FEATURES => half(self.common.offered(), self.device_features_sel),
            // 0 says that there is no such queue.
            register::QUEUE_NUM_MAX => queue().map_or(0, |_| self.common.device.queue_max_size().into()),
            register::QUEUE_READY => queue().is_some_and(|queue| queue.ready).into(),
            register::INTERRUPT_STATUS => self.line.status.load(Ordering::Acquire),
            register::STATUS => self.common.status().into(),
            // All ones say that there is no such region of shared memory.
            register::SHM_LEN_LOW..=register::SHM_BASE_HIGH => u32::MAX,
            register::CONFIG_GENERATION => self.common.interrupt.generation(),
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        let queue = self.queue_sel as usize;
        match offset {
            register::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            register::DRIVER_FEATURES => {
                let sel = self.driver_features_sel;
                self.common.set_driver_features(|features| with_half(features, sel, value));
            }
            register::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            register::QUEUE_SEL => self.queue_sel = value,
            // What does not fit is no power of two either: the queue is found wrong when it is to be used.
            register::QUEUE_NUM => {
                self.common.set_up_queue(queue, |queue| queue.size = u16::try_from(value).unwrap_or(0));
            }
            register::QUEUE_READY => self.common.set_up_queue(queue, |queue| queue.ready = value == 1),
            register::QUEUE_NOTIFY => self.common.notify(value as usize),
            register::INTERRUPT_ACK => {
                self.line.status.fetch_and(!value, Ordering::AcqRel);
            }
            register::STATUS => {
                // Only the low byte is defined; other bits are nothing that a driver can mean.
                let status = value.to_le_bytes()[0];
                self.common.set_status(status);
                if status == 0 {
                    self.reset_registers();
                }
            }
            register::QUEUE_AREAS..=register::QUEUE_AREAS_LAST => {
                let at = offset - register::QUEUE_AREAS;
                let (area, sel) = ((at / 16) as usize, at % 16 / 4);
                self.common.set_up_queue(queue, |queue| {
                    if let Some(area) = queue.areas.get_mut(area) {
                        *area = with_half(*area, u32::try_from(sel).unwrap_or(u32::MAX), value);
                    }
                });
            }
            _ => {}
        }
    }

    fn reset_registers(&mut self) {
        self.line.status.store(0, Ordering::Release);
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.queue_sel = 0;
    }
}

impl<M: GuestAddressSpace + Send, D: VirtioDevice<M>> DeviceMut for VirtioMmio<D, M> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let Some(offset) = offset.checked_sub(register::CONFIG) {
            self.common.device.read_config(offset, data);
        } else if let (0, Ok(data)) = (offset % 4, <&mut [u8; 4]>::try_from(&mut *data)) {
            *data = self.read_register(offset).to_le_bytes();
        } else {
            data.fill(0xff);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if let Some(offset) = offset.checked_sub(register::CONFIG) {
            self.common.device.write_config(offset, data);
        } else if let (0, Ok(data)) = (offset % 4, data.try_into()) {
            self.write_register(offset, u32::from_le_bytes(data));
        }
        Effect::None
    }
}

/// The interrupt status with the line that says that it has changed.
struct Line {
    status: AtomicU32,
    line: Arc<dyn IrqLine>,
}

impl Line {
    fn raise(&self, why: u32) {
        // The bit is there before the driver looks for it.
        self.status.fetch_or(why, Ordering::AcqRel);
        self.line.pulse();
    }
}

impl InterruptSink for Line {
    fn used_buffers(&self, _: u16) {
        self.raise(USED_BUFFER);
    }

    fn configuration_changed(&self) {
        self.raise(CONFIGURATION_CHANGE);
    }
}

/// The half of a value that a selector chooses; there are only two.
fn half(value: u64, sel: u32) -> u32 {
    let shift = if sel == 0 { 0 } else { 32 };
    // It fits: one half is masked off.
    if sel > 1 { 0 } else { u32::try_from(value >> shift & u64::from(u32::MAX)).unwrap_or(0) }
}

/// A value with one half replaced.
fn with_half(value: u64, sel: u32, to: u32) -> u64 {
    match sel {
        0 => value >> 32 << 32 | u64::from(to),
        1 => value << 32 >> 32 | u64::from(to) << 32,
        _ => value,
    }
}

#[cfg(test)]
#[path = "mmio_test.rs"]
mod tests;

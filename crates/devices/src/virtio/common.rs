//! What every transport does: negotiation and the setting up of queues. A transport puts registers before it.

use virtio_queue::{Queue, QueueT as _};
use vm_memory::{GuestAddress, GuestAddressSpace};

use super::{Activation, Interrupt, VirtioDevice, Virtqueue, feature};

/// Bits of the device status (Virtio 1.2, 2.1).
pub(super) mod status {
    pub(crate) const ACKNOWLEDGE: u8 = 1;
    pub(crate) const DRIVER: u8 = 2;
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const DEVICE_NEEDS_RESET: u8 = 64;
    pub(crate) const FAILED: u8 = 128;
    /// Those that a driver sets.
    pub(crate) const OF_DRIVER: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;
}

/// A queue as the driver describes it, before the device has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueSetup {
    pub(super) size: u16,
    pub(super) ready: bool,
    /// Descriptor area, driver area, device area.
    pub(super) areas: [u64; 3],
}

/// The device's part of the conversation by which a driver takes it (Virtio 1.2, 3.1).
#[derive(Debug)]
pub(super) struct Common<D, M> {
    pub(super) device: D,
    pub(super) interrupt: Interrupt,
    memory: M,
    status: u8,
    driver_features: u64,
    queues: Box<[QueueSetup]>,
}

impl<M: GuestAddressSpace, D: VirtioDevice<M>> Common<D, M> {
    pub(super) fn new(device: D, memory: M, interrupt: Interrupt) -> Self {
        let setup = QueueSetup { size: device.queue_max_size(), ready: false, areas: [0; 3] };
        let queues = vec![setup; device.doorbells().len()].into();
        Self { device, interrupt, memory, status: 0, driver_features: 0, queues }
    }

    pub(super) fn offered(&self) -> u64 {
        self.device.features() | feature::OF_RING
    }

    pub(super) fn status(&self) -> u8 {
        if self.interrupt.needs_reset() { self.status | status::DEVICE_NEEDS_RESET } else { self.status }
    }

    /// The driver writes the status: 0 resets; otherwise it may only go on.
    pub(super) fn set_status(&mut self, value: u8) {
        if value == 0 {
            return self.reset();
        }
        let news = value & !self.status & status::OF_DRIVER;
        // The driver MUST NOT clear a bit, and MUST set them in order; what comes too early is not taken.
        for bit in
            [status::ACKNOWLEDGE, status::DRIVER, status::FEATURES_OK, status::DRIVER_OK, status::FAILED]
        {
            if news & bit != 0 && self.may_set(bit) {
                self.status |= bit;
                if bit == status::DRIVER_OK {
                    self.activate();
                }
            }
        }
    }

    fn may_set(&self, bit: u8) -> bool {
        match bit {
            status::DRIVER => self.status & status::ACKNOWLEDGE != 0,
            // Left clear, it says that the features are refused (3.1.1, step 6).
            status::FEATURES_OK => {
                let has_refused = self.driver_features & !self.offered() != 0;
                self.status & status::DRIVER != 0
                    && self.driver_features & feature::VERSION_1 != 0
                    && !has_refused
            }
            status::DRIVER_OK => self.status & status::FEATURES_OK != 0 && self.status & status::FAILED == 0,
            _ => true,
        }
    }

    /// Features are open until they have been agreed on.
    pub(super) fn set_driver_features(&mut self, change: impl FnOnce(u64) -> u64) {
        if self.status & (status::DRIVER | status::FEATURES_OK) == status::DRIVER {
            self.driver_features = change(self.driver_features);
        }
    }

    pub(super) fn queue(&self, index: usize) -> Option<&QueueSetup> {
        self.queues.get(index)
    }

    /// Queues are set up between the agreement on features and `DRIVER_OK`.
    pub(super) fn set_up_queue(&mut self, index: usize, change: impl FnOnce(&mut QueueSetup)) {
        let during = status::FEATURES_OK;
        if self.status & (during | status::DRIVER_OK | status::FAILED) == during
            && let Some(queue) = self.queues.get_mut(index)
        {
            change(queue);
        }
    }

    pub(super) fn notify(&self, queue: usize) {
        if let Some(doorbell) = self.device.doorbells().get(queue) {
            doorbell.ring();
        }
    }

    fn activate(&mut self) {
        let max_size = self.device.queue_max_size();
        let mut queues = Vec::with_capacity(self.queues.len());
        for (index, setup) in (0..).zip(&self.queues) {
            if !setup.ready {
                queues.push(None);
                continue;
            }
            let Some(mut ring) = ring(max_size, setup, &*self.memory.memory()) else {
                self.interrupt
                    .complain(&format_args!("has set up virtqueue {index} outside of RAM, or misaligned"));
                return self.interrupt.set_needs_reset();
            };
            ring.set_event_idx(self.driver_features & feature::EVENT_IDX != 0);
            queues.push(Some(Virtqueue::new(ring, index, self.interrupt.clone())));
        }
        self.device.activate(Activation {
            memory: self.memory.clone(),
            features: self.driver_features,
            queues,
            interrupt: self.interrupt.clone(),
        });
    }

    fn reset(&mut self) {
        self.device.reset();
        self.interrupt.reset();
        self.status = 0;
        self.driver_features = 0;
        let setup = QueueSetup { size: self.device.queue_max_size(), ready: false, areas: [0; 3] };
        self.queues.fill(setup);
    }
}

/// The ring that a driver has described, if it is one: its size a power of two, its areas aligned and in RAM.
fn ring(max_size: u16, setup: &QueueSetup, memory: &impl vm_memory::GuestMemory) -> Option<Queue> {
    let [descriptors, driver, device] = setup.areas.map(GuestAddress);
    let mut ring = Queue::new(max_size).ok()?;
    ring.try_set_size(setup.size).ok()?;
    ring.try_set_desc_table_address(descriptors).ok()?;
    ring.try_set_avail_ring_address(driver).ok()?;
    ring.try_set_used_ring_address(device).ok()?;
    ring.set_ready(true);
    // `virtio-queue` takes an available ring at 0 for one that was never set up.
    (ring.is_valid(memory) && driver.0 != 0).then_some(ring)
}

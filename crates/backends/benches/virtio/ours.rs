//! The devices of `strata-devices`, set up as Linux does it, with a thread for the worker as Strata has it.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps as _};
use strata_backends::disk::{Image, ImageOptions};
use strata_backends::tap::Tap;
use strata_devices::virtio::block::{Block, BlockOptions, feature as block_feature};
use strata_devices::virtio::net::{Mac, Net, NetConfig, feature as net_feature};
use strata_devices::virtio::{VirtioDevice, VirtioMmio, feature};
use strata_devices::{DeviceMut as _, IrqLine};
use vmm_sys_util::eventfd::EventFd;

use crate::Result;
use crate::driver::{Driver, Memory, SIZE, What};
use crate::host::Host;

type Subscriber = Box<dyn MutEventSubscriber + Send>;
type Device = Box<dyn VirtioDevice<Memory>>;

/// An irqfd.
struct Line(EventFd);

impl IrqLine for Line {
    fn pulse(&self) {
        let _ = self.0.write(1);
    }
}

/// What ends the thread.
struct End {
    event: EventFd,
    is_near: AtomicBool,
}

struct Ending(Arc<End>);

impl MutEventSubscriber for Ending {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        ops.add(Events::new(&self.0.event, EventSet::IN)).unwrap();
    }

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {}
}

pub(crate) struct Ours {
    transport: VirtioMmio<Device, Memory>,
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

impl Ours {
    /// Has the driver ring the device's doorbell from now on.
    pub(crate) fn start(driver: &mut Driver<'_>, host: &Host) -> Result<Self> {
        let (device, worker, features) = match driver.what {
            What::Block => block(host)?,
            What::Send | What::Receive => net(host)?,
        };
        let end = Arc::new(End { event: EventFd::new(libc::EFD_NONBLOCK)?, is_near: AtomicBool::new(false) });
        let mut events = EventManager::<Subscriber>::new()?;
        events.add_subscriber(worker);
        events.add_subscriber(Box::new(Ending(Arc::clone(&end))));
        let is_near = Arc::clone(&end);
        let thread = thread::spawn(move || {
            while !is_near.is_near.load(Ordering::Acquire) {
                events.run().unwrap();
            }
        });
        let line = Arc::new(Line(driver.interrupt.try_clone()?));
        let transport = VirtioMmio::new(device, Arc::clone(&driver.memory), line);
        let mut ours = Self { transport, end, thread: Some(thread) };
        ours.take(features, driver.rings());
        let queue = usize::from(driver.what == What::Send);
        driver.doorbell = ours.transport.doorbells()[queue].event().try_clone()?;
        Ok(ours)
    }

    fn set(&mut self, offset: u64, value: u64) {
        let _ = self.transport.write(offset, &(value as u32).to_le_bytes());
    }

    /// Takes the device as a driver does (Virtio 1.2, 3.1.1 and 4.2.2).
    fn take(&mut self, features: u64, rings: &[u64]) {
        for status in [0, 1, 3] {
            self.set(0x70, status);
        }
        for (sel, half) in [(0, features), (1, features >> 32)] {
            self.set(0x24, sel);
            self.set(0x20, half);
        }
        self.set(0x70, 0xb);
        for (index, ring) in (0..).zip(rings) {
            self.set(0x30, index);
            self.set(0x38, SIZE.into());
            for (register, area) in [(0x80, 0), (0x90, 0x1000), (0xa0, 0x2000)] {
                self.set(register, ring + area);
            }
            self.set(0x44, 1);
        }
        self.set(0x70, 0xf);
        let mut status = [0; 4];
        self.transport.read(0x70, &mut status);
        assert_eq!(u32::from_le_bytes(status), 0xf, "the device refuses something");
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.set(0x70, 0);
        self.end.is_near.store(true, Ordering::Release);
        let _ = self.end.event.write(1);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

const OF_LINUX: u64 = feature::VERSION_1 | feature::EVENT_IDX | feature::INDIRECT_DESC;

fn block(host: &Host) -> Result<(Device, Subscriber, u64)> {
    let options = ImageOptions { read_only: true, ..ImageOptions::default() };
    let disks = Image::open(&host.path, &options)?.disks(1)?;
    let block = Block::<Memory, _>::new(disks, BlockOptions::default())?;
    let worker = block.workers().remove(0);
    Ok((Box::new(block), worker, OF_LINUX | block_feature::SEG_MAX | block_feature::RO))
}

fn net(host: &Host) -> Result<(Device, Subscriber, u64)> {
    // SAFETY: the descriptor is open, and the copy is ours.
    let tap = unsafe { OwnedFd::from_raw_fd(libc::dup(host.tap.as_raw_fd())) };
    let net = Net::<Tap, Memory>::new(&NetConfig::new(Mac::local(1)), Tap::from_fds(vec![tap])?)?;
    let worker = net.workers().remove(0);
    Ok((Box::new(net), worker, OF_LINUX | net_feature::MAC | net_feature::MRG_RXBUF))
}

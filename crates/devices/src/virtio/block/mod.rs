//! Disks (Virtio 1.2, 5.2).

mod disk;
mod mover;
mod request;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::fmt;
use std::io;
use std::str::FromStr;

use event_manager::MutEventSubscriber;
use vm_memory::GuestAddressSpace;

use super::device::read_bytes;
use super::rate::{RateLimits, Throttle};
use super::{Activation, Doorbell, Post, VirtioDevice};

pub use disk::{Completion, Disk, MIN_DEPTH, Op, Properties};

use mover::Mover;
use request::{MAX_DISCARD, MAX_ZEROES, SECTOR};

/// Features of a block device (Virtio 1.2, 5.2.3).
pub mod feature {
    /// `seg_max` says how many segments a request may have.
    pub const SEG_MAX: u64 = 1 << 2;
    /// Nothing can be written.
    pub const RO: u64 = 1 << 5;
    /// `blk_size` says what to read and write multiples of.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// There is a cache, which can be flushed.
    pub const FLUSH: u64 = 1 << 9;
    /// `topology` says what is best to write at once.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// There are several queues.
    pub const MQ: u64 = 1 << 12;
    /// Ranges can be forgotten.
    pub const DISCARD: u64 = 1 << 13;
    /// Ranges can be filled with zeros.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// The most segments of a request: with its header and its status they fill a ring of 64.
const SEG_MAX: u32 = 62;

/// What identifies a disk to the guest: up to 20 ASCII characters, which Linux shows in `/sys/block/vda/serial`, and udev
/// in `/dev/disk/by-id/virtio-*`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Serial([u8; 20]);

impl Serial {
    /// As it is sent, with zeros behind it.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0).trim_end_matches('\0').escape_debug())
    }
}

/// Why something is no [`Serial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a disk's serial number has at most 20 printable ASCII characters")]
pub struct SerialError;

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(serial: &str) -> Result<Self, SerialError> {
        let mut bytes = [0; 20];
        let place = bytes.get_mut(..serial.len()).ok_or(SerialError)?;
        if !serial.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(SerialError);
        }
        place.copy_from_slice(serial.as_bytes());
        Ok(Self(bytes))
    }
}

/// What a block device has besides its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockOptions {
    /// Its serial number.
    pub serial: Serial,
    /// How much the guest may do, over all queues. Bytes are those that are read and written; every request is an
    /// operation.
    pub limits: RateLimits,
}

/// A block device: a disk for the guest, in one or more queues, each with a worker and a [`Disk`] of its own.
///
/// At most [`Disk::depth`] operations of a queue are in flight; requests beyond that stay in the ring. Requests complete
/// in any order, which is what drivers expect.
///
/// Where the driver does not use [`FLUSH`](feature::FLUSH) though it was offered, every write is durable when it is
/// complete (5.2.6.2).
///
/// ```
/// use strata_devices::virtio::block::{Block, BlockOptions, testing::TestDisk};
/// use strata_devices::virtio::testing::Bench;
///
/// let disk = TestDisk::new(vec![7; 4096]);
/// let block = Block::new(vec![disk], BlockOptions { serial: "root".parse()?, ..BlockOptions::default() })?;
/// let workers = block.workers(); // Each can have a thread of its own.
/// let mut bench = Bench::new(block, workers);
/// assert_eq!(bench.config(0), 8_u64.to_le_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Block<M: GuestAddressSpace, D> {
    posts: Vec<Post<Mover<M, D>>>,
    doorbells: Vec<Doorbell>,
    properties: Properties,
}

impl<M: GuestAddressSpace, D> fmt::Debug for Block<M, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("properties", &self.properties).finish_non_exhaustive()
    }
}

impl<M: GuestAddressSpace + Send + 'static, D: Disk<M::T> + 'static> Block<M, D> {
    /// A device with a queue for each of `disks`, which are all the same disk.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is no disk, or more than a device can have queues, or one that takes fewer operations at
    /// once than [`MIN_DEPTH`]; otherwise what `eventfd(2)` or
    /// `timerfd_create(2)` answered.
    pub fn new(disks: Vec<D>, options: BlockOptions) -> io::Result<Self> {
        let properties = disks.first().ok_or(io::ErrorKind::InvalidInput)?.properties();
        if disks.len() > u16::MAX.into() || disks.iter().any(|disk| disk.depth() < MIN_DEPTH) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let doorbells = Doorbell::several(disks.len())?;
        let throttle = Throttle::new(options.limits)?;
        let posts = disks
            .into_iter()
            .zip(&doorbells)
            .map(|(disk, bell)| Post::new(Mover::new(disk, bell.clone(), throttle.share()?, options.serial)))
            .collect::<io::Result<_>>()?;
        Ok(Self { posts, doorbells, properties })
    }

    /// What does its work, a worker for each queue.
    pub fn workers(&self) -> Vec<Box<dyn MutEventSubscriber + Send>> {
        let worker = |(post, bell): (&Post<_>, &Doorbell)| post.subscriber(std::slice::from_ref(bell));
        self.posts.iter().zip(&self.doorbells).map(worker).collect()
    }
}

impl<M: GuestAddressSpace, D> Block<M, D> {
    /// The configuration space (5.2.4).
    fn config(&self) -> [u8; 60] {
        let Properties { len, block_size, physical_block_size, discard_granularity, .. } = self.properties;
        let exponent = (physical_block_size / block_size.max(1)).checked_ilog2().unwrap_or(0);
        let in_blocks = u16::try_from(1_u32 << exponent).unwrap_or(1);
        let granularity = u32::try_from(u64::from(discard_granularity.unwrap_or(0)) / SECTOR).unwrap_or(0);
        let mut space = [0; 60];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in space.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        put(0, &(len / SECTOR).to_le_bytes());
        put(12, &SEG_MAX.to_le_bytes());
        put(20, &block_size.to_le_bytes());
        // Topology: log2 of physical by logical block, alignment, smallest and best size in logical blocks (0: unknown).
        put(24, &exponent.to_le_bytes()[..1]);
        put(26, &in_blocks.to_le_bytes());
        put(34, &u16::try_from(self.doorbells.len()).unwrap_or(u16::MAX).to_le_bytes());
        put(36, &MAX_DISCARD.to_le_bytes());
        put(40, &u32::from(MIN_DEPTH).to_le_bytes());
        put(44, &granularity.max(1).to_le_bytes());
        put(48, &MAX_ZEROES.to_le_bytes());
        put(52, &u32::from(MIN_DEPTH).to_le_bytes());
        put(56, &[1]);
        space
    }
}

impl<M: GuestAddressSpace + Send + 'static, D: Disk<M::T> + 'static> VirtioDevice<M> for Block<M, D> {
    fn id(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        let Properties { read_only, has_cache, discard_granularity, writes_zeros, .. } = self.properties;
        let optional = [
            (read_only, feature::RO),
            (has_cache && !read_only, feature::FLUSH),
            (self.doorbells.len() > 1, feature::MQ),
            (discard_granularity.is_some() && !read_only, feature::DISCARD),
            (writes_zeros && !read_only, feature::WRITE_ZEROES),
        ];
        let always = feature::SEG_MAX | feature::BLK_SIZE | feature::TOPOLOGY;
        optional.iter().filter(|(has, _)| *has).fold(always, |all, (_, feature)| all | feature)
    }

    fn doorbells(&self) -> &[Doorbell] {
        &self.doorbells
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_bytes(&self.config(), offset, data);
    }

    fn activate(&mut self, activation: Activation<M>) {
        let Activation { memory, features, queues, .. } = activation;
        for (post, queue) in self.posts.iter().zip(queues) {
            if let Some(queue) = queue {
                post.lock().activate(memory.clone(), queue, features);
                post.call();
            }
        }
    }

    fn reset(&mut self) {
        for post in &self.posts {
            post.lock().reset();
        }
    }
}

#[cfg(test)]
#[path = "model_test.rs"]
mod model;
#[cfg(test)]
#[path = "support_test.rs"]
mod support;
#[cfg(test)]
#[path = "block_test.rs"]
mod tests;

//! The device.

use std::fmt;
use std::io;
use std::sync::Arc;

use event_manager::MutEventSubscriber;
use vm_memory::GuestAddressSpace;

use super::super::device::read_bytes;
use super::super::rate::{RateLimits, Throttle};
use super::super::{Activation, Doorbell, Post, VirtioDevice};
use super::pair::{Bells, Link, Pair, Start};
use super::{Counts, Mac, NetBackend, feature};

/// How many pairs of queues a device may have here. The specification has 32,768; more than vCPUs are of no use.
const MOST_PAIRS: usize = 64;

/// Bit of the configuration's status (Virtio 1.2, 5.1.4).
const LINK_UP: u16 = 1;

/// What a network device is like, apart from its back ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetConfig {
    /// The guest's address.
    pub mac: Mac,
    /// Limits of what the guest receives, over all pairs. A packet is paid for when it has come, and then holds up the next.
    pub receive_limits: RateLimits,
    /// Limits of what it sends, over all pairs.
    pub send_limits: RateLimits,
}

impl NetConfig {
    /// Without limits.
    pub fn new(mac: Mac) -> Self {
        Self { mac, receive_limits: RateLimits::default(), send_limits: RateLimits::default() }
    }
}

/// Why there is no network device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// There are no back ends, or too many.
    #[error("a network device has 1 to {MOST_PAIRS} pairs of queues, not {0}")]
    Pairs(usize),
    /// The process or the system has no more descriptors.
    #[error("a network device has no eventfd or timer: {0}")]
    Descriptors(io::Error),
}

/// A network card: see the [module](super).
///
/// It offers `MAC`, `STATUS`, `MRG_RXBUF`, and as its back ends can: `MTU`, the offloads, and with several of them `MQ` and
/// `CTRL_VQ`. On the control queue it knows `VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET` and answers others with `VIRTIO_NET_ERR`.
pub struct Net<B, M> {
    pairs: Vec<Post<Pair<B, M>>>,
    doorbells: Vec<Doorbell>,
    link: Arc<Link>,
    features: u64,
    mac: Mac,
    mtu: u16,
}

impl<B, M> fmt::Debug for Net<B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("mac", &self.mac)
            .field("pairs", &self.pairs.len())
            .finish_non_exhaustive()
    }
}

impl<B: NetBackend, M: GuestAddressSpace + Send + 'static> Net<B, M> {
    /// A device with a pair of queues for each back end; they are of one link. What the first one can do they can all.
    ///
    /// # Errors
    ///
    /// See [`NetError`].
    pub fn new(config: &NetConfig, backends: Vec<B>) -> Result<Self, NetError> {
        let count = backends.len();
        let Some(first) = backends.first().filter(|_| count <= MOST_PAIRS) else {
            return Err(NetError::Pairs(count));
        };
        let mtu = first.mtu().filter(|&mtu| mtu >= 68);
        let mut features =
            feature::MAC | feature::STATUS | feature::MRG_RXBUF | first.offloads() & feature::OFFLOADS;
        features |= mtu.map_or(0, |_| feature::MTU);
        features |= if count > 1 { feature::MQ | feature::CTRL_VQ } else { 0 };
        let link = Link::new();
        let (pairs, doorbells) = pairs(config, backends, &link).map_err(NetError::Descriptors)?;
        let features = feature::with_all_they_need(features);
        Ok(Self { pairs, doorbells, link, features, mac: config.mac, mtu: mtu.unwrap_or(0) })
    }

    /// What does its work, for event loops: one for each pair.
    pub fn workers(&self) -> Vec<Box<dyn MutEventSubscriber + Send>> {
        let (queues, control) = self.doorbells.split_at(2 * self.pairs.len());
        let workers = self.pairs.iter().zip(queues.chunks(2)).enumerate();
        workers
            .map(|(number, (pair, bells))| match number {
                0 => pair.subscriber(&[bells, control].concat()),
                _ => pair.subscriber(bells),
            })
            .collect()
    }

    /// What has passed and what has not.
    pub fn counts(&self) -> Counts {
        let each = self.pairs.iter().map(|pair| pair.lock().counts());
        each.fold(Counts::default(), |sum, one| Counts {
            received: sum.received + one.received,
            not_received: sum.not_received + one.not_received,
            sent: sum.sent + one.sent,
            not_sent: sum.not_sent + one.not_sent,
        })
    }

    /// Whether the link is up.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Looks at the back end of the first pair.
    pub fn with_backend<T>(&self, look: impl FnOnce(&B) -> T) -> Option<T> {
        self.pairs.first().map(|pair| look(pair.lock().backend()))
    }
}

type Pairs<B, M> = Vec<Post<Pair<B, M>>>;

/// The workers, and a doorbell for each queue: receive and transmit of each pair, then control if there are several.
fn pairs<B: NetBackend, M: GuestAddressSpace + Send + 'static>(
    config: &NetConfig,
    backends: Vec<B>,
    link: &Arc<Link>,
) -> io::Result<(Pairs<B, M>, Vec<Doorbell>)> {
    let count = backends.len();
    let doorbells = Doorbell::several(if count > 1 { 2 * count + 1 } else { 2 })?;
    let (of_queues, control) = doorbells.split_at(2 * count);
    let throttles = [Throttle::new(config.receive_limits)?, Throttle::new(config.send_limits)?];
    let mut pairs = Vec::with_capacity(count);
    // From the last to the first, which knows the others.
    for (backend, bells) in backends.into_iter().zip(of_queues.chunks(2)).rev() {
        let [receive, transmit] = bells else { continue };
        let bells =
            Bells { receive: receive.clone(), transmit: transmit.clone(), control: control.first().cloned() };
        let [receiving, transmitting] = &throttles;
        let throttles = [receiving.share()?, transmitting.share()?];
        let others =
            if pairs.len() + 1 == count { pairs.iter().rev().cloned().collect() } else { Vec::new() };
        pairs.push(Post::new(Pair::new(backend, Arc::clone(link), throttles, bells, others))?);
    }
    pairs.reverse();
    Ok((pairs, doorbells))
}

impl<B: NetBackend, M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for Net<B, M> {
    fn id(&self) -> u32 {
        1
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn doorbells(&self) -> &[Doorbell] {
        &self.doorbells
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let status: u16 = if self.link.is_up() { LINK_UP } else { 0 };
        let pairs = u16::try_from(self.pairs.len()).unwrap_or(1);
        let mut space = [0; 12];
        let numbers = [status, pairs, self.mtu].into_iter().flat_map(u16::to_le_bytes);
        for (to, from) in space.iter_mut().zip(self.mac.bytes().into_iter().chain(numbers)) {
            *to = from;
        }
        read_bytes(&space, offset, data);
    }

    fn activate(&mut self, activation: Activation<M>) {
        let features = feature::with_all_they_need(activation.features);
        let Activation { memory, mut queues, interrupt, .. } = activation;
        let mut take = |index: usize| queues.get_mut(index).and_then(Option::take);
        let has_several = features & feature::MQ != 0;
        // Its place depends on what the driver wants (5.1.2).
        let control_at = if has_several { 2 * self.pairs.len() } else { 2 };
        let most = if has_several { u16::try_from(self.pairs.len()).unwrap_or(1) } else { 1 };
        let mut control =
            if features & feature::CTRL_VQ != 0 { take(control_at).map(|queue| (queue, most)) } else { None };
        // The first one last: a command on its control queue switches the others.
        for (number, pair) in self.pairs.iter().enumerate().rev() {
            let mut take = |index| if number == 0 || has_several { take(index) } else { None };
            let start = Start {
                memory: memory.clone(),
                features,
                interrupt: interrupt.clone(),
                receive: take(2 * number),
                transmit: take(2 * number + 1),
                control: if number == 0 { control.take() } else { None },
            };
            pair.lock().start(start, number == 0);
            pair.call();
        }
    }

    fn reset(&mut self) {
        for pair in &self.pairs {
            pair.lock().stop();
        }
    }
}

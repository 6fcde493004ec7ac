//! From the guest to the host.

use std::io;

use vm_memory::{GuestMemory, Permissions};

use super::super::rate::Throttle;
use super::super::{Chain, Virtqueue};
use super::{HEADER, LONGEST, LinkError, NetBackend};

/// One direction of a pair.
#[derive(Debug)]
pub(super) struct Transmitter {
    pub(super) queue: Option<Virtqueue>,
    chain: Chain,
    throttle: Throttle,
    /// The packet at hand has been paid for and could not be sent yet.
    paid: bool,
    /// The link was not ready.
    pub(super) blocked: bool,
    complained: bool,
    pub(super) passed: u64,
    pub(super) dropped: u64,
}

impl Transmitter {
    pub(super) fn new(throttle: Throttle) -> Self {
        Self {
            queue: None,
            chain: Chain::new(),
            throttle,
            paid: false,
            blocked: false,
            complained: false,
            passed: 0,
            dropped: 0,
        }
    }

    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    pub(super) fn set_queue(&mut self, queue: Option<Virtqueue>) {
        self.queue = queue;
        (self.paid, self.blocked) = (false, false);
    }

    /// Sends what there is, at most a ring's worth; `Ok(true)` if there is more. Without a link everything is dropped.
    ///
    /// # Errors
    ///
    /// The link is lost.
    pub(super) fn transmit<M: GuestMemory, B: NetBackend>(
        &mut self,
        memory: &M,
        mut link: Option<&mut B>,
    ) -> io::Result<bool> {
        let Self { queue: Some(queue), chain, throttle, paid, blocked, complained, passed, dropped } = self
        else {
            return Ok(false);
        };
        let mut lost = None;
        let more = queue.serve(memory, chain, |queue, chain| {
            let packet = chain.readable();
            let is_packet = (HEADER as u64..=LONGEST as u64).contains(&packet.len());
            let sent = match link.as_deref_mut().filter(|_| is_packet) {
                None => false,
                Some(_) if !*paid && !throttle.take(packet.len()) => return false,
                Some(link) => match link.send(packet.slices(memory, Permissions::Read)) {
                    Ok(()) => true,
                    Err(LinkError::NotReady) => {
                        (*paid, *blocked) = (true, true);
                        return false;
                    }
                    Err(LinkError::Packet(error)) => {
                        if !std::mem::replace(complained, true) {
                            log::warn!("the host does not take a packet of the guest's: {error}");
                        }
                        false
                    }
                    Err(LinkError::Lost(error)) => {
                        lost = Some(error);
                        false
                    }
                },
            };
            if lost.is_some() {
                link = None;
            }
            *paid = false;
            *(if sent { &mut *passed } else { &mut *dropped }) += 1;
            queue.push(memory, chain.head(), 0);
            true
        });
        // What is left goes before everything else, and nothing else may come that has it go.
        *blocked |= link.is_some_and(|link| link.has_unsent());
        queue.signal(memory);
        lost.map_or(Ok(more), Err)
    }
}

//! A wire whose other end is a test's.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};

use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{LinkError, NetBackend};

/// A back end that does what a test says. Clones are the same, so that a test can hold one.
#[derive(Debug, Clone)]
pub struct Wire {
    script: Arc<Mutex<Script>>,
    event: Arc<EventFd>,
}

/// What the wire does, and what it has seen.
#[derive(Debug, Default)]
pub struct Script {
    /// What it offers.
    pub offloads: u64,
    /// The MTU that it knows.
    pub mtu: Option<u16>,
    /// Packets to come, with their headers.
    pub incoming: VecDeque<Vec<u8>>,
    /// Packets that were sent.
    pub sent: Vec<Vec<u8>>,
    /// For how many packets more there is room, if that is limited.
    pub room: Option<usize>,
    /// Packets to be sent are refused.
    pub refuses: bool,
    /// The next packet to be received is lost.
    pub garbles: bool,
    /// The link is lost.
    pub is_lost: bool,
    /// The offloads that were set last.
    pub offloads_set: Option<u64>,
    /// Whether the pair was switched on or off, last.
    pub enabled: Option<bool>,
    /// How often it was asked for packets.
    pub calls: usize,
    /// How much room the last packet found, in bytes: in buffers, and behind them.
    pub offered: (usize, usize),
    /// How many bytes have come to lie behind the buffers.
    pub spilled: usize,
}

impl Wire {
    /// One that passes everything.
    ///
    /// # Errors
    ///
    /// What `eventfd(2)` answered.
    pub fn new() -> io::Result<Self> {
        Ok(Self { script: Arc::default(), event: Arc::new(EventFd::new(EFD_NONBLOCK)?) })
    }

    /// Looks at the script, or changes it.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Makes an edge, as a descriptor does when something has come or there is room again.
    pub fn ready(&self) {
        self.event.write(1).unwrap();
    }

    /// Has a packet come.
    pub fn put(&self, packet: impl Into<Vec<u8>>) {
        self.script().incoming.push_back(packet.into());
        self.ready();
    }

    /// The packets that were sent since the last time.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.script().sent)
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

fn gone() -> LinkError {
    LinkError::Lost(io::ErrorKind::BrokenPipe.into())
}

impl NetBackend for Wire {
    fn offloads(&self) -> u64 {
        self.script().offloads
    }

    fn mtu(&self) -> Option<u16> {
        self.script().mtu
    }

    fn set_offloads(&mut self, features: u64) -> io::Result<()> {
        self.script().offloads_set = Some(features);
        Ok(())
    }

    fn set_enabled(&mut self, enabled: bool) -> io::Result<()> {
        self.script().enabled = Some(enabled);
        Ok(())
    }

    fn send<'m, B: BitmapSlice>(
        &mut self,
        packet: impl Iterator<Item = VolatileSlice<'m, B>>,
    ) -> Result<(), LinkError> {
        let mut script = self.script();
        if script.is_lost {
            return Err(gone());
        }
        if script.refuses {
            return Err(LinkError::Packet(io::ErrorKind::InvalidInput.into()));
        }
        if script.room == Some(0) {
            return Err(LinkError::NotReady);
        }
        script.room = script.room.map(|room| room - 1);
        let mut bytes = Vec::new();
        for slice in packet {
            let at = bytes.len();
            bytes.resize(at + slice.len(), 0);
            slice.copy_to(bytes.split_at_mut(at).1);
        }
        script.sent.push(bytes);
        Ok(())
    }

    fn receive<'m, B: BitmapSlice>(
        &mut self,
        into: impl Iterator<Item = VolatileSlice<'m, B>>,
        spill: &mut [u8],
    ) -> Result<usize, LinkError> {
        let mut script = self.script();
        script.calls += 1;
        if script.is_lost {
            return Err(gone());
        }
        let packet = script.incoming.pop_front();
        if script.incoming.is_empty() {
            // It is readable as long as there is something.
            let _ = self.event.read();
        }
        let packet = packet.ok_or(LinkError::NotReady)?;
        if std::mem::take(&mut script.garbles) {
            return Err(LinkError::Packet(io::ErrorKind::InvalidData.into()));
        }
        let mut rest = packet.as_slice();
        script.offered = (0, spill.len());
        for slice in into {
            script.offered.0 += slice.len();
            let here = rest.len().min(slice.len());
            let (now, later) = rest.split_at(here);
            slice.copy_from(now);
            rest = later;
        }
        script.spilled += rest.len();
        for (to, from) in spill.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(packet.len())
    }
}

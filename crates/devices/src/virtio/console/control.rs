//! Messages about ports (Virtio 1.2, 5.3.6.2).

use std::sync::atomic::Ordering;

use vm_memory::GuestMemory;

use super::port::PortState;
use super::{MAX_NAME, Sizes};
use crate::virtio::{Chain, Virtqueue};

/// A port's number, an event, a value.
pub(super) const HEADER: usize = 8;

/// Events.
mod event {
    pub(super) const DEVICE_READY: u16 = 0;
    pub(super) const PORT_ADD: u16 = 1;
    pub(super) const PORT_READY: u16 = 3;
    pub(super) const CONSOLE_PORT: u16 = 4;
    pub(super) const RESIZE: u16 = 5;
    pub(super) const PORT_OPEN: u16 = 6;
    pub(super) const PORT_NAME: u16 = 7;
}

/// What the driver is still to be told of a port. Each is told as it is then, so there is never more than one of a kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct News {
    stage: Stage,
    /// What it was told last.
    told_open: bool,
    /// What it was told last; 0 at first.
    told_size: u32,
}

/// How far the driver has come with a port.
#[derive(Debug, Clone, Copy, Default)]
enum Stage {
    /// It knows of none, or sets one up.
    #[default]
    Silent,
    /// It is to hear that there is one.
    Add,
    /// It has one, and is to hear what kind.
    Introduce,
    /// It is to hear what changes.
    Follow,
}

/// A driver's message about `ports`.
pub(super) fn receive(message: [u8; HEADER], ports: &mut [PortState]) {
    let message = u64::from_le_bytes(message);
    // A number of 32 bits, an event and a value of 16.
    let event = u16::try_from(message >> 32 & 0xffff).unwrap_or(u16::MAX);
    let is_1 = message >> 48 == 1;
    let stage_if_1 = |stage| if is_1 { stage } else { Stage::Silent };
    if event == event::DEVICE_READY {
        // With 0 it says that it cannot go on.
        return ports.iter_mut().for_each(|port| port.news.stage = stage_if_1(Stage::Add));
    }
    let number = usize::try_from(message & 0xffff_ffff);
    let Some(port) = number.ok().and_then(|number| ports.get_mut(number)) else { return };
    match event {
        event::PORT_READY => {
            port.news = News { stage: stage_if_1(Stage::Introduce), ..News::default() };
        }
        event::PORT_OPEN => port.is_open_in_guest = is_1,
        _ => {}
    }
}

/// A message to the driver.
struct Message {
    bytes: [u8; HEADER + MAX_NAME],
    len: usize,
}

impl Message {
    fn new(port: usize, event: u16, value: u16, more: &[u8]) -> Self {
        let mut message = Self { bytes: [0; HEADER + MAX_NAME], len: 0 };
        let port = u32::try_from(port).unwrap_or(0).to_le_bytes();
        for byte in port.iter().chain(&event.to_le_bytes()).chain(&value.to_le_bytes()).chain(more) {
            if let Some(to) = message.bytes.get_mut(message.len) {
                (*to, message.len) = (*byte, message.len + 1);
            }
        }
        message
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The next thing to say of port `number`, and how it stands when that has been said.
fn next(number: usize, port: &PortState, size: u32) -> Option<(Message, News)> {
    let news = port.news;
    let is_open = port.host.is_open();
    Some(match news.stage {
        Stage::Add => (Message::new(number, event::PORT_ADD, 1, &[]), News { stage: Stage::Silent, ..news }),
        Stage::Introduce => {
            let message = match &port.name {
                None => Message::new(number, event::CONSOLE_PORT, 1, &[]),
                Some(name) => Message::new(number, event::PORT_NAME, 1, name.as_bytes()),
            };
            (message, News { stage: Stage::Follow, ..news })
        }
        Stage::Follow if is_open != news.told_open => {
            let message = Message::new(number, event::PORT_OPEN, is_open.into(), &[]);
            (message, News { told_open: is_open, ..news })
        }
        Stage::Follow if size != news.told_size && port.is_console() => {
            // Columns, then rows, as they are in the low and the high half: the order of the specification.
            let message = Message::new(number, event::RESIZE, 0, &size.to_le_bytes());
            (message, News { told_size: size, ..news })
        }
        Stage::Silent | Stage::Follow => return None,
    })
}

/// Sends what there is to be said, as far as the driver has room for it; gives whether to come back for more.
pub(super) fn send<M: GuestMemory>(
    queue: &mut Virtqueue,
    memory: &M,
    chain: &mut Chain,
    ports: &mut [PortState],
    sizes: &Sizes,
) -> bool {
    let mut left = queue.size();
    for ((number, port), size) in ports.iter_mut().enumerate().zip(sizes.iter()) {
        while let Some((message, news)) = next(number, port, size.load(Ordering::Relaxed)) {
            if left == 0 {
                queue.signal(memory);
                return true;
            }
            if queue.pop(memory, chain) {
                left -= 1;
                let room = chain.writable();
                // What has no room for it comes back empty, and the next one is tried.
                let has_room = room.len() >= message.len as u64;
                let written = if has_room { room.write(memory, message.bytes()) } else { 0 };
                queue.push(memory, chain.head(), u32::try_from(written).unwrap_or(0));
                if has_room {
                    port.news = news;
                }
            } else if !queue.rearm(memory) {
                queue.signal(memory);
                return false;
            }
        }
    }
    queue.signal(memory);
    false
}

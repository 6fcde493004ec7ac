//! One port: its state, and the data that goes through it.

use std::io;

use vm_memory::GuestMemory;

use super::control::News;
use super::{HostSide, Port};
use crate::virtio::{Chain, Virtqueue};

/// How much is written to the host at a time, over all requests.
const MOST: usize = 256 << 10;
/// How often an interrupted call is made again.
const ATTEMPTS: usize = 8;

/// A port, and what it has come to with the driver.
pub(super) struct PortState {
    pub(super) host: Box<dyn HostSide>,
    /// `None` for a console.
    pub(super) name: Option<String>,
    pub(super) input_queue: Option<Virtqueue>,
    pub(super) output_queue: Option<Virtqueue>,
    /// How many bytes of the first request from the guest the host has.
    done: u64,
    warned: bool,
    /// Whether a program of the guest's has it open.
    pub(super) is_open_in_guest: bool,
    /// What is to be said of it: see [`control`](super::control).
    pub(super) news: News,
}

impl PortState {
    pub(super) fn new(port: Port) -> Self {
        Self {
            host: port.host,
            name: port.name,
            input_queue: None,
            output_queue: None,
            done: 0,
            warned: false,
            is_open_in_guest: false,
            news: News::default(),
        }
    }

    pub(super) fn is_console(&self) -> bool {
        self.name.is_none()
    }

    /// Work begins, with these queues.
    pub(super) fn activate(&mut self, [input_queue, output_queue]: [Option<Virtqueue>; 2], is_open: bool) {
        (self.input_queue, self.output_queue) = (input_queue, output_queue);
        (self.done, self.is_open_in_guest) = (0, is_open);
        self.news = News::default();
    }

    /// Gives up the queues. What the host has sent and the guest has not taken is for the next driver.
    pub(super) fn deactivate(&mut self) {
        (self.input_queue, self.output_queue) = (None, None);
    }

    /// Passes on what the guest has sent, as much as the host's side takes; gives whether to come back for more.
    pub(super) fn output<M: GuestMemory>(
        &mut self,
        memory: &M,
        chain: &mut Chain,
        buffer: &mut [u8],
    ) -> bool {
        let is_console = self.is_console();
        let Self { host, output_queue: Some(queue), done, warned, .. } = self else { return false };
        let mut left = MOST;
        let mut unfinished = false;
        let more = queue.serve(memory, chain, |queue, chain| {
            loop {
                let rest = chain.readable().split_at(*done).1;
                let is_open = host.is_open();
                if rest.is_empty() || !is_open && is_console {
                    break;
                }
                unfinished = is_open && left == 0;
                if !is_open || unfinished {
                    return false;
                }
                let len = rest.read(memory, buffer);
                match write(&mut **host, buffer.get(..len).unwrap_or_default()) {
                    Ok(taken) => {
                        *done += taken.min(len) as u64;
                        left = left.saturating_sub(taken);
                    }
                    // Whoever was there may have gone just now.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if host.is_open() {
                            return false;
                        }
                    }
                    Err(error) => {
                        warn(warned, "what the guest prints cannot be written", &error);
                        break;
                    }
                }
            }
            *done = 0;
            queue.push(memory, chain.head(), 0);
            true
        });
        queue.signal(memory);
        more || unfinished
    }

    /// Passes on what the host has sent, as much as the guest has room for; gives whether to come back for more.
    pub(super) fn input<M: GuestMemory>(&mut self, memory: &M, chain: &mut Chain, buffer: &mut [u8]) -> bool {
        let Self { host, input_queue: Some(queue), warned, is_open_in_guest: true, .. } = self else {
            return false;
        };
        let more = queue.serve(memory, chain, |queue, chain| {
            let room = chain.writable();
            let len = usize::try_from(room.len()).unwrap_or(usize::MAX).min(buffer.len());
            let mut written = 0;
            if let Some(buffer @ [_, ..]) = buffer.get_mut(..len) {
                match read(&mut **host, buffer) {
                    Ok(0) => return false,
                    Ok(got) => written = room.write(memory, buffer.get(..got).unwrap_or_default()),
                    Err(error) => {
                        if error.kind() != io::ErrorKind::WouldBlock {
                            warn(warned, "what is sent to the guest cannot be read", &error);
                        }
                        return false;
                    }
                }
            }
            queue.push(memory, chain.head(), u32::try_from(written).unwrap_or(0));
            true
        });
        queue.signal(memory);
        more
    }
}

/// Writes once; never gives 0.
fn write(host: &mut dyn HostSide, from: &[u8]) -> io::Result<usize> {
    match uninterrupted(|| host.write(from))? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        taken => Ok(taken),
    }
}

/// Reads once; never gives more than there is room for.
fn read(host: &mut dyn HostSide, into: &mut [u8]) -> io::Result<usize> {
    Ok(uninterrupted(|| host.read(into))?.min(into.len()))
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let mut last = call();
    for _ in 1..ATTEMPTS {
        match last {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => last = call(),
            done => return done,
        }
    }
    last
}

fn warn(warned: &mut bool, what: &str, error: &io::Error) {
    if !std::mem::replace(warned, true) {
        log::warn!("{what}: {error}");
    }
}

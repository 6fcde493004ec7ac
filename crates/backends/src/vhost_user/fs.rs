//! A directory of the host, by virtio-fs (Virtio 1.2, 5.11).

use std::fmt;
use std::io::{self, Read as _};
use std::mem;
use std::os::unix::net::UnixStream;
use std::process::ChildStderr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use strata_devices::event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use strata_devices::virtio::{
    Activation, Doorbell, Interrupt, Post, VirtioDevice, Wakeup, Worker, feature, watch,
};
use thiserror::Error;
use vm_memory::{GuestAddressSpace, GuestMemoryBackend};

use super::memory::table;
use super::server::{Process, cut_off, printable};
use super::talk::{PROTOCOL_FEATURES, Request, Talk, TalkError};
use super::{MemoryError, Server};

/// The longest tag, in bytes: what the configuration space has room for.
const TAG: usize = 36;
/// The tag and the number of request queues.
const CONFIG: usize = TAG + 4;
/// The high-priority queue and one for requests.
const FEWEST_QUEUES: u64 = 2;
/// What is made use of if the server has more. Each costs two descriptors here and one of the hypervisor's ioeventfds.
const MOST_QUEUES: u64 = 9;
/// A driver cuts its requests to the ring's size: with this one Linux reads 1 MiB at a time, the most that it can.
const QUEUE_SIZE: u16 = 1024;

/// Why there is no device.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FsError {
    /// The driver would have nothing to mount it by, or not all of it.
    #[error("the share's tag {tag:?} cannot be used: it takes 1 to {TAG} bytes, none of them 0")]
    Tag {
        /// The tag.
        tag: String,
    },
    /// The server is none that can be worked with.
    #[error(transparent)]
    Talk(#[from] TalkError),
    /// The server that we started has ended; this is what it said.
    #[error("virtiofsd ended at once: {said}")]
    Ended {
        /// What it wrote to its standard error, in one line.
        said: String,
    },
    /// No eventfd could be had.
    #[error("no descriptors can be had for the share {tag:?}: the process has too many open")]
    Descriptors {
        /// The share's tag.
        tag: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// Why the server does not work for a driver.
#[derive(Debug, Error)]
enum StartError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Talk(#[from] TalkError),
}

/// A virtio-fs device whose requests a vhost-user server answers. The driver mounts it by its tag.
///
/// ```no_run
/// use std::sync::{Arc, Mutex};
/// use strata_backends::vhost_user::{Share, VhostUserFs, Virtiofsd, can_share};
/// use strata_devices::NoIrq;
/// use strata_devices::virtio::VirtioMmio;
/// use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};
///
/// // The server maps the guest's memory, so that has to be a file.
/// let file = std::fs::File::from(rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC)?);
/// file.set_len(64 << 20)?;
/// let ram = [(GuestAddress(0), 64 << 20, Some(FileOffset::new(file, 0)))];
/// let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges_with_files(ram)?);
/// can_share(&*memory)?;
///
/// let share = Share { dir: "/srv/www".into(), read_only: true };
/// let device = VhostUserFs::new(Virtiofsd::find()?.start(&share)?, "www")?;
/// let worker = device.worker(); // for an event loop
/// let registers = Mutex::new(VirtioMmio::new(device, memory, Arc::new(NoIrq))); // for an MMIO bus
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct VhostUserFs {
    config: [u8; CONFIG],
    talk: Talk,
    /// The same connection: it is cut when the conversation has ended in disagreement.
    stream: Arc<UnixStream>,
    process: Option<Process>,
    patience: Duration,
    post: Post<Ear>,
    kicks: Vec<Doorbell>,
    /// What the server rings, for each queue.
    calls: Vec<Doorbell>,
    /// The queues that it works on.
    started: Vec<u16>,
}

impl VhostUserFs {
    /// A device that `server` works for. This speaks with the server, and waits for its answers: 30 seconds at most for each.
    ///
    /// The guest's memory has to be of a kind that the server can have, which [`can_share`](super::can_share) finds out before
    /// there is a driver. Otherwise what the driver gets is a device that needs a reset.
    ///
    /// # Errors
    ///
    /// Each case of [`FsError`].
    pub fn new(mut server: Server, tag: &str) -> Result<Self, FsError> {
        let place = tag_bytes(tag).ok_or_else(|| FsError::Tag { tag: tag.into() })?;
        let no_descriptors = |source| FsError::Descriptors { tag: tag.into(), source };
        let mut talk = Talk::new(Arc::clone(&server.stream), server.patience_at_start);
        let queues = match (talk.shake_hands(feature::OF_RING, FEWEST_QUEUES), &mut server.process) {
            (Ok(queues), _) => queues.min(MOST_QUEUES),
            (Err(error), process) => return Err(unusable(error, process.as_mut())),
        };
        talk.set_limit(server.patience);

        let mut config = [0; CONFIG];
        let request_queues = u32::try_from(queues - 1).unwrap_or(1);
        config[..TAG].copy_from_slice(&place);
        config[TAG..].copy_from_slice(&request_queues.to_le_bytes());
        let count = request_queues as usize + 1;
        let stream = Arc::clone(&server.stream);
        let stderr = server.process.as_mut().and_then(|process| process.stderr.take());
        Ok(Self {
            config,
            talk,
            stream: server.stream,
            process: server.process,
            patience: server.patience,
            post: Post::new(Ear::new(tag, stream, stderr)).map_err(no_descriptors)?,
            kicks: Doorbell::several(count).map_err(no_descriptors)?,
            calls: Doorbell::several(count).map_err(no_descriptors)?,
            started: Vec::with_capacity(count),
        })
    }

    /// What passes the server's interrupts on and notices its end, for an event loop.
    pub fn worker(&self) -> Box<dyn MutEventSubscriber + Send> {
        self.post.subscriber(&self.calls)
    }

    #[cfg(test)]
    pub(super) fn process_group(&self) -> Option<rustix::process::Pid> {
        self.process.as_ref().map(Process::group)
    }

    fn start<M>(&mut self, activation: &Activation<M>) -> Result<(), StartError>
    where
        M: GuestAddressSpace<M: GuestMemoryBackend>,
    {
        self.talk.set(Request::SetFeatures, &(activation.features | PROTOCOL_FEATURES).to_ne_bytes(), &[])?;
        let memory = activation.memory.memory();
        let (table, fds) = table(&*memory)?;
        self.talk.set(Request::SetMemTable, &table, &fds)?;
        for (queue, (kick, call)) in activation.queues.iter().zip(self.kicks.iter().zip(&self.calls)) {
            if let Some(queue) = queue {
                self.started.push(queue.index());
                self.talk.start_ring(queue, kick, call)?;
            }
        }
        Ok(())
    }

    /// The two sides do not agree any more: that is the end of it.
    fn break_off(&mut self, error: &dyn fmt::Display) {
        let is_gone = cut_off(&self.stream, self.process.as_ref(), self.patience);
        let mut ear = self.post.lock();
        ear.lose_server(error);
        if !is_gone {
            log::error!(
                "the server of share {:?} cannot be stopped from here and may still write to the guest's memory: end it",
                ear.tag
            );
        }
    }
}

/// Why a server is none: what it has said of it tells more than that it hung up.
fn unusable(error: TalkError, process: Option<&mut Process>) -> FsError {
    let said = match (&error, process) {
        (TalkError::HungUp(_), Some(process)) => process.last_words(),
        _ => String::new(),
    };
    if said.is_empty() { error.into() } else { FsError::Ended { said } }
}

impl Drop for VhostUserFs {
    fn drop(&mut self) {
        // That the server ends now is no news.
        self.post.lock().is_lost = true;
    }
}

/// The tag as it stands in the configuration space.
fn tag_bytes(tag: &str) -> Option<[u8; TAG]> {
    let mut bytes = [0; TAG];
    bytes.get_mut(..tag.len())?.copy_from_slice(tag.as_bytes());
    (!tag.is_empty() && !tag.contains('\0')).then_some(bytes)
}

impl<M: GuestAddressSpace<M: GuestMemoryBackend>> VirtioDevice<M> for VhostUserFs {
    fn id(&self) -> u32 {
        26
    }

    /// None: there is one of its own, for a queue of notifications, which no server has and no driver knows.
    fn features(&self) -> u64 {
        0
    }

    fn queue_max_size(&self) -> u16 {
        QUEUE_SIZE
    }

    fn doorbells(&self) -> &[Doorbell] {
        &self.kicks
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let from = usize::try_from(offset).ok().and_then(|offset| self.config.get(offset..));
        data.fill(0);
        for (to, from) in data.iter_mut().zip(from.unwrap_or_default()) {
            *to = *from;
        }
    }

    fn activate(&mut self, activation: Activation<M>) {
        let is_lost = {
            let mut ear = self.post.lock();
            ear.interrupt = Some(activation.interrupt.clone());
            ear.is_lost
        };
        if is_lost {
            activation.interrupt.set_needs_reset();
        } else if let Err(error) = self.start(&activation) {
            self.break_off(&error);
        }
    }

    fn reset(&mut self) {
        let is_lost = {
            let mut ear = self.post.lock();
            ear.interrupt = None;
            ear.is_lost
        };
        if is_lost {
            // It has hung up, or it was cut off; whether it has ended as well is not left to it.
            self.started.clear();
            self.process.iter().for_each(Process::kill);
        }
        while let Some(index) = self.started.pop() {
            if let Err(error) = self.talk.stop_ring(index) {
                self.started.clear();
                self.break_off(&error);
            }
        }
    }
}

/// The worker: hears the server's interrupts, its last words, and that it is gone.
#[derive(Debug)]
struct Ear {
    tag: String,
    stream: Arc<UnixStream>,
    stderr: Option<ChildStderr>,
    /// How much more of what the server says is passed on.
    left_to_say: usize,
    interrupt: Option<Interrupt>,
    is_lost: bool,
}

/// Numbers of what it watches.
const STREAM: u32 = 0;
const STDERR: u32 = 1;
/// How often a server's words are passed on to the log, in all: a guest that found out how to have it complain would
/// fill the disk.
const MOST_MESSAGES: usize = 16;

impl Ear {
    fn new(tag: &str, stream: Arc<UnixStream>, stderr: Option<ChildStderr>) -> Self {
        Self { tag: tag.into(), stream, stderr, left_to_say: MOST_MESSAGES, interrupt: None, is_lost: false }
    }

    fn lose_server(&mut self, why: &dyn fmt::Display) {
        if !mem::replace(&mut self.is_lost, true) {
            log::error!("share {:?} is lost until the guest is started anew: {why}", self.tag);
        }
        if let Some(interrupt) = &self.interrupt {
            interrupt.set_needs_reset();
        }
    }

    /// Reads once what the server says. It is watched by level, so that there is always another time.
    fn listen(&mut self, ops: &mut EventOps<'_>) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut said = [0; 1024];
        match stderr.read(&mut said) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(got @ 1..) => {
                if self.left_to_say > 0 {
                    self.left_to_say -= 1;
                    let said = printable(said.get(..got).unwrap_or_default());
                    log::warn!("the server of share {:?} says: {said}", self.tag);
                }
            }
            Ok(_) | Err(_) => {
                let _ = ops.remove(Events::empty(stderr));
                self.stderr = None;
            }
        }
    }
}

impl Worker for Ear {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Answers on it are not for here: they are waited for where the questions are asked.
        watch(ops, &*self.stream, STREAM, EventSet::HANG_UP | EventSet::READ_HANG_UP);
        if let Some(stderr) = &self.stderr {
            let watched = ioctl_fionbio(stderr, true).map_err(io::Error::from);
            if watched.is_err() || ops.add(Events::with_data(stderr, STDERR, EventSet::IN)).is_err() {
                log::warn!("what the server of share {:?} says will not be heard", self.tag);
            }
        }
    }

    fn wake(&mut self, why: Wakeup, ops: &mut EventOps<'_>) {
        match why {
            Wakeup::Doorbell(queue) => {
                if let (Some(interrupt), Ok(queue)) = (&self.interrupt, u16::try_from(queue)) {
                    interrupt.used_buffers(queue);
                }
            }
            Wakeup::Source(STREAM) => self.lose_server(&"its server has ended"),
            Wakeup::Source(STDERR) => self.listen(ops),
            Wakeup::Source(_) | Wakeup::Called => {}
        }
    }
}

#[cfg(test)]
#[path = "fs_test.rs"]
mod tests;

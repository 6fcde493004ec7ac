//! A server as a test wants it, and guest memory that it can have.

use std::fs::File;
use std::io::{IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use strata_devices::virtio::feature;
use strata_devices::virtio::testing::{Bench, Memory, RAM};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

use super::{Request, Server, VhostUserFs};

/// Memory of the size that a bench wants, in two pieces of one memfd.
pub(super) fn memory() -> Memory {
    let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(RAM).unwrap();
    let file = Arc::new(file);
    let half = RAM / 2;
    let piece = |at| (GuestAddress(at), half as usize, Some(FileOffset::from_arc(file.clone(), at)));
    Arc::new(GuestMemoryMmap::from_ranges_with_files([piece(0), piece(half)]).unwrap())
}

/// A message that the server has received.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) request: u32,
    pub(super) flags: u32,
    pub(super) payload: Vec<u8>,
    pub(super) files: Vec<File>,
}

impl Heard {
    pub(super) fn is(&self, request: Request) -> bool {
        self.request == request as u32
    }

    /// The payload in parts of 4 bytes.
    pub(super) fn words(&self) -> Vec<u32> {
        self.payload.chunks(4).map(|bytes| u32::from_ne_bytes(bytes.try_into().unwrap())).collect()
    }

    /// From the `start`th byte on in parts of 8.
    pub(super) fn longs(&self, start: usize) -> Vec<u64> {
        self.payload[start..].chunks(8).map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap())).collect()
    }
}

/// What the server does about a message.
pub(super) enum Reaction {
    /// What a server does.
    Proper,
    /// Answers with these 8 bytes.
    Answer(u64),
    /// Says this instead.
    Say(Vec<u8>),
    /// Nothing.
    Silence,
    HangUp,
}

/// A server on a thread, which can be asked what it has heard.
pub(super) struct Scripted {
    heard: Arc<Mutex<Vec<Heard>>>,
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Gives this end too. It does as `script` says.
    pub(super) fn new(mut script: impl FnMut(&Heard) -> Reaction + Send + 'static) -> (Self, Server) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (stream, log) = (theirs.try_clone().unwrap(), Arc::clone(&heard));
        let thread = thread::spawn(move || {
            while let Some(message) = hear(&theirs) {
                let reply = match script(&message) {
                    Reaction::Proper => proper(&message).map(|value| answer(message.request, value)),
                    Reaction::Answer(value) => Some(answer(message.request, value)),
                    Reaction::Say(bytes) => Some(bytes),
                    Reaction::Silence => None,
                    Reaction::HangUp => break,
                };
                log.lock().unwrap().push(message);
                if reply.is_some_and(|reply| (&theirs).write_all(&reply).is_err()) {
                    break;
                }
            }
            let _ = theirs.shutdown(std::net::Shutdown::Both);
        });
        let patience = Duration::from_secs(20);
        let server = Server { patience, patience_at_start: patience, ..Server::from_stream(ours) };
        (Self { heard, stream, thread: Some(thread) }, server)
    }

    /// All that it has heard, since the last time.
    pub(super) fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its end.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Hangs up.
    pub(super) fn end(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A message; `None` if there are no more.
fn hear(stream: &UnixStream) -> Option<Heard> {
    let mut header = [0; 12];
    let files = receive(stream, &mut header)?;
    let [request, flags, size] =
        [0, 4, 8].map(|at| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap()));
    let mut payload = vec![0; size as usize];
    if size > 0 {
        receive(stream, &mut payload)?;
    }
    Some(Heard { request, flags, payload, files })
}

fn receive(stream: &UnixStream, into: &mut [u8]) -> Option<Vec<File>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let len = into.len();
    let got = recvmsg(stream, &mut [IoSliceMut::new(into)], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
    let files = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.map(File::from).collect(),
        _ => Vec::new(),
    });
    let files = files.collect();
    // They are sent in one piece, so that they come in one.
    (got.ok()?.bytes == len).then_some(files)
}

/// An answer as it goes over the wire.
pub(super) fn answer(request: u32, value: u64) -> Vec<u8> {
    let header = [request, 5, 8].map(u32::to_ne_bytes);
    [header.as_flattened(), &value.to_ne_bytes()].concat()
}

/// What a server answers that can do all that is needed.
fn proper(message: &Heard) -> Option<u64> {
    match message.request {
        // Version 1, and a bit that nobody knows.
        1 => Some(feature::OF_RING | 1 << 30 | 1 << 40),
        15 => Some(0b1001 | 1 << 50),
        17 => Some(3),
        // The queue's number, and where it would go on.
        11 => Some(u64::from(message.words()[0]) | 7 << 32),
        _ => (message.flags & 8 != 0).then_some(0),
    }
}

/// A bench with a share that this server works for.
pub(super) fn bench(server: Server) -> Bench<VhostUserFs> {
    let memory = memory();
    let device = VhostUserFs::new(server, "tag").unwrap();
    let worker = device.worker();
    Bench::with_memory(device, vec![worker], memory)
}

/// A directory that is removed at the end.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("strata-vhost-user-{}-{count}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

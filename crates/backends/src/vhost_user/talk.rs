//! The conversation with a server: one request at a time, each with its answer, none waited for longer than agreed.
//!
//! The crate `vhost` has all of this and more. It is not used, because it waits for an answer for ever (it takes a
//! socket's timeout for an interrupted call and goes on), and what waits here is a guest's vCPU.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strata_devices::virtio::{Doorbell, Virtqueue};
use thiserror::Error;
use vm_memory::GuestAddress;
use vmm_sys_util::sock_ctrl_msg::ScmSocket as _;

/// What a server is asked, with its number ("Front-end message types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "they are described where they are defined, and sent by this crate only")]
pub enum Request {
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    SetMemTable = 5,
    SetVringNum = 8,
    SetVringAddr = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
}

/// Why a conversation ended. There is no going on after any of these: the two sides do not agree where they are.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TalkError {
    /// The server closed the connection: it has ended, most likely.
    #[error("the vhost-user server hung up at {0:?}: see what it has said, if anything")]
    HungUp(Request),
    /// There was no answer in time.
    #[error("the vhost-user server has not answered {request:?} for {limit:?}")]
    Silent {
        /// What was asked.
        request: Request,
        /// For how long it was waited.
        limit: Duration,
    },
    /// What came is not an answer to what was asked.
    #[error("the vhost-user server answered {0:?} with something else: is it such a server at all?")]
    Nonsense(Request),
    /// The server says that it cannot.
    #[error("the vhost-user server refuses {0:?}")]
    Refused(Request),
    /// The server does not have what is needed.
    #[error(
        "the vhost-user server lacks features: {features:#x} of virtio and {protocol:#x} of the protocol are missing; \
         use a newer one"
    )]
    Lacks {
        /// Bits of the device's features.
        features: u64,
        /// Bits of the protocol's own.
        protocol: u64,
    },
    /// The server has too few queues for the device.
    #[error(
        "the vhost-user server has {has} queues, and the device needs {needs}: is it a server for virtio-fs?"
    )]
    TooFewQueues {
        /// How many it has.
        has: u64,
        /// How many it takes.
        needs: u64,
    },
    /// The socket failed.
    #[error("{request:?} cannot be said to the vhost-user server")]
    Socket {
        /// What was to be said.
        request: Request,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// Message flags ("Header").
const VERSION: u32 = 1;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;
/// Request, flags, size of the payload.
const HEADER: usize = 12;
/// The longest answer to any of our requests.
const ANSWER: u32 = 8;

/// The bit of the device's features that says that there are such of the protocol (`VHOST_USER_F_PROTOCOL_FEATURES`).
pub(super) const PROTOCOL_FEATURES: u64 = 1 << 30;
/// Protocol features: the number of queues can be asked for.
const MQ: u64 = 1;
/// Protocol features: what has no answer of its own is acknowledged.
const REPLY_ACK: u64 = 1 << 3;

/// A conversation.
#[derive(Debug)]
pub(super) struct Talk {
    stream: Arc<UnixStream>,
    limit: Duration,
    acknowledged: bool,
}

impl Talk {
    /// Not a word has been said yet. No answer is waited for longer than `limit`.
    pub(super) fn new(stream: Arc<UnixStream>, limit: Duration) -> Self {
        Self { stream, limit, acknowledged: false }
    }

    pub(super) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Takes the server, if it has these features and so many queues at least; gives how many it has.
    pub(super) fn shake_hands(&mut self, features: u64, queues: u64) -> Result<u64, TalkError> {
        let features = features | PROTOCOL_FEATURES;
        let missing = features & !self.get(Request::GetFeatures, &[])?;
        if missing != 0 {
            return Err(TalkError::Lacks { features: missing, protocol: 0 });
        }
        let missing = (MQ | REPLY_ACK) & !self.get(Request::GetProtocolFeatures, &[])?;
        if missing != 0 {
            return Err(TalkError::Lacks { features: 0, protocol: missing });
        }
        self.set(Request::SetProtocolFeatures, &(MQ | REPLY_ACK).to_ne_bytes(), &[])?;
        self.acknowledged = true;
        let has = self.get(Request::GetQueueNum, &[])?;
        self.set(Request::SetOwner, &[], &[])?;
        if has < queues { Err(TalkError::TooFewQueues { has, needs: queues }) } else { Ok(has) }
    }

    /// Asks for 8 bytes.
    pub(super) fn get(&mut self, request: Request, payload: &[u8]) -> Result<u64, TalkError> {
        self.say(request, 0, payload, &[])?;
        self.hear(request)
    }

    /// Tells something, with the descriptors that belong to it.
    pub(super) fn set(&mut self, request: Request, payload: &[u8], fds: &[RawFd]) -> Result<(), TalkError> {
        let flags = if self.acknowledged { NEED_REPLY } else { 0 };
        self.say(request, flags, payload, fds)?;
        match self.acknowledged.then(|| self.hear(request)) {
            None | Some(Ok(0)) => Ok(()),
            Some(Ok(_)) => Err(TalkError::Refused(request)),
            Some(Err(error)) => Err(error),
        }
    }

    fn say(&self, request: Request, flags: u32, payload: &[u8], fds: &[RawFd]) -> Result<(), TalkError> {
        let error = |source| TalkError::Socket { request, source };
        // It is never waited for: there are at most some hundred bytes on their way at a time.
        self.stream.set_write_timeout(Some(self.limit)).map_err(error)?;
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = [request as u32, VERSION | flags, size].map(u32::to_ne_bytes);
        let message = [header.as_flattened(), payload].concat();
        loop {
            match self.stream.send_with_fds(&[message.as_slice()], fds).map_err(io::Error::from) {
                Ok(sent) if sent == message.len() => return Ok(()),
                Ok(_) => return Err(error(io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_hangup(&error) => return Err(TalkError::HungUp(request)),
                Err(source) => return Err(error(source)),
            }
        }
    }

    /// Has the server work for a queue: `kick` is what the driver rings, `call` what the server rings.
    pub(super) fn start_ring(
        &mut self,
        queue: &Virtqueue,
        kick: &Doorbell,
        call: &Doorbell,
    ) -> Result<(), TalkError> {
        let index = queue.index();
        let [descriptors, available, used] = queue.addresses().map(|GuestAddress(address)| address);
        self.set(Request::SetVringNum, &state(index, queue.size().into()), &[])?;
        self.set(Request::SetVringBase, &state(index, 0), &[])?;
        // No flags, and no log of what is written.
        let places = [descriptors, used, available, 0].map(u64::to_ne_bytes);
        let addresses = [state(index, 0).as_slice(), places.as_flattened()].concat();
        self.set(Request::SetVringAddr, &addresses, &[])?;
        let number = u64::from(index).to_ne_bytes();
        // The ring starts with what it is kicked by, so that comes last.
        self.set(Request::SetVringCall, &number, &[call.as_raw_fd()])?;
        self.set(Request::SetVringKick, &number, &[kick.as_raw_fd()])?;
        self.set(Request::SetVringEnable, &state(index, 1), &[])
    }

    /// Has it stop, and finish what it has begun first.
    pub(super) fn stop_ring(&mut self, index: u16) -> Result<(), TalkError> {
        let answer = self.get(Request::GetVringBase, &state(index, 0))?.to_ne_bytes();
        // The queue's number, then the index where the server would go on; it will not.
        let is_of_this = answer.starts_with(&u32::from(index).to_ne_bytes());
        if is_of_this { Ok(()) } else { Err(TalkError::Nonsense(Request::GetVringBase)) }
    }

    /// Hears an answer of 8 bytes.
    fn hear(&mut self, request: Request) -> Result<u64, TalkError> {
        let mut message = [0; HEADER + ANSWER as usize];
        self.hear_bytes(request, &mut message)?;
        let (header, answer) = message.split_at(HEADER);
        let expected = [request as u32, VERSION | REPLY, ANSWER].map(u32::to_ne_bytes);
        match answer.try_into() {
            Ok(answer) if header == expected.as_flattened() => Ok(u64::from_ne_bytes(answer)),
            _ => Err(TalkError::Nonsense(request)),
        }
    }

    fn hear_bytes(&mut self, request: Request, mut into: &mut [u8]) -> Result<(), TalkError> {
        // The limit is for all of it: one byte now and then does not prolong it. Descriptors that come along are closed by
        // the kernel, since no room is offered for them.
        let deadline = Instant::now() + self.limit;
        while !into.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TalkError::Silent { request, limit: self.limit });
            }
            let error = |source| TalkError::Socket { request, source };
            self.stream.set_read_timeout(Some(left)).map_err(error)?;
            match (&*self.stream).read(into) {
                Ok(0) => return Err(TalkError::HungUp(request)),
                Ok(got) => into = into.get_mut(got..).unwrap_or_default(),
                Err(error) if is_hangup(&error) => return Err(TalkError::HungUp(request)),
                // Of a time that has passed, or of a signal to the thread: it is counted above.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(source) => return Err(error(source)),
            }
        }
        Ok(())
    }
}

/// A queue's number with a number about it ("A vring state description").
fn state(index: u16, number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    let numbers = [u32::from(index), number].map(u32::to_ne_bytes);
    bytes.copy_from_slice(numbers.as_flattened());
    bytes
}

fn is_hangup(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
#[path = "talk_test.rs"]
mod tests;

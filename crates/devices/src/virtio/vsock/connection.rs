//! One connection: a stream of the host's, and what the guest and the host have said of it.

use std::io::ErrorKind;
use std::net::Shutdown;

use vm_memory::bitmap::BitmapSlice;
use vm_memory::{GuestMemory, Permissions, VolatileMemoryError, VolatileSlice};

use super::super::Buffer;
use super::backlog::Backlog;
use super::credit::Credit;
use super::packet::{Header, op, shutdown};
use super::{MOST_IN_A_PACKET, Stream};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A client of the host's has not yet said which port it wants.
    Greeting,
    /// The guest is asked.
    Requested,
    /// Both sides have it.
    Connected,
    /// The guest is done with it and knows nothing of it any more; the host has not taken all yet.
    Lingering,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Lives,
    /// It ends, and the guest is told with `RST`.
    Aborted,
    /// It ends; the guest knows.
    Ended,
    /// The guest is told with `RST` that it has ended in order; what it has sent is still to be delivered.
    Finished,
}

/// What a connection has to say to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// This, with so many bytes behind the header.
    Said { op: u16, flags: u32, len: u32 },
    /// Nothing now.
    Nothing,
    /// Bytes, for which the buffer has no room.
    NoRoom,
    /// The stream is broken.
    Broken,
}

/// Small things to be said, as a set of bits by operation.
const fn bit(op: u16) -> u8 {
    1 << op
}

#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) stage: Stage,
    pub(super) host_port: u32,
    pub(super) guest_port: u32,
    /// Counts connections, so that the oldest can be found.
    pub(super) number: u64,
    pub(super) credit: Credit,
    /// Made when it is first needed, and kept then.
    backlog: Option<Backlog>,
    /// There may be something to read from the stream.
    readable: bool,
    /// Operations to be said, as [`bit`]s.
    owes: u8,
    /// Which flags of `SHUTDOWN` the guest has sent, which the host's end amounts to, and which of these the guest
    /// knows.
    guest_shut: u32,
    host_shut: u32,
    told_shut: u32,
    /// Which flags of the guest's the stream's other end knows. To tell it again would be an edge, and so on for ever.
    passed_shut: u32,
    /// Whether it waits in the list of those that have something to say.
    pub(super) is_queued: bool,
    /// Whether its descriptor is watched for room to write.
    pub(super) is_watched_for_room: bool,
}

impl<S: Stream> Connection<S> {
    pub(super) fn new(stream: S, stage: Stage, number: u64) -> Self {
        Self {
            stream,
            stage,
            host_port: 0,
            guest_port: 0,
            number,
            credit: Credit::default(),
            backlog: None,
            readable: false,
            owes: 0,
            guest_shut: 0,
            host_shut: 0,
            told_shut: 0,
            passed_shut: 0,
            is_queued: false,
            is_watched_for_room: false,
        }
    }

    /// It has ports and a promise; the other side is to hear of it by this operation.
    pub(super) fn begin(&mut self, (host_port, guest_port): (u32, u32), alloc: u32, op: u16) {
        self.host_port = host_port;
        self.guest_port = guest_port;
        self.credit = Credit::new(alloc);
        self.owes = bit(op);
    }

    /// The guest is done with it: it has no more to say.
    pub(super) fn linger(&mut self) {
        self.stage = Stage::Lingering;
        self.owes = 0;
    }

    /// The descriptor says that something has changed.
    pub(super) fn stir(&mut self) {
        self.readable = true;
        self.flush();
    }

    /// Whether something waits for the host to take it.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.is_empty())
    }

    /// Whether there is something to say, or may be.
    pub(super) fn wants_to_speak(&mut self) -> bool {
        if self.stage == Stage::Connected {
            if self.credit.is_worth_telling() {
                self.owes |= bit(op::CREDIT_UPDATE);
            }
            if self.may_read() && self.credit.is_to_be_asked_for() {
                self.owes |= bit(op::CREDIT_REQUEST);
            }
            if self.host_shut != self.told_shut {
                self.owes |= bit(op::SHUTDOWN);
            }
        }
        self.owes != 0 || self.may_read() && self.credit.may_send() > 0
    }

    fn may_read(&self) -> bool {
        self.stage == Stage::Connected
            && self.readable
            && self.guest_shut & shutdown::RECEIVE == 0
            && self.host_shut & shutdown::SEND == 0
    }

    /// A packet from the guest; `payload` is as long as the header says.
    pub(super) fn hear<M: GuestMemory>(&mut self, memory: &M, header: &Header, payload: Buffer<'_>) -> Fate {
        self.credit.hear(header);
        match (self.stage, header.op) {
            (_, op::RST) => Fate::Ended,
            (Stage::Requested, op::RESPONSE) => self.become_connected(),
            (Stage::Connected, op::RW) => self.take(memory, payload),
            (Stage::Connected, op::CREDIT_UPDATE) => Fate::Lives,
            (Stage::Connected, op::CREDIT_REQUEST) => {
                self.owes |= bit(op::CREDIT_UPDATE);
                Fate::Lives
            }
            (Stage::Connected, op::SHUTDOWN) => self.shut(header.flags),
            _ => Fate::Aborted,
        }
    }

    fn become_connected(&mut self) -> Fate {
        if self.owes & bit(op::REQUEST) != 0 {
            // An answer to what was not asked.
            return Fate::Aborted;
        }
        if let Err(error) = self.stream.welcome(self.host_port) {
            log::debug!("a client is gone before the guest has accepted it: {error}");
            return Fate::Aborted;
        }
        self.stage = Stage::Connected;
        // It may have sent before it was answered.
        self.readable = true;
        Fate::Lives
    }

    /// Bytes from the guest: straight to the stream; what that does not take is kept.
    fn take<M: GuestMemory>(&mut self, memory: &M, payload: Buffer<'_>) -> Fate {
        let may = u32::try_from(payload.len()).is_ok_and(|len| self.credit.receive(len));
        if !may || self.guest_shut & shutdown::SEND != 0 {
            return Fate::Aborted;
        }
        if self.host_shut & shutdown::RECEIVE != 0 {
            self.credit.forward_all();
            return Fate::Lives;
        }
        let mut rest = payload;
        if !self.has_backlog() {
            let Some(written) = self.write(payload.slices(memory, Permissions::Read)) else {
                self.stop_writing();
                return Fate::Lives;
            };
            self.credit.forward(written);
            rest = payload.split_at(written as u64).1;
        }
        let size = self.credit.alloc() as usize;
        let kept =
            rest.is_empty() || self.backlog.get_or_insert_with(|| Backlog::new(size)).append(memory, rest);
        if kept { Fate::Lives } else { Fate::Aborted }
    }

    /// Writes as much as the stream takes now; `None` if it is broken.
    fn write<'a, B: BitmapSlice>(
        &mut self,
        from: impl Iterator<Item = VolatileSlice<'a, B>>,
    ) -> Option<usize> {
        let mut done = 0;
        for slice in from {
            let written = transfer(|| self.stream.write_volatile(&slice))?;
            done += written;
            if written < slice.len() {
                break;
            }
        }
        Some(done)
    }

    /// Lets the stream take from what was kept for it.
    fn flush(&mut self) {
        while let Some(backlog) = self.backlog.as_mut().filter(|backlog| !backlog.is_empty()) {
            let first = VolatileSlice::from(backlog.first());
            let Some(written) = transfer(|| self.stream.write_volatile(&first)) else {
                return self.stop_writing();
            };
            let is_full = written < first.len();
            backlog.consume(written);
            self.credit.forward(written);
            if is_full {
                return;
            }
        }
        self.pass_on_shutdown();
    }

    /// Nobody reads from the stream any more: what the guest sends is thrown away until it stops.
    fn stop_writing(&mut self) {
        self.host_shut |= shutdown::RECEIVE;
        self.backlog = None;
        self.credit.forward_all();
    }

    fn shut(&mut self, flags: u32) -> Fate {
        self.guest_shut |= flags & shutdown::BOTH;
        self.pass_on_shutdown();
        if self.guest_shut == shutdown::BOTH { Fate::Finished } else { Fate::Lives }
    }

    /// The host's end is told what the guest will not do any more: of an end of what it sends after all of that.
    fn pass_on_shutdown(&mut self) {
        let mut news = self.guest_shut & !self.passed_shut;
        if self.has_backlog() {
            news &= !shutdown::SEND;
        }
        self.passed_shut |= news;
        // These fail if the other end is gone, which is as well.
        if news & shutdown::RECEIVE != 0 {
            let _ = self.stream.shutdown(Shutdown::Read);
        }
        if news & shutdown::SEND != 0 {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// What it has to say next. Bytes from the stream go to `body`, as many as there is room and credit for.
    pub(super) fn speak<M: GuestMemory>(&mut self, memory: &M, body: Buffer<'_>) -> Speech {
        let said = |op| Speech::Said { op, flags: 0, len: 0 };
        if self.owes == 0 {
            return if self.may_read() { self.give(memory, body) } else { Speech::Nothing };
        }
        let first = u16::try_from(self.owes.trailing_zeros()).unwrap_or(0);
        self.owes &= self.owes - 1;
        match first {
            op::REQUEST | op::RESPONSE | op::CREDIT_REQUEST | op::CREDIT_UPDATE => said(first),
            op::SHUTDOWN => self.tell_shutdown(),
            _ => Speech::Nothing,
        }
    }

    fn tell_shutdown(&mut self) -> Speech {
        self.told_shut = self.host_shut;
        self.owes &= !bit(op::SHUTDOWN);
        Speech::Said { op: op::SHUTDOWN, flags: self.told_shut, len: 0 }
    }

    fn give<M: GuestMemory>(&mut self, memory: &M, body: Buffer<'_>) -> Speech {
        let most = self.credit.may_send().min(MOST_IN_A_PACKET);
        if most == 0 {
            return Speech::Nothing;
        }
        if body.is_empty() {
            return Speech::NoRoom;
        }
        let mut got = 0;
        for mut slice in body.split_at(most.into()).0.slices(memory, Permissions::Write) {
            let mut is_end = false;
            let Some(read) = transfer(|| {
                let read = self.stream.read_volatile(&mut slice);
                is_end = matches!(read, Ok(0));
                read
            }) else {
                // What came before is said first; the next attempt finds the stream as broken.
                if got > 0 {
                    break;
                }
                return Speech::Broken;
            };
            if read == 0 && got == 0 {
                self.readable = false;
                if !is_end {
                    return Speech::Nothing;
                }
                self.host_shut |= shutdown::SEND;
                return self.tell_shutdown();
            }
            got += read;
            if read < slice.len() {
                break;
            }
        }
        let len = u32::try_from(got).unwrap_or(0);
        if len == 0 {
            // The buffer's memory is there no more.
            return Speech::Broken;
        }
        self.credit.send(len);
        // Its header says what an update would.
        self.owes &= !bit(op::CREDIT_UPDATE);
        Speech::Said { op: op::RW, flags: 0, len }
    }
}

/// Reads or writes once. Gives how many bytes that were, 0 where it would have to wait; `None` if it failed.
fn transfer(mut once: impl FnMut() -> Result<usize, VolatileMemoryError>) -> Option<usize> {
    loop {
        match once() {
            Ok(count) => return Some(count),
            Err(VolatileMemoryError::IOError(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(VolatileMemoryError::IOError(error)) if error.kind() == ErrorKind::WouldBlock => {
                return Some(0);
            }
            Err(_) => return None,
        }
    }
}

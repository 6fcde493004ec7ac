//! Between the packets of the guest and the streams of the host.

use std::collections::VecDeque;
use std::io;
use std::mem;

use event_manager::EventOps;
use vm_memory::GuestMemory;

use super::super::Buffer;
use super::connection::{Fate, Speech, Stage};
use super::packet::{HOST_CID, Header, STREAM, op};
use super::table::{Slot, Table};
use super::{Host, MOST_GREETING, Stream as _};

/// How many answers to packets that belong to nothing may wait until no more packets are taken. Connections that break
/// may add one each.
const MOST_RESETS: usize = 256;

/// What does not depend on the guest's memory or queues.
pub(super) struct Switch<H: Host> {
    cid: u64,
    host: H,
    table: Table<H::Stream>,
    /// `RST`s that belong to no connection any more.
    resets: VecDeque<Header>,
    /// What has been complained of, once each: a reset brings no more.
    has_complained: Complaints,
}

#[derive(Debug, Default)]
struct Complaints {
    accept: bool,
    connect: bool,
    packet: bool,
}

/// Who else wants to reach the guest, without a new edge that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clients {
    /// Nobody.
    None,
    /// Perhaps somebody, who cannot be had now.
    Later,
    /// Perhaps somebody.
    More,
}

impl<H: Host> Switch<H> {
    pub(super) fn new(cid: u64, host: H) -> Self {
        let (table, resets) = (Table::new(), VecDeque::new());
        Self { cid, host, table, resets, has_complained: Complaints::default() }
    }

    pub(super) fn host(&self) -> &H {
        &self.host
    }

    /// Ends all connections; [`bury`](Self::bury) is to follow on the event loop.
    pub(super) fn reset(&mut self) {
        self.table.end_all();
        self.resets.clear();
    }

    pub(super) fn bury(&mut self, ops: &mut EventOps<'_>) {
        self.table.bury(ops);
    }

    /// Takes in who wants to reach the guest, or sends them away if there is no guest.
    pub(super) fn accept(&mut self, is_active: bool, ops: &mut EventOps<'_>) -> Clients {
        for _ in 0..MOST_GREETING {
            match self.host.accept() {
                Ok(stream) if is_active => {
                    self.table.make_room_for_greeting(ops);
                    // Where there is no place for it, it is closed.
                    let _ = self.table.insert(stream, Stage::Greeting, ops);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Clients::None,
                Err(error) => {
                    if !mem::replace(&mut self.has_complained.accept, true) {
                        log::warn!("a connection to the guest's vsock cannot be accepted: {error}");
                    }
                    return Clients::Later;
                }
            }
        }
        Clients::More
    }

    /// A connection's descriptor says that something has changed.
    pub(super) fn stir(&mut self, slot: Slot, ops: &mut EventOps<'_>) {
        let Some(connection) = self.table.get(slot) else { return };
        if connection.stage == Stage::Greeting {
            match connection.stream.wanted_port() {
                Ok(port) => self.table.begin_client(slot, port, op::REQUEST),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    log::debug!("a client of the guest's vsock is sent away: {error}");
                    return self.table.close(slot, ops);
                }
            }
        } else {
            connection.stir();
        }
        self.table.settle(slot, ops);
    }

    /// Whether so many answers wait for buffers that no more packets can be taken.
    pub(super) fn is_overwhelmed(&self) -> bool {
        self.resets.len() >= MOST_RESETS
    }

    /// Takes a packet from the guest.
    pub(super) fn take<M: GuestMemory>(&mut self, memory: &M, packet: Buffer<'_>, ops: &mut EventOps<'_>) {
        let (head, payload) = packet.split_at(Header::LEN);
        let mut bytes = [0; 44];
        let got = head.read(memory, &mut bytes) as u64;
        let header = Header::parse(&bytes);
        if got < Header::LEN || header.src_cid != self.cid {
            // There is nobody to answer to.
            if !mem::replace(&mut self.has_complained.packet, true) {
                log::warn!("the guest's vsock driver sent a packet without a sender");
            }
            return;
        }
        if header.dst_cid != HOST_CID || header.kind != STREAM {
            return self.refuse(&header);
        }
        let is_whole = u64::from(header.len) <= payload.len();
        let payload = payload.split_at(header.len.into()).0;
        let Some(slot) = self.table.find((header.dst_port, header.src_port)) else {
            if header.op == op::REQUEST && is_whole {
                return self.open(&header, ops);
            }
            return self.refuse(&header);
        };
        let fate = match self.table.get(slot) {
            Some(connection) if is_whole => connection.hear(memory, &header, payload),
            _ => Fate::Aborted,
        };
        match fate {
            Fate::Lives => self.table.settle(slot, ops),
            Fate::Ended => self.table.close(slot, ops),
            Fate::Aborted => {
                self.refuse(&header);
                self.table.close(slot, ops);
            }
            Fate::Finished => {
                self.refuse(&header);
                self.table.linger(slot, ops);
            }
        }
    }

    /// Answers with `RST`, which itself is never answered.
    fn refuse(&mut self, header: &Header) {
        if header.op != op::RST {
            self.resets.push_back(header.reset());
        }
    }

    /// The guest connects.
    fn open(&mut self, header: &Header, ops: &mut EventOps<'_>) {
        let stream = match self.host.connect(header.dst_port) {
            Ok(stream) => stream,
            Err(error) => {
                // That nobody is there is nothing to complain of.
                let is_usual = matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock
                );
                if !is_usual && !mem::replace(&mut self.has_complained.connect, true) {
                    log::warn!("the guest's vsock cannot be connected to port {}: {error}", header.dst_port);
                }
                return self.refuse(header);
            }
        };
        let Some(slot) = self.table.insert(stream, Stage::Connected, ops) else {
            return self.refuse(header);
        };
        self.table.begin(slot, (header.dst_port, header.src_port), op::RESPONSE);
        if let Some(connection) = self.table.get(slot) {
            connection.credit.hear(header);
        }
        self.table.settle(slot, ops);
    }

    /// Whether the guest is to be told something.
    pub(super) fn has_packet(&self) -> bool {
        !self.resets.is_empty() || self.table.has_speaker()
    }

    /// Puts the next packet for the guest into a buffer; gives how many bytes that were: none if the buffer cannot hold
    /// it, `None` if there is no packet after all.
    pub(super) fn give<M: GuestMemory>(
        &mut self,
        memory: &M,
        buffer: Buffer<'_>,
        ops: &mut EventOps<'_>,
    ) -> Option<u32> {
        let (head, body) = buffer.split_at(Header::LEN);
        if head.len() < Header::LEN {
            return Some(0);
        }
        let (header, len) = match self.resets.pop_front() {
            Some(reset) => (reset, 0),
            None => loop {
                let slot = self.table.next_speaker()?;
                let connection = self.table.get(slot)?;
                let speech = connection.speak(memory, body);
                let mut header = Header {
                    src_cid: HOST_CID,
                    dst_cid: self.cid,
                    src_port: connection.host_port,
                    dst_port: connection.guest_port,
                    len: 0,
                    kind: STREAM,
                    op: op::RST,
                    flags: 0,
                    buf_alloc: 0,
                    fwd_cnt: 0,
                };
                match speech {
                    Speech::Nothing => self.table.settle(slot, ops),
                    Speech::NoRoom => {
                        self.table.speak_again(slot);
                        return Some(0);
                    }
                    Speech::Broken => {
                        self.table.close(slot, ops);
                        break (header, 0);
                    }
                    Speech::Said { op, flags, len } => {
                        (header.op, header.flags, header.len) = (op, flags, len);
                        connection.credit.tell(&mut header);
                        self.table.settle(slot, ops);
                        break (header, len);
                    }
                }
            },
        };
        head.write(memory, &header.bytes());
        // At most 44 + 64 KiB.
        Some(44 + len)
    }
}

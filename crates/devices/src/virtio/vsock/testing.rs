//! A guest's side of a [`Vsock`], and a host of socket pairs, for tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::missing_panics_doc)]
#![allow(clippy::cast_possible_truncation, reason = "lengths of packets fit")]

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};

use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};

use super::super::testing::{Bench, FREE, Memory, memory};
use super::{Host, Stream, Vsock};

/// The guest's CID.
pub const GUEST: u64 = 3;
/// The size of the guest's buffers, as in Linux.
pub const BUFFER: u32 = 4096;

/// How many buffers and packets the rings hold.
const RING: u16 = 64;
/// Where the guest's packets lie: 16 places.
const PACKETS: u64 = FREE + RING as u64 * BUFFER as u64;
const PACKET_ROOM: u64 = 0x2_0000;
const PLACES: u64 = 16;

/// A packet as the specification has it (Virtio 1.2, 5.10.6).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the specification's")]
pub struct Packet {
    pub src_cid: u64,
    pub dst_cid: u64,
    pub src_port: u32,
    pub dst_port: u32,
    pub len: u32,
    pub kind: u16,
    pub op: u16,
    pub flags: u32,
    pub buf_alloc: u32,
    pub fwd_cnt: u32,
    pub payload: Vec<u8>,
}

impl Packet {
    /// From the guest to the host, with much credit.
    pub fn new(op: u16, guest_port: u32, host_port: u32) -> Self {
        Self {
            src_cid: GUEST,
            dst_cid: 2,
            src_port: guest_port,
            dst_port: host_port,
            len: 0,
            kind: 1,
            op,
            flags: 0,
            buf_alloc: 256 << 10,
            fwd_cnt: 0,
            payload: Vec::new(),
        }
    }

    /// With these bytes.
    #[must_use]
    pub fn with(self, payload: &[u8]) -> Self {
        Self { len: payload.len() as u32, payload: payload.to_vec(), ..self }
    }

    /// What lies in a queue.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(44 + self.payload.len());
        bytes.extend(self.src_cid.to_le_bytes());
        bytes.extend(self.dst_cid.to_le_bytes());
        for word in [self.src_port, self.dst_port, self.len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.op.to_le_bytes());
        for word in [self.flags, self.buf_alloc, self.fwd_cnt] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&self.payload);
        bytes
    }

    /// What lay in a queue.
    pub fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Self {
            src_cid: long(0),
            dst_cid: long(8),
            src_port: word(16),
            dst_port: word(20),
            len: word(24),
            kind: word(28) as u16,
            op: (word(28) >> 16) as u16,
            flags: word(32),
            buf_alloc: word(36),
            fwd_cnt: word(40),
            payload: bytes[44..].to_vec(),
        }
    }
}

/// A guest that has the device on a bench.
#[allow(missing_debug_implementations, reason = "the event loop has none")]
pub struct Guest<H: Host> {
    /// The bench.
    pub bench: Bench<Vsock<Memory, H>>,
    place: u64,
}

impl<H: Host> Guest<H> {
    /// With rings of 64 descriptors and no buffers yet.
    pub fn new(host: H) -> Self {
        Self::with_memory(host, memory())
    }

    /// The same with memory as [`Bench::with_memory`] takes it.
    pub fn with_memory(host: H, memory: Memory) -> Self {
        let device = Vsock::new(GUEST, host).unwrap();
        let worker = device.worker();
        let mut bench = Bench::with_memory(device, vec![worker], memory);
        for queue in 0..3 {
            bench.queue(queue).size = RING;
        }
        bench.start(0);
        Self { bench, place: 0 }
    }

    /// Starts the device anew.
    pub fn restart(&mut self) {
        self.bench.start(0);
        self.place = 0;
    }

    /// Gives the device so many buffers to fill; there can be 64.
    pub fn give(&mut self, count: usize) {
        for _ in 0..count {
            self.give_back(BUFFER);
        }
        self.bench.notify(0);
        self.bench.run();
    }

    fn give_back(&mut self, len: u32) {
        // Each is one descriptor, whose number says where it lies.
        let head = self.bench.queue(0).add(&[], &[(0, 0)]);
        let addr = FREE + u64::from(head) * u64::from(BUFFER);
        self.bench.queue(0).descriptor(head, (addr, len), super::super::testing::WRITE, 0);
    }

    /// The next packet that the device has put into a buffer; `None` for a buffer that came back empty, too.
    pub fn receive(&mut self) -> Option<Packet> {
        let (head, len) = self.bench.queue(0).used()?;
        let bytes = self.bench.read(FREE + u64::from(head) * u64::from(BUFFER), len as usize);
        (len > 0).then(|| Packet::parse(&bytes))
    }

    /// Everything that the device has for the guest, each buffer given back at once.
    pub fn receive_all(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        self.bench.run();
        while let Some(packet) = self.receive() {
            packets.push(packet);
            self.give_back(BUFFER);
            self.bench.notify(0);
            self.bench.run();
        }
        packets
    }

    /// Makes bytes available as a packet, cut into descriptors of these lengths and a last one for the rest; rings.
    pub fn post(&mut self, bytes: &[u8], cuts: &[usize]) {
        let at = PACKETS + self.place % PLACES * PACKET_ROOM;
        self.place += 1;
        self.bench.write(at, bytes);
        let (mut parts, mut from) = (Vec::new(), 0);
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            let len = cut.min(bytes.len() - from);
            parts.push((at + from as u64, len as u32));
            from += len;
        }
        self.bench.queue(1).add(&parts, &[]);
        self.bench.notify(1);
    }

    /// Sends a packet, and sees that the device takes it.
    pub fn send(&mut self, packet: &Packet) {
        self.post(&packet.bytes(), &[]);
        self.bench.run();
        assert!(self.bench.queue(1).used().is_some(), "not taken: {packet:?}");
    }
}

/// A host whose connections are socket pairs. Clones are the same.
#[derive(Debug, Clone)]
pub struct Pairs {
    inner: Arc<Mutex<Inner>>,
    /// Becomes readable when there is a client.
    bell: Arc<(UnixStream, UnixStream)>,
}

#[derive(Debug)]
struct Inner {
    /// The other ends of what the guest has connected to, with the port.
    servers: VecDeque<(u32, UnixStream)>,
    /// Those who want to reach the guest.
    clients: VecDeque<UnixStream>,
    refusals: usize,
}

impl Pairs {
    /// A host on which something listens on each port but 0.
    pub fn new() -> io::Result<Self> {
        let inner = Inner { servers: VecDeque::new(), clients: VecDeque::new(), refusals: 0 };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), bell: Arc::new(pair()?) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The other end of what the guest has connected to first.
    pub fn server(&self) -> Option<(u32, UnixStream)> {
        self.inner().servers.pop_front()
    }

    /// A client that has not said anything yet.
    pub fn silent_client(&self) -> UnixStream {
        let (near, far) = pair().unwrap();
        self.inner().clients.push_back(near);
        (&self.bell.1).write_all(&[1]).unwrap();
        far
    }

    /// A client that wants this port of the guest's. It reads the host's port, 4 bytes in little-endian order, when the guest
    /// has accepted.
    pub fn client(&self, port: u32) -> UnixStream {
        let mut client = self.silent_client();
        client.write_all(&port.to_le_bytes()).unwrap();
        client
    }

    /// Lets the next attempts to accept a client fail.
    pub fn refuse(&self, count: usize) {
        self.inner().refusals = count;
    }
}

/// Two ends that do not wait.
fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    Ok((near, far))
}

impl Host for Pairs {
    type Stream = End;

    fn connect(&mut self, port: u32) -> io::Result<End> {
        if port == 0 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = pair()?;
        self.inner().servers.push_back((port, far));
        Ok(End(near, Vec::new()))
    }

    fn listener(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.0.as_fd())
    }

    fn accept(&mut self) -> io::Result<End> {
        let mut inner = self.inner();
        if let Some(left) = inner.refusals.checked_sub(1) {
            inner.refusals = left;
            return Err(io::Error::from_raw_os_error(24));
        }
        let client = inner.clients.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        (&self.bell.0).read_exact(&mut [0])?;
        Ok(End(client, Vec::new()))
    }
}

/// One end of a pair, and what a client has said.
#[derive(Debug)]
pub struct End(UnixStream, Vec<u8>);

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Stream for End {
    fn wanted_port(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        let room = bytes.len() - self.1.len();
        match self.0.read(&mut bytes[..room])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => self.1.extend(&bytes[..got]),
        }
        let said: [u8; 4] = self.1.as_slice().try_into().map_err(|_| io::ErrorKind::WouldBlock)?;
        Ok(u32::from_le_bytes(said))
    }

    fn welcome(&mut self, host_port: u32) -> io::Result<()> {
        self.0.write_all(&host_port.to_le_bytes())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }
}

impl ReadVolatile for End {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        into: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        self.0.read_volatile(into)
    }
}

impl WriteVolatile for End {
    fn write_volatile<B: BitmapSlice>(
        &mut self,
        from: &VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        self.0.write_volatile(from)
    }
}

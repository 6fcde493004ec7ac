//! Networks without privilege: passt, which is a program of its own, lets connections of the guest's look like those of
//! an ordinary program.
//!
//! Frames pass over a stream socket, each with its length before it, 32 bits, the highest byte first.

mod spawn;

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use strata_devices::virtio::net::{HEADER, LinkError, NetBackend};
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

pub use spawn::{PasstError, PasstOptions, Said};

use crate::iovecs::Iovecs;

/// Size of a frame's length.
const LENGTH: usize = 4;
/// The shortest frame: Ethernet's header.
const SHORTEST: usize = 14;
/// The longest one that passt takes.
const LONGEST: usize = 65_535;

/// A link that passt, or anything that speaks as it does, has the other end of.
///
/// It has no offloads: packets are ready for the wire.
///
/// When the peer closes the socket or sends what is no frame, the link is lost, for good: passt itself ends when its
/// socket is closed.
///
/// ```no_run
/// use strata_backends::passt::{Passt, PasstOptions};
///
/// let link = Passt::spawn(&PasstOptions { arguments: &["--tcp-ports".as_ref(), "2222:22".as_ref()], ..Default::default() })?;
/// # Ok::<(), strata_backends::passt::PasstError>(())
/// ```
#[derive(Debug)]
pub struct Passt {
    socket: UnixStream,
    mtu: Option<u16>,
    iovecs: Iovecs,
    /// What has come and is not yet received, perhaps several frames, perhaps a part of one.
    coming: Half,
    /// The end of a frame of which the socket has taken the beginning.
    going: Half,
}

/// A buffer for at most one frame with its length, of which a part is filled.
#[derive(Debug)]
struct Half {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Half {
    fn with_room(len: usize) -> Self {
        Self { bytes: vec![0; len], from: 0, to: 0 }
    }

    fn filled(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    /// Forgets the first bytes.
    fn take(&mut self, count: usize) {
        self.from = self.to.min(self.from.saturating_add(count));
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
    }

    /// What is free, with what is filled moved to the beginning.
    fn free(&mut self) -> &mut [u8] {
        if self.from > 0 {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        self.bytes.get_mut(self.to..).unwrap_or_default()
    }
}

impl Passt {
    /// Starts passt, which ends when this is dropped or this process does, and waits until it works: it takes some 50
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not start.
    pub fn spawn(options: &PasstOptions<'_>) -> Result<Self, PasstError> {
        let socket = spawn::spawn(options)?;
        Self::from_stream(socket, Some(options.mtu)).map_err(PasstError::Socket)
    }

    /// Connects to a passt that runs already, by the path of its socket. The guest hears of the MTU from it by DHCP.
    ///
    /// # Errors
    ///
    /// What `connect(2)` answered.
    pub fn connect(path: &Path) -> Result<Self, PasstError> {
        UnixStream::connect(path)
            .and_then(|socket| Self::from_stream(socket, None))
            .map_err(|error| PasstError::Connect { path: path.into(), error })
    }

    /// A link over a connected stream socket, which is non-blocking from now on. `mtu` is told to the guest, if it is
    /// known.
    ///
    /// # Errors
    ///
    /// What `fcntl(2)` answered.
    pub fn from_stream(socket: UnixStream, mtu: Option<u16>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            mtu,
            iovecs: Iovecs::default(),
            coming: Half::with_room(LENGTH + LONGEST),
            going: Half::with_room(0),
        })
    }

    /// How long the frame is that comes next, if that has come.
    fn next_len(&self) -> Result<Option<usize>, LinkError> {
        let Some(len) = self.coming.filled().first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes(*len) as usize;
        if (SHORTEST..=LONGEST).contains(&len) {
            return Ok(Some(len));
        }
        Err(LinkError::Lost(io::Error::new(io::ErrorKind::InvalidData, "passt sent what is no frame")))
    }
}

/// What it means for the link that the socket has failed.
fn failed(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::WouldBlock => LinkError::NotReady,
        _ => LinkError::Lost(error),
    }
}

fn closed() -> LinkError {
    LinkError::Lost(io::Error::new(io::ErrorKind::UnexpectedEof, "passt has closed its socket"))
}

impl AsRawFd for Passt {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl NetBackend for Passt {
    fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    fn send<'m, B: BitmapSlice>(
        &mut self,
        packet: impl Iterator<Item = VolatileSlice<'m, B>>,
    ) -> Result<(), LinkError> {
        // One frame after the other.
        self.flush()?;
        let mut sources = self.iovecs.sources();
        let mut skip = HEADER;
        for slice in packet {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            if let Ok(slice) = slice.offset(skipped)
                && !slice.is_empty()
            {
                sources.slice(&slice);
            }
        }
        let len = sources.len();
        if !(SHORTEST..=LONGEST).contains(&len) {
            let why = "it is shorter than Ethernet's header or longer than 65,535 bytes";
            return Err(LinkError::Packet(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let length = u32::try_from(len).unwrap_or(0).to_be_bytes();
        sources.put_first(&length);
        let sent = sources.send(&self.socket).map_err(failed)?;
        if sent < LENGTH + len {
            // It keeps the room that it once had.
            self.going.bytes.resize(self.going.bytes.len().max(LENGTH + len - sent), 0);
            self.going.to = sources.copy(sent, &mut self.going.bytes);
        }
        Ok(())
    }

    fn has_unsent(&self) -> bool {
        !self.going.filled().is_empty()
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        while self.has_unsent() {
            match self.socket.write(self.going.filled()) {
                Ok(0) => return Err(closed()),
                Ok(sent) => self.going.take(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn has_received(&self) -> bool {
        match self.next_len() {
            Ok(Some(len)) => self.coming.filled().len() >= LENGTH + len,
            Ok(None) => false,
            // That is to be told.
            Err(_) => true,
        }
    }

    fn receive<'m, B: BitmapSlice>(
        &mut self,
        into: impl Iterator<Item = VolatileSlice<'m, B>>,
        spill: &mut [u8],
    ) -> Result<usize, LinkError> {
        let len = loop {
            if let Some(len) = self.next_len()?
                && self.coming.filled().len() >= LENGTH + len
            {
                break len;
            }
            match self.socket.read(self.coming.free()) {
                Ok(0) => return Err(closed()),
                Ok(read) => self.coming.to += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        };
        let (_, rest) = self.coming.filled().split_at(LENGTH);
        let frame = rest.get(..len).unwrap_or_default();
        scatter([&[0; HEADER], frame], into, spill);
        self.coming.take(LENGTH + len);
        Ok(HEADER + len)
    }
}

/// Copies two things, one behind the other, into guest memory and what is left into `spill`, as far as there is room.
fn scatter<'m, B: BitmapSlice>(
    [mut first, mut second]: [&[u8]; 2],
    into: impl Iterator<Item = VolatileSlice<'m, B>>,
    spill: &mut [u8],
) {
    let mut copy = |slice: VolatileSlice<'_, B>| {
        let here = first.len().min(slice.len());
        slice.copy_from(first.get(..here).unwrap_or_default());
        first = first.get(here..).unwrap_or_default();
        if let Ok(behind) = slice.offset(here) {
            let here = second.len().min(behind.len());
            behind.copy_from(second.get(..here).unwrap_or_default());
            second = second.get(here..).unwrap_or_default();
        }
        !second.is_empty()
    };
    for slice in into {
        if !copy(slice) {
            return;
        }
    }
    let all = first.iter().chain(second);
    for (to, from) in spill.iter_mut().zip(all) {
        *to = *from;
    }
}

#[cfg(test)]
#[path = "passt_test.rs"]
mod tests;

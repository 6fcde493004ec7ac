//! A host whose connections are in memory: what sockets do, without the kernel's time, and faults at will.

#![allow(unsafe_code, reason = "an eventfd as a borrowed descriptor")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use strata_devices::virtio::vm_memory::bitmap::BitmapSlice;
use strata_devices::virtio::vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};
use strata_devices::virtio::vsock::{Host, Stream};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// As much as a socket takes of what nobody reads.
const ROOM: usize = 208 << 10;

/// What is watched for edges: each ring is one.
#[derive(Debug)]
struct Bell(EventFd);

impl Bell {
    fn new() -> Self {
        Self(EventFd::new(EFD_NONBLOCK).unwrap())
    }

    fn ring(&self) {
        self.0.write(1).unwrap();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open as long as the borrow lasts.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// A connection.
#[derive(Debug)]
struct Wire {
    state: Mutex<State>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct State {
    to_guest: VecDeque<u8>,
    to_guest_ended: bool,
    from_guest: VecDeque<u8>,
    from_guest_ended: bool,
    /// How much is kept of what nobody reads.
    room: usize,
    /// The device has closed its end.
    is_closed: bool,
    /// What the device's next attempt answers.
    error: Option<i32>,
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn shutdown(&self, ends_to_guest: bool, ends_from_guest: bool) {
        let mut state = self.state();
        state.to_guest_ended |= ends_to_guest;
        state.from_guest_ended |= ends_from_guest;
        drop(state);
        // Both ends hear of it, as with sockets.
        self.bell.ring();
    }
}

/// The other end of a connection. Dropped, it is closed.
#[derive(Debug)]
pub(super) struct Far(Arc<Wire>);

impl Far {
    /// Writes for the guest, as much as there is room.
    pub(super) fn write(&self, bytes: &[u8]) {
        let mut state = self.0.state();
        if !state.is_closed && !state.to_guest_ended {
            let len = bytes.len().min(ROOM.saturating_sub(state.to_guest.len()));
            state.to_guest.extend(&bytes[..len]);
            drop(state);
            self.0.bell.ring();
        }
    }

    /// Reads what the guest has written, so many bytes at most.
    pub(super) fn read(&self, most: usize) {
        let mut state = self.0.state();
        let len = most.min(state.from_guest.len());
        state.from_guest.drain(..len);
        drop(state);
        self.0.bell.ring();
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        self.0.shutdown(how != Shutdown::Read, how != Shutdown::Write);
    }

    /// Has the device's next attempt fail.
    pub(super) fn fail(&self, errno: i32) {
        self.0.state().error = Some(errno);
        self.0.bell.ring();
    }

    /// Whether nothing will come from the guest any more.
    pub(super) fn has_ended(&self) -> bool {
        let state = self.0.state();
        state.is_closed || state.from_guest_ended
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.shutdown(Shutdown::Both);
    }
}

/// The device's end.
#[derive(Debug)]
pub(super) struct Near(Arc<Wire>);

impl Drop for Near {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
    }
}

fn pair(room: usize) -> (Near, Far) {
    let state = Mutex::new(State { room, ..State::default() });
    let wire = Arc::new(Wire { state, bell: Bell::new() });
    (Near(Arc::clone(&wire)), Far(wire))
}

impl Near {
    /// What there is to be read, if there is something or the end.
    fn readable(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.0.state();
        match state.error.take() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None if state.to_guest.is_empty() && !state.to_guest_ended => Err(ErrorKind::WouldBlock.into()),
            None => Ok(state),
        }
    }

    /// How many of `len` bytes can be written.
    fn writable(&self, len: usize) -> io::Result<(MutexGuard<'_, State>, usize)> {
        let mut state = self.0.state();
        if let Some(errno) = state.error.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if state.from_guest_ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = state.room.saturating_sub(state.from_guest.len()).min(len);
        if room == 0 && len > 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok((state, room)) }
    }
}

impl AsFd for Near {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}

impl Stream for Near {
    fn wanted_port(&mut self) -> io::Result<u32> {
        let mut state = self.readable()?;
        match (state.to_guest.len(), state.to_guest_ended) {
            (4.., _) => {
                let mut bytes = [0; 4];
                bytes.iter_mut().zip(state.to_guest.drain(..4)).for_each(|(to, from)| *to = from);
                Ok(u32::from_le_bytes(bytes))
            }
            (_, true) => Err(ErrorKind::UnexpectedEof.into()),
            _ => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn welcome(&mut self, host_port: u32) -> io::Result<()> {
        self.writable(0)?.0.from_guest.extend(host_port.to_le_bytes());
        Ok(())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how != Shutdown::Write, how != Shutdown::Read);
        Ok(())
    }
}

impl ReadVolatile for Near {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        into: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        let mut state = self.readable().map_err(VolatileMemoryError::IOError)?;
        let len = into.len().min(state.to_guest.len());
        // The first part may be shorter, which is as well.
        let (first, _) = state.to_guest.as_slices();
        let len = len.min(first.len());
        into.copy_from(&first[..len]);
        state.to_guest.drain(..len);
        Ok(len)
    }
}

impl WriteVolatile for Near {
    fn write_volatile<B: BitmapSlice>(
        &mut self,
        from: &VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        let (mut state, len) = self.writable(from.len()).map_err(VolatileMemoryError::IOError)?;
        let mut bytes = vec![0; len];
        from.copy_to(&mut bytes);
        state.from_guest.extend(bytes);
        Ok(len)
    }
}

/// The host. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Ends(Arc<Listening>);

#[derive(Debug)]
struct Listening {
    waiting: Mutex<Waiting>,
    bell: Bell,
}

#[derive(Debug)]
struct Waiting {
    /// The other ends of what the guest has connected to.
    servers: Vec<Far>,
    /// Those who want to reach the guest.
    clients: VecDeque<Near>,
    refusals: usize,
    room: usize,
}

impl Ends {
    /// A host on which something listens on each port but 0.
    pub(super) fn new() -> Self {
        let waiting = Waiting { servers: Vec::new(), clients: VecDeque::new(), refusals: 0, room: ROOM };
        Self(Arc::new(Listening { waiting: Mutex::new(waiting), bell: Bell::new() }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap()
    }

    /// The other ends of what the guest has connected to since the last time.
    pub(super) fn servers(&self) -> Vec<Far> {
        mem::take(&mut self.waiting().servers)
    }

    /// A client that has not said anything yet.
    pub(super) fn silent_client(&self) -> Far {
        let mut waiting = self.waiting();
        let (near, far) = pair(waiting.room);
        waiting.clients.push_back(near);
        self.0.bell.ring();
        far
    }

    /// A client that wants this port of the guest's.
    pub(super) fn client(&self, port: u32) -> Far {
        let client = self.silent_client();
        client.write(&port.to_le_bytes());
        client
    }

    /// Lets the next attempts to accept a client fail.
    pub(super) fn refuse(&self, count: usize) {
        self.waiting().refusals = count;
    }

    /// How much connections from now on keep of what nobody reads.
    pub(super) fn set_room(&self, room: usize) {
        self.waiting().room = room;
    }
}

impl Host for Ends {
    type Stream = Near;

    fn connect(&mut self, port: u32) -> io::Result<Near> {
        if port == 0 {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let mut waiting = self.waiting();
        let (near, far) = pair(waiting.room);
        waiting.servers.push(far);
        Ok(near)
    }

    fn listener(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.bell.as_fd())
    }

    fn accept(&mut self) -> io::Result<Near> {
        let mut waiting = self.waiting();
        if let Some(left) = waiting.refusals.checked_sub(1) {
            waiting.refusals = left;
            // No more descriptors.
            return Err(io::Error::from_raw_os_error(24));
        }
        waiting.clients.pop_front().ok_or(ErrorKind::WouldBlock.into())
    }
}

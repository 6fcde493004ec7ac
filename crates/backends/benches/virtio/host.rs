//! What both sides work with on the host: a file, and a TAP with a socket on its other side.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use strata_backends::tap::{Tap, TapOptions};

use crate::Result;

/// Blocks of the file.
pub(crate) const BLOCKS: u32 = 256;
pub(crate) const BLOCK: usize = 4096;
/// A packet of 1,500 bytes behind Ethernet's header.
pub(crate) const FRAME: usize = 1514;

const TAP: &str = "bench0";
/// For experiments (IEEE 802): no protocol of the host's takes it.
const PROTOCOL: u16 = 0x88b5;

pub(crate) struct Host {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Cloned for each side: all are the same queue.
    pub(crate) tap: OwnedFd,
    /// What is sent here comes out of the TAP.
    packets: OwnedFd,
    address: libc::sockaddr_ll,
    frame: [u8; FRAME],
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Host {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("blocks.img");
        let bytes: Vec<u8> = (0..BLOCKS as usize * BLOCK).map(|at| (at / BLOCK) as u8).collect();
        fs::write(&path, bytes)?;
        let file = File::open(&path)?;
        // SAFETY: it takes flags and touches no memory. There is one thread yet, which all others come from.
        checked(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let tap = Tap::open(&TapOptions::new(TAP))?.remove(0);
        // SAFETY: the descriptor is open; the copy is ours. `tap` is dropped, what it set up stays with the open file.
        let copy = unsafe { OwnedFd::from_raw_fd(checked(libc::dup(tap.as_raw_fd()))?) };
        drop(tap);
        let protocol = PROTOCOL.to_be();
        // SAFETY: plain numbers.
        let socket = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) })?;
        // SAFETY: it was opened just now and is nobody else's.
        let packets = unsafe { OwnedFd::from_raw_fd(socket) };
        let index = up(&packets)?;
        // SAFETY: it is plain data, for which zeros mean nothing.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index;
        let mut frame = [0x5a; FRAME];
        frame[..6].fill(0xff);
        frame[12..14].copy_from_slice(&PROTOCOL.to_be_bytes());
        Ok(Self { path, file, tap: copy, packets, address, frame })
    }

    /// What a guest sends that nobody takes.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Makes a packet come to the guest.
    pub(crate) fn send(&self) {
        let Self { packets, address, frame, .. } = self;
        let size = size_of_val(address) as u32;
        // SAFETY: the frame and the address are as long as is said.
        let sent = unsafe {
            let address = (&raw const *address).cast();
            libc::sendto(packets.as_raw_fd(), frame.as_ptr().cast(), FRAME, 0, address, size)
        };
        assert_eq!(sent, FRAME as isize, "{}", io::Error::last_os_error());
    }
}

/// Switches the TAP on; gives its index.
fn up(socket: &OwnedFd) -> io::Result<i32> {
    // SAFETY: it is plain data, for which zeros are an empty name and no flags.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(TAP.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: both requests take an `ifreq`, and the second fills in the index.
    unsafe {
        checked(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request))?;
        checked(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX as _, &raw mut request))?;
        Ok(request.ifr_ifru.ifru_ifindex)
    }
}

//! What is asked of `/dev/net/tun` (Linux, `Documentation/networking/tuntap.rst` and `include/uapi/linux/if_tun.h`).

#![allow(unsafe_code, reason = "ioctls")]

use std::io;
use std::os::fd::AsRawFd;

/// The longest name of an interface, in bytes.
pub(super) const LONGEST_NAME: usize = libc::IFNAMSIZ - 1;

/// A request with a name and flags or a number: `struct ifreq`.
pub(super) fn request(name: &[u8]) -> libc::ifreq {
    // SAFETY: it is plain data, for which zeros are an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.iter().take(LONGEST_NAME)) {
        *to = from.cast_signed();
    }
    request
}

/// The name in it.
pub(super) fn name(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

fn with_request(fd: &impl AsRawFd, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all requests that this module passes here take a pointer to an `ifreq`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), number, &raw mut *request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a fresh descriptor a queue of the interface of this name, which is made if there is none; gives its name.
pub(super) fn attach(fd: &impl AsRawFd, name_wanted: &str, flags: i32) -> io::Result<String> {
    let mut request = request(name_wanted.as_bytes());
    request.ifr_ifru.ifru_flags = i16::from_ne_bytes(low_half(flags));
    with_request(fd, libc::TUNSETIFF, &mut request)?;
    Ok(name(&request))
}

/// The interface's name and the flags that a queue has been attached with.
pub(super) fn attached(fd: &impl AsRawFd) -> io::Result<(String, i32)> {
    let mut request = request(b"");
    with_request(fd, libc::TUNGETIFF, &mut request)?;
    // SAFETY: the kernel has written the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((name(&request), u16::from_ne_bytes(flags.to_ne_bytes()).into()))
}

/// Has a queue of several take part, or not.
pub(super) fn set_queue(fd: &impl AsRawFd, enabled: bool) -> io::Result<()> {
    let mut request = request(b"");
    let flags = if enabled { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
    request.ifr_ifru.ifru_flags = i16::from_ne_bytes(low_half(flags));
    with_request(fd, libc::TUNSETQUEUE, &mut request)
}

/// Sets how long the header before each packet is, in bytes.
pub(super) fn set_header_size(fd: &impl AsRawFd, size: usize) -> io::Result<()> {
    let size = i32::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads an `int` there.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets which packets may come that are not ready for the wire: `TUN_F_` flags.
pub(super) fn set_offloads(fd: &impl AsRawFd, flags: u32) -> io::Result<()> {
    // SAFETY: it takes the flags themselves.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the interface stay when nobody has it open, or not.
pub(super) fn set_persistent(fd: &impl AsRawFd, persistent: bool) -> io::Result<()> {
    // SAFETY: it takes a number.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST, libc::c_ulong::from(persistent)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The MTU of an interface of this network namespace, in bytes.
pub(super) fn mtu(socket: &impl AsRawFd, name: &str) -> io::Result<i32> {
    let mut request = request(name.as_bytes());
    // The constant's type is another one with each C library.
    with_request(socket, libc::SIOCGIFMTU as libc::Ioctl, &mut request)?;
    // SAFETY: the kernel has written the MTU.
    Ok(unsafe { request.ifr_ifru.ifru_mtu })
}

/// An interface of this network namespace by its name.
pub(super) fn exists(name: &str) -> bool {
    std::fs::exists(std::path::Path::new("/sys/class/net").join(name)).unwrap_or(false)
}

/// Flags are a `short` in a request.
fn low_half(flags: i32) -> [u8; 2] {
    u16::try_from(flags & 0xffff).unwrap_or(0).to_ne_bytes()
}

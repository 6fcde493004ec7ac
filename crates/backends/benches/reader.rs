//! What a guest runs that `cargo xtask bench virtio` counts the exits of: it reads blocks of a disk, 32 at a time.
//!
//! `reader DISK COUNT`. Without these nothing is done. `BEGIN` and `END` are printed around it, with a pause behind each,
//! in which nothing is read.

#![allow(unsafe_code, reason = "Linux's asynchronous I/O has no other calls")]
#![allow(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "fields of structures of the kernel's and of a ring's"
)]

use std::alloc::{Layout, alloc};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;
use std::time::Duration;

const DEPTH: usize = 32;
const BLOCK: usize = 4096;
/// Blocks side by side would be one request.
const STEP: u64 = 2 * BLOCK as u64;
const DISK: u64 = 16 << 20;
const PAUSE: Duration = Duration::from_millis(500);

/// A request (`struct iocb` of `include/uapi/linux/aio_abi.h`).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Request {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    len: u64,
    offset: u64,
    reserved: u64,
    flags: u32,
    event: u32,
}

/// What became of one (`struct io_event`).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Answer {
    data: u64,
    request: u64,
    result: i64,
    more: i64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [disk, count] = arguments.as_slice() else { return Ok(()) };
    let disk = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(disk)?;
    let count = count.parse()?;
    // Once before, for what happens at the first time only.
    read(&disk, DEPTH)?;
    say("BEGIN")?;
    read(&disk, count)?;
    say("END")
}

fn say(word: &str) -> Result<(), Box<dyn Error>> {
    println!("{word}");
    io::stdout().flush()?;
    thread::sleep(PAUSE);
    Ok(())
}

fn checked(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Reads so many blocks; a new read begins for each that has ended, those that have ended together at once.
fn read(disk: &File, count: usize) -> Result<(), Box<dyn Error>> {
    let mut context: libc::c_ulong = 0;
    // SAFETY: the call writes the context.
    checked(unsafe { libc::syscall(libc::SYS_io_setup, DEPTH, &raw mut context) })?;
    // SAFETY: the size is not 0. It is never freed.
    let buffers = unsafe { alloc(Layout::from_size_align(DEPTH * BLOCK, BLOCK)?) };
    let mut requests = [Request::default(); DEPTH];
    let mut answers = [Answer::default(); DEPTH];
    let (mut begun, mut ended) = (0, 0);
    let mut free: Vec<usize> = (0..DEPTH).collect();
    while ended < count {
        let mut new = Vec::with_capacity(DEPTH);
        while begun < count
            && let Some(slot) = free.pop()
        {
            requests[slot] = Request {
                data: slot as u64,
                file: disk.as_raw_fd() as u32,
                buffer: buffers as u64 + (slot * BLOCK) as u64,
                len: BLOCK as u64,
                offset: begun as u64 * STEP % DISK,
                ..Request::default()
            };
            new.push(&raw mut requests[slot]);
            begun += 1;
        }
        // SAFETY: requests and buffers stay until they have been answered, and are not used meanwhile.
        let submitted =
            checked(unsafe { libc::syscall(libc::SYS_io_submit, context, new.len(), new.as_ptr()) })?;
        assert_eq!(submitted, new.len());
        let none = std::ptr::null::<libc::timespec>();
        let room = answers.as_mut_ptr();
        // SAFETY: there is room for so many answers.
        let got = checked(unsafe { libc::syscall(libc::SYS_io_getevents, context, 1, DEPTH, room, none) })?;
        for answer in &answers[..got] {
            assert_eq!(answer.result, BLOCK as i64);
            free.push(answer.data as usize);
        }
        ended += got;
    }
    Ok(())
}

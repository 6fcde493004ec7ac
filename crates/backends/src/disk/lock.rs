//! Files that nobody else writes.

#![allow(
    unsafe_code,
    reason = "locks a file for this open file description, for which there is no safe call"
)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

use libc::c_int;

/// How often a lock is tried, and how long it is waited in between: the kernel ends what a killed process had in flight
/// after the process, and until then the lock is there.
const ATTEMPTS: usize = 26;
const PAUSE: Duration = Duration::from_millis(20);

/// A file that is locked as long as it is there.
#[derive(Debug)]
pub(super) struct LockedFile(File);

impl LockedFile {
    /// Locks a file against others, or against those who write; `None` if they are there.
    pub(super) fn new(file: File, read_only: bool) -> Option<Self> {
        for attempt in 1..=ATTEMPTS {
            if try_lock(&file, read_only) {
                return Some(Self(file));
            }
            if attempt < ATTEMPTS {
                thread::sleep(PAUSE);
            }
        }
        None
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing does that too, but later where the kernel or a process that is just being started has the file as well.
        let _ = byte_lock(&self.0, libc::F_OFD_SETLK, libc::F_UNLCK, (0, 0));
    }
}

/// Locks all of the file against others, or against those who write; `false` if they are there. File systems that have no
/// locks are no hindrance.
fn try_lock(file: &File, read_only: bool) -> bool {
    // QEMU locks a byte from 100 on for each thing that it does, and one from 200 on for each that others must not do: 0
    // stands for reading, 1 for writing, 3 for resizing. So a reader here goes together with its readers, and a writer with
    // nobody.
    let done = if read_only {
        let mine = [100, 201, 203]
            .into_iter()
            .try_for_each(|byte| byte_lock(file, libc::F_OFD_SETLK, libc::F_RDLCK, (byte, 1)).map(drop));
        let of_others = |byte| byte_lock(file, libc::F_OFD_GETLK, libc::F_WRLCK, (byte, 1));
        mine.and_then(|()| Ok([of_others(101)?, of_others(103)?, of_others(200)?] == [libc::F_UNLCK; 3]))
    } else {
        byte_lock(file, libc::F_OFD_SETLK, libc::F_WRLCK, (0, 0)).map(|_| true)
    };
    done.unwrap_or_else(|error| {
        let is_locked = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES));
        if !is_locked {
            log::warn!("a disk cannot be locked against others: {error}");
        }
        !is_locked
    })
}

/// Locks a range of bytes, or asks who has; gives the kind of lock that the kernel answers.
fn byte_lock(file: &File, command: c_int, kind: c_int, (start, len): (i64, i64)) -> io::Result<c_int> {
    let mut lock = libc::flock {
        l_type: libc::c_short::try_from(kind).unwrap_or_default(),
        l_whence: 0,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel reads and writes `lock` only.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        0 => Ok(lock.l_type.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

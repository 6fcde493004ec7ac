//! Eventfds, timers and epoll instances without the kernel, which took half of the time of a run.
//!
//! These functions take the place of libc's. They do what `eventfd(2)`, `timerfd_create(2)` and `epoll(7)` say, as far
//! as devices on a bench need it: nobody waits, and no timer expires. What a test does with the corpus is done by the
//! kernel, so that a difference would be seen there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint, c_void};
use std::slice;

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, epoll_event, itimerspec};

/// Descriptors from here on are ours.
const FIRST: c_int = 1 << 24;
/// What an eventfd counts up to.
const MOST: u64 = u64::MAX - 1;

#[derive(Default)]
struct Files(Vec<Option<File>>);

enum File {
    Event { count: u64, watchers: Vec<usize> },
    Timer { watchers: Vec<usize> },
    Epoll { interest: Vec<(usize, epoll_event)>, ready: VecDeque<usize> },
}

/// An error's number.
type Answer<T = ()> = Result<T, c_int>;

thread_local! {
    static FILES: RefCell<Files> = RefCell::default();
}

impl Files {
    /// The lowest descriptor that is free, as the kernel has it.
    fn open(&mut self, file: File) -> usize {
        let free = self.0.iter().position(Option::is_none);
        let fd = free.unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[fd] = Some(file);
        fd
    }

    fn get(&mut self, fd: usize) -> Answer<&mut File> {
        self.0.get_mut(fd).and_then(Option::as_mut).ok_or(libc::EBADF)
    }

    fn epoll(&mut self, fd: usize) -> Answer<(&mut Vec<(usize, epoll_event)>, &mut VecDeque<usize>)> {
        match self.get(fd)? {
            File::Epoll { interest, ready } => Ok((interest, ready)),
            _ => Err(libc::EINVAL),
        }
    }

    fn watchers(&mut self, fd: usize) -> Answer<&mut Vec<usize>> {
        match self.get(fd)? {
            File::Event { watchers, .. } | File::Timer { watchers } => Ok(watchers),
            File::Epoll { .. } => Err(libc::EINVAL),
        }
    }

    /// For what it is ready now.
    fn readiness(&mut self, fd: usize) -> u32 {
        match self.get(fd) {
            Ok(File::Event { count, .. }) => {
                let (readable, writable) = (*count > 0, *count < MOST);
                u32::from(readable) * EPOLLIN as u32 | u32::from(writable) * EPOLLOUT as u32
            }
            _ => 0,
        }
    }

    fn close(&mut self, fd: usize) -> Answer {
        if let Ok(watchers) = self.watchers(fd) {
            for epoll in watchers.clone() {
                let (interest, ready) = self.epoll(epoll)?;
                interest.retain(|(of, _)| *of != fd);
                ready.retain(|of| *of != fd);
            }
        } else {
            for (of, _) in self.epoll(fd)?.0.clone() {
                self.watchers(of)?.retain(|epoll| *epoll != fd);
            }
        }
        self.0[fd] = None;
        Ok(())
    }

    fn write(&mut self, fd: usize, value: u64) -> Answer {
        let File::Event { count, watchers } = self.get(fd)? else { return Err(libc::EINVAL) };
        *count = count.checked_add(value).filter(|sum| *sum <= MOST).ok_or(libc::EAGAIN)?;
        for epoll in watchers.clone() {
            let (interest, ready) = self.epoll(epoll)?;
            let wants = |(of, event): &(usize, epoll_event)| *of == fd && event.events & EPOLLIN as u32 != 0;
            if interest.iter().any(wants) && !ready.contains(&fd) {
                ready.push_back(fd);
            }
        }
        Ok(())
    }

    fn control(&mut self, epoll: usize, op: c_int, fd: usize, event: Option<epoll_event>) -> Answer {
        let readiness = self.readiness(fd);
        self.watchers(fd)?;
        let (interest, ready) = self.epoll(epoll)?;
        let place = interest.iter().position(|(of, _)| *of == fd);
        match (op, place, event) {
            (EPOLL_CTL_ADD, None, Some(event)) => interest.push((fd, event)),
            (EPOLL_CTL_MOD, Some(place), Some(event)) => interest[place].1 = event,
            (EPOLL_CTL_DEL, Some(place), _) => drop(interest.remove(place)),
            (EPOLL_CTL_ADD, Some(_), _) => return Err(libc::EEXIST),
            (EPOLL_CTL_MOD | EPOLL_CTL_DEL, None, _) => return Err(libc::ENOENT),
            _ => return Err(libc::EINVAL),
        }
        if op == EPOLL_CTL_DEL {
            ready.retain(|of| *of != fd);
            self.watchers(fd)?.retain(|of| *of != epoll);
            return Ok(());
        }
        let is_ready = event.is_some_and(|event| event.events & readiness != 0);
        if is_ready && !ready.contains(&fd) {
            ready.push_back(fd);
        }
        if op == EPOLL_CTL_ADD {
            self.watchers(fd)?.push(epoll);
        }
        Ok(())
    }

    fn wait(&mut self, epoll: usize, events: &mut [epoll_event]) -> Answer<usize> {
        let (mut count, waiting) = (0, self.epoll(epoll)?.1.len());
        for _ in 0..waiting {
            if count == events.len() {
                break;
            }
            let Some(fd) = self.epoll(epoll)?.1.pop_front() else { break };
            let readiness = self.readiness(fd);
            let (interest, ready) = self.epoll(epoll)?;
            let Some((_, event)) = interest.iter().find(|(of, _)| *of == fd) else { continue };
            let now = event.events & readiness;
            if now == 0 {
                continue;
            }
            events[count] = epoll_event { events: now, u64: event.u64 };
            count += 1;
            if event.events & libc::EPOLLET as u32 == 0 {
                ready.push_back(fd);
            }
        }
        Ok(count)
    }
}

fn ours(fd: c_int) -> Option<usize> {
    fd.checked_sub(FIRST).and_then(|fd| usize::try_from(fd).ok())
}

fn answer<T: TryInto<c_int>>(what: impl FnOnce(&mut Files) -> Answer<T>) -> c_int {
    let answer = FILES.with_borrow_mut(what);
    match answer {
        Ok(value) => value.try_into().unwrap_or(c_int::MAX),
        Err(errno) => {
            // SAFETY: it is this thread's.
            unsafe { *libc::__errno_location() = errno };
            -1
        }
    }
}

fn open(file: File) -> c_int {
    answer(|files| Ok(files.open(file))) + FIRST
}

#[unsafe(no_mangle)]
extern "C" fn eventfd(count: c_uint, _: c_int) -> c_int {
    open(File::Event { count: count.into(), watchers: Vec::new() })
}

#[unsafe(no_mangle)]
extern "C" fn timerfd_create(_: c_int, _: c_int) -> c_int {
    open(File::Timer { watchers: Vec::new() })
}

#[unsafe(no_mangle)]
extern "C" fn timerfd_settime(_: c_int, _: c_int, _: *const itimerspec, _: *mut itimerspec) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn epoll_create1(_: c_int) -> c_int {
    open(File::Epoll { interest: Vec::new(), ready: VecDeque::new() })
}

/// # Safety
///
/// As that of libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *const epoll_event) -> c_int {
    // SAFETY: the caller's promise.
    let event = (!event.is_null()).then(|| unsafe { event.read_unaligned() });
    answer(|files| {
        let (Some(epoll), Some(fd)) = (ours(epoll), ours(fd)) else { return Err(libc::EPERM) };
        files.control(epoll, op, fd, event).map(|()| 0)
    })
}

/// # Safety
///
/// As that of libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(epoll: c_int, events: *mut epoll_event, most: c_int, _: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let events = unsafe { slice::from_raw_parts_mut(events, usize::try_from(most).unwrap_or(0)) };
    answer(|files| files.wait(ours(epoll).ok_or(libc::EBADF)?, events))
}

/// # Safety
///
/// As that of libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, len: usize) -> isize {
    let Some(fd) = ours(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { libc::syscall(libc::SYS_write, fd, bytes, len) as isize };
    };
    // SAFETY: the caller's promise: eventfds take eight bytes.
    let value = unsafe { bytes.cast::<u64>().read_unaligned() };
    if answer(|files| files.write(fd, value).map(|()| 0)) == 0 { 8 } else { -1 }
}

/// # Safety
///
/// As that of libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    let Some(fd) = ours(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { libc::syscall(libc::SYS_close, fd) as c_int };
    };
    answer(|files| files.close(fd).map(|()| 0))
}

/// The standard library asks with it whether what it closes is open.
///
/// # Safety
///
/// As that of libc, whose third argument is read as this one where there is one.
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    let Some(fd) = ours(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) as c_int };
    };
    answer(|files| files.get(fd).map(|_| 0))
}

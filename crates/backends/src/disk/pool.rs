//! Calls by threads, for hosts without `io_uring`.

#![allow(unsafe_code, reason = "system calls that read and write memory behind the compiler's back")]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::DEPTH;
use super::call::{Call, Outcome, outcome, read_now};
use super::lock::LockedFile;

/// How many calls are made at once.
const THREADS: usize = 4;
/// They do nothing but make system calls.
const STACK: usize = 64 << 10;

/// Threads that make calls on a file.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    queued: VecDeque<Job>,
    /// Whether reads are tried without a thread first: what the page cache has needs none.
    tries_cache: bool,
    /// What needed no thread.
    ended: VecDeque<(u16, Outcome)>,
    in_flight: usize,
}

/// A call on its way to a thread.
struct Job(u16, Call);

// SAFETY: the memory that it names is not the thread's but the guest's, or a buffer that is left alone meanwhile.
unsafe impl Send for Job {}

struct Shared {
    file: Arc<LockedFile>,
    state: Mutex<State>,
    /// There is something to do, or it ends.
    work: Condvar,
    /// Something was done.
    done: Condvar,
    event: EventFd,
}

struct State {
    jobs: VecDeque<Job>,
    done: VecDeque<(u16, Outcome)>,
    ends: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            if let Some(Job(tag, call)) = state.jobs.pop_front() {
                drop(state);
                // SAFETY: `Pool::push`'s caller has promised that memory stays until the outcome is taken.
                let outcome = unsafe { make(&self.file, call) };
                state = self.state();
                state.done.push_back((tag, outcome));
                // Whoever hears of the first takes all.
                if state.done.len() == 1 {
                    let _ = self.event.write(1);
                    self.done.notify_one();
                }
            } else if state.ends {
                return;
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Pool {
    /// Starts threads for this file, which is read through the page cache or not.
    ///
    /// # Errors
    ///
    /// What `eventfd(2)` or `clone(2)` answered.
    pub(super) fn new(file: Arc<LockedFile>, is_direct: bool) -> io::Result<Self> {
        let room = usize::from(DEPTH);
        let state =
            State { jobs: VecDeque::with_capacity(room), done: VecDeque::with_capacity(room), ends: false };
        let shared = Arc::new(Shared {
            file,
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
            event: EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?,
        });
        let mut pool = Self {
            shared,
            threads: Vec::new(),
            queued: VecDeque::with_capacity(room),
            // Without the cache, whoever begins a read waits for it too.
            tries_cache: !is_direct,
            ended: VecDeque::with_capacity(room),
            in_flight: 0,
        };
        let before = Signals::block();
        for _ in 0..THREADS {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new().name("disk".to_owned()).stack_size(STACK);
            pool.threads.push(thread.spawn(move || shared.run())?);
        }
        drop(before);
        Ok(pool)
    }

    /// Queues a call.
    ///
    /// # Safety
    ///
    /// What it names in memory stays, and may be read and written, until the call is [taken](Self::pop).
    pub(super) unsafe fn push(&mut self, tag: u16, call: Call) {
        self.queued.push_back(Job(tag, call));
        self.in_flight += 1;
    }

    /// Has what was queued begin; gives whether there was anything.
    pub(super) fn commit(&mut self) -> bool {
        if self.queued.is_empty() {
            return false;
        }
        let Self { shared, queued, ended, tries_cache, .. } = self;
        queued.retain(|&Job(tag, call)| {
            // SAFETY: `push`'s caller has promised that memory stays until the outcome is taken.
            let outcome = tries_cache.then(|| unsafe { read_now(&shared.file, call) }).flatten();
            // Any error is found again, or not, by a thread.
            let outcome = outcome.filter(|&outcome| outcome >= 0);
            ended.extend(outcome.map(|outcome| (tag, outcome)));
            outcome.is_none()
        });
        match queued.len() {
            0 => {}
            count => {
                shared.state().jobs.extend(queued.drain(..));
                // Threads that are at work take more by themselves.
                (0..count.min(THREADS)).for_each(|_| shared.work.notify_one());
            }
        }
        true
    }

    pub(super) fn pop(&mut self) -> Option<(u16, Outcome)> {
        if self.in_flight == 0 {
            return None;
        }
        let done = self.ended.pop_front().or_else(|| self.shared.state().done.pop_front())?;
        self.in_flight -= 1;
        Some(done)
    }

    /// Waits until there is one to [`pop`](Self::pop), if any is in flight.
    pub(super) fn wait(&mut self) {
        self.commit();
        let mut state = self.shared.state();
        while self.in_flight > 0 && self.ended.is_empty() && state.done.is_empty() {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }
}

/// This thread's signals, which are blocked as long as this lives: threads that are started meanwhile have them blocked for
/// good. Otherwise a signal that the process has a handler or an event loop for could end it, by way of one of them.
struct Signals(libc::sigset_t);

impl Signals {
    fn block() -> Self {
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the first call fills `all`; the second fills `before`, for it has all arguments that it can have.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: the set is what the kernel gave.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut());
        }
    }
}

impl AsRawFd for Pool {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state().ends = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Makes a call.
///
/// # Safety
///
/// What it names in memory is there, and may be read and written.
unsafe fn make(file: &File, call: Call) -> Outcome {
    let fd = file.as_raw_fd();
    let at = |offset: u64| libc::off_t::try_from(offset).unwrap_or(libc::off_t::MAX);
    let count_of = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: the descriptor is open, and memory is as the caller has promised.
    let result = unsafe {
        match call {
            Call::Read { segments, count, offset } => libc::preadv(fd, segments, count_of(count), at(offset)),
            Call::Write { segments, count, offset, durable: false } => {
                libc::pwritev(fd, segments, count_of(count), at(offset))
            }
            Call::Write { segments, count, offset, durable: true } => {
                libc::pwritev2(fd, segments, count_of(count), at(offset), libc::RWF_DSYNC)
            }
            Call::Sync => libc::fdatasync(fd) as isize,
            Call::Allocate { mode, offset, len } => libc::fallocate(fd, mode, at(offset), at(len)) as isize,
        }
    };
    outcome(result)
}

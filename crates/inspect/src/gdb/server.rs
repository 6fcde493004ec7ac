//! The thread that waits for debuggers, one after the other.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use super::framing::{Framing, Input};
use super::guest::Guest;
use super::listen::{Address, Connection, Listener};
use super::session::{End, Session};
use super::{Memory, Setup, StartError};

/// A server that runs. Dropping it ends it: a debugger that is connected is told how the machine has ended.
#[derive(Debug)]
pub struct Server {
    thread: Option<JoinHandle<()>>,
    quit: Arc<OwnedFd>,
    is_over: Arc<AtomicBool>,
    address: Address,
}

/// Starts the server of a machine that is about to run.
///
/// # Errors
///
/// Each case of [`StartError`].
pub fn start<M: Memory>(listener: Listener, setup: Setup<M>) -> Result<Server, StartError> {
    let quit = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let quit = Arc::new(quit.map_err(|errno| StartError::Thread(errno.into()))?);
    let address = listener.address().clone();
    let is_over = Arc::clone(&setup.is_over);
    let setup = Arc::new(setup);
    let mut guest = None;
    if setup.wait {
        let debugger = setup.control.attach().map_err(StartError::Thread)?.ok_or(StartError::Attached)?;
        // There are no vCPUs yet: those that come find it so.
        setup.control.pause();
        guest = Some(Guest::new(debugger, Arc::clone(&setup)));
    }
    let waiting = Waiting { listener, setup, quit: Arc::clone(&quit), guest };
    let thread = Builder::new().name("gdb".into()).spawn(|| waiting.serve()).map_err(StartError::Thread)?;
    Ok(Server { thread: Some(thread), quit, is_over, address })
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        let _ = rustix::io::write(&*self.quit, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Which of these descriptors have something to say; none after a signal.
pub(super) fn ready<const N: usize>(sources: [&dyn AsFd; N]) -> [bool; N] {
    let mut polled = sources.map(|source| PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN));
    match poll(&mut polled, None) {
        Ok(_) => polled.map(|fd| !fd.revents().is_empty()),
        Err(Errno::INTR) => [false; N],
        // There is nothing that could be waited for.
        Err(_) => [true; N],
    }
}

/// The server between two debuggers.
struct Waiting<M: Memory> {
    listener: Listener,
    setup: Arc<Setup<M>>,
    quit: Arc<OwnedFd>,
    /// A guest that a debugger has left without a word, or that waits for its first.
    guest: Option<Guest<M>>,
}

/// A client that has sent a packet.
struct Caller {
    connection: Connection,
    framing: Framing,
    inputs: VecDeque<Input>,
}

impl<M: Memory> Waiting<M> {
    fn serve(mut self) {
        while let Some(caller) = self.caller() {
            let Some(guest) = self.attach() else { continue };
            (self.setup.say)("a debugger is connected");
            let Caller { connection, framing, inputs } = caller;
            let session = Session::new(guest, connection, (framing, inputs));
            let Some((end, guest)) = session.map(|session| session.run(&self.listener, &self.quit)) else {
                continue;
            };
            match self.after(&end, guest) {
                Some(line) => (self.setup.say)(&line),
                None => return,
            }
        }
    }

    /// Lets go of a guest as the session has ended; what there is to say of it, or nothing if all is over.
    fn after(&mut self, end: &End, mut guest: Guest<M>) -> Option<String> {
        match end {
            End::Detached => {
                drop(guest);
                Some("the debugger has detached, and the guest goes on".to_owned())
            }
            End::Lost(why) if guest.is_running => {
                drop(guest);
                Some(format!("{why}; the guest goes on without it"))
            }
            End::Lost(why) => {
                guest.forget();
                self.guest = Some(guest);
                let address = self.listener.address();
                Some(format!("{why}; the guest stands still until the next: target remote {address}"))
            }
            End::Killed => {
                guest.debugger.kill();
                None
            }
            End::Over => None,
        }
    }

    fn attach(&mut self) -> Option<Guest<M>> {
        if let Some(guest) = self.guest.take() {
            return Some(guest);
        }
        match self.setup.control.attach() {
            Ok(Some(debugger)) => Some(Guest::new(debugger, Arc::clone(&self.setup))),
            Ok(None) => {
                (self.setup.say)("a debugger was turned away: the machine has another one");
                None
            }
            Err(error) => {
                (self.setup.say)(&format!("a debugger was turned away: {error}"));
                None
            }
        }
    }

    /// Waits for a client that speaks gdb's protocol; `None` to end.
    fn caller(&mut self) -> Option<Caller> {
        loop {
            let [called, quit] = ready([&self.listener, &self.quit]);
            if quit {
                return None;
            }
            if called && let Some(caller) = self.hear(self.accept()?)? {
                return Some(caller);
            }
        }
    }

    /// `Some(None)` if nobody is there after all; `None` to end.
    #[expect(clippy::option_option, reason = "to end is another answer than nobody")]
    fn accept(&self) -> Option<Option<Connection>> {
        match self.listener.accept() {
            Ok(stream) => Some(stream.map(Connection::new)),
            Err(error) if is_passing(&error) => Some(None),
            Err(error) => {
                (self.setup.say)(&format!("no debugger can connect any more: {error}"));
                None
            }
        }
    }

    /// Listens to a client until it has sent a packet. One that comes meanwhile takes its place: it may speak.
    #[expect(clippy::option_option, reason = "to end is another answer than nobody")]
    fn hear(&self, client: Option<Connection>) -> Option<Option<Caller>> {
        let Some(mut connection) = client else { return Some(None) };
        let mut framing = Framing::default();
        let mut inputs = VecDeque::new();
        loop {
            let [spoke, called, quit] = ready([&connection.stream, &self.listener, &self.quit]);
            if quit {
                return None;
            }
            if called && let Some(other) = self.accept()? {
                connection = other;
                framing = Framing::default();
                inputs.clear();
                continue;
            }
            if !spoke {
                continue;
            }
            let Ok(true) = read(&mut connection, &mut framing, &mut inputs) else { return Some(None) };
            if inputs.contains(&Input::Noise) {
                (self.setup.say)("somebody who is no debugger has connected, and was turned away");
                return Some(None);
            }
            if inputs.iter().any(|input| matches!(input, Input::Packet(_))) {
                return Some(Some(Caller { connection, framing, inputs }));
            }
            // Damaged packets, Ctrl-C: of no use before a first packet.
            inputs.clear();
        }
    }
}

/// Takes what has arrived; `false` at the end.
pub(super) fn read(
    connection: &mut Connection,
    framing: &mut Framing,
    inputs: &mut VecDeque<Input>,
) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    let count = connection.stream.read(&mut bytes)?;
    let arrived = bytes.get(..count).unwrap_or_default();
    inputs.extend(arrived.iter().filter_map(|byte| framing.push(*byte)));
    Ok(count > 0)
}

/// Whether accepting may work the next time: the client has gone already, or a signal came.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

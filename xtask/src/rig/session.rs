//! One boot of the emulated host: what comes out of it goes where it belongs, until it has done its work, its time is
//! over or it fails.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::qemu::{Boot, Ports, Qemu};
use super::report::{self, Event, ReportError};

/// How much of the log is kept to be shown after a failure: a kernel's last words, with its registers, are 35 lines.
const TAIL_LINES: usize = 40;
const TAIL_BYTES: usize = 16 * 1024;

/// Why the emulated host did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("could not start QEMU")]
    Start(#[source] io::Error),
    #[error("could not wait for QEMU")]
    Wait(#[source] io::Error),
    #[error("time limit of {} s", .0.as_secs())]
    TimeLimit(Duration),
    #[error("the emulated host ended without a report; QEMU: {0}")]
    Ended(ExitStatus),
    #[error(
        "the emulated host has no /dev/kvm: its kernel has no KVM for AMD, or it comes without its modules"
    )]
    NoKvm,
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("could not pass on what the command prints")]
    PassOn(#[source] io::Error),
}

/// An error with the last lines of the emulated host's log.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: SessionError,
    pub(crate) tail: Tail,
}

/// The last lines of a log, shown with `rig: | ` before each.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        last.iter().try_for_each(|line| writeln!(f, "rig: | {}", line.escape_debug()))
    }
}

/// Where standard output and standard error of the command go.
pub(super) struct Sinks<'a> {
    pub(super) output: &'a mut (dyn Write + Send),
    pub(super) error: &'a mut (dyn Write + Send),
}

/// What the threads that listen tell the one that decides.
enum Message {
    Event(Event),
    Failed(SessionError),
}

/// Boots, and gives `tell` every event but the last.
pub(super) fn run(boot: Boot<'_>, sinks: Sinks<'_>, tell: &mut dyn FnMut(Event)) -> Result<(), Failure> {
    let limit = boot.machine.limit;
    let start = Instant::now();
    let alone = |error| Failure { error, tail: Tail::default() };
    let mut qemu = Qemu::start(boot).map_err(|error| alone(SessionError::Start(error)))?;
    let Some(Ports { log, output, error, report, complaints }) = qemu.ports.take() else {
        return Ok(());
    };
    thread::scope(|scope| {
        // In here, so that it is killed and the threads end when this closure ends in whatever way.
        let mut qemu = qemu;
        let (sender, receiver) = mpsc::channel();
        let log = scope.spawn(|| tail(log));
        let complaints = scope.spawn(|| tail(complaints));
        let copy = |mut from, to: &mut (dyn Write + Send), sender: Sender<Message>| {
            if let Err(error) = pass_on(&mut from, to) {
                // Nobody listens any more if something else has ended the run.
                let _ = sender.send(Message::Failed(SessionError::PassOn(error)));
            }
        };
        let (for_output, for_error) = (sender.clone(), sender.clone());
        scope.spawn(move || copy(output, sinks.output, for_output));
        scope.spawn(move || copy(error, sinks.error, for_error));
        scope.spawn(move || {
            let mut pass = |event| drop(sender.send(Message::Event(event)));
            if let Err(error) = report::read(BufReader::new(report), &mut pass) {
                let _ = sender.send(Message::Failed(error.into()));
            }
        });
        let heard = listen(&receiver, start + limit, tell);
        let status = qemu.end();
        let mut lines = complaints.join().unwrap_or_default();
        lines.extend(log.join().unwrap_or_default());
        let error = match heard {
            Heard::End => return Ok(()),
            Heard::Failure(error) => error,
            Heard::TooLate => SessionError::TimeLimit(limit),
            Heard::Nothing => status.map_or_else(SessionError::Wait, SessionError::Ended),
        };
        Err(Failure { error, tail: Tail(lines) })
    })
}

/// How the emulated host's report ended.
enum Heard {
    End,
    Failure(SessionError),
    TooLate,
    /// QEMU is gone.
    Nothing,
}

fn listen(receiver: &Receiver<Message>, deadline: Instant, tell: &mut dyn FnMut(Event)) -> Heard {
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Message::Event(Event::End)) => return Heard::End,
            Ok(Message::Event(Event::NoKvm)) => return Heard::Failure(SessionError::NoKvm),
            Ok(Message::Event(event)) => tell(event),
            Ok(Message::Failed(error)) => return Heard::Failure(error),
            Err(RecvTimeoutError::Timeout) => return Heard::TooLate,
            Err(RecvTimeoutError::Disconnected) => return Heard::Nothing,
        }
    }
}

/// Copies to the end, every piece at once.
fn pass_on(from: &mut impl Read, to: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
        }
    }
}

/// Reads to the end and keeps the last bytes.
fn tail(mut from: impl Read) -> Vec<u8> {
    let mut kept = VecDeque::new();
    let mut buffer = [0; 4096];
    // A pipe from a process that is gone ends; it does not fail.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        kept.extend(&buffer[..length]);
        kept.drain(..kept.len().saturating_sub(TAIL_BYTES));
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_last_lines_are_shown() {
        let lines: Vec<String> = (0..10_000).map(|number| format!("line {number}\r\n\r\n")).collect();
        let shown = Tail(tail(lines.concat().as_bytes())).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines.first(), Some(&"rig: | line 9960"));
        assert_eq!(lines.last(), Some(&"rig: | line 9999"));
    }

    #[test]
    fn a_log_cannot_speak_to_the_terminal() {
        assert_eq!(Tail(b"a\x1b[2Jb\n".to_vec()).to_string(), "rig: | a\\u{1b}[2Jb\n");
    }

    #[test]
    fn what_nobody_says_in_time_is_too_late() {
        let (sender, receiver) = mpsc::channel();
        assert!(matches!(listen(&receiver, Instant::now(), &mut |_| {}), Heard::TooLate));
        drop(sender);
        assert!(matches!(listen(&receiver, Instant::now(), &mut |_| {}), Heard::Nothing));
    }
}

//! What strata itself says, on standard error.

use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PIPE_BUF;
use rustix::stdio::stderr;

/// A line, written however long its reader takes. Where nobody reads that any more, there is nobody to tell.
pub(crate) fn say(message: &str) {
    let _ = io::stderr().write_all(line(message).as_bytes());
}

/// Text as it is, of several lines.
pub(crate) fn show(text: &str) {
    let _ = io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes());
}

/// A line for the event loop to write, which must not wait for a reader: signals come to it, and so do keys. It is left
/// out where standard error is full.
pub(crate) fn mention(message: &str) {
    try_write(&line(message));
}

/// Mentions what the library's layers warn of: devices that a guest or the host has brought to a stand. Other crates' logs
/// are for their developers, and a guest could fill the terminal with some of them.
pub(crate) fn mention_warnings() {
    struct Warnings;

    impl log::Log for Warnings {
        fn enabled(&self, about: &log::Metadata<'_>) -> bool {
            about.target().starts_with("strata_")
        }

        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) {
                mention(&record.args().to_string());
            }
        }

        fn flush(&self) {}
    }

    // It fails only if there is a logger already.
    let _ = log::set_logger(&Warnings).map(|()| log::set_max_level(log::LevelFilter::Warn));
}

/// [`mention`] below what the guest has just shown, which probably is a prompt.
pub(crate) fn mention_below(message: &str) {
    try_write(&format!("\n{}", line(message)));
}

fn line(message: &str) -> String {
    format!("strata: {}\n", message.trim_end())
}

/// Writes `text` if there is room for it now.
///
/// A pipe is ready when a page of it is free, and takes that much at once (pipe(7): up to `PIPE_BUF` bytes are one
/// write). Making standard error non-blocking instead would be seen by every process that shares it.
fn try_write(text: &str) {
    let error = stderr();
    let mut ready = [PollFd::new(&error, PollFlags::OUT)];
    let found = poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    if found.is_ok() && ready.iter().all(|fd| fd.revents().contains(PollFlags::OUT)) {
        let _ = rustix::io::write(error, text.as_bytes().get(..PIPE_BUF).unwrap_or(text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_message_is_one_line_less_what_it_ends_with() {
        assert_eq!(line("halted"), "strata: halted\n");
        assert_eq!(line("line 1\n  | x\n\n"), "strata: line 1\n  | x\n");
    }
}

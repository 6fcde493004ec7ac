//! What strata itself says, on standard error.

use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PIPE_BUF;
use rustix::stdio::stderr;
use rustix::termios::tcgetwinsize;

/// A line, written however long its reader takes. Where nobody reads that any more, there is nobody to tell.
pub(crate) fn say(message: &str) {
    let _ = io::stderr().write_all(line(message).as_bytes());
}

/// Text as it is, of several lines; on a terminal, lines that are too long for it go on below.
pub(crate) fn show(text: &str) {
    let text = text.trim_end();
    let folded = tcgetwinsize(stderr()).map(|size| fold(text, size.ws_col.into()));
    let _ = io::stderr().write_all(format!("{}\n", folded.as_deref().unwrap_or(text)).as_bytes());
}

/// Breaks lines that have more than `columns` characters at spaces. What goes on below is indented deeper than its line.
/// Nothing is broken for less than 40 columns, which is no width that is meant to be read at.
fn fold(text: &str, columns: usize) -> String {
    let mut folded = String::new();
    for line in text.lines() {
        let indent = line.chars().take_while(|char| *char == ' ').count() + 4;
        let mut rest = line.to_owned();
        while let Some((limit, _)) = rest.char_indices().nth(columns).filter(|_| columns >= 40) {
            // The space itself need not fit.
            let end = limit + usize::from(rest.get(limit..).is_some_and(|rest| rest.starts_with(' ')));
            let space =
                rest.get(..end).and_then(|line| line.trim_end_matches(|c| c != ' ').len().checked_sub(1));
            let broken = space.filter(|at| *at >= indent).and_then(|at| rest.split_at_checked(at));
            let Some((head, tail)) = broken else { break };
            folded.push_str(head.trim_end());
            folded.push('\n');
            rest = format!("{:indent$}{}", "", tail.trim_start());
        }
        folded.push_str(&rest);
        folded.push('\n');
    }
    folded.trim_end().to_owned()
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

/// A message as it is written.
pub(crate) fn line(message: &str) -> String {
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
    use super::{fold, line};

    #[test]
    fn a_message_is_one_line_less_what_it_ends_with() {
        assert_eq!(line("halted"), "strata: halted\n");
        assert_eq!(line("line 1\n  | x\n\n"), "strata: line 1\n  | x\n");
    }

    #[test]
    fn long_lines_go_on_below_and_deeper() {
        let text = "short\n  one two three four five six seven eight nine ten";
        assert_eq!(fold(text, 100), text);
        let below = "short\n  one two three four five six seven eight\n      nine ten";
        assert_eq!(fold(text, 41), below);
        assert_eq!(fold(text, 45), "short\n  one two three four five six seven eight\n      nine ten");
        // No width of use, and words that do not fit, are left alone.
        assert_eq!(fold(text, 10), text);
        let word = "x".repeat(60);
        assert_eq!(fold(&word, 40), word);
        assert_eq!(fold(&format!("at {word} ends"), 40), format!("at {word} ends"));
        // Columns are characters, not bytes.
        let wide = "\u{e9}".repeat(38);
        assert_eq!(fold(&format!("{wide} a b"), 40), format!("{wide} a\n    b"));
    }
}

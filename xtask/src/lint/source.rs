//! A Rust file with its code told apart from comments and literals, so that a rule sees only what it is about.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// One file, line by line.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the workspace's root, with `/`.
    pub(crate) path: String,
    pub(crate) lines: Vec<Line>,
}

/// One line, in two layers.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The code, with comments left out and the contents of literals blank.
    pub(crate) code: String,
    /// The text of comments.
    pub(crate) comment: String,
}

/// Where in the grammar a character is.
#[derive(Debug, Clone, Copy)]
enum State {
    Code,
    LineComment,
    /// Block comments nest.
    BlockComment(usize),
    Text,
    /// A raw string that ends with a quote and so many `#`.
    RawText(usize),
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut lines = vec![Line::default()];
        let mut state = State::Code;
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            if c == '\n' {
                lines.push(Line::default());
                if matches!(state, State::LineComment) {
                    state = State::Code;
                }
                at += 1;
                continue;
            }
            let (length, next) = step(&chars[at..], at.checked_sub(1).map(|before| chars[before]), state);
            if let Some(line) = lines.last_mut() {
                line.take(&chars[at..at + length], state, next);
            }
            state = next;
            at += length;
        }
        Self { path: path.into(), lines }
    }

    /// Whether the file holds only tests, examples or benches, by where it lies.
    pub(crate) fn is_test(&self) -> bool {
        let folders = ["tests", "examples", "benches"];
        self.path.ends_with("_test.rs") || self.path.split('/').any(|folder| folders.contains(&folder))
    }

    /// Every word of the code with its line, counted from 1, and the code that follows it on that line.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        self.lines
            .iter()
            .enumerate()
            .flat_map(|(index, line)| words(&line.code).map(move |(w, r)| (index + 1, w, r)))
    }
}

impl Line {
    fn take(&mut self, chars: &[char], state: State, next: State) {
        match (state, next) {
            (State::Code, State::Code) if chars.first() == Some(&'\'') && chars.len() > 1 => {
                self.code.push_str("' '");
            }
            (State::Code, State::Code) => self.code.extend(chars),
            (State::Code, State::Text | State::RawText(_))
            | (State::Text | State::RawText(_), State::Code) => {
                self.code.push('"');
            }
            (State::Text | State::RawText(_), _) => self.code.push(' '),
            _ => self.comment.extend(chars),
        }
    }
}

/// How many characters of `rest` belong together, and the state after them. None of them ends a line.
fn step(rest: &[char], before: Option<char>, state: State) -> (usize, State) {
    match state {
        State::Code => step_in_code(rest, before),
        State::LineComment => (1, state),
        State::BlockComment(depth) => match rest {
            ['*', '/', ..] if depth == 1 => (2, State::Code),
            ['*', '/', ..] => (2, State::BlockComment(depth - 1)),
            ['/', '*', ..] => (2, State::BlockComment(depth + 1)),
            _ => (1, state),
        },
        State::Text => match rest {
            ['\\', escaped, ..] if *escaped != '\n' => (2, state),
            ['"', ..] => (1, State::Code),
            _ => (1, state),
        },
        State::RawText(hashes) => {
            let ends = rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|c| *c == '#');
            if ends { (1 + hashes, State::Code) } else { (1, state) }
        }
    }
}

fn step_in_code(rest: &[char], before: Option<char>) -> (usize, State) {
    match rest {
        ['/', '/', ..] => (2, State::LineComment),
        ['/', '*', ..] => (2, State::BlockComment(1)),
        ['"', ..] => (1, State::Text),
        // A character, and not the name of a lifetime.
        ['\'', '\\', escaped, ..] if *escaped != '\n' => {
            let end = rest[3..].iter().take_while(|c| **c != '\n').position(|c| *c == '\'');
            (end.map_or(1, |end| end + 4), State::Code)
        }
        ['\'', c, '\'', ..] if *c != '\n' => (3, State::Code),
        ['r', ..] if !before.is_some_and(|c| is_word(c) && c != 'b' && c != 'c') => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            match rest.get(1 + hashes) {
                Some('"') => (2 + hashes, State::RawText(hashes)),
                _ => (1, State::Code),
            }
        }
        _ => (1, State::Code),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = code;
    std::iter::from_fn(move || {
        let start = rest.find(is_word)?;
        let tail = &rest[start..];
        let (word, after) = tail.split_at(tail.find(|c| !is_word(c)).unwrap_or(tail.len()));
        rest = after;
        Some((word, after))
    })
}

/// All `.rs` files below `folder`, except what cargo built there.
pub(crate) fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                files.extend(rust_files(&path)?);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
#[path = "source_test.rs"]
mod tests;

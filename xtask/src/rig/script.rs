//! A command as a shell script: what the emulated host runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Command;

/// How a command is to be run, in the language of the emulated host's shell.
///
/// `program` is where the program lies there. Variables are set by `env` and not by the shell: their names may have
/// characters that a shell refuses, as cargo's `CARGO_BIN_EXE_NAME` has where NAME contains a hyphen.
pub(super) fn run(command: &Command, program: &OsStr) -> Vec<u8> {
    let mut script = Script::default();
    script.words([OsStr::new("cd"), command.folder.as_os_str()]);
    script.0.extend_from_slice(b"|| exit 125\n");
    script.words(["exec", "env"].map(OsStr::new));
    for (name, value) in &command.environment {
        let mut both = name.clone();
        both.push("=");
        both.push(value);
        script.word(&both);
    }
    if let Some(limit) = command.limit {
        let seconds = limit.as_secs().max(1).to_string();
        script.words(["timeout", "-s", "KILL", &seconds].map(OsStr::new));
    }
    script.word(program);
    for argument in &command.arguments {
        script.word(argument);
    }
    script.0.push(b'\n');
    script.0
}

/// Sends each of these files, by the function `blob` of `init.sh`.
pub(super) fn collect<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<u8> {
    let mut script = Script::default();
    for file in files {
        script.words([OsStr::new("blob"), file.as_os_str()]);
        script.0.push(b'\n');
    }
    script.0
}

#[derive(Debug, Default)]
struct Script(Vec<u8>);

impl Script {
    fn words<'a>(&mut self, words: impl IntoIterator<Item = &'a OsStr>) {
        for word in words {
            self.word(word);
        }
    }

    /// Adds a word that the shell takes as it is, whatever is in it: between single quotes nothing is special but the
    /// single quote itself, which stands outside them with a backslash.
    fn word(&mut self, word: &OsStr) {
        self.0.push(b'\'');
        for &byte in word.as_bytes() {
            match byte {
                b'\'' => self.0.extend_from_slice(br"'\''"),
                _ => self.0.push(byte),
            }
        }
        self.0.extend_from_slice(b"' ");
    }
}

#[cfg(test)]
#[path = "script_test.rs"]
mod tests;

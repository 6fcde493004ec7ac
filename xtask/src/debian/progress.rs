//! How far the making of a disk has come, read from what mmdebstrap prints (with `--verbose`), and shown as one line that
//! is written again and again, or, where that is no terminal, as a line now and then.

use std::io::{self, IsTerminal, Write};

/// Letters of the bar.
const WIDTH: usize = 30;
/// Of what is being done so many letters are shown: a line that is too long for the terminal could not be written over.
const LONGEST: usize = 31;

/// A part of the work: how its first line begins, what it is, and where it begins, in percent of all the time.
struct Phase {
    line: &'static str,
    what: &'static str,
    start: u32,
}

const PHASES: &[Phase] = &[
    Phase { line: "", what: "starting", start: 0 },
    Phase { line: "I: running apt-get update", what: "fetching the lists of packages", start: 1 },
    Phase { line: "I: downloading packages", what: "fetching the base system", start: 6 },
    Phase { line: "I: installing essential packages", what: "installing the base system", start: 25 },
    Phase { line: "I: installing remaining packages", what: "installing the rest", start: 48 },
    Phase { line: "update-initramfs: Generating", what: "the kernel makes its initrd", start: 70 },
    Phase { line: "strata: setting up", what: "setting up the system", start: 95 },
    Phase { line: "strata: looking into", what: "looking into the initrd", start: 96 },
    Phase { line: "strata: writing", what: "writing the disk", start: 97 },
    Phase { line: "I: cleaning", what: "cleaning up", start: 99 },
];
/// Each package has a line that begins like each of these.
const STEPS: [&str; 3] = ["Get:", "Unpacking ", "Setting up "];

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    phase: usize,
    /// Steps that this phase has, as far as is known.
    steps: u32,
    done: u32,
    /// The package that is worked at.
    package: String,
}

impl Progress {
    /// Takes a line in; says whether a new phase begins with it.
    pub(super) fn line(&mut self, line: &str) -> bool {
        if let Some(packages) = packages_in(line) {
            self.steps = packages.saturating_mul(self.steps_of_a_package());
            return false;
        }
        let later = PHASES.iter().enumerate().skip(self.phase + 1);
        if let Some((phase, _)) = later.rev().find(|(_, phase)| line.starts_with(phase.line)) {
            // The base system is counted once and comes in two phases.
            *self = Self { phase, steps: if phase == 3 { self.steps * 2 } else { 0 }, ..Self::default() };
            return true;
        }
        if let Some(rest) = STEPS.iter().find_map(|step| line.strip_prefix(step)) {
            self.done += 1;
            if self.steps == 0 {
                // Lists of packages are fetched, not packages.
                return false;
            }
            // "1 http://.. bookworm/main amd64 libc6 amd64 2.36 [2759 kB]" or "libc6:amd64 (2.36) ..".
            let words: Vec<&str> = rest.split_whitespace().collect();
            let name = if line.starts_with("Get:") { words.get(4) } else { words.first() };
            name.unwrap_or(&"").split(':').next().unwrap_or_default().clone_into(&mut self.package);
        }
        false
    }

    /// The base system is fetched in one phase and installed in another, the rest is both in one.
    fn steps_of_a_package(&self) -> u32 {
        if self.phase == 2 { 1 } else { 3 }
    }

    pub(super) fn percent(&self) -> u32 {
        let start = PHASES.get(self.phase).map_or(0, |phase| phase.start);
        let end = PHASES.get(self.phase + 1).map_or(100, |phase| phase.start);
        let done = self.done.min(self.steps);
        start + ((end - start) * done).checked_div(self.steps).unwrap_or(0)
    }

    pub(super) fn what(&self) -> &'static str {
        PHASES.get(self.phase).map_or("", |phase| phase.what)
    }

    /// One line, to be written over the last one.
    fn bar(&self) -> String {
        let percent = self.percent();
        let full = WIDTH * percent as usize / 100;
        let what = match self.package.as_str() {
            "" => self.what().to_owned(),
            package => format!("{}: {package}", self.what()),
        };
        let what: String = what.chars().take(LONGEST).collect();
        format!("debian: [{:WIDTH$}] {percent:3} %  {what}", "=".repeat(full))
    }
}

/// Reads `0 upgraded, 69 newly installed, 0 to remove and 0 not upgraded.`
fn packages_in(line: &str) -> Option<u32> {
    let (before, _) = line.split_once(" newly installed")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// Shows a progress on standard error.
#[derive(Debug)]
pub(super) struct Display {
    is_terminal: bool,
    progress: Progress,
}

impl Display {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), progress: Progress::default() }
    }

    /// Takes a line in.
    pub(super) fn line(&mut self, line: &str) {
        let is_new = self.progress.line(line);
        let mut to = io::stderr();
        // That nobody sees it is no reason to stop.
        let _ = if self.is_terminal {
            write!(to, "\r\x1b[K{}", self.progress.bar())
        } else if is_new {
            writeln!(to, "debian: {:3} %  {}", self.progress.percent(), self.progress.what())
        } else {
            Ok(())
        };
    }
}

impl Drop for Display {
    /// The bar goes: what is said next begins a line.
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
#[path = "progress_test.rs"]
mod tests;

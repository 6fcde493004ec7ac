//! Measures a boot of Linux, from within the emulated host: the hidden task `measure-linux`.
//!
//! Three kinds of run, since what counts events takes time itself: boots that are only timed, boots whose first
//! `KVM_RUN` is timed by the kernel's own tracing, and one that is stopped at its first line and looked at.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::time::{ClockId, clock_gettime};

use crate::cli::MeasureLinux;
use crate::process::say;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the guest prints, at the beginning of a line or behind what is on it.
const MARKER: &[u8] = b"MARKER";
const RUNS: usize = 3;
/// Strata's exit code for a guest that restarts.
const RESET: i32 = 12;

const DEBUG: &str = "/sys/kernel/debug";
const TRACING: &str = "/sys/kernel/debug/tracing";

/// Boots, and prints a line of a name and a number for each value.
pub(crate) fn measure(options: &MeasureLinux) -> Result<()> {
    fs::write("/proc/sys/kernel/randomize_va_space", "0")?;
    mount("debugfs", DEBUG, "debugfs", MountFlags::empty(), None)?;
    let vmlinux = Boot { options, kernel: &options.vmlinux };
    let vmlinuz = Boot { options, kernel: &options.vmlinuz };
    say(format_args!("linux.start.vmlinux {}", median(|| vmlinux.to_first_line())?));
    say(format_args!("linux.start.vmlinuz {}", median(|| vmlinuz.to_first_line())?));
    say(format_args!("linux.run.vmlinux {}", median(|| vmlinux.to_first_run())?));
    say(format_args!("linux.run.vmlinuz {}", median(|| vmlinuz.to_first_run())?));
    vmlinux.look()
}

fn median(mut measure: impl FnMut() -> Result<u128>) -> Result<u128> {
    // The first finds nothing in any cache.
    measure()?;
    let mut times = (0..RUNS).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[RUNS / 2])
}

/// What is booted.
struct Boot<'a> {
    options: &'a MeasureLinux,
    kernel: &'a Path,
}

/// One boot under way.
struct Running {
    child: Child,
    console: File,
    /// What it has printed.
    said: Vec<u8>,
}

impl Boot<'_> {
    fn start(&self) -> Result<Running> {
        let (console, terminal) = terminal()?;
        let mut command = Command::new(&self.options.strata);
        command.arg("run").arg(self.kernel).arg("--initrd").arg(&self.options.initrd);
        command.args(["--memory", "256M", "--cmdline", "console=ttyS0 reboot=k panic=1 quiet nokaslr"]);
        command.stdin(terminal.try_clone()?).stdout(terminal).stderr(Stdio::inherit());
        Ok(Running { child: command.spawn()?, console, said: Vec::new() })
    }

    fn to_first_line(&self) -> Result<u128> {
        let begin = Instant::now();
        let mut running = self.start()?;
        running.wait_for_line()?;
        let time = begin.elapsed();
        running.finish()?;
        Ok(time.as_nanos())
    }

    /// The time until the kernel first enters a guest.
    fn to_first_run(&self) -> Result<u128> {
        trace("set_event", "kvm:kvm_entry")?;
        // The first events count: those that find no place are to be lost instead of them.
        trace("options/overwrite", "0")?;
        trace("buffer_size_kb", "64")?;
        trace("trace_clock", "mono")?;
        trace("trace", "")?;
        trace("tracing_on", "1")?;
        let begin = now();
        let running = self.start()?;
        running.finish()?;
        trace("tracing_on", "0")?;
        let text = fs::read_to_string(Path::new(TRACING).join("trace"))?;
        trace("set_event", "")?;
        let first = text.lines().find(|line| line.contains("kvm_entry:")).and_then(time_of);
        let first = first.ok_or_else(|| format!("the trace has no kvm_entry:\n{text}"))?;
        Ok(first.saturating_sub(begin).as_nanos())
    }

    /// Stops a boot at its first line and prints what there is to count then.
    fn look(&self) -> Result<()> {
        trace("buffer_size_kb", "4096")?;
        trace("set_event", "kvm:kvm_userspace_exit")?;
        trace("trace", "")?;
        trace("tracing_on", "1")?;
        let mut running = self.start()?;
        running.wait_for_line()?;
        let pid = Pid::from_child(&running.child);
        kill_process(pid, Signal::STOP)?;
        trace("tracing_on", "0")?;
        let count = |name: &str| -> Result<u64> {
            let text = fs::read_to_string(Path::new(DEBUG).join("kvm").join(name))?;
            Ok(text.trim().parse()?)
        };
        let (exits, faults) = (count("exits")?, count("pf_taken")?);
        let text = fs::read_to_string(Path::new(TRACING).join("trace"))?;
        let own = format!("/proc/{}", running.child.id());
        let memory = Memory::read(&fs::read_to_string(format!("{own}/smaps"))?);
        say(format_args!("linux.threads {}", fs::read_dir(format!("{own}/task"))?.count()));
        say(format_args!(
            "linux.exits.userspace {}",
            text.lines().filter(|line| line.contains("kvm_userspace_exit:")).count()
        ));
        say(format_args!("linux.exits.others {}", exits.saturating_sub(faults)));
        say(format_args!("linux.exits.faults {faults}"));
        say(format_args!("linux.memory.beyond {}", memory.beyond));
        say(format_args!("linux.memory.private {}", memory.private));
        kill_process(pid, Signal::CONT)?;
        running.finish()
    }
}

impl Running {
    fn wait_for_line(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        while !self.said.windows(MARKER.len()).any(|part| part == MARKER) {
            match self.console.read(&mut buffer) {
                Ok(length @ 1..) => self.said.extend_from_slice(&buffer[..length]),
                // EIO is how a terminal ends that nobody has open any more.
                _ => return Err(self.failed("no line from userspace")),
            }
        }
        Ok(())
    }

    /// Reads to the end and waits for the process.
    fn finish(mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.console.read(&mut buffer) {
            self.said.extend_from_slice(&buffer[..length]);
        }
        let status = self.child.wait()?;
        if status.code() == Some(RESET) {
            Ok(())
        } else {
            Err(self.failed(&format!("it ended with {status}")))
        }
    }

    fn failed(&self, what: &str) -> Box<dyn Error> {
        format!("{what}; the console:\n{}", String::from_utf8_lossy(&self.said)).into()
    }
}

/// A pseudo-terminal: our end, and the one for a program.
fn terminal() -> io::Result<(File, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok((ours.into(), rustix::fs::open(name, flags, Mode::empty())?))
}

fn trace(file: &str, value: &str) -> Result<()> {
    let path = PathBuf::from(TRACING).join(file);
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let mut out = OpenOptions::new().write(true).truncate(true).open(&path).map_err(failed)?;
    io::Write::write_all(&mut out, value.as_bytes()).map_err(failed)?;
    Ok(())
}

/// The clock that `trace_clock` calls `mono`.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = Duration::from_secs(now.tv_sec.unsigned_abs());
    seconds + Duration::from_nanos(now.tv_nsec.unsigned_abs())
}

/// Reads `strata-77 [000] ..... 12.345678: kvm_entry: ..` (Documentation/trace/ftrace.rst of the Linux kernel).
fn time_of(line: &str) -> Option<Duration> {
    let (before, _) = line.split_once(": ")?;
    let seconds = before.split_whitespace().last()?;
    Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
}

/// Sizes in bytes, of a process that has a guest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Memory {
    /// Resident and not the guest's.
    beyond: u64,
    /// The guest's, and in no file nor any other process.
    private: u64,
}

/// The least that a guest of 256 MiB takes of addresses in one piece.
const RAM: u64 = 200 << 20;

impl Memory {
    /// Reads `/proc/PID/smaps` (proc(5)).
    ///
    /// The guest's RAM is the run of mappings without a gap that is large enough: where a kernel's file is mapped into
    /// it, it is in pieces.
    fn read(smaps: &str) -> Self {
        let mut runs: Vec<(u64, u64, Self)> = Vec::new();
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let Some(word) = words.next() else { continue };
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            if let Some((from, to)) = word.split_once('-').and_then(|(a, b)| number(a).zip(number(b))) {
                match runs.last_mut() {
                    Some((_, end, _)) if *end == from => *end = to,
                    _ => runs.push((from, to, Self::default())),
                }
            } else if let Some(((_, _, sums), value)) = runs.last_mut().zip(words.next()) {
                let bytes = value.parse::<u64>().unwrap_or(0) << 10;
                match word {
                    "Rss:" => sums.beyond += bytes,
                    "Anonymous:" => sums.private += bytes,
                    _ => {}
                }
            }
        }
        let (ram, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(|(from, to, _)| to - from >= RAM);
        Self {
            beyond: others.iter().map(|(_, _, sums)| sums.beyond).sum(),
            private: ram.iter().map(|(_, _, sums)| sums.private).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_in_pieces_is_ram() {
        let smaps = "\
00400000-00500000 r-xp 00000000 00:01 7 /bin/strata
Rss:  600 kB
Anonymous: 8 kB
7f0000000000-7f0001000000 rw-p 00000000 00:00 0
Rss:  20 kB
Anonymous: 16 kB
7f0001000000-7f0003000000 rw-p 00000000 00:01 8 /kernel
Rss:  3000 kB
Anonymous: 100 kB
7f0003000000-7f0010000000 rw-p 00000000 00:00 0
Rss:  7000 kB
Anonymous: 7000 kB
7ffff7ff0000-7ffff8000000 rw-p 00000000 00:00 0 [stack]
Rss:  12 kB
Anonymous: 12 kB
";
        assert_eq!(Memory::read(smaps), Memory { beyond: 612 << 10, private: 7116 << 10 });
    }

    #[test]
    fn the_time_of_an_event_is_read() {
        let line = "          strata-77      [000] ....1    12.345678: kvm_entry: vcpu 0, rip 0xfff0";
        assert_eq!(time_of(line), Some(Duration::from_micros(12_345_678)));
        assert_eq!(time_of("# tracer: nop"), None);
    }
}

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

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, ioctl_tiocsctty, kill_process, setsid};
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
    // Never closed: that would hang up on us, too, before we have said what went wrong.
    let terminal: &Terminal = Box::leak(Box::new(Terminal::of_ours()?));
    let vmlinux = Boot { options, kernel: &options.vmlinux, terminal };
    let vmlinuz = Boot { options, kernel: &options.vmlinuz, terminal };
    say(format_args!("linux.start.vmlinux {}", median(|| vmlinux.to_first_line())?));
    say(format_args!("linux.start.vmlinuz {}", median(|| vmlinuz.to_first_line())?));
    say(format_args!("linux.run.vmlinux {}", median(|| vmlinux.to_first_run())?));
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
    terminal: &'a Terminal,
}

/// A pseudo-terminal, which is that of this process and of those it starts: they are in front of it, as a program is that
/// somebody types at.
struct Terminal {
    ours: File,
    theirs: OwnedFd,
}

impl Terminal {
    fn of_ours() -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, Mode::empty())?;
        setsid()?;
        ioctl_tiocsctty(&theirs)?;
        Ok(Self { ours: ours.into(), theirs })
    }
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
        let Terminal { ours, theirs } = self.terminal;
        let mut command = Command::new(&self.options.strata);
        command.arg("run").arg(self.kernel).arg("--initrd").arg(&self.options.initrd);
        command.args(["--memory", "256M", "--cmdline", "console=ttyS0 reboot=k panic=1 quiet nokaslr"]);
        command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(Stdio::inherit());
        Ok(Running { child: command.spawn()?, console: ours.try_clone()?, said: Vec::new() })
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
        let mut running = self.start()?;
        running.wait_for_line()?;
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
    /// Takes what the guest prints next.
    fn hear(&mut self) -> Result<()> {
        // The terminal stays open when the process ends: that has to be asked for.
        let pause = Timespec { tv_sec: 1, tv_nsec: 0 };
        while poll(&mut [PollFd::new(&self.console, PollFlags::IN)], Some(&pause))? == 0 {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failed(&format!("it ended with {status} too early")));
            }
        }
        let mut buffer = [0; 4096];
        let length = self.console.read(&mut buffer)?;
        self.said.extend_from_slice(&buffer[..length]);
        Ok(())
    }

    fn wait_for_line(&mut self) -> Result<()> {
        while !self.said.windows(MARKER.len()).any(|part| part == MARKER) {
            self.hear()?;
        }
        Ok(())
    }

    /// Waits for the process. What the guest still prints is less than a terminal keeps; the next boot reads it.
    fn finish(mut self) -> Result<()> {
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
pub(super) struct Memory {
    /// Resident and not the guest's.
    pub(super) beyond: u64,
    /// Of that what comes from no file.
    pub(super) anonymous: u64,
    /// The guest's, and in no file nor any other process.
    private: u64,
}

/// The guest's RAM.
const RAM: u64 = 256 << 20;
/// Where RAM begins: strata lays it so that huge pages fit.
const BOUNDARY: u64 = 2 << 20;
/// A mapping larger than this is RAM: stacks of threads and the like are smaller.
const LARGE: u64 = 4 << 20;

impl Memory {
    /// Reads `/proc/PID/smaps` (proc(5)).
    ///
    /// RAM may be in pieces, where files are mapped into it, and the kernel joins what lies beside it to its ends: it
    /// begins at a boundary in the first large mapping, and a mapping belongs to it that is in it by more than half.
    pub(super) fn read(smaps: &str) -> Self {
        let mut memory = Self::default();
        let mut ram = None;
        let mut is_ram = false;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let Some(word) = words.next() else { continue };
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            if let Some((from, to)) = word.split_once('-').and_then(|(a, b)| number(a).zip(number(b))) {
                if to - from > LARGE && ram.is_none() {
                    ram = Some(from.next_multiple_of(BOUNDARY));
                }
                let inside = ram.map_or(0, |ram| to.min(ram + RAM).saturating_sub(from.max(ram)));
                is_ram = inside * 2 > to - from;
            } else if let Some(value) = words.next() {
                let bytes = value.parse::<u64>().unwrap_or(0) << 10;
                match word {
                    "Rss:" if !is_ram => memory.beyond += bytes,
                    "Anonymous:" if is_ram => memory.private += bytes,
                    "Anonymous:" => memory.anonymous += bytes,
                    _ => {}
                }
            }
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_in_pieces_is_ram() {
        let smaps = "\
7fffe7990000-7fffe7bc5000 rw-p 00000000 00:00 0
Rss:  8 kB
Anonymous: 8 kB
7fffe7bc5000-7fffe8c00000 rw-p 00000000 00:00 0
Rss:  20 kB
Anonymous: 16 kB
7fffe8c00000-7fffea426000 rw-p 00000000 00:01 8 /kernel
Rss:  3000 kB
Anonymous: 100 kB
7fffea426000-7ffff7bff000 rw-p 00000000 00:00 0
Rss:  7000 kB
Anonymous: 7000 kB
7ffff7bff000-7ffff7dc5000 rw-p 00000000 00:00 0
Rss:  12 kB
Anonymous: 12 kB
7ffff7dee000-7ffff7f87000 r-xp 00000000 00:01 7 /bin/strata
Rss:  600 kB
Anonymous: 0 kB
";
        assert_eq!(
            Memory::read(smaps),
            Memory { beyond: 620 << 10, anonymous: 20 << 10, private: 7116 << 10 }
        );
    }

    #[test]
    fn the_time_of_an_event_is_read() {
        let line = "          strata-77      [000] ....1    12.345678: kvm_entry: vcpu 0, rip 0xfff0";
        assert_eq!(time_of(line), Some(Duration::from_micros(12_345_678)));
        assert_eq!(time_of("# tracer: nop"), None);
    }
}

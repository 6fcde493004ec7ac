//! Measuring, in the rig and on the local host.

use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;
use std::{env, fs};

use super::figures::Values;
use super::programs::{Programs, VirtioPrograms};
use crate::linux::initramfs::{self, Init, InitramfsError};
use crate::process::{capture, chain};
use crate::rig::options::Brought;
use crate::rig::{self, Machine, Rig};
use crate::tools::{STRACE, ToolError, Tools};

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeasureError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("no rig")]
    Rig(#[from] rig::SetUpError),
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    #[error("could not run {what}")]
    Start { what: &'static str, source: std::io::Error },
    #[error("could not run {what} in the rig: {why}")]
    Broken { what: &'static str, why: String },
    #[error("{what} ended with code {code}:\n{output}")]
    Failed { what: &'static str, code: i32, output: String },
    #[error("{what} printed no KVM_RUN")]
    NoRun { what: &'static str },
    #[error("could not read {what}")]
    Read { what: &'static str, source: std::io::Error },
}

/// A boot with much work in an emulated machine.
const LIMIT: Duration = Duration::from_secs(1200);
/// The code that strata has for a guest that halted.
const HALTED: u8 = 10;
const IMAGE: &str = "/tmp/hlt.bin";
const TRACE: &str = "/tmp/trace";

/// Reads what was printed, or collected.
type Read = Box<dyn Fn(&str) -> Option<Values>>;

/// One command of a boot, and what is made of it.
struct Step {
    what: &'static str,
    command: rig::Command,
    code: u8,
    read: Read,
}

impl Step {
    fn new(what: &'static str, program: &Path, arguments: &[&str]) -> Self {
        let mut command = rig::Command::new(program);
        command.arguments = arguments.iter().map(Into::into).collect();
        Self { what, command, code: 0, read: Box::new(|text| Some(pairs(text))) }
    }

    /// L1's kernel, as the name of a value.
    fn release() -> Self {
        let read = |release: &str| Some([(format!("Linux {}", release.trim()), 0.0)].into());
        Self { read: Box::new(read), ..Self::new("uname", Path::new("uname"), &["-r"]) }
    }
}

/// Everything that comes out the same each time, and L1's kernel.
pub(super) fn repeatable(programs: &Programs, tools: &Tools) -> Result<(Values, String), MeasureError> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let (strata, floor) = (path(&programs.strata), path(&programs.floor));
    let strace = tools.ensure(&STRACE)?;
    let under_strace = |what, name: fn(&str) -> Option<Values>, program: &[&str]| {
        let mut step = Step::new(what, &strace, &[&["-f", "-o", TRACE], program].concat());
        step.command.collect = vec![TRACE.into()];
        Step { code: HALTED, read: Box::new(name), ..step }
    };
    let steps = [
        Step::new("the bench `start`", &programs.start, &[&strata, &floor, "/tmp"]),
        Step::new("the bench `exits`", &programs.exits, &["one"]),
        Step::new("the bench `trace`", &programs.trace, &["run"]),
        Step::new("the bench `paging`", &programs.paging, &["run"]),
        under_strace(
            "strata under strace",
            |trace| calls("calls.strata", trace),
            &[&strata, "run", "--quiet", "--mode", "real16", "--memory", "64K", IMAGE],
        ),
        under_strace("the floor under strace", |trace| calls("calls.floor", trace), &[&floor, "hlt"]),
        Step::release(),
    ];
    let machine = Machine { icount: true, limit: LIMIT, ..Machine::default() };
    let mut values = in_rig(machine, &steps, &files(programs)?, Vec::new(), tools)?;
    let kernel = take_release(&mut values);
    let size = |source| MeasureError::Read { what: "the size of strata", source };
    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    values.insert("binary.strata".into(), fs::metadata(&programs.strata).map_err(size)?.len() as f64);
    Ok((values, kernel))
}

/// L1's kernel, as [`Step::release`] has given it.
fn take_release(values: &mut Values) -> String {
    let kernel = values.keys().find(|name| name.starts_with("Linux ")).cloned().unwrap_or_default();
    values.remove(&kernel);
    kernel
}

/// Two vCPUs beside one, on two emulated CPUs that run at the same time.
pub(super) fn two_cpus(programs: &Programs, tools: &Tools) -> Result<Values, MeasureError> {
    let machine = Machine { cpus: 2, limit: LIMIT, ..Machine::default() };
    in_rig(
        machine,
        &[Step::new("the bench `exits`", &programs.exits, &["two"])],
        &files(programs)?,
        Vec::new(),
        tools,
    )
}

/// A boot of Linux, and L1's kernel. L1 is the host that the peers were measured on.
pub(super) fn linux(strata: &Path, folder: &Path, tools: &Tools) -> Result<(Values, String), MeasureError> {
    let kernel = rig::kernel_of_guest(None, tools)?;
    let initrd = folder.join("linux-tiny.cpio");
    initramfs::tiny(tools, &initrd)?;
    let own = env::current_exe().map_err(|source| MeasureError::Start { what: "this program", source })?;
    let words = [strata, &kernel.image, &kernel.vmlinuz, &initrd];
    let mut command = rig::Command::new(own);
    command.arguments = ["measure-linux".into()].into_iter().chain(words.map(Into::into)).collect();
    let mut release = rig::Command::new("uname");
    release.arguments = vec!["-r".into()];
    let rig = Rig::set_up(
        Machine { icount: true, limit: LIMIT, memory_mib: 2048, ..Machine::default() },
        None,
        tools,
    )?;
    let files = words.map(|from: &Path| Brought { from: from.to_owned(), to: None });
    let mut texts = Vec::new();
    for result in rig.run_many(&[command, release], &files) {
        let what = "a boot of Linux";
        let done = result.map_err(|broken| MeasureError::Broken {
            what,
            why: format!("{}\n{}", chain(&broken.error), broken.tail),
        })?;
        let output = String::from_utf8_lossy(&[done.output, done.error].concat()).into_owned();
        if done.code != 0 {
            return Err(MeasureError::Failed { what, code: done.code.into(), output });
        }
        texts.push(output);
    }
    let release = texts.pop().unwrap_or_default();
    Ok((pairs(&texts.concat()), format!("Linux {}", release.trim())))
}

/// Virtio devices, and L1's kernel.
pub(super) fn virtio(
    programs: &VirtioPrograms,
    folder: &Path,
    tools: &Tools,
) -> Result<(Values, String), MeasureError> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let kernel = rig::kernel_of_guest(None, tools)?;
    let initrd = folder.join("linux-virtio.cpio");
    initramfs::with_busybox(Init::Job(super::virtio::JOB), &kernel, tools, &initrd)?;
    initramfs::add(&programs.reader, Path::new("/reader"), &initrd)?;
    let own = env::current_exe().map_err(|source| MeasureError::Start { what: "this program", source })?;
    let guests = [&programs.strata, &kernel.image, &initrd].map(|file| path(file));
    let [strata, vmlinux, initrd] = &guests;
    let of_guest = |what: &'static str, word: &str| {
        Step::new(what, &own, &["measure-virtio", word, strata, vmlinux, initrd])
    };
    // A block device, since of files in memory, which is all that L1 has, none can be read without waiting.
    let disk = folder.join("virtio/blocks.img");
    let made = fs::create_dir_all(folder.join("virtio")).and_then(|()| fs::write(&disk, vec![0; DISK]));
    made.map_err(|source| MeasureError::Start { what: "a disk", source })?;
    let at = path(&folder.join("virtio"));
    let mut steps = vec![Step::new("the bench `virtio`", &programs.trips, &["run", &at])];
    let (strace, trips) = (tools.ensure(&STRACE)?, path(&programs.trips));
    for what in ["block", "send", "receive"] {
        for side in ["strata", "floor"] {
            let words = ["-f", "-o", TRACE, &trips, "calls", side, what, &at];
            let mut step = Step::new("the bench `virtio` under strace", &strace, &words);
            step.command.collect = vec![TRACE.into()];
            let name = format!("virtio.calls.{what}.{side}");
            steps.push(Step { read: Box::new(move |trace| calls_of_worker(&name, trace)), ..step });
        }
    }
    steps.push(of_guest("a guest that reads", "exits"));
    steps.push(Step::release());
    let files: Vec<_> = guests.iter().map(Path::new).chain([programs.trips.as_path()]).map(bring).collect();
    let machine = Machine { icount: true, limit: LIMIT, memory_mib: 2048, ..Machine::default() };
    let mut values = in_rig(machine, &steps, &files, vec![disk], tools)?;
    let release = take_release(&mut values);
    let idle = [of_guest("idle guests", "idle")];
    values.extend(in_rig(Machine { icount: false, ..machine }, &idle, &files, Vec::new(), tools)?);
    Ok((values, release))
}

/// The same round trips on this host.
pub(super) fn virtio_here(programs: &VirtioPrograms, folder: &Path) -> Result<Values, MeasureError> {
    let what = "the bench `virtio`";
    fs::create_dir_all(folder).map_err(|source| MeasureError::Start { what, source })?;
    let mut command = process::Command::new(&programs.trips);
    command.arg("run").arg(folder);
    let done = capture(command).map_err(|source| MeasureError::Start { what, source })?;
    if !done.status.success() {
        let code = done.status.code().unwrap_or(-1);
        return Err(MeasureError::Failed { what, code, output: done.output });
    }
    Ok(pairs(&done.output).into_iter().map(|(name, value)| (format!("local.{name}"), value)).collect())
}

/// The same starts on this host.
pub(super) fn here(programs: &Programs, folder: &Path) -> Result<Values, MeasureError> {
    let what = "the bench `start`";
    fs::create_dir_all(folder).map_err(|source| MeasureError::Start { what, source })?;
    let mut command = process::Command::new(&programs.start);
    command.args([&programs.strata, &programs.floor, folder]);
    let done = capture(command).map_err(|source| MeasureError::Start { what, source })?;
    if !done.status.success() {
        let code = done.status.code().unwrap_or(-1);
        return Err(MeasureError::Failed { what, code, output: done.output });
    }
    let starts = pairs(&done.output).into_iter().filter(|(name, _)| name.starts_with("start."));
    Ok(starts.map(|(name, value)| (format!("local.{name}"), value)).collect())
}

fn bring(from: &Path) -> Brought {
    Brought { from: from.to_owned(), to: None }
}

/// What the programs start in the rig.
fn files(programs: &Programs) -> Result<[Brought; 3], MeasureError> {
    let image = programs.strata.with_file_name("hlt.bin");
    fs::write(&image, b"\xf4").map_err(|source| MeasureError::Start { what: "the hlt guest", source })?;
    Ok([bring(&programs.strata), bring(&programs.floor), Brought { from: image, to: Some(IMAGE.into()) }])
}

fn in_rig(
    machine: Machine,
    steps: &[Step],
    files: &[Brought],
    disks: Vec<PathBuf>,
    tools: &Tools,
) -> Result<Values, MeasureError> {
    let rig = Rig::set_up(machine, None, tools)?.with_disks(disks);
    let commands: Vec<_> = steps.iter().map(|step| step.command.clone()).collect();
    let mut values = Values::new();
    for (step, result) in steps.iter().zip(rig.run_many(&commands, files)) {
        let what = step.what;
        let done = result.map_err(|broken| MeasureError::Broken {
            what,
            why: format!("{}\n{}", chain(&broken.error), broken.tail),
        })?;
        let file = done.files.into_iter().next().flatten();
        if done.code != step.code {
            let output = String::from_utf8_lossy(&[done.output, done.error].concat()).into_owned();
            return Err(MeasureError::Failed { what, code: done.code.into(), output });
        }
        let text = file.unwrap_or(done.output);
        let read = (step.read)(&String::from_utf8_lossy(&text));
        values.extend(read.ok_or(MeasureError::NoRun { what })?);
    }
    Ok(values)
}

/// Reads lines of a name and a number.
fn pairs(text: &str) -> Values {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// How many calls `strace -f` shows before the first `KVM_RUN`. A call that another thread's interrupts has two lines.
fn calls(name: &str, trace: &str) -> Option<Values> {
    let before = trace.lines().position(|line| line.contains("KVM_RUN"))?;
    let calls = trace.lines().take(before).filter(|line| line.contains('(') && !line.contains("resumed>"));
    let count = u32::try_from(calls.count()).ok()?;
    Some([(name.to_owned(), count.into())].into())
}

/// What the bench `virtio` writes to its file.
const DISK: usize = 1 << 20;
/// How many round trips the bench `virtio` makes under strace.
const TRIPS: f64 = 1000.0;

/// How many calls for each of them `strace -f` shows of threads other than the first, to a tenth.
fn calls_of_worker(name: &str, trace: &str) -> Option<Values> {
    let thread = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let first = trace.lines().next().and_then(thread)?;
    let of_worker = |line: &&str| thread(line).is_some_and(|thread| thread != first);
    let calls =
        trace.lines().filter(of_worker).filter(|line| line.contains('(') && !line.contains("resumed>"));
    let count = f64::from(u32::try_from(calls.count()).ok()?);
    Some([(name.to_owned(), (count / TRIPS * 10.0).round() / 10.0)].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_all_threads_count_once() {
        let trace = "7 execve(\"s\", [\"s\"], 0x1) = 0\n7 clone3({flags=0}) = 8\n8 futex(0x1, 0 <unfinished ...>\n\
            7 --- SIGCHLD {} ---\n7 close(3) = 0\n8 <... futex resumed>) = 0\n8 ioctl(5, KVM_RUN, 0) = 0\n7 exit(0) = ?\n";
        assert_eq!(calls("n", trace), Some([("n".to_owned(), 4.0)].into()));
        assert_eq!(calls("n", "7 exit(0) = ?\n"), None);
    }

    #[test]
    fn calls_of_a_worker_are_those_of_no_other() {
        let trip = "7 write(4) = 8\n8 read(4 <unfinished ...>\n8 <... read resumed>) = 8\n8 write(5) = 8\n";
        let calls =
            calls_of_worker("n", &("7 execve(1) = 0\n".to_owned() + &trip.repeat(1000) + "8 exit(0) = ?\n"));
        assert_eq!(calls, Some([("n".to_owned(), 2.0)].into()));
    }

    #[test]
    fn other_lines_than_pairs_are_no_values() {
        assert_eq!(pairs("a.b 1.5\nwarning: x\n\n"), [("a.b".to_owned(), 1.5)].into());
    }
}

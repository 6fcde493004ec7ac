//! Distributions' kernels, booted in the rig: every way in, every way out, and nothing that the kernel's log complains of.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Context, Report};
use crate::bench::virtio::JOB;
use crate::linux::initramfs::{self, CONTENT, Init};
use crate::process::chain;
use crate::rig::job::{Broken, Finished};
use crate::rig::options::Brought;
use crate::rig::{self, Command, Kernel, Machine, Rig, Source};
use crate::tools::Tools;

const MACHINE: Machine =
    Machine { cpus: 1, memory_mib: 1536, icount: false, limit: Duration::from_secs(900) };
/// By L1's clock; a boot takes about five seconds.
const LIMIT: Duration = Duration::from_secs(120);
/// How much of a guest's console is shown after a failure.
const LINES: usize = 40;
/// How often in a row a boot has to succeed.
const IN_A_ROW: u32 = 20;

/// Kernels by version; None for the distribution's newest.
pub(super) const OLD: (&str, Option<&str>) = ("6.1", None);
pub(super) const NEW: (&str, Option<&str>) = ("6.12", Some("linux-image-6.12-cloud-amd64"));

// Strata's exit codes (docs/adr/0004-exit-codes.md).
const POWERED_OFF: u8 = 0;
const HALTED: u8 = 10;
const RESET: u8 = 12;
const PANIC: u8 = 30;

/// What `test.sh` says of a log without a complaint.
const NO_ERRORS: &str = "log: 0 errors in ";

/// In which form strata is given a kernel.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// As distributions have it, compressed.
    BzImage,
    /// Uncompressed, an ELF file.
    Vmlinux,
}

/// One boot.
#[derive(Debug)]
struct Boot {
    about: &'static str,
    form: Form,
    options: &'static [&'static str],
    cpus: u32,
    /// What process 1 is to do in the end; `test.sh` knows these words.
    then: &'static str,
    stdin: &'static str,
    /// What the console must show besides.
    says: &'static str,
    code: u8,
}

const PLAIN: Boot = Boot {
    about: "ELF, power-off",
    form: Form::Vmlinux,
    options: &[],
    cpus: 1,
    then: "off",
    stdin: "",
    says: "reboot: Power down",
    code: POWERED_OFF,
};

const OLD_BOOTS: &[Boot] = &[
    PLAIN,
    Boot {
        about: "bzImage unpacked here, 2 CPUs, restart",
        form: Form::BzImage,
        cpus: 2,
        then: "restart",
        says: "reboot: Restarting system",
        code: RESET,
        ..PLAIN
    },
    Boot {
        about: "bzImage by its own decompressor",
        form: Form::BzImage,
        options: &["--boot-protocol", "classic"],
        ..PLAIN
    },
    Boot { about: "PVH, 4 CPUs", options: &["--format", "pvh"], cpus: 4, ..PLAIN },
    Boot {
        about: "halt, 2 CPUs",
        cpus: 2,
        then: "halt",
        says: "reboot: System halted",
        code: HALTED,
        ..PLAIN
    },
    Boot { about: "panic", then: "panic", says: "Rebooting in 1 seconds", code: RESET, ..PLAIN },
    Boot {
        about: "panic told by pvpanic",
        then: "told-panic",
        says: "Kernel panic - not syncing: sysrq triggered crash",
        code: PANIC,
        ..PLAIN
    },
    Boot {
        about: "what is typed is echoed and done",
        then: "shell",
        // The port's first opening takes what has come before; line by line, an empty one harms nobody.
        stdin: "\n\n\n\n\n\n\n\necho $((6 * 7))\nexit\n",
        says: "/ # echo $((6 * 7))\n42\n/ # exit\n",
        ..PLAIN
    },
];

const NEW_BOOTS: &[Boot] = &[
    Boot { about: "ELF, restart", then: "restart", says: "reboot: Restarting system", code: RESET, ..PLAIN },
    Boot { about: "bzImage unpacked here, 4 CPUs", form: Form::BzImage, cpus: 4, ..PLAIN },
    Boot { about: "PVH, 2 CPUs", options: &["--format", "pvh"], cpus: 2, ..PLAIN },
];

pub(super) fn run(context: &Context) -> Result<Report, Box<dyn Error>> {
    let tools = Tools::of_this_process(!context.install.no_install);
    let rig = match Rig::set_up(MACHINE, None, &tools) {
        Ok(rig) => rig,
        Err(error) => {
            let why = format!("no rig: {}", chain(&error));
            return Ok(Report::skipped("Linux as a guest", &why));
        }
    };
    let strata = context.workspace.build_strata()?;
    let scratch = context.workspace.target.join("guests");
    // Two boots of L1 at a time: each has one CPU, and hosts have two or more.
    let each = || -> Result<Report, String> {
        let tests = Tests::new(&strata, &scratch, &tools, OLD).map_err(|error| chain(&*error))?;
        let old = tests.report(&rig, OLD_BOOTS);
        let new = match Tests::new(&strata, &scratch, &tools, NEW) {
            Ok(tests) => tests.report(&rig, NEW_BOOTS),
            Err(error) => Report::skipped("Linux 6.12 as a guest", &chain(&*error).replace('\n', " ")),
        };
        Ok(both(old, new))
    };
    let again = || -> Result<Report, String> {
        let again = in_a_row(&rig, &strata, &scratch, &tools).map_err(|error| chain(&*error))?;
        Ok(both(again, wakes_nobody(&rig, &strata, &scratch, &tools).map_err(|error| chain(&*error))?))
    };
    let [each, again] = thread::scope(|scope| {
        let again = scope.spawn(again);
        let each = each();
        [each, again.join().unwrap_or_else(|_| Err("a thread of ours has panicked".to_owned()))]
    })
    .map(|result| result.unwrap_or_else(Report::failed));
    Ok(both(each, again))
}

pub(super) fn both(mut a: Report, b: Report) -> Report {
    a.tally += b.tally;
    a.notes.extend(b.notes);
    a.output.push_str(&b.output);
    a
}

/// One kernel, with all that its boots need.
struct Tests<'a> {
    strata: &'a Path,
    version: &'static str,
    kernel: Kernel,
    initrd: PathBuf,
}

impl<'a> Tests<'a> {
    fn new(
        strata: &'a Path,
        scratch: &Path,
        tools: &Tools,
        (version, package): (&'static str, Option<&str>),
    ) -> Result<Self, Box<dyn Error>> {
        let source = package.map(|name| Source::Package(name.to_owned()));
        let kernel = rig::kernel_of_guest(source.as_ref(), tools)?;
        let initrd = scratch.join(format!("linux-{version}.cpio"));
        initramfs::with_busybox(Init::Test, &kernel, tools, &initrd)?;
        Ok(Self { strata, version, kernel, initrd })
    }

    fn report(&self, rig: &Rig, boots: &[Boot]) -> Report {
        let commands: Vec<_> = boots.iter().map(|boot| self.command(boot)).collect();
        let files = bring(&[&self.kernel.image, &self.kernel.vmlinuz, &self.initrd]);
        let mut report = Report::default();
        for (boot, result) in boots.iter().zip(rig.run_many(&commands, &files)) {
            let what = format!("Linux {}, {}", self.version, boot.about);
            report.add(boot.judge(result).map_err(|why| format!("{what}: {why}")));
        }
        report
    }

    fn command(&self, boot: &Boot) -> Command {
        let kernel = match boot.form {
            Form::BzImage => &self.kernel.vmlinuz,
            Form::Vmlinux => &self.kernel.image,
        };
        let mut command = linux(self.strata, kernel, &self.initrd, &format!("then={}", boot.then));
        command.arguments.extend(["--cpus".into(), boot.cpus.to_string().into()]);
        command.arguments.extend(boot.options.iter().map(Into::into));
        command.stdin = boot.stdin.into();
        command
    }
}

/// Strata with a kernel, quick to boot and quick to end after a panic.
fn linux(strata: &Path, kernel: &Path, initrd: &Path, more: &str) -> Command {
    let mut command = Command::new(strata);
    let cmdline = format!("console=ttyS0 panic=1 quiet {more}");
    command.arguments = ["run".into(), kernel.into()].into();
    command.arguments.extend(["--initrd".into(), initrd.into(), "--cmdline".into(), cmdline.into()]);
    command.arguments.extend(["--memory", "256M", "--quiet"].map(Into::into));
    Command { limit: Some(LIMIT), ..command }
}

pub(super) fn bring(paths: &[&Path]) -> Vec<Brought> {
    paths.iter().map(|&from| Brought { from: from.to_owned(), to: None }).collect()
}

impl Boot {
    /// Compares a boot with what it should have been.
    fn judge(&self, result: Result<Finished, Arc<Broken>>) -> Result<(), String> {
        let finished = result.map_err(|broken| format!("{}\n{}", chain(&broken.error), broken.tail))?;
        let console = String::from_utf8_lossy(&finished.output).replace('\r', "");
        let found = format!("on {} CPUs, initrd: {CONTENT}\n", self.cpus);
        let wrong = if finished.code != self.code {
            format!("exit code {} and not {}", finished.code, self.code)
        } else if let Some(missing) =
            [&*found, NO_ERRORS, self.says].into_iter().find(|text| !console.contains(text))
        {
            format!("the console does not show {missing:?}")
        } else {
            return Ok(());
        };
        let said = String::from_utf8_lossy(&finished.error);
        Err(format!("{wrong}\n{}{said}", last_lines(&console)))
    }
}

/// The end of a console, set off from what is ours.
pub(super) fn last_lines(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().fold(String::new(), |text, line| text + "    | " + &line.escape_debug().to_string() + "\n")
}

/// Boots the smallest guest again and again; the first failure ends it.
fn in_a_row(rig: &Rig, strata: &Path, scratch: &Path, tools: &Tools) -> Result<Report, Box<dyn Error>> {
    let kernel = rig::kernel_of_guest(None, tools)?;
    let initrd = scratch.join("linux-tiny.cpio");
    initramfs::tiny(tools, &initrd)?;
    let boots: Vec<_> = (0..IN_A_ROW).map(|_| linux(strata, &kernel.image, &initrd, "")).collect();
    let files = bring(&[&kernel.image, &initrd]);
    let mut report = Report::default();
    for (index, result) in rig.run_many(&boots, &files).into_iter().enumerate() {
        let is_good = |done: &Finished| {
            done.code == RESET && String::from_utf8_lossy(&done.output).contains("MARKER\r\n")
        };
        report.add(match result {
            Ok(done) if is_good(&done) => Ok(()),
            Ok(done) => {
                let console = last_lines(&String::from_utf8_lossy(&done.output));
                Err(format!("boot {} of {IN_A_ROW}: exit code {}\n{console}", index + 1, done.code))
            }
            Err(broken) => {
                Err(format!("boot {} of {IN_A_ROW}: {}\n{}", index + 1, chain(&broken.error), broken.tail))
            }
        });
    }
    Ok(report)
}

/// Boots a guest with all devices that does nothing: nobody in its VMM may be woken. (`bench/virtio.rs` has the guest.)
fn wakes_nobody(rig: &Rig, strata: &Path, scratch: &Path, tools: &Tools) -> Result<Report, Box<dyn Error>> {
    let kernel = rig::kernel_of_guest(None, tools)?;
    let initrd = scratch.join("linux-idle.cpio");
    initramfs::with_busybox(Init::Job(JOB), &kernel, tools, &initrd)?;
    let mut command = Command::new(env::current_exe()?);
    let words: [&OsStr; 5] = [
        "measure-virtio".as_ref(),
        "wakeups".as_ref(),
        strata.as_ref(),
        kernel.image.as_ref(),
        initrd.as_ref(),
    ];
    command.arguments = words.map(Into::into).into();
    let files = bring(&[strata, &kernel.image, &initrd]);
    let mut report = Report::default();
    for result in rig.run_many(&[command], &files) {
        report.add(match result {
            Ok(done) if String::from_utf8_lossy(&done.output).contains("virtio.idle.wakeups 0\n") => Ok(()),
            Ok(done) => {
                let said = String::from_utf8_lossy(&[done.output, done.error].concat()).into_owned();
                Err(format!("an idle Linux with all devices: exit code {}\n{}", done.code, last_lines(&said)))
            }
            Err(broken) => {
                Err(format!("an idle Linux with all devices: {}\n{}", chain(&broken.error), broken.tail))
            }
        });
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: u8, console: &str) -> Result<(), String> {
        let finished = Finished {
            code,
            time: Duration::ZERO,
            output: console.into(),
            error: b"strata: said\n".to_vec(),
            files: Vec::new(),
        };
        PLAIN.judge(Ok(finished))
    }

    #[test]
    fn a_boot_is_good_if_all_of_it_is() {
        let console = |cpus, content| {
            format!(
                "strata: Linux 6.1 on {cpus} CPUs, initrd: {content}\r\nlog: 0 errors in 300 messages\r\n\
                 reboot: Power down\r\n"
            )
        };
        assert_eq!(judged(0, &console(1, CONTENT)), Ok(()));
        for wrong in [
            judged(12, &console(1, CONTENT)),
            judged(0, &console(2, CONTENT)),
            judged(0, &console(1, "another")),
            judged(0, &console(1, CONTENT).replace("down", "")),
            judged(0, &console(1, CONTENT).replace("0 errors", "1 errors")),
        ] {
            let why = wrong.unwrap_err();
            assert!(why.contains("\n    | strata: Linux") && why.ends_with("strata: said\n"), "{why}");
        }
    }

    #[test]
    fn of_a_long_console_the_end_is_shown() {
        let lines: Vec<String> = (0..100).map(|line| format!("line {line}\r\n")).collect();
        let shown = last_lines(&lines.concat());
        assert_eq!((shown.lines().count(), shown.lines().next()), (LINES, Some("    | line 60")));
    }
}

//! A distribution from disk, in the rig: what it has synced outlives a power cut, and its networks and sockets work.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use super::device_tests::{PREAMBLE, Test};
use super::linux_tests::{NEW, OLD, both, bring, last_lines};
use super::{Context, Report};
use crate::debian;
use crate::process::chain;
use crate::rig::{self, Command, Machine, Rig, Source};
use crate::tools::{E2FSCK, IPERF3, PASST, SOCAT, Tools};

const MACHINE: Machine =
    Machine { cpus: 1, memory_mib: 1792, icount: false, limit: Duration::from_secs(1500) };
/// By L1's clock.
const LIMIT: Duration = Duration::from_secs(600);

const POWER_CUT: Test = Test {
    about: "a power cut",
    script: include_str!("../devices/power_cut.sh"),
    says: &[
        "synced on 4 CPUs and 4 queues",
        "host: what was synced is beyond its cache",
        "host: the file system is clean",
        "/root/data: OK",
    ],
};

const NETWORKS: Test = Test {
    about: "networks and sockets",
    script: include_str!("../devices/networks.sh"),
    says: &[
        "tap: received, received",
        "user: received, received",
        "candidate: 42",
        "hello host",
        "host: hello guest",
    ],
};

/// What process 1 of the guest, a shell, is given to do: what the initrd leaves undone, the test's half, and the end.
const BEFORE: &str =
    "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nmount -t tmpfs tmpfs /tmp\nip link set lo up\n";
const AFTER: &str = "\nsync\necho o >/proc/sysrq-trigger\nsleep 1000\n";

pub(super) fn run(context: &Context) -> Result<Report, Box<dyn Error>> {
    let tools = Tools::of_this_process(!context.install.no_install);
    // Without root, or without an archive, there is none.
    if let Err(error) = debian::disk(None, &tools) {
        return Ok(Report::skipped("Debian", &chain(&error).replace('\n', " ")));
    }
    let strata = context.workspace.build_strata()?;
    let scratch = context.workspace.target.join("guests");
    let each = |kernel, tests: &[Test]| {
        let boots = Boots { strata: &strata, scratch: &scratch, tools: &tools, kernel };
        boots.run(tests).unwrap_or_else(|error| Report::failed(chain(&*error)))
    };
    // Two at a time: each emulated host has one CPU.
    let (old, new) = thread::scope(|scope| {
        let new = scope.spawn(|| {
            let cut = each(NEW, &[POWER_CUT]);
            let mut login = Report::default();
            login.add(self::login().map_err(|why| format!("cargo xtask run-guest debian: {why}")));
            both(cut, login)
        });
        (each(OLD, &[POWER_CUT, NETWORKS]), new.join())
    });
    Ok(both(old, new.unwrap_or_else(|_| Report::failed("a thread of ours has panicked"))))
}

/// What a user types, and what somebody who has logged in does then.
fn login() -> Result<(), String> {
    const TYPED: &[u8] = b"systemctl is-system-running --wait\nip -br -4 addr show eth0\nexit\n";
    let mut command = process::Command::new(env::current_exe().map_err(|error| error.to_string())?);
    command.args(["run-guest", "debian", "--rig", "--fresh", "--name", "test"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(TYPED).map_err(|error| error.to_string())?;
    }
    let done = child.wait_with_output().map_err(|error| error.to_string())?;
    let console = String::from_utf8_lossy(&done.stdout).replace('\r', "");
    // A unit or two may fail in an emulated host that is slow; that the system has come up is what counts.
    let is_up = ["running", "degraded"].iter().any(|state| console.lines().any(|line| line.ends_with(state)));
    let wrong = match done.status.code() {
        Some(0) if !is_up => "the system has not come up",
        Some(0) if !console.contains("eth0             UP             10.") => "eth0 has no address",
        Some(0) => return Ok(()),
        _ => "it has not ended by powering off",
    };
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("{wrong}\n{}{said}", last_lines(&console)))
}

/// One kernel's disk, and what is done with it.
struct Boots<'a> {
    strata: &'a Path,
    scratch: &'a Path,
    tools: &'a Tools,
    kernel: (&'static str, Option<&'static str>),
}

impl Boots<'_> {
    fn run(&self, tests: &[Test]) -> Result<Report, Box<dyn Error>> {
        let (version, package) = self.kernel;
        let what = format!("Debian with Linux {version}");
        let rig = match Rig::set_up(MACHINE, None, self.tools) {
            Ok(rig) => rig,
            Err(error) => return Ok(Report::skipped(&what, &format!("no rig: {}", chain(&error)))),
        };
        let disk = match debian::disk(package, self.tools) {
            Ok(disk) => disk,
            // Not every distribution has this one.
            Err(error) if package.is_some() => {
                return Ok(Report::skipped(&what, &chain(&error).replace('\n', " ")));
            }
            Err(error) => return Err(error.into()),
        };
        let copy = self.scratch.join(format!("test-{}.ext4", disk.name));
        debian::working_copy(&disk.image, &copy, true)?;
        let image = rig::kernel_of_guest(Some(&Source::File(disk.vmlinuz.clone())), self.tools)?.image;
        let mut programs = Vec::new();
        for (name, tool) in [("E2FSCK", &E2FSCK), ("IPERF3", &IPERF3), ("SOCAT", &SOCAT), ("PASST", &PASST)] {
            programs.push((name, self.tools.ensure(tool)?));
        }
        let mut files = bring(&[self.strata, &image, &disk.initrd]);
        files.extend(bring(&programs.iter().map(|(_, program)| &**program).collect::<Vec<_>>()));
        let mut commands = Vec::new();
        for (number, test) in tests.iter().enumerate() {
            let jobs = self.jobs(test, &format!("{}-{number}", disk.name))?;
            files.extend(bring(&[&jobs]));
            let mut command = Command::new("sh");
            let guest = "root=/dev/vda rw init=/bin/sh -- /dev/vdb";
            let script = PREAMBLE.replace("quiet\"", &format!("quiet {guest}\"")).replace("256M", "768M");
            command.arguments = ["-c".into(), format!("{script}{}", test.halves().0).into()].into();
            command.environment = [
                ("STRATA", self.strata),
                ("KERNEL", &*image),
                ("INITRD", &*disk.initrd),
                ("DISK", &*copy),
                ("JOBS", &*jobs),
            ]
            .into_iter()
            .chain(programs.iter().map(|(name, program)| (*name, &**program)))
            .map(|(name, path)| (name.into(), path.into()))
            .collect();
            commands.push(Command { limit: Some(LIMIT), ..command });
        }
        let rig = rig.with_disks(vec![copy]).with_network();
        let mut report = Report::default();
        for (test, result) in tests.iter().zip(rig.run_many(&commands, &files)) {
            report.add(test.judge(result).map_err(|why| format!("{what}, {}: {why}", test.about)));
        }
        Ok(report)
    }

    /// A disk that is a script, which the guest's shell reads to its end.
    fn jobs(&self, test: &Test, name: &str) -> Result<PathBuf, std::io::Error> {
        let mut script = format!("{BEFORE}{}{AFTER}", test.guest()).into_bytes();
        script.resize(script.len().next_multiple_of(4096), b'\n');
        let path = self.scratch.join(format!("jobs-{name}.sh"));
        fs::write(&path, script)?;
        Ok(path)
    }
}

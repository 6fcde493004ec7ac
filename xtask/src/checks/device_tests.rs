//! Virtio devices as a distribution's kernel uses them, in the rig: each from both sides, the guest's and the host's.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::linux_tests::{bring, last_lines};
use super::{Context, Report};
use crate::linux::initramfs::{self, Init};
use crate::process::chain;
use crate::rig::job::{Broken, Finished};
use crate::rig::options::Brought;
use crate::rig::{self, Command, Kernel, Machine, Rig};
use crate::tools::Tools;

const MACHINE: Machine =
    Machine { cpus: 1, memory_mib: 1536, icount: false, limit: Duration::from_secs(900) };
/// By L1's clock.
const LIMIT: Duration = Duration::from_secs(200);

/// What a test does.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) about: &'static str,
    /// For the shell of L1, up to [`BORDER`], and from there for that of the guest.
    pub(super) script: &'static str,
    /// What has to be among what both have printed.
    pub(super) says: &'static [&'static str],
}

const BORDER: &str = "# --- guest ---\n";

/// What the hosts' scripts begin with: `guest OPTIONS` boots one, which does what the second half of the script says.
pub(super) const PREAMBLE: &str = r#"
guest() {
    "$STRATA" run "$KERNEL" --initrd "$INITRD" --memory 256M --quiet --cmdline "console=ttyS0 panic=1 quiet" "$@"
    code=$?
    [ $code = 0 ] || echo "host: strata exits with $code"
}
"#;

const TESTS: &[Test] = &[
    Test {
        about: "disks",
        script: include_str!("../devices/disk.sh"),
        says: &[
            "serial: strata-1, queues: 4",
            "part 0: as it was written",
            "part 1: as it was written",
            "part 2: as it was written",
            "part 3: as it was written",
            "the driver has left the disk",
            "after a reset: as it was written",
            "discarded: zeros",
            "as it was",
            "the second disk refuses",
            "host: the read-only disk is as it was",
        ],
    },
    Test {
        about: "a network by TAP",
        script: include_str!("../devices/net.sh"),
        says: &[
            "address: 52:54:00:00:00:01, queues: 2",
            "3 packets received",
            "4194304",
            "host: 4 MiB there and back",
        ],
    },
    Test {
        about: "entropy, console, balloon",
        script: include_str!("../devices/small.sh"),
        says: &["virtio_rng.0", "entropy: 4096 bytes", "host: it has its memory again"],
    },
];

const SHARE: Test = Test {
    about: "a shared directory",
    script: include_str!("../devices/share.sh"),
    says: &["from the host", "from the guest"],
};

/// Comes with Debian 12's QEMU; elsewhere with a package of its own.
fn virtiofsd(tools: &Tools) -> Option<PathBuf> {
    let places =
        ["/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"].map(PathBuf::from);
    tools.find("virtiofsd").or_else(|| places.into_iter().find(|place| place.is_file()))
}

pub(super) fn run(context: &Context) -> Result<Report, Box<dyn Error>> {
    let tools = Tools::of_this_process(!context.install.no_install);
    let rig = match Rig::set_up(MACHINE, None, &tools) {
        // With a network its root is a file system of its own, which virtiofsd's sandbox needs.
        Ok(rig) => rig.with_network(),
        Err(error) => {
            let why = format!("no rig: {}", chain(&error));
            return Ok(Report::skipped("virtio devices", &why));
        }
    };
    let strata = context.workspace.build_strata()?;
    let kernel = rig::kernel_of_guest(None, &tools)?;
    let scratch = context.workspace.target.join("guests");
    let mut files = bring(&[&strata, &kernel.image]);
    let (mut report, mut commands) = (Report::default(), Vec::new());
    let mut tests: Vec<_> = TESTS.iter().collect();
    if let Some(server) = virtiofsd(&tools) {
        tests.push(&SHARE);
        files.push(Brought { from: server, to: None });
    } else {
        report = Report::skipped(SHARE.about, "there is no virtiofsd");
    }
    for (number, test) in tests.iter().enumerate() {
        let initrd = scratch.join(format!("devices-{number}.cpio"));
        initramfs::with_busybox(Init::Job(test.guest()), &kernel, &tools, &initrd)?;
        commands.push(test.command(&strata, &kernel, &initrd));
        files.push(Brought { from: initrd, to: None });
    }
    for (test, result) in tests.iter().zip(rig.run_many(&commands, &files)) {
        report.add(test.judge(result).map_err(|why| format!("{}: {why}", test.about)));
    }
    Ok(report)
}

impl Test {
    pub(super) fn halves(&self) -> (&'static str, &'static str) {
        self.script.split_once(BORDER).unwrap_or((self.script, ""))
    }

    pub(super) fn guest(&self) -> &'static str {
        self.halves().1
    }

    fn command(&self, strata: &Path, kernel: &Kernel, initrd: &Path) -> Command {
        let mut command = Command::new("sh");
        command.arguments = ["-c".into(), format!("{PREAMBLE}{}", self.halves().0).into()].into();
        let variables = [("STRATA", strata), ("KERNEL", &*kernel.image), ("INITRD", initrd)];
        let variables = variables.map(|(name, path)| (name.into(), PathBuf::from(path).into()));
        command.environment = variables.into();
        Command { limit: Some(LIMIT), ..command }
    }

    /// Looks for what has to be there.
    pub(super) fn judge(&self, result: Result<Finished, Arc<Broken>>) -> Result<(), String> {
        let finished = result.map_err(|broken| format!("{}\n{}", chain(&broken.error), broken.tail))?;
        let console = String::from_utf8_lossy(&finished.output).replace('\r', "");
        let missing = self.says.iter().find(|says| !console.lines().any(|line| line.contains(**says)));
        let wrong = match missing {
            None if finished.code == 0 => return Ok(()),
            None => format!("exit code {}", finished.code),
            Some(missing) => format!("nothing says {missing:?}"),
        };
        let said = String::from_utf8_lossy(&finished.error);
        Err(format!("{wrong}\n{}{said}", last_lines(&console)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: u8, console: &str) -> Result<(), String> {
        let test = Test { about: "", script: "", says: &["one", "two"] };
        let finished = Finished {
            code,
            time: Duration::ZERO,
            output: console.into(),
            error: b"strata: said\n".to_vec(),
            files: Vec::new(),
        };
        test.judge(Ok(finished))
    }

    #[test]
    fn all_has_to_be_said() {
        assert_eq!(judged(0, "now two\r\none\r\n"), Ok(()));
        assert!(judged(1, "two\none\n").unwrap_err().contains("exit code 1"));
        let why = judged(0, "one\n").unwrap_err();
        assert!(why.contains("nothing says \"two\"") && why.ends_with("strata: said\n"), "{why}");
    }

    #[test]
    fn every_script_has_both_halves() {
        for test in TESTS.iter().chain([&SHARE]) {
            let (host, guest) = test.halves();
            assert!(host.contains("\nguest ") && !guest.is_empty(), "{}", test.about);
        }
    }
}

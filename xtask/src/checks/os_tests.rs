//! The operating system outside the workspace (`guests/os`) tests itself with `strata-guest` and `strata-test`: here by cargo, as
//! its author would, and in the rig by the runner alone.

mod page;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use super::{Context, Report};
use crate::host::Host;
use crate::process::{capture, chain};
use crate::rig::options::Brought;
use crate::rig::{self, Lazy, Machine};
use crate::tally::Tally;
use crate::workspace::{Program, Workspace, cargo};

const TARGET: &str = "x86_64-unknown-none";
const NAME: &str = "outside OS project";
/// Guests have limits of their own; this is for a runner that never ends.
const LIMIT: Duration = Duration::from_secs(120);
/// The test that fails on purpose.
const FAILING: &str = "fails_to_be_seen_failing";

/// One run of the runner, or of cargo: what it is told, its exit code, and what its output has to have.
#[derive(Debug)]
struct Check {
    /// `kernel`, `broken`, `tiny-os`: stand for the programs' files.
    words: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

/// By cargo.
const BY_CARGO: &[Check] = &[
    Check { words: &["fmt", "--check"], code: 0, says: &[] },
    Check { words: &["clippy", "--all-targets", "--", "--deny=warnings"], code: 0, says: &[] },
    Check {
        words: &["test"],
        code: 101,
        says: &[
            "test frames::tests::a_frame_is_whole ... ok\n",
            "running 10 tests\n",
            "test interrupts::the_clock_ticks ... ok\n",
            "test heap::too_much_is_refused - should panic ... ok\n",
            "test fails_to_be_seen_failing ... FAILED\n",
            "---- fails_to_be_seen_failing stdout ----\ntwo and two are counted\npanicked at PLACE:9:\n",
            "test result: FAILED. 9 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in ",
        ],
    },
    Check {
        // For a name alone cargo builds the library's tests too, whatever the manifest says.
        words: &["test", "heap"],
        code: 0,
        says: &["running 3 tests\n", "test result: ok. 3 passed; 0 failed;", "; 7 filtered out;"],
    },
    Check {
        words: &["test", "--", "--skip", FAILING, "--test-threads", "1", "-q"],
        code: 0,
        says: &["running 9 tests\n.........\n", "test result: ok. 9 passed; 0 failed;", "; 1 filtered out;"],
    },
    Check {
        words: &["run", "--", "hello"],
        code: 0,
        says: &["tiny-os, told \"hello\"\n", "\ntick 1\ntick 2\ntick 3\n"],
    },
];

/// Where nextest is installed.
const NEXTEST: Check = Check {
    words: &["nextest", "run", "--no-fail-fast"],
    code: 100,
    says: &["11 tests run: 10 passed, 1 failed, 0 skipped", "panicked at PLACE:9:"],
};

/// By the runner itself.
const BY_RUNNER: &[Check] = &[
    Check {
        words: &["kernel", "--list", "--format", "terse"],
        code: 0,
        says: &["fails_to_be_seen_failing: test\nframes::a_frame_can_be_written: test\n"],
    },
    Check {
        words: &["kernel"],
        code: 101,
        says: &["running 10 tests\n", "panicked at PLACE:9:\n", "9 passed; 1 failed; 0 ignored;"],
    },
    Check {
        words: &["kernel", "--exact", "heap::values_keep_apart"],
        code: 0,
        says: &["running 1 test\n", "1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out;"],
    },
    Check {
        words: &["broken", "triple_fault"],
        code: 101,
        says: &["test triple_fault ... FAILED\n", "the guest ended: triple fault\n", "0 passed; 1 failed;"],
    },
    Check {
        words: &["--timeout", "1s", "broken", "hang"],
        code: 101,
        says: &["test hang ... FAILED\n", "the guest was ended after 1s: its time was up\n"],
    },
    Check {
        words: &["broken", "--skip", "hang", "--skip", "triple_fault"],
        code: 101,
        says: &[
            "unhandled #UD (invalid opcode): vector 6,",
            ", tests/broken.rs:",
            "it was writing 0x0 (CR2)\n",
            "just below the stack: it has overflowed\n",
            "the guest ended: halted\n",
            "note: test did not panic as expected\n",
            "note: the panic was to contain \"something\"\n",
            "test left_out ... ignored\n",
            "0 passed; 6 failed; 1 ignored; 0 measured; 2 filtered out;",
        ],
    },
    Check { words: &["--expect", "^tick [2-9]$", "tiny-os"], code: 0, says: &["tick 2\n"] },
    Check {
        words: &["--expect", "^tock$", "tiny-os"],
        code: 1,
        says: &["tick 3\n", "no line of its output has \"^tock$\"\n"],
    },
    Check { words: &["--success", "35", "tiny-os"], code: 33, says: &["ended with 0x10"] },
    Check { words: &["--map", "33=7", "tiny-os"], code: 7, says: &["tick 3\n"] },
    Check { words: &["--timeout", "1ms", "tiny-os"], code: 20, says: &["its time was up\n"] },
    Check {
        words: &["--set", "kvm=/dev/no-kvm", "kernel"],
        code: 4,
        says: &["/dev/no-kvm does not exist", "`strata doctor` says what this host lacks"],
    },
    Check { words: &["--timeout", "soon", "kernel"], code: 2, says: &["\"soon\" is not a time"] },
];

/// What is run, and with what.
struct Project<'a> {
    context: &'a Context,
    folder: PathBuf,
    target: PathBuf,
    runner: PathBuf,
    /// `kernel`, `broken`, `tiny-os`.
    programs: Vec<Program>,
    /// File and line where the failing test fails.
    place: String,
}

pub(super) fn run(context: &Context) -> Result<Report, Box<dyn Error>> {
    if let Some(why) = no_target(context)? {
        return Ok(Report::skipped(NAME, &why));
    }
    let project = Project::build(context)?;
    let mut report = Report::default();
    match Host::detect(Path::new("/sys"), Path::new("/dev")).kvm {
        Ok(_) => project.here(&mut report)?,
        Err(why) => {
            report.tally += Tally::SKIPPED;
            report.notes.push(format!("not run: {NAME}, by cargo: {why}"));
        }
    }
    project.in_rig(&mut report);
    Ok(report)
}

/// Why there can be no program without an operating system, if so.
fn no_target(context: &Context) -> Result<Option<String>, Box<dyn Error>> {
    let folder = || -> Result<PathBuf, Box<dyn Error>> {
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", TARGET]);
        Ok(PathBuf::from(capture(rustc)?.output.trim()))
    };
    if folder()?.is_dir() {
        return Ok(None);
    }
    if context.install.no_install {
        return Ok(Some(format!("the compiler has no {TARGET}: `rustup target add {TARGET}`")));
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]);
    let _ = capture(rustup);
    Ok(if folder()?.is_dir() { None } else { Some(format!("`rustup target add {TARGET}` failed")) })
}

impl<'a> Project<'a> {
    fn build(context: &'a Context) -> Result<Self, Box<dyn Error>> {
        let Workspace { root, target, .. } = &context.workspace;
        let runner = context.workspace.build(&["--package", "strata-test", "--bin", "strata-test"])?;
        let runner = runner.into_iter().find(|program| program.name == "strata-test");
        let folder = root.join("guests/os");
        let target = target.join("outside-os");
        let os = Workspace { root: folder.clone(), target: target.clone(), packages: Vec::new() };
        let own = target.display().to_string();
        let tests = ["--test", "kernel", "--test", "broken", "--target-dir", &own];
        let mut programs = os.build_tests(&tests)?;
        programs.retain(|program| program.is_test);
        programs.extend(os.build(&["--bin", "tiny-os", "--target-dir", &own])?);
        let text = fs::read_to_string(folder.join("tests/kernel.rs"))?;
        let line = text.lines().position(|line| line.contains("this test fails on purpose"));
        let line = line.ok_or("guests/os/tests/kernel.rs has no test that fails on purpose")? + 1;
        Ok(Self {
            context,
            folder,
            target,
            runner: runner.ok_or("cargo built no strata-test")?.path,
            programs,
            place: format!("tests/kernel.rs:{line}"),
        })
    }

    /// By cargo and by the runner, on this host.
    fn here(&self, report: &mut Report) -> Result<(), Box<dyn Error>> {
        let mut checks: Vec<&Check> = BY_CARGO.iter().collect();
        if capture(self.cargo(&["nextest", "--version"])?)?.status.success() {
            checks.push(&NEXTEST);
        } else {
            report.tally += Tally::SKIPPED;
            report.notes.push(format!("not run: {NAME}, by nextest: cargo-nextest is not installed"));
        }
        for check in checks {
            let done = capture(self.cargo(check.words)?)?;
            report.add(self.judge(
                &format!("cargo {}", check.words.join(" ")),
                check,
                done.status.code(),
                &done.output,
            ));
        }
        for check in BY_RUNNER {
            let mut command = Command::new(&self.runner);
            command.args(self.words(check)).current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
            let done = capture(command)?;
            let about = format!("strata-test {}", check.words.join(" "));
            report.add(self.judge(&about, check, done.status.code(), &done.output));
        }
        page::check(self, report)
    }

    /// Cargo as the project's author calls it, with the runner on the path.
    fn cargo(&self, words: &[&str]) -> Result<Command, Box<dyn Error>> {
        let mut command = Command::new(cargo());
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = self.runner.parent().map(Path::to_owned).into_iter().chain(env::split_paths(&path));
        command.args(words).current_dir(&self.folder);
        command.env("PATH", env::join_paths(folders)?).env("CARGO_TARGET_DIR", &self.target);
        // Cargo has set these for us; none is meant for another project.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// A check's words, with files instead of the programs' names.
    fn words(&self, check: &Check) -> Vec<OsString> {
        let file = |word: &&str| match self.programs.iter().find(|program| program.name == **word) {
            Some(program) => program.path.clone().into(),
            None => OsString::from(*word),
        };
        check.words.iter().map(file).collect()
    }

    /// By the runner, all in one boot of the rig: there KVM behaves as hardware does.
    fn in_rig(&self, report: &mut Report) {
        let lazy = Lazy::new(Machine::default(), !self.context.install.no_install);
        let rig = match lazy.get() {
            Ok(rig) if self.context.with_rig => rig,
            Ok(_) => return,
            Err(why) => {
                report.tally += Tally::SKIPPED;
                report.notes.push(format!("not run: {NAME}, in the rig: no rig: {why}"));
                return;
            }
        };
        let command = |check: &Check| rig::Command {
            arguments: self.words(check),
            folder: self.folder.clone(),
            environment: vec![("CARGO_MANIFEST_DIR".into(), self.folder.clone().into())],
            limit: Some(LIMIT),
            ..rig::Command::new(self.runner.clone())
        };
        let commands: Vec<_> = BY_RUNNER.iter().map(command).collect();
        let mut files: Vec<PathBuf> = self.programs.iter().map(|program| program.path.clone()).collect();
        files.push(self.folder.join("Cargo.toml"));
        let files: Vec<Brought> = files.into_iter().map(|from| Brought { from, to: None }).collect();
        for (check, result) in BY_RUNNER.iter().zip(rig.run_many(&commands, &files)) {
            let about = format!("strata-test {} (in the rig)", check.words.join(" "));
            report.add(match result {
                Ok(finished) => {
                    let output = [finished.output, finished.error].concat();
                    let output = String::from_utf8_lossy(&output);
                    self.judge(&about, check, Some(finished.code.into()), &output)
                }
                Err(broken) => Err(format!("{about}: {}\n{}", chain(&broken.error), broken.tail)),
            });
        }
    }

    fn judge(&self, about: &str, check: &Check, code: Option<i32>, output: &str) -> Result<(), String> {
        if code != Some(check.code) {
            return Err(format!("{about}: exit code {code:?} instead of {}:\n{output}", check.code));
        }
        for text in check.says {
            let text = text.replace("PLACE", &self.place);
            if !output.contains(&text) {
                return Err(format!("{about}: does not say {text:?}:\n{output}"));
            }
        }
        Ok(())
    }
}

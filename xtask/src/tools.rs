//! Programs that xtask needs and that may be missing: finds them, or has the system's package manager install them.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::{env, fs, io};

use crate::process::{Captured, capture};

/// A program, and the package that has it under every package manager of [`MANAGERS`].
#[derive(Debug)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
    /// The package manager and the name of the package, where it is called otherwise.
    elsewhere: &'static [(&'static str, &'static str)],
}

/// Assembles guests.
pub(crate) const NASM: Tool = Tool { program: "nasm", package: "nasm", elsewhere: &[] };
/// A test compares `strata run --show-ioctls` with it.
pub(crate) const STRACE: Tool = Tool { program: "strace", package: "strace", elsewhere: &[] };
/// Debugs guests in tests.
pub(crate) const GDB: Tool = Tool { program: "gdb", package: "gdb", elsewhere: &[] };
/// Tests have it read the ACPI tables, and `acpiexec`, which comes with it, run them.
pub(crate) const IASL: Tool = Tool {
    program: "iasl",
    package: "acpica-tools",
    elsewhere: &[("zypper", "acpica"), ("pacman", "acpica"), ("apk", "acpica")],
};
/// Emulates the rig's host.
pub(crate) const QEMU: Tool = Tool {
    program: "qemu-system-x86_64",
    package: "qemu-system-x86",
    elsewhere: &[("zypper", "qemu-x86"), ("apk", "qemu-system-x86_64")],
};
/// All programs that the rig's host has; on ours it unpacks gzip.
pub(crate) const BUSYBOX: Tool = Tool {
    program: "busybox",
    package: "busybox",
    elsewhere: &[("apt-get", "busybox-static"), ("zypper", "busybox-static"), ("apk", "busybox-static")],
};
/// Unpacks kernels.
pub(crate) const LZ4: Tool = Tool { program: "lz4", package: "lz4", elsewhere: &[] };
/// Unpacks kernels.
pub(crate) const XZ: Tool = Tool { program: "xz", package: "xz", elsewhere: &[("apt-get", "xz-utils")] };
/// Unpacks kernels.
pub(crate) const ZSTD: Tool = Tool { program: "zstd", package: "zstd", elsewhere: &[] };

/// Makes a root file system of packages.
pub(crate) const MMDEBSTRAP: Tool = Tool { program: "mmdebstrap", package: "mmdebstrap", elsewhere: &[] };
/// Connects guests with the host's network, without privilege.
pub(crate) const PASST: Tool = Tool { program: "passt", package: "passt", elsewhere: &[] };
/// Makes a disk's file system of a folder.
pub(crate) const MKE2FS: Tool = Tool { program: "mke2fs", package: "e2fsprogs", elsewhere: &[] };

/// Checks a file system as a power cut leaves it.
pub(crate) const E2FSCK: Tool = Tool { program: "e2fsck", package: "e2fsprogs", elsewhere: &[] };
/// Sends as fast as a network takes it.
pub(crate) const IPERF3: Tool = Tool { program: "iperf3", package: "iperf3", elsewhere: &[] };
/// Connects any socket with any other.
pub(crate) const SOCAT: Tool = Tool { program: "socat", package: "socat", elsewhere: &[] };

impl Tool {
    fn package_of(&self, manager: &str) -> &'static str {
        self.elsewhere.iter().find(|(name, _)| *name == manager).map_or(self.package, |(_, package)| package)
    }
}

/// A package manager.
#[derive(Debug)]
struct Manager {
    program: &'static str,
    /// Installs the package whose name follows, asking nothing.
    install: &'static [&'static str],
    /// Fetches the lists of packages, which a fresh machine may not have.
    refresh: &'static [&'static str],
}

const MANAGERS: &[Manager] = &[
    Manager { program: "apt-get", install: &["install", "-y"], refresh: &["update"] },
    Manager { program: "dnf", install: &["install", "-y"], refresh: &["makecache"] },
    Manager { program: "pacman", install: &["-S", "--noconfirm"], refresh: &["-Sy"] },
    Manager { program: "zypper", install: &["--non-interactive", "install"], refresh: &["refresh"] },
    Manager { program: "apk", install: &["add"], refresh: &["update"] },
];

/// Why a program is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// `--no-install` was given.
    #[error("{program} is not installed and --no-install forbids installing it; type: {command}")]
    Forbidden { program: &'static str, command: String },
    /// Neither root nor sudo without a password.
    #[error("{program} is not installed, and installing it needs root; type: {command}")]
    NeedsRoot { program: &'static str, command: String },
    /// No package manager that we know.
    #[error(
        "{program} is not installed and no known package manager is; install {program} by hand and try again"
    )]
    NoManager { program: &'static str },
    /// The package manager said no.
    #[error("{program} could not be installed; type: {command}\n{output}")]
    Failed { program: &'static str, command: String, output: String },
    /// The package manager could not be started.
    #[error("could not start `{command}` to install {program}")]
    Start { program: &'static str, command: String, source: io::Error },
    /// The package manager said yes, but the program is still not to be found.
    #[error(
        "`{command}` succeeded, but there is still no {program} on PATH; install it by hand and try again"
    )]
    StillMissing { program: &'static str, command: String },
}

/// Held while something is installed: package managers refuse to work twice at once, and tests ask for tools in parallel.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Where programs are looked for, and what may be done about missing ones.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The search path, in the notation of `PATH`.
    path: OsString,
    is_root: bool,
    may_install: bool,
}

impl Tools {
    /// For this process.
    pub(crate) fn of_this_process(may_install: bool) -> Self {
        // The owner of /proc/self is our effective user.
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let mut path = env::var_os("PATH").unwrap_or_default();
        // What makes file systems lies there, where not every user's shell looks.
        path.push(":/usr/sbin:/sbin");
        Self { path, is_root, may_install }
    }

    /// Finds `tool`, installing it first if it is missing and that is allowed and possible.
    pub(crate) fn ensure(&self, tool: &Tool) -> Result<PathBuf, ToolError> {
        let program = tool.program;
        if let Some(found) = self.find(program) {
            return Ok(found);
        }
        let (manager, manager_path) = MANAGERS
            .iter()
            .find_map(|manager| Some((manager, self.find(manager.program)?)))
            .ok_or(ToolError::NoManager { program })?;
        let package = tool.package_of(manager.program);
        let plain = format!("{} {} {package}", manager.program, manager.install.join(" "));
        let command = if self.is_root { plain } else { format!("sudo {plain}") };
        if !self.may_install {
            return Err(ToolError::Forbidden { program, command });
        }
        let Some(prefix) = self.privilege() else {
            return Err(ToolError::NeedsRoot { program, command });
        };
        let started = |source| ToolError::Start { program, command: command.clone(), source };
        let call = |arguments: &[&str]| {
            let mut words = prefix.clone();
            words.push(manager_path.clone().into_os_string());
            words.extend(arguments.iter().map(OsString::from));
            self.call(&words).map_err(started)
        };
        let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.find(program) {
            // Somebody else was faster.
            return Ok(found);
        }
        eprintln!("{program} is not installed; installing it: {command}");
        let install = [manager.install, &[package]].concat();
        let mut done = call(&install)?;
        if !done.status.success() {
            // A fresh machine has no lists of packages yet, or stale ones.
            let refreshed = call(manager.refresh)?;
            done = call(&install)?;
            if !done.status.success() {
                let output = format!("{}{}", refreshed.output, done.output);
                return Err(ToolError::Failed { program, command, output: output.trim_end().to_owned() });
            }
        }
        self.find(program).ok_or(ToolError::StillMissing { program, command })
    }

    /// Has apt-get fetch its lists of packages, which a fresh machine does not have, if that is allowed and possible.
    ///
    /// That it did not is no error here: what is missing in the lists will be named.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        let Some(mut words) = self.privilege().filter(|_| self.may_install) else { return Ok(()) };
        words.extend(["apt-get", "update"].map(OsString::from));
        self.call(&words).map(drop)
    }

    /// The executable that a shell would take for `program`.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        env::split_paths(&self.path).map(|folder| folder.join(program)).find(|candidate| {
            fs::metadata(candidate).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
    }

    /// The words that make a command run as root: none for root itself, `sudo -n` where that asks for no password.
    pub(crate) fn privilege(&self) -> Option<Vec<OsString>> {
        if self.is_root {
            return Some(Vec::new());
        }
        let sudo = vec![self.find("sudo")?.into_os_string(), "-n".into()];
        let mut trial = sudo.clone();
        trial.push("true".into());
        self.call(&trial).is_ok_and(|done| done.status.success()).then_some(sudo)
    }

    fn call(&self, words: &[impl AsRef<OsStr>]) -> io::Result<Captured> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", &self.path);
        capture(command)
    }
}

#[cfg(test)]
#[path = "tools_test.rs"]
mod tests;

//! A distribution's kernel, taken from its package without installing that.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::{fs, io, process};

use crate::process::{Captured, capture};
use crate::tools::{ToolError, Tools};

/// What the package is called that stands for the newest kernel for virtual machines: on Debian, on Ubuntu.
pub(super) const NEWEST: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-virtual"];

/// Why a kernel package could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    #[error(
        "only apt-get is known to download a kernel without installing it, and there is none here; \
         name a kernel with --kernel FILE|FOLDER, for instance this host's own: --kernel /"
    )]
    NoAptGet,
    #[error("apt-get knows no package {name}; name another with --kernel, or type: apt-get update\n{output}")]
    Unknown { name: String, output: String },
    #[error("`{command}` failed:\n{output}")]
    Failed { command: String, output: String },
    #[error("`{command}` failed; it has said why")]
    Download { command: String },
    #[error("could not start `{command}`")]
    Start { command: String, source: io::Error },
    #[error("could not read what was downloaded to {}", folder.display())]
    Files { folder: PathBuf, source: io::Error },
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Downloads the first of the packages `names` that exists, with those that have its kernel, and unpacks them into
/// the folder `into`.
pub(super) fn fetch(names: &[&str], tools: &Tools, into: &Path) -> Result<(), PackageError> {
    if tools.find("apt-get").is_none() {
        return Err(PackageError::NoAptGet);
    }
    let packages = match find(names) {
        Err(PackageError::Unknown { .. }) => {
            // A fresh machine has no lists of packages yet.
            let failed = |source| PackageError::Start { command: "apt-get update".to_owned(), source };
            tools.refresh().map_err(failed)?;
            find(names)?
        }
        found => found?,
    };
    let listed = packages.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    eprintln!("rig: downloading {listed}, once, without installing it");
    let folder = into.join("packages");
    let failed = |source| PackageError::Files { folder: folder.clone(), source };
    fs::create_dir(&folder).map_err(failed)?;
    download(&packages, &folder)?;
    for entry in fs::read_dir(&folder).map_err(failed)? {
        unpack(&entry.map_err(failed)?.path(), into)?;
    }
    fs::remove_dir_all(&folder).map_err(failed)
}

/// Has apt-get download these packages into `folder`, and compare them with the archive's signed lists.
///
/// What it says of its progress goes to our standard error: standard output is for what guests and commands print.
fn download(packages: &BTreeSet<String>, folder: &Path) -> Result<(), PackageError> {
    let mut command = process::Command::new("apt-get");
    // As root, apt would download as a user of its own, who can't write here, and warn of that.
    command.args(["-o", "APT::Sandbox::User=root", "download"]).args(packages).current_dir(folder);
    let words = format!("{command:?}").replace('"', "");
    let failed = |source| PackageError::Start { command: words.clone(), source };
    command.stdin(process::Stdio::null());
    command.stdout(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?);
    let status = command.status().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(PackageError::Download { command: words }) }
}

/// Unpacks a Debian package.
pub(super) fn unpack(package: &Path, into: &Path) -> Result<(), PackageError> {
    let mut command = process::Command::new("dpkg-deb");
    command.arg("--extract").arg(package).arg(into);
    succeed(command).map(drop)
}

/// The packages to download for the first of `names` that apt-get knows.
fn find(names: &[&str]) -> Result<BTreeSet<String>, PackageError> {
    let mut result = Err(PackageError::NoAptGet);
    for name in names {
        result = resolve(name, &mut |name| {
            let mut command = process::Command::new("apt-cache");
            command.args(["depends", "--important", name]);
            let done = run(command)?;
            let output = done.output;
            if done.status.success() {
                Ok(output)
            } else {
                Err(PackageError::Unknown { name: name.to_owned(), output })
            }
        });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The packages that have the kernel and the modules that the package `name` stands for.
///
/// `linux-image-cloud-amd64` only depends on `linux-image-6.1.0-1-cloud-amd64`; and elsewhere than on Debian that has
/// no modules but depends on `linux-modules-..`.
fn resolve(
    name: &str,
    depends: &mut dyn FnMut(&str) -> Result<String, PackageError>,
) -> Result<BTreeSet<String>, PackageError> {
    let mut found = BTreeSet::new();
    let mut todo = vec![name.to_owned()];
    while let Some(package) = todo.pop() {
        let output = depends(&package)?;
        found.insert(package);
        for line in output.lines() {
            if let Some((_, name)) = line.split_once("Depends: ")
                && is_of_one_kernel(name)
                && !found.contains(name)
            {
                todo.push(name.to_owned());
            }
        }
    }
    // One that only stands for others has nothing to unpack.
    if found.len() > 1 && !is_of_one_kernel(name) {
        found.remove(name);
    }
    Ok(found)
}

/// Whether it has the image or the modules of one certain kernel: its name goes on with a number.
fn is_of_one_kernel(package: &str) -> bool {
    ["linux-image-", "linux-image-unsigned-", "linux-modules-"].iter().any(|start| {
        package.strip_prefix(start).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    })
}

fn run(command: process::Command) -> Result<Captured, PackageError> {
    let words = format!("{command:?}").replace('"', "");
    capture(command).map_err(|source| PackageError::Start { command: words, source })
}

fn succeed(command: process::Command) -> Result<Captured, PackageError> {
    let words = format!("{command:?}").replace('"', "");
    let done = run(command)?;
    if done.status.success() {
        Ok(done)
    } else {
        Err(PackageError::Failed { command: words, output: done.output.trim_end().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str, lists: &[(&str, &str)]) -> Result<Vec<String>, PackageError> {
        let found = resolve(name, &mut |name| match lists.iter().find(|(package, _)| *package == name) {
            Some((_, output)) => Ok((*output).to_owned()),
            None => Err(PackageError::Unknown { name: name.to_owned(), output: String::new() }),
        })?;
        Ok(found.into_iter().collect())
    }

    #[test]
    fn debian_has_all_in_one_package() {
        let lists = [
            (
                "linux-image-cloud-amd64",
                "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-1-cloud-amd64\n",
            ),
            (
                "linux-image-6.1.0-1-cloud-amd64",
                "  Depends: kmod\n |Depends: initramfs-tools\n  Depends: <x>\n",
            ),
        ];
        for name in ["linux-image-cloud-amd64", "linux-image-6.1.0-1-cloud-amd64"] {
            assert_eq!(resolved(name, &lists).unwrap(), ["linux-image-6.1.0-1-cloud-amd64"]);
        }
    }

    #[test]
    fn ubuntu_has_modules_in_another_package() {
        let lists = [
            ("linux-image-virtual", "  Depends: linux-image-6.8.0-1-generic\n  Depends: linux-firmware\n"),
            ("linux-image-6.8.0-1-generic", "  Depends: kmod\n  Depends: linux-modules-6.8.0-1-generic\n"),
            ("linux-modules-6.8.0-1-generic", "linux-modules-6.8.0-1-generic\n"),
        ];
        let expected = ["linux-image-6.8.0-1-generic", "linux-modules-6.8.0-1-generic"];
        assert_eq!(resolved("linux-image-virtual", &lists).unwrap(), expected);
    }

    #[test]
    fn any_other_package_is_taken_as_it_is() {
        assert_eq!(resolved("my-kernel", &[("my-kernel", "  Depends: libc6\n")]).unwrap(), ["my-kernel"]);
    }

    #[test]
    fn an_unknown_package_is_named() {
        let error = resolved("linux-image-x", &[]).unwrap_err();
        assert!(error.to_string().contains("no package linux-image-x"), "{error}");
    }
}

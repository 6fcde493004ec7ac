//! The package archive that this host's own apt is set up for: no other is named anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::Command;

use crate::process::capture;
use crate::tools::Tools;

/// Where a system says which release it is (os-release(5)).
const OS_RELEASE: &str = "/etc/os-release";
/// A derivative's own release has no packages of ours, that which it is made from has.
const RELEASE_KEYS: [&str; 3] = ["UBUNTU_CODENAME", "DEBIAN_CODENAME", "VERSION_CODENAME"];
/// Who publishes archives that a whole system can be made from, and the newest kernel for virtual machines in each.
const PUBLISHERS: [(&str, &str); 2] =
    [("Debian", "linux-image-cloud-amd64"), ("Ubuntu", "linux-image-virtual")];
/// Of apt's settings, those that say how an archive is reached.
const REACH: [&str; 3] = ["Acquire::http::", "Acquire::https::", "Acquire::Retries "];
/// What is asked of apt of every list of packages, divided by tabs (apt's acquire-additional-files.md).
const FORMAT: &str = "$(ORIGIN)\t$(CODENAME)\t$(ARCHITECTURE)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)";

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error(
        "the disk is made of packages from the archive that the host's apt is set up for, and this host has no apt-get; \
         run this on Debian or Ubuntu, a container will do"
    )]
    NoAptGet,
    #[error("{OS_RELEASE} could not be read; run this on Debian or Ubuntu, a container will do")]
    OsRelease(#[source] io::Error),
    #[error(
        "{OS_RELEASE} names no release (VERSION_CODENAME); run this on a release of Debian or Ubuntu, a container will do"
    )]
    NoRelease,
    #[error("could not start `{0}`")]
    Start(&'static str, #[source] io::Error),
    #[error(
        "apt-get knows no packages of {release} by Debian or Ubuntu; see what `apt-get indextargets` lists, add the \
         archive to /etc/apt/sources.list and type: apt-get update"
    )]
    NoPackages { release: String },
    #[error(
        "apt-get knows no package {0}; see what `apt-cache search linux-image` lists, or type: apt-get update"
    )]
    NoKernel(String),
}

/// The name of this host's release, such as `bookworm`.
pub(super) fn release() -> Result<String, ArchiveError> {
    release_in(&fs::read_to_string(OS_RELEASE).map_err(ArchiveError::OsRelease)?)
        .ok_or(ArchiveError::NoRelease)
}

fn release_in(os_release: &str) -> Option<String> {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(['"', '\'']).to_owned())
    };
    // It becomes part of a path and of a command line.
    let is_name = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    RELEASE_KEYS.iter().find_map(|key| value(key).filter(is_name))
}

/// The names that the newest kernel may have, whoever publishes the archive.
pub(super) fn newest_kernels() -> impl Iterator<Item = &'static str> {
    PUBLISHERS.iter().map(|(_, kernel)| *kernel)
}

/// An archive, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Archive {
    /// In the one-line notation of sources.list(5).
    pub(super) sources: String,
    /// In the notation of apt.conf(5).
    pub(super) settings: String,
    /// The package of its newest kernel for virtual machines.
    pub(super) kernel: &'static str,
}

/// The archive with the packages of `release`. A fresh machine's apt fetches its lists first.
pub(super) fn find(release: &str, tools: &Tools) -> Result<Archive, ArchiveError> {
    if tools.find("apt-get").is_none() {
        return Err(ArchiveError::NoAptGet);
    }
    let mut targets = targets()?;
    if sources(&targets, release).is_none() {
        tools.refresh().map_err(|source| ArchiveError::Start("apt-get update", source))?;
        targets = self::targets()?;
    }
    let (sources, kernel) =
        sources(&targets, release).ok_or_else(|| ArchiveError::NoPackages { release: release.to_owned() })?;
    let mut dump = Command::new("apt-config");
    dump.arg("dump");
    let dump = capture(dump).map_err(|source| ArchiveError::Start("apt-config dump", source))?;
    Ok(Archive { sources, settings: reach(&dump.output), kernel })
}

/// Asks whether there is a package of this name at all: to find out later costs a minute.
pub(super) fn check_package(name: &str, tools: &Tools) -> Result<(), ArchiveError> {
    let is_known = || {
        let mut show = Command::new("apt-cache");
        show.args(["show", "--quiet", "--", name]);
        capture(show)
            .map_err(|source| ArchiveError::Start("apt-cache show", source))
            .map(|it| it.status.success())
    };
    if is_known()? {
        return Ok(());
    }
    tools.refresh().map_err(|source| ArchiveError::Start("apt-get update", source))?;
    if is_known()? { Ok(()) } else { Err(ArchiveError::NoKernel(name.to_owned())) }
}

fn targets() -> Result<String, ArchiveError> {
    let mut list = Command::new("apt-get");
    list.args(["indextargets", "--format", FORMAT, "Created-By: Packages"]);
    Ok(capture(list).map_err(|source| ArchiveError::Start("apt-get indextargets", source))?.output)
}

/// The sources of `release`, with its updates, and the kernel's package. The first publisher that has any counts.
fn sources(targets: &str, release: &str) -> Option<(String, &'static str)> {
    PUBLISHERS.iter().find_map(|(publisher, kernel)| {
        let line = |target: &str| -> Option<String> {
            let mut fields = target.split('\t');
            let mut next = || fields.next();
            let (origin, codename, architecture) = (next()?, next()?, next()?);
            let (uri, suite, component) = (next()?, next()?, next()?);
            // Debian calls the updates `bookworm-updates`; Ubuntu calls all of them `noble`.
            let is_ours = codename.split('-').next() == Some(release)
                && !codename.ends_with("-backports")
                && !suite.ends_with("-proposed");
            (origin == *publisher && is_ours && architecture == "amd64")
                .then(|| format!("deb [arch=amd64] {uri} {suite} {component}\n"))
        };
        let lines: BTreeSet<String> = targets.lines().filter_map(line).collect();
        (!lines.is_empty()).then(|| (lines.into_iter().collect(), *kernel))
    })
}

/// The lines of `apt-config dump` that say how an archive is reached: proxies, certificates.
fn reach(dump: &str) -> String {
    let is_needed = |line: &&str| REACH.iter().any(|start| line.starts_with(start));
    dump.lines().filter(is_needed).flat_map(|line| [line, "\n"]).collect()
}

/// The variables by which the way to an archive is set too, and which programs that change the user drop.
pub(super) const VARIABLES: [&str; 5] = ["http_proxy", "https_proxy", "no_proxy", "all_proxy", "APT_CONFIG"];

#[cfg(test)]
#[path = "archive_test.rs"]
mod tests;

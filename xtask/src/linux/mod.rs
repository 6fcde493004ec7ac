//! `cargo xtask run-guest linux`: a distribution's kernel as a guest, here or in the rig.
//!
//! [`initramfs`] makes what the kernel finds as its first files; the kernel itself comes as the rig's own does.

pub(crate) mod console;
pub(crate) mod initramfs;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io, process};

use crate::cli::RunGuest;
use crate::host::{Host, Kvm, Place, Wanted};
use crate::process::chain;
use crate::rig::job::{Broken, Job};
use crate::rig::keyboard::Gate;
use crate::rig::options::Brought;
use crate::rig::{self, Machine, Rig};
use crate::tools::{PASST, Tools};
use crate::workspace::Workspace;
use console::Watched;
use initramfs::Init;

/// What a guest has unless it is said otherwise.
const DEFAULTS: [&str; 4] = ["--cpus", "1", "--memory", "512M"];
/// Memory of the emulated host beyond that of the guest.
const HOST_MIB: u32 = 1024;
/// Somebody who works at a console may do so all day.
const LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Boots to a shell; `false` says that the guest has not ended by powering off.
pub(crate) fn run(workspace: &Workspace, options: &RunGuest, wanted: Wanted) -> Result<bool, Box<dyn Error>> {
    let tools = Tools::of_this_process(!options.install.no_install);
    let host = Host::detect(Path::new("/sys"), Path::new("/dev"));
    // What KVM the rig has makes no difference to Linux; whether there is a rig shows when it is set up.
    let place = host.place(&["linux"], wanted, || Ok(Kvm::OldQemu));
    if let Place::Nowhere(why) = &place {
        return Err(format!("linux can't be run: {why}").into());
    }
    let kernel = rig::kernel_of_guest(options.kernel.as_ref(), &tools)?;
    let initrd = workspace.target.join("guests/linux-shell.cpio");
    initramfs::with_busybox(Init::Shell, &kernel, &tools, &initrd)?;
    let strata = workspace.build_strata()?;
    let code = if let Place::Rig(why) = place {
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        eprintln!("linux: in the rig{why}; Linux boots there in some ten seconds");
        // Unpacked already: the kernels that strata keeps on this host are not in the rig.
        let words = arguments(&kernel.image, &initrd, &options.strata_options);
        in_rig(strata, words, &tools)?
    } else {
        let mut command = process::Command::new(strata);
        command.args(arguments(&kernel.vmlinuz, &initrd, &options.strata_options));
        console::run(command)?
    };
    Ok(code == 0)
}

/// Strata's command line. Of an option that is given twice, the last counts.
fn arguments(kernel: &Path, initrd: &Path, options: &[OsString]) -> Vec<OsString> {
    let fixed = ["run".as_ref(), kernel.as_os_str(), "--initrd".as_ref(), initrd.as_os_str()];
    let defaults = DEFAULTS.iter().map(OsStr::new);
    fixed.into_iter().chain(defaults).chain(options.iter().map(OsString::as_os_str)).map(Into::into).collect()
}

/// Runs strata in the rig; gives its exit code.
///
/// Files that the arguments name come along; those that they name as disks are disks of the emulated host, and what is
/// written there remains.
pub(crate) fn in_rig(
    strata: PathBuf,
    arguments: Vec<OsString>,
    tools: &Tools,
) -> Result<i32, Box<dyn Error>> {
    let memory_mib = HOST_MIB + memory_mib(&arguments).unwrap_or(HOST_MIB);
    let mut rig = Rig::set_up(Machine { memory_mib, limit: LIMIT, ..Machine::default() }, None, tools)?;
    let mut files = rig::files_named(&arguments);
    let folder = env::current_dir()?;
    let disks = disks_named(&arguments);
    let is_disk = |path: &Path| disks.iter().any(|disk| disk == path);
    files.retain(|file| !is_disk(&file.from));
    if has_user_network(&arguments) {
        let passt = tools.ensure(&PASST)?;
        // It starts one of these instead of itself, where the CPU has what that needs.
        let variants = [passt.with_extension("avx2"), passt];
        files.extend(
            variants.into_iter().filter(|from| from.is_file()).map(|from| Brought { from, to: None }),
        );
        rig = rig.with_network();
    }
    let disks = disks.iter().filter(|disk| disk.is_file()).map(|disk| folder.join(disk)).collect();
    let rig = rig.with_disks(disks);
    let command = rig::Command { arguments, folder, ..rig::Command::new(strata) };
    let gate = Gate::default();
    let job = Job { command, files, out: None, input: Some(gate.clone()) };
    match rig.run(&job, &mut Watched::new(io::stdout(), gate), &mut io::stderr()) {
        Ok(code) => Ok(code.into()),
        Err(Broken { error, tail }) => Err(format!("{}\n{tail}", chain(&error)).into()),
    }
}

/// The values of an option.
fn values<'a>(arguments: &'a [OsString], option: &str) -> impl Iterator<Item = &'a OsStr> {
    arguments.windows(2).filter(move |pair| pair[0] == option).map(|pair| pair[1].as_os_str())
}

/// The files that the guest has as disks: of `--disk FILE,ro` the FILE.
fn disks_named(arguments: &[OsString]) -> Vec<PathBuf> {
    let file = |value: &OsStr| {
        let bytes = value.as_bytes();
        let end = bytes.iter().position(|&byte| byte == b',').unwrap_or(bytes.len());
        PathBuf::from(OsStr::from_bytes(&bytes[..end]))
    };
    values(arguments, "--disk").map(file).collect()
}

fn has_user_network(arguments: &[OsString]) -> bool {
    values(arguments, "--net").any(|value| value.as_bytes().starts_with(b"user"))
}

/// The guest's memory, if the last `--memory` gives it in words of ours.
fn memory_mib(arguments: &[OsString]) -> Option<u32> {
    let given = arguments.windows(2).rfind(|pair| pair[0] == "--memory" || pair[0] == "-m")?;
    let text = given[1].to_str()?;
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u32 = number.parse().ok()?;
    match unit {
        "G" | "g" => number.checked_mul(1024),
        "M" | "m" => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str]) -> Option<u32> {
        let options: Vec<OsString> = options.iter().map(OsString::from).collect();
        memory_mib(&arguments(Path::new("k"), Path::new("i"), &options))
    }

    #[test]
    fn disks_and_networks_are_read_from_stratas_options() {
        let words = ["--disk", "a.img", "--disk", "b.img,ro", "--net", "user,mac=x", "k"].map(OsString::from);
        assert_eq!(disks_named(&words), [Path::new("a.img"), Path::new("b.img")]);
        assert!(has_user_network(&words) && !has_user_network(&["--net", "tap=t"].map(OsString::from)));
    }

    #[test]
    fn the_emulated_host_has_the_memory_that_the_guest_is_given() {
        assert_eq!(of(&[]), Some(512));
        assert_eq!(of(&["--memory", "1G"]), Some(1024));
        assert_eq!(of(&["-m", "64M", "--cpus", "4"]), Some(64));
        assert_eq!(of(&["--memory", "much"]), None);
    }
}

//! `cargo xtask run-guest linux`: a distribution's kernel as a guest, here or in the rig.
//!
//! [`initramfs`] makes what the kernel finds as its first files; the kernel itself comes as the rig's own does.

mod console;
pub(crate) mod initramfs;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io, process};

use crate::cli::RunGuest;
use crate::host::{Host, Kvm, Place, Wanted};
use crate::process::chain;
use crate::rig::job::{Broken, Job};
use crate::rig::keyboard::Gate;
use crate::rig::{self, Machine, Rig};
use crate::tools::Tools;
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

fn in_rig(strata: PathBuf, arguments: Vec<OsString>, tools: &Tools) -> Result<i32, Box<dyn Error>> {
    let memory_mib = HOST_MIB + memory_mib(&arguments).unwrap_or(HOST_MIB);
    let rig = Rig::set_up(Machine { memory_mib, limit: LIMIT, ..Machine::default() }, None, tools)?;
    let files = rig::files_named(&arguments);
    let folder = env::current_dir()?;
    let command = rig::Command { arguments, folder, ..rig::Command::new(strata) };
    let gate = Gate::default();
    let job = Job { command, files, out: None, input: Some(gate.clone()) };
    match rig.run(&job, &mut Watched::new(io::stdout(), gate), &mut io::stderr()) {
        Ok(code) => Ok(code.into()),
        Err(Broken { error, tail }) => Err(format!("{}\n{tail}", chain(&error)).into()),
    }
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
    fn the_emulated_host_has_the_memory_that_the_guest_is_given() {
        assert_eq!(of(&[]), Some(512));
        assert_eq!(of(&["--memory", "1G"]), Some(1024));
        assert_eq!(of(&["-m", "64M", "--cpus", "4"]), Some(64));
        assert_eq!(of(&["--memory", "much"]), None);
    }
}

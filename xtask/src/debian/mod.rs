//! `cargo xtask run-guest debian`: a distribution as a guest, from disk, with its own kernel and initrd.
//!
//! Read it in the order of a run: [`mod@disk`] makes the disk, once ([`archive`] says of which packages, `customize.sh` what
//! is set up in it, [`progress`] how far it is), [`copy`] copies it for a guest to write to, and [`run`] boots that.

mod archive;
mod copy;
mod disk;
mod progress;

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::cli::RunGuest;
use crate::host::{Host, Kvm, Place, Wanted};
use crate::linux::{self, console};
use crate::rig::{self, Source};
use crate::tools::{PASST, Tools};
use crate::workspace::Workspace;
use copy::Copied;
pub(crate) use copy::working_copy;
pub(crate) use disk::disk;

/// What a guest has unless it is said otherwise.
const DEFAULTS: [&str; 6] = ["--cpus", "2", "--memory", "1G", "--net", "user"];
/// Where the kernel finds its root, and what of its boot is shown: what goes wrong.
const CMDLINE: &str = "root=/dev/vda rw console=ttyS0 quiet";

/// Boots to a login; `false` says that the guest has not ended by powering off.
pub(crate) fn run(workspace: &Workspace, options: &RunGuest, wanted: Wanted) -> Result<bool, Box<dyn Error>> {
    let kernel = match &options.kernel {
        None => None,
        Some(Source::Package(name)) => Some(name.as_str()),
        Some(Source::Folder(_) | Source::File(_)) => {
            return Err(
                "the guest `debian` has a kernel with its modules on its disk: name a package, such as \
                --kernel linux-image-cloud-amd64"
                    .into(),
            );
        }
    };
    let tools = Tools::of_this_process(!options.install.no_install);
    let host = Host::detect(Path::new("/sys"), Path::new("/dev"));
    let place = host.place(&["linux"], wanted, || Ok(Kvm::OldQemu));
    if let Place::Nowhere(why) = &place {
        return Err(format!("debian can't be run: {why}").into());
    }
    let disk = disk(kernel, &tools)?;
    if !is_file_name(&options.name) {
        return Err(
            format!("`{}` is no name for a file; write letters, digits and hyphens", options.name).into()
        );
    }
    let copy = workspace.target.join(format!("guests/debian-{}-{}.ext4", disk.name, options.name));
    match working_copy(&disk.image, &copy, options.fresh)? {
        Copied::New => eprintln!("debian: its disk is {}", copy.display()),
        Copied::Kept => {
            eprintln!("debian: its disk is {}, as it was left; --fresh starts anew", copy.display());
        }
    }
    let strata = workspace.build_strata()?;
    let code = if let Place::Rig(why) = place {
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        eprintln!("debian: in the rig{why}; it boots there in a minute or two");
        // Unpacked already: to unpack it takes an emulated host seconds.
        let image = rig::kernel_of_guest(Some(&Source::File(disk.vmlinuz.clone())), &tools)?.image;
        linux::in_rig(strata, arguments(&image, &disk.initrd, &copy, &options.strata_options), &tools)?
    } else {
        tools.ensure(&PASST)?;
        let mut command = Command::new(strata);
        command.args(arguments(&disk.vmlinuz, &disk.initrd, &copy, &options.strata_options));
        console::run(command)?
    };
    Ok(code == 0)
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
}

/// Strata's command line. Of an option that is given twice, the last counts; but disks and networks add up: a network of
/// the user's own replaces ours.
pub(crate) fn arguments(kernel: &Path, initrd: &Path, disk: &Path, options: &[OsString]) -> Vec<OsString> {
    let has_network =
        options.iter().any(|option| option == "--net" || option.as_encoded_bytes().starts_with(b"--net="));
    let defaults = &DEFAULTS[..if has_network { 4 } else { 6 }];
    let mut words: Vec<OsString> = vec!["run".into(), kernel.into()];
    words.extend(["--initrd".into(), initrd.into(), "--disk".into(), disk.into()]);
    words.extend(["--cmdline", CMDLINE].iter().chain(defaults).map(OsString::from));
    words.extend_from_slice(options);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &[&str]) -> String {
        let options: Vec<OsString> = options.iter().map(OsString::from).collect();
        let words = arguments(Path::new("k"), Path::new("i"), Path::new("d"), &options);
        words.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn a_guest_has_its_disk_a_network_and_what_the_user_says() {
        let fixed =
            "run k --initrd i --disk d --cmdline root=/dev/vda rw console=ttyS0 quiet --cpus 2 --memory 1G";
        assert_eq!(words(&[]), format!("{fixed} --net user"));
        assert_eq!(words(&["--cpus", "4"]), format!("{fixed} --net user --cpus 4"));
        assert_eq!(words(&["--net", "tap=t"]), format!("{fixed} --net tap=t"));
    }
}

//! What the host and the rig can run, as far as guests' headers ask for it, and where a guest is run.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{major, minor};

/// Kinds of KVM that differ in what guests they can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kvm {
    /// VMX or SVM, on the metal, nested or emulated well: everything in [`ABILITIES`] works.
    Hardware,
    /// Page-table virtualisation without VMX or SVM: ring 0 is emulated instruction by instruction.
    Pvm,
    /// SVM as QEMU emulated it before version 10.
    OldQemu,
}

impl fmt::Display for Kvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hardware => "hardware KVM",
            Self::Pvm => "PVM",
            Self::OldQemu => "QEMU before version 10",
        })
    }
}

/// Something a guest's header can ask for under `needs`.
#[derive(Debug)]
struct Ability {
    name: &'static str,
    /// Ends the sentence "this guest needs ..".
    words: &'static str,
    missing_on: &'static [Kvm],
}

/// Every name that `needs` may contain, and the hosts that can't do it.
const ABILITIES: &[Ability] = &[
    // TCG did not look at the debug registers that a guest's guest has been given.
    Ability { name: "hw-breakpoint", words: "hardware breakpoints", missing_on: &[Kvm::OldQemu] },
    // A gate's code segment is taken as it is; in real mode the IDT's limit doesn't count.
    Ability {
        name: "delivery-checks",
        words: "every check of an exception's delivery",
        missing_on: &[Kvm::Pvm],
    },
    // Setting CR0.PG without EFER.LME is silently undone by SET_SREGS.
    Ability { name: "paging32", words: "32-bit paging", missing_on: &[Kvm::Pvm] },
    // What a distribution's kernel needs: where ring 0 is emulated, many instructions that it uses are not known.
    Ability { name: "linux", words: "hardware virtualisation", missing_on: &[Kvm::Pvm] },
    // A PDPT entry with PS set is taken as a reserved bit: #PF with error code 9.
    Ability { name: "pages-1g", words: "1 GiB pages", missing_on: &[Kvm::Pvm] },
];

impl Kvm {
    /// Why a guest with these needs can't run on `place`, which is of this kind; none if it can.
    fn lacks(self, needs: &[&str], place: &str) -> Option<String> {
        let asked = |ability: &&Ability| needs.contains(&ability.name);
        let missing = ABILITIES.iter().filter(asked).find(|ability| ability.missing_on.contains(&self))?;
        Some(format!("needs {}: {place} is {self}", missing.words))
    }
}

/// Where guests are to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Here; what can't, in the rig.
    #[default]
    Either,
    /// Here or not at all.
    Here,
    /// In the rig or not at all.
    Rig,
}

/// Where a guest is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In strata on this host.
    Here,
    /// In strata in the rig; says why not here, unless that was asked for.
    Rig(Option<String>),
    /// Not at all; says why.
    Nowhere(String),
}

/// Ends the line about a run.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => Ok(()),
            Self::Rig(None) => f.write_str(", in the rig"),
            Self::Rig(Some(why)) => write!(f, ", in the rig ({why})"),
            Self::Nowhere(why) => write!(f, ", nowhere ({why})"),
        }
    }
}

/// The host under us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its KVM, or why there is none to be used.
    pub(crate) kvm: Result<Kvm, String>,
}

impl Host {
    /// Looks at the folders `sys` (`/sys`) and `dev` (`/dev`).
    pub(crate) fn detect(sys: &Path, dev: &Path) -> Self {
        let kind = if sys.join("module/kvm_pvm").exists() { Kvm::Pvm } else { Kvm::Hardware };
        Self { kvm: usable(&dev.join("kvm")).map(|()| kind) }
    }

    /// Decides where a guest with these needs runs. `rig` says what the rig's KVM is, or why there is no rig; it is
    /// asked only if it matters, since a rig may first have to be installed.
    pub(crate) fn place(
        &self,
        needs: &[&str],
        wanted: Wanted,
        rig: impl FnOnce() -> Result<Kvm, String>,
    ) -> Place {
        let here = match &self.kvm {
            Ok(kvm) => kvm.lacks(needs, "this host"),
            Err(why) => Some(why.clone()),
        };
        let not_here = match (wanted, here) {
            (Wanted::Rig, _) => None,
            (_, None) => return Place::Here,
            (Wanted::Here, Some(why)) => return Place::Nowhere(why),
            (Wanted::Either, why) => why,
        };
        let not_there = match rig() {
            Ok(kvm) => kvm.lacks(needs, "the rig"),
            Err(why) => Some(format!("no rig: {why}")),
        };
        match (not_there, not_here) {
            (None, not_here) => Place::Rig(not_here),
            (Some(there), None) => Place::Nowhere(there),
            (Some(there), Some(here)) => Place::Nowhere(format!("{here}; {there}")),
        }
    }
}

/// Whether this is KVM's device, and ours to use. Its numbers are those of Documentation/admin-guide/devices.txt of the
/// Linux kernel: 10 for all of its kind, 232 for KVM.
fn usable(device: &Path) -> Result<(), String> {
    let shown = device.display();
    let file = OpenOptions::new().read(true).write(true).open(device);
    let state = file.and_then(|file| file.metadata()).map_err(|error| format!("no {shown}: {error}"))?;
    let numbers = (major(state.rdev()), minor(state.rdev()));
    if state.file_type().is_char_device() && numbers == (10, 232) {
        Ok(())
    } else {
        Err(format!("no {shown}: what is there is another device"))
    }
}

/// Whether `need` is a word that a header may use.
pub(crate) fn is_known(need: &str) -> bool {
    ABILITIES.iter().any(|ability| ability.name == need)
}

/// The words a header may use, for messages.
pub(crate) fn known() -> String {
    ABILITIES.iter().map(|ability| ability.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "host_test.rs"]
mod tests;

//! What the host can run, as far as guests' headers ask for it.

use std::fmt;
use std::path::Path;

/// Kinds of KVM that differ in what guests they can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kvm {
    /// VMX or SVM, on the metal or nested: everything in [`ABILITIES`] works.
    Hardware,
    /// Page-table virtualisation without VMX or SVM: ring 0 is emulated instruction by instruction.
    Pvm,
}

impl fmt::Display for Kvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hardware => "hardware KVM",
            Self::Pvm => "PVM",
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
    // Setting CR0.PG without EFER.LME is silently undone by SET_SREGS.
    Ability { name: "paging32", words: "32-bit paging", missing_on: &[Kvm::Pvm] },
    // A PDPT entry with PS set is taken as a reserved bit: #PF with error code 9.
    Ability { name: "pages-1g", words: "1 GiB pages", missing_on: &[Kvm::Pvm] },
];

/// Where a guest can be run. A nested host for what the local one can't do becomes one more variant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In strata on this host.
    Here,
    /// Not at all; says why.
    Nowhere(String),
}

/// The host under us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    pub(crate) kvm: Kvm,
}

impl Host {
    /// Looks at the `sysfs` mounted at `sys` (`/sys`).
    ///
    /// A host without any /dev/kvm counts as [`Kvm::Hardware`]: strata itself says what is wrong there.
    pub(crate) fn detect(sys: &Path) -> Self {
        let kvm = if sys.join("module/kvm_pvm").exists() { Kvm::Pvm } else { Kvm::Hardware };
        Self { kvm }
    }

    /// Decides where a guest with these needs runs.
    pub(crate) fn place<'a>(self, needs: impl IntoIterator<Item = &'a str>) -> Place {
        for need in needs {
            for ability in ABILITIES.iter().filter(|ability| ability.name == need) {
                if ability.missing_on.contains(&self.kvm) {
                    return Place::Nowhere(format!("needs {}: this host is {}", ability.words, self.kvm));
                }
            }
        }
        Place::Here
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
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_pvm_host_is_recognised_by_its_module() {
        let sys = Folder::new();
        assert_eq!(Host::detect(sys.path()).kvm, Kvm::Hardware);
        sys.file("module/kvm_pvm/parameters/x", "");
        assert_eq!(Host::detect(sys.path()).kvm, Kvm::Pvm);
    }

    #[test]
    fn what_pvm_cannot_do_is_named_and_runs_on_hardware() {
        let pvm = Host { kvm: Kvm::Pvm };
        let reason = "needs 1 GiB pages: this host is PVM".to_owned();
        assert_eq!(pvm.place(["pages-1g"]), Place::Nowhere(reason));
        assert_eq!(pvm.place([]), Place::Here);
        assert_eq!(Host { kvm: Kvm::Hardware }.place(["pages-1g", "paging32"]), Place::Here);
    }
}

//! Why no guest can run, and what to do about it.

use super::diagnosis::{Finding, Level, Virtualisation, errno_words};
use super::facts::{Access, Facts, Node};
use super::features::FEATURES;
use crate::kvm::API_VERSION;

/// What stands in the way: nothing, or one thing and perhaps a way around it.
pub(super) fn findings(facts: &Facts, virtualisation: Virtualisation) -> Vec<Finding> {
    let mut findings: Vec<Finding> = match &facts.access {
        Access::Works { .. } => Vec::new(),
        Access::Absent => vec![absent(facts, virtualisation)],
        Access::Denied => vec![denied(facts)],
        Access::NotKvm => vec![blocks(
            "not_kvm",
            "/dev/kvm is not KVM's device node.",
            "Remove it, then `sudo mknod /dev/kvm c 10 232`, or restart the machine.",
        )],
        Access::ApiVersion { found } => vec![blocks(
            "api_version",
            format!("KVM speaks API version {found}, Strata needs {API_VERSION}."),
            "Update the kernel, or unload the kvm module that is not the kernel's own.",
        )],
        Access::Failed { errno } => vec![blocks(
            "open_failed",
            format!("/dev/kvm cannot be opened: {}.", errno_words(*errno)),
            "`sudo dmesg | grep -i kvm` may say why.",
        )],
        Access::NoMachine { errno, .. } => vec![no_machine(*errno)],
    };
    if let Some(answers) = facts.access.answers() {
        let lacking =
            FEATURES.iter().filter(|feature| feature.required && answers.get(feature.capability) == 0);
        findings.extend(lacking.map(|feature| {
            blocks(
                "kernel_too_old",
                format!("KVM has no {} ({}).", feature.words, feature.capability.name()),
                format!("Update the kernel: {} brought it.", feature.brought_by),
            )
        }));
    }
    let is_beyond_repair =
        |finding: &Finding| matches!(finding.key, "no_hardware" | "not_nested" | "kernel_too_old");
    if findings.iter().any(is_beyond_repair) {
        findings.push(Finding {
            key: "emulated_host",
            level: Level::Hint,
            what: "Guests can run in an emulated host meanwhile: slowly, but faithfully.".to_owned(),
            advice: "In Strata's source tree: `cargo xtask rig -- COMMAND`.".to_owned(),
        });
    }
    findings
}

fn blocks(key: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { key, level: Level::Blocks, what: what.into(), advice: advice.into() }
}

fn absent(facts: &Facts, virtualisation: Virtualisation) -> Finding {
    let cpu = &facts.cpu;
    if virtualisation != Virtualisation::None {
        return blocks(
            "no_device",
            "KVM is in the kernel, but there is no /dev/kvm here.",
            "In a container: `--device /dev/kvm`; else `sudo mknod /dev/kvm c 10 232`.",
        );
    }
    if cpu.vmx || cpu.svm {
        let module = if cpu.vmx { "kvm_intel" } else { "kvm_amd" };
        return blocks(
            "no_module",
            "The CPU can run guests, but KVM's module for it is not loaded.",
            format!("`sudo modprobe {module}`; if that fails, `sudo dmesg | grep -i kvm` says why."),
        );
    }
    if cpu.hypervisor {
        return blocks(
            "not_nested",
            "This host is a virtual machine without VMX or SVM of its own.",
            "Enable nested virtualisation in its hypervisor, or use bare metal.",
        );
    }
    let name = match cpu.vendor.as_str() {
        "GenuineIntel" => "VT-x (VMX)",
        "AuthenticAMD" => "AMD-V (SVM)",
        _ => "VMX or SVM",
    };
    blocks(
        "no_hardware",
        format!("The CPU lacks {name}, or the firmware has switched it off."),
        "Enable it in the firmware's setup; a CPU that has none there cannot run KVM.",
    )
}

fn denied(facts: &Facts) -> Finding {
    match &facts.node {
        Some(node @ Node { group: Some(group), mode, gid: 1.., user_is_listed, .. })
            if !node.allows(&facts.user) && mode & 0o060 == 0o060 =>
        {
            // An administrator's group may have any name that fits a shell; the name is only shown.
            if *user_is_listed {
                return blocks(
                    "old_session",
                    format!("You are in group {group}, but this session began before that."),
                    format!("Log in again, or run `newgrp {group}` in this shell."),
                );
            }
            blocks(
                "not_in_group",
                format!("/dev/kvm is for group {group}, and you are not in it."),
                format!("`sudo usermod -aG {group} $USER`, then log in again."),
            )
        }
        Some(node) if !node.allows(&facts.user) => blocks(
            "no_group",
            format!("/dev/kvm has mode {:04o}: no group that you could join may use it.", node.mode),
            "`sudo chgrp kvm /dev/kvm && sudo chmod 0660 /dev/kvm`, and join group kvm.",
        ),
        _ => blocks(
            "forbidden",
            "Something other than /dev/kvm's permission bits forbids opening it.",
            "In a container: `--device /dev/kvm`; else see SELinux' or AppArmor's log.",
        ),
    }
}

fn no_machine(errno: i32) -> Finding {
    if errno == libc::EBUSY {
        return blocks(
            "hardware_busy",
            "Another hypervisor on this host has VMX or SVM for itself.",
            "End VirtualBox or VMware (and unload their modules), then try again.",
        );
    }
    blocks(
        "no_machine",
        format!("KVM opens, but makes no virtual machine: {}.", errno_words(errno)),
        "`sudo dmesg | grep -i kvm` may say why; unload and load the KVM module again.",
    )
}

//! What KVM can be asked about itself.

use super::open::Kvm;
use super::strace;

/// One question to `KVM_CHECK_EXTENSION` (api.rst 4.4), by the kernel's own name and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    name: &'static str,
    number: u32,
}

impl Capability {
    /// The constant's name in the kernel's headers, for instance `KVM_CAP_IMMEDIATE_EXIT`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The name in short, for keys: `immediate_exit`.
    pub fn key(self) -> String {
        self.name.trim_start_matches("KVM_CAP_").to_ascii_lowercase()
    }
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $short:ident = $name:ident;)*) => {
        impl Capability {
            $($(#[$doc])* pub const $short: Self =
                Self { name: stringify!($name), number: kvm_bindings::$name };)*

            /// Every capability that is asked about.
            pub const ALL: &[Self] = &[$(Self::$short),*];
        }
    };
}

capabilities! {
    /// In-kernel PIC, IOAPIC and LAPICs.
    IRQCHIP = KVM_CAP_IRQCHIP;
    /// How many vCPUs a machine should have at most: the host's own CPUs.
    NR_VCPUS = KVM_CAP_NR_VCPUS;
    /// How many memory slots a machine can have.
    NR_MEMSLOTS = KVM_CAP_NR_MEMSLOTS;
    /// MMIO writes gathered in a ring.
    COALESCED_MMIO = KVM_CAP_COALESCED_MMIO;
    /// Single-stepping and breakpoints.
    SET_GUEST_DEBUG = KVM_CAP_SET_GUEST_DEBUG;
    /// Which interrupt arrives where is up to the VMM.
    IRQ_ROUTING = KVM_CAP_IRQ_ROUTING;
    /// Interrupts raised through eventfds.
    IRQFD = KVM_CAP_IRQFD;
    /// The in-kernel i8254.
    PIT2 = KVM_CAP_PIT2;
    /// Eventfds that a guest's write signals.
    IOEVENTFD = KVM_CAP_IOEVENTFD;
    /// TSC scaling.
    TSC_CONTROL = KVM_CAP_TSC_CONTROL;
    /// How many vCPUs a machine can have.
    MAX_VCPUS = KVM_CAP_MAX_VCPUS;
    /// The LAPIC timer's TSC-deadline mode.
    TSC_DEADLINE_TIMER = KVM_CAP_TSC_DEADLINE_TIMER;
    /// Registers in the page shared with KVM; the answer is the set of register groups (1 regs, 2 sregs, 4 events).
    SYNC_REGS = KVM_CAP_SYNC_REGS;
    /// Message-signalled interrupts without a route.
    SIGNAL_MSI = KVM_CAP_SIGNAL_MSI;
    /// Memory that the guest cannot write.
    READONLY_MEM = KVM_CAP_READONLY_MEM;
    /// Level-triggered interrupts through eventfds.
    IRQFD_RESAMPLE = KVM_CAP_IRQFD_RESAMPLE;
    /// PIC and IOAPIC in the VMM, LAPICs in the kernel.
    SPLIT_IRQCHIP = KVM_CAP_SPLIT_IRQCHIP;
    /// The end of the range that a vCPU's id can be in.
    MAX_VCPU_ID = KVM_CAP_MAX_VCPU_ID;
    /// The flag that makes `KVM_RUN` return at once.
    IMMEDIATE_EXIT = KVM_CAP_IMMEDIATE_EXIT;
    /// HLT, PAUSE, MWAIT without exits; the answer is the set of instructions.
    X86_DISABLE_EXITS = KVM_CAP_X86_DISABLE_EXITS;
    /// Dirty pages are write-protected again when the VMM says so.
    MANUAL_DIRTY_LOG_PROTECT2 = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
    /// MSRs that KVM does not know exit to the VMM.
    X86_USER_SPACE_MSR = KVM_CAP_X86_USER_SPACE_MSR;
    /// Chosen MSRs are denied to the guest.
    X86_MSR_FILTER = KVM_CAP_X86_MSR_FILTER;
    /// Dirty pages in a ring; the answer is its greatest size in bytes.
    DIRTY_LOG_RING = KVM_CAP_DIRTY_LOG_RING;
    /// Statistics as a file.
    BINARY_STATS_FD = KVM_CAP_BINARY_STATS_FD;
    /// XSAVE areas of more than 4 KiB; the answer is the size in bytes.
    XSAVE2 = KVM_CAP_XSAVE2;
}

impl Kvm {
    /// What `KVM_CHECK_EXTENSION` answers for `capability`: 0 where the host lacks it.
    pub fn capability(&self, capability: Capability) -> i32 {
        let answer = self.calls.make(
            "KVM_CHECK_EXTENSION",
            || Ok(self.fd.check_extension_raw(capability.number.into())),
            |value| {
                let call = strace::ioctl(&self.fd, "KVM_CHECK_EXTENSION", capability.name);
                (call, value.copied().unwrap_or(0).into())
            },
        );
        answer.unwrap_or(0).max(0)
    }
}

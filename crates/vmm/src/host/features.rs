//! Which of KVM's abilities matter to a guest, and what each one's absence costs.

use crate::kvm::Capability;

/// An ability of KVM. The texts are table cells: a few words each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feature {
    pub(super) capability: Capability,
    /// What it is called in conversation.
    pub(super) words: &'static str,
    /// What its absence costs.
    pub(super) cost: &'static str,
    /// What brings it. Everything that is older than Linux 3.0 is said to need that.
    pub(super) brought_by: &'static str,
    /// Whether Strata runs nothing without it.
    pub(super) required: bool,
}

const fn feature(
    capability: Capability,
    words: &'static str,
    cost: &'static str,
    brought_by: &'static str,
) -> Feature {
    Feature { capability, words, cost, brought_by, required: false }
}

const fn required(feature: Feature) -> Feature {
    Feature { required: true, ..feature }
}

type Cap = Capability;

/// The table, by subject.
pub(super) const FEATURES: &[Feature] = &[
    required(feature(
        Cap::IMMEDIATE_EXIT,
        "immediate exit",
        "vCPUs cannot be stopped: nothing runs",
        "Linux 4.11",
    )),
    feature(Cap::IRQCHIP, "irqchip", "no interrupts: guests can only poll", "Linux 3.0"),
    feature(Cap::SPLIT_IRQCHIP, "split irqchip", "PIC and IOAPIC cannot be the VMM's", "Linux 4.4"),
    feature(Cap::PIT2, "PIT", "no i8254 timer for old kernels", "Linux 3.0"),
    feature(Cap::IRQFD, "irqfd", "devices cannot interrupt by eventfd", "Linux 3.0"),
    feature(Cap::IRQFD_RESAMPLE, "irqfd resample", "level interrupts cost more exits", "Linux 3.7"),
    feature(Cap::IRQ_ROUTING, "irq routing", "interrupt lines are fixed, no MSI", "Linux 3.0"),
    feature(Cap::SIGNAL_MSI, "signal MSI", "each MSI needs a route of its own", "Linux 3.5"),
    feature(Cap::IOEVENTFD, "ioeventfd", "each virtio kick stops its vCPU", "Linux 3.0"),
    feature(Cap::COALESCED_MMIO, "coalesced MMIO", "device writes exit one by one", "Linux 3.0"),
    feature(Cap::READONLY_MEM, "read-only memory", "read-only pieces (ROM) are refused", "Linux 3.7"),
    feature(
        Cap::MANUAL_DIRTY_LOG_PROTECT2,
        "manual dirty log",
        "reading the dirty log stalls guests",
        "Linux 5.2",
    ),
    feature(Cap::DIRTY_LOG_RING, "dirty ring", "finding dirty pages scans all RAM", "Linux 5.11"),
    feature(Cap::X86_USER_SPACE_MSR, "MSR exits", "MSRs new to KVM are just refused", "Linux 5.10"),
    feature(Cap::X86_MSR_FILTER, "MSR filter", "no MSR can be hidden from a guest", "Linux 5.10"),
    feature(Cap::SYNC_REGS, "sync regs", "reading registers takes system calls", "Linux 4.17"),
    feature(Cap::SET_GUEST_DEBUG, "guest debug", "no single steps, no breakpoints", "Linux 3.0"),
    feature(Cap::TSC_CONTROL, "TSC scaling", "guests have this CPU's TSC rate", "another CPU"),
    feature(Cap::TSC_DEADLINE_TIMER, "TSC deadline", "guests' timers cost more exits", "Linux 3.2"),
    feature(Cap::X86_DISABLE_EXITS, "disable exits", "HLT and PAUSE always leave the guest", "Linux 4.17"),
    feature(Cap::XSAVE2, "xsave2", "guests with AMX cannot be saved", "Linux 5.17"),
    feature(Cap::BINARY_STATS_FD, "statistics", "KVM's own counters are out of reach", "Linux 5.14"),
];

//! A virtual machine's file descriptor: memory slots, interrupt controller, vCPUs.

use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::{
    KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config,
    kvm_userspace_memory_region,
};
use kvm_ioctls::VmFd;
use strata_memory::{Ram, Slot, layout};

use super::calls::{CallError, Calls};
use super::strace;
use super::vcpu::KvmVcpu;

/// A virtual machine. Clones are the same machine; it ends with its last clone and its last vCPU.
#[derive(Debug, Clone)]
pub struct Vm(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: VmFd,
    calls: Calls,
    /// What the slots name. Dropped after `fd`, and not before the last vCPU, which holds this: no guest ever runs on
    /// memory that is no longer mapped.
    rams: Mutex<Vec<Ram>>,
}

/// How a memory slot is registered, beside what the [`Slot`] itself says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotFlags {
    /// Have KVM log which pages the guest dirties (`KVM_MEM_LOG_DIRTY_PAGES`). Writes by the VMM are not in that
    /// log: [`RamSpec::track_dirty`](strata_memory::RamSpec::track_dirty) has those.
    pub log_dirty: bool,
}

impl Vm {
    pub(super) fn new(fd: VmFd, calls: Calls) -> Self {
        Self(Arc::new(Inner { fd, calls, rams: Mutex::new(Vec::new()) }))
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.0.calls
    }

    pub(super) fn fd(&self) -> &VmFd {
        &self.0.fd
    }

    /// Makes one call on the VM's descriptor; `argument` is shown as strace would show it.
    fn ioctl<T>(
        &self,
        name: &'static str,
        argument: impl FnOnce() -> String,
        call: impl FnOnce(&VmFd) -> Result<T, kvm_ioctls::Error>,
    ) -> Result<T, CallError> {
        self.calls().make(name, || call(self.fd()), |_| (strace::ioctl(self.fd(), name, &argument()), 0))
    }

    /// Registers every piece of `ram` as a memory slot (`KVM_SET_USER_MEMORY_REGION`, api.rst 4.35). The machine keeps
    /// it mapped for as long as it lives.
    ///
    /// # Errors
    ///
    /// What the kernel answered: `EEXIST` for an overlap with another slot, `EINVAL` where the host has no read-only slots.
    pub fn set_memory(&self, ram: &Ram, flags: SlotFlags) -> Result<(), CallError> {
        // Kept first: even if a later slot is refused, the guest can reach the earlier ones.
        self.0.rams.lock().unwrap_or_else(PoisonError::into_inner).push(ram.clone());
        ram.slots().try_for_each(|slot| self.set_slot(&slot, flags))
    }

    fn set_slot(&self, slot: &Slot, flags: SlotFlags) -> Result<(), CallError> {
        let mut bits = 0;
        if flags.log_dirty {
            bits |= KVM_MEM_LOG_DIRTY_PAGES;
        }
        if slot.read_only {
            bits |= KVM_MEM_READONLY;
        }
        let region = kvm_userspace_memory_region {
            slot: slot.index,
            flags: bits,
            guest_phys_addr: slot.start,
            memory_size: slot.len,
            userspace_addr: slot.host_addr,
        };
        self.ioctl(
            "KVM_SET_USER_MEMORY_REGION",
            || strace::memory_region(&region),
            #[allow(unsafe_code, reason = "the kernel will write to the memory named in `region`")]
            // SAFETY: the slot names memory that a `Ram` has mapped, which the machine holds (`Inner::rams`).
            |fd| unsafe { fd.set_user_memory_region(region) },
        )
    }

    /// The guest-physical addresses of the 4 KiB pages that the guest has dirtied since the last call, ascending
    /// (`KVM_GET_DIRTY_LOG`, api.rst 4.8). Needs slots with [`SlotFlags::log_dirty`].
    ///
    /// # Errors
    ///
    /// What the kernel answered; `ENOENT` for a slot that keeps no log.
    pub fn dirty_pages(&self, ram: &Ram) -> Result<Vec<u64>, CallError> {
        let mut pages = Vec::new();
        for slot in ram.slots() {
            let len = usize::try_from(slot.len).unwrap_or(usize::MAX);
            let bitmap =
                self.ioctl("KVM_GET_DIRTY_LOG", || "...".to_owned(), |fd| fd.get_dirty_log(slot.index, len))?;
            pages.extend(set_bits(&bitmap).map(|page| slot.start + page * layout::PAGE_SIZE));
        }
        pages.sort_unstable();
        Ok(pages)
    }

    /// Puts the three TSS pages that VMX without unrestricted guest needs for real mode where no RAM is
    /// (`KVM_SET_TSS_ADDR`, 4.36).
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn set_tss_address(&self, address: u64) -> Result<(), CallError> {
        let offset = usize::try_from(address).unwrap_or(usize::MAX);
        self.ioctl("KVM_SET_TSS_ADDR", || format!("{address:#x}"), |fd| fd.set_tss_address(offset))
    }

    /// Makes the in-kernel PIC, IOAPIC and, with each later vCPU, LAPIC (`KVM_CREATE_IRQCHIP`, 4.24).
    ///
    /// # Errors
    ///
    /// What the kernel answered; `EINVAL` once a vCPU exists.
    pub fn create_irqchip(&self) -> Result<(), CallError> {
        self.ioctl("KVM_CREATE_IRQCHIP", || "0".to_owned(), VmFd::create_irq_chip)
    }

    /// Makes the in-kernel PIT, an i8254 at ports 0x40 to 0x43 and 0x61, on IRQ 0 (`KVM_CREATE_PIT2`, 4.71).
    ///
    /// # Errors
    ///
    /// What the kernel answered; `ENOENT` without an in-kernel interrupt controller.
    pub fn create_pit(&self) -> Result<(), CallError> {
        // With port 0x61, through which the timer's third channel is gated and read: Linux calibrates by it.
        let config = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        self.ioctl("KVM_CREATE_PIT2", || "...".to_owned(), |fd| fd.create_pit2(config))
    }

    /// Makes vCPU number `id` (its APIC id), which holds the machine and its RAM (`KVM_CREATE_VCPU`, 4.7).
    ///
    /// # Errors
    ///
    /// What the kernel answered: `EINVAL` for an id beyond the host's limit, `EEXIST` for one already made.
    pub fn create_vcpu(&self, id: u8) -> Result<KvmVcpu, CallError> {
        let name = "KVM_CREATE_VCPU";
        let fd = self.calls().make(
            name,
            || self.fd().create_vcpu(id.into()),
            |fd| (strace::ioctl(self.fd(), name, &id.to_string()), fd.map_or(-1, |fd| fd.as_raw_fd().into())),
        )?;
        Ok(KvmVcpu::new(fd, self))
    }
}

/// The numbers of the bits that are set.
fn set_bits(words: &[u64]) -> impl Iterator<Item = u64> {
    (0u64..).zip(words).flat_map(|(index, &word)| {
        (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index * 64 + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_is_a_list_of_pages() {
        assert_eq!(set_bits(&[0b101, 0, 1 << 63]).collect::<Vec<_>>(), [0, 2, 191]);
        assert_eq!(set_bits(&[]).count(), 0);
    }
}

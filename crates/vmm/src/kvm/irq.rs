//! Interrupt lines into KVM's in-kernel controller, for devices that hold an [`IrqLine`].

use std::io;

use kvm_ioctls::IoEventAddress;
use strata_devices::IrqLine;
use vmm_sys_util::eventfd::EventFd;

use super::calls::CallError;
use super::strace;
use super::vm::Vm;

/// Why a line could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IrqError {
    /// The process has no more file descriptors, or the kernel no memory.
    #[error("cannot make an eventfd for interrupt {gsi}")]
    EventFd {
        /// The global system interrupt.
        gsi: u32,
        /// What the kernel answered.
        source: io::Error,
    },
    /// KVM refused the line.
    #[error(
        "cannot connect interrupt {gsi}: does the machine have an in-kernel interrupt controller and such a line?"
    )]
    Refused {
        /// The global system interrupt.
        gsi: u32,
        /// What the kernel answered.
        source: CallError,
    },
}

/// A line driven by an irqfd: an edge is one `write` to an eventfd, which KVM turns into the interrupt without the
/// VMM (`KVM_IRQFD`, api.rst 4.75).
#[derive(Debug)]
pub struct IrqFdLine(EventFd);

impl IrqFdLine {
    /// Connects a new eventfd to `gsi`.
    ///
    /// # Errors
    ///
    /// [`IrqError`].
    pub fn new(vm: &Vm, gsi: u32) -> Result<Self, IrqError> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
            .map_err(|source| IrqError::EventFd { gsi, source })?;
        vm.calls()
            .make(
                "KVM_IRQFD",
                || vm.fd().register_irqfd(&event, gsi),
                |_| (strace::ioctl(vm.fd(), "KVM_IRQFD", "..."), 0),
            )
            .map_err(|source| IrqError::Refused { gsi, source })?;
        Ok(Self(event))
    }
}

impl IrqLine for IrqFdLine {
    fn pulse(&self) {
        // The only failure is a counter that is full: then an edge is pending already.
        let _ = self.0.write(1);
    }
}

impl Vm {
    /// Has KVM write to `event` when the guest writes the 32-bit `value` to `address`, instead of exiting
    /// (`KVM_IOEVENTFD`, api.rst 4.59).
    ///
    /// # Errors
    ///
    /// What the kernel answered: `EEXIST` if that write rings already, `ENOSPC` beyond a thousand of them.
    pub fn ring_on_write(&self, event: &EventFd, address: u64, value: u32) -> Result<(), CallError> {
        self.calls().make(
            "KVM_IOEVENTFD",
            || self.fd().register_ioevent(event, &IoEventAddress::Mmio(address), value),
            |_| (strace::ioctl(self.fd(), "KVM_IOEVENTFD", "..."), 0),
        )
    }
}

/// A line driven by two calls an edge (`KVM_IRQ_LINE`, api.rst 4.25).
#[derive(Debug)]
pub struct IrqIoctlLine {
    vm: Vm,
    gsi: u32,
}

impl IrqIoctlLine {
    /// Connects to `gsi`, and checks that it can be driven by driving it low.
    ///
    /// # Errors
    ///
    /// [`IrqError::Refused`].
    pub fn new(vm: &Vm, gsi: u32) -> Result<Self, IrqError> {
        let line = Self { vm: vm.clone(), gsi };
        line.set(false).map_err(|source| IrqError::Refused { gsi, source })?;
        Ok(line)
    }

    fn set(&self, high: bool) -> Result<(), CallError> {
        self.vm.calls().make(
            "KVM_IRQ_LINE",
            || self.vm.fd().set_irq_line(self.gsi, high),
            |_| (strace::ioctl(self.vm.fd(), "KVM_IRQ_LINE", "..."), 0),
        )
    }
}

impl IrqLine for IrqIoctlLine {
    fn pulse(&self) {
        // `new` has shown that this line can be driven, and nothing takes that away from a living machine.
        let _ = self.set(true).and_then(|()| self.set(false));
    }
}

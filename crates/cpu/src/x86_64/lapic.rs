//! The local APIC's page of registers, and the two interrupt pins among them.
//!
//! Firmware leaves *virtual wire mode* (MP Specification 1.4, 3.6.2.2): on the bootstrap processor LINT0 takes the PIC's
//! interrupts (`ExtINT`) and LINT1 is NMI; on all others both are masked.
//!
//! **No boot of Linux needs an edit here.** KVM's reset has LINT0 of vCPU 0 as `ExtINT`, unmasked, already (unless
//! `KVM_X86_QUIRK_LINT0_REENABLED` is disabled), and Linux writes both registers by itself before it takes its first interrupt
//! (`setup_local_APIC`). Two system calls a vCPU (`KVM_GET_LAPIC`, `KVM_SET_LAPIC`) would change nothing that it sees. A guest
//! that expects LINT1 as firmware leaves it, and sends itself NMIs through that pin, has [`LapicPage::virtual_wire`].

use std::fmt;

/// APIC id register: bits 31:24 in xAPIC mode. SDM 3A 12.4.6.
pub const ID: usize = 0x20;
/// Version register. SDM 3A 12.4.8.
pub const VERSION: usize = 0x30;
/// Spurious-interrupt vector register; bit 8 enables the APIC. SDM 3A 12.9.
pub const SPURIOUS: usize = 0xf0;
/// LVT entry of pin LINT0. SDM 3A 12.5.1.
pub const LVT_LINT0: usize = 0x350;
/// LVT entry of pin LINT1. SDM 3A 12.5.1.
pub const LVT_LINT1: usize = 0x360;

/// LVT bits 10:8: how the interrupt is delivered. SDM 3A 12.5.1, figure 12-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// By the vector in bits 7:0.
    Fixed,
    /// As non-maskable interrupt.
    Nmi,
    /// By the vector that an 8259 gives.
    ExtInt,
}

impl Delivery {
    const fn bits(self) -> u32 {
        match self {
            Self::Fixed => 0b000 << 8,
            Self::Nmi => 0b100 << 8,
            Self::ExtInt => 0b111 << 8,
        }
    }
}

/// LVT bits 10:8.
const DELIVERY: u32 = 0b111 << 8;
/// LVT bit 16: the interrupt is held back. SDM 3A 12.5.1, figure 12-8.
pub const MASKED: u32 = 1 << 16;

/// The first 1024 bytes of the APIC's page: one register of 4 bytes every 16. SDM 3A 12.4.1, table 12-1.
#[derive(Clone, PartialEq, Eq)]
pub struct LapicPage(pub [u8; 1024]);

impl LapicPage {
    /// The register at `offset` bytes; 0 beyond the page.
    pub fn register(&self, offset: usize) -> u32 {
        self.0
            .get(offset..)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Changes the register at `offset` bytes; beyond the page there is none.
    pub fn set_register(&mut self, offset: usize, value: u32) {
        if let Some(bytes) = self.0.get_mut(offset..).and_then(|bytes| bytes.first_chunk_mut()) {
            *bytes = value.to_le_bytes();
        }
    }

    /// Unmasks a pin ([`LVT_LINT0`] or [`LVT_LINT1`]), with this delivery; its trigger and polarity stay.
    pub fn connect(&mut self, pin: usize, delivery: Delivery) {
        let lvt = self.register(pin) & !(MASKED | DELIVERY) | delivery.bits();
        self.set_register(pin, lvt);
    }

    /// Masks a pin.
    pub fn mask(&mut self, pin: usize) {
        self.set_register(pin, self.register(pin) | MASKED);
    }

    /// As firmware leaves the bootstrap processor's pins: LINT0 from the PIC, LINT1 NMI. MP Specification 1.4, 3.6.2.2.
    ///
    /// ```
    /// use strata_cpu::x86_64::lapic::{LVT_LINT0, LVT_LINT1, LapicPage};
    /// let mut page = LapicPage([0; 1024]); // from KVM_GET_LAPIC
    /// page.virtual_wire();
    /// assert_eq!((page.register(LVT_LINT0), page.register(LVT_LINT1)), (0x700, 0x400));
    /// ```
    pub fn virtual_wire(&mut self) {
        self.connect(LVT_LINT0, Delivery::ExtInt);
        self.connect(LVT_LINT1, Delivery::Nmi);
    }
}

/// The registers that are not 0.
impl fmt::Debug for LapicPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = (0..self.0.len()).step_by(16).map(|offset| (offset, self.register(offset)));
        f.debug_map().entries(all.filter(|(_, value)| *value != 0)).finish()
    }
}

#[cfg(test)]
#[path = "lapic_test.rs"]
mod tests;

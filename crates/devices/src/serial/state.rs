//! The saved state of a serial port, apart from vm-superio's own type, which may change with its versions.

use vm_superio::serial::SerialState as Uart;

use super::port::FIFO;
use crate::RestoreError;

/// The state of a [`Serial`](super::Serial): its registers by their names in the PC16550D data sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialV1 {
    /// Divisor latch, low byte.
    pub dll: u8,
    /// Divisor latch, high byte.
    pub dlm: u8,
    /// Interrupt enable register.
    pub ier: u8,
    /// Interrupt identification register.
    pub iir: u8,
    /// Line control register.
    pub lcr: u8,
    /// Line status register.
    pub lsr: u8,
    /// Modem control register.
    pub mcr: u8,
    /// Modem status register.
    pub msr: u8,
    /// Scratch register.
    pub scr: u8,
    /// What the guest has still to read, oldest first; at most 64 bytes.
    pub received: Vec<u8>,
    /// Bytes that the output has refused so far.
    pub lost: u64,
}

pub(super) fn save(uart: &Uart, lost: u64) -> SerialV1 {
    let Uart {
        baud_divisor_low: dll,
        baud_divisor_high: dlm,
        interrupt_enable: ier,
        interrupt_identification: iir,
        line_control: lcr,
        line_status: lsr,
        modem_control: mcr,
        modem_status: msr,
        scratch: scr,
        ref in_buffer,
    } = *uart;
    SerialV1 { dll, dlm, ier, iir, lcr, lsr, mcr, msr, scr, received: in_buffer.clone(), lost }
}

pub(super) fn load(state: &SerialV1) -> Result<(Uart, u64), RestoreError> {
    let SerialV1 { dll, dlm, ier, iir, lcr, lsr, mcr, msr, scr, ref received, lost } = *state;
    if received.len() > FIFO {
        return Err(RestoreError::TooLong {
            device: "serial port",
            what: "input",
            len: received.len(),
            room: FIFO,
        });
    }
    let uart = Uart {
        baud_divisor_low: dll,
        baud_divisor_high: dlm,
        interrupt_enable: ier,
        interrupt_identification: iir,
        line_control: lcr,
        line_status: lsr,
        modem_control: mcr,
        modem_status: msr,
        scratch: scr,
        in_buffer: received.clone(),
    };
    Ok((uart, lost))
}

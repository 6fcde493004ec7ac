//! The keyboard controller, without a keyboard.

use crate::{DeviceMut, Effect, RestoreError, Saveable, bytewise};

/// Offsets from port 0x60: data, and status (read) or command (write).
const DATA: u64 = 0;
const COMMAND: u64 = 4;

/// Bits of the status register (IBM PS/2 Hardware Interface Technical Reference, keyboard and auxiliary
/// device controller, "Status Register").
mod status {
    /// The controller has a byte for the CPU.
    pub(super) const OUTPUT_FULL: u8 = 1 << 0;
    /// The self-test has passed.
    pub(super) const SYSTEM: u8 = 1 << 2;
    /// The byte last written was a command, not data.
    pub(super) const COMMAND: u8 = 1 << 3;
    /// The keyboard lock is open.
    pub(super) const UNLOCKED: u8 = 1 << 4;
}

/// Bits of the configuration byte ("Controller Command Byte" in the same reference).
mod config {
    /// Shown in the status register too.
    pub(super) const SYSTEM: u8 = 1 << 2;
    pub(super) const KEYBOARD_OFF: u8 = 1 << 4;
    pub(super) const AUX_OFF: u8 = 1 << 5;
    pub(super) const TRANSLATE: u8 = 1 << 6;
}

/// Commands ("Controller Commands" in the same reference).
mod command {
    pub(super) const READ_CONFIG: u8 = 0x20;
    pub(super) const WRITE_CONFIG: u8 = 0x60;
    pub(super) const TEST_AUX: u8 = 0xa9;
    pub(super) const SELF_TEST: u8 = 0xaa;
    pub(super) const TEST_KEYBOARD: u8 = 0xab;
    pub(super) const KEYBOARD_OFF: u8 = 0xad;
    pub(super) const KEYBOARD_ON: u8 = 0xae;
    pub(super) const READ_INPUT_PORT: u8 = 0xc0;
    pub(super) const READ_OUTPUT_PORT: u8 = 0xd0;
    pub(super) const WRITE_OUTPUT_PORT: u8 = 0xd1;
    pub(super) const LOOP_KEYBOARD: u8 = 0xd2;
    pub(super) const LOOP_AUX: u8 = 0xd3;
    pub(super) const WRITE_AUX: u8 = 0xd4;
    /// 0xf0 to 0xff: pulse the lines of the output port whose bit is 0.
    pub(super) const PULSE: u8 = 0xf0;
}

/// Bits of the output port. The CPU runs while the first is set; the second is A20, which is always open
/// here.
mod output_port {
    pub(super) const RUN: u8 = 1 << 0;
    pub(super) const A20: u8 = 1 << 1;
    pub(super) const KEYBOARD_IRQ: u8 = 1 << 4;
}

/// The self-test has passed.
const SELF_TEST_PASSED: u8 = 0x55;
/// A port's test: no fault, or "clock line stuck low", which is how a port without a device looks.
const PORT_GOOD: u8 = 0x00;
const PORT_DEAD: u8 = 0x01;
/// The input port: the keyboard is not locked.
const INPUT_PORT: u8 = 0x80;

/// An i8042 that no keyboard and no mouse is connected to.
///
/// It answers everything a driver asks while it looks for them, at once, so that the probe of a kernel ends
/// quickly (without a controller, Linux waits half a second): self-test, port tests, configuration byte, the
/// loops. The auxiliary (mouse) port is absent: its "off" bit is stuck at 1, its test fails, and its loop
/// returns the byte as a keyboard's. What is sent to a keyboard or a mouse is swallowed without an answer,
/// and there is no interrupt.
///
/// Command 0xfe, and every pulse or write of the output port that drives the reset line low, is
/// [`Effect::Reset`].
///
/// It is made for port 0x60 with [`I8042::LEN`] ports: data at 0x60, status and command at 0x64. It also
/// claims the three ports between, which read as 0xff; the PC's port 0x61 is not in the model.
#[derive(Debug, Clone)]
pub struct I8042 {
    /// The configuration byte.
    config: u8,
    /// What a read of the data port returns; it stays there after it was read.
    output: u8,
    output_full: bool,
    /// The command whose parameter the next byte of data is.
    pending: Option<u8>,
    last_was_command: bool,
}

impl Default for I8042 {
    fn default() -> Self {
        Self::new()
    }
}

impl I8042 {
    /// How many ports it takes, from port 0x60 on.
    pub const LEN: u64 = 5;

    /// A controller as firmware leaves it: self-test passed, keyboard on, its bytes translated.
    pub const fn new() -> Self {
        Self {
            config: config::SYSTEM | config::AUX_OFF | config::TRANSLATE,
            output: 0,
            output_full: false,
            pending: None,
            last_was_command: false,
        }
    }

    fn status(&self) -> u8 {
        let mut status = status::UNLOCKED;
        if self.output_full {
            status |= status::OUTPUT_FULL;
        }
        if self.config & config::SYSTEM != 0 {
            status |= status::SYSTEM;
        }
        if self.last_was_command {
            status |= status::COMMAND;
        }
        // "Input buffer full" is never set: whatever is written has been dealt with when the write returns.
        status
    }

    fn answer(&mut self, byte: u8) {
        self.output = byte;
        self.output_full = true;
    }

    fn command(&mut self, byte: u8) -> Effect {
        self.last_was_command = true;
        self.pending = None;
        match byte {
            command::READ_CONFIG => self.answer(self.config),
            command::TEST_AUX => self.answer(PORT_DEAD),
            command::SELF_TEST => {
                self.config |= config::SYSTEM;
                self.answer(SELF_TEST_PASSED);
            }
            command::TEST_KEYBOARD => self.answer(PORT_GOOD),
            command::KEYBOARD_OFF => self.config |= config::KEYBOARD_OFF,
            command::KEYBOARD_ON => self.config &= !config::KEYBOARD_OFF,
            command::READ_INPUT_PORT => self.answer(INPUT_PORT),
            command::READ_OUTPUT_PORT => {
                let irq = if self.output_full { output_port::KEYBOARD_IRQ } else { 0 };
                self.answer(output_port::RUN | output_port::A20 | irq);
            }
            command::WRITE_CONFIG
            | command::WRITE_OUTPUT_PORT
            | command::LOOP_KEYBOARD
            | command::LOOP_AUX
            | command::WRITE_AUX => self.pending = Some(byte),
            command::PULSE.. if byte & output_port::RUN == 0 => return Effect::Reset,
            _ => {}
        }
        Effect::None
    }

    fn data(&mut self, byte: u8) -> Effect {
        self.last_was_command = false;
        match self.pending.take() {
            Some(command::WRITE_CONFIG) => self.config = byte | config::AUX_OFF,
            Some(command::WRITE_OUTPUT_PORT) if byte & output_port::RUN == 0 => return Effect::Reset,
            Some(command::LOOP_KEYBOARD | command::LOOP_AUX) => self.answer(byte),
            // For the mouse, or without a command for the keyboard: nobody is there.
            _ => {}
        }
        Effect::None
    }
}

impl DeviceMut for I8042 {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        bytewise::read(offset, data, |at| match at {
            DATA => {
                self.output_full = false;
                self.output
            }
            COMMAND => self.status(),
            _ => 0xff,
        });
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        bytewise::write(offset, data, |at, byte| match at {
            DATA => self.data(byte),
            COMMAND => self.command(byte),
            _ => Effect::None,
        })
    }
}

/// The state of an [`I8042`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct I8042V1 {
    /// The configuration byte. Bit 5, auxiliary port off, is taken as set.
    pub config: u8,
    /// The byte in the output buffer.
    pub output: u8,
    /// Whether the guest has still to read it.
    pub output_full: bool,
    /// The command that waits for its parameter.
    pub pending: Option<u8>,
    /// Whether the byte last written was a command.
    pub last_was_command: bool,
}

impl Saveable for I8042 {
    type State = I8042V1;

    fn save(&self) -> I8042V1 {
        let &Self { config, output, output_full, pending, last_was_command } = self;
        I8042V1 { config, output, output_full, pending, last_was_command }
    }

    fn restore(&mut self, state: &I8042V1) -> Result<(), RestoreError> {
        let &I8042V1 { config, output, output_full, pending, last_was_command } = state;
        *self = Self { config: config | config::AUX_OFF, output, output_full, pending, last_was_command };
        Ok(())
    }
}

#[cfg(test)]
#[path = "i8042_test.rs"]
mod tests;

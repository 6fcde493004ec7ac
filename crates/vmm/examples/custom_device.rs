//! A machine with a device of one's own: a multiplier at ports 0x500 to 0x502.
//!
//! The guest writes two numbers, reads their product, prints it as a letter on the serial port, and powers off by a
//! fourth port that the example also brings. Run it with `cargo run -p strata-vmm --example custom_device`.

use std::error::Error;
use std::sync::{Arc, Mutex};

use strata_vmm::devices::{DeviceMut, Effect};
use strata_vmm::{Config, Machine, Stop};

/// Two factors at offsets 0 and 1, their product at offset 2.
#[derive(Default)]
struct Multiplier {
    factors: [u8; 2],
}

impl DeviceMut for Multiplier {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        // A guest may read any offset in any width: every byte gets an answer.
        let product = self.factors[0].wrapping_mul(self.factors[1]);
        data.fill(if offset == 2 { product } else { 0xff });
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        let place = usize::try_from(offset).ok().and_then(|offset| self.factors.get_mut(offset));
        if let (Some(factor), Some(&value)) = (place, data.first()) {
            *factor = value;
        }
        Effect::None
    }
}

/// Any write powers the machine off.
struct Switch;

impl DeviceMut for Switch {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Effect {
        Effect::PowerOff
    }
}

/// 16-bit code; each line is one instruction.
const GUEST: &[u8] = &[
    0xba, 0x00, 0x05, // mov dx, 0x500
    0xb0, 0x06, // mov al, 6
    0xee, // out dx, al
    0x42, // inc dx
    0xb0, 0x0b, // mov al, 11
    0xee, // out dx, al
    0x42, // inc dx
    0xec, // in al, dx          ; 66, 'B'
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xee, // out dx, al
    0xb0, 0x0a, // mov al, '\n'
    0xee, // out dx, al
    0xba, 0x10, 0x05, // mov dx, 0x510
    0xee, // out dx, al
];

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::from_toml("mode = \"real16\"\nmemory.size = \"64K\"")?;
    let outcome = Machine::builder(config)
        .image(GUEST)
        .console(std::io::stdout())
        .pio_device(0x500, 3, "multiplier", Arc::new(Mutex::new(Multiplier::default())))
        .pio_device(0x510, 1, "switch", Arc::new(Mutex::new(Switch)))
        .build()?
        .run()?;
    println!("the guest {}", outcome.stop);
    assert_eq!(outcome.stop, Stop::PowerOff);
    Ok(())
}

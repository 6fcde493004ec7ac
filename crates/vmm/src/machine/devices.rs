//! The devices of a machine, from its configuration and from its user.

use std::sync::{Arc, Mutex};

use event_manager::MutEventSubscriber;
use strata_devices::{AddressSpace, Bus, Cmos, DebugExit, I8042, IrqLine, NoIrq, PowerOff, Serial, Stub};

use super::{BuildError, MachineBuilder};
use crate::config::{IrqBy, Irqchip, Serial as SerialConfig, Stub as StubConfig};
use crate::kvm::{IrqError, IrqFdLine, IrqIoctlLine, Vm};
use crate::vcpu::Buses;

/// COM1: its ports and its ISA interrupt.
const COM1: (u64, u32) = (0x3f8, 4);
/// The keyboard controller: data at 0x60, command and status at 0x64.
const I8042_PORT: u64 = 0x60;
/// The CMOS clock: index at 0x70, data at 0x71.
const CMOS_PORT: u64 = 0x70;

/// The event sources that devices bring.
type Sources = Vec<Box<dyn MutEventSubscriber + Send>>;

/// Puts every device on its bus. The user's come first: where one of them lies over a legacy device, the legacy
/// device is named as the one that does not fit.
pub(super) fn assemble(
    builder: &mut MachineBuilder,
    vm: &Vm,
    sources: &mut Sources,
) -> Result<Buses, BuildError> {
    let mut buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    for custom in builder.pio.drain(..) {
        buses.pio.insert(custom.base, custom.len, &custom.name, custom.device)?;
    }
    for custom in builder.mmio.drain(..) {
        buses.mmio.insert(custom.base, custom.len, &custom.name, custom.device)?;
    }
    for (index, stub) in builder.config.stub.iter().enumerate() {
        let device = Arc::new(Mutex::new(make_stub(stub, builder, vm)?));
        let name = format!("stub{index}");
        match (stub.port, stub.mmio) {
            (Some(port), _) => buses.pio.insert(port.into(), stub.len, &name, device)?,
            (None, Some(address)) => buses.mmio.insert(address, stub.len, &name, device)?,
            (None, None) => {}
        }
    }
    legacy(&mut buses.pio, builder, vm, sources)?;
    Ok(buses)
}

fn make_stub(config: &StubConfig, builder: &MachineBuilder, vm: &Vm) -> Result<Stub, IrqError> {
    let mut stub = Stub::new(config.answers.clone());
    if config.print {
        stub = stub.print_to(Box::new(builder.console.clone()));
    }
    if let Some(gsi) = config.irq {
        let line: Arc<dyn IrqLine> = match config.irq_by {
            IrqBy::Irqfd => Arc::new(IrqFdLine::new(vm, gsi)?),
            IrqBy::Line => Arc::new(IrqIoctlLine::new(vm, gsi)?),
        };
        stub = stub.interrupt_by(line);
    }
    Ok(stub)
}

fn legacy(
    pio: &mut Bus,
    builder: &mut MachineBuilder,
    vm: &Vm,
    sources: &mut Sources,
) -> Result<(), BuildError> {
    let devices = &builder.config.devices;
    if devices.serial == SerialConfig::Stdio {
        let (port, irq) = COM1;
        let line: Arc<dyn IrqLine> = match builder.config.irqchip {
            Irqchip::None => Arc::new(NoIrq),
            Irqchip::Kernel => Arc::new(IrqFdLine::new(vm, irq)?),
        };
        let serial = Arc::new(Mutex::new(Serial::new(line, Box::new(builder.console.clone()))));
        pio.insert(port, Serial::LEN, "com1", serial.clone())?;
        if let Some(input) = builder.input.take() {
            sources.push(input(serial));
        }
    }
    if devices.i8042 {
        pio.insert(I8042_PORT, I8042::LEN, "i8042", Arc::new(Mutex::new(I8042::new())))?;
    }
    if devices.rtc {
        pio.insert(CMOS_PORT, Cmos::LEN, "rtc", Arc::new(Mutex::new(Cmos::new())))?;
    }
    if let Some(port) = devices.debug_exit {
        pio.insert(port.into(), DebugExit::LEN, "debug-exit", Arc::new(DebugExit))?;
    }
    if let Some(port) = devices.power_off {
        pio.insert(port.into(), PowerOff::LEN, "power-off", Arc::new(PowerOff))?;
    }
    Ok(())
}

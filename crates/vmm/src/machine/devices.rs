//! The devices of a machine, from its configuration and from its user.

use std::sync::{Arc, Mutex};

use event_manager::MutEventSubscriber;
use strata_devices::{
    AcpiRegisters, AddressSpace, Bus, BusError, Cmos, DebugExit, Device, Effect, I8042, IrqLine, NoIrq,
    PciPorts, PowerOff, Pvpanic, Serial, Stub,
};
use strata_memory::layout;

use super::{BuildError, MachineBuilder};
use crate::config::{Config, IrqBy, Irqchip, Serial as SerialConfig, Stub as StubConfig};
use crate::kvm::{IrqError, IrqFdLine, IrqIoctlLine, Vm};
use crate::vcpu::Buses;

/// COM1: its ports and its ISA interrupt.
pub(super) const COM1: (u16, u32) = (0x3f8, 4);
/// The keyboard controller: data at 0x60, command and status at 0x64.
const I8042_PORT: u64 = 0x60;
/// The CMOS clock: index at 0x70, data at 0x71.
pub(super) const CMOS_PORT: u16 = 0x70;
/// ACPI's registers, and the interrupt that their events come with.
pub(super) const ACPI_REGISTERS: u16 = 0x600;
pub(super) const GED_GSI: u32 = 9;
/// Where a kernel looks for PCI.
const PCI_PORT: u64 = 0xcf8;
/// QEMU's place for pvpanic.
pub(super) const PVPANIC_PORT: u16 = 0x505;

/// The event sources that devices bring.
type Sources = Vec<Box<dyn MutEventSubscriber + Send>>;

/// The command and status port counts from the data port.
const COMMAND: u64 = 4;

/// A device from an offset of its own on.
struct At(u64, Arc<dyn Device>);

impl Device for At {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.1.read(self.0.saturating_add(offset), data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        self.1.write(self.0.saturating_add(offset), data)
    }
}

/// Holds a place whose accesses KVM answers itself, so that no other device is put there and never reached.
struct InKernel;

impl Device for InKernel {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&self, _: u64, _: &[u8]) -> Effect {
        Effect::None
    }
}

/// What KVM answers itself: the two 8259 with their edge/level registers, the i8254 with the speaker's gate, the APICs.
fn reserve(buses: &mut Buses, config: &Config) -> Result<(), BusError> {
    if config.irqchip != Irqchip::Kernel {
        return Ok(());
    }
    for (port, name) in [(0x20, "KVM's first PIC"), (0xa0, "KVM's second PIC"), (0x4d0, "KVM's ELCR")] {
        buses.pio.insert(port, 2, name, Arc::new(InKernel))?;
    }
    if config.pit {
        buses.pio.insert(0x40, 4, "KVM's PIT", Arc::new(InKernel))?;
        buses.pio.insert(0x61, 1, "KVM's speaker gate", Arc::new(InKernel))?;
    }
    buses.mmio.insert(layout::IOAPIC, layout::PAGE_SIZE, "KVM's IOAPIC", Arc::new(InKernel))?;
    buses.mmio.insert(layout::LAPIC, layout::PAGE_SIZE, "KVM's LAPIC", Arc::new(InKernel))
}

/// Puts every device on its bus. The user's come first: where one of them lies over a legacy device, the legacy
/// device is named as the one that does not fit.
pub(super) fn assemble(
    builder: &mut MachineBuilder,
    vm: &Vm,
    sources: &mut Sources,
) -> Result<Buses, BuildError> {
    let mut buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    reserve(&mut buses, &builder.config)?;
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
    if builder.config.acpi == Some(true) {
        let line = Arc::new(IrqFdLine::new(vm, GED_GSI)?);
        let registers = Arc::new(Mutex::new(AcpiRegisters::new(line)));
        builder.power.connect(Arc::clone(&registers));
        buses.pio.insert(ACPI_REGISTERS.into(), AcpiRegisters::LEN, "acpi", registers)?;
        buses.pio.insert(PCI_PORT, PciPorts::LEN, "pci", Arc::new(Mutex::new(PciPorts::default())))?;
        buses.pio.insert(PVPANIC_PORT.into(), Pvpanic::LEN, "pvpanic", Arc::new(Pvpanic))?;
    }
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
    // In the order of their ports, which is the quickest way to insert them.
    let devices = &builder.config.devices;
    if devices.i8042 {
        // Two ports of five: what lies between belongs to others, the speaker's gate at 0x61 for one.
        let i8042: Arc<dyn Device> = Arc::new(Mutex::new(I8042::new()));
        pio.insert(I8042_PORT, 1, "i8042", Arc::clone(&i8042))?;
        pio.insert(I8042_PORT + COMMAND, 1, "i8042", Arc::new(At(COMMAND, i8042)))?;
    }
    if devices.rtc {
        pio.insert(CMOS_PORT.into(), Cmos::LEN, "rtc", Arc::new(Mutex::new(Cmos::new())))?;
    }
    if let Some(port) = devices.debug_exit {
        pio.insert(port.into(), DebugExit::LEN, "debug-exit", Arc::new(DebugExit))?;
    }
    if devices.serial == SerialConfig::Stdio {
        let (port, irq) = COM1;
        let line: Arc<dyn IrqLine> = match builder.config.irqchip {
            Irqchip::Kernel => Arc::new(IrqFdLine::new(vm, irq)?),
            Irqchip::Auto | Irqchip::None => Arc::new(NoIrq),
        };
        let serial = Arc::new(Mutex::new(Serial::new(line, Box::new(builder.console.clone()))));
        pio.insert(port.into(), Serial::LEN, "com1", serial.clone())?;
        if let Some(input) = builder.input.take() {
            sources.push(input(serial));
        }
    }
    if let Some(port) = devices.power_off {
        pio.insert(port.into(), PowerOff::LEN, "power-off", Arc::new(PowerOff))?;
    }
    Ok(())
}

use super::*;

fn acpi() -> Acpi {
    Acpi {
        apic_ids: vec![0, 1],
        power: PowerRegisters {
            sleep_control: 0x600,
            sleep_status: 0x601,
            s5_type: 5,
            reset: 0x602,
            reset_value: 1,
        },
        pic: true,
        pit_gsi: Some(2),
        devices: vec![
            AcpiDevice::Serial { port: 0x3f8, gsi: 4 },
            AcpiDevice::Rtc { port: 0x70, gsi: None },
            AcpiDevice::Rtc { port: 0x72, gsi: Some(8) },
            AcpiDevice::I8042 { gsi: 1 },
            AcpiDevice::VirtioMmio { address: 0xd000_0000, len: 0x1000, gsi: 5 },
            AcpiDevice::PowerButton { port: 0x603, gsi: 9 },
            AcpiDevice::Pvpanic { port: 0x505 },
        ],
    }
}
#[test]
fn dump() {
    let a = acpi();
    std::fs::write("/tmp/acpit/dsdt.dat", dsdt::table(&a)).unwrap();
    std::fs::write("/tmp/acpit/apic.dat", madt::table(&a)).unwrap();
    std::fs::write("/tmp/acpit/facp.dat", fadt::table(&a, 0xe0040)).unwrap();
    a.tables().unwrap();
}

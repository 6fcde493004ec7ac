//! ACPI tables in the hands of ACPICA, the implementation that Linux and others contain: disassembled, compiled
//! again, and executed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use strata_boot::acpi::{Acpi, AcpiDevice, PowerRegisters};

/// Everything there is, some of it twice.
fn machine(cpus: u32) -> Acpi {
    Acpi {
        apic_ids: (0..cpus).collect(),
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
            AcpiDevice::Serial { port: 0x2f8, gsi: 3 },
            AcpiDevice::Rtc { port: 0x70, gsi: Some(8) },
            AcpiDevice::I8042 { gsi: 1 },
            AcpiDevice::VirtioMmio { address: 0xd000_0000, len: 0x1000, gsi: 5 },
            AcpiDevice::VirtioMmio { address: 0xd000_1000, len: 0x1000, gsi: 6 },
            AcpiDevice::PowerButton { port: 0x603, gsi: 9 },
            AcpiDevice::Pvpanic { port: 0x505 },
        ],
    }
}

/// What a program of ACPICA's says, or `None` after saying that there is none.
fn acpica(program: &str, arguments: &[&str], in_folder: &Path) -> Option<String> {
    let mut command = Command::new(program);
    let output = match command.args(arguments).current_dir(in_folder).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("not run: what ACPICA makes of the tables: {program}: {error} (package acpica-tools)");
            return None;
        }
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{program} {arguments:?} in {}: {said}", in_folder.display());
    Some(said)
}

/// The tables, each in a file of its own, named by its signature.
fn files(acpi: &Acpi, name: &str) -> (PathBuf, Vec<String>) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let tables = acpi.tables().unwrap();
    let bytes = tables.bytes();
    // The RSDP takes 36 bytes, and tables begin at multiples of 16.
    let mut at = 48;
    let mut names = Vec::new();
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let file = format!("{}.dat", String::from_utf8(bytes[at..at + 4].to_vec()).unwrap());
        fs::write(folder.join(&file), &bytes[at..at + len]).unwrap();
        names.push(file);
        at = (at + len).next_multiple_of(16);
    }
    (folder, names)
}

/// What `iasl` makes of each table, in the order of the files, and the folder, which is the test's own. `None`
/// without `iasl`.
fn disassembled(test: &str, cpus: u32) -> Option<(PathBuf, String)> {
    let (folder, names) = files(&machine(cpus), &format!("acpi-{test}-{cpus}"));
    assert_eq!(names, ["DSDT.dat", "APIC.dat", "FACP.dat", "XSDT.dat"]);
    let mut text = String::new();
    for name in names {
        let said = acpica("iasl", &["-d", &name], &folder)?;
        for bad in ["Error", "rror:", "Warning", "nvalid", "ncorrect", "nknown", "orrupt"] {
            assert!(!said.contains(bad), "{name}: {said}");
        }
        text += &fs::read_to_string(folder.join(name.replace(".dat", ".dsl"))).unwrap();
    }
    for bad in ["nknown", "nvalid", "ncorrect", "should be"] {
        assert!(!text.contains(bad), "{bad} in {text}");
    }
    Some((folder, text))
}

#[test]
fn acpica_finds_every_device() {
    let Some((_, text)) = disassembled("devices", 4) else { return };
    for (sign, times) in [
        ("EisaId (\"PNP0501\")", 2),
        ("EisaId (\"PNP0B00\")", 1),
        ("EisaId (\"PNP0303\")", 1),
        ("EisaId (\"PNP0C0C\")", 1),
        ("\"ACPI0013\"", 1),
        ("\"LNRO0005\"", 2),
        ("\"QEMU0001\"", 1),
        ("\"ACPI0007\"", 4),
        ("Name (_S5, Package (0x04)", 1),
        ("Notify (\\_SB.B006, 0x80)", 1),
        ("[Processor Local APIC]", 4),
        ("[I/O APIC]", 1),
        ("[Interrupt Source Override]", 1),
        ("[Local APIC NMI]", 1),
        ("Hardware Reduced (V5) : 1", 1),
        ("Reset Register Supported (V2) : 1", 1),
        ("8042 Present on ports 60/64 (V2) : 1", 1),
        ("CMOS RTC Not Present (V5) : 0", 1),
    ] {
        assert_eq!(text.matches(sign).count(), times, "{sign} in\n{text}");
    }
}

/// Compiled without optimisations, what was disassembled is what it was made of: there is nothing in the byte
/// code that the compiler would say in other words, and nothing it complains of.
#[test]
fn acpica_compiles_what_it_read_to_the_same_bytes() {
    for cpus in [1, 4, 64, 255, 300] {
        let Some((folder, text)) = disassembled("compiled", cpus) else { return };
        let x2apics = cpus.saturating_sub(255) as usize;
        assert_eq!(text.matches("[Processor Local x2APIC]").count(), x2apics);
        assert_eq!(text.matches("[Local x2APIC NMI]").count(), x2apics.min(1));

        let Some(said) = acpica("iasl", &["-oa", "DSDT.dsl"], &folder) else { return };
        assert!(said.contains("0 Errors, 0 Warnings, 0 Remarks"), "{said}");
        let [made, compiled] = ["DSDT.dat", "DSDT.aml"].map(|name| fs::read(folder.join(name)).unwrap());
        assert!(made[36..] == compiled[36..], "{cpus} vCPUs: see {}", folder.display());
    }
}

/// The event method runs with all registers that it reads filled with one value.
#[test]
fn acpica_notifies_the_button_when_its_bit_is_set() {
    let (folder, _) = files(&machine(1), "acpi-event");
    for events in 0..4_u8 {
        let arguments = ["-fv", &events.to_string(), "-b", "evaluate \\_SB.G006._EVT 9; quit", "DSDT.dat"];
        let Some(said) = acpica("acpiexec", &arguments, &folder) else { return };
        assert!(said.contains("Evaluating \\_SB.G006._EVT") && !said.contains("AE_"), "{said}");
        let notified = said
            .lines()
            .any(|line| line.contains("Received a Device Notify on [B006]") && line.contains("Value 0x80"));
        assert_eq!(notified, events & 1 != 0, "{events}: {said}");
    }
}

#[test]
fn acpica_switches_off_by_the_sleep_control_register() {
    let (folder, _) = files(&machine(1), "acpi-sleep");
    let arguments = ["-b", "sleep 5; quit", "DSDT.dat", "FACP.dat"];
    let Some(said) = acpica("acpiexec", &arguments, &folder) else { return };
    assert!(said.contains("Sleep-A: 05"), "{said}");
    // The function for hardware-reduced machines, not the one for PM1 blocks.
    assert!(said.lines().any(|line| line.contains("HwExtendedSleep") && line.contains("[S5]")), "{said}");
    assert!(!said.contains("AE_"), "{said}");
}

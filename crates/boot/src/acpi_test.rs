use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::testing::{bytes, ram, written_outside};

/// A reader of tables that knows the specification and none of this module's code.
mod parse {
    use std::collections::BTreeMap;

    pub(super) const BASE: usize = 0xe_0000;

    pub(super) fn number(bytes: &[u8], at: usize, len: usize) -> usize {
        bytes[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    /// The tables by signature, found from the RSDP as a guest finds them: with good checksums, whole, apart
    /// from each other.
    pub(super) fn tables(all: &[u8]) -> BTreeMap<String, &[u8]> {
        assert_eq!(&all[..8], b"RSD PTR ");
        assert_eq!((all[15], number(all, 20, 4)), (2, 36), "revision and length");
        assert_eq!((sum(&all[..20]), sum(&all[..36])), (0, 0));
        assert_eq!(number(all, 16, 4), 0, "no RSDT");

        let mut taken = vec![(0, 36)];
        let mut found = BTreeMap::new();
        let xsdt = table(all, number(all, 24, 8), &mut taken);
        assert_eq!(&xsdt[..4], b"XSDT");
        for entry in xsdt[36..].chunks(8) {
            let it = table(all, number(entry, 0, 8), &mut taken);
            found.insert(signature(it), it);
        }
        let fadt = found["FACP"];
        assert_eq!(number(fadt, 40, 4), 0, "the DSDT is given once");
        let dsdt = table(all, number(fadt, 140, 8), &mut taken);
        found.insert(signature(dsdt), dsdt);

        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "tables overlap: {taken:x?}");
        assert_eq!(taken.last().unwrap().1, all.len(), "nothing behind the last");
        found
    }

    fn table<'a>(all: &'a [u8], address: usize, taken: &mut Vec<(usize, usize)>) -> &'a [u8] {
        assert_eq!(address % 16, 0);
        let start = address - BASE;
        let end = start + number(all, start + 4, 4);
        taken.push((start, end));
        let it = &all[start..end];
        assert_eq!(sum(it), 0, "checksum of {}", signature(it));
        assert_eq!((&it[10..16], &it[16..24]), (&b"STRATA"[..], &b"STRATAVM"[..]));
        it
    }

    fn signature(table: &[u8]) -> String {
        String::from_utf8(table[..4].to_vec()).unwrap()
    }

    /// The entries of a MADT: the type, and what follows the length.
    pub(super) fn entries(madt: &[u8]) -> Vec<(u8, &[u8])> {
        let mut entries = Vec::new();
        let mut at = 44;
        while at < madt.len() {
            let end = at + usize::from(madt[at + 1]);
            entries.push((madt[at], &madt[at + 2..end]));
            at = end;
        }
        entries
    }

    pub(super) fn count(bytes: &[u8], part: &[u8]) -> usize {
        bytes.windows(part.len()).filter(|window| *window == part).count()
    }
}

use parse::{count, number};

/// One processor and no devices.
fn bare() -> Acpi {
    let power = PowerRegisters {
        sleep_control: 0x600,
        sleep_status: 0x601,
        s5_type: 5,
        reset: 0x602,
        reset_value: 1,
    };
    Acpi { apic_ids: vec![0], power, pic: false, pit_gsi: None, devices: Vec::new() }
}

fn with(devices: Vec<AcpiDevice>) -> Acpi {
    Acpi { devices, ..bare() }
}

fn table_of(acpi: &Acpi, signature: &str) -> Vec<u8> {
    parse::tables(acpi.tables().unwrap().bytes())[signature].to_vec()
}

const SERIAL: AcpiDevice = AcpiDevice::Serial { port: 0x3f8, gsi: 4 };
const RTC: AcpiDevice = AcpiDevice::Rtc { port: 0x70, gsi: None };
const RTC_WITH_ALARM: AcpiDevice = AcpiDevice::Rtc { port: 0x70, gsi: Some(8) };
const I8042: AcpiDevice = AcpiDevice::I8042 { gsi: 1 };
const VIRTIO: AcpiDevice = AcpiDevice::VirtioMmio { address: 0xd000_0000, len: 0x1000, gsi: 5 };
const BUTTON: AcpiDevice = AcpiDevice::PowerButton { port: 0x603, gsi: 9 };
const PVPANIC: AcpiDevice = AcpiDevice::Pvpanic { port: 0x505 };

/// What a guest finds each device by, encoded by hand: an EISA ID (ACPI 6.5, 19.3.4) or a string.
const SIGNS: [(AcpiDevice, &[u8]); 7] = [
    (SERIAL, b"_HID\x0c\x41\xd0\x05\x01"),
    (RTC, b"_HID\x0c\x41\xd0\x0b\x00"),
    (I8042, b"_HID\x0c\x41\xd0\x03\x03"),
    (VIRTIO, b"_HID\x0dLNRO0005\0"),
    (BUTTON, b"_HID\x0c\x41\xd0\x0c\x0c"),
    (BUTTON, b"_HID\x0dACPI0013\0"),
    (PVPANIC, b"_HID\x0dQEMU0001\0"),
];

#[test]
fn every_table_is_whole_whatever_the_number_of_processors() {
    for cpus in [1, 2, 4, 64, 254, 255, 256, 1024] {
        let acpi = Acpi { apic_ids: (0..cpus).collect(), ..with(vec![SERIAL, RTC, BUTTON, VIRTIO]) };
        let tables = acpi.tables().unwrap();
        let found: Vec<_> = parse::tables(tables.bytes()).into_keys().collect();
        assert_eq!(found, ["APIC", "DSDT", "FACP"], "{cpus}");
    }
}

#[test]
fn the_machine_is_hardware_reduced_and_its_registers_are_where_they_are_said_to_be() {
    let power = PowerRegisters {
        sleep_control: 0x111,
        sleep_status: 0x222,
        s5_type: 6,
        reset: 0x333,
        reset_value: 7,
    };
    let fadt = table_of(&Acpi { power, ..bare() }, "FACP");
    assert_eq!((fadt[8], fadt[131], fadt.len()), (6, 5, 276), "version 6.5");
    // WBINVD, PWR_BUTTON, SLP_BUTTON, FIX_RTC, RESET_REG_SUP, HW_REDUCED_ACPI.
    let flags = [0, 4, 5, 6, 10, 20].iter().fold(0, |flags, bit| flags | 1 << bit);
    assert_eq!(number(&fadt, 112, 4), flags);
    for (at, port) in [(244, 0x111), (256, 0x222), (116, 0x333)] {
        assert_eq!(fadt[at..at + 4], [1, 8, 0, 1], "one byte at a port");
        assert_eq!(number(&fadt, at + 4, 8), port);
    }
    assert_eq!(fadt[128], 7);
    assert!(fadt[148..244].iter().chain(&fadt[36..108]).all(|byte| *byte == 0), "no PM1, no timer, no SCI");

    let dsdt = table_of(&Acpi { power, ..bare() }, "DSDT");
    assert_eq!(count(&dsdt, b"_S5_\x12\x07\x04\x0a\x06\0\0\0"), 1);
}

#[test]
fn legacy_flags_say_what_is_there() {
    const NO_VGA_NO_ASPM: usize = 1 << 2 | 1 << 4;
    for (devices, flags, century) in [
        (vec![], 1 << 5, 0),
        (vec![SERIAL, BUTTON], 1 << 5, 0),
        (vec![RTC], 0, 0x32),
        (vec![SERIAL, RTC_WITH_ALARM], 0, 0x32),
        (vec![I8042], 1 << 1 | 1 << 5, 0),
        (vec![RTC, I8042], 1 << 1, 0x32),
    ] {
        let fadt = table_of(&with(devices.clone()), "FACP");
        assert_eq!(number(&fadt, 109, 2), flags | NO_VGA_NO_ASPM, "{devices:?}");
        assert_eq!(fadt[108], century, "{devices:?}");
    }
}

#[test]
fn each_device_has_its_nodes_and_there_are_no_others() {
    let lists = [vec![], vec![SERIAL, RTC, I8042, VIRTIO, BUTTON, PVPANIC], vec![VIRTIO; 30]];
    let single = SIGNS.map(|(device, _)| vec![device]);
    for devices in lists.into_iter().chain(single) {
        let dsdt = table_of(&with(devices.clone()), "DSDT");
        for (device, sign) in SIGNS {
            let expected = devices.iter().filter(|it| **it == device).count();
            assert_eq!(count(&dsdt, sign), expected, "{device:?} in {devices:?}");
        }
    }
}

#[test]
fn a_node_names_the_resources_of_its_device() {
    /// An edge, active high: exclusive or shared.
    fn line(flags: u8, gsi: u8) -> Vec<u8> {
        vec![0x89, 6, 0, flags, 1, gsi, 0, 0, 0]
    }
    fn ports(first: u16, count: u8) -> Vec<u8> {
        let [low, high] = first.to_le_bytes();
        vec![0x47, 1, low, high, low, high, 1, count]
    }
    let memory = vec![0x86, 9, 0, 1, 0, 0, 0, 0xd0, 0, 0x10, 0, 0];
    for (device, resources) in [
        (SERIAL, vec![ports(0x3f8, 8), line(3, 4)]),
        (RTC, vec![ports(0x70, 2)]),
        (RTC_WITH_ALARM, vec![ports(0x70, 2), line(3, 8)]),
        (I8042, vec![ports(0x60, 1), ports(0x64, 1), line(3, 1)]),
        (VIRTIO, vec![memory, line(0xb, 5)]),
        (BUTTON, vec![line(3, 9)]),
        (PVPANIC, vec![ports(0x505, 1)]),
    ] {
        let template = [resources.concat(), vec![0x79, 0]].concat();
        let len = u8::try_from(template.len()).unwrap();
        // Buffer, its package length, its length, its bytes.
        let crs = [&b"_CRS\x11"[..], &[len + 3, 0x0a, len], &template].concat();
        let dsdt = table_of(&with(vec![device]), "DSDT");
        assert_eq!(count(&dsdt, &crs), 1, "{device:?}: {dsdt:x?}");
        assert_eq!(count(&dsdt, b"_CRS"), 1, "{device:?}");
    }
}

/// An interpreter gives `_EVT` the number of the interrupt; it reads the register once and notifies.
#[test]
fn an_event_reads_the_register_once_and_notifies_the_button() {
    let dsdt = table_of(&with(vec![SERIAL, BUTTON]), "DSDT");
    assert_eq!(count(&dsdt, b"\x5b\x80EVTR\x01\x0b\x03\x06\x01"), 1, "region of one port at 0x603");
    assert_eq!(count(&dsdt, b"\x5b\x81\x0bEVTR\x41EVTS\x08"), 1, "field of 8 bits, byte access");
    // If (And (EVTS, One, )) { Notify (\_SB.B001, 0x80) }
    let body = b"_EVT\x09\xa0\x15\x7bEVTS\x01\x00\x86\\\x2e_SB_B001\x0a\x80";
    assert_eq!(count(&dsdt, body), 1, "{dsdt:x?}");
}

#[test]
fn each_processor_has_an_entry_and_a_node() {
    // IDs with gaps, as topologies with an odd number of threads or cores have; the last ones need an x2APIC.
    let apic_ids = vec![0, 1, 2, 4, 5, 6, 254, 255, 0x1_0000];
    let acpi = Acpi { apic_ids: apic_ids.clone(), ..bare() };
    let (madt, dsdt) = (table_of(&acpi, "APIC"), table_of(&acpi, "DSDT"));
    let processors: Vec<_> = parse::entries(&madt)
        .into_iter()
        .filter_map(|(kind, rest)| match kind {
            0 => Some((usize::from(rest[1]), usize::from(rest[0]), number(rest, 2, 4))),
            9 => Some((number(rest, 2, 4), number(rest, 10, 4), number(rest, 6, 4))),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = apic_ids.iter().enumerate().map(|(uid, id)| (*id as usize, uid, 1)).collect();
    assert_eq!(processors, expected, "APIC ID, UID, enabled");
    let kinds: Vec<_> = parse::entries(&madt).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [0, 0, 0, 0, 0, 0, 0, 9, 9, 1, 4, 10]);

    assert_eq!(count(&dsdt, b"_HID\x0dACPI0007\0"), 9);
    assert_eq!(count(&dsdt, b"_HID\x0dACPI0010\0"), 1);
    assert_eq!(count(&dsdt, b"C008\x08_HID\x0dACPI0007\0\x08_UID\x0a\x08"), 1);
}

#[test]
fn interrupt_controllers_are_where_they_are_laid_out() {
    let madt = table_of(&Acpi { pic: true, ..bare() }, "APIC");
    assert_eq!((number(&madt, 36, 4), number(&madt, 40, 4)), (0xfee0_0000, 1));
    assert_eq!(
        parse::entries(&madt)[1..],
        [
            (1, &[0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0][..]), // ID 0, 0xfec00000, from GSI 0 on
            (4, &[0xff, 0, 0, 1]),                          // all processors, LINT1
        ]
    );
    assert_eq!(number(&table_of(&bare(), "APIC"), 40, 4), 0, "no 8259");

    let apic_ids = vec![0, 300];
    let madt = table_of(&Acpi { apic_ids, ..bare() }, "APIC");
    assert_eq!(parse::entries(&madt).last(), Some(&(10, &[0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0][..])));
}

#[test]
fn the_timers_interrupt_is_overridden_only_where_it_goes_elsewhere() {
    for (pit_gsi, expected) in [(None, None), (Some(0), None), (Some(2), Some([0, 0, 2, 0, 0, 0, 0, 0]))] {
        let madt = table_of(&Acpi { pit_gsi, ..bare() }, "APIC");
        let entry = parse::entries(&madt).into_iter().find(|(kind, _)| *kind == 2);
        assert_eq!(entry.map(|(_, rest)| rest.to_vec()), expected.map(|bytes| bytes.to_vec()));
    }
}

#[test]
fn what_cannot_be_told_is_named() {
    let ids = |apic_ids: &[u32]| Acpi { apic_ids: apic_ids.to_vec(), ..bare() }.tables().unwrap_err();
    assert_eq!(ids(&[]), AcpiError::NoCpus);
    assert_eq!(ids(&[0, 1, 1]), AcpiError::ApicIdOrder { cpu: 2, id: 1 });
    assert_eq!(ids(&[1, 0]), AcpiError::ApicIdOrder { cpu: 1, id: 0 });
    assert_eq!(ids(&[0, u32::MAX]), AcpiError::BroadcastApicId { cpu: 1 });
    let many: Vec<_> = (0..4097).collect();
    assert_eq!(ids(&many), AcpiError::TooMany { what: "vCPUs", count: 4097, limit: 4096 });

    let devices = |devices| with(devices).tables().unwrap_err();
    let too_many = AcpiError::TooMany { what: "devices", count: 4097, limit: 4096 };
    assert_eq!(devices(vec![PVPANIC; 4097]), too_many);
    let serial = AcpiDevice::Serial { port: 0xfff9, gsi: 4 };
    let error = AcpiError::Ports { device: "the serial port", port: 0xfff9, len: 8 };
    assert_eq!(devices(vec![RTC, serial]), error);
    let virtio = |address, len| AcpiDevice::VirtioMmio { address, len, gsi: 5 };
    for (address, len) in [(0xd000_0000, 0), (0xffff_f001, 0x1000)] {
        let error = AcpiError::Memory { device: "the virtio device", address, len };
        assert_eq!(devices(vec![virtio(address, len)]), error);
    }
    let error = AcpiError::Gsi { device: "the power button", gsi: 24 };
    assert_eq!(devices(vec![AcpiDevice::PowerButton { port: 0x603, gsi: 24 }]), error);

    let pit = Acpi { pit_gsi: Some(24), ..bare() };
    assert_eq!(pit.tables(), Err(AcpiError::Gsi { device: "the PIT", gsi: 24 }));
    let power = PowerRegisters { s5_type: 8, ..bare().power };
    assert_eq!(Acpi { power, ..bare() }.tables(), Err(AcpiError::SleepType { s5_type: 8 }));
}

#[test]
fn the_last_of_each_range_is_in_it() {
    let apic_ids = vec![0, u32::MAX - 1];
    let devices = vec![
        AcpiDevice::Serial { port: 0xfff8, gsi: 23 },
        AcpiDevice::Pvpanic { port: 0xffff },
        AcpiDevice::VirtioMmio { address: 0xffff_f000, len: 0x1000, gsi: 0 },
    ];
    let power = PowerRegisters { s5_type: 7, ..bare().power };
    parse::tables(Acpi { apic_ids, power, pit_gsi: Some(23), ..with(devices) }.tables().unwrap().bytes());
}

#[test]
fn tables_larger_than_their_place_are_refused() {
    let tables = |count| with(vec![VIRTIO; count]).tables();
    let counts: Vec<_> = (1..4096).collect();
    let fits = counts.partition_point(|count| tables(*count).is_ok());
    assert!(fits > 512, "a device on each page of the virtio area, at least: {fits}");
    let len = tables(fits).unwrap().bytes().len();
    assert!(len <= 0x1_fff0 && len > 0x1_fff0 - 0x80, "{len:#x}");
    let error = tables(fits + 1).unwrap_err();
    assert!(matches!(error, AcpiError::TooLarge { len: 0x1_fff1.., room: 0x1_fff0 }), "{error}");
}

#[test]
fn tables_are_written_to_their_place_and_nowhere_else() {
    let memory = ram(&[(0, 0x10_0000)]);
    let tables = with(vec![SERIAL, BUTTON]).tables().unwrap();
    let loaded = tables.write_to(&memory).unwrap();
    assert_eq!(tables.rsdp(), 0xe_0000);
    assert_eq!(bytes(&memory, 0xe_0000, tables.bytes().len()), tables.bytes());
    assert_eq!(bytes(&memory, 0xf_fff0, 10), tables.reset_code());
    assert_eq!(written_outside(&memory, &loaded), None);
    let what: Vec<_> = loaded.iter().map(ToString::to_string).collect();
    let last = 0xe_0000 + tables.bytes().len() - 1;
    assert_eq!(
        what,
        [&format!("the ACPI tables at 0xe0000-{last:#x}"), "the reset vector at 0xffff0-0xffff9"]
    );
}

#[test]
fn where_there_is_no_ram_nothing_is_written() {
    for (ram_end, message) in [
        (0xe_0000, "the ACPI tables at 0xe0000-0x"),
        (0xf_f000, "the reset vector at 0xffff0-0xffff9 does not lie in RAM"),
    ] {
        let memory = ram(&[(0, ram_end), (0x10_0000, 0x1000)]);
        let error = bare().tables().unwrap().write_to(&memory).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
        assert_eq!(written_outside(&memory, &[]), None);
    }
}

fn devices() -> impl Strategy<Value = AcpiDevice> {
    prop_oneof![
        (any::<u16>(), 0..26_u32).prop_map(|(port, gsi)| AcpiDevice::Serial { port, gsi }),
        (any::<u16>(), any::<Option<u8>>())
            .prop_map(|(port, gsi)| AcpiDevice::Rtc { port, gsi: gsi.map(u32::from) }),
        (0..26_u32).prop_map(|gsi| AcpiDevice::I8042 { gsi }),
        (any::<u32>(), any::<u32>(), 0..26_u32).prop_map(|(address, len, gsi)| AcpiDevice::VirtioMmio {
            address,
            len,
            gsi
        }),
        (any::<u16>(), 0..26_u32).prop_map(|(port, gsi)| AcpiDevice::PowerButton { port, gsi }),
        any::<u16>().prop_map(|port| AcpiDevice::Pvpanic { port }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5354_5241_5441),
        ..ProptestConfig::default()
    })]

    /// Whatever is asked for: tables that are whole and in their place, or an error.
    #[test]
    fn tables_are_whole_or_refused(
        ids in prop::collection::btree_set(any::<u32>(), 0..300),
        devices in prop::collection::vec(devices(), 0..6),
        (pic, pit_gsi, s5_type) in (any::<bool>(), prop::option::of(0..26_u32), 0..9_u8),
    ) {
        let power = PowerRegisters { s5_type, ..bare().power };
        let acpi = Acpi { apic_ids: ids.into_iter().collect(), power, pic, pit_gsi, devices };
        if let Ok(tables) = acpi.tables() {
            prop_assert_eq!(parse::tables(tables.bytes()).len(), 3);
        }
    }
}

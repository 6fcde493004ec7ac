use super::*;

fn parse(text: &str) -> Config {
    Config::from_toml(text).unwrap()
}

fn refused(text: &str) -> String {
    Config::from_toml(text).unwrap_err().to_string()
}

fn checked(text: &str) -> ConfigError {
    parse(text).check().unwrap_err()
}

#[test]
fn an_empty_file_is_the_default_machine() {
    assert_eq!(parse(""), Config::default());
    assert_eq!(Config::default().check(), Ok(()));
}

#[test]
fn every_table_refuses_keys_that_it_does_not_know() {
    for text in [
        "colour = 1",
        "[memory]\nsiez = 1",
        "[[memory.piece]]\nat = 0\nsize = 1\nx = 1",
        "[paging]\ntables_at = 0\nmap = []\nx = 1",
        "[devices]\nserail = \"none\"",
        "[[stub]]\nport = 1\nx = 1",
        "[budget]\nexit = 1",
        "[debug]\nsteps = 1",
    ] {
        let said = refused(text);
        assert!(said.contains("unknown field"), "{text}: {said}");
    }
}

#[test]
fn sizes_and_times_carry_units() {
    let config = parse("[memory]\nsize = \"64K\"\n[budget]\nwall = \"100ms\"");
    assert_eq!(config.memory.size, Some(ByteSize(65536)));
    assert_eq!(config.budget.wall.unwrap().0, std::time::Duration::from_millis(100));
    for (text, bytes) in [("0x4000", 0x4000), ("3", 3), ("2G", 2 << 30), ("2GiB", 2 << 30), ("1 M", 1 << 20)]
    {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
    }
    for text in ["", "K", "-1", "1.5G", "1X", "64KIIBB", "99999999999T", "0xzz"] {
        let said = text.parse::<ByteSize>().unwrap_err().to_string();
        assert!(said.contains("64K"), "{said}");
    }
    assert_eq!(ByteSize(3 << 20).to_string(), "3 MiB");
    assert_eq!(ByteSize(1025).to_string(), "1025 bytes");
    assert!(refused("memory.size = -1").contains("64K, 256M"));
    assert!(refused("memory.size = true").contains("64K, 256M"));
    assert!("5 fortnights".parse::<Duration>().unwrap_err().to_string().contains("5s"));
}

#[test]
fn a_cpu_is_a_baseline() {
    assert_eq!(parse("").cpu, Baseline::Host);
    for baseline in Baseline::ALL {
        assert_eq!(parse(&format!("cpu = \"{baseline}\"")).cpu, baseline);
    }
    let said = refused("cpu = \"i486\"");
    assert!(Baseline::ALL.iter().all(|baseline| said.contains(baseline.name())), "{said}");
    assert!(refused("cpu = 2").contains("expected a string"));
}

#[test]
fn page_tables_are_written_as_people_write_them() {
    let config = parse(
        "[paging]\ntables_at = 0\n[[paging.map]]\nvirt = 0\nphys = 0x4000\nsize = \"4K\"\naccess = \"rx\"\n\
         [[paging.map]]\nvirt = 0x200000\nphys = 0\nsize = \"2M\"\npage = \"2M\"\naccess = \"rwu\"",
    );
    let maps: Vec<Mapping> = config.paging.unwrap().map.iter().map(Mapping::from).collect();
    assert_eq!((maps[0].page, maps[0].access), (PageSize::Size4K, Access::RX));
    assert_eq!((maps[1].page, maps[1].access), (PageSize::Size2M, Access::RW.user()));
    let with = |access: &str| {
        format!("[paging]\ntables_at=0\n[[paging.map]]\nvirt=0\nphys=0\nsize=1\naccess=\"{access}\"")
    };
    for access in ["", "w", "rq"] {
        assert!(refused(&with(access)).contains("no page access"), "{access}");
    }
}

#[test]
fn contradictions_are_named() {
    assert_eq!(checked("cpus = 0"), ConfigError::Cpus(0));
    assert_eq!(checked("cpus = 256"), ConfigError::Cpus(256));
    assert_eq!(checked("cpus = 2"), ConfigError::CpusWithoutIrqchip(2));
    let pins = "cpus = 3\nirqchip = \"kernel\"\npin = [0, 1]";
    assert_eq!(checked(pins), ConfigError::TooFewPins { pins: 2, cpus: 3 });
    assert!(parse("cpus = 1\npin = [0, 1]").check().is_ok());
    assert_eq!(checked("pit = true"), ConfigError::NeedsIrqchip { what: "the PIT" });
    assert_eq!(
        checked("[[stub]]\nport = 1\nirq = 5"),
        ConfigError::NeedsIrqchip { what: "a stub's interrupt" }
    );
    assert_eq!(checked("[[stub]]\nport = 1\n[[stub]]"), ConfigError::StubPlace(1));
    assert_eq!(checked("[[stub]]\nport = 1\nmmio = 2"), ConfigError::StubPlace(0));
    assert_eq!(
        checked("memory.size = 4096\n[[memory.piece]]\nat = 0\nsize = 4096"),
        ConfigError::SizeAndPieces
    );
    let irq = "irqchip = \"kernel\"\n[[stub]]\nport = 1\nirq = 24";
    assert_eq!(checked(irq), ConfigError::NoSuchIrq { stub: 0, irq: 24 });
    assert_eq!(checked("[budget]\nexits = 0"), ConfigError::EmptyBudget("exits"));
    assert_eq!(checked("[budget]\nwall = 0"), ConfigError::EmptyBudget("wall"));
    assert_eq!(checked("[debug]\nstep = 0"), ConfigError::NoSteps);
    assert_eq!(checked("[debug]\nbreakpoints = [1,2,3,4,5]"), ConfigError::Breakpoints(5));
    assert!(parse("cpus = 8\nirqchip = \"kernel\"\npit = true").check().is_ok());
}

#[test]
fn every_backing_is_the_one_that_was_asked_for() {
    let descriptor = |backing: &str| {
        let config = parse(&format!("[memory]\nsize = \"64K\"\nbacking = \"{backing}\""));
        config.memory.spec().build().map(|ram| ram.mappings()[0].fd)
    };
    assert_eq!(descriptor("anonymous").unwrap(), -1);
    assert!(descriptor("memfd").unwrap() >= 0);
    // 64 KiB are no huge page: the size is refused before the host is asked.
    for huge in ["hugetlb-2m", "hugetlb-1g"] {
        assert!(descriptor(huge).unwrap_err().to_string().contains("multiple"), "{huge}");
    }
    assert!(refused("memory.backing = \"paper\"").contains("paper"));
}

#[test]
fn what_is_left_open_is_decided_by_the_format_and_what_is_said_stays() {
    let settled = |text: &str, format| {
        let mut config = parse(text);
        config.settle(format);
        (config.irqchip, config.acpi, config.memory.size, config.memory.transparent_huge_pages)
    };
    let kernel = (Irqchip::Kernel, Some(true), Some(ByteSize(512 << 20)), Some(true));
    for format in [Format::Linux, Format::BzImage, Format::Pvh, Format::Multiboot] {
        assert_eq!(settled("", format), kernel, "{format}");
    }
    for format in [Format::Flat, Format::Elf64] {
        assert_eq!(settled("", format), (Irqchip::None, Some(false), None, Some(false)), "{format}");
    }
    let said = "irqchip = \"none\"\n[memory]\nsize = \"64M\"\ntransparent_huge_pages = false";
    let expected = (Irqchip::None, Some(false), Some(ByteSize(64 << 20)), Some(false));
    assert_eq!(settled(said, Format::Linux), expected);
}

use clap::Parser as _;
use strata_vmm::Config;

use super::{Cli, Command};

/// The settings that a command line makes, as `key=value`.
fn settings(line: &str) -> Vec<String> {
    let cli = Cli::try_parse_from(format!("strata run {line}").split_ascii_whitespace()).unwrap();
    let Command::Run(options) = cli.command else { panic!("it is `run`") };
    let settings = options.settings();
    // Whatever an option sets is a key of the schema, and takes the value.
    Config::layered(None, &settings).unwrap();
    settings.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[test]
fn each_option_sets_its_key() {
    for (option, setting) in [
        ("--format elf64", "format=elf64"),
        ("--mode real16", "mode=real16"),
        ("--load-at 0x1000", "load_at=0x1000"),
        ("--entry 0x1002", "entry=0x1002"),
        ("--memory 64K", "memory.size=64K"),
        ("-m 64K", "memory.size=64K"),
        ("--cpus 4", "cpus=4"),
        ("--pin 2,3", "pin=[2, 3]"),
        ("--pin 0-2,6,4-4", "pin=[0, 1, 2, 6, 4]"),
        ("--cpu x86-64-v2", "cpu=x86-64-v2"),
        ("--irqchip kernel", "irqchip=kernel"),
        ("--pit", "pit=true"),
        ("--serial none", "devices.serial=none"),
        ("--debug-exit 0xf4", "devices.debug_exit=0xf4"),
        ("--kvm /dev/null", "kvm=/dev/null"),
        ("--budget-exits 7", "budget.exits=7"),
        ("--budget-wall 5s", "budget.wall=5s"),
        ("--step 3", "debug.step=3"),
        ("--break 0x1000,7 --break 0xffffffff81000000", "debug.breakpoints=[4096, 7, 18446744071578845184]"),
        ("--set paging.tables_at=0 --set paging.map=[]", "paging.tables_at=0"),
    ] {
        assert!(settings(option).iter().any(|made| made == setting), "{option}: {:?}", settings(option));
    }
    assert!(settings("image.bin").is_empty());
}

#[test]
fn the_last_of_two_wins() {
    assert_eq!(settings("--memory 1M --memory 2M"), ["memory.size=2M"]);
    assert_eq!(settings("--set cpus=1 --irqchip kernel --cpus 2").last().unwrap(), "irqchip=kernel");
}

#[test]
fn what_is_no_list_of_cpus_is_refused() {
    for list in ["", "a", "1,", "3-1", "1-2-3", "65536", "0-4294967295"] {
        let parsed = Cli::try_parse_from(["strata", "run", "--pin", list]);
        assert!(parsed.unwrap_err().to_string().contains("0-3,6"), "{list}");
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for list in ["", "zz", "0x", "1,", "-1", "0x10000000000000000"] {
        let parsed = Cli::try_parse_from(["strata", "run", &format!("--break={list}")]);
        assert!(parsed.unwrap_err().to_string().contains("0x7c00"), "{list}");
    }
}

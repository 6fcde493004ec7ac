use std::path::Path;

use clap::Parser as _;
use strata_vmm::Config;

use super::{Cli, Command, InspectOptions, RunOptions, TraceFormat};

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

/// The options of a command line, of whichever command.
fn options(line: &str) -> Result<RunOptions, String> {
    let words = std::iter::once("strata").chain(line.split_ascii_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    match cli.command {
        Command::Run(options) => Ok(*options),
        Command::Trace(rest) => rest.trace().map_err(|error| error.to_string()),
        Command::Profile(rest) => rest.profile().map_err(|error| error.to_string()),
        Command::Map(rest) => rest.map().map_err(|error| error.to_string()),
        Command::Doctor(_) => panic!("it runs a guest"),
    }
}

fn inspect(line: &str) -> InspectOptions {
    options(line).unwrap().inspect
}

#[test]
fn by_default_only_the_recorder_looks_into_a_guest() {
    let found = inspect("run image.bin");
    assert!(!found.watches() && !found.is_to_finish() && !found.no_recorder && !found.wait);
    assert_eq!(found.last_exits, 12);
}

#[test]
fn what_looks_into_a_guest_goes_to_a_stream_or_to_a_file() {
    for (line, file) in [("--trace", "-"), ("--trace=run.trace", "run.trace"), ("--trace=a --trace", "-")] {
        assert_eq!(
            inspect(&format!("run image.bin {line}")).trace.as_deref(),
            Some(Path::new(file)),
            "{line}"
        );
    }
    let found = inspect("run --trace image.bin --stats --map");
    assert_eq!((found.stats.as_deref(), found.map.as_deref()), (Some(Path::new("-")), Some(Path::new("-"))));
    assert!(found.watches() && found.is_to_finish());
    let found = inspect("run image.bin --core guest.core --last-exits 3 --no-recorder");
    assert!(!found.watches() && found.is_to_finish() && found.no_recorder);
    assert_eq!((found.core.as_deref(), found.last_exits), (Some(Path::new("guest.core")), 3));
    // A file is never the next word: that is the image.
    assert_eq!(options("run --trace image.bin").unwrap().image.as_deref(), Some(Path::new("image.bin")));
}

#[test]
fn a_command_sets_its_option_and_takes_all_others() {
    let found = options("trace image.bin --memory 64K").unwrap();
    assert_eq!(found.inspect.trace.as_deref(), Some(Path::new("-")));
    assert_eq!(found.settings(), [("memory.size".to_owned(), "64K".to_owned())]);
    assert_eq!(inspect("trace image.bin --trace=run.jsonl").trace.as_deref(), Some(Path::new("run.jsonl")));
    let found = inspect("trace image.bin --trace-format perfetto --trace-filter kind=mmio");
    assert_eq!(found.trace_format, Some(TraceFormat::Perfetto));
    assert_eq!(found.trace_filter.as_deref(), Some("kind=mmio"));
    assert_eq!(inspect("profile image.bin").profile.as_deref(), Some(Path::new("profile.svg")));
    let found = inspect("profile image.bin --profile-time --profile a.folded");
    assert!(found.profile_time);
    assert_eq!(found.profile.as_deref(), Some(Path::new("a.folded")));
    assert_eq!(inspect("map image.bin").map.as_deref(), Some(Path::new("-")));
    assert_eq!(inspect("map image.bin --map=map.svg").map.as_deref(), Some(Path::new("map.svg")));
}

#[test]
fn options_that_lack_their_other_half_are_refused() {
    for (line, part) in [
        ("run image.bin --trace-filter kind=mmio", "--trace"),
        ("run image.bin --trace-format json", "--trace"),
        ("run image.bin --profile-time", "--profile"),
        ("run image.bin --wait", "--gdb"),
        ("run image.bin --gdb 1234 --step 3", "--step"),
        ("run image.bin --trace --trace-format xml", "text, json, perfetto"),
        ("run image.bin --last-exits=-1", "--last-exits"),
        ("trace image.bin --frobnicate", "strata trace"),
        ("map --cores", "strata map"),
        ("profile", "Usage: strata profile "),
    ] {
        let said = options(line).unwrap_err();
        assert!(said.contains(part), "{line}: {said}");
    }
}

#[test]
fn the_short_help_of_what_looks_into_a_guest_fits_a_terminal() {
    let help = options("run -h").unwrap_err();
    let (_, inspection) = help.split_once("Inspection:\n").unwrap();
    for line in inspection.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

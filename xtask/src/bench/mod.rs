//! `cargo xtask bench`: measures what is promised, in one table.
//!
//! [`programs`] builds what is measured and what measures, [`measure`] runs it, [`figures`] knows the promises and
//! [`document`] is `docs/performance.md`.

mod document;
mod figures;
mod measure;
mod programs;

use std::error::Error;
use std::fs;
use std::process::Command;

use crate::cli::Bench;
use crate::process::{capture, chain, say};
use crate::tools::{QEMU, Tools};
use crate::workspace::Workspace;
use document::Circumstances;
use figures::{FIGURES, Values};
use programs::Programs;

/// Runs the command; `false` says that with `--check` something has moved. A limit that is not met is said, in the
/// table, but is no failure: the table is there to say it.
pub(crate) fn run(options: &Bench) -> Result<bool, Box<dyn Error>> {
    let workspace = Workspace::find()?;
    let page = workspace.root.join("docs/performance.md");
    // Nothing is built if there is nothing to compare with.
    let old = fs::read_to_string(&page).unwrap_or_default();
    let recorded = document::read(&old);
    if options.check && recorded.is_none() {
        return Err("docs/performance.md records no figures: run `cargo xtask bench` first".into());
    }
    let tools = Tools::of_this_process(!options.install.no_install);
    let programs = Programs::build(&workspace)?;
    let (mut values, l1) = measure::repeatable(&programs, &tools)?;
    if options.check {
        table(&values);
        let moved = figures::moved(&recorded.unwrap_or_default(), &values);
        for line in &moved {
            say(line);
        }
        return Ok(moved.is_empty());
    }
    if options.two_cpus {
        // An emulated host with two CPUs at work in guests may crash (docs/performance.md): the table then says so.
        match measure::two_cpus(&programs, &tools) {
            Ok(two) => values.extend(two),
            Err(error) => eprintln!("not measured: two vCPUs: {}", chain(&error)),
        }
    }
    if options.local {
        values.extend(measure::here(&programs, &workspace.target.join("bench/guests"))?);
    }
    table(&values);
    let at = Circumstances {
        date: options.date.clone().map_or_else(|| said("date", &["-u", "+%F"]), Ok)?,
        command: command(options),
        host: host()?,
        qemu: first_line(&said(&tools.ensure(&QEMU)?.to_string_lossy(), &["--version"])?),
        l1,
    };
    fs::write(&page, document::write(&values, &at, &old))?;
    say("written: docs/performance.md");
    Ok(true)
}

/// What was typed, without what changes nothing in the figures.
fn command(options: &Bench) -> String {
    let given = [(options.two_cpus, " --two-cpus"), (options.local, " --local")];
    let words = given.into_iter().filter(|(given, _)| *given).map(|(_, word)| word);
    ["cargo xtask bench"].into_iter().chain(words).collect()
}

fn table(values: &Values) {
    for figure in FIGURES {
        say(figure.row(values));
    }
}

/// What a program prints.
fn said(program: &str, arguments: &[&str]) -> Result<String, std::io::Error> {
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(capture(command)?.output.trim().to_owned())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Processor, number of CPUs and kernel.
fn host() -> Result<String, std::io::Error> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(format!("{model}, {cpus} CPUs, Linux {}", said("uname", &["-r"])?))
}

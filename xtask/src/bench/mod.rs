//! `cargo xtask bench`: measures what is promised, in one table.
//!
//! [`programs`] builds what is measured and what measures, [`measure`] runs it, [`boot`] measures a boot of Linux from
//! within the rig, [`virtio`] what devices cost there, [`figures`] knows the promises and [`document`] is `docs/performance.md`.

pub(crate) mod boot;
mod document;
mod figures;
mod measure;
mod programs;
pub(crate) mod virtio;

use std::error::Error;
use std::fs;
use std::process::Command;

use crate::cli::{Bench, Subject};
use crate::process::{capture, chain, say};
use crate::tools::{QEMU, Tools};
use crate::workspace::Workspace;
use document::{Circumstances, Part};
use figures::{FIGURES, LINUX, VIRTIO, Values};
use programs::{Programs, VirtioPrograms};

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
    let part = match options.subject {
        None => Part::Rest,
        Some(Subject::Linux) => Part::Linux,
        Some(Subject::Virtio) => Part::Virtio,
    };
    let folder = workspace.target.join("bench/guests");
    let recorded = recorded.unwrap_or_default();
    let (of_this, of_other): (Values, Values) =
        recorded.into_iter().partition(|(name, _)| Part::of(name) == part);
    let (mut values, l1) = match part {
        Part::Linux => {
            let strata = programs::strata(&workspace)?;
            measure::linux(&strata, &folder, &tools)?
        }
        Part::Virtio => measure::virtio(&VirtioPrograms::build(&workspace)?, &folder, &tools)?,
        Part::Rest => measure::repeatable(&Programs::build(&workspace)?, &tools)?,
    };
    if options.check {
        table(part, &values);
        let moved = figures::moved(&of_this, &values);
        for line in &moved {
            say(line);
        }
        return Ok(moved.is_empty());
    }
    if options.two_cpus {
        // An emulated host with two CPUs at work in guests may crash (docs/performance.md): the table then says so.
        match measure::two_cpus(&Programs::build(&workspace)?, &tools) {
            Ok(two) => values.extend(two),
            Err(error) => eprintln!("not measured: two vCPUs: {}", chain(&error)),
        }
    }
    if options.local {
        values.extend(match part {
            Part::Linux => return Err("a boot of Linux is measured in the rig only".into()),
            Part::Virtio => measure::virtio_here(&VirtioPrograms::build(&workspace)?, &folder)?,
            Part::Rest => measure::here(&Programs::build(&workspace)?, &folder)?,
        });
    }
    table(part, &values);
    values.extend(of_other);
    let at = Circumstances {
        date: options.date.clone().map_or_else(|| said("date", &["-u", "+%F"]), Ok)?,
        command: command(options),
        host: host()?,
        qemu: first_line(&said(&tools.ensure(&QEMU)?.to_string_lossy(), &["--version"])?),
        l1,
    };
    fs::write(&page, document::write(&values, part, &at, &old))?;
    say("written: docs/performance.md");
    Ok(true)
}

/// What was typed, without what changes nothing in the figures.
fn command(options: &Bench) -> String {
    let given = [
        (options.subject == Some(Subject::Linux), " linux"),
        (options.subject == Some(Subject::Virtio), " virtio"),
        (options.two_cpus, " --two-cpus"),
        (options.local, " --local"),
    ];
    let words = given.into_iter().filter(|(given, _)| *given).map(|(_, word)| word);
    ["cargo xtask bench"].into_iter().chain(words).collect()
}

fn table(part: Part, values: &Values) {
    match part {
        Part::Linux => LINUX.iter().for_each(|(figure, _)| say(figure.row(values))),
        Part::Virtio => VIRTIO.iter().for_each(|figure| say(figure.row(values))),
        Part::Rest => FIGURES.iter().for_each(|figure| say(figure.row(values))),
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

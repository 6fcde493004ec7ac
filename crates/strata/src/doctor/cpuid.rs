//! `strata doctor --cpuid`: what a guest of a baseline sees of this host's processor.

use std::path::Path;

use serde::Deserialize;
use strata_vmm::cpu::cpuid::{Baseline, Cpuid, Leaf};
use strata_vmm::host::{BitChange, CpuidReport, NOT_IN_BASELINE, probe_cpuid};

use super::{CANNOT_RUN, DoctorError, GREEN, Paint, RED, Screen, YELLOW, print, read};
use crate::cli::DoctorOptions;

/// What `--facts` reads of a report. The rest is made anew.
#[derive(Deserialize)]
struct SavedReport {
    supported: Vec<String>,
}

/// Compares, prints, and returns the exit code: 1 where no guest of this baseline can run.
pub(super) fn doctor(options: &DoctorOptions, baseline: Baseline) -> Result<u8, DoctorError> {
    let supported = match &options.facts {
        Some(path) => load(path)?,
        None => match probe_cpuid(Path::new("/dev/kvm")) {
            Ok(supported) => supported,
            Err(error) => {
                crate::message::say(&crate::in_one_line(&error));
                return Ok(CANNOT_RUN);
            }
        },
    };
    let report = CpuidReport::of(&supported, baseline);
    print(options, &report, |paint| screen(&report, paint));
    Ok(if report.can_run { 0 } else { CANNOT_RUN })
}

fn load(path: &Path) -> Result<Cpuid, DoctorError> {
    let saved: SavedReport = read(path, "--cpuid --json")?;
    let leaves: Result<_, _> = saved.supported.iter().map(|line| line.parse::<Leaf>()).collect();
    leaves.map_err(|source| DoctorError::Leaf { path: path.to_owned(), source })
}

fn screen(report: &CpuidReport, paint: Paint) -> String {
    let mut out = Screen { text: String::new(), paint };
    let name = report.baseline;
    if !report.can_run {
        out.line(&paint.with(RED, &format!("This host cannot run guests of {name}.")));
        out.line("");
        group(&mut out, ("!", RED), "the host's KVM lacks", &report.missing.join(" "));
        if let Some(instead) = report.instead {
            out.line(&format!("  -> use {instead} here"));
        }
        return out.text;
    }
    out.line(&paint.with(GREEN, &format!("What a guest of {name} sees of this host's processor:")));
    out.line("");
    // What the baseline decides comes first; the rest is so on every host.
    let mut reasons = vec![NOT_IN_BASELINE];
    for bit in &report.removed {
        if !reasons.contains(&bit.reason) {
            reasons.push(bit.reason);
        }
    }
    for reason in reasons {
        let names = names(report.removed.iter().filter(|bit| bit.reason == reason));
        if !names.is_empty() {
            group(&mut out, ("-", YELLOW), reason, &names);
        }
    }
    if !report.added.is_empty() {
        group(&mut out, ("+", GREEN), "every guest has them", &names(report.added.iter()));
    }
    let mut leaves: Vec<_> =
        report.numbers.iter().filter_map(|number| number.place.split(['.', ' ']).next()).collect();
    leaves.dedup();
    if !leaves.is_empty() {
        group(&mut out, ("~", ""), "other numbers in these leaves (`--json` lists them)", &leaves.join(" "));
    }
    if report.removed.is_empty() && report.added.is_empty() && report.numbers.is_empty() {
        out.line("  = all that KVM supports");
    }
    out.text
}

/// Features by name, and bits without one by their place: `0x7.0/ebx[22]`.
fn names<'a>(bits: impl Iterator<Item = &'a BitChange>) -> String {
    let name = |bit: &'a BitChange| match (bit.name, bit.place.split_once(" bit ")) {
        (Some(name), _) => name.to_owned(),
        (None, Some((register, number))) => format!("{}[{number}]", register.replace(' ', "/")),
        (None, None) => bit.place.replace(' ', "/"),
    };
    bits.map(name).collect::<Vec<_>>().join(" ")
}

/// `  - why`, and the names below it.
fn group(out: &mut Screen, (sign, colour): (&str, &str), why: &str, names: &str) {
    let sign = out.paint.with(colour, sign);
    out.line(&format!("  {sign} {why}"));
    out.wrapped("      ", 6, names);
}

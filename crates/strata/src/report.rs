//! A run as a program wants to read it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use strata_vmm::cpu::X86State;
use strata_vmm::kvm::CallError;
use strata_vmm::memory::vm_memory::{Bytes as _, GuestAddress};
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Budget, Config, ExitLog, Outcome, Stop};

use crate::cli::Dump;
use crate::death::End;
use crate::terminal::Stdout;
use crate::watch::Watch;

/// Everything that can be said of a run. Addresses and register values are hexadecimal strings: JSON's numbers do not
/// hold 64 bits.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    stop: BTreeMap<&'static str, serde_json::Value>,
    text: String,
    exit_code: u8,
    exits: Vec<String>,
    exit_count: u64,
    output: String,
    memory: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirty: Option<Vec<String>>,
    registers: BTreeMap<&'static str, String>,
    /// What the flight recorder has kept, of an abnormal end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last_exits: Vec<String>,
    /// Why the guest died, in words, if it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
    /// Whether that is the guest's own fault.
    accused: bool,
}

impl Report {
    /// Collects the report; reads vCPU 0's registers, and the dirty log if there is one.
    pub(crate) fn new(
        outcome: &mut Outcome<Watch>,
        dumps: &[Dump],
        config: &Config,
        output: &[u8],
    ) -> Result<Self, CallError> {
        let mut exits = Vec::new();
        for vcpu in &outcome.vcpus {
            let name = if vcpu.index == 0 { String::new() } else { format!("vcpu{}: ", vcpu.index) };
            let Some(log) = &vcpu.tracer.log else { continue };
            for (count, line) in log.lines() {
                let times = if *count > 1 { format!("{count} * ") } else { String::new() };
                exits.push(format!("{name}{times}{line}"));
            }
            if log.dropped() > 0 {
                exits.push(format!("{name}{} more", log.dropped()));
            }
        }
        let registers = match outcome.vcpus.iter_mut().find(|vcpu| vcpu.index == 0) {
            Some(first) => registers(&first.vcpu.state()?),
            None => BTreeMap::new(),
        };
        // After the state: reading that completes what the last exit began, which may write to memory.
        let dirty = if config.memory.dirty_log {
            Some(outcome.dirty_pages()?.into_iter().map(hex).collect())
        } else {
            None
        };
        Ok(Self {
            stop: details(&outcome.stop),
            text: outcome.stop.to_string(),
            exit_code: outcome.stop.exit_code(),
            exits,
            exit_count: outcome
                .vcpus
                .iter()
                .filter_map(|vcpu| vcpu.tracer.log.as_ref())
                .map(ExitLog::count)
                .sum(),
            output: String::from_utf8_lossy(output).into_owned(),
            memory: dumps.iter().map(|dump| (hex(dump.address), memory(outcome, *dump))).collect(),
            dirty,
            registers,
            last_exits: Vec::new(),
            explanation: None,
            accused: false,
        })
    }

    /// Adds what was found out about the end.
    pub(crate) fn explain(&mut self, end: &End) {
        self.last_exits.clone_from(&end.exits);
        self.accused = end.is_accused();
        self.explanation = end.explanation.as_ref().map(ToString::to_string);
    }

    pub(crate) fn write_to(&self, file: File) -> io::Result<()> {
        let mut file = BufWriter::new(file);
        serde_json::to_writer_pretty(&mut file, self)?;
        writeln!(file)?;
        file.flush()
    }
}

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// The bytes as hexadecimal digits; nothing where there is no RAM.
fn memory(outcome: &Outcome<Watch>, dump: Dump) -> Option<String> {
    let ram = outcome.ram();
    if u64::try_from(dump.len).ok()? > ram.size() {
        return None;
    }
    let mut bytes = vec![0; dump.len];
    ram.memory().read_slice(&mut bytes, GuestAddress(dump.address)).ok()?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn details(stop: &Stop) -> BTreeMap<&'static str, serde_json::Value> {
    let mut details = BTreeMap::from([("kind", stop.kind().into())]);
    match stop {
        Stop::Debug(event) => {
            details.insert("rip", hex(event.rip).into());
            details.insert("dr6", hex(event.dr6).into());
        }
        Stop::DebugExit { value } => {
            details.insert("code", (*value).into());
        }
        Stop::Budget(Budget::Exits(_)) => {
            details.insert("budget", "exits".into());
        }
        Stop::Budget(_) => {
            details.insert("budget", "wall".into());
        }
        Stop::InternalError { suberror, data } => {
            details.insert("suberror", (*suberror).into());
            details.insert("data", data.iter().map(|&word| hex(word)).collect());
        }
        Stop::UnknownExit { reason } => {
            details.insert("reason", (*reason).into());
        }
        // The rest is in the report's `text`.
        _ => {}
    }
    details
}

fn registers(state: &X86State) -> BTreeMap<&'static str, String> {
    let others = [
        ("rip", state.regs.rip),
        ("rflags", state.regs.rflags.bits()),
        ("cr0", state.cr0.bits()),
        ("cr2", state.cr2),
        ("cr3", state.cr3),
        ("cr4", state.cr4.bits()),
        ("efer", state.efer.bits()),
    ];
    let values = state.regs.general().into_iter().chain(others);
    values.map(|(name, value)| (name, hex(value))).collect()
}

/// Standard output, and a copy of what went there if a report is to hold it.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    copy: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Output {
    /// How much of the output a report holds; what comes later is only printed.
    const COPY_LIMIT: usize = 1 << 20;

    pub(crate) fn new(copy: bool) -> Self {
        Self { copy: copy.then(Arc::default) }
    }

    /// What was printed so far, and forgets it.
    pub(crate) fn taken(&self) -> Vec<u8> {
        let copy = self.copy.as_ref().map(|copy| copy.lock().unwrap_or_else(PoisonError::into_inner));
        copy.map(|mut copy| std::mem::take(&mut *copy)).unwrap_or_default()
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = Stdout.write(data)?;
        if let Some(copy) = &self.copy {
            let mut copy = copy.lock().unwrap_or_else(PoisonError::into_inner);
            let room = Self::COPY_LIMIT.saturating_sub(copy.len()).min(written);
            copy.extend_from_slice(data.get(..room).unwrap_or_default());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

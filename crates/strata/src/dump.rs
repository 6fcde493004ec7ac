//! Core dumps: of a guest that has died, and of one that runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use strata_inspect::core::{self, Addresses, SaveError};
use strata_vmm::cpu::X86State;
use strata_vmm::kvm::CallError;
use strata_vmm::machine::Fatal;
use strata_vmm::memory::GuestMemory;
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Control, Machine, Outcome};

use crate::in_one_line;
use crate::message::mention;
use crate::watch::Watched;

/// Why there is no core dump.
#[derive(Debug, thiserror::Error)]
enum DumpError {
    #[error("no core dump while a debugger is attached: detach it first")]
    Debugger,
    #[error("no core dump: a debugger's hold on the guest cannot be had")]
    Attach(#[source] io::Error),
    #[error("no core dump: the guest has just ended")]
    Ended,
    #[error("no core dump: the guest's state cannot be read")]
    State(#[from] CallError),
    #[error("no core dump: its thread cannot be started")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// Writes core dumps of a guest that runs, each on a thread of its own: who asks for one is the event loop, and gigabytes
/// take their time. Clones are the same one.
#[derive(Clone)]
pub(crate) struct OnDemand {
    job: Job,
    /// The thread that has begun last.
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Clone)]
struct Job {
    path: PathBuf,
    /// The image's file name.
    image: Option<String>,
    control: Control,
    memory: GuestMemory,
    quiet: bool,
    /// Set until it can be said how it went: who has read that can ask again.
    writing: Arc<AtomicBool>,
}

impl OnDemand {
    /// Every dump takes the place of the one before it, at `path`.
    pub(crate) fn new(path: &Path, image: &Path, machine: &Machine, quiet: bool) -> Self {
        let memory = machine.ram().memory().clone();
        let (control, writing) = (machine.control(), Arc::default());
        let (path, image) = (path.to_owned(), name_of(image));
        Self { job: Job { path, image, control, memory, quiet, writing }, thread: Arc::default() }
    }

    /// Begins one, and returns at once.
    pub(crate) fn begin(&self) {
        if self.job.writing.swap(true, Relaxed) {
            mention("a core dump is being written already");
            return;
        }
        let job = self.job.clone();
        match Builder::new().name("core".into()).spawn(move || job.run()) {
            Ok(thread) => *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread),
            Err(error) => {
                self.job.writing.store(false, Relaxed);
                mention(&in_one_line(&DumpError::Thread(error)));
            }
        }
    }
}

/// Waits, when it is dropped, for the dump that is being written, if there is one.
pub(crate) struct Finished(pub(crate) OnDemand);

impl Drop for Finished {
    fn drop(&mut self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It has said what there is to say.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Job {
    fn run(&self) {
        let written = self.write();
        self.writing.store(false, Relaxed);
        match written {
            Ok(_) if self.quiet => {}
            Ok(stood) => {
                let path = self.path.display();
                mention(&format!("core dump: {path}; the guest stood still for {} ms", stood.as_millis()));
            }
            Err(error) => mention(&in_one_line(&error)),
        }
    }

    /// How long the guest stood still for it.
    fn write(&self) -> Result<Duration, DumpError> {
        // While this lives the machine cannot end by itself, but it can be stopped.
        let held = self.control.attach().map_err(DumpError::Attach)?.ok_or(DumpError::Debugger)?;
        let start = Instant::now();
        if !held.pause() {
            return Err(DumpError::Ended);
        }
        let states: Vec<X86State> = (0..held.vcpus())
            .map(|vcpu| Ok(held.with_vcpu(vcpu, |vcpu| vcpu.state()).ok_or(DumpError::Ended)??))
            .collect::<Result<_, DumpError>>()?;
        core::save(&self.path, &self.memory, &states, Addresses::Linear, self.image.as_deref())?;
        drop(held);
        Ok(start.elapsed())
    }
}

/// What a debugger compares with the file that it is given.
fn name_of(image: &Path) -> Option<String> {
    image.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Writes the core dump of a machine that has ended. What went wrong is to be said.
pub(crate) fn save<T: Watched>(
    path: &Path,
    image: &Path,
    outcome: &mut Outcome<T>,
    fatal: Option<&Fatal>,
) -> Result<(), String> {
    let states = match fatal {
        // The vCPU itself knows nothing any more.
        Some(fatal) => Ok(vec![fatal.state]),
        None => outcome.vcpus.iter_mut().map(|vcpu| vcpu.vcpu.state()).collect::<Result<Vec<_>, _>>(),
    };
    let ram = fatal.map_or(outcome.ram(), Fatal::ram);
    let written = states.map_err(DumpError::State).and_then(|states| {
        core::save(path, ram.memory(), &states, Addresses::Linear, name_of(image).as_deref())
            .map_err(DumpError::Save)
    });
    written.map(|_| ()).map_err(|error| in_one_line(&error))
}

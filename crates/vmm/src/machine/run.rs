//! Running a machine: a thread for each vCPU beside the event loop of the calling one; or, where there is nothing to
//! watch, the calling thread alone.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use strata_memory::Ram;

use vmm_sys_util::eventfd::EventFd;

use super::Machine;
use super::halts::HaltWatch;
use super::virtio::Workers;
use crate::file_fault::{FileMapping, FileState};
use crate::kvm::{CallError, KvmVcpu, Vm};
use crate::vcpu::{Budget, Control, Exits, Finished, NoTrace, Plan, Stop, Tracer, run_here, spawn};

/// How a run ended, and what it left.
#[derive(Debug)]
pub struct Outcome<T = NoTrace> {
    /// Why.
    pub stop: Stop,
    /// The vCPU whose exit that was; `None` if something else ended the machine: time, a signal, all vCPUs at rest.
    pub stopped_by: Option<u8>,
    /// The vCPUs in order, each with its tracer. One whose thread panicked is missing.
    pub vcpus: Vec<Finished<KvmVcpu, T>>,
    vm: Vm,
    ram: Ram,
    files: Vec<FileMapping>,
}

impl<T> Outcome<T> {
    /// What has become of the files that RAM maps (kernel and initrd): the worst of it.
    pub fn files(&self) -> FileState {
        self.files.iter().map(FileMapping::state).max().unwrap_or(FileState::Intact)
    }

    /// RAM, as the guest left it.
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    /// The pages that the guest's processors have dirtied (see [`Vm::dirty_pages`]); needs `memory.dirty_log`. What devices have
    /// written for it, a disk's reads for instance, is not among them.
    ///
    /// # Errors
    ///
    /// The call that failed.
    pub fn dirty_pages(&self) -> Result<Vec<u64>, CallError> {
        self.vm.dirty_pages(self.ram())
    }
}

/// Why a machine could not run. The guest has executed nothing, or was stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The host gave no thread.
    #[error("cannot start the thread of vCPU {vcpu}")]
    Spawn {
        /// Which vCPU.
        vcpu: u8,
        /// What the system answered.
        source: io::Error,
    },
    /// Nor for a device.
    #[error("cannot start the thread of {device}")]
    SpawnWorker {
        /// Which device.
        device: String,
        /// What the system answered.
        source: io::Error,
    },
    /// The event loop failed.
    #[error("the event loop failed")]
    Events(#[source] event_manager::Error),
}

impl Machine {
    /// Runs the machine until it stops.
    ///
    /// # Errors
    ///
    /// [`RunError`]: the host could not run it. How the guest ended is never an error.
    pub fn run(self) -> Result<Outcome, RunError> {
        self.run_traced(|_| NoTrace)
    }

    /// Runs the machine until it stops; `tracer` makes what watches each vCPU.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn run_traced<T: Tracer + 'static>(
        self,
        mut tracer: impl FnMut(u8) -> T,
    ) -> Result<Outcome<T>, RunError> {
        let is_alone = self.is_alone();
        let Self {
            vm,
            ram,
            vcpus,
            buses,
            limits,
            wall,
            hlt_waits,
            pin,
            control,
            sources,
            workers,
            files,
            ..
        } = self;
        let plan = |index: u8| {
            let mut limits = limits.clone();
            if index > 0 {
                // Debugging is vCPU 0's; the exit budget is everybody's.
                limits.steps = 0;
            }
            Plan {
                index,
                buses: Arc::clone(&buses),
                control: control.clone(),
                limits,
                pin: pin.get(usize::from(index)).copied(),
            }
        };
        let vcpus = (0..=u8::MAX).zip(vcpus);
        let vcpus = if is_alone {
            vcpus.filter_map(|(index, vcpu)| run_here(plan(index), vcpu, tracer(index))).collect()
        } else {
            let mut events = EventManager::<Box<dyn MutEventSubscriber>>::new().map_err(RunError::Events)?;
            events.add_subscriber(Box::new(Wake { control: control.clone(), event: None }));
            for source in sources.0 {
                events.add_subscriber(source);
            }
            let mut devices = Workers::default();
            for (name, worker) in workers.0 {
                let started = devices.spawn(&name, worker);
                started.map_err(|source| RunError::SpawnWorker { device: name, source })?;
            }
            let mut threads = Threads { control: control.clone(), handles: Vec::with_capacity(vcpus.len()) };
            for (index, vcpu) in vcpus {
                let exits = hlt_waits.then(|| Exits::of(&control));
                let thread = spawn(plan(index), vcpu, (tracer(index), exits));
                threads.handles.push(thread.map_err(|source| RunError::Spawn { vcpu: index, source })?);
            }
            watch(&mut events, &control, wall, hlt_waits.then(|| HaltWatch::new(&control)))?;
            let finished = threads.join().into_iter();
            // What they were asked for before the guest ended, they do.
            drop(devices);
            finished
                .map(|Finished { index, vcpu, tracer: (tracer, _) }| Finished { index, vcpu, tracer })
                .collect()
        };
        let stop = control.stopped().unwrap_or(Stop::Interrupted);
        let stopped_by = control.stopped_by();
        Ok(Outcome { stop, stopped_by, vcpus, vm, ram, files })
    }

    /// Whether there is nothing to do beside running one vCPU: nothing to watch, and nobody who could pause or stop it.
    /// Then the calling thread runs it, which saves a thread, an event loop and half of the time to the first `KVM_RUN`.
    fn is_alone(&self) -> bool {
        self.vcpus.len() == 1
            && self.sources.0.is_empty()
            && self.wall.is_none()
            && !self.hlt_waits
            // The caller's thread is not ours to pin.
            && self.pin.is_empty()
            && !self.control.is_shared()
    }
}

/// The vCPUs' threads. However this goes, by a return, an error or a panic of somebody's tracer or event source, no
/// thread outlives it.
struct Threads<T> {
    control: Control,
    handles: Vec<JoinHandle<Finished<KvmVcpu, T>>>,
}

impl<T> Threads<T> {
    /// Ends the machine, if nothing has yet, and waits for all vCPUs. One that panicked has stopped the machine itself
    /// and is left out.
    fn join(mut self) -> Vec<Finished<KvmVcpu, T>> {
        self.end();
        self.handles.drain(..).filter_map(|thread| thread.join().ok()).collect()
    }

    fn end(&self) {
        self.control.stop(Stop::Interrupted);
        self.control.wait_for_all();
    }
}

impl<T> Drop for Threads<T> {
    fn drop(&mut self) {
        self.end();
        for thread in self.handles.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Serves events until the machine has ended or its time is up.
fn watch(
    events: &mut EventManager<Box<dyn MutEventSubscriber>>,
    control: &Control,
    wall: Option<Duration>,
    mut halts: Option<HaltWatch>,
) -> Result<(), RunError> {
    let start = Instant::now();
    while control.stopped().is_none() {
        let now = Instant::now();
        let wall_left = wall.map(|limit| limit.saturating_sub(now - start));
        if let (Some(limit), Some(Duration::ZERO)) = (wall, wall_left) {
            control.stop(Stop::Budget(Budget::Wall(limit)));
            break;
        }
        let ask_in = halts.as_mut().and_then(|halts| halts.ask_when_due(now));
        // Rounded up: waking a millisecond late is right, waking early would spin.
        let timeout = wall_left
            .into_iter()
            .chain(ask_in)
            .min()
            .map_or(-1, |left| i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX));
        events.run_with_timeout(timeout).map_err(RunError::Events)?;
    }
    Ok(())
}

/// Wakes the event loop when there is something to see at the control.
struct Wake {
    control: Control,
    event: Option<Arc<EventFd>>,
}

impl MutEventSubscriber for Wake {
    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        // The loop looks at the control itself after every event. It was ready, so this does not block.
        let _ = self.event.as_ref().map(|event| event.read());
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.event = self.control.waker().ok();
        let added = self.event.as_ref().map(|event| ops.add(Events::new(&**event, EventSet::IN)));
        if !matches!(added, Some(Ok(()))) {
            // Without this the loop could sleep for ever.
            self.control.stop(Stop::Interrupted);
        }
    }
}

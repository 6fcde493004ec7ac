//! The guest goes on, and comes to a stop.

use std::collections::VecDeque;
use std::sync::Arc;

use gdbstub::common::{Signal, Tid};
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::multithread::{
    MultiThreadRangeStepping, MultiThreadRangeSteppingOps, MultiThreadResume, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::WatchKind;
use strata_vmm::kvm::GuestDebug;
use strata_vmm::vcpu::{Budget, DebugEvent, DebugFilter, Held, Stop};
use vm_memory::GuestAddress;

use super::Memory;
use super::breakpoints::{Breakpoints, Plan, Watch};
use super::guest::{Guest, Never, tid, vcpu};
use super::memory::physical;
use crate::View;

/// What a vCPU is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// What the others do: go on, or stay.
    Default,
    Continue,
    Step,
    /// Step while RIP is in this range.
    Range(u64, u64),
}

/// The vector of #BP, by which KVM tells an `int3` from what the debug registers have found.
const BREAKPOINT: u32 = 3;
const INT3: u8 = 0xcc;

/// `int3`, in front of what a processor executes next.
type Planted = Vec<(u64, u8)>;

/// What decides on a vCPU's thread whether a stop is one that gdb wants to hear of.
struct Watcher<M> {
    breakpoints: Breakpoints,
    plan: Plan,
    actions: Vec<Action>,
    asked: Vec<GuestDebug>,
    memory: M,
    /// Watched by stepping: physical address and content of each byte.
    bytes: Vec<(u64, u8)>,
}

impl<M: Memory> Watcher<M> {
    fn passes_over(&self, index: u8, event: &DebugEvent, vcpu: &mut dyn strata_vmm::vcpu::Vcpu) -> bool {
        let asked = self.asked.get(usize::from(index));
        if event.exception == BREAKPOINT {
            // One of the guest's own it is to have.
            let is_ours = self.plan.planted.iter().any(|(linear, _)| *linear == event.rip);
            return !is_ours && asked.is_some_and(|asked| vcpu.inject_breakpoint(asked).is_ok());
        }
        if self.register(event).is_some() || self.breakpoints.has(event.rip) {
            return false;
        }
        if self.plan.search && self.bytes.iter().any(|&(at, was)| self.byte(at) != was) {
            return false;
        }
        let passes = match self.actions.get(usize::from(index)) {
            Some(Action::Step) => false,
            Some(Action::Range(start, end)) => (*start..*end).contains(&event.rip),
            _ => true,
        };
        // Stepping has to be asked for each time: of an instruction that KVM has emulated, TF may not have survived.
        if let Some(asked) = asked.filter(|asked| passes && asked.single_step) {
            return vcpu.set_guest_debug(asked).is_ok();
        }
        passes
    }

    /// The debug register whose condition was met: B0 to B3 of DR6 say it also of those that are not enabled (SDM 3B 18.2.3).
    fn register(&self, event: &DebugEvent) -> Option<usize> {
        let used = self.plan.registers.len() + self.plan.watchpoints.len();
        (0..used).find(|n| event.dr6 >> n & 1 == 1)
    }

    fn byte(&self, at: u64) -> u8 {
        self.memory.read_obj(GuestAddress(at)).unwrap_or(0)
    }
}

impl<M: Memory> Guest<M> {
    /// Pauses every vCPU, takes all `int3`s out of memory, and sees who came to a stop; `false` if the machine has ended.
    pub(super) fn halt(&mut self) -> bool {
        if self.is_running {
            while self.debugger.vcpus() < self.setup.cpus && self.debugger.ended().is_none() {
                // The machine is being started just now.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            // Of a machine that has ended, too, memory is to be left as it was.
            self.debugger.pause();
            self.debugger.filter(None);
            self.is_running = false;
            self.cpus.fill(None);
            for (at, was) in std::mem::take(&mut self.planted).into_iter().rev() {
                // If the guest has written there meanwhile, that is what is to stay.
                if self.setup.memory.read_obj::<u8>(GuestAddress(at)).is_ok_and(|now| now == INT3) {
                    let _ = self.setup.memory.write_obj(was, GuestAddress(at));
                }
            }
        }
        self.pending.extend(std::iter::from_fn(|| self.debugger.next()));
        self.debugger.ended().is_none()
    }

    /// Forgets all breakpoints, of a guest that stands still. From here on nothing of a debugger is to be seen in it.
    pub(super) fn forget(&mut self) {
        self.breakpoints = Breakpoints::default();
        self.actions.fill(Action::Default);
        self.is_locked = false;
        for vcpu in 0..self.setup.cpus {
            self.ask(vcpu, GuestDebug::default());
        }
        // A breakpoint that was hit is no news any more; that the guest has died is.
        self.pending.retain(|held| !matches!(held.stop, Stop::Debug(_)));
    }

    fn ask(&mut self, vcpu: u8, debug: GuestDebug) {
        let Some(asked) = self.asked.get_mut(usize::from(vcpu)) else { return };
        // Stepping is asked for again each time: setting registers ends it.
        if *asked != debug || debug.single_step {
            let wanted = debug.clone();
            let done = self.debugger.with_vcpu(vcpu, move |vcpu| vcpu.set_guest_debug(&debug));
            if matches!(done, Some(Ok(()))) {
                *asked = wanted;
            }
        }
    }

    /// Lets the guest go on as gdb has said. If there is something to tell of it still, it stays: that comes first.
    pub(super) fn go_on(&mut self) {
        if self.is_running || !self.pending.is_empty() {
            // What is pending is told at once instead.
            return;
        }
        let frozen: Vec<bool> =
            self.actions.iter().map(|action| self.is_locked && *action == Action::Default).collect();
        let state = self.state(self.current);
        let memory = self.setup.memory.clone();
        let find = |linear| physical(&View::new(&memory, state.as_ref()?), linear);
        let plan = self.breakpoints.plan(self.setup.abilities, find);
        for vcpu in 0..self.setup.cpus {
            let action = self.actions.get(usize::from(vcpu)).copied().unwrap_or(Action::Default);
            let steps = matches!(action, Action::Step | Action::Range(..));
            let debug = GuestDebug {
                single_step: steps || plan.search,
                // Whoever searches lets the guest live meanwhile.
                block_interrupts: steps,
                breakpoints: plan.registers.clone(),
                watchpoints: plan.watchpoints.clone(),
                software_breakpoints: !plan.planted.is_empty(),
            };
            self.ask(vcpu, debug);
        }
        self.planted = self.plant(&plan);
        let bytes = self.watched(&plan, find);
        let watcher = Watcher {
            breakpoints: self.breakpoints.clone(),
            plan,
            actions: self.actions.clone(),
            asked: self.asked.clone(),
            memory: memory.clone(),
            bytes,
        };
        let filter: DebugFilter = Arc::new(move |index, event, vcpu| watcher.passes_over(index, event, vcpu));
        self.debugger.filter(Some(filter));
        self.is_running = true;
        self.debugger.resume(|vcpu| !frozen.get(usize::from(vcpu)).copied().unwrap_or(false));
    }

    fn plant(&self, plan: &Plan) -> Planted {
        let memory = &self.setup.memory;
        let mut planted = Vec::new();
        for &(_, at) in &plan.planted {
            let Ok(was) = memory.read_obj(GuestAddress(at)) else { continue };
            // Two linear addresses may be one physical.
            let is_new = !planted.iter().any(|(there, _)| *there == at);
            if is_new && memory.write_obj(INT3, GuestAddress(at)).is_ok() {
                planted.push((at, was));
            }
        }
        planted
    }

    fn watched(&self, plan: &Plan, find: impl Fn(u64) -> Option<u64>) -> Vec<(u64, u8)> {
        if !plan.search || !plan.watchpoints.is_empty() {
            return Vec::new();
        }
        let linear = self
            .breakpoints
            .watches
            .iter()
            .flat_map(|watch| (0..watch.len).map(move |n| watch.address.wrapping_add(n)));
        let memory = &self.setup.memory;
        linear.filter_map(find).filter_map(|at| Some((at, memory.read_obj(GuestAddress(at)).ok()?))).collect()
    }

    /// The next stop to tell gdb of, with a line for people; the guest stands still.
    pub(super) fn next_stop(&mut self) -> Option<(MultiThreadStopReason<u64>, Option<String>)> {
        let mut held = VecDeque::new();
        std::mem::swap(&mut held, &mut self.pending);
        let mut first = None;
        for one in held {
            match (&first, &one.stop) {
                (None, _) => first = Some(one),
                // It stands in front of its breakpoint or behind its step still, and will be there again; what a watchpoint
                // has seen, or that a vCPU has died, comes but once.
                (Some(_), Stop::Debug(event)) if self.watchpoint(event).is_none() => {}
                _ => self.pending.push_back(one),
            }
        }
        let Held { vcpu, stop, .. } = first?;
        self.current = vcpu;
        let Stop::Debug(event) = stop else {
            let text = format!("vCPU {vcpu}: {stop}; going on ends the machine");
            return Some((signal(vcpu, signal_of(&stop)), Some(text)));
        };
        Some((self.reason(vcpu, &event), None))
    }

    fn reason(&self, vcpu: u8, event: &DebugEvent) -> MultiThreadStopReason<u64> {
        let tid = tid(vcpu);
        if let Some(watch) = self.watchpoint(event) {
            let kind = match (watch.reads, watch.only_reads) {
                (false, _) => WatchKind::Write,
                (true, true) => WatchKind::Read,
                (true, false) => WatchKind::ReadWrite,
            };
            return MultiThreadStopReason::Watch { tid, kind, addr: watch.address };
        }
        if self.breakpoints.hard.contains(&event.rip) {
            MultiThreadStopReason::HwBreak(tid)
        } else if self.breakpoints.soft.contains(&event.rip) {
            MultiThreadStopReason::SwBreak(tid)
        } else {
            signal(vcpu, Signal::SIGTRAP)
        }
    }

    /// The watchpoint that an event is of.
    fn watchpoint(&self, event: &DebugEvent) -> Option<Watch> {
        if event.exception == BREAKPOINT {
            return None;
        }
        let asked = self.asked.first()?;
        if asked.watchpoints.is_empty() {
            // By stepping: what it was is not known any more, but of several it hardly matters which.
            let is_searched = asked.single_step && !self.breakpoints.has(event.rip);
            let stepped =
                self.actions.iter().any(|action| matches!(action, Action::Step | Action::Range(..)));
            return self.breakpoints.watches.first().copied().filter(|_| is_searched && !stepped);
        }
        let hit = asked.watchpoints.iter().zip(asked.breakpoints.len()..);
        let (piece, _) = hit.into_iter().find(|(_, n)| event.dr6 >> n & 1 == 1)?;
        let of = |watch: &&Watch| {
            piece.address.wrapping_sub(watch.address) < watch.len && watch.reads == piece.reads
        };
        self.breakpoints.watches.iter().find(of).copied()
    }
}

/// A stop by a signal.
pub(super) fn signal(vcpu: u8, signal: Signal) -> MultiThreadStopReason<u64> {
    MultiThreadStopReason::SignalWithThread { tid: tid(vcpu), signal }
}

/// What gdb calls the ends of a guest.
fn signal_of(stop: &Stop) -> Signal {
    match stop {
        Stop::TripleFault => Signal::SIGSEGV,
        Stop::MemoryFault { .. } => Signal::SIGBUS,
        Stop::InternalError { .. } => Signal::SIGILL,
        Stop::Halted => Signal::SIGSTOP,
        Stop::Budget(Budget::Exits(_) | Budget::Wall(_)) => Signal::SIGXCPU,
        _ => Signal::SIGABRT,
    }
}

impl<M: Memory> MultiThreadResume for Guest<M> {
    fn resume(&mut self) -> Result<(), Never> {
        self.go_on();
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Never> {
        self.actions.fill(Action::Default);
        self.is_locked = false;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Never> {
        self.set(tid, Action::Continue);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        self.setup.abilities.single_step.then_some(self)
    }

    fn support_range_step(&mut self) -> Option<MultiThreadRangeSteppingOps<'_, Self>> {
        self.setup.abilities.single_step.then_some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl<M: Memory> Guest<M> {
    fn set(&mut self, tid: Tid, to: Action) {
        if let Some(action) = vcpu(tid).and_then(|vcpu| self.actions.get_mut(usize::from(vcpu))) {
            // Of several for one thread the first counts.
            if *action == Action::Default {
                *action = to;
            }
        }
    }
}

impl<M: Memory> MultiThreadSingleStep for Guest<M> {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Never> {
        self.set(tid, Action::Step);
        Ok(())
    }
}

impl<M: Memory> MultiThreadRangeStepping for Guest<M> {
    fn set_resume_action_range_step(&mut self, tid: Tid, start: u64, end: u64) -> Result<(), Never> {
        self.set(tid, Action::Range(start, end));
        Ok(())
    }
}

impl<M: Memory> MultiThreadSchedulerLocking for Guest<M> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Never> {
        self.is_locked = true;
        Ok(())
    }
}

impl<M: Memory> Drop for Guest<M> {
    fn drop(&mut self) {
        // Then the debugger detaches, and the guest goes on.
        if self.halt() {
            self.forget();
        }
    }
}

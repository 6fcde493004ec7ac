//! The guest as gdb's protocol sees it: threads, registers, memory, breakpoints.

use std::num::NonZeroUsize;
use std::sync::Arc;

use gdbstub::arch::{Arch, RegId, Registers as GdbRegisters};
use gdbstub::common::Tid;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{MultiThreadBase, MultiThreadResumeOps};
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::{
    Breakpoints as BreakpointsExt, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint,
    HwWatchpointOps, SwBreakpoint, SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::MonitorCmdOps;
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use strata_cpu::{Mode, X86State};
use strata_vmm::kvm::GuestDebug;
use strata_vmm::vcpu::{Activity, Debugger};

use super::breakpoints::{Breakpoints, Watch};
use super::layout::{Layout, Row};
use super::memory;
use super::registers::Cpu;
use super::resume::Action;
use super::{Memory, Setup};

/// A machine that a debugger is attached to.
pub(super) struct Guest<M: Memory> {
    pub(super) debugger: Debugger,
    pub(super) setup: Arc<Setup<M>>,
    pub(super) layout: Layout,
    rows: Vec<Row>,
    pub(super) breakpoints: Breakpoints,
    /// Addresses in packets are physical.
    pub(super) is_physical: bool,
    /// The vCPU that gdb is to look at first.
    pub(super) current: u8,
    /// What has been read of each vCPU since the guest has stopped.
    pub(super) cpus: Vec<Option<Cpu>>,
    pub(super) actions: Vec<Action>,
    /// Whether vCPUs that gdb has not mentioned stay where they are.
    pub(super) is_locked: bool,
    pub(super) is_running: bool,
    /// What each vCPU has been asked to stop at.
    pub(super) asked: Vec<GuestDebug>,
    /// Physical addresses with an `int3`, and what was there.
    pub(super) planted: Vec<(u64, u8)>,
    pub(super) pending: std::collections::VecDeque<strata_vmm::vcpu::Held>,
}

/// Nothing that befalls a guest ends a session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Never {}

/// `ESRCH`, `EFAULT` and `EINVAL` of Linux, which gdb shows as numbers.
const NO_SUCH_THREAD: u8 = 3;
const BAD_ADDRESS: u8 = 14;
const INVALID: u8 = 22;

impl<M: Memory> Guest<M> {
    pub(super) fn new(debugger: Debugger, setup: Arc<Setup<M>>) -> Self {
        let cpus = usize::from(setup.cpus);
        Self {
            debugger,
            layout: Layout::X86_64,
            rows: Layout::X86_64.rows(),
            breakpoints: Breakpoints::default(),
            is_physical: false,
            current: 0,
            cpus: vec![None; cpus],
            actions: vec![Action::Default; cpus],
            is_locked: false,
            is_running: true,
            asked: vec![GuestDebug::default(); cpus],
            planted: Vec::new(),
            pending: std::collections::VecDeque::new(),
            setup,
        }
    }

    /// For a client that has just connected: what it is told of the registers, by what the guest is now.
    pub(super) fn describe(&mut self) {
        let mode = self.cpu(self.current).map(|cpu| cpu.state.mode());
        self.layout = match (self.setup.layout.get(), mode) {
            (Some(layout), _) => layout,
            (None, Some(Mode::Real16)) => Layout::I8086,
            (None, Some(Mode::Protected32)) if !self.setup.is_64_bit => Layout::I386,
            _ => Layout::X86_64,
        };
        self.rows = self.layout.rows();
        self.is_physical = false;
    }

    /// A vCPU's registers, of a guest that stands still.
    pub(super) fn cpu(&mut self, vcpu: u8) -> Option<&Cpu> {
        let slot = self.cpus.get_mut(usize::from(vcpu))?;
        if slot.is_none() {
            *slot = self.debugger.with_vcpu(vcpu, Cpu::read)?.ok();
        }
        slot.as_ref()
    }

    pub(super) fn state(&mut self, vcpu: u8) -> Option<X86State> {
        self.cpu(vcpu).map(|cpu| cpu.state)
    }

    /// Changes a vCPU's registers by a function that says whether it could.
    fn change(&mut self, vcpu: u8, by: impl FnOnce(&mut Cpu, &[Row]) -> Option<()>) -> Option<()> {
        let before = self.cpu(vcpu)?.clone();
        let mut after = before.clone();
        by(&mut after, &self.rows)?;
        // What has become of it is read again: the processor may not have taken all.
        *self.cpus.get_mut(usize::from(vcpu))? = None;
        self.debugger.with_vcpu(vcpu, move |vcpu| after.write(&before, vcpu))?.ok()
    }
}

/// gdb counts threads from 1.
pub(super) fn tid(vcpu: u8) -> Tid {
    NonZeroUsize::MIN.saturating_add(vcpu.into())
}

pub(super) fn vcpu(tid: Tid) -> Option<u8> {
    u8::try_from(tid.get() - 1).ok()
}

/// The vCPU of a packet.
fn known<M: Memory>(tid: Tid) -> TargetResult<u8, Guest<M>> {
    vcpu(tid).ok_or(TargetError::Errno(NO_SUCH_THREAD))
}

/// x86 with as many registers as [`Layout`] says.
#[derive(Debug)]
pub(super) enum X86 {}

impl Arch for X86 {
    type Usize = u64;
    type Registers = AllRegisters;
    type RegId = Number;
    type BreakpointKind = usize;
}

/// All registers, one after the other; `None` for bytes that are not to be had.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct AllRegisters(Vec<Option<u8>>);

impl GdbRegisters for AllRegisters {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        // Asked for by nobody: only targets with breakpoints that the stub itself plants need it.
        0
    }

    fn gdb_serialize(&self, write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().copied().for_each(write_byte);
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0 = bytes.iter().copied().map(Some).collect();
        Ok(())
    }
}

/// A register's number.
#[derive(Debug)]
pub(super) struct Number(usize);

impl RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        Some((Self(id), None))
    }
}

impl<M: Memory> Target for Guest<M> {
    type Arch = X86;
    type Error = Never;

    fn base_ops(&mut self) -> BaseOps<'_, X86, Never> {
        BaseOps::MultiThread(self)
    }

    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl<M: Memory> MultiThreadBase for Guest<M> {
    fn read_registers(&mut self, regs: &mut AllRegisters, tid: Tid) -> TargetResult<(), Self> {
        let vcpu = known::<M>(tid)?;
        let cpu = self.cpu(vcpu).ok_or(TargetError::Errno(NO_SUCH_THREAD))?.clone();
        for row in &self.rows {
            match cpu.get(row) {
                Some(bytes) => regs.0.extend(bytes.into_iter().map(Some)),
                None => regs.0.extend(vec![None; row.bytes]),
            }
        }
        Ok(())
    }

    fn write_registers(&mut self, regs: &AllRegisters, tid: Tid) -> TargetResult<(), Self> {
        let bytes: Vec<u8> = regs.0.iter().map(|byte| byte.unwrap_or(0)).collect();
        let changed = self.change(known::<M>(tid)?, |cpu, rows| {
            let mut rest = bytes.as_slice();
            for row in rows {
                let (value, later) = rest.split_at_checked(row.bytes)?;
                rest = later;
                // One that cannot be read comes back as anything.
                if cpu.get(row).is_some_and(|now| now != value) {
                    cpu.set(row, value)?;
                }
            }
            Some(())
        });
        changed.ok_or(TargetError::Errno(INVALID))
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let state = self.state(known::<M>(tid)?).ok_or(TargetError::Errno(NO_SUCH_THREAD))?;
        match memory::read((&self.setup.memory, &state), start, data, self.is_physical) {
            0 => Err(TargetError::Errno(BAD_ADDRESS)),
            done => Ok(done),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let state = self.state(known::<M>(tid)?).ok_or(TargetError::Errno(NO_SUCH_THREAD))?;
        let written = memory::write((&self.setup.memory, &state), start, data, self.is_physical);
        written.ok_or(TargetError::Errno(BAD_ADDRESS))
    }

    fn list_active_threads(&mut self, is_active: &mut dyn FnMut(Tid)) -> Result<(), Never> {
        // The first is what gdb looks at when it connects.
        is_active(tid(self.current));
        (0..self.setup.cpus).filter(|&vcpu| vcpu != self.current).for_each(|vcpu| is_active(tid(vcpu)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl<M: Memory> SingleRegisterAccess<Tid> for Guest<M> {
    fn read_register(&mut self, tid: Tid, reg: Number, buf: &mut [u8]) -> TargetResult<usize, Self> {
        let cpu = self.cpu(known::<M>(tid)?).ok_or(TargetError::Errno(NO_SUCH_THREAD))?.clone();
        let row = self.rows.get(reg.0).ok_or(TargetError::Errno(INVALID))?;
        let bytes = cpu.get(row).ok_or(TargetError::Errno(INVALID))?;
        buf.get_mut(..bytes.len()).ok_or(TargetError::Errno(INVALID))?.copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write_register(&mut self, tid: Tid, reg: Number, value: &[u8]) -> TargetResult<(), Self> {
        let changed = self.change(known::<M>(tid)?, |cpu, rows| cpu.set(rows.get(reg.0)?, value));
        changed.ok_or(TargetError::Errno(INVALID))
    }
}

impl<M: Memory> ThreadExtraInfo for Guest<M> {
    fn thread_extra_info(&self, tid: Tid, buf: &mut [u8]) -> Result<usize, Never> {
        let number = vcpu(tid).unwrap_or(u8::MAX);
        let activity = self.debugger.with_vcpu(number, |vcpu| vcpu.activity().ok()).flatten();
        let doing = match activity {
            Some(Activity::Running) => "runs",
            Some(Activity::Waiting) => "waits for an interrupt",
            Some(Activity::Off) => "is off",
            None => "is unknown",
        };
        let text = format!("vCPU {number} {doing}");
        let copied = buf.iter_mut().zip(text.bytes()).map(|(to, from)| *to = from).count();
        Ok(copied)
    }
}

impl<M: Memory> BreakpointsExt for Guest<M> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl<M: Memory> SwBreakpoint for Guest<M> {
    fn add_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.add_soft(address))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.soft.remove(&address))
    }
}

impl<M: Memory> HwBreakpoint for Guest<M> {
    fn add_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.add_hard(address, self.setup.abilities))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.hard.remove(&address))
    }
}

fn watch(address: u64, len: u64, kind: WatchKind) -> Watch {
    Watch { address, len, reads: kind != WatchKind::Write, only_reads: kind == WatchKind::Read }
}

impl<M: Memory> HwWatchpoint for Guest<M> {
    fn add_hw_watchpoint(&mut self, address: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.add_watch(watch(address, len, kind), self.setup.abilities))
    }

    fn remove_hw_watchpoint(&mut self, address: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let watches = &mut self.breakpoints.watches;
        let found = watches.iter().position(|there| *there == watch(address, len, kind));
        Ok(found.map(|at| watches.remove(at)).is_some())
    }
}

impl<M: Memory> TargetDescriptionXmlOverride for Guest<M> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        let xml = self.layout.description();
        let rest = usize::try_from(offset).ok().and_then(|offset| xml.as_bytes().get(offset..));
        let copied = buf.iter_mut().take(length).zip(rest.unwrap_or_default());
        Ok(copied.map(|(to, from)| *to = *from).count())
    }
}

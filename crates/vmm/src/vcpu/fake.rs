//! A vCPU that a test scripts.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

use strata_cpu::X86State;

use super::{Exit, Vcpu};
use crate::kvm::{CallError, KickReceiver, VcpuKicker};

/// What a scripted vCPU does on one run.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// `out`, of these bytes in accesses of this width.
    Out(u16, u8, &'static [u8]),
    /// `in`, of so many accesses of this width; the answers are kept.
    In(u16, u8, usize),
    MmioRead(u64, usize),
    Halt,
    Interrupted,
    Fail(i32),
    Panic,
    /// Runs until it is kicked.
    Spin,
}

/// A vCPU that goes through its acts, the last one for ever.
#[derive(Debug)]
pub(crate) struct Fake {
    acts: Vec<Act>,
    next: usize,
    buffer: Vec<u8>,
    kick: KickReceiver,
    immediate_exit: &'static AtomicU8,
}

impl Fake {
    pub(crate) fn new(acts: impl Into<Vec<Act>>) -> Self {
        let immediate_exit: &'static AtomicU8 = Box::leak(Box::default());
        // SAFETY: the byte is leaked, so it outlives everything, and it is an atomic.
        #[allow(unsafe_code, reason = "the receiver wants to know that its byte stays")]
        let kick = unsafe { KickReceiver::new(NonNull::from(immediate_exit)) };
        Self { acts: acts.into(), next: 0, buffer: Vec::new(), kick, immediate_exit }
    }

    /// The bytes of the last exit, with the device's answers in them.
    pub(crate) fn answers(&self) -> &[u8] {
        &self.buffer
    }

    fn kicked(&self) -> bool {
        self.immediate_exit.load(std::sync::atomic::Ordering::SeqCst) != 0
    }
}

impl Vcpu for Fake {
    fn run(&mut self) -> Result<Exit<'_>, CallError> {
        self.kick.bind();
        if self.kicked() {
            return Ok(if self.kick.take() { Exit::Kicked } else { Exit::Interrupted });
        }
        let act = self.acts[self.next.min(self.acts.len() - 1)].clone();
        self.next += 1;
        Ok(match act {
            Act::Out(port, width, data) => Exit::PioWrite { port, width, data },
            Act::In(port, width, count) => {
                self.buffer = vec![0; count * usize::from(width)];
                Exit::PioRead { port, width, data: &mut self.buffer }
            }
            Act::MmioRead(addr, len) => {
                self.buffer = vec![0; len];
                Exit::MmioRead { addr, data: &mut self.buffer }
            }
            Act::Halt => Exit::Halt,
            Act::Interrupted => Exit::Interrupted,
            Act::Fail(errno) => {
                let source = std::io::Error::from_raw_os_error(errno);
                return Err(CallError { call: "KVM_RUN", source });
            }
            Act::Panic => panic!("scripted"),
            Act::Spin => {
                self.next -= 1;
                std::thread::yield_now();
                Exit::Interrupted
            }
        })
    }

    fn state(&mut self) -> Result<X86State, CallError> {
        Ok(X86State::real(0))
    }

    fn set_state(&mut self, _: &X86State) -> Result<(), CallError> {
        Ok(())
    }

    fn kicker(&self) -> VcpuKicker {
        self.kick.kicker()
    }
}

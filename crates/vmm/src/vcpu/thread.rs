//! A vCPU's thread: one of its own, or the caller's.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::control::Answered;
use super::run::{Buses, Limits, Pause, run};
use super::stop::Stop;
use super::trace::Tracer;
use super::{Control, Vcpu, pin};

/// A vCPU whose thread has ended, with what watched it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished<V, T> {
    /// Its number.
    pub index: u8,
    /// The vCPU, as the guest left it.
    pub vcpu: V,
    /// Its tracer.
    pub tracer: T,
}

/// What the thread that runs a vCPU needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The vCPU's number.
    pub index: u8,
    /// Where its exits go.
    pub buses: Arc<Buses>,
    /// What it obeys.
    pub control: Control,
    /// What it may use up.
    pub limits: Limits,
    /// The host CPU that its thread is to stay on.
    pub pin: Option<u32>,
}

/// Starts the thread of a vCPU. It ends when the machine does, and ends the machine when it stops, fails or panics.
///
/// # Errors
///
/// The host gives no thread.
pub fn spawn<V, T>(plan: Plan, vcpu: V, tracer: T) -> io::Result<JoinHandle<Finished<V, T>>>
where
    V: Vcpu + 'static,
    T: Tracer + 'static,
{
    // The thread owns the membership: it leaves however it ends, also when it could not be started.
    let membership = Membership::join(&plan, &vcpu);
    Builder::new()
        .name(format!("vcpu{}", plan.index))
        .spawn(move || membership.run(vcpu, tracer, &plan.buses, plan.limits))
}

/// Runs a vCPU on the calling thread until the machine ends. As with [`spawn`], it ends the machine when it stops, fails
/// or panics; having panicked, it is gone.
pub fn run_here<V: Vcpu, T: Tracer>(plan: Plan, vcpu: V, tracer: T) -> Option<Finished<V, T>> {
    let membership = Membership::join(&plan, &vcpu);
    // What the panic may have left half done goes away with it: vCPU and tracer are moved in.
    catch_unwind(AssertUnwindSafe(|| membership.run(vcpu, tracer, &plan.buses, plan.limits))).ok()
}

/// A vCPU's place among those that a pause waits for.
struct Membership {
    control: Control,
    index: u8,
    pin: Option<u32>,
}

impl Membership {
    fn join(plan: &Plan, vcpu: &impl Vcpu) -> Self {
        plan.control.join(vcpu.kicker());
        Self { control: plan.control.clone(), index: plan.index, pin: plan.pin }
    }

    fn run<V: Vcpu, T: Tracer>(
        self,
        mut vcpu: V,
        mut tracer: T,
        buses: &Buses,
        mut limits: Limits,
    ) -> Finished<V, T> {
        if let Some(cpu) = self.pin
            && let Err(error) = pin::pin(cpu)
        {
            self.fail("sched_setaffinity", &error);
            return Finished { index: self.index, vcpu, tracer };
        }
        vcpu.sync(tracer.wants());
        let mut answered = Answered::of(self.index);
        let mut going = Ok(true);
        while matches!(going, Ok(true)) {
            going = match run(&mut vcpu, buses, &mut limits, &mut tracer) {
                Ok(Pause::Kicked) => self.control.go_on(&mut answered, &mut vcpu),
                Ok(Pause::Stop(stop)) if self.control.passes_over(self.index, &stop, &mut vcpu) => Ok(true),
                Ok(Pause::Stop(stop)) => {
                    // Either the machine ends here, or a debugger looks at it first.
                    let held = self.control.hold(self.index, &stop);
                    let on = if held { self.control.go_on(&mut answered, &mut vcpu) } else { Ok(true) };
                    on.map(|on| {
                        let goes_on = on && held && matches!(stop, Stop::Debug(_));
                        if on && !goes_on {
                            self.control.stop_by(self.index, stop);
                        }
                        goes_on
                    })
                }
                Err(error) => Err(error),
            };
        }
        if let Err(error) = going {
            self.fail(error.call, &error.source);
        }
        Finished { index: self.index, vcpu, tracer }
    }

    /// Ends the machine: a call that the vCPU needs has failed.
    fn fail(&self, call: &'static str, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or(0);
        self.control.stop_by(self.index, Stop::VcpuFailed { vcpu: self.index, call, errno });
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // After a regular end the machine is stopped already and this changes nothing; after a panic it ends it.
        self.control.stop(Stop::VcpuDied { vcpu: self.index });
        self.control.leave();
    }
}

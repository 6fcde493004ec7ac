//! One thread a vCPU.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::run::{Buses, Limits, Pause, run};
use super::stop::Stop;
use super::trace::Tracer;
use super::{Control, Vcpu};

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

/// What a vCPU's thread needs to know.
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
    let Plan { index, buses, control, limits } = plan;
    control.join(vcpu.kicker());
    let membership = Membership { control, index };
    // The thread owns the membership: it leaves however it ends, also when it could not be started.
    Builder::new().name(format!("vcpu{index}")).spawn(move || membership.run(vcpu, tracer, &buses, limits))
}

/// A vCPU's place among those that a pause waits for.
struct Membership {
    control: Control,
    index: u8,
}

impl Membership {
    fn run<V: Vcpu, T: Tracer>(
        self,
        mut vcpu: V,
        mut tracer: T,
        buses: &Buses,
        mut limits: Limits,
    ) -> Finished<V, T> {
        loop {
            match run(&mut vcpu, buses, &mut limits, &mut tracer) {
                Ok(Pause::Kicked) if self.control.go_on() => {}
                Ok(Pause::Kicked) => break,
                Ok(Pause::Stop(stop)) => {
                    self.control.stop(stop);
                    break;
                }
                Err(error) => {
                    let errno = error.source.raw_os_error().unwrap_or(0);
                    self.control.stop(Stop::VcpuFailed { vcpu: self.index, call: error.call, errno });
                    break;
                }
            }
        }
        Finished { index: self.index, vcpu, tracer }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // After a regular end the machine is stopped already and this changes nothing; after a panic it ends it.
        self.control.stop(Stop::VcpuDied { vcpu: self.index });
        self.control.leave();
    }
}

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
pub struct Finished<V, T> {
    /// The vCPU, as the guest left it.
    pub vcpu: V,
    /// Its tracer.
    pub tracer: T,
}

/// Starts the thread of vCPU `index`. It ends when the machine does, and ends the machine when it fails or panics.
pub(crate) fn spawn<V, T>(
    index: u8,
    vcpu: V,
    tracer: T,
    buses: Arc<Buses>,
    (control, limits): (Control, Limits),
) -> io::Result<JoinHandle<Finished<V, T>>>
where
    V: Vcpu + 'static,
    T: Tracer + 'static,
{
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
        Finished { vcpu, tracer }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // After a regular end the machine is stopped already and this changes nothing; after a panic it ends it.
        self.control.stop(Stop::VcpuDied { vcpu: self.index });
        self.control.leave();
    }
}

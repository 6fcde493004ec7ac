//! Keeping vCPU threads on host CPUs of one's choice.

use std::fmt;
use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Why vCPUs cannot be pinned as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The host CPU is not there, or not for this process.
    #[error("no vCPU can be pinned to host CPU {cpu}: this process may run on {allowed} (see `taskset`)")]
    NotAllowed {
        /// Which.
        cpu: u32,
        /// What it may run on instead.
        allowed: HostCpus,
    },
    /// The kernel does not say what is allowed.
    #[error("cannot learn which host CPUs this process may run on")]
    Ask(#[source] io::Error),
}

/// Some of the host's CPUs, shown as taskset(1) and `/sys` write them: `0-3,6`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCpus(Vec<u32>);

impl HostCpus {
    /// Those that this thread, and with it the threads that it starts, may run on.
    fn allowed() -> Result<Self, PinError> {
        let set = sched_getaffinity(None).map_err(|error| PinError::Ask(error.into()))?;
        let all = (0..).take(CpuSet::MAX_CPU).enumerate();
        Ok(Self(all.filter(|&(index, _)| set.is_set(index)).map(|(_, cpu)| cpu).collect()))
    }
}

impl fmt::Display for HostCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|&cpu, &next| cpu.checked_add(1) == Some(next));
        for (nth, run) in runs.enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [only] => write!(f, "{comma}{only}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

/// Whether threads of this process can be pinned to each of `cpus`.
pub(crate) fn check(cpus: &[u32]) -> Result<(), PinError> {
    if cpus.is_empty() {
        return Ok(());
    }
    let allowed = HostCpus::allowed()?;
    match cpus.iter().find(|cpu| !allowed.0.contains(cpu)) {
        None => Ok(()),
        Some(&cpu) => Err(PinError::NotAllowed { cpu, allowed }),
    }
}

/// Keeps the calling thread on `cpu`.
///
/// # Errors
///
/// What the kernel answered; `EINVAL` for a CPU that is not there (any more), or not for this process.
pub(super) fn pin(cpu: u32) -> io::Result<()> {
    let mut set = CpuSet::new();
    match usize::try_from(cpu) {
        Ok(index) if index < CpuSet::MAX_CPU => set.set(index),
        // An empty set is EINVAL.
        _ => {}
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_shown_as_ranges() {
        let shown = |cpus: &[u32]| HostCpus(cpus.to_vec()).to_string();
        assert_eq!(shown(&[0, 1, 2, 3, 6, 8, 9]), "0-3,6,8-9");
        assert_eq!(shown(&[5]), "5");
        assert_eq!(shown(&[u32::MAX]), "4294967295");
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        let allowed = HostCpus::allowed().unwrap();
        check(&allowed.0).unwrap();
        let said = check(&[allowed.0[0], 4096]).unwrap_err().to_string();
        assert!(said.contains("host CPU 4096") && said.contains(&allowed.to_string()), "{said}");
    }

    #[test]
    fn a_pinned_thread_stays_and_its_starter_does_not() {
        let before = HostCpus::allowed().unwrap();
        let cpu = *before.0.last().unwrap();
        let there = std::thread::spawn(move || pin(cpu).map(|()| HostCpus::allowed().unwrap()));
        assert_eq!(there.join().unwrap().unwrap(), HostCpus(vec![cpu]));
        assert_eq!(HostCpus::allowed().unwrap(), before);
        assert_eq!(pin(u32::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}

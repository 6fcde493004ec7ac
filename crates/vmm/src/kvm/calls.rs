//! The one gate through which every KVM call passes.

use std::fmt;
use std::io;
use std::sync::Arc;

use strata_memory::Mapping;

use super::strace;

/// A system call that KVM (or the mapping of its memory) refused.
///
/// `call` is the request's name in the kernel's documentation (`Documentation/virt/kvm/api.rst`).
#[derive(Debug, thiserror::Error)]
#[error("{call} failed")]
pub struct CallError {
    /// The request, for instance `KVM_CREATE_VCPU`.
    pub call: &'static str,
    /// What the kernel answered.
    pub source: io::Error,
}

/// One finished call, as an observer sees it.
#[derive(Debug)]
pub struct CallRecord {
    /// The request's name, for instance `KVM_SET_SREGS` or `mmap`.
    pub name: &'static str,
    /// The arguments in strace's notation, without the parentheses.
    pub arguments: String,
    /// What came back: the kernel's value, or its `errno`.
    pub result: Result<i64, i32>,
}

/// Watches the calls made to KVM, and may make them fail.
pub trait Probe: Send + Sync {
    /// Runs before the call `name`; an error is an `errno` that the call fails with, without being made.
    fn before(&self, name: &'static str) -> Result<(), i32> {
        let _ = name;
        Ok(())
    }

    /// Runs after the call.
    fn after(&self, record: &CallRecord);
}

/// The gate: makes calls, and shows them to the [`Probe`] if there is one.
///
/// Without a probe a call costs one well-predicted branch more than making it directly.
#[derive(Clone, Default)]
pub struct Calls(Option<Arc<dyn Probe>>);

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Calls(watched)" } else { "Calls" })
    }
}

impl Calls {
    /// A gate that nobody watches.
    pub fn new() -> Self {
        Self(None)
    }

    /// A gate that `probe` watches.
    pub fn watched_by(probe: Arc<dyn Probe>) -> Self {
        Self(Some(probe))
    }

    /// Makes one call. `describe` gives its arguments and its result in strace's notation; it is run only when
    /// somebody watches, with `None` where the call failed.
    #[inline]
    pub(super) fn make<T>(
        &self,
        name: &'static str,
        call: impl FnOnce() -> Result<T, kvm_ioctls::Error>,
        describe: impl FnOnce(Option<&T>) -> (String, i64),
    ) -> Result<T, CallError> {
        match &self.0 {
            None => call().map_err(|e| CallError { call: name, source: e.into() }),
            Some(probe) => Self::make_watched(&**probe, name, call, describe),
        }
    }

    /// Apart, so that a call which nobody watches is little more than itself.
    #[cold]
    fn make_watched<T>(
        probe: &dyn Probe,
        name: &'static str,
        call: impl FnOnce() -> Result<T, kvm_ioctls::Error>,
        describe: impl FnOnce(Option<&T>) -> (String, i64),
    ) -> Result<T, CallError> {
        let result = match probe.before(name) {
            Ok(()) => call(),
            Err(errno) => Err(kvm_ioctls::Error::new(errno)),
        };
        let (arguments, value) = describe(result.as_ref().ok());
        let shown = result.as_ref().map(|_| value).map_err(|e| e.errno());
        probe.after(&CallRecord { name, arguments, result: shown });
        result.map_err(|e| CallError { call: name, source: e.into() })
    }

    /// Shows a mapping that was made elsewhere: guest RAM's are made by `strata-memory`.
    pub fn show_mapping(&self, mapping: &Mapping) {
        self.show("mmap", || (strace::mmap(mapping), mapping.result.cast_signed()));
    }

    /// Shows a call that was made elsewhere.
    pub(super) fn show(&self, name: &'static str, describe: impl FnOnce() -> (String, i64)) {
        if let Some(probe) = &self.0 {
            let (arguments, value) = describe();
            probe.after(&CallRecord { name, arguments, result: Ok(value) });
        }
    }
}

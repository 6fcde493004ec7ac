//! A rig for those who may not need one.

use std::cell::OnceCell;

use super::{Machine, Rig};
use crate::host::Kvm;
use crate::process::chain;
use crate::tools::Tools;

/// A rig that is set up when it is first asked for: that may install programs and download a kernel.
#[derive(Debug)]
pub(crate) struct Lazy {
    machine: Machine,
    may_install: bool,
    made: OnceCell<Result<Rig, String>>,
}

impl Lazy {
    pub(crate) fn new(machine: Machine, may_install: bool) -> Self {
        Self { machine, may_install, made: OnceCell::new() }
    }

    /// One that can't be had, for this reason.
    #[cfg(test)]
    pub(crate) fn none(why: &str) -> Self {
        Self { made: Err(why.to_owned()).into(), ..Self::new(Machine::default(), false) }
    }

    /// The rig, or why there is none; asked again, the answer stays the same.
    pub(crate) fn get(&self) -> Result<&Rig, String> {
        let make = || {
            let tools = Tools::of_this_process(self.may_install);
            Rig::set_up(self.machine, None, &tools).map_err(|error| chain(&error))
        };
        self.made.get_or_init(make).as_ref().map_err(String::clone)
    }

    /// What its KVM can do.
    pub(crate) fn kvm(&self) -> Result<Kvm, String> {
        Ok(self.get()?.kvm())
    }
}

//! Interrupt lines that devices hold before there is a machine.

use std::fmt;
use std::sync::OnceLock;

use strata_devices::IrqLine;

/// A line that is connected when the machine is built. An edge before that is lost, as on a wire that ends nowhere.
#[derive(Default)]
pub(super) struct LateLine(OnceLock<Box<dyn IrqLine>>);

impl LateLine {
    /// Connects the line; a second connection changes nothing.
    pub(super) fn connect(&self, line: Box<dyn IrqLine>) {
        let _ = self.0.set(line);
    }
}

impl IrqLine for LateLine {
    fn pulse(&self) {
        if let Some(line) = self.0.get() {
            line.pulse();
        }
    }
}

impl fmt::Debug for LateLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "LateLine(connected)" } else { "LateLine" })
    }
}

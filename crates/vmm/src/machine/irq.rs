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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    #[derive(Default)]
    struct Edges(AtomicU32);

    impl IrqLine for Edges {
        fn pulse(&self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn edges_pass_once_the_line_is_connected() {
        let (line, first, second) = (LateLine::default(), Arc::<Edges>::default(), Arc::<Edges>::default());
        line.pulse();
        line.connect(Box::new(Arc::clone(&first)));
        line.connect(Box::new(Arc::clone(&second)));
        line.pulse();
        line.pulse();
        assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (2, 0));
    }
}

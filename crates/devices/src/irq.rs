//! Interrupts, as a device sees them.

use std::sync::Arc;

/// A wire to an interrupt controller.
///
/// The VMM implements it, with an irqfd for instance. A device cannot do anything about a line that fails, so
/// it is not told: an implementation that can fail deals with it.
pub trait IrqLine: Send + Sync {
    /// Raises and lowers the line: one edge.
    fn pulse(&self);
}

impl<T: IrqLine + ?Sized> IrqLine for Arc<T> {
    fn pulse(&self) {
        (**self).pulse();
    }
}

/// A wire that leads nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIrq;

impl IrqLine for NoIrq {
    fn pulse(&self) {}
}

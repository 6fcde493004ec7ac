//! Asking a guest to shut down.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use strata_devices::AcpiRegisters;

/// A machine's power button: what it does, the guest decides. Clones are the same button.
#[derive(Debug, Clone, Default)]
pub struct PowerButton(Arc<OnceLock<Arc<Mutex<AcpiRegisters>>>>);

impl PowerButton {
    /// Presses it. `false` if the machine has none, or is not built yet.
    ///
    /// A guest that listens begins to shut down in good order; one that does not goes on as before.
    pub fn press(&self) -> bool {
        let Some(registers) = self.0.get() else { return false };
        registers.lock().unwrap_or_else(PoisonError::into_inner).power_button();
        true
    }

    /// Whether there is somebody to hear it.
    pub(super) fn is_connected(&self) -> bool {
        self.0.get().is_some()
    }

    /// Connects the button; a second connection changes nothing.
    pub(super) fn connect(&self, registers: Arc<Mutex<AcpiRegisters>>) {
        let _ = self.0.set(registers);
    }
}

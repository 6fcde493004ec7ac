//! Saving a device and bringing it back.

/// A device whose state can be taken and put back.
///
/// A saved state is plain data of its own type, apart from the running device, with its version in its name:
/// a later version of the device gets a new type and keeps reading the old one.
pub trait Saveable {
    /// The saved state.
    type State: Clone + PartialEq + std::fmt::Debug;

    /// Takes the state; the device goes on unchanged.
    fn save(&self) -> Self::State;

    /// Puts a state back. Where the device leads to (lines, outputs) stays as it is.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] for a state that no device can have been in; the device is as before.
    fn restore(&mut self, state: &Self::State) -> Result<(), RestoreError>;
}

/// Why a saved state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A queue holds more than the device can.
    #[error("the saved {device} holds {len} bytes of {what}, but has room for {room}: was the file changed?")]
    TooLong {
        /// The device.
        device: &'static str,
        /// Which queue.
        what: &'static str,
        /// How many are there.
        len: usize,
        /// How many fit.
        room: usize,
    },
}

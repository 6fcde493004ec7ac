//! The 16550 serial port, its output and its input.

mod input;
mod port;
mod state;

pub use input::{InputEnd, SerialInput};
pub use port::Serial;
pub use state::SerialV1;

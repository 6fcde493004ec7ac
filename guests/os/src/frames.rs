//! Physical memory, frame by frame: those above the program, as the memory map has them.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use strata_guest::machine::{self, Region};

/// Bytes in a frame.
pub const SIZE: u64 = 4096;

/// The machine's frames.
pub static FRAMES: Frames = Frames::new();

/// Hands out frames, each once.
pub struct Frames {
    /// No frame below has not been handed out.
    next: AtomicU64,
}

impl Frames {
    /// All frames are free.
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0) }
    }

    /// The physical address of a frame that nobody has, or nothing when there are no more.
    pub fn allocate(&self) -> Option<u64> {
        let from = self.next.load(Relaxed).max(machine::image_end());
        let frame = first_from(machine::memory_map(), from)?;
        self.next.store(frame + SIZE, Relaxed);
        Some(frame)
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

/// The first whole frame in usable memory that begins at `from` or above.
pub fn first_from(map: &[Region], from: u64) -> Option<u64> {
    let in_region = |region: &Region| {
        let frame = region.start.max(from).checked_next_multiple_of(SIZE)?;
        (frame + SIZE <= region.end()).then_some(frame)
    };
    map.iter().filter(|region| region.is_usable()).filter_map(in_region).min()
}

#[cfg(test)]
mod tests {
    use super::{SIZE, first_from};
    use strata_guest::machine::{self, Region};

    strata_guest::tests! {
        fn a_frame_is_whole() {
            let usable = |region: &&Region| region.is_usable();
            let start = machine::memory_map().iter().find(usable).unwrap().start;
            assert!(first_from(machine::memory_map(), start + 1).unwrap() >= start + SIZE);
        }
    }
}

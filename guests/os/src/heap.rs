//! The heap: a bump allocator. What was allocated last can grow in place; the rest is free when all of it is.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes in the heap.
pub const SIZE: usize = 1 << 20;

#[global_allocator]
static HEAP: Heap =
    Heap { space: Space(UnsafeCell::new([0; SIZE])), used: AtomicUsize::new(0), live: AtomicUsize::new(0) };

struct Heap {
    space: Space,
    used: AtomicUsize,
    live: AtomicUsize,
}

#[repr(align(4096))]
struct Space(UnsafeCell<[u8; SIZE]>);

// SAFETY: there is one processor, and interrupt handlers here do not allocate.
unsafe impl Sync for Space {}

// SAFETY: each block is in the space, aligned, and given to one owner until all have been given back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.used.load(Relaxed).next_multiple_of(layout.align());
        let end = start.saturating_add(layout.size());
        if end > SIZE || layout.align() > 4096 {
            return ptr::null_mut();
        }
        self.used.store(end, Relaxed);
        self.live.fetch_add(1, Relaxed);
        // SAFETY: inside the space.
        unsafe { self.space.0.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
        if self.live.fetch_sub(1, Relaxed) == 1 {
            self.used.store(0, Relaxed);
        }
    }
}

/// Bytes that cannot be allocated now.
pub fn used() -> usize {
    HEAP.used.load(Relaxed)
}

//! Data that goes through a console allocates nothing.

#![allow(unsafe_code, reason = "an allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use strata_backends::console::Stream;
use strata_devices::virtio::console::{Console, Port};
use strata_devices::virtio::testing::{Bench, FREE};

/// The system's, which is asked how often.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps to the same rules.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; it came from there.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// The only test here: others would be counted too.
#[test]
fn data_allocates_nothing() {
    let ((input, mut keyboard), (mut screen, output)) = (io::pipe().unwrap(), io::pipe().unwrap());
    let device = Console::new(vec![Port::console(Stream::new(Some(input.into()), output.into()))]).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    bench.start(0);
    let mut read = [0; 3000];
    for round in 0..100 {
        // The guest's side and the test's allocate; what lies between does not, but for the first time.
        bench.queue(0).add(&[], &[(FREE, 10), (FREE + 100, 3000)]);
        bench.queue(1).add(&[(FREE, 1000), (FREE + 5000, 2000)], &[]);
        keyboard.write_all(&[7; 3000]).unwrap();
        bench.notify(0);
        bench.notify(1);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        bench.run();
        let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert!(round < 2 || allocated == 0, "{allocated} allocations in round {round}");
        assert!(bench.queue(0).used().is_some_and(|(_, len)| len == 3000));
        assert!(bench.queue(1).used().is_some());
        screen.read_exact(&mut read).unwrap();
    }
}

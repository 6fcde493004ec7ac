//! Ten tests. One fails, to be seen failing.

#![no_std]
#![no_main]

extern crate alloc;

strata_guest::test_main!();

mod machine {
    use strata_guest::{machine, test};

    strata_guest::tests! {
        fn the_test_that_runs_is_known() {
            assert_eq!(test::running().unwrap().name(), "machine::the_test_that_runs_is_known");
        }

        fn there_is_memory_above_the_program() {
            let end = machine::image_end();
            assert!(machine::memory_map().iter().any(|region| region.is_usable() && region.end() > end));
        }
    }
}

mod frames {
    use tiny_os::frames::{FRAMES, SIZE};

    strata_guest::tests! {
        fn two_frames_are_not_the_same() {
            let (a, b) = (FRAMES.allocate().unwrap(), FRAMES.allocate().unwrap());
            assert!(a % SIZE == 0 && b % SIZE == 0 && a != b);
        }

        fn a_frame_can_be_written() {
            let frame = FRAMES.allocate().unwrap() as *mut u64;
            // SAFETY: the frame is ours, and mapped at its address.
            let read = unsafe {
                frame.write_volatile(0x1234_5678_9abc_def0);
                frame.read_volatile()
            };
            assert_eq!(read, 0x1234_5678_9abc_def0);
        }
    }
}

mod heap {
    use alloc::vec;
    use alloc::vec::Vec;
    use tiny_os::heap;

    strata_guest::tests! {
        fn what_is_freed_can_be_had_again() {
            for _ in 0..3 {
                drop(Vec::<u8>::with_capacity(heap::SIZE / 2));
            }
            assert_eq!(heap::used(), 0);
        }

        fn values_keep_apart() {
            let (a, b) = (vec![1_u32, 2], vec![3_u32]);
            assert_eq!((a.as_slice(), b.as_slice()), (&[1, 2][..], &[3][..]));
        }

        #[should_panic(expected = "allocation of 2097152 bytes failed")]
        fn too_much_is_refused() {
            core::hint::black_box(vec![0_u8; 2 * heap::SIZE]);
        }
    }
}

mod interrupts {
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use strata_guest::interrupts::{Frame, set_handler};
    use tiny_os::timer;

    strata_guest::tests! {
        fn the_clock_ticks() {
            timer::wait_for(2);
        }

        fn an_exception_can_be_handled() {
            static SEEN: AtomicU64 = AtomicU64::new(0);
            fn skip(frame: &mut Frame) {
                SEEN.store(frame.vector, Relaxed);
                frame.rip += 2; // the length of ud2
            }
            set_handler(6, skip);
            // SAFETY: the handler goes on behind it.
            unsafe { core::arch::asm!("ud2") };
            assert_eq!(SEEN.load(Relaxed), 6);
        }
    }
}

strata_guest::tests! {
    fn fails_to_be_seen_failing() {
        strata_guest::println!("two and two are counted");
        assert_eq!(2 + 2, 5, "this test fails on purpose");
    }
}

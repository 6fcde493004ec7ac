//! Ends that a test should not come to, each reported for what it is.

#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;

strata_guest::test_main!();

strata_guest::tests! {
    fn triple_fault() {
        #[repr(C, packed)]
        struct Nothing(u16, u64);
        // SAFETY: it is not: without an interrupt table, an exception is the end.
        unsafe { asm!("lidt [{}]", "ud2", in(reg) &Nothing(0, 0)) };
    }

    fn hang() {
        loop {
            core::hint::spin_loop();
        }
    }

    fn halt() {
        // SAFETY: it is not meant to go on.
        unsafe { asm!("cli", "hlt") };
    }

    fn null_pointer() {
        let nowhere: *mut u8 = black_box(core::ptr::null_mut());
        // SAFETY: it is not: the first page is not mapped.
        unsafe { asm!("mov byte ptr [{}], 1", in(reg) nowhere) };
    }

    fn stack_overflow() {
        deeper(0);
    }

    fn unhandled_exception() {
        // SAFETY: it is not meant to go on.
        unsafe { asm!("ud2") };
    }

    #[should_panic]
    fn does_not_panic() {}

    #[should_panic(expected = "something")]
    fn panics_otherwise() {
        panic!("nothing");
    }

    #[ignore = "to be seen ignored"]
    fn left_out() {}
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn deeper(depth: u64) -> u64 {
    let room = black_box([depth; 1024]);
    deeper(depth + 1) + room[0]
}

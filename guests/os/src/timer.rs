//! The clock: the local APIC's timer (SDM vol. 3A 12.5.4), which ticks by an interrupt.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use strata_guest::interrupts::{self, Frame};

/// The interrupt of the timer, and the one that comes when another has gone away.
const TIMER: u8 = 0x40;
const SPURIOUS: u8 = 0xff;

/// Where the local APIC's registers are, as bytes from its page (SDM vol. 3A, table 12-1).
const APIC: usize = 0xfee0_0000;
const END_OF_INTERRUPT: usize = 0xb0;
const SPURIOUS_VECTOR: usize = 0xf0;
const TIMER_VECTOR: usize = 0x320;
const INITIAL_COUNT: usize = 0x380;
const DIVIDE: usize = 0x3e0;

/// The APIC is on.
const ENABLED: u32 = 0x100;
/// The timer starts again by itself.
const PERIODIC: u32 = 0x2_0000;
/// Counts in a tick.
const TICK: u32 = 1_000_000;

static TICKS: AtomicU32 = AtomicU32::new(0);

fn write(register: usize, value: u32) {
    // SAFETY: a register of the APIC, which the start's page tables map at its address.
    unsafe { ((APIC + register) as *mut u32).write_volatile(value) };
}

/// Waits until the clock, which the first call starts, has ticked so often.
pub fn wait_for(ticks: u32) {
    if TICKS.load(Relaxed) == 0 {
        interrupts::set_handler(TIMER, tick);
        interrupts::set_handler(SPURIOUS, |_| {});
        write(SPURIOUS_VECTOR, ENABLED | u32::from(SPURIOUS));
        write(DIVIDE, 0b1011); // by 1
        write(TIMER_VECTOR, PERIODIC | u32::from(TIMER));
        write(INITIAL_COUNT, TICK);
    }
    while TICKS.load(Relaxed) < ticks {
        interrupts::wait();
    }
}

fn tick(_: &mut Frame) {
    TICKS.fetch_add(1, Relaxed);
    write(END_OF_INTERRUPT, 0);
}

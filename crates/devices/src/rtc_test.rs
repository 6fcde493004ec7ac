use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::conformance;

/// 2000-02-29 23:59:58, a Tuesday.
const LEAP_DAY: i64 = 951_868_798;

/// An RTC whose clock the test moves.
fn rtc(now: i64) -> (Cmos, Arc<AtomicI64>) {
    let clock = Arc::new(AtomicI64::new(now));
    let its = Arc::clone(&clock);
    (Cmos::with_clock(move || its.load(Relaxed)), clock)
}

fn get(cmos: &mut Cmos, register: u8) -> u8 {
    assert_eq!(cmos.write(INDEX, &[register]), Effect::None);
    crate::testing::inb(cmos, DATA)
}

fn set(cmos: &mut Cmos, register: u8, value: u8) {
    // Index and data in one access, as `out 0x70, ax` does.
    assert_eq!(cmos.write(INDEX, &[register, value]), Effect::None);
}

/// Century, year, month, day, weekday, hours, minutes, seconds.
fn time(cmos: &mut Cmos) -> [u8; 8] {
    [0x32, 9, 8, 7, 6, 4, 2, 0].map(|register| get(cmos, register))
}

#[test]
fn it_shows_the_clocks_time() {
    let (mut cmos, clock) = rtc(LEAP_DAY);
    assert_eq!(time(&mut cmos), [0x20, 0x00, 0x02, 0x29, 3, 0x23, 0x59, 0x58]);
    clock.fetch_add(2, Relaxed);
    assert_eq!(time(&mut cmos), [0x20, 0x00, 0x03, 0x01, 4, 0x00, 0x00, 0x00]);
}

#[test]
fn the_format_is_the_guests_choice() {
    let (mut cmos, _) = rtc(LEAP_DAY);
    set(&mut cmos, 0x0b, 0b100);
    assert_eq!(time(&mut cmos), [20, 0, 2, 29, 3, 128 + 11, 59, 58]);
    set(&mut cmos, 0x0b, 0b000);
    assert_eq!(time(&mut cmos), [0x20, 0x00, 0x02, 0x29, 3, 0x91, 0x59, 0x58]);
}

#[test]
fn status_registers_have_the_pcs_values() {
    let (mut cmos, _) = rtc(LEAP_DAY);
    assert_eq!([0x0a, 0x0b, 0x0c, 0x0d].map(|register| get(&mut cmos, register)), [0x26, 0x02, 0x00, 0x80]);
    set(&mut cmos, 0x0a, 0xff);
    assert_eq!(get(&mut cmos, 0x0a), 0x7f, "an update is never in progress");
    set(&mut cmos, 0x0d, 0x00);
    assert_eq!(get(&mut cmos, 0x0d), 0x80, "the battery is good");
}

/// As Linux' `mc146818_set_time`: stop, write, go on.
#[test]
fn a_guest_sets_the_time_with_set() {
    let (mut cmos, clock) = rtc(LEAP_DAY);
    set(&mut cmos, 0x0b, 0x82);
    clock.fetch_add(1000, Relaxed);
    assert_eq!(get(&mut cmos, 0), 0x58, "it stands still");
    let new = [(0x32, 0x20), (9, 0x26), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x59)];
    for (register, value) in new {
        set(&mut cmos, register, value);
        assert_eq!(get(&mut cmos, register), value);
    }
    set(&mut cmos, 0x0b, 0x02);
    assert_eq!(time(&mut cmos), [0x20, 0x26, 0x12, 0x31, 5, 0x23, 0x59, 0x59]);
    clock.fetch_add(1, Relaxed);
    assert_eq!(time(&mut cmos), [0x20, 0x27, 0x01, 0x01, 6, 0x00, 0x00, 0x00]);
}

#[test]
fn a_guest_sets_one_register_while_it_runs() {
    let (mut cmos, clock) = rtc(LEAP_DAY);
    set(&mut cmos, 4, 0x07);
    clock.fetch_add(1, Relaxed);
    assert_eq!(time(&mut cmos), [0x20, 0x00, 0x02, 0x29, 3, 0x07, 0x59, 0x59]);
    set(&mut cmos, 9, 0x01);
    assert_eq!(time(&mut cmos)[..5], [0x20, 0x01, 0x03, 0x01, 5], "2001 has no 29 February");
}

#[test]
fn the_update_flag_tells_each_second_once() {
    let (mut cmos, clock) = rtc(LEAP_DAY);
    assert_eq!(get(&mut cmos, 0x0c), 0x00);
    clock.fetch_add(1, Relaxed);
    assert_eq!([get(&mut cmos, 0x0c), get(&mut cmos, 0x0c)], [0x10, 0x00]);
    set(&mut cmos, 0x0b, 0x12);
    clock.fetch_add(5, Relaxed);
    assert_eq!([get(&mut cmos, 0x0c), get(&mut cmos, 0x0c)], [0x90, 0x00]);
    set(&mut cmos, 0x0b, 0x82);
    clock.fetch_add(1, Relaxed);
    assert_eq!(get(&mut cmos, 0x0c), 0x00, "no updates while it stands still");
}

#[test]
fn memory_is_memory() {
    let (mut cmos, _) = rtc(LEAP_DAY);
    for register in (0x0e..0x80).filter(|&register| register != 0x32).chain([1, 3, 5]) {
        set(&mut cmos, register, !register);
    }
    for register in (0x0e..0x80).filter(|&register| register != 0x32).chain([1, 3, 5]) {
        assert_eq!(get(&mut cmos, register), !register);
    }
    assert_eq!(get(&mut cmos, 0x80 | 0x7f), !0x7f, "the NMI mask is no part of the index");
    assert_eq!(crate::testing::inb(&mut cmos, INDEX), 0xff, "and cannot be read");
}

#[test]
fn firmware_finds_the_memory_size() {
    let wide = |cmos: &mut Cmos, first, len| {
        (first..first + len).rev().fold(0u32, |value, register| value << 8 | u32::from(get(cmos, register)))
    };
    let sizes = |below, from| {
        let mut cmos = rtc(0).0.with_memory(below, from);
        [(0x15, 2), (0x17, 2), (0x30, 2), (0x34, 2), (0x5b, 3)]
            .map(|(first, len)| wide(&mut cmos, first, len))
    };
    assert_eq!(sizes(64 << 10, 0), [64, 0, 0, 0, 0]);
    assert_eq!(sizes(16 << 20, 0), [640, 15 << 10, 15 << 10, 0, 0]);
    assert_eq!(sizes(3 << 30, 5 << 30), [640, 0xffff, 0xffff, (3 << 14) - 256, 5 << 14]);
    assert_eq!(sizes(u64::MAX, u64::MAX), [640, 0xffff, 0xffff, 0xffff, 0xff_ffff]);
}

#[test]
fn the_hosts_clock_is_later_than_this_was_written() {
    assert!(SystemClock.unix_seconds() > 1_760_000_000);
    assert_eq!(get(&mut Cmos::new(), 0x32) & 0xf0, 0x20);
}

#[test]
fn it_conforms() {
    for binary in [0x02, 0x06] {
        let make = || {
            let (mut cmos, _) = rtc(LEAP_DAY);
            set(&mut cmos, 0x0b, binary);
            cmos
        };
        conformance::check("rtc", Cmos::LEN, || Mutex::new(make())).unwrap();
        conformance::check_saveable("rtc", Cmos::LEN, make).unwrap();
    }
}

proptest! {
    #![proptest_config(crate::testing::config())]

    /// Whatever a guest writes and whenever, what runs is a time: digits are digits, and every part is in its
    /// range.
    #[test]
    fn a_running_clock_shows_a_time(
        now: i64, writes in prop::collection::vec((0u8..0x40, any::<u8>(), 0i64..100_000), 0..40),
    ) {
        let (mut cmos, clock) = rtc(now);
        for (register, value, pause) in writes {
            set(&mut cmos, register, value);
            clock.store(clock.load(Relaxed).saturating_add(pause), Relaxed);
        }
        set(&mut cmos, 0x0b, 0x02);
        let [century, year, month, day, weekday, hour, minute, second] = time(&mut cmos);
        for byte in [century, year, month, day, weekday, hour, minute, second] {
            prop_assert!(byte >> 4 <= 9 && byte & 0xf <= 9, "{:#x}", byte);
        }
        prop_assert!((1..=0x12).contains(&month) && (1..=0x31).contains(&day) && (1..=7).contains(&weekday));
        prop_assert!(hour <= 0x23 && minute <= 0x59 && second <= 0x59);
    }
}

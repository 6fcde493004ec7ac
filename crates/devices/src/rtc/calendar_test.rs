use proptest::prelude::*;

use super::*;

fn at(year: i64, month: i64, day: i64) -> DateTime {
    DateTime { year, month, day, hour: 0, minute: 0, second: 0 }
}

const BCD: Format = Format { binary: false, hours24: true };

/// Counts day by day, with the leap-year rule as everybody knows it.
#[test]
fn every_day_of_a_thousand_years_is_right() {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut date, mut days) = (at(1970, 1, 1), 0);
    while date.year < if cfg!(miri) { 1973 } else { 2970 } {
        assert_eq!(DateTime::from_unix(days * DAY_SECONDS), date);
        assert_eq!(DateTime::from_unix(days * DAY_SECONDS + 86_399).day, date.day);
        assert_eq!(date.to_unix(), days * DAY_SECONDS);
        assert_eq!(date.weekday(), (days + 4) % 7 + 1);
        let length = match date.month {
            2 if is_leap(date.year) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        days += 1;
        date.day += 1;
        if date.day > length {
            (date.day, date.month) = (1, date.month + 1);
        }
        if date.month > 12 {
            (date.month, date.year) = (1, date.year + 1);
        }
    }
}

/// From `date -u -d .. +%s`.
#[test]
fn known_seconds() {
    for (seconds, year, month, day) in [
        (951_782_400, 2000, 2, 29),
        (1_078_012_800, 2004, 2, 29),
        (4_107_542_400, 2100, 3, 1),
        (-2_208_988_800, 1900, 1, 1),
        (-11_676_096_000, 1600, 1, 1),
        (-1, 1969, 12, 31),
    ] {
        let DateTime { year: y, month: m, day: d, .. } = DateTime::from_unix(seconds);
        assert_eq!((y, m, d), (year, month, day), "{seconds}");
    }
    let last = DateTime { year: 1969, month: 12, day: 31, hour: 23, minute: 59, second: 59 };
    assert_eq!(DateTime::from_unix(-1), last);
}

#[test]
fn dates_that_are_none_count_on() {
    assert_eq!(at(2023, 2, 29).to_unix(), at(2023, 3, 1).to_unix());
    assert_eq!(at(2023, 13, 1).to_unix(), at(2024, 1, 1).to_unix());
    assert_eq!(at(2023, 0, 1).to_unix(), at(2022, 12, 1).to_unix());
    assert_eq!(at(2023, 1, 0).to_unix(), at(2022, 12, 31).to_unix());
    assert_eq!(DateTime { hour: 24, ..at(2023, 12, 31) }.to_unix(), at(2024, 1, 1).to_unix());
}

#[test]
fn registers_as_in_the_data_sheet() {
    let time = DateTime { year: 1999, month: 12, day: 31, hour: 23, minute: 59, second: 8 };
    assert_eq!(time.encode(BCD), [0x08, 0x59, 0x23, 0x06, 0x31, 0x12, 0x99, 0x19]);
    let binary = Format { binary: true, hours24: false };
    assert_eq!(time.encode(binary), [8, 59, 128 + 11, 6, 31, 12, 99, 19]);
    let half_days = Format { binary: false, hours24: false };
    let hour = |hour| DateTime { hour, ..time }.encode(half_days)[2];
    assert_eq!([0, 1, 11, 12, 13, 23].map(hour), [0x12, 0x01, 0x11, 0x92, 0x81, 0x91]);
}

proptest! {
    #![proptest_config(crate::testing::config())]

    #[test]
    fn no_second_is_lost(seconds in -100_000_000_000i64..300_000_000_000) {
        let time = DateTime::from_unix(seconds);
        prop_assert!((1..=12).contains(&time.month) && (1..=31).contains(&time.day), "{:?}", time);
        prop_assert_eq!(time.to_unix(), seconds);
    }

    /// Within the century that registers can tell, and in every format.
    #[test]
    fn registers_hold_all_of_it(
        seconds in -62_135_596_800i64..253_402_300_800, binary: bool, hours24: bool,
    ) {
        let (time, format) = (DateTime::from_unix(seconds), Format { binary, hours24 });
        let registers = time.encode(format);
        prop_assert_eq!(DateTime::decode(registers, format), time);
        prop_assert!(binary || registers.iter().all(|byte| byte & 0xf <= 9));
    }

    #[test]
    fn anything_can_be_counted(seconds: i64, registers: [u8; 8], binary: bool, hours24: bool) {
        let _ = DateTime::from_unix(seconds).encode(BCD);
        let _ = DateTime::decode(registers, Format { binary, hours24 }).to_unix();
    }
}

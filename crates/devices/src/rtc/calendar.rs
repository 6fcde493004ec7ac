//! Seconds since 1970 to calendar date and time, to the registers of an RTC, and back.

/// Days of the Gregorian calendar's 400-year cycle: 400 years, 97 of them leap years.
const CYCLE_DAYS: i64 = 400 * 365 + 97;
/// Days from 0000-03-01 to 1970-01-01: 1970 years less the 59 days before the first March, with 478 leap
/// days.
const EPOCH: i64 = 1970 * 365 - 59 + 478 - 1;
const DAY_SECONDS: i64 = 86_400;

/// A second of the proleptic Gregorian calendar, UTC. Fields may be out of range, as a guest may write them:
/// [`DateTime::to_unix`] counts on, so that 31 April is 1 May.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTime {
    pub(super) year: i64,
    /// From 1.
    pub(super) month: i64,
    /// From 1.
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
}

/// How time registers hold numbers (register B of the MC146818A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    /// Binary, not two BCD digits.
    pub(super) binary: bool,
    /// Hours 0 to 23; otherwise 1 to 12, with bit 7 for the afternoon.
    pub(super) hours24: bool,
}

/// The afternoon's bit in the hours register.
const PM: u8 = 1 << 7;

impl Format {
    /// `value`, 0 to 99.
    fn encode(self, value: i64) -> u8 {
        let value = u8::try_from(value).unwrap_or(0);
        if self.binary { value } else { ((value / 10) << 4) | (value % 10) }
    }

    /// The number in a register. Digits above 9 count as what they are, up to 15.
    fn decode(self, register: u8) -> i64 {
        i64::from(if self.binary { register } else { (register >> 4) * 10 + (register & 0xf) })
    }

    fn encode_hour(self, hour: i64) -> u8 {
        if self.hours24 {
            return self.encode(hour);
        }
        let afternoon = if hour >= 12 { PM } else { 0 };
        // 12, 1, 2 .. 11: the twelfth hour comes first.
        self.encode((hour + 11) % 12 + 1) | afternoon
    }

    fn decode_hour(self, register: u8) -> i64 {
        if self.hours24 {
            return self.decode(register);
        }
        let afternoon = if register & PM != 0 { 12 } else { 0 };
        self.decode(register & !PM) % 12 + afternoon
    }
}

/// Days from 0000-03-01 to the first of March of `year`. Counted from March, a leap day is its year's last
/// day, and nothing after it shifts.
fn days_to_march(year: i64) -> i64 {
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400)
}

/// Days from the first of March to the first of the month that comes `months` (0 to 11) after it. The lengths
/// 31, 30, 31, 30, 31 repeat every five months, which have 153 days.
fn days_from_march(months: i64) -> i64 {
    (153 * months + 2) / 5
}

impl DateTime {
    pub(super) fn from_unix(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY_SECONDS) + EPOCH;
        let time = seconds.rem_euclid(DAY_SECONDS);
        // By the average length of a year the guess is right, or one off at the turn of the year.
        let mut year = (days * 400).div_euclid(CYCLE_DAYS);
        if days < days_to_march(year) {
            year -= 1;
        } else if days >= days_to_march(year + 1) {
            year += 1;
        }
        let day_of_year = days - days_to_march(year);
        let months = (5 * day_of_year + 2) / 153;
        let (month, next_year) = if months < 10 { (months + 3, 0) } else { (months - 9, 1) };
        Self {
            year: year + next_year,
            month,
            day: day_of_year - days_from_march(months) + 1,
            hour: time / 3600,
            minute: time / 60 % 60,
            second: time % 60,
        }
    }

    pub(super) fn to_unix(self) -> i64 {
        let Self { year, month, day, hour, minute, second } = self;
        // Months since March of the year 0.
        let months = year * 12 + month - 3;
        let (year, months) = (months.div_euclid(12), months.rem_euclid(12));
        let days = days_to_march(year) + days_from_march(months) + day - 1 - EPOCH;
        days * DAY_SECONDS + hour * 3600 + minute * 60 + second
    }

    /// The day of the week, 1 for Sunday to 7 for Saturday.
    fn weekday(self) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.to_unix().div_euclid(DAY_SECONDS) + 4).rem_euclid(7) + 1
    }

    /// Seconds, minutes, hours, weekday, day, month, year of the century, century.
    pub(super) fn encode(self, format: Format) -> [u8; 8] {
        [
            format.encode(self.second),
            format.encode(self.minute),
            format.encode_hour(self.hour),
            format.encode(self.weekday()),
            format.encode(self.day),
            format.encode(self.month),
            format.encode(self.year.rem_euclid(100)),
            format.encode(self.year.div_euclid(100).rem_euclid(100)),
        ]
    }

    /// The way back from [`encode`](Self::encode); the weekday does not matter.
    pub(super) fn decode(registers: [u8; 8], format: Format) -> Self {
        let [second, minute, hour, _, day, month, year, century] = registers;
        Self {
            year: format.decode(century) * 100 + format.decode(year),
            month: format.decode(month),
            day: format.decode(day),
            hour: format.decode_hour(hour),
            minute: format.decode(minute),
            second: format.decode(second),
        }
    }
}

#[cfg(test)]
#[path = "calendar_test.rs"]
mod tests;

//! A histogram of times in fixed memory.

/// Each power of two is cut into this many buckets, so that a bucket is at most 1/16 of its times wide.
const PARTS: usize = 16;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Times of 2^40 ns (18 minutes) and more are in the last bucket.
const MAX_POWER: u32 = 40;
const BUCKETS: usize = PARTS + (MAX_POWER - PART_BITS) as usize * PARTS;

/// How often each time was measured: log-linear buckets of nanoseconds, 5 KiB. Minimum, maximum and sum are exact.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

/// Which bucket a time belongs to.
#[inline]
fn index(nanos: u64) -> usize {
    let power = nanos.checked_ilog2().unwrap_or(0);
    let Some(shift) = power.checked_sub(PART_BITS) else { return usize::try_from(nanos).unwrap_or(0) };
    let part = usize::try_from(nanos >> shift).unwrap_or(0) % PARTS;
    (PARTS + shift as usize * PARTS + part).min(BUCKETS - 1)
}

/// The first time of a bucket.
fn first(index: usize) -> u64 {
    match (index / PARTS).checked_sub(1) {
        None => index as u64,
        Some(shift) => ((PARTS + index % PARTS) as u64) << shift,
    }
}

impl Histogram {
    /// Counts a time.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        if let Some(bucket) = self.buckets.get_mut(index(nanos)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(nanos);
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    /// Counts all that the other has counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *bucket += more;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The shortest; 0 of none.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The longest.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The time below or at which `percent` of all are (at most 100), at most 1/16 off; 0 of none.
    pub fn percentile(&self, percent: u8) -> u64 {
        let rank = (u128::from(self.count) * u128::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                let middle = first(index).midpoint(first(index + 1).saturating_sub(1));
                return middle.clamp(self.min(), self.max);
            }
        }
        self.max
    }

    /// How many times there were in each power of two from the shortest to the longest: the first time of it, and the count.
    pub fn powers(&self) -> Vec<(u64, u64)> {
        let mut powers = Vec::new();
        for (index, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let power = first(index).checked_ilog2().unwrap_or(0);
            while let Some((last, _)) = powers.last()
                && *last < power
            {
                powers.push((last + 1, 0));
            }
            match powers.last_mut() {
                Some((_, sum)) => *sum += count,
                None => powers.push((power, *count)),
            }
        }
        powers.into_iter().map(|(power, count)| (1 << power, count)).collect()
    }
}

#[cfg(test)]
#[path = "histogram_test.rs"]
mod tests;

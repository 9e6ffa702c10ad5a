//! Statistics of one sample, as numpy computes them by default.

use std::collections::BTreeMap;

/// Values of which every one is kept. Beyond, percentiles come from a histogram.
pub const MOST_EXACT: usize = 10_000_000;

/// Values as they come: kept while they are few, counted in buckets beyond.
#[derive(Debug)]
pub struct Values {
    most: usize,
    kept: Vec<f64>,
    buckets: Option<Buckets>,
}

impl Default for Values {
    fn default() -> Self {
        Self::exact_to(MOST_EXACT)
    }
}

impl Values {
    /// Keeps every value up to `most` of them.
    pub fn exact_to(most: usize) -> Self {
        Self {
            most,
            kept: Vec::new(),
            buckets: None,
        }
    }

    /// What is not finite is left out.
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        if let Some(buckets) = &mut self.buckets {
            return buckets.push(value);
        }
        self.kept.push(value);
        if self.kept.len() > self.most {
            let mut buckets = Buckets::default();
            std::mem::take(&mut self.kept)
                .into_iter()
                .for_each(|value| buckets.push(value));
            self.buckets = Some(buckets);
        }
    }

    /// `None` when there is no value.
    pub fn sample(self) -> Option<Sample> {
        match self.buckets {
            None => Sample::new(self.kept),
            Some(buckets) => Some(Sample {
                mean: buckets.moments.mean,
                std: buckets.moments.std(),
                count: buckets.moments.count,
                min: buckets.min,
                max: buckets.max,
                ranks: Ranks::Buckets(buckets.counts),
            }),
        }
    }
}

impl Extend<f64> for Values {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

/// At least one finite value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    ranks: Ranks,
    count: usize,
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Ranks {
    Sorted(Vec<f64>),
    /// How many values lie in each bucket.
    Buckets(BTreeMap<u32, usize>),
}

impl Sample {
    /// `None` when there is no finite value.
    pub fn new(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let (mean, squares) = moments(&values)?;
        let std = (squares / values.len() as f64).sqrt();
        Some(Self {
            count: values.len(),
            mean,
            std,
            min: values[0],
            max: values[values.len() - 1],
            ranks: Ranks::Sorted(values),
        })
    }

    /// Values in the sample, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Population standard deviation (numpy's `ddof=0`).
    pub fn std(&self) -> f64 {
        self.std
    }

    pub fn min(&self) -> f64 {
        self.min
    }

    pub fn max(&self) -> f64 {
        self.max
    }

    /// Linear interpolation between the closest ranks (Hyndman and Fan's type 7).
    pub fn percentile(&self, percent: u32) -> f64 {
        let last = self.count - 1;
        let rank = last as f64 * f64::from(percent.min(WHOLE)) / f64::from(WHOLE);
        let below = rank.floor() as usize;
        let low = self.at(below);
        let high = self.at((below + 1).min(last));
        low + (high - low) * (rank - below as f64)
    }

    /// Part of a percentile by which it may be off: 0 while every value is kept.
    pub fn percentile_error(&self) -> f64 {
        match self.ranks {
            Ranks::Sorted(_) => 0.0,
            Ranks::Buckets(_) => BUCKET_ERROR,
        }
    }

    /// The value of a rank, from 0, which lies below `count`.
    pub fn at(&self, rank: usize) -> f64 {
        let counts = match &self.ranks {
            Ranks::Sorted(sorted) => return sorted[rank],
            Ranks::Buckets(counts) => counts,
        };
        let mut seen = 0;
        let bucket = counts.iter().find(|(_, count)| {
            seen += **count;
            seen > rank
        });
        bucket.map_or(self.max, |(&bucket, _)| {
            middle(bucket).clamp(self.min, self.max)
        })
    }
}

/// Bits of a value that tell its bucket from others: sign, exponent and the first 11 of the fraction, so
/// that a bucket is at most a part in 2^11 wide.
const DROPPED_BITS: u32 = 41;
/// Half a bucket.
const BUCKET_ERROR: f64 = 1.0 / 4096.0;
const SIGN: u64 = 1 << 63;

/// Counts by bucket: a few thousand numbers for values of any range that clocks give.
#[derive(Debug, Default)]
struct Buckets {
    counts: BTreeMap<u32, usize>,
    moments: Moments,
    min: f64,
    max: f64,
}

impl Buckets {
    fn push(&mut self, value: f64) {
        if self.moments.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.moments.push(value);
        *self.counts.entry(bucket(value)).or_default() += 1;
    }
}

/// In the order of the values.
fn bucket(value: f64) -> u32 {
    let bits = value.to_bits();
    let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    (ordered >> DROPPED_BITS) as u32
}

fn middle(bucket: u32) -> f64 {
    let ordered = (u64::from(bucket) << DROPPED_BITS) | (1 << (DROPPED_BITS - 1));
    f64::from_bits(match ordered & SIGN {
        0 => !ordered,
        _ => ordered & !SIGN,
    })
}

/// 100 percent.
const WHOLE: u32 = 100;

/// Fewest values from which a percentile exists: with fewer, it is the maximum in disguise.
pub fn fewest_for(percent: u32) -> usize {
    WHOLE.div_ceil(WHOLE - percent.min(WHOLE - 1)) as usize
}

/// Times the fewest values: enough for a percentile to be trusted.
const TRUSTED: usize = 10;

/// Whether a percentile of so many values says more than which values came by chance.
pub fn is_trusted(count: usize, percent: u32) -> bool {
    count >= TRUSTED * fewest_for(percent)
}

/// Mean, and sum of squared deviations from it, in one pass (Welford).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: usize,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn push(&mut self, value: f64) {
        self.count += 1;
        let deviation = value - self.mean;
        self.mean += deviation / self.count as f64;
        self.squares += deviation * (value - self.mean);
    }

    fn std(&self) -> f64 {
        (self.squares / self.count as f64).sqrt()
    }
}

/// Mean, and sum of squared deviations from it. `None` without values.
pub fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let mut moments = Moments::default();
    values.iter().for_each(|&value| moments.push(value));
    (moments.count > 0).then_some((moments.mean, moments.squares))
}

/// `None` when the quotient does not exist.
pub fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    let quotient = numerator / denominator;
    (denominator != 0.0 && quotient.is_finite()).then_some(quotient)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values over seven decades, the same each time.
    fn spread(count: u32) -> impl Iterator<Item = f64> {
        (0..count).map(|i| {
            let part = f64::from(i.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
            1e-6 * 10_f64.powf(7.0 * part)
        })
    }

    #[test]
    fn many_values_are_counted_in_buckets_within_the_stated_error() {
        let (mut few, mut many) = (Values::exact_to(50_000), Values::exact_to(1_000));
        few.extend(spread(50_000));
        many.extend(spread(50_000).chain([f64::NAN]));
        assert!(many.kept.capacity() == 0, "what is counted is not kept");
        let (few, many) = (few.sample().unwrap(), many.sample().unwrap());
        assert_eq!(few.percentile_error(), 0.0);
        let error = many.percentile_error();
        assert!(error > 0.0 && error < 3e-4);
        for percent in [0, 1, 25, 50, 90, 99, 100] {
            let (exact, found) = (few.percentile(percent), many.percentile(percent));
            let off = (found / exact - 1.0).abs();
            assert!(off <= error, "p{percent}: {found}, exactly {exact}");
        }
        // All but the percentiles stay exact.
        assert_eq!(
            (many.count(), many.min(), many.max()),
            (few.count(), few.min(), few.max())
        );
        assert!((many.mean() / few.mean() - 1.0).abs() < 1e-12);
        assert!((many.std() / few.std() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_limit_itself_is_exact() {
        let mut values = Values::exact_to(100);
        values.extend(spread(100));
        assert_eq!(values.sample(), Sample::new(spread(100).collect()));
    }

    #[test]
    fn buckets_lie_in_the_order_of_their_values() {
        let values = [-1e9, -1.0, -1e-9, 0.0, 1e-9, 0.5, 1.0, 1.001, 1e9];
        assert!(values.is_sorted_by_key(|&value| bucket(value)));
        for value in values {
            let off = (middle(bucket(value)) - value).abs();
            assert!(off <= BUCKET_ERROR * value.abs() + 1e-300, "{value}");
        }
        assert!(Values::default().sample().is_none());
    }
}

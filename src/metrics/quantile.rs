//! Statistics of one sample, as numpy computes them by default.

/// At least one finite value, sorted.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
    mean: f64,
    std: f64,
}

impl Sample {
    /// `None` when there is no finite value.
    pub fn new(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let (mean, squares) = moments(&values)?;
        let std = (squares / values.len() as f64).sqrt();
        Some(Self {
            sorted: values,
            mean,
            std,
        })
    }

    /// Values in the sample, at least 1.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Population standard deviation (numpy's `ddof=0`).
    pub fn std(&self) -> f64 {
        self.std
    }

    pub fn min(&self) -> f64 {
        self.sorted[0]
    }

    pub fn max(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    /// Linear interpolation between the closest ranks (Hyndman and Fan's type 7).
    pub fn percentile(&self, percent: u32) -> f64 {
        let last = self.sorted.len() - 1;
        let rank = last as f64 * f64::from(percent.min(WHOLE)) / f64::from(WHOLE);
        let below = rank.floor() as usize;
        let low = self.sorted[below];
        let high = self.sorted[(below + 1).min(last)];
        low + (high - low) * (rank - below as f64)
    }
}

/// 100 percent.
const WHOLE: u32 = 100;

/// Fewest values from which a percentile exists: with fewer, it is the maximum in disguise.
pub fn fewest_for(percent: u32) -> usize {
    WHOLE.div_ceil(WHOLE - percent.min(WHOLE - 1)) as usize
}

/// Mean, and sum of squared deviations from it, in one pass (Welford). `None` without values.
pub fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let mut mean = 0.0;
    let mut squares = 0.0;
    for (index, value) in values.iter().enumerate() {
        let deviation = value - mean;
        mean += deviation / (index + 1) as f64;
        squares += deviation * (value - mean);
    }
    (!values.is_empty()).then_some((mean, squares))
}

/// `None` when the quotient does not exist.
pub fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    let quotient = numerator / denominator;
    (denominator != 0.0 && quotient.is_finite()).then_some(quotient)
}

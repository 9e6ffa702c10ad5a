//! When requests arrive in an open loop.

use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Gamma};

#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    #[error("--request-rate is {0}, but it must be a positive number of requests a second")]
    Rate(f64),
    #[error("--burstiness is {0}, but it must be a positive number (1 is Poisson, below 1 bursts)")]
    Burstiness(f64),
}

/// Gaps drawn from a gamma distribution of mean `1 / rate` and shape `burstiness`, as vLLM's
/// client draws them: shape 1 is the exponential of a Poisson process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrivals {
    rate: f64,
    gaps: Gamma<f64>,
}

impl Arrivals {
    pub fn new(rate: f64, burstiness: f64) -> Result<Self, ArrivalError> {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(ArrivalError::Rate(rate));
        }
        let bursts = burstiness > 0.0 && burstiness.is_finite();
        let gaps = Gamma::new(burstiness, 1.0 / (rate * burstiness));
        match gaps {
            Ok(gaps) if bursts => Ok(Self { rate, gaps }),
            _ => Err(ArrivalError::Burstiness(burstiness)),
        }
    }

    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Arrival of one request after the other in seconds, without end; the first arrives at 0.
    pub fn times(&self, seed: u64) -> impl Iterator<Item = f64> + use<> {
        let mut rng = StdRng::seed_from_u64(seed);
        let gaps = self.gaps;
        std::iter::successors(Some(0.0), move |time| Some(time + gaps.sample(&mut rng)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and coefficient of variation of the gaps.
    fn gaps(burstiness: f64) -> (f64, f64) {
        let times = Arrivals::new(5.0, burstiness).unwrap().times(3);
        let times: Vec<f64> = times.take(20_001).collect();
        assert_eq!(times[0], 0.0);
        let gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_asked_rate_and_shape() {
        for burstiness in [0.25, 1.0, 4.0] {
            let (mean, variation) = gaps(burstiness);
            assert!((mean - 0.2).abs() < 0.01, "mean gap {mean}");
            // A gamma's coefficient of variation is 1 / sqrt(shape).
            let expected = 1.0 / f64::sqrt(burstiness);
            let error = (variation / expected - 1.0).abs();
            assert!(error < 0.05, "{variation} is not {expected}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let arrivals = Arrivals::new(2.0, 1.0).unwrap();
        let ten = |seed| arrivals.times(seed).take(10).collect::<Vec<f64>>();
        assert_eq!(ten(1), ten(1));
        assert_ne!(ten(1), ten(2));
    }

    #[test]
    fn impossible_rates_are_refused_by_value() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Arrivals::new(rate, 1.0).is_err());
        }
        let error = Arrivals::new(1.0, -2.0).unwrap_err().to_string();
        assert!(error.contains("-2"), "{error}");
    }
}

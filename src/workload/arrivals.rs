//! When requests arrive in an open loop.

use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Gamma};

use super::rate::{Course, Rate};

#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    #[error("--request-rate is {0}, but it must be a positive number of requests a second")]
    Rate(f64),
    #[error("--burstiness is {0}, but it must be a positive number (1 is Poisson, below 1 bursts)")]
    Burstiness(f64),
}

/// Gaps drawn from a gamma distribution of mean `1 / rate` and shape `burstiness`, as vLLM's
/// client draws them: shape 1 is the exponential of a Poisson process.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    rate: Rate,
    burstiness: f64,
    /// Of a changing rate in requests, which `course` turns into seconds.
    gaps: Gamma<f64>,
    course: Option<Course>,
}

impl Arrivals {
    pub fn new(rate: f64, burstiness: f64) -> Result<Self, ArrivalError> {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(ArrivalError::Rate(rate));
        }
        let bursts = burstiness > 0.0 && burstiness.is_finite();
        let gaps = Gamma::new(burstiness, 1.0 / (rate * burstiness));
        match gaps {
            Ok(gaps) if bursts => Ok(Self {
                rate: rate.into(),
                burstiness,
                gaps,
                course: None,
            }),
            _ => Err(ArrivalError::Burstiness(burstiness)),
        }
    }

    /// At a rate that changes over `seconds`, after which none arrives.
    pub fn changing(rate: &Rate, seconds: f64, burstiness: f64) -> Result<Self, ArrivalError> {
        let evenly = Self::new(1.0, burstiness)?;
        Ok(Self {
            rate: rate.clone(),
            course: Some(Course::new(rate, seconds)),
            ..evenly
        })
    }

    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Shape of the gaps: below 1 they bunch.
    pub fn burstiness(&self) -> f64 {
        self.burstiness
    }

    /// Arrival of one request after the other in seconds, without end unless the rate changes; the first arrives at 0.
    pub fn times(&self, seed: u64) -> impl Iterator<Item = f64> + use<> {
        let mut rng = StdRng::seed_from_u64(seed);
        let gaps = self.gaps;
        let course = self.course.clone();
        let sums = std::iter::successors(Some(0.0), move |sum| Some(sum + gaps.sample(&mut rng)));
        sums.map_while(move |sum| match &course {
            None => Some(sum),
            Some(course) => course.time_of(sum),
        })
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
    fn a_rate_that_changes_is_kept_in_each_part_of_the_run() {
        let rate: Rate = "ramp:2-22".parse().unwrap();
        let arrivals = Arrivals::changing(&rate, 1000.0, 1.0).unwrap();
        let times: Vec<f64> = arrivals.times(1).collect();
        assert!(times.is_sorted() && times.iter().all(|time| *time <= 1000.0));
        // Between 0 and 500 s 7 a second on average, 17 after.
        let early = times.iter().filter(|time| **time < 500.0).count() as f64;
        let late = times.len() as f64 - early;
        assert!((early / 3500.0 - 1.0).abs() < 0.05, "{early}");
        assert!((late / 8500.0 - 1.0).abs() < 0.05, "{late}");
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

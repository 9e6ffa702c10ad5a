//! How long prompts and outputs are: one length for all, or drawn for each request.

mod parse;
mod traces;

use std::fmt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal, Normal};

pub use traces::{TRACES, Trace};

/// Standard deviations at which a normal distribution is cut; a log-normal one at as many of its logarithm.
const DEVIATIONS: f64 = 3.0;

/// Of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Input,
    Output,
}

/// Tokens of each request.
///
/// ```
/// use candlepower::Lengths;
///
/// assert_eq!(Lengths::from(512).to_string(), "512");
/// let drawn: Lengths = "normal:512,128".parse().unwrap();
/// assert_eq!(drawn.most(), 512 + 3 * 128);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lengths {
    /// The same for all.
    Fixed(usize),
    /// Any from the least to the most, as likely as any other.
    Uniform {
        /// At least 1.
        least: usize,
        /// At least `least`.
        most: usize,
    },
    /// Cut at three standard deviations, and at one token.
    Normal {
        /// In tokens.
        mean: f64,
        /// Standard deviation in tokens.
        deviation: f64,
    },
    /// Cut at three standard deviations of the logarithm.
    LogNormal {
        /// Of the lengths themselves.
        mean: f64,
        /// Standard deviation of the lengths themselves.
        deviation: f64,
    },
    /// As in a published trace: between its quantiles, which are 5 % apart.
    Trace(&'static Trace),
}

impl From<usize> for Lengths {
    fn from(length: usize) -> Self {
        Self::Fixed(length)
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Uniform { least, most } => write!(f, "uniform:{least}-{most}"),
            Self::Normal { mean, deviation } => write!(f, "normal:{mean},{deviation}"),
            Self::LogNormal { mean, deviation } => write!(f, "lognormal:{mean},{deviation}"),
            Self::Trace(trace) => f.write_str(trace.name),
        }
    }
}

impl Lengths {
    /// The length that all share.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(length) => Some(*length),
            _ => None,
        }
    }

    /// The longest that is drawn; of a trace that of either side.
    pub fn most(&self) -> usize {
        match self {
            Self::Fixed(length) => *length,
            Self::Uniform { most, .. } => *most,
            Self::Normal { mean, deviation } => tokens(mean + DEVIATIONS * deviation),
            Self::LogNormal { mean, deviation } => {
                let (location, scale) = logarithm(*mean, *deviation);
                tokens((location + DEVIATIONS * scale).exp())
            }
            Self::Trace(trace) => trace.most(Side::Input).max(trace.most(Side::Output)),
        }
    }

    /// What a context must hold, or the load is not the one asked for: a tail may be cut, a bound that was given not.
    pub(super) fn least_room(&self) -> usize {
        match self {
            Self::Fixed(length) => *length,
            Self::Uniform { most, .. } => *most,
            Self::Normal { .. } | Self::LogNormal { .. } | Self::Trace(_) => 1,
        }
    }

    /// As [`Self::draw`], with a tail cut at `longest`.
    pub(super) fn cut(&self, side: Side, seed: u64, longest: usize) -> usize {
        self.draw(side, seed).min(longest.max(self.least_room()))
    }

    /// The length that `seed` draws for that side of a request.
    pub fn draw(&self, side: Side, seed: u64) -> usize {
        // The two sides of a request, and its prompt, are drawn apart.
        let salt = match side {
            Side::Input => 0x1e35_a7bd_5f3c_9d11,
            Side::Output => 0x6c62_272e_07bb_0142,
        };
        let mut rng = StdRng::seed_from_u64(seed ^ salt);
        let drawn = match self {
            Self::Fixed(length) => return *length,
            Self::Uniform { least, most } => return rng.random_range(*least..=*most),
            Self::Normal { mean, deviation } => {
                Normal::new(*mean, *deviation).map_or(*mean, |normal| normal.sample(&mut rng))
            }
            Self::LogNormal { mean, deviation } => {
                let (location, scale) = logarithm(*mean, *deviation);
                LogNormal::new(location, scale).map_or(*mean, |normal| normal.sample(&mut rng))
            }
            Self::Trace(trace) => return trace.at(side, rng.random()),
        };
        tokens(drawn).min(self.most())
    }
}

/// Location and scale of a log-normal distribution of that mean and standard deviation.
fn logarithm(mean: f64, deviation: f64) -> (f64, f64) {
    let variance = (1.0 + (deviation / mean).powi(2)).ln();
    (mean.ln() - variance / 2.0, variance.sqrt())
}

/// The nearest whole number of tokens, at least one.
fn tokens(length: f64) -> usize {
    length.round().max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 20_000;

    fn drawn(text: &str, side: Side) -> Vec<usize> {
        let lengths: Lengths = text.parse().unwrap();
        let mut drawn: Vec<usize> = (0..DRAWS).map(|seed| lengths.draw(side, seed)).collect();
        drawn.sort_unstable();
        drawn
    }

    fn mean(values: &[usize]) -> f64 {
        values.iter().sum::<usize>() as f64 / values.len() as f64
    }

    fn deviation(values: &[usize]) -> f64 {
        let centre = mean(values);
        let squares = values.iter().map(|value| (*value as f64 - centre).powi(2));
        (squares.sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn each_has_the_asked_shape_and_bounds() {
        assert_eq!(drawn("7", Side::Input)[..], [7; DRAWS as usize]);
        let uniform = drawn("uniform:3-9", Side::Output);
        assert_eq!((uniform[0], uniform[uniform.len() - 1]), (3, 9));
        for length in 3..=9 {
            let share = uniform.iter().filter(|drawn| **drawn == length).count() as f64 * 7.0;
            assert!(
                (share / DRAWS as f64 - 1.0).abs() < 0.1,
                "{length}: {share}"
            );
        }
        for (text, of_mean, of_deviation) in [
            ("normal:512,128", 0.01, 0.03),
            ("lognormal:512,256", 0.02, 0.08),
        ] {
            let values = drawn(text, Side::Input);
            let (mean, deviation) = (mean(&values) / 512.0, deviation(&values));
            assert!((mean - 1.0).abs() < of_mean, "{text}: mean {mean}");
            let asked = text.rsplit(',').next().unwrap().parse::<f64>().unwrap();
            assert!(
                (deviation / asked - 1.0).abs() < of_deviation,
                "{text}: {deviation}"
            );
            let most = text.parse::<Lengths>().unwrap().most();
            assert!(values[values.len() - 1] <= most, "{text}");
        }
        // Half of its logarithms lie below the location.
        let values = drawn("lognormal:512,256", Side::Input);
        let median = logarithm(512.0, 256.0).0.exp();
        assert!((values[values.len() / 2] as f64 / median - 1.0).abs() < 0.03);
        // A mean near zero has no negative lengths.
        assert_eq!(drawn("normal:1,50", Side::Input)[0], 1);
    }

    #[test]
    fn a_trace_is_drawn_by_its_quantiles() {
        for trace in TRACES {
            for (side, quantiles) in [(Side::Input, &trace.input), (Side::Output, &trace.output)] {
                let values = drawn(trace.name, side);
                for (at, pair) in quantiles.windows(2).enumerate() {
                    assert!(pair[0] <= pair[1], "{}: {pair:?}", trace.name);
                    let below = values.iter().filter(|value| **value <= pair[0]).count();
                    let expected = at as f64 / 20.0;
                    let found = below as f64 / DRAWS as f64;
                    let same = quantiles.iter().filter(|value| **value == pair[0]).count();
                    let allowed =
                        0.015 + 0.05 * (same - 1) as f64 + 0.05 / (pair[1] - pair[0]).max(1) as f64;
                    assert!(
                        (found - expected).abs() <= allowed,
                        "{} {pair:?}: {found}",
                        trace.name
                    );
                }
            }
        }
    }

    #[test]
    fn the_seed_decides_and_the_sides_are_apart() {
        let lengths: Lengths = "uniform:1-1000".parse().unwrap();
        let ten = |side| {
            (0..10)
                .map(move |seed| lengths.draw(side, seed))
                .collect::<Vec<_>>()
        };
        assert_eq!(ten(Side::Input), ten(Side::Input));
        assert_ne!(ten(Side::Input), ten(Side::Output));
    }
}

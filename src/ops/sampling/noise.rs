//! The noise that a draw adds to each token's logit: the token of the highest sum is a sample of their softmax
//! (Gumbel-max: Gumbel 1954, Maddison et al. 2014).
//!
//! Each token's comes from a counter, with no state: a draw is the same however a row is split over ranks, in every
//! batch and on every device. So its logarithms are made of additions and products alone, each rounded to f32:
//! kernels/draw.cu makes the same bits.

use super::Pick;
use crate::ops::row;

/// Numbers that one counter gives: those of the tokens `4 i..4 i + 4`.
const AT_ONCE: u32 = 4;
/// More than an error of the logarithms.
const SLACK: f32 = 0.01;

/// The draw of one request at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// What the noise is multiplied with; at 0 there is none.
    pub temperature: f32,
    pub seed: u64,
    pub stream: u64,
    pub position: u32,
}

impl From<&Pick> for Noise {
    fn from(pick: &Pick) -> Self {
        Self {
            temperature: pick.sampling.temperature.max(0.0),
            seed: pick.sampling.seed,
            stream: pick.stream,
            position: pick.position,
        }
    }
}

impl Noise {
    /// The logit of `token` and its noise.
    pub fn score(&self, token: u32, logit: f32) -> f32 {
        let bits = self.bits(token / AT_ONCE)[(token % AT_ONCE) as usize];
        logit + self.temperature * gumbel(bits)
    }

    /// The token of the highest score, and that score, of a part of a row whose tokens start at `first`. A NaN is
    /// higher than any number; a part without tokens has the lowest.
    pub fn highest(&self, logits: &[f32], first: u32) -> (u32, f32) {
        let mut highest = (first, f32::NEG_INFINITY);
        let mut bits = [0; AT_ONCE as usize];
        for (&logit, token) in logits.iter().zip(first..) {
            if token == first || token.is_multiple_of(AT_ONCE) {
                bits = self.bits(token / AT_ONCE);
            }
            let bits = bits[(token % AT_ONCE) as usize];
            // Most tokens cannot win, which is seen without a logarithm: rounding keeps the order.
            if logit + self.temperature * at_most(bits) < highest.1 {
                continue;
            }
            let score = logit + self.temperature * gumbel(bits);
            highest = row::higher(highest, (token, score));
        }
        highest
    }

    fn bits(&self, counter: u32) -> [u32; AT_ONCE as usize] {
        let halves = |x: u64| [x as u32, (x >> u32::BITS) as u32];
        let [low, high] = halves(self.stream);
        philox([counter, self.position, low, high], halves(self.seed))
    }
}

/// Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011).
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const ROUNDS: usize = 10;
    let product = |a: u32, b: u32| {
        let both = u64::from(a) * u64::from(b);
        ((both >> u32::BITS) as u32, both as u32)
    };
    for _ in 0..ROUNDS {
        let (high0, low0) = product(0xd251_1f53, counter[0]);
        let (high1, low1) = product(0xcd9e_8d57, counter[2]);
        counter = [
            high1 ^ counter[1] ^ key[0],
            low1,
            high0 ^ counter[3] ^ key[1],
            low0,
        ];
        key = [
            key[0].wrapping_add(0x9e37_79b9),
            key[1].wrapping_add(0xbb67_ae85),
        ];
    }
    counter
}

/// A number of the standard Gumbel distribution: `-ln(-ln(1 - v))` for `v` uniform between 0 and 1. Where it is high,
/// and decides, `v` is near 0, where floats are dense.
fn gumbel(bits: u32) -> f32 {
    const STEP: f32 = 1.0 / 4_294_967_296.0;
    const BELOW_ONE: f32 = 1.0 - f32::EPSILON / 2.0;
    /// Up to here `1 - v` is in the range of [`ln_1p`], and not rounded.
    const NEAR_ZERO: f32 = 0.29;
    let v = ((bits as f32 + 0.5) * STEP).min(BELOW_ONE);
    let exponential = match v < NEAR_ZERO {
        true => -ln_1p(-v),
        false => -ln(1.0 - v),
    };
    -ln(exponential)
}

/// No less than [`gumbel`]: `-ln(1 - v)` is no less than `v`, whose first bit tells its size.
fn at_most(bits: u32) -> f32 {
    (bits.leading_zeros() + 1) as f32 * std::f32::consts::LN_2 + SLACK
}

/// Natural logarithm of a normal positive number.
fn ln(x: f32) -> f32 {
    const MANTISSA: u32 = (1 << 23) - 1;
    // ln 2, the first part with few bits, so that its products are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let bits = x.to_bits();
    let mantissa = f32::from_bits(bits & MANTISSA | 1.0_f32.to_bits());
    let exponent = (bits >> 23) as i32 - 127;
    let (mantissa, exponent) = match mantissa > std::f32::consts::SQRT_2 {
        true => (mantissa * 0.5, (exponent + 1) as f32),
        false => (mantissa, exponent as f32),
    };
    ln_1p(mantissa - 1.0) + exponent * LN_2[1] + exponent * LN_2[0]
}

/// `ln(1 + x)` for `x` from `sqrt(0.5) - 1` to `sqrt(2) - 1`: a polynomial of Cephes' (Moshier 1992).
fn ln_1p(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    let squared = x * x;
    let mut sum = COEFFICIENTS[0];
    for coefficient in &COEFFICIENTS[1..] {
        sum = sum * x + coefficient;
    }
    sum * x * squared - squared * 0.5 + x
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: Noise = Noise {
        temperature: 0.8,
        seed: 7,
        stream: 3,
        position: 11,
    };

    /// Of the generator's authors: Random123's kat_vectors.
    #[test]
    fn the_generator_is_philox() {
        let all = u32::MAX;
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([all; 4], [all; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn noise_is_that_of_f64_and_below_its_bound() {
        let counters = (0..20_000).flat_map(|counter| NOISE.bits(counter));
        let edges = [
            0,
            1,
            2,
            3,
            1 << 23,
            1 << 24,
            1 << 31,
            u32::MAX - 1,
            u32::MAX,
        ];
        for bits in counters.chain(edges) {
            let v = (f64::from(bits) + 0.5) / 2_f64.powi(32);
            let expected = -(-(-v).ln_1p()).ln();
            let found = f64::from(gumbel(bits));
            // Where `v` is near 1, it is rounded: tokens with such noise are the last to win.
            let tolerance = if v < 0.99 { 1e-6 } else { 0.05 };
            assert!(
                (found - expected).abs() <= tolerance * (1.0 + expected.abs())
                    || bits >= u32::MAX - 256,
                "{bits}: {found}, {expected}"
            );
            assert!(
                gumbel(bits).is_finite() && gumbel(bits) <= at_most(bits),
                "{bits}"
            );
        }
    }

    /// Pearson's statistic over 20,000 draws, against the softmax in f64.
    #[test]
    fn draws_are_a_sample_of_the_softmax() {
        const DRAWS: u32 = 20_000;
        let logits: Vec<f32> = (0..50).map(|i| (i * 37 % 50) as f32 * 0.08).collect();
        let weights = logits.iter().map(|&l| (f64::from(l) / 0.8).exp());
        let weights: Vec<f64> = weights.collect();
        let total: f64 = weights.iter().sum();
        for by_stream in [false, true] {
            let mut counts = vec![0.0; logits.len()];
            for draw in 0..DRAWS {
                let noise = match by_stream {
                    true => Noise {
                        stream: draw.into(),
                        ..NOISE
                    },
                    false => Noise {
                        position: draw,
                        ..NOISE
                    },
                };
                counts[noise.highest(&logits, 0).0 as usize] += 1.0;
            }
            let expected = weights.iter().map(|w| w / total * f64::from(DRAWS));
            let statistic: f64 = counts
                .iter()
                .zip(expected)
                .map(|(count, expected)| (count - expected).powi(2) / expected)
                .sum();
            // One in a thousand of 49 degrees of freedom is above 85.4.
            assert!(statistic < 85.4, "{statistic}");
        }
    }

    #[test]
    fn bounds_pass_over_no_winner() {
        for seed in 0..200 {
            let noise = Noise { seed, ..NOISE };
            let logits: Vec<f32> = (0..999).map(|i| (i * 7919 % 997) as f32 * 0.02).collect();
            for (first, count) in [(0, 999), (1, 998), (5, 300), (6, 1)] {
                let part = &logits[first..first + count];
                let each = part.iter().zip(first as u32..);
                let each = each.map(|(&logit, token)| (token, noise.score(token, logit)));
                let expected = each.reduce(row::higher).unwrap();
                assert_eq!(noise.highest(part, first as u32), expected);
            }
        }
    }
}

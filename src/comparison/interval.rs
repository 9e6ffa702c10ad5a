//! How sure a ratio is: Student's t over repeats, else a bootstrap over blocks of time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::blocks::{BLOCKS, Blocks};
use super::side::Load;
use crate::metrics::quantile::moments;
use crate::metrics::repeats::t_quantile;

/// Plays of one load from which their spread is known.
const FEWEST_REPEATS: usize = 3;
/// Drawings of the bootstrap.
const DRAWS: usize = 1000;
const SEED: u64 = 0x5eed;

/// Bounds of a ratio, and where they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub how: String,
}

/// The variance of a figure's logarithm, and its degrees of freedom.
#[derive(Debug, Clone, Copy)]
struct Variance {
    squares: f64,
    freedom: f64,
}

/// Of the second load over the first, at that level of confidence.
pub fn interval(name: &str, a: &Load, b: &Load, level: f64) -> Interval {
    let by_repeats = |load: &Load| of_repeats(name, load);
    let (repeats, others) = ((by_repeats(a), by_repeats(b)), (a.blocks(), b.blocks()));
    let known = match (repeats, others) {
        ((Some(a), Some(b)), _) => Some((sum(a, b), "t over repeats")),
        ((None, None), (Some(a), Some(b))) => {
            paired(name, a, b).map(|both| (both, "bootstrap over 10 blocks of time"))
        }
        ((Some(a), None), (_, Some(b))) => of_blocks(name, b).map(|b| {
            (
                sum(a, b),
                "t over repeats of the first, blocks of time of the second",
            )
        }),
        ((None, Some(b)), (Some(a), _)) => of_blocks(name, a).map(|a| {
            (
                sum(a, b),
                "blocks of time of the first, t over repeats of the second",
            )
        }),
        _ => None,
    };
    let ratio = a.value(name).zip(b.value(name)).map(|(a, b)| b / a);
    let Some(((variance, how), ratio)) = known.zip(ratio).filter(|(_, ratio)| *ratio > 0.0) else {
        return Interval {
            low: None,
            high: None,
            how: "single figures: the ratio alone decides".to_owned(),
        };
    };
    let half =
        t_quantile(level, variance.freedom.floor().max(1.0) as usize) * variance.squares.sqrt();
    Interval {
        low: Some(ratio * (-half).exp()),
        high: Some(ratio * half.exp()),
        how: format!("{how}, {:.4} %", 100.0 * level),
    }
}

/// Half of the 95 % interval of a figure, as a part of it; `None`: nothing tells how much it varies.
pub fn spread(name: &str, load: &Load) -> Option<f64> {
    let blocks = || of_blocks(name, load.blocks()?);
    let variance = of_repeats(name, load).or_else(blocks)?;
    let freedom = variance.freedom.floor().max(1.0) as usize;
    Some(t_quantile(0.95, freedom) * variance.squares.sqrt())
}

/// Of the logarithm of a mean over plays.
fn of_repeats(name: &str, load: &Load) -> Option<Variance> {
    let values = load.values(name);
    if values.len() < FEWEST_REPEATS {
        return None;
    }
    let (mean, squares) = moments(&values)?;
    let freedom = (values.len() - 1) as f64;
    let of_mean = squares / freedom / values.len() as f64;
    (mean > 0.0).then(|| Variance {
        squares: of_mean / (mean * mean),
        freedom,
    })
}

/// Welch and Satterthwaite.
fn sum(a: Variance, b: Variance) -> Variance {
    let squares = a.squares + b.squares;
    let freedom =
        squares * squares / (a.squares * a.squares / a.freedom + b.squares * b.squares / b.freedom);
    Variance {
        squares,
        freedom: if freedom.is_finite() {
            freedom
        } else {
            a.freedom.min(b.freedom)
        },
    }
}

fn of_blocks(name: &str, blocks: &Blocks) -> Option<Variance> {
    let series = blocks.series(name)?;
    drawn(|picks| series.over(picks))
}

/// The same blocks are drawn of both, so that what is alike in both runs, such as their beginnings, cancels.
fn paired(name: &str, a: &Blocks, b: &Blocks) -> Option<Variance> {
    let (a, b) = (a.series(name)?, b.series(name)?);
    drawn(|picks| Some(b.over(picks)? / a.over(picks)?))
}

fn drawn(statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Variance> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut picks = [0; BLOCKS];
    let values = (0..DRAWS).map(|_| {
        picks.fill_with(|| random.random_range(0..BLOCKS));
        Some(statistic(&picks)?.ln())
    });
    let values: Option<Vec<f64>> = values.collect();
    let values = values?;
    let (_, squares) = moments(&values)?;
    let blocks = BLOCKS as f64;
    Some(Variance {
        // What drawing with replacement takes off.
        squares: squares / DRAWS as f64 * blocks / (blocks - 1.0),
        freedom: blocks - 1.0,
    })
}

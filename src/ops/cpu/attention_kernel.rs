//! The seam of attention's innermost loops: what an instruction set must supply.

use super::panel::PanelElement;

/// Positions whose keys or values are widened at a time.
pub const TILE_POSITIONS: usize = 16;
/// Positions between two updates of the running maximum.
pub const SPAN: usize = 4 * TILE_POSITIONS;
/// Elements of a dot product that are summed in one chain; longer ones are sums of such sums, which keeps
/// their rounding small.
pub const CHAIN: usize = 64;
/// Lanes of a vector of f32.
pub const LANES: usize = 8;

/// Scores of one query over a span, later its weights.
pub type Scores = [f32; SPAN];

/// The running state of one query's softmax.
#[derive(Debug, Clone, Copy)]
pub struct Softmax {
    /// Highest score yet.
    pub max: f32,
    /// Sum of `exp(score - max)` over the positions yet.
    pub sum: f32,
    /// What the last span multiplied older sums by.
    pub rescale: f32,
}

impl Softmax {
    pub const START: Self = Self {
        max: f32::NEG_INFINITY,
        sum: 0.0,
        rescale: 1.0,
    };
}

/// The larger of two; `a` where they do not compare.
#[inline(always)]
pub fn higher(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

/// What scores are lowered by before they become weights. Where nothing has been seen, any finite number
/// makes all weights 0.
#[inline(always)]
pub fn shift(max: f32) -> f32 {
    if max == f32::NEG_INFINITY { 0.0 } else { max }
}

/// Rows at a time, `most` of them, so that no group is left much smaller than the others.
pub(super) fn even_rows(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// Calls `$call` with the constant `$count`: `$rows`, which are some of the listed numbers or the last.
macro_rules! for_rows {
    ($rows:expr, $count:ident => $call:expr, [$($some:tt)*] $most:tt) => {
        match $rows {
            $($some => {
                const $count: usize = $some;
                $call
            })*
            _ => {
                const $count: usize = $most;
                $call
            }
        }
    };
}

pub(super) use for_rows;

/// What an instruction set supplies. A value of the type proves that the host has it.
pub trait AttentionKernel: Copy + Send + Sync {
    /// Whether queries, keys, values and weights meet as pairs of bf16, of which a word holds two: neighbouring elements
    /// of a query or key, `[.., head_dim / 2]` words, and neighbouring positions of weights and values, the latter
    /// `[starts.len() / 2, head_dim]` words, beside a last odd one zeros.
    const PAIRS: bool = false;

    /// `tile[j] = cache[starts[j]..][..head_dim]`, widened; `tile` is `[starts.len(), head_dim]`.
    ///
    /// `next` is read after that: a kernel may ask memory for it now, for blocks lie anywhere and the
    /// hardware cannot guess.
    fn gather<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    );

    /// The same for keys, turned: `tile[i][j] = cache[starts[j] + i]`, `tile` is `[head_dim, 16]`. Columns
    /// past the starts hold any of the others.
    fn gather_keys<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    );

    /// `scores[r][first + j] = q[r] · k[j]`, in order of the elements, chain after chain; `q` is `[scores.len(), head_dim]`,
    /// `k` turned, `[head_dim, 16]`.
    fn scores(self, q: &[f32], k: &[f32], head_dim: usize, first: usize, scores: &mut [Scores]);

    /// Scores become `exp(score - max)`, taken into the states. A score of -inf is left out. Only the
    /// first `filled`, a multiple of 16, are looked at.
    fn softmax(self, scores: &mut [Scores], filled: usize, states: &mut [Softmax]);

    /// `sums[r] += Σ_j weights[r][first + j] * v[j]`, in order of j, over the rows of `v`, at most 16;
    /// a span's first tile multiplies `sums[r]` by `rescale[r]` before.
    fn weigh(
        self,
        weights: &[Scores],
        first: usize,
        states: &[Softmax],
        v: &[f32],
        head_dim: usize,
        sums: &mut [f32],
    );
}

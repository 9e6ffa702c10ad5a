//! Weights repacked once at load into the order in which the kernels read them.
//!
//! A matrix `[n, k]` (a row for each output feature, as checkpoints store it) becomes
//! `ceil(n / 16)` panels of 16 output columns. A panel is K-major: 16 elements, one for each
//! column, for each k-step, so that a kernel streams it front to back. Columns past `n` are zero.
//!
//! Within a bf16 step, column `i` and column `i + 8` share a 32-bit lane, the lower column in the
//! low half: a left shift widens columns 0..8 to f32, a mask widens 8..16. The other types keep
//! their columns in order.

use float8::F8E4M3;
use half::{bf16, f16};

use super::{e4m3, workers};

/// Output columns of a panel.
pub const PANEL: usize = 16;
/// Columns that one widening of a bf16 step yields.
const HALF_PANEL: usize = PANEL / 2;
/// Steps transposed at a time: source rows and destination of a block stay in L1.
const PACK_STEPS: usize = 256;

/// How weights and cached keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    Bf16,
    F16,
    F32,
    E4m3,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
    impl Sealed for f32 {}
    impl Sealed for float8::F8E4M3 {}
}

/// A stored element type. Sealed: kernels read memory by `ELEMENT`.
pub trait PanelElement: sealed::Sealed + Copy + Send + Sync + 'static {
    const ELEMENT: Element;
    const ZERO: Self;

    /// Exact for every stored value.
    fn to_f32(self) -> f32;
}

impl PanelElement for bf16 {
    const ELEMENT: Element = Element::Bf16;
    const ZERO: Self = bf16::ZERO;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << u16::BITS)
    }
}

impl PanelElement for f16 {
    const ELEMENT: Element = Element::F16;
    const ZERO: Self = f16::ZERO;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl PanelElement for f32 {
    const ELEMENT: Element = Element::F32;
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl PanelElement for F8E4M3 {
    const ELEMENT: Element = Element::E4m3;
    const ZERO: Self = F8E4M3::ZERO;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        e4m3::widen(self)
    }
}

/// Elements of a packed `[n, k]` matrix.
pub fn packed_len(n: usize, k: usize) -> usize {
    n.next_multiple_of(PANEL) * k
}

/// Where column `column` of a panel lies within a step.
#[inline(always)]
pub(super) fn slot<W: PanelElement>(column: usize) -> usize {
    match W::ELEMENT {
        Element::Bf16 => 2 * (column % HALF_PANEL) + column / HALF_PANEL,
        Element::F16 | Element::F32 | Element::E4m3 => column,
    }
}

/// The rows of a row-major matrix: row `i` is `values[i * stride..][..k]`.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a, W> {
    pub values: &'a [W],
    /// At least `k`; more where the rows are a column range of a wider matrix.
    pub stride: usize,
    pub rows: usize,
    pub k: usize,
}

/// Packs `source` into rows `first..first + source.rows` of `packed`, a packed `[n, k]` matrix.
///
/// Rows beside those keep what they hold, so stacked weights (q, k, v) and slices are packed part
/// after part into one zeroed buffer. Parallel over panels.
///
/// # Panics
/// If `source` reaches past its values or the part past `packed`.
pub fn pack<W: PanelElement>(source: Source<'_, W>, first: usize, packed: &mut [W]) {
    let Source {
        values,
        stride,
        rows,
        k,
    } = source;
    if rows == 0 || k == 0 {
        return;
    }
    let end = first + rows;
    let panels = first / PANEL..end.div_ceil(PANEL);
    let range = panels.start * PANEL * k..panels.end * PANEL * k;
    workers::each_chunk(&mut packed[range], PANEL * k, |i, panel| {
        let index = panels.start + i;
        let columns = first.max(index * PANEL)..end.min((index + 1) * PANEL);
        for (block, steps) in panel.chunks_mut(PACK_STEPS * PANEL).enumerate() {
            let depth = steps.len() / PANEL;
            for row in columns.clone() {
                let start = (row - first) * stride + block * PACK_STEPS;
                let slot = slot::<W>(row - index * PANEL);
                let row = &values[start..start + depth];
                for (step, &value) in steps.chunks_exact_mut(PANEL).zip(row) {
                    step[slot] = value;
                }
            }
        }
    });
}

/// Row `row` of a packed matrix with `out.len()` input features, widened: an embedding look-up.
///
/// # Panics
/// If `row` is past the packed rows.
pub fn unpack_row<W: PanelElement>(packed: &[W], row: usize, out: &mut [f32]) {
    let panel = &packed[row / PANEL * PANEL * out.len()..][..PANEL * out.len()];
    let slot = slot::<W>(row % PANEL);
    for (value, step) in out.iter_mut().zip(panel.chunks_exact(PANEL)) {
        *value = step[slot].to_f32();
    }
}

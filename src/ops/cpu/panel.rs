//! Weights repacked once at load into the order in which the kernels read them.
//!
//! A matrix `[n, k]` (a row for each output feature, as checkpoints store it) becomes
//! `ceil(n / 16)` panels of 16 output columns. A panel is K-major: 16 elements, one for each
//! column, for each k-step, so that a kernel streams it front to back. Columns past `n` are zero.
//!
//! Of bf16, two neighbouring steps lie together: a column's two elements share a 32-bit lane, the earlier
//! in the low half, columns in order. A left shift widens the one to f32, a mask the other, and where a
//! processor multiplies pairs of bf16, this is how it wants them. The last step of an odd `k` has a
//! partner of zeros. The other types have a step after a step.

use float8::F8E4M3;
use half::{bf16, f16};

use super::{e4m3, workers};

/// Output columns of a panel.
pub const PANEL: usize = 16;
/// Steps of a pair.
pub(super) const PAIR: usize = 2;
/// Bytes that memory gives at a time. A pair of steps of bf16 is as long.
pub(super) const CACHE_LINE: usize = 64;
/// Steps transposed at a time, whole pairs: source rows and destination of a block stay in L1.
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

/// Steps that lie together.
pub(super) const fn steps_together<W: PanelElement>() -> usize {
    match W::ELEMENT {
        Element::Bf16 => PAIR,
        Element::F16 | Element::F32 | Element::E4m3 => 1,
    }
}

/// Elements of one column of a panel of `k` steps.
pub(super) fn packed_steps<W: PanelElement>(k: usize) -> usize {
    k.next_multiple_of(steps_together::<W>())
}

/// Elements of a packed `[n, k]` matrix.
pub fn packed_len<W: PanelElement>(n: usize, k: usize) -> usize {
    n.next_multiple_of(PANEL) * packed_steps::<W>(k)
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
    let panel_len = PANEL * packed_steps::<W>(k);
    let range = panels.start * panel_len..panels.end * panel_len;
    let together = steps_together::<W>();
    workers::each_chunk(&mut packed[range], panel_len, |i, panel| {
        let index = panels.start + i;
        let columns = first.max(index * PANEL)..end.min((index + 1) * PANEL);
        for (block, steps) in panel.chunks_mut(PACK_STEPS * PANEL).enumerate() {
            let done = block * PACK_STEPS;
            let depth = (k - done).min(PACK_STEPS);
            for row in columns.clone() {
                let start = (row - first) * stride + done;
                let slot = (row - index * PANEL) * together;
                let row = values[start..start + depth].chunks(together);
                for (steps, values) in steps.chunks_exact_mut(PANEL * together).zip(row) {
                    for (element, &value) in steps[slot..].iter_mut().zip(values) {
                        *element = value;
                    }
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
    let panel_len = PANEL * packed_steps::<W>(out.len());
    let panel = &packed[row / PANEL * panel_len..][..panel_len];
    let together = steps_together::<W>();
    let slot = row % PANEL * together;
    let steps = panel.chunks_exact(PANEL * together);
    for (values, steps) in out.chunks_mut(together).zip(steps) {
        for (value, element) in values.iter_mut().zip(&steps[slot..]) {
            *value = element.to_f32();
        }
    }
}

//! Activations as tiles read them: the rows of a tile side by side, step by step.

use super::panel::{Element, PanelElement};
use super::tile::MicroKernel;

/// What activations are when they meet weights of bf16; other weights meet them as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activations {
    #[default]
    F32,
    /// Rounded to the nearest, as a layer in bf16 would hand them on. Sums are of f32 still.
    Bf16,
}

/// What becomes of a row on its way into a tile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Packing {
    /// A word is an f32, times this.
    Times(f32),
    /// A word is an f32 that a bf16 holds.
    Rounded,
    /// A word is the bf16 of two steps, the earlier in the low half; of a last odd one, with a zero.
    Pairs,
}

impl Packing {
    pub fn of<M: MicroKernel, W: PanelElement>(activations: Activations) -> Self {
        match (W::ELEMENT, activations) {
            (Element::E4m3, _) => Self::Times(M::E4M3_ACTIVATIONS),
            (Element::Bf16, Activations::Bf16) if M::PAIRS => Self::Pairs,
            (Element::Bf16, Activations::Bf16) => Self::Rounded,
            (Element::Bf16 | Element::F16 | Element::F32, _) => Self::Times(1.0),
        }
    }

    /// Whether a row is a tile of one as it is.
    pub fn is_plain(self) -> bool {
        self == Self::Times(1.0)
    }

    /// Words of a row's first `steps`.
    #[inline(always)]
    pub fn words(self, steps: usize) -> usize {
        match self {
            Self::Pairs => steps.div_ceil(2),
            Self::Times(_) | Self::Rounded => steps,
        }
    }

    /// `row` becomes row `r` of a tile of `height`, from the tile's first word on.
    pub fn put(self, tile: &mut [f32], height: usize, r: usize, row: &[f32]) {
        let words = tile.chunks_exact_mut(height);
        match self {
            Self::Times(factor) => {
                for (word, &value) in words.zip(row) {
                    word[r] = value * factor;
                }
            }
            Self::Rounded => {
                for (word, &value) in words.zip(row) {
                    word[r] = f32::from_bits(rounded(value));
                }
            }
            Self::Pairs => {
                let (pairs, last) = row.as_chunks::<2>();
                let mut words = words;
                for (pair, word) in pairs.iter().zip(&mut words) {
                    word[r] = f32::from_bits(rounded(pair[1]) | rounded(pair[0]) >> u16::BITS);
                }
                if let (Some(word), [value]) = (words.next(), last) {
                    word[r] = f32::from_bits(rounded(*value) >> u16::BITS);
                }
            }
        }
    }
}

/// The bits of the f32 that is the nearest bf16, ties to even. Straight-line code.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    const LOWER: u32 = 0xFFFF;
    let bits = value.to_bits();
    // Half a place less one, and one more where the last place kept is odd.
    let up = bits.wrapping_add((LOWER >> 1) + (bits >> u16::BITS & 1));
    (if value.is_nan() {
        f32::NAN.to_bits()
    } else {
        up
    }) & !LOWER
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn rounds_as_the_half_crate_does() {
        let edges = [0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, 1e-42];
        let near = (0..=u16::MAX).map(|bits| f32::from_bits(u32::from(bits) << 12 | 0x3F80_0000));
        for value in edges.into_iter().chain(near).flat_map(|x| [x, -x]) {
            let found = f32::from_bits(rounded(value));
            assert_eq!(
                found.to_bits(),
                bf16::from_f32(value).to_f32().to_bits(),
                "{value}"
            );
        }
        assert!(f32::from_bits(rounded(f32::NAN)).is_nan());
        assert!(f32::from_bits(rounded(f32::from_bits(u32::MAX))).is_nan());
    }

    #[test]
    fn pairs_lie_in_order_and_an_odd_one_has_a_zero() {
        let mut tile = [f32::NAN; 6];
        Packing::Pairs.put(&mut tile, 2, 1, &[1.0, -2.0, 3.0, 4.0, 5.0]);
        let bits: Vec<u32> = tile
            .iter()
            .skip(1)
            .step_by(2)
            .map(|x| x.to_bits())
            .collect();
        assert_eq!(bits, [0xC000_3F80, 0x4080_4040, 0x0000_40A0]);
        assert!(tile.iter().step_by(2).all(|x| x.is_nan()));
    }
}

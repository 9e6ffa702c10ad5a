//! Numbers of one byte: a sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinities, one NaN of each sign
//! ("e4m3fn" of the OCP 8-bit floating point specification).

use float8::F8E4M3;

/// The largest number; rounding saturates there.
pub const MAX: f32 = 448.0;
/// The smallest normal number.
const MIN_NORMAL: f32 = 1.0 / 64.0;
/// A float whose last place is the smallest e4m3 number, 2^-9.
const SUBNORMAL_ROUND: f32 = 16384.0;
const SIGN: u8 = 0x80;
const NAN: u8 = 0x7f;
const SIGN_SHIFT: u32 = u32::BITS - u8::BITS;
/// Places of an f32's mantissa that go.
const DROPPED: u32 = f32::MANTISSA_DIGITS - F8E4M3_DIGITS;
/// The leading 1 included.
const F8E4M3_DIGITS: u32 = 4;
/// f32's exponent bias less e4m3's, where an e4m3's exponent lies once shifted.
const REBIAS: u32 = (127 - 7) << (F8E4M3_DIGITS - 1);

static WIDENED: [f32; 1 << u8::BITS] = widened();

const fn widened() -> [f32; 1 << u8::BITS] {
    let mut values = [0.0; 1 << u8::BITS];
    let mut bits = 0;
    while bits < values.len() {
        values[bits] = F8E4M3::from_bits(bits as u8).to_f32();
        bits += 1;
    }
    values
}

/// Zeros from the system, page by page, when first touched.
pub fn zeros(len: usize) -> Vec<F8E4M3> {
    let mut bytes = std::mem::ManuallyDrop::new(vec![0_u8; len]);
    // SAFETY: `F8E4M3` is a byte in a transparent struct, and every byte is one; the vector of bytes is
    // not dropped.
    unsafe { Vec::from_raw_parts(bytes.as_mut_ptr().cast(), len, bytes.capacity()) }
}

/// Exact.
#[inline(always)]
pub fn widen(value: F8E4M3) -> f32 {
    WIDENED[value.to_bits() as usize]
}

/// To the nearest, ties to even, saturating; NaN stays NaN. Straight-line code.
#[inline(always)]
pub fn round(value: f32) -> F8E4M3 {
    let sign = (value.to_bits() >> SIGN_SHIFT) as u8 & SIGN;
    let size = value.abs();
    let bounded = if size > MAX { MAX } else { size };
    // Half a place less one, and one more where the last place kept is odd.
    let bits = bounded.to_bits();
    let half = (1 << (DROPPED - 1)) - 1 + (bits >> DROPPED & 1);
    let normal = ((bits + half) >> DROPPED).wrapping_sub(REBIAS) as u8;
    let subnormal = (bounded + SUBNORMAL_ROUND).to_bits() as u8;
    let finite = if bounded < MIN_NORMAL {
        subnormal
    } else {
        normal
    };
    F8E4M3::from_bits(sign | if size.is_nan() { NAN } else { finite })
}

/// Rounds `x` to e4m3 and back, by a scale of its own that takes the highest to [`MAX`].
pub fn quantize(x: &mut [f32]) {
    let highest = x.iter().fold(0.0_f32, |highest, x| highest.max(x.abs()));
    let scale = highest / MAX;
    if scale > 0.0 {
        x.iter_mut()
            .for_each(|x| *x = widen(round(*x / scale)) * scale);
    }
}

/// [`quantize`] of each block of a row whose first column lies `offset` within its block.
pub fn quantize_blocks(row: &mut [f32], block: usize, offset: usize) {
    let first = row.len().min(block - offset);
    let (head, tail) = row.split_at_mut(first);
    quantize(head);
    tail.chunks_mut(block).for_each(quantize);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_widens_and_comes_back() {
        for bits in 0..=u8::MAX {
            let wide = widen(F8E4M3::from_bits(bits));
            let (sign, exponent, mantissa) = (bits >> 7, bits >> 3 & 15, bits & 7);
            let size = match exponent {
                0 => f64::from(mantissa) / 512.0,
                _ => f64::from(8 + mantissa) / 8.0 * 2_f64.powi(i32::from(exponent) - 7),
            };
            if bits & NAN == NAN {
                assert!(wide.is_nan() && round(wide).to_bits() & NAN == NAN);
            } else {
                assert_eq!(f64::from(wide), if sign == 0 { size } else { -size });
                assert_eq!(round(wide).to_bits(), bits);
            }
        }
    }

    #[test]
    fn rounds_to_the_nearest_even_and_saturates() {
        let numbers: Vec<f32> = (0..NAN)
            .map(|bits| widen(F8E4M3::from_bits(bits)))
            .collect();
        for (low, pair) in numbers.windows(2).enumerate() {
            let middle = (pair[0] + pair[1]) / 2.0;
            let even = low as u8 + (low as u8 & 1);
            for (value, bits) in [
                (middle, even),
                (middle.next_down(), low as u8),
                (middle.next_up(), low as u8 + 1),
            ] {
                assert_eq!(round(value).to_bits(), bits, "{value}");
                assert_eq!(round(-value).to_bits(), bits | SIGN, "{value}");
            }
        }
        for value in [449.0, 480.0, 1e30, f32::INFINITY] {
            assert_eq!(widen(round(value)), MAX);
            assert_eq!(widen(round(-value)), -MAX);
        }
    }
}

//! Small floating-point formats, and rounding as asked.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// To nearest, ties away from zero (`.rna`, tf32 only).
    Away,
    Zero,
    Down,
    Up,
}

/// A binary format with a sign bit.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    pub exponent_bits: u32,
    pub mantissa_bits: u32,
    /// e4m3 has no infinities: only all ones is NaN, and its top binade is finite.
    pub infinities: bool,
}

pub const F16: Format = Format {
    exponent_bits: 5,
    mantissa_bits: 10,
    infinities: true,
};
pub const BF16: Format = Format {
    exponent_bits: 8,
    mantissa_bits: 7,
    infinities: true,
};
pub const TF32: Format = Format {
    exponent_bits: 8,
    mantissa_bits: 10,
    infinities: true,
};
pub const F32: Format = Format {
    exponent_bits: 8,
    mantissa_bits: 23,
    infinities: true,
};
pub const E4M3: Format = Format {
    exponent_bits: 4,
    mantissa_bits: 3,
    infinities: false,
};
pub const E5M2: Format = Format {
    exponent_bits: 5,
    mantissa_bits: 2,
    infinities: true,
};

const F64_MANTISSA: u32 = 52;
const F64_BIAS: i32 = 1023;
const F64_EXPONENT: u64 = 0x7ff;

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    fn sign(self) -> u32 {
        1 << (self.exponent_bits + self.mantissa_bits)
    }

    /// The bits of the canonical NaN.
    pub fn nan(self) -> u32 {
        self.sign() - 1
    }

    fn infinity(self) -> u32 {
        ((1 << self.exponent_bits) - 1) << self.mantissa_bits
    }

    pub fn largest(self) -> u32 {
        if self.infinities {
            self.infinity() - 1
        } else {
            self.nan() - 1
        }
    }

    /// `value` rounded into this format; beyond the largest: infinity or NaN as the format has it, or
    /// with `finite` the largest.
    pub fn encode(self, value: f64, rounding: Rounding, finite: bool) -> u32 {
        let bits = value.to_bits();
        let negative = bits >> 63 != 0;
        let sign = if negative { self.sign() } else { 0 };
        if value.is_nan() {
            return self.nan();
        }
        let beyond = if finite {
            self.largest()
        } else if self.infinities {
            self.infinity()
        } else {
            self.nan()
        };
        if value.is_infinite() {
            return sign | beyond;
        }
        let exponent = (bits >> F64_MANTISSA & F64_EXPONENT) as i32;
        if exponent == 0 {
            // Zero, or a number far below the smallest of any format here.
            let tiny = bits << 1 != 0 && away(rounding, negative);
            return sign | u32::from(tiny);
        }
        let significand = bits & ((1 << F64_MANTISSA) - 1) | 1 << F64_MANTISSA;
        // A subnormal result keeps fewer bits.
        let scale = exponent - F64_BIAS + self.bias();
        let below = (1 - scale).max(0) as u32;
        let drop = F64_MANTISSA - self.mantissa_bits + below;
        let kept = if drop > F64_MANTISSA + 1 {
            0
        } else {
            significand >> drop
        };
        let up = match (rounding, drop) {
            (Rounding::Nearest | Rounding::Away, drop) if drop > F64_MANTISSA + 1 => false,
            (Rounding::Nearest, _) => {
                let rest = significand & ((1 << drop) - 1);
                let half = 1 << (drop - 1);
                rest > half || rest == half && kept & 1 != 0
            }
            (Rounding::Away, _) => significand & (1 << (drop - 1)) != 0,
            (_, drop) if drop > F64_MANTISSA + 1 => away(rounding, negative),
            _ => significand & ((1 << drop) - 1) != 0 && away(rounding, negative),
        };
        // The leading one of a normal number carries into the exponent field.
        let base = if below > 0 {
            0
        } else {
            (scale as u64 - 1) << self.mantissa_bits
        };
        let result = base + kept + u64::from(up);
        if result > u64::from(self.largest()) {
            let toward_zero = !finite
                && !matches!(rounding, Rounding::Nearest | Rounding::Away)
                && !away(rounding, negative);
            return sign | if toward_zero { self.largest() } else { beyond };
        }
        sign | result as u32
    }

    pub fn decode(self, bits: u32) -> f64 {
        let sign = if bits & self.sign() != 0 { -1.0 } else { 1.0 };
        let magnitude = bits & (self.sign() - 1);
        let exponent = magnitude >> self.mantissa_bits;
        let mantissa = f64::from(magnitude & ((1 << self.mantissa_bits) - 1));
        let unit = f64::from(1u32 << self.mantissa_bits);
        let top = (1 << self.exponent_bits) - 1;
        if !self.infinities && magnitude == self.nan() {
            f64::NAN
        } else if self.infinities && exponent == top {
            if mantissa == 0.0 {
                sign * f64::INFINITY
            } else {
                f64::NAN
            }
        } else if exponent == 0 {
            sign * mantissa / unit * 2f64.powi(1 - self.bias())
        } else {
            sign * (1.0 + mantissa / unit) * 2f64.powi(exponent as i32 - self.bias())
        }
    }
}

/// Does this direction lead away from zero for this sign?
fn away(rounding: Rounding, negative: bool) -> bool {
    rounding == Rounding::Up && !negative || rounding == Rounding::Down && negative
}

#[inline(always)]
pub fn f16_to_f32(half: u16) -> f32 {
    const SHIFT: u32 = 13;
    const REBIAS: u32 = (254 - 15) << 23;
    let magnitude = u32::from(half & 0x7fff);
    let scaled = f32::from_bits(magnitude << SHIFT) * f32::from_bits(REBIAS);
    let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | u32::from(half & 0x8000) << 16)
}

/// To nearest even.
#[inline(always)]
pub fn f32_to_f16(value: f32) -> u16 {
    const INFINITE_FROM: u32 = 0x477f_f000; // 65520
    const NORMAL_FROM: u32 = 0x3880_0000; // 2^-14
    const MAGIC: u32 = (127 - 15 + 23 - 10 + 1) << 23;
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude > 0x7f80_0000 {
        return 0x7fff;
    } else if magnitude >= INFINITE_FROM {
        0x7c00
    } else if magnitude < NORMAL_FROM {
        // The addition rounds where the subnormal's last bit is.
        (f32::from_bits(magnitude) + f32::from_bits(MAGIC))
            .to_bits()
            .wrapping_sub(MAGIC)
    } else {
        let odd = magnitude >> 13 & 1;
        magnitude
            .wrapping_sub((127 - 15) << 23)
            .wrapping_add(0xfff + odd)
            >> 13
    };
    half as u16 | sign
}

#[inline(always)]
pub fn bf16_to_f32(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// To nearest even.
#[inline(always)]
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return 0x7fff;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// `a + b` in f64 with the last bit set if it is inexact: rounding this to a small format is as
/// rounding the exact sum.
#[inline(always)]
pub fn add_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let part = sum - a;
    let error = (a - (sum - part)) + (b - part);
    if error == 0.0 || !sum.is_finite() || sum.to_bits() & 1 != 0 {
        return sum;
    }
    // Even and inexact: the neighbour toward the error is odd.
    let up = (error > 0.0) == (sum >= 0.0);
    f64::from_bits(if up {
        sum.to_bits() + 1
    } else {
        sum.to_bits() - 1
    })
}

/// Subnormals to zero, sign kept.
#[inline(always)]
pub fn flush(value: f32) -> f32 {
    if value.to_bits() & 0x7f80_0000 == 0 {
        f32::from_bits(value.to_bits() & 0x8000_0000)
    } else {
        value
    }
}

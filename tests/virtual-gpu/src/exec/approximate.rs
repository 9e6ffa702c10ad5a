//! `.approx` functions: computed well, then, when asked, moved by up to the manual's error bound, so
//! that what depends on their last bits shows.

use std::sync::atomic::{AtomicU32, Ordering};

use super::floats::flush;

/// 0: no disturbance; else its seed.
static DISTURBANCE: AtomicU32 = AtomicU32::new(0);

/// Bounds of the PTX manual: relative unless said otherwise.
const EX2: f64 = 2.4e-7; // 2 + 2^-22 ulp
const LG2: f64 = 2.4e-7; // absolute 2^-22 near one
const RCP: f64 = 1.2e-7; // 1 ulp
const RSQRT: f64 = 1.9e-7; // 2^-22.9
const SQRT: f64 = 1.2e-7;
const DIV: f64 = 2.4e-7; // 2 ulp
const SINE: f64 = 5.9e-7; // absolute 2^-20.9
const TANH: f64 = 4.9e-4; // 2^-11

/// From here a denominator makes `div.approx` zero.
const DIVIDE_LIMIT: f32 = 8.507_059e37; // 2^126

pub fn disturb(seed: u32) {
    DISTURBANCE.store(seed, Ordering::Relaxed);
}

/// A number in -1..=1 that depends on the bits and the seed alone.
fn shake(bits: u32) -> f64 {
    let seed = DISTURBANCE.load(Ordering::Relaxed);
    if seed == 0 {
        return 0.0;
    }
    let mut h = (bits ^ seed).wrapping_mul(0x9e37_79b9);
    h = (h ^ h >> 15).wrapping_mul(0x85eb_ca6b);
    f64::from(h ^ h >> 13) / f64::from(u32::MAX) * 2.0 - 1.0
}

fn relative(exact: f64, bound: f64, from: f32) -> f32 {
    (exact * (1.0 + bound * shake(from.to_bits()))) as f32
}

fn absolute(exact: f64, bound: f64, from: f32) -> f32 {
    (exact + bound * shake(from.to_bits())) as f32
}

pub fn power_of_two(a: f32) -> f32 {
    relative(f64::from(a).exp2(), EX2, a)
}

pub fn logarithm(a: f32) -> f32 {
    let exact = f64::from(a).log2();
    if exact == 0.0 || !exact.is_finite() {
        exact as f32
    } else {
        absolute(exact, LG2 * exact.abs().min(1.0), a)
    }
}

pub fn reciprocal(a: f32) -> f32 {
    relative(1.0 / f64::from(a), RCP, a)
}

pub fn root(a: f32) -> f32 {
    relative(f64::from(a).sqrt(), SQRT, a)
}

pub fn reciprocal_root(a: f32) -> f32 {
    relative(1.0 / f64::from(a).sqrt(), RSQRT, a)
}

pub fn divide(a: f32, b: f32) -> f32 {
    if b.abs() > DIVIDE_LIMIT && b.is_finite() {
        return if a.is_infinite() {
            f32::NAN
        } else {
            0f32.copysign(a * b.signum())
        };
    }
    relative(f64::from(a) / f64::from(b), DIV, a)
}

pub fn sine(a: f32) -> f32 {
    if a == 0.0 {
        a
    } else {
        absolute(f64::from(a).sin(), SINE, a)
    }
}

pub fn cosine(a: f32) -> f32 {
    absolute(f64::from(a).cos(), SINE, a).clamp(-1.0, 1.0)
}

pub fn hyperbolic_tangent(a: f32) -> f32 {
    relative(f64::from(a).tanh(), TANH, a).clamp(-1.0, 1.0)
}

/// The upper word of a double: what the 64-bit approximations return.
pub fn coarse(a: f64) -> f64 {
    f64::from_bits(a.to_bits() & 0xffff_ffff_0000_0000)
}

pub fn flush_f64(a: f64) -> f64 {
    if a.is_subnormal() {
        0f64.copysign(a)
    } else {
        a
    }
}

/// A result below the normal range, for functions that always flush.
pub fn flushed(a: f32) -> f32 {
    flush(a)
}

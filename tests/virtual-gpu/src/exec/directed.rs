//! Arithmetic under a rounding direction other than to nearest.

use std::arch::asm;

use super::floats::Rounding;

/// The control word: all exceptions masked, and the two bits of the direction.
const MASKED: u32 = 0x1f80;
const DIRECTION_SHIFT: u32 = 13;

fn control(rounding: Rounding) -> u32 {
    let direction = match rounding {
        Rounding::Nearest | Rounding::Away => 0,
        Rounding::Down => 1,
        Rounding::Up => 2,
        Rounding::Zero => 3,
    };
    MASKED | direction << DIRECTION_SHIFT
}

macro_rules! directed {
    ($name:ident, $ty:ty, $instruction:literal, ($($argument:ident),*)) => {
        /// One instruction under the asked direction.
        #[inline]
        pub fn $name(first: $ty, $($argument: $ty,)* rounding: Rounding) -> $ty {
            let mut result = first;
            let asked = control(rounding);
            let usual = MASKED;
            // SAFETY: the control word is back to the one that Rust assumes before the block ends; the
            // block touches its operands and reads two words on this stack, nothing else.
            unsafe {
                asm!(
                    "ldmxcsr [{asked}]",
                    $instruction,
                    "ldmxcsr [{usual}]",
                    $($argument = in(xmm_reg) $argument,)*
                    asked = in(reg) &asked,
                    usual = in(reg) &usual,
                    result = inout(xmm_reg) result,
                    options(nostack, preserves_flags),
                );
            }
            result
        }
    };
}

directed!(add_f32, f32, "addss {result}, {second}", (second));
directed!(mul_f32, f32, "mulss {result}, {second}", (second));
directed!(div_f32, f32, "divss {result}, {second}", (second));
directed!(sqrt_f32, f32, "sqrtss {result}, {result}", ());
directed!(
    fma_f32,
    f32,
    "vfmadd213ss {result}, {second}, {third}",
    (second, third)
);
directed!(add_f64, f64, "addsd {result}, {second}", (second));
directed!(mul_f64, f64, "mulsd {result}, {second}", (second));
directed!(div_f64, f64, "divsd {result}, {second}", (second));
directed!(sqrt_f64, f64, "sqrtsd {result}, {result}", ());
directed!(
    fma_f64,
    f64,
    "vfmadd213sd {result}, {second}, {third}",
    (second, third)
);

/// f64 to f32 under a direction.
pub fn narrow(value: f64, rounding: Rounding) -> f32 {
    f32::from_bits(super::floats::F32.encode(value, rounding, false))
}

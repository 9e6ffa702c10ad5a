//! The gated activation, `silu(gate) * up`: straight-line code that becomes vector instructions.

#[cfg(target_arch = "x86_64")]
use super::kernel_avx2::Avx2;
use super::kernel_portable::exp;

/// `out = silu(gate) * up`, element by element, with what this host has.
#[cfg(target_arch = "x86_64")]
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    match Avx2::detect() {
        // SAFETY: the features were just detected.
        Some(_) => unsafe { wide(gate, up, out) },
        None => elements::<false>(gate, up, out),
    }
}

/// `out = silu(gate) * up`, element by element, with what this host has.
#[cfg(not(target_arch = "x86_64"))]
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elements::<false>(gate, up, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn wide(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elements::<true>(gate, up, out);
}

#[inline(always)]
fn elements<const FUSED: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        // e^-|x| never overflows; sigmoid(x) is 1 / (1 + e) on one side of 0 and e / (1 + e) on the other.
        let e = exp::<FUSED>(-gate.abs());
        let upper = if gate < 0.0 { e } else { 1.0 };
        *out = gate * (upper / (1.0 + e)) * up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_f64_from_end_to_end() {
        let gates: Vec<f32> = (-2000..=2000).map(|i| i as f32 * 0.06).collect();
        let ups: Vec<f32> = gates.iter().map(|g| 1.5 - g * 0.01).collect();
        let mut fast = vec![0.0; gates.len()];
        let mut plain = fast.clone();
        silu_mul(&gates, &ups, &mut fast);
        elements::<false>(&gates, &ups, &mut plain);
        for i in 0..gates.len() {
            let (g, u) = (f64::from(gates[i]), f64::from(ups[i]));
            let expected = g / (1.0 + (-g).exp()) * u;
            // e^x under the smallest normal f32 is taken as 0: here at most 88 * 2.4 * 2^-126.
            let bound = expected.abs() * 1e-6 + 3e-36;
            for found in [fast[i], plain[i]] {
                let error = (f64::from(found) - expected).abs();
                assert!(
                    error <= bound,
                    "silu({g}) * {u}: {found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn nan_is_not_hidden() {
        let mut out = [0.0];
        silu_mul(&[f32::NAN], &[1.0], &mut out);
        assert!(out[0].is_nan());
    }
}

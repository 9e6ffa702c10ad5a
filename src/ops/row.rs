//! Helpers on single rows, written so that the compiler vectorises them for any host.

/// Independent running values: enough for two wide vectors.
const LANES: usize = 16;

/// The highest value and the lowest index that holds it.
///
/// A NaN anywhere is reported instead: its value, and the index of the first. An empty row is
/// `(0, NaN)`.
pub fn argmax(row: &[f32]) -> (u32, f32) {
    let (chunks, tail) = row.as_chunks::<LANES>();
    let mut highest = [f32::NEG_INFINITY; LANES];
    let mut nan = [false; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            highest[i] = if chunk[i] > highest[i] {
                chunk[i]
            } else {
                highest[i]
            };
            nan[i] |= chunk[i].is_nan();
        }
    }
    let is_nan = |value: &f32| value.is_nan();
    if nan.contains(&true) || tail.iter().any(is_nan) {
        let index = row.iter().position(is_nan).unwrap_or(0);
        return (index as u32, f32::NAN);
    }
    let max = highest
        .iter()
        .chain(tail)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    // A chunk at a time, for a comparison of each element on its own would not become vectors.
    let holds = |chunk: &[f32; LANES]| chunk.iter().fold(false, |found, &v| found | (v == max));
    let start = chunks.iter().position(holds).unwrap_or(chunks.len()) * LANES;
    match row[start..].iter().position(|&value| value == max) {
        Some(offset) => ((start + offset) as u32, row[start + offset]),
        None => (0, f32::NAN),
    }
}

/// [`argmax`] of a row from those of two runs of it, `(index in the row, value)`, `a` before `b`.
pub fn higher(a: (u32, f32), b: (u32, f32)) -> (u32, f32) {
    if a.1.is_nan() || a.1 >= b.1 { a } else { b }
}

/// `out = x / sqrt(mean(x²) + eps) * weight`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = norm_scale(x, eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

/// [`rms_norm`] in place.
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let scale = norm_scale(x, eps);
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = *x * scale * weight;
    }
}

/// `1 / sqrt(mean(x²) + eps)`; the squares are summed in 16 lanes.
fn norm_scale(x: &[f32], eps: f32) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut squares = [0.0_f32; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            squares[i] += chunk[i] * chunk[i];
        }
    }
    let sum: f32 = squares.iter().sum::<f32>() + tail.iter().map(|x| x * x).sum::<f32>();
    (sum / x.len() as f32 + eps).sqrt().recip()
}

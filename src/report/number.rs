//! Numbers as a reader wants them: four figures or so.

use serde_json::Value;

const FIGURES: i32 = 4;
const MOST_DECIMALS: i32 = 4;
const SCIENTIFIC_BELOW: f64 = 1e-3;
const SCIENTIFIC_FROM: f64 = 1e15;

/// Four significant figures, and never fewer than the whole number.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(SCIENTIFIC_BELOW..SCIENTIFIC_FROM).contains(&size) {
        return format!("{value:.2e}");
    }
    // The exponent after rounding: 9.9999 is shown as 10.00.
    let rounded = format!("{size:.3e}");
    let exponent = rounded.rsplit('e').next().and_then(|e| e.parse().ok());
    let decimals = FIGURES - 1 - exponent.unwrap_or(0);
    let decimals = decimals.clamp(0, MOST_DECIMALS).unsigned_abs() as usize;
    format!("{value:.decimals$}")
}

/// A metric's value in units of `scale`; `None` for null.
pub fn metric(value: &Value, scale: f64) -> Option<String> {
    match value {
        Value::Number(n) if scale == 1.0 && n.is_u64() => Some(n.to_string()),
        Value::Number(n) => n.as_f64().map(|n| number(n / scale)),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
const BASE: usize = 10;

/// A footnote's mark.
pub fn superscript(mut n: usize) -> String {
    let mut marks = Vec::new();
    loop {
        marks.push(DIGITS[n % BASE]);
        n /= BASE;
        if n == 0 {
            return marks.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_figures() {
        let shown = [0.0, 1e-5, 0.026_54, 9.9999, 52.0526, 645.403, 1450.31, -2.5].map(number);
        let expected = [
            "0", "1.00e-5", "0.0265", "10.00", "52.05", "645.4", "1450", "-2.500",
        ];
        assert_eq!(shown, expected);
        assert_eq!(superscript(120), "¹²⁰");
    }
}

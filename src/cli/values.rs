//! Parsers of flag values: each error says what the value must be.

use std::time::Duration;

pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("it must be a whole number of at least 1".to_owned()),
    }
}

pub fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if f > 0.0 && f <= 1.0 => Ok(f),
        _ => Err("it must be a number above 0 and at most 1".to_owned()),
    }
}

pub fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
        _ => Err("it must be a number from 0 to 1".to_owned()),
    }
}

pub fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(t) if t >= 0.0 && t.is_finite() => Ok(t),
        _ => Err("it must be a number of at least 0 (0 is greedy)".to_owned()),
    }
}

pub fn seconds(text: &str) -> Result<Duration, String> {
    let value = text.parse::<f64>().ok().filter(|s| *s > 0.0);
    value
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| "it must be a positive number of seconds".to_owned())
}

pub fn positive_number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 0.0 && v.is_finite() => Ok(v),
        _ => Err("it must be a positive number".to_owned()),
    }
}

/// A plain number of bytes, or one with K, M, G or T (powers of 1024; `GiB` and `GB` read as `G`).
pub fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u32); 4] = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];
    let error = || "it must be a positive number of bytes, such as 4294967296 or 4G".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let short = lower.trim_end_matches('b').trim_end_matches('i');
    let unit = UNITS.iter().find(|(letter, _)| short.ends_with(*letter));
    let number = unit.map_or(lower.as_str(), |_| &short[..short.len() - 1]);
    let shift = unit.map_or(0, |(_, shift)| *shift);
    let value: f64 = number.trim().parse().map_err(|_| error())?;
    let bytes = value * 2f64.powi(shift as i32);
    if bytes >= 1.0 && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err(error())
    }
}

/// Comma-separated token ids.
pub fn token_ids(text: &str) -> Result<Vec<u32>, String> {
    let ids: Result<Vec<u32>, String> = text
        .split(',')
        .map(|part| {
            part.trim()
                .parse()
                .map_err(|_| format!("{part:?} is not a token id; write ids as 1,2,3"))
        })
        .collect();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_units() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("1k"), Ok(1024));
        assert_eq!(bytes("4GiB"), Ok(4 << 30));
        assert_eq!(bytes("1.5 GB"), Ok(3 << 29));
        assert_eq!(bytes("16m"), Ok(16 << 20));
        for bad in ["", "-1", "0", "4X", "G", "1e400", "nan"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zero_and_negative_values_are_refused() {
        assert!(positive("0").is_err() && positive("-3").is_err() && positive("1.5").is_err());
        assert!(fraction("0").is_err() && fraction("1.01").is_err() && fraction("nan").is_err());
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("inf").is_err());
        assert!(temperature("-0.1").is_err() && temperature("0").is_ok());
        assert!(probability("1.1").is_err() && probability("0.9").is_ok());
    }

    #[test]
    fn token_ids_are_named_when_wrong() {
        assert_eq!(token_ids("1, 2,3"), Ok(vec![1, 2, 3]));
        assert!(token_ids("1,x").unwrap_err().contains("\"x\""));
        assert!(token_ids("-1").is_err());
    }
}

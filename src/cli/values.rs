//! Parsers of flag values: each error says what the value must be.

use std::ops::Range;
use std::time::Duration;

/// Counts above this are slips of the keyboard; products of two of them still fit 64 bits.
const LARGEST: usize = 1 << 31;
/// More threads than any machine has cores.
const MOST_THREADS: usize = 4096;
/// Steps of a trace: more than that no viewer opens.
const LONGEST_RANGE: usize = 10_000;
/// Rates, shapes and times beyond these have no meaning for a run, and a clock could not hold them.
const LEAST_NUMBER: f64 = 1e-6;
const GREATEST_NUMBER: f64 = 1e9;

pub fn positive(text: &str) -> Result<usize, String> {
    within(text, 1, LARGEST)
}

pub fn whole(text: &str) -> Result<usize, String> {
    within(text, 0, LARGEST)
}

pub fn threads(text: &str) -> Result<usize, String> {
    within(text, 1, MOST_THREADS)
}

/// `N..M`, of which M is left out, for steps whose records are kept.
pub fn range(text: &str) -> Result<Range<usize>, String> {
    let ends = text.split_once("..");
    let ends = ends.and_then(|(start, end)| Some((whole(start).ok()?, whole(end).ok()?)));
    match ends {
        Some((start, end)) if start < end && end - start > LONGEST_RANGE => Err(format!(
            "it must be at most {LONGEST_RANGE} steps, all of which are kept in memory"
        )),
        Some((start, end)) if start < end => Ok(start..end),
        _ => Err(
            "it must be two whole numbers, the first below the second, such as 10..20".to_owned(),
        ),
    }
}

fn within(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let value = text.parse().ok();
    value
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("it must be a whole number from {least} to {most}"))
}

pub fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("it must be a whole number from 0 to {}", u64::MAX))
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
    let seconds = positive_number(text).map_err(|rule| format!("{rule} of seconds"))?;
    Ok(Duration::from_secs_f64(seconds))
}

pub fn positive_number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if (LEAST_NUMBER..=GREATEST_NUMBER).contains(&v) => Ok(v),
        _ => Err("it must be a positive number (1e-6 to 1e9)".to_owned()),
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
        assert!(whole("0").is_ok() && whole("-1").is_err() && threads("0").is_err());
        assert!(seed("18446744073709551615").is_ok() && seed("-1").is_err());
        assert!(fraction("0").is_err() && fraction("1.01").is_err() && fraction("nan").is_err());
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("inf").is_err());
        assert!(temperature("-0.1").is_err() && temperature("0").is_ok());
        assert!(probability("1.1").is_err() && probability("0.9").is_ok());
    }

    #[test]
    fn values_that_no_machine_could_serve_are_refused() {
        assert_eq!(positive("2147483648"), Ok(LARGEST));
        assert!(positive("2147483649").is_err() && positive("99999999999999999999").is_err());
        assert!(threads("4097").is_err());
        for bad in ["1e300", "1e-300", "inf", "nan"] {
            assert!(
                positive_number(bad).is_err() && seconds(bad).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn ranges_have_two_ends_in_order() {
        assert_eq!(range("3..10"), Ok(3..10));
        assert_eq!(
            range("2147473648..2147483648").map(|steps| steps.len()),
            Ok(LONGEST_RANGE)
        );
        assert!(range("0..10001").unwrap_err().contains("10000 steps"));
        for bad in [
            "", "3", "3..", "..3", "3..3", "4..3", "-1..3", "a..b", "1..2..3", "1..=3",
        ] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn token_ids_are_named_when_wrong() {
        assert_eq!(token_ids("1, 2,3"), Ok(vec![1, 2, 3]));
        assert!(token_ids("1,x").unwrap_err().contains("\"x\""));
        assert!(token_ids("-1").is_err());
    }
}

//! Lengths as flags write them.

use std::str::FromStr;

use super::{Lengths, TRACES, Trace};
use crate::ground::terminal::listed;

/// Lengths beyond this are slips of the keyboard; sums of a few of them still fit.
const LONGEST: usize = 1 << 31;

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return length(text).map(Self::Fixed).ok_or_else(wrong);
        }
        if let Some(trace) = Trace::named(text) {
            return Ok(Self::Trace(trace));
        }
        let (name, numbers) = text.split_once(':').ok_or_else(wrong)?;
        let found = match name {
            "uniform" => uniform(numbers),
            "normal" => spread(numbers).map(|(mean, deviation)| Self::Normal { mean, deviation }),
            "lognormal" => {
                spread(numbers).map(|(mean, deviation)| Self::LogNormal { mean, deviation })
            }
            _ => None,
        };
        found.ok_or_else(wrong)
    }
}

fn uniform(numbers: &str) -> Option<Lengths> {
    let (least, most) = numbers.split_once('-')?;
    let (least, most) = (length(least)?, length(most)?);
    (least <= most).then_some(Lengths::Uniform { least, most })
}

/// Mean and standard deviation.
fn spread(numbers: &str) -> Option<(f64, f64)> {
    let (mean, deviation) = numbers.split_once(',')?;
    let number = |text: &str| {
        let value = text.trim().parse::<f64>().ok();
        value.filter(|value| (0.0..=LONGEST as f64).contains(value))
    };
    let (mean, deviation) = (number(mean)?, number(deviation)?);
    (mean >= 1.0).then_some((mean, deviation))
}

fn length(text: &str) -> Option<usize> {
    let length = text.trim().parse().ok();
    length.filter(|length| (1..=LONGEST).contains(length))
}

fn wrong() -> String {
    let traces = TRACES.iter().map(|trace| trace.name).collect::<Vec<_>>();
    format!(
        "it must be a whole number of tokens from 1 to {LONGEST}, uniform:LEAST-MOST, normal:MEAN,DEVIATION, \
lognormal:MEAN,DEVIATION, or the lengths of {}",
        listed(&traces, ", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "1",
            "512",
            "uniform:64-1024",
            "uniform:5-5",
            "normal:512,128",
            "lognormal:512.5,0",
            "sharegpt",
            "azure-conv",
            "azure-code",
            "mooncake",
        ] {
            assert_eq!(text.parse::<Lengths>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_length_is_told_what_it_may_be() {
        for text in [
            "",
            "0",
            "-1",
            "1.5",
            "2147483649",
            "uniform",
            "uniform:",
            "uniform:9-3",
            "uniform:0-3",
            "uniform:1-",
            "normal:512",
            "normal:0,1",
            "normal:5,-1",
            "normal:nan,1",
            "normal:inf,1",
            "lognormal:5,nan",
            "gamma:1,2",
            "sharegpt:1",
            "ShareGPT",
            "99999999999999999999",
        ] {
            let error = text.parse::<Lengths>().unwrap_err();
            assert!(
                error.contains("uniform:LEAST-MOST") && error.contains("sharegpt"),
                "{text}: {error}"
            );
        }
    }
}

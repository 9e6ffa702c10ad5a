//! How many requests come a second, and how that changes over a run.

use std::fmt;
use std::str::FromStr;

/// Requests a second that make sense to anyone.
const LEAST: f64 = 1e-6;
const GREATEST: f64 = 1e9;

/// Requests a second.
#[derive(Debug, Clone, PartialEq)]
pub enum Rate {
    /// Infinite: all at once.
    Constant(f64),
    /// In straight lines from each to the next, which take equal parts of the run: `ramp:1-20`.
    Ramp(Vec<f64>),
    /// Each for an equal part of the run: `stairs:1-5-20`.
    Stairs(Vec<f64>),
}

impl Rate {
    /// Whether it needs to know how long the run is.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Constant(_))
    }

    /// Over the run.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant(rate) => *rate,
            Self::Stairs(rates) => rates.iter().sum::<f64>() / rates.len() as f64,
            Self::Ramp(rates) => {
                let lines = rates.windows(2).map(|ends| (ends[0] + ends[1]) / 2.0);
                lines.sum::<f64>() / (rates.len() - 1) as f64
            }
        }
    }

    /// Rates at the ends of its parts, which are equally long.
    fn parts(&self) -> Vec<(f64, f64)> {
        match self {
            Self::Constant(rate) => vec![(*rate, *rate)],
            Self::Stairs(rates) => rates.iter().map(|&rate| (rate, rate)).collect(),
            Self::Ramp(rates) => rates.windows(2).map(|ends| (ends[0], ends[1])).collect(),
        }
    }
}

impl From<f64> for Rate {
    fn from(rate: f64) -> Self {
        Self::Constant(rate)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            match text.parse::<f64>() {
            Ok(rate) if (LEAST..=GREATEST).contains(&rate) => Ok(rate),
            _ => Err("it must be a positive number (1e-6 to 1e9), inf for all at once, or a rate that changes: ramp:1-20, stairs:1-5-20".to_owned()),
        }
        };
        let rates = |text: &str, least: usize| {
            let rates: Result<Vec<f64>, String> = text.split('-').map(number).collect();
            match rates? {
                rates if rates.len() < least => {
                    Err("it must be two rates or more, such as ramp:1-20".to_owned())
                }
                rates => Ok(rates),
            }
        };
        match text.split_once(':') {
            Some(("ramp", text)) => rates(text, 2).map(Self::Ramp),
            Some(("stairs", text)) => rates(text, 1).map(Self::Stairs),
            _ if text == "inf" => Ok(Self::Constant(f64::INFINITY)),
            _ => number(text).map(Self::Constant),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, rates) = match self {
            Self::Constant(rate) => return write!(f, "{rate}"),
            Self::Ramp(rates) => ("ramp", rates),
            Self::Stairs(rates) => ("stairs", rates),
        };
        let rates: Vec<String> = rates.iter().map(f64::to_string).collect();
        write!(f, "{kind}:{}", rates.join("-"))
    }
}

/// A changing rate laid over a time: when the n-th request comes, if they come evenly.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Of each part.
    seconds: f64,
    parts: Vec<(f64, f64)>,
}

impl Course {
    /// Over `seconds`.
    pub fn new(rate: &Rate, seconds: f64) -> Self {
        let parts = rate.parts();
        Self {
            seconds: seconds / parts.len() as f64,
            parts,
        }
    }

    /// Seconds until so many requests have come; `None`: so many never do.
    pub fn time_of(&self, mut requests: f64) -> Option<f64> {
        for (at, &(from, to)) in self.parts.iter().enumerate() {
            let all = self.seconds * (from + to) / 2.0;
            if requests <= all {
                // The root of from t + slope t² / 2 = requests, in the form that loses no digits.
                let slope = (to - from) / self.seconds;
                let root = (from * from + 2.0 * slope * requests).max(0.0).sqrt();
                return Some(at as f64 * self.seconds + 2.0 * requests / (from + root));
            }
            requests -= all;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_alike() {
        for text in [
            "2",
            "0.5",
            "inf",
            "ramp:1-20",
            "ramp:1-20-5",
            "stairs:1-5-20",
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "0",
            "-1",
            "nan",
            "ramp:",
            "ramp:1",
            "ramp:0-5",
            "stairs:",
            "stairs:1-x",
            "hill:1-2",
            "ramp:1-inf",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        let mean = |text: &str| text.parse::<Rate>().unwrap().mean();
        assert_eq!((mean("ramp:1-20"), mean("ramp:1-3-9")), (10.5, 4.0));
        assert_eq!((mean("stairs:1-5-6"), mean("2")), (4.0, 2.0));
    }

    #[test]
    fn a_course_has_as_many_requests_as_lie_under_it() {
        let at = |text: &str, seconds, requests| {
            Course::new(&text.parse().unwrap(), seconds).time_of(requests)
        };
        // From 1 to 3 in 10 s: t + t² / 10 have come by then.
        assert_eq!(at("ramp:1-3", 10.0, 0.0), Some(0.0));
        assert!((at("ramp:1-3", 10.0, 7.5).unwrap() - 5.0).abs() < 1e-9);
        assert_eq!(at("ramp:1-3", 10.0, 20.0), Some(10.0));
        assert_eq!(at("ramp:1-3", 10.0, 20.1), None);
        // Down again, as up.
        assert!((at("ramp:3-1", 10.0, 12.5).unwrap() - 5.0).abs() < 1e-9);
        assert_eq!(at("stairs:1-4", 10.0, 5.0), Some(5.0));
        assert_eq!(at("stairs:1-4", 10.0, 13.0), Some(7.0));
    }
}

//! Parts of a load: what ends its requests early, and how their tokens are drawn.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of requests in flight when the time of a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// They are played to their end.
    #[default]
    Drain,
    /// They end there and then.
    Cut,
}

/// Requests that whoever sent them gives up, drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cancel {
    /// Of all requests, above 0 and at most 1.
    pub share: f64,
    /// Seconds after its arrival; null: once a part of its answer has come, drawn for each.
    pub after_s: Option<f64>,
}

/// `SHARE` or `SHARE:SECONDS`, as the flag takes it.
impl FromStr for Cancel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (share, seconds) = match text.split_once(':') {
            Some((share, seconds)) => (share, Some(seconds)),
            None => (text, None),
        };
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        let share = number(share)
            .filter(|share| *share > 0.0 && *share <= 1.0)
            .ok_or("it must be a share above 0 and at most 1, such as 0.1 or 0.1:5")?;
        let after_s = seconds
            .map(|seconds| {
                number(seconds)
                    .filter(|seconds| *seconds > 0.0)
                    .ok_or("behind the colon it must be a positive number of seconds")
            })
            .transpose()?;
        Ok(Self { share, after_s })
    }
}

impl fmt::Display for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.share)?;
        self.after_s
            .map_or(Ok(()), |seconds| write!(f, ":{seconds}"))
    }
}

/// How tokens are drawn, where it is not the most likely one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drawing {
    pub temperature: f32,
    /// Only so many of the most likely tokens; 0 is all.
    pub top_k: usize,
    /// Only the most likely tokens that make up this probability.
    pub top_p: f32,
    /// Of the draws.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_written_alike() {
        for text in ["0.1", "0.25:5", "1:0.5"] {
            assert_eq!(text.parse::<Cancel>().unwrap().to_string(), text);
        }
        for bad in [
            "", "0", "1.1", "-0.1", "nan", "0.1:", "0.1:0", "0.1:inf", "a:b",
        ] {
            assert!(bad.parse::<Cancel>().is_err(), "{bad}");
        }
    }
}

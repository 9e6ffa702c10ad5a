//! A shape as llama-bench names it.

use std::fmt;
use std::str::FromStr;

use crate::session::LARGEST_COUNT;

/// Tokens of a prompt that is read, and of an answer that is drawn behind it; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Of the prompt; 0: none is timed.
    pub prompt: usize,
    /// Of the answer; 0: none is drawn.
    pub output: usize,
}

impl Shape {
    /// Its name behind `depth` tokens.
    pub fn at(self, depth: usize) -> String {
        match depth {
            0 => self.to_string(),
            depth => format!("{self} @ d{depth}"),
        }
    }

    /// Prompt tokens of the request that plays it behind `depth`: an answer begins at some token.
    pub(super) fn prompt_len(self, depth: usize) -> usize {
        (depth + self.prompt).max(1)
    }

    /// Tokens that the request draws. That which the prompt itself yields costs no step of its own.
    pub(super) fn output_len(self) -> usize {
        self.output + 1
    }

    /// Tokens of the request behind `depth`.
    pub(super) fn longest(self, depth: usize) -> usize {
        self.prompt_len(depth) + self.output_len()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.output) {
            (prompt, 0) => write!(f, "pp{prompt}"),
            (0, output) => write!(f, "tg{output}"),
            (prompt, output) => write!(f, "pp{prompt}+tg{output}"),
        }
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let count = |digits: &str| {
            let count = digits.parse().ok();
            count.filter(|count| (1..=LARGEST_COUNT).contains(count))
        };
        let (mut prompt, mut output) = (None, None);
        let mut is_whole = true;
        for part in text.trim().split('+') {
            let known = match (part.strip_prefix("pp"), part.strip_prefix("tg")) {
                (Some(digits), _) if prompt.is_none() && output.is_none() => {
                    prompt = count(digits);
                    prompt
                }
                (_, Some(digits)) if output.is_none() => {
                    output = count(digits);
                    output
                }
                _ => None,
            };
            is_whole &= known.is_some();
        }
        match is_whole {
            true => Ok(Self {
                prompt: prompt.unwrap_or(0),
                output: output.unwrap_or(0),
            }),
            false => Err("it must be pp and tokens of a prompt, tg and tokens of an answer, or both, such as pp512, tg128 or pp512+tg128".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_as_they_are_written() {
        for name in ["pp512", "tg128", "pp512+tg128"] {
            let shape: Shape = name.parse().unwrap();
            assert_eq!(shape.to_string(), name);
            assert_eq!(shape.at(4096), format!("{name} @ d4096"));
        }
        for bad in [
            "", "512", "pp", "pp0", "tg-1", "pp5+pp5", "tg5+pp5", "pp5+", "pp5tg5",
        ] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }
}

//! From seconds that the same tokens take at each level to what each level lost.

use super::level::{Level, Name, Origin, Part};

/// Part of a level's time that is no part, but what sums of many steps are off by.
const ROUNDING: f64 = 1e-10;

/// A level that was observed.
#[derive(Debug)]
pub struct Found {
    pub origin: Origin,
    /// In which the run's tokens come at this level.
    pub seconds: f64,
    /// Of the seconds more than at the observed level above; none where they are not told apart.
    pub parts: Vec<(String, f64)>,
    pub note: Option<String>,
}

impl Found {
    pub fn new(origin: impl Into<Origin>, seconds: f64) -> Self {
        Self {
            origin: origin.into(),
            seconds,
            parts: Vec::new(),
            note: None,
        }
    }

    pub fn noted(self, note: String) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }
}

/// Levels so far.
#[derive(Debug)]
pub struct Fall {
    /// Output tokens of the run, those of requests that failed too.
    tokens: f64,
    /// At the lowest observed level.
    above: Option<f64>,
    pub levels: Vec<Level>,
}

impl Fall {
    pub fn new(tokens: f64) -> Self {
        Self {
            tokens,
            above: None,
            levels: Vec::new(),
        }
    }

    /// A level below those that there are; `Err`: why it was not observed.
    pub fn add(&mut self, name: Name, found: Result<Found, String>) {
        let mut level = Level {
            name,
            definition: name.definition().to_owned(),
            origin: None,
            tokens_per_s: None,
            lost: None,
            parts: Vec::new(),
            note: None,
            reason: None,
        };
        let positive = |found: Found| match found.seconds > 0.0 && found.seconds.is_finite() {
            true => Ok(found),
            false => Err("nothing was done in it that takes time".to_owned()),
        };
        match found.and_then(positive) {
            Err(reason) => level.reason = Some(reason),
            Ok(found) => {
                let seconds = found.seconds;
                level.origin = Some(found.origin);
                level.tokens_per_s = Some(self.tokens / seconds);
                level.note = found.note;
                if let Some(above) = self.above {
                    // tokens / above - tokens / seconds, for the whole as for each part.
                    let lost = |more: f64| self.tokens * more / (above * seconds);
                    level.lost = Some(lost(seconds - above));
                    let is_there = |(_, more): &(String, f64)| more.abs() > ROUNDING * seconds;
                    let parts = found.parts.into_iter().filter(is_there);
                    let parts = parts.map(|(name, more)| Part {
                        name,
                        lost: lost(more),
                    });
                    level.parts = parts.collect();
                    let by_loss = |a: &Part, b: &Part| b.lost.total_cmp(&a.lost);
                    level.parts.sort_by(by_loss);
                }
                self.above = Some(seconds);
            }
        }
        self.levels.push(level);
    }
}

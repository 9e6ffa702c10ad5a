//! What a ratio and its interval say.

use serde::Serialize;

use super::Compared;

/// Of the second result against the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    #[serde(rename = "faster")]
    Faster,
    #[serde(rename = "slower")]
    Slower,
    #[serde(rename = "no change")]
    NoChange,
    #[serde(rename = "inconclusive")]
    Inconclusive,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::NoChange => "no change",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Of a figure that is the better the higher: the whole interval decides, beyond the tolerance or within it. Without
/// one the ratio does.
pub fn verdict(ratio: f64, interval: Option<(f64, f64)>, tolerance: f64) -> Verdict {
    let (low, high) = interval.unwrap_or((ratio, ratio));
    let (least, most) = (1.0 - tolerance, 1.0 + tolerance);
    if high < least {
        Verdict::Slower
    } else if low > most {
        Verdict::Faster
    } else if low >= least && high <= most {
        Verdict::NoChange
    } else {
        Verdict::Inconclusive
    }
}

/// One figure that is worse makes the whole worse; better needs one that is, and none that is worse. No change is said
/// where no judged figure changed.
pub fn of_all(metrics: &[Compared]) -> Verdict {
    let judged: Vec<Verdict> = metrics
        .iter()
        .filter(|metric| metric.judged)
        .filter_map(|metric| metric.verdict)
        .collect();
    if judged.contains(&Verdict::Slower) {
        Verdict::Slower
    } else if judged.contains(&Verdict::Faster) {
        Verdict::Faster
    } else if !judged.is_empty() && judged.iter().all(|one| *one == Verdict::NoChange) {
        Verdict::NoChange
    } else {
        Verdict::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_interval_decides() {
        let of = |low, high| verdict(1.0, Some((low, high)), 0.03);
        assert_eq!(of(0.90, 0.96), Verdict::Slower);
        assert_eq!(of(0.90, 0.98), Verdict::Inconclusive);
        assert_eq!(of(0.98, 1.02), Verdict::NoChange);
        assert_eq!(of(1.04, 1.30), Verdict::Faster);
        assert_eq!(verdict(0.9, None, 0.03), Verdict::Slower);
        assert_eq!(verdict(1.01, None, 0.03), Verdict::NoChange);
    }
}

//! Results side by side: what differs besides the figures, the ratio of each with its interval, and a verdict.

mod blocks;
mod circumstances;
mod interval;
mod side;
mod statistic;
mod verdict;
pub mod waterfall;

use serde::Serialize;

use crate::reference::{Reason, comparable_figures};
pub use blocks::read as blocks_of;
pub use circumstances::Difference;
pub use interval::spread;
use interval::{Interval, interval};
pub use side::{Load, Side, SideError};
use statistic::{Better, judged};
pub use verdict::Verdict;
use verdict::{of_all, verdict};

/// Probability that a whole comparison of two equal machines says faster or slower.
pub const FALSE_ALARMS: f64 = 0.05;

/// Two results: the second over the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub a: String,
    pub b: String,
    /// Besides the figures; the first to read.
    pub differences: Vec<Difference>,
    /// What is to be known of either before its figures are believed, such as sums that do not add up.
    pub remarks: Vec<Remark>,
    pub metrics: Vec<Compared>,
    /// Part by which a figure may differ and be called the same.
    pub tolerance: f64,
    pub verdict: Verdict,
}

/// Said of one of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// `a` or `b`.
    pub of: &'static str,
    pub text: String,
}

/// One figure of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    pub name: String,
    /// Of which load, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    pub a: Option<f64>,
    pub b: Option<f64>,
    /// `b` over `a`.
    pub ratio: Option<f64>,
    /// The interval of the ratio; null where nothing tells how much it varies.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub verdict: Option<Verdict>,
    /// Whether it counts for the verdict of all.
    pub judged: bool,
    /// Where the interval comes from, or why there is no ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Compares `b` with `a`; figures may differ by the part `tolerance`.
pub fn compare(a: &Side, b: &Side, tolerance: f64) -> Comparison {
    let (pairs, alone) = side::paired(a, b);
    let several = pairs.len() > 1;
    let judgements: usize = pairs.iter().map(|(a, b)| both(a, b).len()).sum();
    // Each of so many is asked more of, so that all together are wrong no more often (Bonferroni).
    let level = 1.0 - FALSE_ALARMS / judgements.max(1) as f64;
    let mut metrics = Vec::new();
    for (one, other) in &pairs {
        let load = several.then(|| one.name.clone());
        let names = statistic::names(one, other);
        metrics.extend(names.into_iter().map(|name| Compared {
            load: load.clone(),
            ..figure(&name, one, other, level, tolerance)
        }));
    }
    let mut differences = circumstances::between(&a.circumstances, &b.circumstances);
    for (one, other) in &pairs {
        let of_load = circumstances::between(&one.circumstances, &other.circumstances);
        differences.extend(of_load);
    }
    differences.extend(alone);
    let mut known: Vec<Difference> = Vec::new();
    differences.retain(|difference| {
        let is_new = !known.contains(difference);
        known.push(difference.clone());
        is_new
    });
    Comparison {
        a: a.name.clone(),
        b: b.name.clone(),
        differences,
        verdict: of_all(&metrics),
        remarks: remarks(&pairs),
        metrics,
        tolerance,
    }
}

/// What the files of the pairs say of themselves, each once.
fn remarks(pairs: &[side::Pair]) -> Vec<Remark> {
    let sides = pairs.iter().flat_map(|(a, b)| [("a", *a), ("b", *b)]);
    let said = sides.flat_map(|(of, load)| {
        let notes = load.first().into_iter().flat_map(|play| &play.notes);
        let text = |note: &String| match pairs.len() {
            1 => note.clone(),
            _ => format!("{}: {note}", load.name),
        };
        notes.map(move |note| Remark {
            of,
            text: text(note),
        })
    });
    let mut remarks: Vec<Remark> = Vec::new();
    for remark in said {
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }
    remarks
}

/// Judged figures that both loads have.
fn both(a: &Load, b: &Load) -> Vec<String> {
    let names = statistic::names(a, b).into_iter();
    names
        .filter(|name| judged(name) && a.value(name).is_some() && b.value(name).is_some())
        .collect()
}

fn figure(name: &str, a: &Load, b: &Load, level: f64, tolerance: f64) -> Compared {
    let mut compared = Compared {
        name: name.to_owned(),
        load: None,
        a: a.value(name),
        b: b.value(name),
        ratio: None,
        low: None,
        high: None,
        verdict: None,
        judged: false,
        reason: None,
    };
    let refused = match (a.first(), b.first()) {
        (Some(a), Some(b)) => comparable_figures(name, a, b).err(),
        _ => None,
    };
    if let Some(reason) = refused {
        compared.reason = Some(match reason {
            Reason::NotObserved { run, reason, .. } => format!("not observed in {run}: {reason}"),
            other => other.to_string(),
        });
        return compared;
    }
    let Some((x, y)) = compared.a.zip(compared.b).filter(|(x, _)| *x != 0.0) else {
        return compared;
    };
    let Interval { low, high, how } = interval(name, a, b, level);
    compared.ratio = Some(y / x);
    (compared.low, compared.high) = (low, high);
    compared.reason = Some(how);
    if let Some(better) = statistic::better(name) {
        let towards = match better {
            Better::Higher => y / x,
            Better::Lower => x / y,
        };
        let bounds = low.zip(high).map(|(low, high)| match better {
            Better::Higher => (low, high),
            Better::Lower => (1.0 / high, 1.0 / low),
        });
        compared.verdict = Some(verdict(towards, bounds, tolerance));
        compared.judged = judged(name);
    }
    compared
}

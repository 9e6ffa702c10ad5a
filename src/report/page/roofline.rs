//! What steps reached, by the arithmetic that they do for each byte they move.

use std::collections::BTreeMap;

use serde::Serialize;

use super::short;
use crate::ground::{Log, StepRecord};

/// Steps of one kind and of about as many tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    kind: Kind,
    steps: usize,
    /// Of a step, the fewest and the most.
    tokens: [usize; 2],
    /// Seconds in the executor.
    seconds: f64,
    flop_per_byte: f64,
    flop_per_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Prefill,
    Mixed,
    Decode,
}

#[derive(Default)]
struct Sums {
    steps: usize,
    tokens: Option<[usize; 2]>,
    seconds: f64,
    bytes: f64,
    flops: f64,
}

/// One for each kind and each power of two that the tokens of its steps lie below.
pub fn points(steps: &Log<StepRecord>) -> Vec<Point> {
    let mut groups: BTreeMap<(Kind, u32), Sums> = BTreeMap::new();
    for step in steps {
        let kind = match (step.prefill_tokens, step.decode_tokens) {
            (_, 0) => Kind::Prefill,
            (0, _) => Kind::Decode,
            _ => Kind::Mixed,
        };
        let tokens = step.prefill_tokens + step.decode_tokens;
        if tokens == 0 || step.bytes == 0 {
            continue;
        }
        let sums = groups.entry((kind, tokens.ilog2())).or_default();
        let [least, most] = sums.tokens.unwrap_or([tokens; 2]);
        sums.tokens = Some([least.min(tokens), most.max(tokens)]);
        sums.steps += 1;
        sums.seconds += step.exec_seconds;
        sums.bytes += step.bytes as f64;
        sums.flops += step.flops as f64;
    }
    let groups = groups.into_iter();
    let groups = groups.filter(|(_, sums)| sums.seconds > 0.0);
    let point = |((kind, _), sums): ((Kind, u32), Sums)| Point {
        kind,
        steps: sums.steps,
        tokens: sums.tokens.unwrap_or_default(),
        seconds: short(sums.seconds),
        flop_per_byte: short(sums.flops / sums.bytes),
        flop_per_s: short(sums.flops / sums.seconds),
    };
    groups.map(point).collect()
}

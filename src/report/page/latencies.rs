//! How latencies are distributed: values by their ranks.

use serde::Serialize;

use super::short;
use crate::ground::{Log, RequestRecord};
use crate::metrics::quantile::{Sample, Values};
use crate::metrics::timing;

/// Values of a distribution on the page; of a larger sample they are those of ranks at even distances.
const MOST: usize = 201;
const MS: f64 = 1e3;

/// Of successful requests.
#[derive(Debug, Default, Serialize)]
pub struct Latencies {
    ttft: Distribution,
    tpot: Distribution,
    itl: Distribution,
    e2el: Distribution,
}

#[derive(Debug, Default, Serialize)]
pub struct Distribution {
    /// Values in the sample.
    n: usize,
    /// Milliseconds, ascending, from the least to the largest.
    ms: Vec<f64>,
}

impl Latencies {
    pub fn of(requests: &Log<RequestRecord>) -> Self {
        let (mut ttft, mut tpot) = (Values::default(), Values::default());
        let (mut itl, mut e2el) = (Values::default(), Values::default());
        for record in requests {
            if timing::succeeded(&record) {
                ttft.extend(timing::ttft(&record));
                tpot.extend(timing::tpot(&record));
                itl.extend(timing::gaps(&record));
                e2el.extend(timing::latency(&record));
            }
        }
        let of = |values: Values| {
            values
                .sample()
                .map_or_else(Distribution::default, |s| Distribution::of(&s))
        };
        Self {
            ttft: of(ttft),
            tpot: of(tpot),
            itl: of(itl),
            e2el: of(e2el),
        }
    }
}

impl Distribution {
    fn of(sample: &Sample) -> Self {
        let n = sample.count();
        let shown = n.min(MOST);
        let rank = |at: usize| match shown {
            1 => 0,
            shown => at * (n - 1) / (shown - 1),
        };
        Self {
            n,
            ms: (0..shown)
                .map(|at| short(MS * sample.at(rank(at))))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_kept_of_few_and_of_many() {
        let of = |n: u32| {
            let values = (0..n).map(|i| f64::from(i) / MS).collect();
            Distribution::of(&Sample::new(values).unwrap())
        };
        assert_eq!(of(1).ms, [0.0]);
        assert_eq!(of(3).ms, [0.0, 1.0, 2.0]);
        let many = of(10_001);
        assert_eq!((many.n, many.ms.len()), (10_001, MOST));
        assert_eq!(
            (many.ms[0], many.ms[100], many.ms[200]),
            (0.0, 5000.0, 10_000.0)
        );
    }
}

//! A load as results name it.

use super::options::LoadOptions;
use super::scenario::Load;
use crate::ground::results::Scenario;
use crate::workload::{Rate, Turns, Work};

/// Of a run: `requests` are as many as come where there are none.
pub fn scenario(
    load: &LoadOptions,
    name: &str,
    arrivals: &Load,
    requests: Option<usize>,
    work: &Work,
    repeat: usize,
) -> Scenario {
    let (concurrency, rate) = match arrivals {
        Load::Closed { concurrency } => (Some(*concurrency), None),
        Load::Open(arrivals) | Load::Capped { arrivals, .. } => (None, Some(arrivals.rate())),
        Load::Trace => (None, None),
    };
    let course = rate.filter(|rate| rate.changes()).map(Rate::to_string);
    let rate = rate.map(Rate::mean);
    let (input_len, output_len, drawn) = match work {
        Work::Synthetic(synthetic) => {
            let lengths = &synthetic.lengths;
            let input = lengths.input().fixed();
            let input = input.map(|own| synthetic.prefixes.len + own);
            (input, lengths.output().fixed(), Some(lengths))
        }
        Work::Conversations(talks) => match &talks.turns_of {
            Turns::MadeUp(turns) => {
                let lengths = &turns.lengths;
                (None, lengths.output().fixed(), Some(lengths))
            }
            Turns::Recorded(talks) => {
                let turns = talks.iter().flatten();
                (None, common(turns.map(|turn| turn.output_len)), None)
            }
        },
        Work::Fixed { prompt, lengths } => {
            (Some(prompt.len()), lengths.output().fixed(), Some(lengths))
        }
        Work::Dataset(items) => (
            common(items.iter().map(|i| i.prompt.len())),
            common(items.iter().map(|i| i.output_len)),
            None,
        ),
    };
    Scenario {
        name: name.to_owned(),
        concurrency,
        requests,
        duration_s: load.duration.map(|duration| duration.as_secs_f64()),
        at_end: load.duration.map(|_| load.at_end),
        input_len,
        output_len,
        input_distribution: drawn
            .filter(|_| input_len.is_none())
            .map(|drawn| drawn.input().to_string()),
        output_distribution: drawn
            .filter(|_| output_len.is_none())
            .map(|drawn| drawn.output().to_string()),
        turns: (load.turns > 1).then_some(load.turns),
        think_time_s: (load.turns > 1).then_some(load.think_time.as_secs_f64()),
        prefix_len: load.prefix_len,
        prefix_groups: (load.prefix_len > 0).then_some(load.prefix_groups),
        request_rate: rate,
        rate_course: course,
        stop_when_saturated: load.stop_when_saturated && concurrency.is_none(),
        cancel: load.cancel,
        sampling: None,
        max_concurrency: rate.and(load.max_concurrency),
        burstiness: rate.map(|_| load.burstiness),
        warmup: load.warmup,
        repeat,
        repeats: load.repeats,
        request_timeout_s: load.request_timeout.map(|t| t.as_secs_f64()),
        stop_at_eos: load.stop_at_eos,
        dataset: load.dataset.as_ref().map(|p| p.display().to_string()),
        time_scale: (load.time_scale != 1.0).then_some(load.time_scale),
        goodput: load.goodput,
        price_per_hour: load.price_per_hour,
    }
}

/// The value that all share.
fn common(mut values: impl Iterator<Item = usize>) -> Option<usize> {
    let first = values.next()?;
    values.all(|v| v == first).then_some(first)
}

//! The answer of `capacity` for a reader: the edge, what binds, and how the figures bend on the way there.

use std::fmt::Write;

use super::columns;
use super::layout::{GAP, chars, wrapped};
use super::limits::limits;
use super::number::number;
use crate::capacity::{Bound, Capacity, Edge, LoadPoint, Objective, Raised, Search, Trial};

const HEADS: [&str; 6] = ["load", "", "ttft ms", "tpot ms", "output tok/s", "KV %"];

/// At most `width` wide, but for the table.
pub fn text(answer: &Capacity, width: usize) -> String {
    let mut out = String::new();
    let mut say = |line: &str| out += &wrapped(line, 0, GAP, width);
    say(&title(answer));
    say(&format!("objective: {}", objective(&answer.objective)));
    say("");
    let worst = |passed| last(answer, passed).and_then(Trial::worst);
    say(&match &answer.passing {
        Some(point) => format!("passes: {}", loaded(answer, point, worst(true))),
        None => "passes: nothing".to_owned(),
    });
    say(&match &answer.failing {
        Some(point) => format!("fails:  {}", loaded(answer, point, worst(false))),
        None if answer.partial => "fails:  nothing so far".to_owned(),
        None => "fails:  nothing that was asked for".to_owned(),
    });
    if let Some(line) = bound(answer) {
        say(&line);
    }
    answer
        .raised
        .iter()
        .for_each(|raised| say(&moved(answer, raised)));
    say("");
    out += &table(answer);
    out.push('\n');
    if let Some(assumed) = answer.model.assumed() {
        out += &wrapped(&assumed, 0, GAP, width);
    }
    let seconds = number(answer.seconds);
    let loads = answer.runs.len() + answer.raised.len();
    let note = match (answer.partial, &answer.passing, &answer.failing) {
        (false, ..) => "",
        (true, Some(_), Some(_)) => "; cut short: the edge lies between the two loads above",
        (true, Some(_), None) => "; cut short: the edge lies above the load that passes",
        (true, None, _) => "; cut short: the edge lies below the load that fails",
    };
    out += &wrapped(
        &format!(
            "latencies at p{}; {loads} loads in {seconds} s{note}",
            answer.objective.percentile
        ),
        0,
        GAP,
        width,
    );
    out
}

fn title(answer: &Capacity) -> String {
    let kind = columns::kind(answer.kind);
    let load = answer.passing.as_ref().or(answer.failing.as_ref());
    let lengths = load.and_then(|point| {
        let scenario = &point.scenario;
        Some(format!(
            "; {} tokens in, {} out",
            scenario.input_words()?,
            scenario.output_words()?
        ))
    });
    format!(
        "{} on {} ({}), {kind}{}",
        answer.model.label(),
        answer.hardware.device,
        answer.hardware.name,
        lengths.unwrap_or_default()
    )
}

pub(super) fn objective(objective: &Objective) -> String {
    let of = match objective.goodput_percent {
        Some(share) => format!("of {share} % of requests "),
        None => format!("p{} ", objective.percentile),
    };
    let limits = limits(&objective.slo);
    let mut words = match limits.is_empty() {
        true => String::new(),
        false => format!("{of}{limits}; "),
    };
    if let Some(kv) = objective.kv_percent {
        let _ = write!(words, "at most {kv} % of the KV cache; ");
    }
    match objective.error_percent {
        0.0 => words + "no request fails",
        share => words + &format!("at most {share} % of requests fail"),
    }
}

/// Of the load beside the edge.
fn last(answer: &Capacity, passed: bool) -> Option<&Trial> {
    let point = match passed {
        true => answer.passing.as_ref(),
        false => answer.failing.as_ref(),
    }?;
    let is_it = |trial: &&Trial| trial.value == point.value && trial.passed == passed;
    answer.runs.iter().rfind(is_it)
}

fn loaded(answer: &Capacity, point: &LoadPoint, worst: Option<&Bound>) -> String {
    let rate = point.extended.output_throughput;
    let rate = rate.map_or(String::new(), |rate| {
        format!(", {} tok/s out", number(rate))
    });
    format!(
        "{}{rate}; {}",
        load(answer, point.value),
        worst.map_or(String::new(), held)
    )
}

fn load(answer: &Capacity, value: f64) -> String {
    match answer.search {
        Search::Concurrency => format!("concurrency {value}"),
        Search::Rate => format!("{} requests/s", number(value)),
    }
}

/// A figure and its limit.
fn held(bound: &Bound) -> String {
    match bound.value {
        Some(value) => format!(
            "{} {}{} of {}",
            bound.name,
            number(value),
            bound.unit(),
            bound.limit
        ),
        None => format!("{} was not observed", bound.name),
    }
}

fn bound(answer: &Capacity) -> Option<String> {
    let binding = answer.binding.as_deref()?;
    let edge = match answer.edge {
        Some(Edge::Smooth) => "; the edge is smooth",
        Some(Edge::Cliff) => "; the edge is a cliff: the figure jumps there",
        None => "",
    };
    let why = match binding {
        "range" => "the range that was searched: every load of it passes; raise --max",
        "kv_blocks" => {
            "kv_blocks: the KV cache is full; give it more memory (--kv-cache-memory, --gpu-memory-utilization, --kv-cache-dtype fp8)"
        }
        "max_num_seqs" => "max_num_seqs: requests wait for a place; raise --max-num-seqs",
        "max_num_batched_tokens" => {
            "max_num_batched_tokens: a step takes no more tokens; raise --max-num-batched-tokens"
        }
        "queue" => {
            "queue: requests come faster than they are served, and no limit of the engine is to blame"
        }
        other => {
            return Some(format!(
                "bound by {other}: no limit of the engine is to blame, so a looser objective or a faster device{edge}"
            ));
        }
    };
    Some(format!("bound by {why}{edge}"))
}

/// A count as one, a rate in four figures.
fn count(value: f64) -> String {
    match value.fract() == 0.0 {
        true => value.to_string(),
        false => number(value),
    }
}

/// What came of doubling one limit.
fn moved(answer: &Capacity, raised: &Raised) -> String {
    let what = format!(
        "{} {} -> {}: ",
        raised.what,
        count(raised.from),
        count(raised.to)
    );
    let at = load(answer, raised.value);
    what + &match (&raised.reason, raised.moved) {
        (Some(reason), _) => format!("could not be tried: {reason}"),
        (None, Some(true)) => format!("moves the edge: {at} passes"),
        (None, _) => format!("does not move it: {at} fails all the same"),
    }
}

/// Every load once, ascending: its last play.
fn table(answer: &Capacity) -> String {
    let mut trials: Vec<&Trial> = answer.runs.iter().collect();
    trials.sort_by(|a, b| a.value.total_cmp(&b.value));
    let figure = |value: Option<f64>| value.map_or("-".to_owned(), number);
    let row = |trial: &Trial| {
        [
            count(trial.value),
            match trial.passed {
                true => "passes",
                false => "fails",
            }
            .to_owned(),
            figure(trial.ttft_ms),
            figure(trial.tpot_ms),
            figure(trial.output_throughput),
            figure(trial.max_kv_occupancy_percent),
        ]
    };
    let heads = HEADS.map(str::to_owned);
    let lines: Vec<[String; 6]> = [heads]
        .into_iter()
        .chain(trials.into_iter().map(row))
        .collect();
    let mut out = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| chars(&line[column])).max();
            let width = width.unwrap_or(0);
            let gap = if column == 0 { 0 } else { GAP };
            let _ = match column {
                1 => write!(out, "{:gap$}{cell:<width$}", ""),
                _ => write!(out, "{:gap$}{cell:>width$}", ""),
            };
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

//! The answer of a result in a line, and what a reader must know with it.

use serde::Serialize;

use super::load::{Load, loads};
use super::{beside, title, troubles};
use crate::ground::results::{Kind, Results};
use crate::report::columns;
use crate::report::limits::limits;
use crate::report::number::number;

const OUTPUT: &str = "output_throughput";
const NO_REFERENCE: &str = "no reference run of this model and load is known";

/// Each part a sentence or two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `measured`, `predicted` or `virtual`.
    pub kind: &'static str,
    /// It was cut short.
    pub partial: bool,
    /// What ran, on what.
    pub what: String,
    /// The answer, and of which load it is.
    pub answer: String,
    pub load: String,
    /// What a user of that load sees, and whether that is what was asked for.
    pub seen: Vec<String>,
    /// How the answer stands to others of the same load.
    pub against: Vec<String>,
    /// Whose numbers these are, and of what work.
    pub work: String,
    /// How all loads stand to others.
    pub beside: Vec<String>,
    /// What makes the numbers doubtful, that the run was cut short first.
    pub troubles: Vec<String>,
    pub checks: String,
    /// Place of the run that the answer is of, in `runs`.
    pub best: Option<usize>,
}

impl Verdict {
    /// What ran, on what, and the answer.
    pub fn line(&self) -> String {
        format!("{}: {}", self.what, self.answer)
    }

    pub fn of(results: &Results) -> Self {
        let loads = loads(results);
        let best = best(&loads);
        let (answer, load) = answer(results, &loads, best);
        let mut beside = beside::beside(results, &loads);
        if beside.is_empty() {
            beside.push(NO_REFERENCE.to_owned());
        }
        let cut_short = results.partial.then(|| title::CUT_SHORT.to_owned());
        let run = |load: &Load| results.runs.iter().position(|run| load.has(run));
        Self {
            kind: columns::kind(results.kind),
            partial: results.partial,
            what: format!("{} on {}", title::model(results), title::machine(results)),
            answer,
            load,
            seen: best.map_or(Vec::new(), seen),
            against: best.map_or(Vec::new(), |best| beside::against(results, &loads, best)),
            work: format!("{}{}", title::kind(results), title::work(results)),
            beside,
            troubles: cut_short
                .into_iter()
                .chain(troubles::troubles(&loads))
                .collect(),
            checks: troubles::checks(results),
            best: best.and_then(run),
        }
    }
}

/// The load with the highest output rate.
fn best<'a, 'b>(loads: &'b [Load<'a>]) -> Option<&'b Load<'a>> {
    let rate = |load: &&Load| load.mean(OUTPUT).filter(|rate| *rate > 0.0);
    let rated = loads.iter().filter(|load| rate(load).is_some());
    rated.max_by(|a, b| f64::total_cmp(&rate(a).unwrap_or(0.0), &rate(b).unwrap_or(0.0)))
}

/// Medians, and the part of requests that met the objective.
fn seen(load: &Load) -> Vec<String> {
    let scenario = &load.plays[0].scenario;
    let median = |metric, words: &str| {
        let ms: Option<f64> = load.mean(metric);
        ms.map(|ms| format!("{} ms {words}", number(ms)))
    };
    let medians = [
        median("p50_ttft_ms", "to the first token"),
        median("p50_tpot_ms", "for each next one"),
    ];
    let medians: Vec<String> = medians.into_iter().flatten().collect();
    let medians =
        (!medians.is_empty()).then(|| format!("a user waits {} (medians)", medians.join(", ")));
    let objective = scenario.goodput.and_then(|slo| {
        let met = load.mean("goodput_attainment_percent")?;
        Some(format!(
            "{} % of requests met the objective {}",
            number(met),
            limits(&slo)
        ))
    });
    medians.into_iter().chain(objective).collect()
}

/// The answer, and the load that it is of.
fn answer(results: &Results, loads: &[Load], best: Option<&Load>) -> (String, String) {
    let Some((best, rate)) = best.and_then(|load| Some((load, load.mean(OUTPUT)?))) else {
        return ("no request succeeded".to_owned(), String::new());
    };
    let how = match results.kind {
        Kind::Measured => String::new(),
        other => format!("{}, ", columns::kind(other)),
    };
    let scenario = &best.plays[0].scenario;
    let at = match (scenario.concurrency, scenario.request_rate) {
        (Some(1), _) => "with 1 request in flight".to_owned(),
        (Some(concurrency), _) => format!("with {concurrency} requests in flight"),
        (None, Some(rate)) => format!("at {rate} requests a second"),
        (None, None) => format!("of {}", best.name),
    };
    let most = match loads.len() {
        1 => String::new(),
        loads => format!(", the most of {loads} loads"),
    };
    let answer = format!("{} output tokens a second", number(rate));
    (answer, format!("{how}{at}{most}"))
}

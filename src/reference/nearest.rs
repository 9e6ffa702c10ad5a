//! `--reference published`: throughput that others published, each figure with its source; of the same model on the same
//! card the one whose load is nearest.

use serde::Deserialize;

use super::definition::same_rate;
use super::imports::draft::{Draft, Percentiles};
use super::{ReferenceError, same_model, short_name};
use crate::ground::json::words::in_words;
use crate::ground::results::{ReferenceRun, Scenario};
use crate::reference::rules::{OUTPUT_RATE, PER_TOKEN};

const FILE: &str = "models/published_throughput.json";
const TEXT: &str = include_str!("../../models/published_throughput.json");
/// What fine-tuning for instructions adds to a model's name: its shapes are the same.
const TUNED: [&str; 4] = ["-Instruct", "-Chat", "-hf", "-Preview"];
/// How far apart two loads are of which one is unknown: as a factor of e.
const UNKNOWN: f64 = 1.0;
const DECODE_ALONE: &str = "tokens / time of the decode calls alone, one stream";

#[derive(Debug, Deserialize)]
struct Case {
    case_id: String,
    model_id: String,
    dtype: String,
    weight_quant: String,
    engine: String,
    engine_version: Option<String>,
    gpu: String,
    /// As `candlepower gpus` names it; left out where it does not.
    card: Option<String>,
    gpu_count: usize,
    regime: String,
    concurrency: Option<usize>,
    num_prompts: Option<u64>,
    request_rate_per_s: Option<f64>,
    prompt_tokens: Option<f64>,
    output_tokens: Option<f64>,
    output_tokens_per_s: f64,
    total_tokens_per_s: Option<f64>,
    prefill_tokens_per_s: Option<f64>,
    decode_ms_per_token_mean: Option<f64>,
    decode_ms_per_token_median: Option<f64>,
    ttft_ms_mean: Option<f64>,
    ttft_ms_median: Option<f64>,
    source: String,
    notes: Option<String>,
}

fn cases() -> Result<Vec<Case>, ReferenceError> {
    serde_json::from_str(TEXT).map_err(|error| ReferenceError::Parse {
        path: FILE.to_owned(),
        reason: in_words(&error.to_string()),
    })
}

/// Every figure of the library.
///
/// # Errors
/// The embedded file does not parse (a test holds that it does).
pub fn all() -> Result<Vec<ReferenceRun>, ReferenceError> {
    Ok(cases()?.iter().map(|case| case.run()).collect())
}

/// For each load the nearest figure of the model on the card, its differences noted: of as many cards first, then one that
/// can be divided by.
///
/// # Errors
/// As [`all`].
pub fn nearest(
    model: &str,
    card: Option<&str>,
    cards: usize,
    scenarios: &[Scenario],
) -> Result<Vec<ReferenceRun>, ReferenceError> {
    let mut cases = cases()?;
    let same_card = |case: &Case| card.is_some() && case.card.as_deref() == card;
    cases.retain(|case| same_card(case) && same_shapes(&case.model_id, model));
    let mut chosen: Vec<ReferenceRun> = Vec::new();
    for scenario in scenarios {
        let order = |case: &Case| {
            let is_refused = case.is_refused(model, scenario);
            (case.gpu_count != cards.max(1), is_refused)
        };
        let distance = |case: &Case| case.distance(cards, scenario);
        let nearest = cases.iter().min_by(|a, b| {
            let nearer = || distance(a).total_cmp(&distance(b));
            order(a).cmp(&order(b)).then_with(nearer)
        });
        let Some(case) = nearest else {
            continue;
        };
        let mut run = case.run();
        run.notes.extend(case.differences(model, cards, scenario));
        if !chosen.iter().any(|known| known.name == run.name) {
            chosen.push(run);
        }
    }
    Ok(chosen)
}

/// A model and what was tuned from it have the same shapes.
fn same_shapes(a: &str, b: &str) -> bool {
    let base = |name: &str| {
        let name = short_name(name);
        let tuned = TUNED.iter().find_map(|end| name.strip_suffix(end));
        tuned.unwrap_or(name).to_owned()
    };
    same_model(&base(a), &base(b))
}

impl Case {
    /// Whether its rate would not be divided: another model's, another load's, or not a rate of a whole run.
    fn is_refused(&self, model: &str, scenario: &Scenario) -> bool {
        self.is_bare()
            || !same_model(&self.model_id, model)
            || self.concurrency != scenario.concurrency
            || !same_rate((scenario.request_rate, self.request_rate_per_s))
    }

    /// Decode calls alone.
    fn is_bare(&self) -> bool {
        self.engine.contains("llama-bench")
    }

    /// How many times e one load is the other, over all that is known of both.
    fn distance(&self, cards: usize, scenario: &Scenario) -> f64 {
        let number = |count: usize| count as f64;
        let apart = |a: Option<f64>, b: Option<f64>| match a.zip(b) {
            Some((a, b)) if a > 0.0 && b > 0.0 => (a / b).ln().abs(),
            _ => UNKNOWN,
        };
        // Another number of cards is another machine.
        let machine = 10.0 * apart(Some(number(self.gpu_count)), Some(number(cards.max(1))));
        machine
            + apart(
                self.concurrency.map(number),
                scenario.concurrency.map(number),
            )
            + apart(self.prompt_tokens, scenario.input_len.map(number))
            + apart(self.output_tokens, scenario.output_len.map(number))
    }

    fn differences(&self, model: &str, cards: usize, scenario: &Scenario) -> Vec<String> {
        let mut parts = Vec::new();
        let mut part = |what: &str, there: Option<f64>, here: Option<f64>| {
            let shown = |value: Option<f64>| match value {
                Some(value) => format!("{value}"),
                None => "unknown".to_owned(),
            };
            if there != here {
                parts.push(format!(
                    "{what} {} there, {} here",
                    shown(there),
                    shown(here)
                ));
            }
        };
        let number = |count: usize| count as f64;
        part("GPUs", Some(number(self.gpu_count)), Some(number(cards)));
        part(
            "requests in flight",
            self.concurrency.map(number),
            scenario.concurrency.map(number),
        );
        part(
            "requests a second",
            self.request_rate_per_s,
            scenario.request_rate,
        );
        part(
            "prompt tokens",
            self.prompt_tokens,
            scenario.input_len.map(number),
        );
        part(
            "output tokens",
            self.output_tokens,
            scenario.output_len.map(number),
        );
        if !same_model(&self.model_id, model) {
            parts.push(format!("{} there, {model} here", self.model_id));
        }
        match parts.is_empty() {
            true => Vec::new(),
            false => vec![format!("its load differs: {}", parts.join("; "))],
        }
    }

    fn run(&self) -> ReferenceRun {
        let release = self.engine_version.as_deref();
        let release = release.map_or(String::new(), |release| format!(" {release}"));
        let engine = format!("{}{release}", self.engine);
        let mut draft = Draft::new("published", &self.source, Percentiles::Linear);
        let is_bare = self.is_bare();
        let rate = if is_bare { DECODE_ALONE } else { OUTPUT_RATE };
        draft.map("output_throughput", Some(self.output_tokens_per_s), rate);
        draft.ours("total_token_throughput", self.total_tokens_per_s);
        for (name, value) in [
            ("mean_tpot_ms", self.decode_ms_per_token_mean),
            ("median_tpot_ms", self.decode_ms_per_token_median),
        ] {
            let definition = if is_bare { DECODE_ALONE } else { PER_TOKEN };
            draft.map(name, value, definition);
        }
        draft.ours("mean_ttft_ms", self.ttft_ms_mean);
        draft.ours("median_ttft_ms", self.ttft_ms_median);
        draft.beside(
            "prefill_tokens_per_s",
            self.prefill_tokens_per_s,
            "prompt tokens / time of the prefill alone",
        );
        let run = &mut draft.run;
        let whole = |tokens: f64| tokens.round() as usize;
        run.name = format!("published/{}/{}", self.case_id, short_name(&self.model_id));
        run.model.clone_from(&self.model_id);
        run.backend = engine;
        let card = self.card.as_deref().unwrap_or(&self.gpu);
        run.hardware.name = format!("{card}-x{}", self.gpu_count);
        run.hardware.gpu = Some(self.gpu.clone());
        run.hardware.gpus = self.gpu_count;
        run.concurrency = self.concurrency;
        run.requests = self.num_prompts;
        run.request_rate = self.request_rate_per_s;
        run.input_len = self.prompt_tokens.map(whole);
        run.output_len = self.output_tokens.map(whole);
        run.tokens_per_request = self.output_tokens;
        let weights = match &*self.weight_quant {
            "none" => &self.dtype,
            quantised => quantised,
        };
        draft.note(format!(
            "{}; weights {weights}; {}",
            self.regime, self.source
        ));
        if let Some(notes) = &self.notes {
            draft.note(notes.clone());
        }
        draft.finish()
    }
}

//! vLLM's own start-up logs, predicted: `cargo test --test fit calibration -- --nocapture` prints the table.
//!
//! Every field that a case states goes to the command as it stands; what it leaves out is the release's
//! default. Nothing is set for a single row but the card's name, which the logs write in words.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{number, text};
use crate::cli_support;

/// Verdicts that must be right, of those with enough data.
const RIGHT: f64 = 0.95;
/// Error of the KV tokens at the median of the cases that started.
const MEDIAN_ERROR: f64 = 0.03;
const GIB: f64 = (1u64 << 30) as f64;

#[derive(Debug, Deserialize)]
struct Case {
    case_id: String,
    outcome: String,
    model_id: String,
    gpu: String,
    gpu_total_memory_gib_reported: Option<f64>,
    tensor_parallel_size: usize,
    pipeline_parallel_size: usize,
    expert_parallel: bool,
    gpu_memory_utilization: Option<f64>,
    max_model_len: Option<usize>,
    max_num_seqs: Option<usize>,
    max_num_batched_tokens: Option<usize>,
    enforce_eager: bool,
    vllm_version: Option<String>,
    weights_gib_per_gpu: Option<f64>,
    peak_activation_gib: Option<f64>,
    non_torch_gib: Option<f64>,
    kv_cache_gib_per_gpu: Option<f64>,
    kv_cache_tokens: Option<f64>,
}

/// Words of a log -> the name of the card.
const CARDS: [(&str, &str); 10] = [
    ("H100", "h100-sxm"),
    ("RTX 3090", "rtx3090"),
    ("RTX 4090", "rtx4090-24g"),
    ("RTX 5090", "rtx5090"),
    ("RTX PRO 6000", "rtxpro6000-server"),
    ("A100-80GB", "a100-80g"),
    ("A100-40GB", "a100-40g"),
    ("L40S", "l40s"),
    ("46 GB GPU", "l40s"),
    ("44.39 GiB card", "l40s"),
];

/// Cases without a card that is needed.
const LEFT_OUT: [(&str, &str); 1] = [(
    "fit-34",
    "the card is unnamed and its memory is not stated, so its KV tokens cannot be known",
)];

/// The stand-in of a checkpoint that vLLM quantises while loading: the published one of the same blocks.
const QUANTISED_ONLINE: (&str, &str) = ("fit-47", "Qwen/Qwen3-30B-A3B-FP8");
/// GiB of an unnamed card whose case fails before its memory matters.
const ANY_CARD: f64 = 80.0;

impl Case {
    fn config(&self) -> PathBuf {
        let (case, stand_in) = QUANTISED_ONLINE;
        let model = match self.case_id == case {
            true => stand_in,
            false => &self.model_id,
        };
        folder()
            .join("configs")
            .join(format!("{}.json", model.replace('/', "__")))
    }

    fn args(&self) -> Vec<String> {
        let words =
            |flag: &str, value: Option<String>| value.map(|value| [format!("--{flag}"), value]);
        let card = CARDS.iter().find(|(words, _)| self.gpu.contains(words));
        let memory = self.gpu_total_memory_gib_reported;
        let memory = memory.or(card.is_none().then_some(ANY_CARD));
        let some = |value: usize| Some(value.to_string());
        let flags = [
            words("model", Some(self.config().display().to_string())),
            words("gpu", card.map(|(_, name)| (*name).to_owned())),
            words("gpu-memory", memory.map(|gib| gib.to_string())),
            words("tp", some(self.tensor_parallel_size)),
            words("pp", some(self.pipeline_parallel_size)),
            words(
                "gpu-memory-utilization",
                self.gpu_memory_utilization.map(|u| u.to_string()),
            ),
            words("max-model-len", self.max_model_len.and_then(some)),
            words("max-num-seqs", self.max_num_seqs.and_then(some)),
            words(
                "max-num-batched-tokens",
                self.max_num_batched_tokens.and_then(some),
            ),
            words("vllm-version", self.vllm_version.clone()),
        ];
        let mut args: Vec<String> = ["fit", "--json", "--engine", "vllm"]
            .map(str::to_owned)
            .into();
        args.extend(flags.into_iter().flatten().flatten());
        let switches = [
            (self.expert_parallel, "--expert-parallel"),
            (self.enforce_eager, "--enforce-eager"),
        ];
        args.extend(switches.iter().filter(|s| s.0).map(|s| s.1.to_owned()));
        args
    }

    fn predicted(&self) -> Value {
        let args = self.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let outcome = cli_support::run(&args);
        assert!(
            matches!(outcome.code, Some(0 | 3)),
            "{}: {outcome:?}",
            self.case_id
        );
        outcome.json()
    }

    /// Whether `verdict` is what the log shows.
    fn agrees(&self, verdict: &str) -> bool {
        let right: &[&str] = match self.outcome.as_str() {
            "ok" => &["FITS", "RUNS_QUEUED"],
            "fail_kv_too_small" => &["LEN"],
            "fail_no_kv_memory_or_oom" => &["NO_KV", "NO_WEIGHTS"],
            "fail_divisibility_fp8_block" => &["UNSUPPORTED"],
            other => panic!("{}: the outcome {other} is not known", self.case_id),
        };
        right.contains(&verdict)
    }

    /// KV tokens of the log.
    fn logged_tokens(&self, predicted: &Value) -> Option<f64> {
        let bytes = self.kv_cache_gib_per_gpu.map(|gib| gib * GIB);
        let by_bytes = || Some(bytes? / number(predicted, "kv_bytes_per_token"));
        self.kv_cache_tokens.or_else(by_bytes)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/calibration")
}

fn row(case: &Case, predicted: &Value, error: Option<f64>) -> String {
    let rank = |key: &str| predicted["per_rank"][key].as_f64();
    let pair = |predicted: Option<f64>, logged: Option<f64>| {
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        format!("{:>6} {:>6}", shown(predicted), shown(logged))
    };
    let verdict = text(predicted, "verdict");
    format!(
        "{:<7} {:<28} {:<11} {} |{} |{} |{} |{} |{:>7}",
        case.case_id,
        case.outcome,
        verdict,
        if case.agrees(verdict) {
            "ok   "
        } else {
            "WRONG"
        },
        pair(rank("weights_gib"), case.weights_gib_per_gpu),
        pair(rank("activations_gib"), case.peak_activation_gib),
        pair(rank("overhead_gib"), case.non_torch_gib),
        pair(rank("kv_gib"), case.kv_cache_gib_per_gpu),
        error.map_or("-".to_owned(), |e| format!("{:+.1}%", 100.0 * e)),
    )
}

#[test]
fn calibration_on_published_logs() {
    let text_of = fs::read_to_string(folder().join("vllm_fit_cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text_of).unwrap();
    let reason = |case: &Case| LEFT_OUT.iter().find(|(id, _)| *id == case.case_id);
    println!(
        "GiB on each GPU, predicted and logged\n{:<55}|{:>13} |{:>13} |{:>13} |{:>13} |{:>7}",
        "case, outcome, verdict", "weights", "activations", "non-torch", "KV cache", "tokens"
    );
    let (mut right, mut asked, mut errors) = (0, 0, Vec::new());
    for case in &cases {
        if let Some((id, why)) = reason(case) {
            println!("{id:<7} left out: {why}");
            continue;
        }
        let predicted = case.predicted();
        asked += 1;
        right += usize::from(case.agrees(text(&predicted, "verdict")));
        let logged = case
            .logged_tokens(&predicted)
            .filter(|_| case.outcome == "ok");
        let error = logged.map(|logged| number(&predicted, "kv_tokens") / logged - 1.0);
        errors.extend(error.map(f64::abs));
        println!("{}", row(case, &predicted, error));
    }
    errors.sort_by(f64::total_cmp);
    let middle = errors.len() / 2;
    let median = (errors[middle] + errors[(errors.len() - 1) / 2]) / 2.0;
    println!(
        "{right} of {asked} verdicts are right; KV tokens of {} cases that started: {:.2} % off at the median, {:.1} % at most",
        errors.len(),
        100.0 * median,
        100.0 * errors[errors.len() - 1]
    );
    assert_eq!(asked + LEFT_OUT.len(), cases.len());
    assert!(right as f64 >= RIGHT * asked as f64);
    assert!(median <= MEDIAN_ERROR, "{median}");
}

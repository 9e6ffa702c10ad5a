//! Published start-ups of other engines, predicted: `cargo nextest run --test figures startups --success-output final`
//! prints the table.
//!
//! Every field that a case states goes to the question as it stands; what it leaves out is the release's default. Each
//! source has one weight, however many start-ups it reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use candlepower::Question;
use candlepower::fit::{Answer, CacheType, Engine, KvType, LlamaCpp, Release, Verdict};
use candlepower::shape::WeightType;
use serde::Deserialize;

const GIB: f64 = (1u64 << 30) as f64;
/// A length so much above the logged tokens of the KV cache must not be promised.
const RAISED: f64 = 1.1;
/// Of the table that comes with the program and the one worked out here: it is rounded.
const SAME: f64 = 5e-4;

/// A row of `startups.json`. GiB are of one GPU, as logged; for llama.cpp of its first.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Case {
    id: String,
    outcome: String,
    engine: String,
    release: Option<String>,
    model: String,
    card: Option<String>,
    memory_gib: Option<f64>,
    gpus: usize,
    tp: usize,
    pp: usize,
    expert_parallel: bool,
    dtype: String,
    runtime_quantization: Option<String>,
    kv_cache_dtype: Option<String>,
    utilization: Option<f64>,
    max_model_len: Option<usize>,
    max_num_seqs: Option<usize>,
    max_num_batched_tokens: Option<usize>,
    eager: bool,
    /// Of llama.cpp.
    gpu_layers: Option<usize>,
    flash_attention: bool,
    weights_gib: Option<f64>,
    non_torch_gib: Option<f64>,
    activations_gib: Option<f64>,
    graphs_gib: Option<f64>,
    kv_gib: Option<f64>,
    kv_tokens: Option<f64>,
    source: String,
    /// Why nobody could know what came out.
    spoiled: Option<String>,
}

impl Case {
    fn question(&self) -> Result<Question, String> {
        let engine = match &*self.engine {
            "vllm" => {
                let release = self.release.as_deref().map(Release::named).transpose();
                Engine::Vllm(
                    release
                        .map_err(|e| e.to_string())?
                        .unwrap_or(Release::USUAL),
                )
            }
            "sglang" => Engine::Sglang,
            "llama.cpp" => Engine::LlamaCpp(self.llama_cpp()),
            other => return Err(format!("nothing is known of {other}")),
        };
        let quantization = self.runtime_quantization.as_deref();
        let quantization = quantization.map(|how| how.parse().unwrap());
        let config = folder()
            .join("configs")
            .join(format!("{}.json", self.model.replace('/', "__")));
        let mut question = Question::new(config.display().to_string()).engine(engine);
        question.quantization = quantization;
        question.gpu = self.card.clone();
        question.gpu_memory = self.memory_gib;
        question.gpus = vec![self.gpus];
        question.tp = Some(self.tp);
        question.pp = self.pp;
        question.expert_parallel = self.expert_parallel;
        // SGLang starts with whatever its pool holds: a length that is only the model's is no wish.
        question.max_model_len = self.max_model_len.filter(|_| engine != Engine::Sglang);
        question.gpu_memory_utilization = self.utilization;
        question.max_num_seqs = self.max_num_seqs;
        question.max_num_batched_tokens = self.max_num_batched_tokens;
        question.cuda_graphs = !self.eager;
        question.dtype = (self.dtype == "fp32").then_some(WeightType::F32);
        if self.dtype == "fp16" {
            question.dtype = Some(WeightType::F16);
        }
        if self
            .kv_cache_dtype
            .as_deref()
            .is_some_and(|t| t.starts_with("fp8"))
        {
            question.kv_cache_dtype = KvType::Fp8;
        }
        Ok(question)
    }

    /// The logs are of builds that held attention scores whole unless they were told.
    fn llama_cpp(&self) -> LlamaCpp {
        let kv = self.kv_cache_dtype.as_deref().unwrap_or_default();
        let cache_types = match kv.contains("K q4_0") {
            true => [CacheType::Q4_0, CacheType::F16],
            false => [CacheType::F16; 2],
        };
        LlamaCpp {
            gpu_layers: self.gpu_layers,
            flash_attention: self.flash_attention,
            cache_types,
        }
    }

    fn judged(&self) -> Option<&'static [Verdict]> {
        use Verdict::*;
        Some(match self.outcome.as_str() {
            "ok" => &[Fits, RunsQueued],
            "fail_kv_too_small" => &[Len],
            "fail_no_kv_memory_or_oom" | "fail_no_kv_memory" => &[NoKv, NoWeights],
            "fail_oom_load" => &[NoWeights],
            "fail_oom_warmup" => &[GraphOom],
            "fail_oom_cublas" => &[NoWeights, NoKv, Len, GraphOom],
            "fail_divisibility_fp8_block" | "fail_divisibility_vocab" => &[Unsupported],
            "weights_only" | "fail_oom_kv_alloc" | "fail_free_below_budget" => return None,
            other => panic!("{}: the outcome {other} is not known", self.id),
        })
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/calibration")
}

fn row(case: &Case, answer: &Answer, right: Option<bool>, error: Option<f64>) -> String {
    let rank = answer.per_rank.as_ref();
    let pair = |predicted: Option<f64>, logged: Option<f64>| {
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        format!("{:>6} {:>6}", shown(predicted), shown(logged))
    };
    format!(
        "{:<9} {:<18.18} {:<11} {:<5} |{} |{} |{} |{} |{} |{:>7} {}",
        case.id,
        case.outcome,
        answer.verdict.name(),
        match right {
            Some(true) => "ok",
            Some(false) => "WRONG",
            None => "-",
        },
        pair(rank.map(|r| r.weights_gib), case.weights_gib),
        pair(rank.map(|r| r.activations_gib), case.activations_gib),
        pair(rank.map(|r| r.overhead_gib), case.non_torch_gib),
        pair(rank.map(|r| r.graphs_gib), case.graphs_gib),
        pair(rank.map(|r| r.kv_gib), case.kv_gib),
        error.map_or("-".to_owned(), |e| format!("{:+.1}%", 100.0 * e)),
        case.model,
    )
}

/// What came out of one case.
struct Scored<'a> {
    case: &'a Case,
    answer: Result<Answer, String>,
}

impl Scored<'_> {
    fn right(&self) -> Option<bool> {
        let right = self.case.judged()?;
        let verdict = self.answer.as_ref().ok().map(|answer| answer.verdict);
        Some(verdict.is_some_and(|verdict| right.contains(&verdict)))
    }

    /// Share by which the predicted tokens of the KV cache are off.
    fn error(&self) -> Option<f64> {
        let answer = self.answer.as_ref().ok()?;
        let bytes = answer.kv_bytes_per_token? as f64;
        if self.case.engine == "llama.cpp" {
            // Its cache is as long as it was asked for: what it takes is predicted.
            return Some(bytes * self.case.max_model_len? as f64 / (self.case.kv_gib? * GIB) - 1.0);
        }
        let by_bytes = self.case.kv_gib.map(|gib| gib * GIB / bytes);
        let logged = self.case.kv_tokens.or(by_bytes)?;
        Some(answer.kv_tokens? as f64 / logged - 1.0)
    }

    /// Whether a length that the logged cache does not hold is refused; `None`: the model has no such positions.
    fn refuses_more(&self) -> Option<bool> {
        if self.case.outcome != "ok" || self.answer.is_err() {
            return None;
        }
        let mut question = self.case.question().ok()?;
        question.max_model_len = Some((self.case.kv_tokens? * RAISED) as usize);
        let answer = question.answer().ok()?;
        (answer.verdict != Verdict::Unsupported).then_some(!answer.fits)
    }
}

/// Share of `yes`, each source one weight.
fn share<'a>(answers: impl Iterator<Item = (&'a str, bool)>) -> f64 {
    let mut sources: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for (source, yes) in answers {
        sources.entry(source).or_default().push(yes);
    }
    let of_source =
        |all: &Vec<bool>| all.iter().filter(|&&yes| yes).count() as f64 / all.len() as f64;
    sources.values().map(of_source).sum::<f64>() / sources.len() as f64
}

/// Median and 90th percentile of absolute errors, each source one weight, and how many they are.
fn errors<'a>(all: impl Iterator<Item = (&'a str, f64)>) -> (usize, f64, f64) {
    let mut sources: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (source, error) in all {
        sources.entry(source).or_default().push(error.abs());
    }
    let weighed = |errors: &Vec<f64>| {
        let weight = 1.0 / errors.len() as f64;
        errors
            .iter()
            .map(move |&error| (error, weight))
            .collect::<Vec<_>>()
    };
    let mut all: Vec<(f64, f64)> = sources.values().flat_map(weighed).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let quantile = |q: f64| {
        let mut sum = 0.0;
        let reached = all.iter().find(|(_, weight)| {
            sum += weight;
            sum >= q * sources.len() as f64
        });
        reached.map_or(f64::NAN, |found| found.0)
    };
    (all.len(), quantile(0.5), quantile(0.9))
}

/// Ids that the constants of `src/fit` say they were fitted to.
fn fitted() -> BTreeSet<String> {
    fn read(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
                let is_id = |word: &&str| {
                    let number = word.strip_prefix("fit2-").or(word.strip_prefix("fit-"));
                    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
                };
                found.extend(words.filter(is_id).map(str::to_owned));
            }
        }
    }
    let mut found = BTreeSet::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fit"),
        &mut found,
    );
    found
}

/// As `src/fit/record.csv` has it.
fn table(scored: &[Scored]) -> Vec<String> {
    let mut sources: Vec<&str> = Vec::new();
    let mut lines = vec!["id,source,engine,since,ranks,verdict,kv_error".to_owned()];
    for scored in scored {
        let case = scored.case;
        let number = sources
            .iter()
            .position(|s| *s == case.source)
            .unwrap_or_else(|| {
                sources.push(&case.source);
                sources.len() - 1
            });
        let (Ok(answer), Some(right)) = (&scored.answer, scored.right()) else {
            continue;
        };
        lines.push(format!(
            "{},{},{},{},{},{},{}",
            case.id,
            number + 1,
            answer.engine,
            answer.vllm_rules_since.as_deref().unwrap_or("-"),
            if case.tp * case.pp > 1 {
                "several"
            } else {
                "one"
            },
            if right { "right" } else { "wrong" },
            scored.error().map_or("-".to_owned(), |e| format!("{e:.4}")),
        ));
    }
    lines
}

fn same(ours: &str, theirs: &str) -> bool {
    let cut = |line: &str| {
        line.rsplit_once(',')
            .map(|(a, b)| (a.to_owned(), b.parse::<f64>()))
    };
    match (cut(ours), cut(theirs)) {
        (Some((a, Ok(x))), Some((b, Ok(y)))) => a == b && (x - y).abs() < SAME,
        _ => ours == theirs,
    }
}

#[test]
fn startups_of_published_logs() {
    let text_of = fs::read_to_string(folder().join("startups.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text_of).unwrap();
    let fitted = fitted();
    let known: BTreeSet<&String> = cases.iter().map(|case| &case.id).collect();
    let unknown: Vec<&String> = fitted.iter().filter(|id| !known.contains(id)).collect();
    assert!(
        unknown.is_empty(),
        "constants name cases that are not there: {unknown:?}"
    );
    println!(
        "GiB on each GPU, predicted and logged; * a constant was fitted to it\n{:<46}|{:>13} |{:>13} |{:>13} |{:>13} |{:>13} |{:>7}",
        "case, outcome, verdict",
        "weights",
        "activations",
        "non-torch",
        "graphs",
        "KV cache",
        "tokens"
    );
    let mut scored = Vec::new();
    for case in &cases {
        if let Some(why) = &case.spoiled {
            println!("{:<9} not scored: {why}", case.id);
            continue;
        }
        let answer = case
            .question()
            .and_then(|q| q.answer().map_err(|e| e.to_string()));
        let one = Scored { case, answer };
        match &one.answer {
            Ok(answer) => println!(
                "{}{}",
                row(case, answer, one.right(), one.error()),
                if fitted.contains(&case.id) { " *" } else { "" }
            ),
            Err(why) => println!(
                "{:<9} MISFIT, not answered: {}: {}",
                case.id,
                case.model,
                why.replace('\n', " ")
            ),
        }
        scored.push(one);
    }
    let apart: BTreeSet<&str> = cases
        .iter()
        .filter(|case| fitted.contains(&case.id))
        .map(|case| &*case.source)
        .collect();
    let report = |name: &str, of: &dyn Fn(&Scored) -> bool| {
        let chosen = || scored.iter().filter(|one| of(one));
        let right = share(chosen().filter_map(|one| Some((&*one.case.source, one.right()?))));
        let more = share(chosen().filter_map(|one| Some((&*one.case.source, one.refuses_more()?))));
        let (n, median, p90) =
            errors(chosen().filter_map(|one| Some((&*one.case.source, one.error()?))));
        println!(
            "{name}: verdicts right {:.1} %, too long a request refused {:.1} %; KV tokens of {n}: {:.2} % off at the median, {:.1} % at the 90th percentile",
            100.0 * right,
            100.0 * more,
            100.0 * median,
            100.0 * p90
        );
        (right, more, median, p90)
    };
    report("all", &|_| true);
    report("cases that nothing was fitted on", &|one| {
        !fitted.contains(&one.case.id)
    });
    report("sources that nothing was fitted on", &|one| {
        !apart.contains(&*one.case.source)
    });
    let ours = table(&scored);
    let theirs = include_str!("../../../src/fit/record.csv");
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("record.csv");
    fs::write(&fresh, ours.join("\n") + "\n").unwrap();
    let theirs: Vec<&str> = theirs.lines().collect();
    let differs = ours.iter().zip(&theirs).find(|(a, b)| !same(a, b));
    assert!(
        differs.is_none() && ours.len() == theirs.len(),
        "src/fit/record.csv is out of date, first at {differs:?}; {} has what came out now",
        fresh.display()
    );
}

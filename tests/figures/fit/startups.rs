//! Published start-ups of other engines, predicted: `cargo nextest run --test figures startups --success-output final`
//! prints the table.
//!
//! Every field that a case states goes to the question as it stands; what it leaves out is the release's default. Each
//! source has one weight, however many start-ups it reports.

mod case;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use candlepower::fit::{Answer, Verdict};

use case::Case;

const GIB: f64 = (1u64 << 30) as f64;
/// A length so much above the logged tokens of the KV cache must not be promised.
const RAISED: f64 = 1.1;
/// What cases that nothing was fitted on reach.
const RIGHT: f64 = 0.95;
const P90: f64 = 0.08;
/// Of the table that comes with the program and the one worked out here: it is rounded.
const SAME: f64 = 5e-4;

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
        match self.case.kv_tokens {
            Some(logged) => Some(answer.kv_tokens? as f64 / logged - 1.0),
            // Tokens that count windows are no measure of bytes.
            None => Some(answer.per_rank.as_ref()?.kv_gib / self.case.kv_gib? - 1.0),
        }
    }

    /// Whether a length that the logged cache does not hold is refused; `None`: the model has no such positions.
    fn refuses_more(&self) -> Option<bool> {
        // The cache of llama.cpp is as long as it was asked for, and nobody logged when it would not be.
        let known = self.case.outcome == "ok" && self.case.engine != "llama.cpp";
        let answer = self.answer.as_ref().ok().filter(|_| known)?;
        // With windows one request may be longer than the tokens that are counted.
        let longest = answer.max_model_len_that_fits? as f64 / answer.kv_tokens? as f64;
        let mut question = self.case.question().ok()?;
        let raised = self.case.kv_tokens? * RAISED * longest.max(1.0);
        question.max_model_len = Some(raised as usize);
        // Older engines take another step for a longer request, and then have room for it.
        question.max_num_batched_tokens = Some(answer.max_num_batched_tokens);
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
                    let number = ["fit3-", "fit2-", "fit-"]
                        .iter()
                        .find_map(|set| word.strip_prefix(*set));
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
                "{}{}{}",
                row(case, answer, one.right(), one.error()),
                match one.refuses_more() {
                    Some(false) => " PROMISES MORE",
                    _ => "",
                },
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
        let raised = chosen().filter(|one| one.refuses_more().is_some()).count();
        println!(
            "{name}: verdicts right {:.1} %, too long a request refused {:.1} % of {raised}; KV tokens of {n}: {:.2} % off at the median, {:.1} % at the 90th percentile",
            100.0 * right,
            100.0 * more,
            100.0 * median,
            100.0 * p90
        );
        (right, more, median, p90)
    };
    report("all", &|_| true);
    let free = report("cases that nothing was fitted on", &|one| {
        !fitted.contains(&one.case.id)
    });
    report("sources that nothing was fitted on", &|one| {
        !apart.contains(&*one.case.source)
    });
    let ours = table(&scored);
    let theirs = include_str!("../../../src/fit/record.csv");
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("record.csv");
    fs::write(&fresh, ours.join("\n") + "\n").unwrap();
    let (right, more, median, p90) = free;
    assert!(right >= RIGHT && more >= 0.95 && median <= 0.02 && p90 <= P90);
    let theirs: Vec<&str> = theirs.lines().collect();
    let differs = ours.iter().zip(&theirs).find(|(a, b)| !same(a, b));
    assert!(
        differs.is_none() && ours.len() == theirs.len(),
        "src/fit/record.csv is out of date, first at {differs:?}; {} has what came out now",
        fresh.display()
    );
}

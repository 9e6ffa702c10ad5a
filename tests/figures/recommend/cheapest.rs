//! Every way to lay a model on every card, tried one by one.

use candlepower::fit::{Card, Engine, Limits, Load, Release, Verdict, assess};
use candlepower::hardware::{Gpu, Prices, known};
use candlepower::parallel::Split;
use candlepower::recommend::{Recommendation, Recommended};
use candlepower::{EngineOptions, LoadOptions, Question, Unwatched};

use super::{flags, recommended};
use crate::cli_support::run;

const CONTEXT: usize = 4096;
const REQUESTS: usize = 50;
/// A request that fills the context.
const INPUT: usize = 3072;
const OUTPUT: usize = 1024;

/// A layout that costs less than another, in the order of the table.
struct Way {
    gpu: Gpu,
    gpus: usize,
    split: Split,
}

impl Way {
    fn replicas(&self) -> usize {
        self.gpus / self.split.tp
    }

    fn words(&self) -> String {
        format!("{} x {}, {:?}", self.gpus, self.gpu.name, self.split)
    }
}

/// Ways of one to eight GPUs that cost less than `first`, most expensive last.
fn cheaper(first: &Recommended, experts: bool) -> Vec<Way> {
    let prices = Prices::known().unwrap();
    let most = first.price_per_hour;
    let mut ways = Vec::new();
    for gpu in known().unwrap() {
        for gpus in [1, 2, 4, 8] {
            let price = prices
                .of(&gpu.name)
                .map(|price| price.usd_per_hour * gpus as f64);
            let is_cheaper = match (price, most) {
                (Some(price), Some(most)) => price < most,
                // Those without a price are behind all others.
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => gpus < first.gpus,
            };
            for tp in [1, 2, 4, 8]
                .into_iter()
                .filter(|&tp| is_cheaper && tp <= gpus)
            {
                let kinds: &[bool] = if experts && tp > 1 {
                    &[false, true]
                } else {
                    &[false]
                };
                ways.extend(kinds.iter().map(|&expert_parallel| Way {
                    gpu: gpu.clone(),
                    gpus,
                    split: Split {
                        tp,
                        expert_parallel,
                    },
                }));
            }
        }
    }
    ways
}

/// Those of `ways` with room for all requests at once, by vLLM's rules.
fn with_room(model: &str, ways: Vec<Way>) -> Vec<Way> {
    let engine = Engine::Vllm(Release::USUAL);
    let question = Question::new(model).gpu("h100-sxm").engine(engine);
    let base = question.asks(&Unwatched).unwrap().remove(0);
    let mut roomy = Vec::new();
    for way in ways {
        let mut ask = base.clone();
        ask.card = Card::from(&way.gpu);
        ask.gpus = way.gpus;
        ask.split = way.split;
        ask.limits = Limits {
            max_model_len: Some(CONTEXT),
            ..Limits::default()
        };
        ask.load = Some(Load {
            concurrency: REQUESTS,
            input_len: INPUT,
            output_len: OUTPUT,
        });
        if assess(&ask).verdict == Verdict::Fits {
            roomy.push(way);
        }
    }
    roomy
}

/// Milliseconds between tokens at the 95th percentile, on simulated cards behind vLLM's server.
fn tpot(model: &str, way: &Way) -> f64 {
    let mut options = EngineOptions::new(model)
        .device(format!("sim:{}", way.gpu.name))
        .tp(way.split.tp)
        .expert_parallel(way.split.expert_parallel)
        .max_model_len(CONTEXT);
    options.server = Some(candlepower::exec::Server::VLLM);
    let mut session = options.open().unwrap();
    let share = REQUESTS.div_ceil(way.replicas());
    let load = LoadOptions::default()
        .concurrency([share])
        .requests([4 * share])
        .input_len(CONTEXT - SHORT)
        .output_len(SHORT);
    let results = session.play(&load).unwrap();
    let entries = results.runs[0].extended.entries();
    entries["p95_tpot_ms"].as_f64().unwrap()
}

fn first(found: &Recommendation) -> &Recommended {
    found.layouts.first().unwrap()
}

/// That the first layout's own `fit` says so too.
fn fits(model: &str, layout: &Recommended) {
    let own = format!(
        "fit --json --engine vllm --model {model} {} --max-model-len {CONTEXT} --concurrency {REQUESTS} --input-len {INPUT} --output-len {OUTPUT}",
        flags(layout)
    );
    let answer = run(&own.split(' ').collect::<Vec<_>>()).succeeded().json();
    assert_eq!(answer["verdict"], "FITS", "{own}");
    assert_eq!(answer["kv_tokens"].as_u64(), layout.kv_tokens, "{own}");
}

/// Output tokens where times are played, to save time.
const SHORT: usize = 256;

/// Between tokens, milliseconds.
const LIMIT: f64 = 80.0;

fn is_cheapest_with_room(model: &str) {
    let wish = format!("--max-model-len {CONTEXT} --concurrency {REQUESTS} --top 1");
    let found = recommended(&format!("--model {model} {wish}"));
    let first = first(&found);
    fits(model, first);
    let experts = model.starts_with("Qwen3");
    let roomy = with_room(model, cheaper(first, experts));
    let words: Vec<String> = roomy.iter().map(Way::words).collect();
    assert!(
        words.is_empty(),
        "{} is not the cheapest: {words:?}",
        flags(first)
    );
}

fn is_cheapest_within_limits(model: &str) {
    let lengths = format!("--input-len {} --output-len {SHORT}", CONTEXT - SHORT);
    let wish = format!("--max-model-len {CONTEXT} {lengths} --concurrency {REQUESTS}");
    let found = recommended(&format!(
        "--model {model} {wish} --slo tpot:{LIMIT} --top 1"
    ));
    let first = first(&found);
    fits(model, first);
    let predicted = first.predicted.as_ref().unwrap();
    assert!(predicted.tpot_ms.unwrap() <= LIMIT);
    assert!(predicted.capacity.unwrap() >= REQUESTS as f64);
    let experts = model.starts_with("Qwen3");
    for way in with_room(model, cheaper(first, experts)) {
        let tpot = tpot(model, &way);
        assert!(tpot > LIMIT, "{}: {tpot} ms", way.words());
    }
}

macro_rules! each {
    ($($name:ident: $model:literal),* $(,)?) => {$(
        mod $name {
            #[test]
            fn no_cheaper_layout_has_room() {
                super::is_cheapest_with_room($model);
            }

            #[test]
            fn no_cheaper_layout_keeps_the_limits() {
                super::is_cheapest_within_limits($model);
            }
        }
    )*};
}

// The report's.
each! {
    qwen_14b: "DeepSeek-R1-Distill-Qwen-14B",
    qwen_32b: "DeepSeek-R1-Distill-Qwen-32B",
    qwq_32b: "QwQ-32B",
    llama_70b: "DeepSeek-R1-Distill-Llama-70B",
    qwen3_235b: "Qwen3-235B-A22B",
    qwen3_235b_fp8: "Qwen3-235B-A22B-FP8",
}

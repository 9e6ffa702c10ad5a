//! The nearest changes with which it runs: each is thought through again before it is named.

use serde::Serialize;

use super::ask::{Ask, Engine, Extras, KvType, Limits};
use super::gpu_layers::{CacheType, LlamaCpp};
use super::load_quantization::LoadQuantization;
use super::rules;
use super::verdict::{Judged, Verdict, judge};
use crate::parallel::Split;
use crate::shape::WeightType;

const MOST_FIXES: usize = 3;
/// As much of a card as is asked for in earnest.
const HIGH_UTILIZATION: f64 = 0.95;
/// And as little where graphs need what is left.
const LOW_UTILIZATION: f64 = 0.9;
/// Blocks of the FP8 checkpoints that Qwen and DeepSeek publish.
const FP8_BLOCK: [usize; 2] = [128, 128];
/// Fewer tokens than this are no fix of a length.
const SHORTEST: usize = 2048;
/// More GPUs than this are no fix.
const MOST_GPUS: usize = 64;

/// A change that makes it run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fix {
    /// In flags.
    pub change: String,
    /// What comes out with it.
    pub verdict: Verdict,
    /// Tokens that the KV cache holds then.
    pub kv_tokens: u64,
}

/// A change in words, and the ask with it.
type Candidate = (String, Ask);

/// Looks for changes of one kind, and how many of them are worth a line.
type Search = (fn(&Ask, &Judged) -> Vec<Candidate>, usize);

/// At most three, cheapest first: flags, then another checkpoint, then more hardware.
pub(super) fn fixes(ask: &Ask, judged: &Judged) -> Vec<Fix> {
    let searches: &[Search] = match ask.engine {
        // It has one layout, and its checkpoints are of many types.
        Engine::LlamaCpp(_) => &[(flags, MOST_FIXES), (host_layers, 1)],
        _ => &[
            (flags, MOST_FIXES),
            (layouts, 2),
            (checkpoints, 1),
            (hardware, 1),
        ],
    };
    let better = |verdict: Verdict| match judged.verdict {
        Verdict::Fits => false,
        Verdict::RunsQueued => verdict == Verdict::Fits,
        _ => verdict.fits(),
    };
    let found = searches.iter().flat_map(|&(candidates, most)| {
        let tried = candidates(ask, judged).into_iter().filter_map(|candidate| {
            let outcome = judge(&candidate.1);
            let found = fix(candidate.0.clone(), &outcome);
            found
                .filter(|fix| better(fix.verdict))
                .or_else(|| shorter(judged, &candidate, &outcome))
        });
        tried.take(most)
    });
    match judged.verdict {
        Verdict::Fits => Vec::new(),
        _ => found.take(MOST_FIXES).collect(),
    }
}

fn fix(change: String, outcome: &Judged) -> Option<Fix> {
    Some(Fix {
        change,
        verdict: outcome.verdict,
        kv_tokens: outcome.ledger.as_ref()?.tokens,
    })
}

/// A change after which only the length is too much, and the length that it has room for.
fn shorter(judged: &Judged, (change, ask): &Candidate, outcome: &Judged) -> Option<Fix> {
    let held = outcome.ledger.as_ref()?.longest as usize;
    // Where the length is all that is too much, it is a fix by itself.
    let more = matches!(judged.verdict, Verdict::NoWeights | Verdict::NoKv);
    if !more || outcome.verdict != Verdict::Len || held < SHORTEST {
        return None;
    }
    let limits = Limits {
        max_model_len: Some(held),
        ..ask.limits
    };
    let ask = Ask {
        limits,
        ..ask.clone()
    };
    let outcome = judge(&ask);
    let between = match change.starts_with("--") {
        true => "",
        false => ",",
    };
    let change = format!("{change}{between} --max-model-len {held}");
    fix(change, &outcome).filter(|fix| fix.verdict.fits())
}

/// Changes of a flag.
fn flags(ask: &Ask, judged: &Judged) -> Vec<Candidate> {
    let mut list = Vec::new();
    let mut limit = |change: String, limits: Limits| {
        let ask = Ask {
            limits,
            ..ask.clone()
        };
        list.push((change, ask));
    };
    let (limits, settings) = (ask.limits, judged.settings);
    if let (Verdict::RunsQueued, Some(load)) = (judged.verdict, ask.load) {
        let seqs = load.concurrency.div_ceil(ask.replicas());
        let max_num_seqs = Some(seqs);
        if seqs > settings.max_num_seqs {
            limit(
                format!("--max-num-seqs {seqs}"),
                Limits {
                    max_num_seqs,
                    ..limits
                },
            );
        }
    }
    if let (Verdict::Len, Some(ledger)) = (judged.verdict, &judged.ledger) {
        let held = ledger.longest as usize;
        let max_model_len = Some(held);
        // A budget of tokens that follows the length shrinks with it, so this is on the safe side.
        limit(
            format!("--max-model-len {held}"),
            Limits {
                max_model_len,
                ..limits
            },
        );
    }
    let positions = ask.shape.positions;
    if judged.verdict == Verdict::Unsupported && settings.max_model_len > positions {
        let max_model_len = Some(positions);
        limit(
            format!("--max-model-len {positions}"),
            Limits {
                max_model_len,
                ..limits
            },
        );
    }
    let utilization = match judged.verdict {
        Verdict::GraphOom => LOW_UTILIZATION.min(settings.utilization),
        Verdict::Unsupported => HIGH_UTILIZATION.min(settings.utilization),
        _ => HIGH_UTILIZATION.max(settings.utilization),
    };
    if utilization != settings.utilization {
        limit(
            format!("--gpu-memory-utilization {utilization}"),
            Limits {
                utilization: Some(utilization),
                ..limits
            },
        );
    }
    if judged.verdict == Verdict::GraphOom {
        let eager = true;
        list.push((
            "--enforce-eager".to_owned(),
            Ask {
                eager,
                ..ask.clone()
            },
        ));
    }
    if judged.verdict == Verdict::Unsupported && ask.dtype() == WeightType::Bf16 {
        let dtype = Some(WeightType::F16);
        list.push((
            "--dtype f16".to_owned(),
            Ask {
                dtype,
                ..ask.clone()
            },
        ));
    }
    if let Engine::LlamaCpp(own) = ask.engine {
        let engine = Engine::LlamaCpp(LlamaCpp {
            cache_types: [CacheType::Q8_0; 2],
            ..own
        });
        let change = "--cache-type-k q8_0 --cache-type-v q8_0".to_owned();
        list.push((
            change,
            Ask {
                engine,
                ..ask.clone()
            },
        ));
    } else if ask.kv_bytes() > 1 {
        let kv_type = KvType::Fp8;
        let ask = Ask {
            kv_type,
            ..ask.clone()
        };
        list.push(("--kv-cache-dtype fp8".to_owned(), ask));
    }
    list.extend(smaller_step(ask, judged));
    list
}

/// The largest half, quarter or eighth of a step's tokens whose activations leave enough for the KV cache. vLLM has
/// rules of its own for that limit.
fn smaller_step(ask: &Ask, judged: &Judged) -> Option<Candidate> {
    let short = matches!(judged.verdict, Verdict::NoKv | Verdict::Len);
    if !short || ask.engine != Engine::Candlepower {
        return None;
    }
    let parts = [2, 4, 8].map(|part| judged.settings.max_num_batched_tokens / part);
    let mut candidates = parts
        .into_iter()
        .filter(|&tokens| tokens > 0)
        .map(|tokens| {
            let limits = Limits {
                max_num_batched_tokens: Some(tokens),
                ..ask.limits
            };
            let ask = Ask {
                limits,
                ..ask.clone()
            };
            (format!("--max-num-batched-tokens {tokens}"), ask)
        });
    candidates.find(|(_, smaller)| judge(smaller).verdict.fits())
}

/// As many layers on the GPU as fit.
fn host_layers(ask: &Ask, _judged: &Judged) -> Vec<Candidate> {
    let Engine::LlamaCpp(own) = ask.engine else {
        return Vec::new();
    };
    let with = |layers: usize| Ask {
        engine: Engine::LlamaCpp(LlamaCpp {
            gpu_layers: Some(layers),
            ..own
        }),
        ..ask.clone()
    };
    let (mut fits, mut beyond) = (0, ask.shape.layers.len() + 1);
    while beyond - fits > 1 {
        let middle = (fits + beyond) / 2;
        match judge(&with(middle)).verdict.fits() {
            true => fits = middle,
            false => beyond = middle,
        }
    }
    vec![(format!("--n-gpu-layers {fits}"), with(fits))]
}

/// The same GPUs, used otherwise.
fn layouts(ask: &Ask, judged: &Judged) -> Vec<Candidate> {
    // A queue does not come of the layout.
    if judged.verdict == Verdict::RunsQueued {
        return Vec::new();
    }
    let mut list = Vec::new();
    if ask.shape.experts().is_some() && !ask.split.expert_parallel {
        list.push(("--expert-parallel".to_owned(), whole_experts(ask)));
    }
    let mut legal = rules::legal(ask);
    legal.reverse();
    for tp in legal.into_iter().filter(|tp| ask.gpus.is_multiple_of(*tp)) {
        let pp = ask.gpus / tp;
        let stages = [pp, 1]
            .into_iter()
            .filter(|&pp| pp <= ask.shape.layers.len());
        for pp in stages {
            if (tp, pp) != (ask.split.tp, ask.pp) {
                list.push(spread(ask, ask.gpus, tp, pp));
            }
        }
    }
    list.dedup_by(|a, b| a.0 == b.0);
    list
}

/// The same model in other weights.
fn checkpoints(ask: &Ask, judged: &Judged) -> Vec<Candidate> {
    let quantised = ask.shape.quantization.is_some() || ask.extras.quantization.is_some();
    if quantised || judged.verdict == Verdict::RunsQueued {
        return Vec::new();
    }
    let fp8 = Ask {
        shape: ask.shape.in_fp8(FP8_BLOCK),
        stored: None,
        ..ask.clone()
    };
    let words = "an FP8 checkpoint of the model";
    let mut list = vec![(words.to_owned(), fp8.clone())];
    if ask.shape.experts().is_some() && !ask.split.expert_parallel {
        list.push((
            format!("{words} with --expert-parallel"),
            whole_experts(&fp8),
        ));
    }
    if let (Engine::Vllm(_), None) = (ask.engine, ask.shape.experts()) {
        let extras = Extras {
            quantization: Some(LoadQuantization::BitsAndBytes),
            ..ask.extras.clone()
        };
        let ask = Ask {
            extras,
            ..ask.clone()
        };
        list.push(("--quantization bitsandbytes".to_owned(), ask));
    }
    list
}

/// More of the same GPUs, fewest first: more ranks where the shapes allow it, else more stages.
fn hardware(ask: &Ask, _judged: &Judged) -> Vec<Candidate> {
    let mut list = Vec::new();
    let legal = rules::legal(ask);
    let mut gpus = ask.ranks() * 2;
    while gpus <= MOST_GPUS {
        let splits = legal.iter().rev().filter(|&&tp| gpus.is_multiple_of(tp));
        // The widest split, and the widest with half as many ranks.
        for &tp in splits.take(2) {
            list.push(spread(ask, gpus, tp, gpus / tp));
        }
        if ask.shape.experts().is_some() && !ask.split.expert_parallel {
            let (change, wider) = spread(ask, gpus, gpus, 1);
            list.push((format!("{change} --expert-parallel"), whole_experts(&wider)));
        }
        gpus *= 2;
    }
    list
}

fn whole_experts(ask: &Ask) -> Ask {
    let split = Split {
        expert_parallel: true,
        ..ask.split
    };
    Ask {
        split,
        ..ask.clone()
    }
}

fn spread(ask: &Ask, gpus: usize, tp: usize, pp: usize) -> Candidate {
    let count = match gpus == ask.gpus {
        true => String::new(),
        false => format!("--gpus {gpus} "),
    };
    let stages = match pp {
        1 => String::new(),
        pp => format!(" --pp {pp}"),
    };
    let split = Split { tp, ..ask.split };
    let changed = Ask {
        gpus,
        split,
        pp,
        ..ask.clone()
    };
    (format!("{count}--tp {tp}{stages}"), changed)
}

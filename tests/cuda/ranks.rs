//! Ranks on several GPUs: tokens, bits and endings, with graphs and without, for each way in which a model is split.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::DType;
use candlepower::exec::Executor;
use candlepower::ground::{EventKind, Request, Sampling, StopRule};
use candlepower::ops::cuda::Gpu;
use candlepower::parallel::{AllReduce, Split};
use serde_json::Value;

use crate::case::{Case, LOGIT_ROWS, hidden_bits, plan, ranks, setup};
use crate::common::golden::Golden;
use crate::common::{Model, Session, Setup, fixture};
use crate::model::session;

/// Of a seed of the virtual GPU's scheduler.
const SEEDS: u64 = 20;
/// Any end of a run.
const TEARDOWN: Duration = Duration::from_secs(5);

/// How many a child makes.
const TOKENS: &str = "CANDLEPOWER_TEST_TOKENS";

/// `None`, and said, where there are fewer GPUs.
fn split(name: &str, tp: usize, expert_parallel: bool) -> Option<Split> {
    let gpus = Gpu::count().unwrap();
    if tp > gpus {
        eprintln!("SKIPPED: {name} over {tp} GPUs, for there are {gpus}");
        return None;
    }
    Some(Split {
        tp,
        expert_parallel,
    })
}

fn greedy_is_golden(name: &'static str, split: Split, graphs: bool, prompts: usize, tokens: usize) {
    let way = AllReduce::Nccl;
    let case = Case {
        name,
        split,
        way,
        graphs,
    };
    case.is_golden(prompts, tokens);
}

/// Every rank's residual stream ends in the same bits, after a prompt and after a captured decode step; and the graph's
/// are those of the step without one.
fn ranks_agree_to_the_bit(name: &'static str, split: Split) {
    let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
    let tokens = &golden.prompts[2][..=LOGIT_ROWS];
    let start = LOGIT_ROWS;
    let mut decoded = Vec::new();
    for graphs in [false, true] {
        let case = Case {
            name,
            split,
            way: AllReduce::Nccl,
            graphs,
        };
        let mut ranks = ranks(&model, case);
        for plan in [plan(&tokens[..start], 0), plan(tokens, start)] {
            let bits = hidden_bits(&mut ranks, plan);
            let agree = bits.iter().all(|states| states == &bits[0]);
            assert!(agree, "{case:?}");
            decoded.push(bits);
        }
    }
    assert_eq!(decoded[1], decoded[3], "{name}, {split:?}");
}

/// Each way to split: a name, a fixture, ranks, whole experts, prompts and tokens.
macro_rules! of_each_split {
    ($($case:ident: $name:literal, $tp:literal, $whole:literal, $prompts:literal, $tokens:literal;)*) => {
        mod tokens_are_golden_without_graphs {
            use super::*;
            $(#[test]
            fn $case() {
                let Some(split) = split($name, $tp, $whole) else { return };
                greedy_is_golden($name, split, false, $prompts, $tokens);
            })*
        }

        mod tokens_are_golden_with_graphs {
            use super::*;
            $(#[test]
            fn $case() {
                let Some(split) = split($name, $tp, $whole) else { return };
                greedy_is_golden($name, split, true, $prompts, $tokens);
            })*
        }

        mod bits_are_equal_on_all_ranks {
            use super::*;
            $(#[test]
            fn $case() {
                let Some(split) = split($name, $tp, $whole) else { return };
                ranks_agree_to_the_bit($name, split);
            })*
        }
    };
}

of_each_split! {
    dense_over_2: "qwen2-tiny", 2, false, 4, 32;
    norms_of_heads_over_2: "qwen3-tiny", 2, false, 3, 12;
    shared_kv_heads_over_4: "llama-tiny", 4, false, 4, 32;
    shared_kv_heads_over_8: "llama-tiny", 8, false, 3, 12;
    experts_by_column_over_2: "qwen3-moe-tiny", 2, false, 3, 12;
    experts_by_column_over_4: "qwen3-moe-tiny", 4, false, 3, 8;
    whole_experts_over_2: "qwen3-moe-tiny", 2, true, 3, 12;
    whole_experts_over_4: "qwen3-moe-tiny", 4, true, 3, 8;
    whole_experts_over_8: "qwen3-moe-tiny", 8, true, 2, 6;
    block_fp8_over_2: "qwen3-fp8-tiny", 2, false, 3, 8;
    block_fp8_over_4: "qwen3-fp8-tiny", 4, false, 2, 6;
    experts_in_block_fp8_over_2: "qwen3-moe-fp8-tiny", 2, false, 2, 6;
    whole_experts_in_block_fp8_over_4: "qwen3-moe-fp8-tiny", 4, true, 2, 6;
}

/// The virtual GPU runs streams in an order of its seed's.
#[test]
fn no_order_of_the_devices_changes_a_token() {
    let Some(_) = split("llama-tiny", 4, false) else {
        return;
    };
    let this = std::env::current_exe().unwrap();
    for seed in 1..=SEEDS {
        let mut child = Command::new(&this);
        child.args(["ranks::of_one_order", "--exact", "--ignored"]);
        let outcome = child.env("VGPU_SEED", seed.to_string()).output().unwrap();
        assert!(outcome.status.success(), "seed {seed}: {outcome:?}");
    }
}

#[test]
#[ignore = "a part of the test above"]
fn of_one_order() {
    let split = split("llama-tiny", 4, false).unwrap();
    greedy_is_golden("llama-tiny", split, true, 2, 6);
}

/// Graphs hold the communicator, whose end would wait for them: whichever rank ends first, and in the middle of steps.
#[test]
fn ranks_with_graphs_end_at_once() {
    let Some(split) = split("qwen2-tiny", 2, false) else {
        return;
    };
    let (model, golden) = (
        Model::open(&fixture("qwen2-tiny")),
        Golden::read("qwen2-tiny"),
    );
    let case = Case {
        name: "qwen2-tiny",
        split,
        way: AllReduce::Nccl,
        graphs: true,
    };
    for steps in [0, 3] {
        let mut ranks = ranks(&model, case);
        for step in 1..=steps {
            let plan = plan(&golden.prompts[1][..step], step - 1);
            let ticket = ranks.submit(plan.into()).unwrap();
            ranks.wait(ticket, &mut Default::default()).unwrap();
        }
        let start = Instant::now();
        drop(ranks);
        assert!(start.elapsed() < TEARDOWN, "{:?}", start.elapsed());
    }
}

/// Calls of the driver and of libraries in a run of the test below.
fn calls(tokens: usize) -> BTreeMap<String, u64> {
    let report = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["ranks::of_some_tokens", "--exact", "--ignored"]);
    child.env("VGPU_REPORT", report.path());
    let outcome = child.env(TOKENS, tokens.to_string()).output().unwrap();
    assert!(outcome.status.success(), "{outcome:?}");
    let report: Value = serde_json::from_reader(report).unwrap();
    serde_json::from_value(report["calls"].clone()).unwrap()
}

/// One for the context, and then: a step goes up, its graph is launched, its answers come down, an event is recorded and
/// asked for until it is due, which counts as one, as NCCL is for its errors. Nobody reduces over ranks but the graphs.
/// None of the steps is one of those that are timed.
#[test]
fn a_captured_step_takes_six_calls_of_the_driver() {
    const MORE: usize = 6;
    if split("qwen3-moe-tiny", 2, false).is_none() || !Gpu::is_virtual(0).unwrap() {
        return;
    }
    let (few, many) = (calls(9), calls(9 + MORE));
    let added = |name: &str, count: u64| count - few.get(name).copied().unwrap_or(0);
    let added: BTreeMap<&str, u64> = many
        .iter()
        .map(|(name, &count)| (name.as_str(), added(name, count)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let steps = (2 * MORE) as u64;
    let calls = |(name, count): (&&str, &u64)| match *name {
        "cuEventQuery" => steps,
        "ncclCommGetAsyncError" => 0,
        _ => *count,
    };
    assert_eq!(added.get("cuGraphLaunch"), Some(&steps), "{added:?}");
    assert!(
        added.iter().map(calls).sum::<u64>() <= 6 * steps,
        "{added:?}"
    );
    assert_eq!(added.get("ncclAllReduce"), None, "{added:?}");
}

#[test]
#[ignore = "a part of the test above"]
fn of_some_tokens() {
    let tokens = std::env::var(TOKENS).unwrap().parse().unwrap();
    let split = split("qwen3-moe-tiny", 2, false).unwrap();
    greedy_is_golden("qwen3-moe-tiny", split, true, 1, tokens);
}

/// Tokens drawn at a temperature, by requests that run together.
fn sampled(mut session: Session, prompts: &[Vec<u32>], tokens: usize) -> Vec<Vec<u32>> {
    let mut events = Vec::new();
    for (id, prompt) in (0..).zip(prompts) {
        let request = Request {
            id,
            prompt: prompt.as_slice().into(),
            stop: StopRule {
                max_tokens: tokens,
                end_tokens: Arc::default(),
            },
            sampling: Sampling {
                temperature: 0.8,
                seed: 5,
                ..Sampling::GREEDY
            },
            arrival: Duration::ZERO,
        };
        session.engine.submit(request, &mut events);
    }
    while !session.engine.is_idle() {
        session.engine.step(&mut events).unwrap();
    }
    let mut drawn = vec![Vec::new(); prompts.len()];
    for event in events {
        if let EventKind::Token { token, .. } = event.kind {
            drawn[event.request as usize].push(token);
        }
    }
    drawn
}

/// Noise is a function of seed, request and position: the same tokens on a CPU and on GPUs, with graphs and without, at
/// every split, and for each request alone.
#[test]
fn draws_are_those_of_a_cpu() {
    const TOKENS: usize = 10;
    let name = "qwen2-tiny";
    let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
    let prompts = &golden.prompts[..3];
    let expected = sampled(Session::start(&model, &Setup::default()), prompts, TOKENS);
    let greedy: Vec<_> = golden.greedy[..3]
        .iter()
        .map(|t| t[..TOKENS].to_vec())
        .collect();
    assert_ne!(expected, greedy);
    for (tp, graphs) in [(1, false), (1, true), (2, false), (2, true), (4, true)] {
        let Some(split) = split(name, tp, false) else {
            continue;
        };
        let on_gpus = session(&model, DType::F32, &setup(split, graphs));
        let found = sampled(on_gpus, prompts, TOKENS);
        assert_eq!(found, expected, "{split:?}, graphs: {graphs}");
    }
    let first = sampled(
        Session::start(&model, &Setup::default()),
        &prompts[..1],
        TOKENS,
    );
    assert_eq!(first, expected[..1]);
}

//! Whole models: the tiny checkpoints against what Hugging Face transformers computed for them.

use candle_core::{DType, Result};
use candlepower::exec::Ranks;
use candlepower::exec::graphs::GraphLimits;
use candlepower::model::StepLimits;
use candlepower::ops::cuda::{Cuda, Gpu};
use candlepower::parallel::gpus::Link;
use candlepower::parallel::{AllReduce, Collective, Split};
use candlepower::scheduler::Policy;

use crate::common::golden::{F32_TOLERANCE, Golden, largest_of_all, relative_rms};
use crate::common::probe::Probe;
use crate::common::{Connected, FIXTURES, Model, Session, Setup, fixture};
use crate::support::ordinal;

/// Relative root-mean-square error of logits in half precision, the same tokens fed to both: three layers of numbers
/// with 8 (bf16) or 11 bits (f16). candle's own bf16 on the CPU is off by 1.1 to 1.6 %.
const BF16_RMS: f64 = 0.02;
const F16_RMS: f64 = 0.004;

/// Ranks on the first GPUs, which add up by NCCL.
pub fn load(model: &Model, dtype: DType, split: impl Into<Split>, limits: StepLimits) -> Ranks {
    load_by(AllReduce::Nccl, model, dtype, split, limits)
}

pub fn load_by(
    way: AllReduce,
    model: &Model,
    dtype: DType,
    split: impl Into<Split>,
    limits: StepLimits,
) -> Ranks {
    load_with(move |gpu| Cuda::new(gpu, dtype), way, model, split, limits)
}

/// With kernels of the caller's own.
pub fn load_with(
    kernels: impl Fn(Gpu) -> Result<Cuda> + Send + Sync + 'static,
    way: AllReduce,
    model: &Model,
    split: impl Into<Split>,
    limits: StepLimits,
) -> Ranks {
    let split = split.into();
    let link = Link::new(split.tp, way, 0).unwrap();
    let connect = move |host: Box<dyn Collective>| -> Result<Connected> {
        let gpu = Gpu::open(ordinal(host.rank()));
        let (gpu, collective) = link.join(host, gpu)?;
        Ok((Box::new(kernels(gpu)?), collective))
    };
    model.load_on(connect, split, split.tp, limits)
}

pub fn session(model: &Model, dtype: DType, setup: &Setup) -> Session {
    Session::around(load(model, dtype, setup.split(), setup.limits()), setup)
}

pub fn setup(split: impl Into<Split>, graphs: bool) -> Setup {
    let split = split.into();
    let mut setup = Setup {
        tp: split.tp,
        expert_parallel: split.expert_parallel,
        ..Setup::default()
    };
    setup.scheduler.max_num_batched_tokens = 64;
    setup.scheduler.max_num_seqs = 6;
    setup.scheduler.max_model_len = 256;
    setup.graphs = graphs.then_some(GraphLimits {
        rows: 6,
        step_rows: 64,
        max_blocks: setup.scheduler.max_model_len.div_ceil(16),
    });
    setup
}

pub fn greedy_is_golden(name: &str, setup: &Setup) {
    let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
    let mut session = session(&model, DType::F32, setup);
    let together = session.together(&golden.prompts, golden.max_tokens());
    assert_eq!(together, golden.greedy, "{name}, {setup:?}");
}

/// Of rows of `width` logits each.
fn median_row_rms(found: &[Vec<f32>], expected: &[Vec<f32>], width: usize) -> f64 {
    let rows = |all: &[Vec<f32>]| -> Vec<Vec<f32>> {
        let rows = all.iter().flat_map(|prompt| prompt.chunks_exact(width));
        rows.map(<[f32]>::to_vec).collect()
    };
    let (found, expected) = (rows(found), rows(expected));
    let pairs = found.chunks(1).zip(expected.chunks(1));
    let mut each: Vec<f64> = pairs.map(|(f, e)| relative_rms(f, e)).collect();
    each.sort_by(f64::total_cmp);
    each[each.len() / 2]
}

/// One of each kind: their prompts' logits and their graphs are tested of all.
#[test]
fn greedy_tokens_are_golden_in_f32() {
    for name in ["qwen2-tiny", "llama-tied-tiny", "qwen3-moe-tiny"] {
        greedy_is_golden(name, &setup(1, false));
    }
}

/// A test for each fixture: whole models take their time where kernels are interpreted.
macro_rules! of_each_fixture {
    ($module:ident, $check:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn qwen2_tiny() {
                $check("qwen2-tiny");
            }

            #[test]
            fn qwen2_tied_tiny() {
                $check("qwen2-tied-tiny");
            }

            #[test]
            fn llama_tiny() {
                $check("llama-tiny");
            }

            #[test]
            fn llama_tied_tiny() {
                $check("llama-tied-tiny");
            }

            #[test]
            fn qwen3_tiny() {
                $check("qwen3-tiny");
            }

            #[test]
            fn qwen3_moe_tiny() {
                $check("qwen3-moe-tiny");
            }

            #[test]
            fn qwen3_fp8_tiny() {
                $check("qwen3-fp8-tiny");
            }

            #[test]
            fn qwen3_moe_fp8_tiny() {
                $check("qwen3-moe-fp8-tiny");
            }
        }
    };
}

of_each_fixture!(graphs_change_no_token, |name| greedy_is_golden(
    name,
    &setup(1, true)
));
of_each_fixture!(
    logits_are_golden_in_f32_at_every_prompt_position,
    logits_are_golden
);

/// Rows that only fill up a graph choose experts too, and count for nothing.
#[test]
fn graphs_change_no_load_of_experts() {
    let name = "qwen3-moe-tiny";
    let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
    let load = |graphs| {
        let mut session = session(&model, DType::F32, &setup(1, graphs));
        let mut load = || session.engine.expert_load().unwrap();
        let before = load();
        session.together(&golden.prompts[..3], 6);
        let after = session.engine.expert_load().unwrap();
        let pairs = before.into_iter().zip(after);
        let added = pairs.map(|(before, after)| {
            let each = after.tokens.into_iter().zip(before.tokens);
            each.map(|(after, before)| after.wrapping_sub(before))
                .collect()
        });
        added.collect::<Vec<Vec<u32>>>()
    };
    let eager = load(false);
    assert!(eager.iter().flatten().sum::<u32>() > 0);
    assert_eq!(load(true), eager);
}

#[test]
fn preemption_and_prefixes_change_no_token_of_graphs() {
    for (name, policy) in [
        ("qwen2-tiny", Policy::Mixed),
        ("qwen3-tiny", Policy::PrefillFirst),
        ("llama-tiny", Policy::Reserve),
    ] {
        let mut setup = setup(1, true);
        setup.scheduler.policy = policy;
        setup.scheduler.prefix_cache = true;
        setup.scheduler.num_blocks = 9;
        greedy_is_golden(name, &setup);
    }
}

fn logits_are_golden(name: &str) {
    let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
    // One token a step is slow where kernels are interpreted: what experts add knows of no steps.
    let sizes = match model.spec.experts {
        None => &[(16, 512), (7, 13), (32, 5)][..],
        Some(_) => &[(7, 13)],
    };
    for &(block_size, chunk) in sizes {
        let ranks = load(&model, DType::F32, 1, Probe::LIMITS);
        let mut probe = Probe::around(ranks, DType::F32, block_size);
        let found = probe.logits(&golden.prompts, |_| chunk);
        let worst = largest_of_all(&found, &Golden::logits(name));
        println!("{name} block {block_size} chunk {chunk}: {worst:.2e}");
        assert!(worst < F32_TOLERANCE, "{name}: {worst}");
    }
}

#[test]
fn logits_in_half_precision_stay_near() {
    for name in FIXTURES {
        let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
        for (dtype, bound) in [(DType::BF16, BF16_RMS), (DType::F16, F16_RMS)] {
            let ranks = load(&model, dtype, 1, Probe::LIMITS);
            let mut probe = Probe::around(ranks, dtype, 16);
            let found = probe.logits(&golden.prompts, |step| if step == 0 { 40 } else { 1 });
            let expected = Golden::logits(name);
            let rms = relative_rms(&found, &expected);
            let median = median_row_rms(&found, &expected, model.spec.vocab_size);
            println!("{name} {dtype:?}: {rms:.4}, median row {median:.4}");
            // Where two experts are as good as equal, a rounding decides between them, and that row is another.
            let rms = if model.spec.experts.is_some() {
                median
            } else {
                rms
            };
            assert!(rms <= bound, "{name} in {dtype:?}: {rms}");
        }
    }
}

//! What a rank allocates beside what `fit` says it will, on virtual GPUs that count memory and have none: so that the
//! largest models load in seconds.

use std::ops::Range;
use std::sync::Arc;

use candle_core::cuda::cudarc::driver::{result, sys};
use candle_core::{DType, Device, Result, Tensor};
use candlepower::exec::graphs::GraphLimits;
use candlepower::exec::warm_up::WarmUp;
use candlepower::exec::{ExecError, Executor, KvLayout, Rank, Ranks};
use candlepower::fit::{Answer, Ask, Card, Engine, Extras, KvType, Limits, answer};
use candlepower::hardware::{self, Capability};
use candlepower::hub::CARDS;
use candlepower::model::{Decoder, ModelSpec, Share, StepLimits, WeightSource};
use candlepower::ops::cuda::{Cuda, Gpu, is_out_of_memory};
use candlepower::parallel::gpus::Link;
use candlepower::parallel::{AllReduce, Collective, ShardPlan, Split};
use candlepower::shape::{Format, TensorSpec};

use crate::exchange::Machine;

/// The bound on every difference.
const ONE_PERCENT: f64 = 0.01;
/// Of the virtual cards, and what their context takes of it.
const MEMORY_GIB: f64 = 47.37;
const CONTEXT_BYTES: u64 = 400 << 20;
/// As much as the ledger allows for a context, NCCL and graphs of two ranks, which only real cards have.
const ALLOWED_MIB: u64 = 1190;
const GIB: f64 = (1_u64 << 30) as f64;
const BLOCK_SIZE: usize = 16;
/// No part of a weight that is read at once has more.
const ELEMENTS: usize = 160 << 20;

/// Weights that nobody reads: every part is a view of the same zeros.
struct Zeros {
    plain: Tensor,
    fp8: Tensor,
}

impl Zeros {
    fn new() -> Self {
        let zeros = |dtype| Tensor::zeros(ELEMENTS, dtype, &Device::Cpu).unwrap();
        Self {
            plain: zeros(DType::BF16),
            fp8: zeros(DType::F8E4M3),
        }
    }
}

impl WeightSource for Zeros {
    fn dtype(&self, tensor: &TensorSpec) -> Result<DType> {
        Ok(match tensor.format {
            Format::Plain => DType::BF16,
            Format::Fp8 => DType::F8E4M3,
            Format::Scale { .. } => DType::F32,
            other => unreachable!("{}: the engine reads no {other:?}", tensor.name),
        })
    }

    fn block(
        &self,
        tensor: &TensorSpec,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Tensor> {
        let dims = (rows.len(), columns.len());
        let held = match tensor.format {
            Format::Plain => &self.plain,
            Format::Fp8 => &self.fp8,
            Format::Scale { .. } => return Tensor::zeros(dims, DType::F32, &Device::Cpu),
            other => unreachable!("{}: the engine reads no {other:?}", tensor.name),
        };
        held.narrow(0, 0, dims.0 * dims.1)?.reshape(dims)
    }

    fn vector(&self, _: &TensorSpec, range: Range<usize>) -> Result<Tensor> {
        Tensor::zeros(range.len(), DType::F32, &Device::Cpu)
    }
}

/// A plan: what is asked of `fit`, and of the engine.
#[derive(Clone)]
struct Plan {
    spec: ModelSpec,
    split: Split,
    limits: StepLimits,
    max_model_len: usize,
    capability: Capability,
}

impl Plan {
    /// The first `layers` layers of a card's model.
    fn of(name: &str, layers: usize, tp: usize, expert_parallel: bool) -> Self {
        let card = CARDS.iter().find(|card| card.name == name).unwrap();
        let mut spec = ModelSpec::from_json(card.config_json, card.name).unwrap();
        spec.truncate_layers(layers);
        if let Some(quantization) = &mut spec.quantization {
            quantization.quantize_activations = false;
        }
        Self {
            spec,
            split: Split {
                tp,
                expert_parallel,
            },
            limits: StepLimits {
                rows: 2048,
                logit_rows: 256,
            },
            max_model_len: 4096,
            capability: Capability { major: 8, minor: 9 },
        }
    }

    /// With all of the card's memory.
    fn asked(&self) -> Answer {
        answer(&Ask {
            model: "a plan".to_owned(),
            shape: self.spec.shape(),
            stored: None,
            card: Card {
                name: "a card".to_owned(),
                memory_gib: MEMORY_GIB,
                capability: self.capability,
                link: hardware::Link::PcieHost,
            },
            gpus: self.split.tp,
            split: self.split,
            pp: 1,
            engine: Engine::Candlepower,
            limits: Limits {
                max_model_len: Some(self.max_model_len),
                utilization: Some(1.0),
                max_num_seqs: Some(self.limits.logit_rows),
                max_num_batched_tokens: Some(self.limits.rows),
            },
            block_size: BLOCK_SIZE,
            dtype: None,
            kv_type: KvType::Auto,
            extras: Extras::default(),
            eager: false,
            load: None,
        })
    }

    fn graphs(&self) -> GraphLimits {
        GraphLimits {
            rows: self.limits.logit_rows,
            step_rows: self.limits.rows,
            max_blocks: self.max_model_len.div_ceil(BLOCK_SIZE),
        }
    }

    /// As a session loads it, unchecked.
    fn load(&self) -> std::result::Result<Ranks, ExecError> {
        let plan = Arc::new(ShardPlan::split(&self.spec.shape(), self.split).unwrap());
        let largest = self.limits.rows * self.spec.hidden_size * DType::BF16.size_in_bytes();
        let link = Link::new(self.split.tp, AllReduce::Auto, largest as u64).unwrap();
        let (own, source) = (self.clone(), Zeros::new());
        let elements = plan.kv_elements_per_token();
        let build = move |host: Box<dyn Collective>| {
            let (rank, gpu) = (host.rank(), Gpu::open(host.rank()));
            let (gpu, collective) = link.join(host, gpu)?;
            let cuda = Cuda::new(gpu, DType::BF16)?;
            let share = Share {
                spec: &own.spec,
                plan: &plan,
                rank,
            };
            let decoder = Decoder::load(share, &source, &cuda, own.limits, &mut |_| ())?;
            Ok(Rank::new(Box::new(cuda), collective, decoder))
        };
        Ranks::load(
            self.split.tp,
            self.split.tp,
            u64::MAX,
            elements,
            Arc::new(build),
        )
    }

    fn warm_up(&self, ranks: &mut Ranks) {
        let (graphs, warm_up) = (
            self.graphs(),
            WarmUp {
                rows: self.limits.rows,
                sequences: self.limits.logit_rows,
                max_model_len: self.max_model_len,
                block_size: BLOCK_SIZE,
            },
        );
        let warm = move |rank: &mut Rank| rank.warm_up(&warm_up, DType::BF16, Some(graphs));
        ranks.together(warm).unwrap();
    }

    /// With room for `tokens`, and the null block.
    fn layout(&self, tokens: u64) -> KvLayout {
        KvLayout {
            num_blocks: tokens as usize / BLOCK_SIZE + 1,
            block_size: BLOCK_SIZE,
            dtype: DType::BF16,
        }
    }
}

/// As [`held_on`] the first GPU.
fn held(context: u64) -> (u64, u64) {
    held_on(0, context)
}

/// Bytes that are allocated on a GPU now beside the context, and the most that ever were: those of its pool that are in
/// use, and all outside of it.
fn held_on(ordinal: usize, context: u64) -> (u64, u64) {
    use sys::CUmemPool_attribute as A;
    let gpu = Gpu::open(ordinal).unwrap();
    gpu.synchronize().unwrap();
    let memory = gpu.memory().unwrap();
    let device = result::device::get(ordinal as i32).unwrap();
    let mut pool = std::ptr::null_mut();
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, device) }
        .result()
        .unwrap();
    let read = |attribute| {
        let mut bytes = 0_u64;
        unsafe { sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()) }
            .result()
            .unwrap();
        bytes
    };
    let reserved = read(A::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    let outside = memory.total - memory.free - context - reserved;
    let used = read(A::CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    let most = read(A::CU_MEMPOOL_ATTR_USED_MEM_HIGH);
    (outside + used, outside + most)
}

fn assert_near(what: &str, found: u64, expected: f64, of: f64) {
    let off = (found as f64 - expected) / of;
    assert!(
        off.abs() <= ONE_PERCENT,
        "{what}: {found} bytes, {expected:.0} by the ledger: {:.2} % off",
        100.0 * off
    );
}

/// Weights, what is beside them, the cache and all together.
fn allocates_what_fit_says(plan: &Plan) {
    let asked = plan.asked();
    let rank = asked.per_rank.as_ref().unwrap();
    let weights = rank.weights_gib * GIB;
    let beside = rank.activations_gib * GIB;
    let mut ranks = plan.load().unwrap();
    plan.warm_up(&mut ranks);
    let (before, _) = held(CONTEXT_BYTES);
    let told = &ranks.memory().unwrap()[0];
    assert_near("weights", told.weights_bytes, weights, weights);
    let rest = before - told.weights_bytes;
    assert_near("activations", rest, beside, beside);
    let tokens = asked.kv_tokens.unwrap();
    ranks.allocate_kv(&plan.layout(tokens)).unwrap();
    let graphs = plan.graphs();
    let capture = move |rank: &mut Rank| rank.capture(&graphs, usize::MAX, || false);
    ranks.together(capture).unwrap();
    let (after, _) = held(CONTEXT_BYTES);
    let cache = rank.kv_gib * GIB;
    assert_near("cache", after - before, cache, cache);
    assert_near(
        "all",
        after,
        weights + beside + cache,
        weights + beside + cache,
    );
}

fn machine(gpus: usize) -> Machine {
    Machine::new(gpus, true).with("VGPU_UNBACKED", 1)
}

macro_rules! of_each_plan {
    ($($case:ident: $name:literal, $layers:literal, $tp:literal, $whole:literal;)*) => {
        mod a_rank_allocates_what_fit_says {
            use super::*;
            $(#[test]
            fn $case() {
                let name = concat!("ledger::a_rank_allocates_what_fit_says::", stringify!($case));
                if machine($tp).is_inside(name) {
                    allocates_what_fit_says(&Plan::of($name, $layers, $tp, $whole));
                }
            })*
        }
    };
}

of_each_plan! {
    dense: "DeepSeek-R1-Distill-Llama-8B", 3, 1, false;
    dense_over_2: "QwQ-32B", 64, 2, false;
    dense_over_4: "DeepSeek-R1-Distill-Llama-8B", 4, 4, false;
    experts: "Qwen3-235B-A22B", 2, 1, false;
    experts_by_column_over_2: "Qwen3-235B-A22B", 2, 2, false;
    whole_experts_over_4: "Qwen3-235B-A22B", 3, 4, true;
    block_fp8: "Qwen3-235B-A22B-FP8", 2, 1, false;
    block_fp8_over_2: "Qwen3-235B-A22B-FP8", 3, 2, false;
}

#[test]
fn a_widened_layer_is_counted() {
    let machine = machine(1).configured("[[device]]\ncompute = 90\n");
    if machine.is_inside("ledger::a_widened_layer_is_counted") {
        let plan = Plan::of("Qwen3-235B-A22B-FP8", 2, 1, false);
        allocates_what_fit_says(&Plan {
            capability: Capability { major: 9, minor: 0 },
            ..plan
        });
    }
}

/// 32B parameters on one card: the first weight for which there is no room ends it.
#[test]
fn weights_run_out_where_fit_says() {
    if !machine(1).is_inside("ledger::weights_run_out_where_fit_says") {
        return;
    }
    let plan = Plan::of("QwQ-32B", 64, 1, false);
    let asked = plan.asked();
    assert!(
        asked.reason.starts_with("the weights take"),
        "{}",
        asked.reason
    );
    let error = plan.load().err().unwrap();
    assert!(ran_out(&error), "{error}");
    let (_, most) = held(CONTEXT_BYTES);
    let largest = 2 * plan.spec.intermediate_size * plan.spec.hidden_size * 2;
    let memory = (MEMORY_GIB * GIB) as u64 - CONTEXT_BYTES;
    assert!((memory - largest as u64..=memory).contains(&most), "{most}");
}

/// The failure of the report: 32B parameters and a request of 131,072 tokens on two cards of 48 GB. Weights and steps have
/// room; its cache misses as many bytes as the ledger says.
#[test]
fn a_cache_runs_out_where_fit_says() {
    const TOKENS: usize = 131_072;
    const CONTEXT: u64 = ALLOWED_MIB << 20;
    let card = format!("[[device]]\ncontext_mib = {ALLOWED_MIB}\n");
    if !machine(2)
        .configured(&card)
        .is_inside("ledger::a_cache_runs_out_where_fit_says")
    {
        return;
    }
    let mut plan = Plan::of("DeepSeek-R1-Distill-Qwen-32B", 64, 2, false);
    plan.max_model_len = TOKENS;
    let asked = plan.asked();
    let rank = asked.per_rank.as_ref().unwrap();
    assert!(!asked.fits, "{}", asked.reason);
    let mut ranks = plan.load().unwrap();
    plan.warm_up(&mut ranks);
    let (before, _) = held(CONTEXT);
    let (memory, cache) = ((MEMORY_GIB * GIB) as u64 - CONTEXT, rank.kv_gib * GIB);
    let left = memory - before;
    assert_near("left", left, cache, cache);
    let of_token = asked.kv_bytes_per_token.unwrap();
    let wanted = of_token * TOKENS as u64;
    assert_near("missing", wanted - left, wanted as f64 - cache, cache);
    let error = ranks.allocate_kv(&plan.layout(TOKENS as u64)).unwrap_err();
    assert!(ran_out(&error), "{error}");
    // It was as full as the keys or values of one layer would have it.
    let (_, most) = held(CONTEXT);
    assert!((memory - wanted / 128..=memory).contains(&most), "{most}");
    // What the ledger leaves has room, but for the bound.
    let room = asked.kv_tokens.unwrap() * 99 / 100;
    ranks.allocate_kv(&plan.layout(room)).unwrap();
}

/// A step of 196,608 tokens: its arena has no room beside the weights.
#[test]
fn activations_run_out_where_fit_says() {
    if !machine(2).is_inside("ledger::activations_run_out_where_fit_says") {
        return;
    }
    let mut plan = Plan::of("QwQ-32B", 64, 2, false);
    plan.limits.rows = 196_608;
    let asked = plan.asked();
    assert!(!asked.fits);
    let rank = asked.per_rank.unwrap();
    let memory = (MEMORY_GIB * GIB) as u64 - CONTEXT_BYTES;
    assert!(rank.weights_gib * GIB < memory as f64);
    assert!((rank.weights_gib + rank.activations_gib) * GIB > memory as f64);
    let error = plan.load().err().unwrap();
    assert!(ran_out(&error), "{error}");
    // Of the rank that ran out first: the other may have heard of it while it loaded.
    let most = [0, 1].map(|gpu| held_on(gpu, CONTEXT_BYTES).1);
    let highest = most[0].max(most[1]);
    assert!(highest as f64 > rank.weights_gib * GIB, "{most:?}");
}

fn ran_out(error: &ExecError) -> bool {
    matches!(error, ExecError::Device { source, .. } if is_out_of_memory(source))
}

//! A few layers at a real model's width, of dummy weights, over ranks.

use std::sync::Arc;

use candle_core::DType;
use candlepower::exec::{Executor, KvLayout, Rank, Ranks, StepPlan};
use candlepower::model::{Decoder, DummyWeights, ModelSpec, Share, StepLimits, WeightType};
use candlepower::ops::cpu::Cpu;
use candlepower::parallel::{Collective, ShardPlan, Split};

use super::probe::{Chunk, rows};

pub const LIMITS: StepLimits = StepLimits {
    rows: 16,
    logit_rows: 4,
};
const BLOCKS: usize = 64;
pub const BLOCK_SIZE: usize = 16;
const TOKENS: usize = 9;
/// Rows of the step that give logits.
pub const LOGIT_ROWS: usize = 3;

/// Ranks of two threads in all, with a cache. The bytes of every one are those of the plan.
pub fn dummy(spec: &ModelSpec, split: Split) -> Ranks {
    let plan = Arc::new(ShardPlan::split(&spec.shape(), split).unwrap());
    let weights = DummyWeights {
        seed: 5,
        weight_type: WeightType::Bf16,
    };
    let (shared, spec) = (plan.clone(), spec.clone());
    let build = move |collective: Box<dyn Collective>| {
        let share = Share {
            spec: &spec,
            plan: &shared,
            rank: collective.rank(),
        };
        let decoder = Decoder::load(share, &weights, &Cpu::F32, LIMITS, &mut |_| ())?;
        Ok(Rank::new(Box::new(Cpu::F32), collective, decoder))
    };
    let elements = plan.kv_elements_per_token();
    let mut ranks = Ranks::load(split.tp, 2, u64::MAX, elements, Arc::new(build)).unwrap();
    let layout = KvLayout {
        num_blocks: BLOCKS,
        block_size: BLOCK_SIZE,
        dtype: DType::BF16,
    };
    ranks.allocate_kv(&layout).unwrap();
    for memory in ranks.memory().unwrap() {
        let rank = memory.rank;
        let bytes = plan.weight_bytes(rank, |tensor, held| tensor.bytes(held, 2));
        assert_eq!(memory.weights_bytes, bytes, "rank {rank}, {split:?}");
        assert_eq!(memory.kv_bytes, (2 * elements * BLOCKS * BLOCK_SIZE) as u64);
    }
    ranks
}

/// One prompt, its tokens `stride` apart.
pub fn step(stride: u32) -> Arc<StepPlan> {
    let chunk = Chunk {
        start: 0,
        end: TOKENS,
        table: &[1],
    };
    Arc::new(StepPlan {
        timed: false,
        tokens: (0..TOKENS as u32).map(|i| i * stride + 7).collect(),
        rows: rows(&[chunk], BLOCK_SIZE),
        logit_rows: vec![0, 4, 8],
        picks: Vec::new(),
    })
}

/// The step's logits, those of all ranks side by side.
pub fn logits(ranks: &mut Ranks, step: &Arc<StepPlan>) -> Vec<Vec<f32>> {
    let step = step.clone();
    let parts = ranks.on_all(move |rank| rank.logits(&step)).unwrap();
    let mut found = vec![Vec::new(); LOGIT_ROWS];
    for part in parts {
        let part = part.unwrap().to_vec2::<f32>().unwrap();
        let rows = found.iter_mut().zip(part);
        rows.for_each(|(row, part)| row.extend(part));
    }
    found
}

/// The largest of all.
pub fn size(logits: &[Vec<f32>]) -> f32 {
    let all = logits.iter().flatten();
    all.fold(0.0, |size, v| size.max(v.abs()))
}

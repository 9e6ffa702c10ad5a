//! Whole steps on dummy weights: a model's ranks and the plans they run.
// Each benchmark takes what it needs.
#![allow(dead_code)]

#[path = "../activations/mod.rs"]
pub mod activations;

use std::sync::Arc;

use candle_core::DType;
use candlepower::exec::{Executor, KvLayout, Rank, Ranks, StepPlan};
use candlepower::ground::Sampling;
use candlepower::hub::cards;
use candlepower::model::{Decoder, DummyWeights, ModelSpec, Share, StepLimits, WeightType};
use candlepower::ops::{Pick, Rows};
use candlepower::parallel::{Collective, ShardPlan};

/// Where the command line names none.
pub const CARD: &str = "Qwen2.5-0.5B";
const BLOCK_SIZE: usize = 16;
const ROWS: usize = 800;
const BLOCKS: usize = 1200;

/// What the command line has besides cargo's own flags.
pub fn arguments() -> Vec<String> {
    let arguments = std::env::args().skip(1);
    arguments.filter(|a| !a.starts_with('-')).collect()
}

/// `CARD [LAYERS]` of the command line.
pub fn model_of_arguments() -> (String, ModelSpec) {
    let arguments = arguments();
    let name = arguments.first().map_or(CARD, String::as_str);
    let mut spec = card(name);
    if let Some(layers) = arguments.get(1) {
        spec.truncate_layers(layers.parse().expect("a number of layers"));
    }
    (name.to_owned(), spec)
}

pub fn card(name: &str) -> ModelSpec {
    let card = cards::find(name).expect("a model card's name");
    ModelSpec::from_json(card.config_json, card.name).expect("cards are valid")
}

pub fn load(spec: &ModelSpec, tp: usize, threads: usize) -> Ranks {
    let limits = StepLimits {
        rows: ROWS,
        logit_rows: 32,
    };
    let weights = DummyWeights {
        seed: 0,
        weight_type: WeightType::Bf16,
    };
    let plan = ShardPlan::new(&spec.shape(), tp).expect("a legal split");
    let elements = plan.kv_elements_per_token();
    let (spec, cpu) = (spec.clone(), activations::cpu());
    let build = move |collective: Box<dyn Collective>| {
        let share = Share {
            spec: &spec,
            plan: &plan,
            rank: collective.rank(),
        };
        let decoder = Decoder::load(share, &weights, &cpu, limits, &mut |_| ())?;
        Ok(Rank::new(Box::new(cpu), collective, decoder))
    };
    let mut ranks =
        Ranks::load(tp, threads, u64::MAX, elements, Arc::new(build)).expect("the model loads");
    let layout = KvLayout {
        num_blocks: BLOCKS,
        block_size: BLOCK_SIZE,
        dtype: DType::BF16,
    };
    ranks.allocate_kv(&layout).expect("a cache");
    ranks
}

/// Sequences of `context` tokens, of which the last `rows` are computed.
pub fn plan(spec: &ModelSpec, sequences: usize, rows: usize, context: usize) -> StepPlan {
    let max_blocks = context.div_ceil(BLOCK_SIZE);
    let mut plan = StepPlan {
        rows: Rows {
            query_offsets: vec![0],
            max_blocks,
            ..Rows::default()
        },
        ..StepPlan::default()
    };
    for sequence in 0..sequences {
        // Block 0 is the null block.
        let first = 1 + sequence * max_blocks;
        for position in context - rows..context {
            plan.tokens.push((position * 7919 % spec.vocab_size) as u32);
            plan.rows.positions.push(position as u32);
            plan.rows.slots.push((first * BLOCK_SIZE + position) as u32);
        }
        plan.logit_rows.push(plan.tokens.len() as u32 - 1);
        plan.picks.push(Pick {
            stream: sequence as u64,
            position: context as u32,
            sampling: Sampling::GREEDY,
        });
        plan.rows.query_offsets.push(plan.tokens.len() as u32);
        plan.rows.context_lens.push(context as u32);
        let table = first..first + max_blocks;
        plan.rows
            .block_tables
            .extend(table.map(|block| block as u32));
    }
    plan
}

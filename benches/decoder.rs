//! One step of a whole decoder, operation by operation, beside this host's roofs:
//! `cargo bench --bench decoder [-- CARD [LAYERS]]`.

mod roofs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::DType;
use candlepower::exec::{Executor, KvLayout, Rank, Ranks, StepOutput, StepPlan};
use candlepower::ground::Sampling;
use candlepower::hub::cards;
use candlepower::model::{Decoder, DummyWeights, ModelSpec, Share, StepLimits, spec::WeightType};
use candlepower::ops::cpu::Cpu;
use candlepower::ops::{Pick, Rows};
use candlepower::parallel::{Collective, ShardPlan};
use roofs::GIGA;

/// `(sequences, rows of each, context of each, steps)`.
const LOADS: [(usize, usize, usize, usize); 6] = [
    (1, 1, 132, 24),
    (8, 1, 132, 16),
    (32, 1, 132, 10),
    (8, 1, 2048, 6),
    (1, 100, 100, 5),
    (1, 512, 512, 3),
];
const BLOCK_SIZE: usize = 16;
const ROWS: usize = 512;
const BLOCKS: usize = 1200;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let name = arguments.first().map_or("Qwen2.5-0.5B", String::as_str);
    let card = cards::find(name).expect("a model card's name");
    let mut spec = ModelSpec::from_json(card.config_json, card.name).expect("cards are valid");
    if let Some(layers) = arguments.get(1) {
        spec.truncate_layers(layers.parse().expect("a number of layers"));
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut ranks = load(&spec, threads);
    for (sequences, rows, context, steps) in LOADS {
        let plan = plan(&spec, sequences, rows, context);
        let mut output = StepOutput::default();
        ranks
            .with_first(|rank| rank.step(&plan, &mut output))
            .expect("a warm-up step");
        let mut walls: Vec<Duration> = (0..steps)
            .map(|_| {
                ranks.with_first(|rank| {
                    let start = Instant::now();
                    rank.step(&plan, &mut output).expect("a step");
                    start.elapsed()
                })
            })
            .collect();
        walls.sort_unstable();
        let wall = walls[steps / 2].as_secs_f64();
        let roofs = ranks.measure_roofs().expect("a CPU's roofs");
        let (bandwidth, peak) = (roofs.read_bytes_per_s, roofs.flop_per_s);
        println!(
            "\n{name}: {sequences} x {rows} rows, context {context}: {:.2} ms, {:.1} tok/s; {:.1} GB/s ({:.0} %), {:.0} GFLOP/s ({:.0} %) of {:.1} GB/s, {:.0} GFLOP/s",
            wall * 1e3,
            (sequences * rows) as f64 / wall,
            output.cost.bytes as f64 / wall / GIGA,
            100.0 * output.cost.bytes as f64 / wall / bandwidth,
            output.cost.flops as f64 / wall / GIGA,
            100.0 * output.cost.flops as f64 / wall / peak,
            bandwidth / GIGA,
            peak / GIGA,
        );
        by_operation(&mut ranks, &plan, steps, bandwidth, peak);
    }
}

fn load(spec: &ModelSpec, threads: usize) -> Ranks {
    let limits = StepLimits {
        rows: ROWS,
        logit_rows: 32,
    };
    let weights = DummyWeights {
        seed: 0,
        weight_type: WeightType::Bf16,
    };
    let plan = ShardPlan::new(spec, 1).expect("one rank is always legal");
    let elements = plan.kv_elements_per_token();
    let build = move |collective: Box<dyn Collective>| {
        let share = Share {
            plan: &plan,
            rank: 0,
        };
        let decoder = Decoder::load(share, &weights, &Cpu, limits, &mut |_| {})?;
        Ok(Rank::new(Box::new(Cpu), collective, decoder))
    };
    let mut ranks =
        Ranks::load(1, threads, u64::MAX, elements, Arc::new(build)).expect("the model loads");
    let layout = KvLayout {
        num_blocks: BLOCKS,
        block_size: BLOCK_SIZE,
        dtype: DType::BF16,
    };
    ranks.allocate_kv(&layout).expect("a cache");
    ranks
}

/// Sequences of `context` tokens, of which the last `rows` are computed.
fn plan(spec: &ModelSpec, sequences: usize, rows: usize, context: usize) -> StepPlan {
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

fn by_operation(ranks: &mut Ranks, plan: &StepPlan, steps: usize, bandwidth: f64, peak: f64) {
    let mut output = StepOutput::default();
    let records = ranks.with_first(|rank| {
        rank.recorder().start_timeline();
        for _ in 0..steps {
            rank.step(plan, &mut output).expect("a step");
        }
        rank.recorder().take_timeline()
    });
    let mut operations: BTreeMap<&str, (Vec<Duration>, u64, u64)> = BTreeMap::new();
    for record in &records {
        let (times, bytes, flops) = operations.entry(record.name).or_default();
        times.push(record.time);
        *bytes += record.cost.bytes;
        *flops += record.cost.flops;
    }
    let total: f64 = records.iter().map(|r| r.time.as_secs_f64()).sum();
    for (name, (mut times, bytes, flops)) in operations {
        times.sort_unstable();
        let time: f64 = times.iter().map(Duration::as_secs_f64).sum();
        println!(
            "  {name:9} {:5} calls  median {:9.1} us  {:5.1} %   {:5.1} GB/s {:3.0} %   {:6.1} GFLOP/s {:3.0} %",
            times.len() / steps,
            times[times.len() / 2].as_secs_f64() * 1e6,
            100.0 * time / total,
            bytes as f64 / time / GIGA,
            100.0 * bytes as f64 / time / bandwidth,
            flops as f64 / time / GIGA,
            100.0 * flops as f64 / time / peak,
        );
    }
}

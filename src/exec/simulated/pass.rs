//! One step as a list of operations, each with its bytes, its FLOPs and its time.

use std::time::Duration;

use super::all_reduce::Exchange;
use super::attend::{Attention, Phases};
use super::calibration::{FMA, GATHER_OF_ALL_REDUCE};
use super::limits::{Limits, Unit};
use super::shapes::{Latent, Layer, Matrix, Routed, Shapes};
use crate::exec::StepPlan;
use crate::ground::Sampling;
use crate::ground::clock::seconds as duration;
use crate::ground::recorder::{Cost, OpRecord, Recorder, Traffic};
use crate::hardware::HardwareError;
use crate::ops::Rows;

/// Sampling reads logits in f32.
const LOGIT_BYTES: usize = 4;
/// Times that it goes over them to take the largest; at a temperature, for the division, the probabilities, the noise over
/// them and the largest of these, each what it reads and what it writes (`sampler.py` of vLLM); and as many again where
/// top-k or top-p looks for a threshold.
const GREEDY_PASSES: usize = 1;
const DRAWN_PASSES: usize = 10;
const THRESHOLD_PASSES: usize = 10;
/// Kernels of these.
const DRAWN_KERNELS: u32 = 5;
/// x and the delta in, x and the normed out.
const NORM_STREAMS: usize = 4;
/// A norm before and one behind attention, and so around the MLP.
const NORMS_AROUND_EACH: usize = 4;
/// Beside the experts' two matmuls: routing, sorting rows by expert, the weighted sum.
const EXPERT_KERNELS: u32 = 3;

/// Over a row of logits.
fn passes(sampling: &Sampling) -> usize {
    let narrows = sampling.top_k > 0 || sampling.top_p < 1.0;
    match (sampling.is_greedy(), narrows) {
        (true, _) => GREEDY_PASSES,
        (false, false) => DRAWN_PASSES,
        (false, true) => DRAWN_PASSES + THRESHOLD_PASSES,
    }
}

/// A step on one rank. Every rank takes as long.
#[derive(Debug, Default)]
pub struct Pass {
    before: Vec<OpRecord>,
    /// One list for each kind of layer.
    kinds: Vec<Vec<OpRecord>>,
    behind: Vec<OpRecord>,
    pub time: Duration,
    pub cost: Cost,
    pub traffic: Traffic,
}

/// What all operations of a step are worked out from.
pub struct Work<'a> {
    pub shapes: &'a Shapes,
    pub limits: &'a Limits,
    pub exchange: &'a Exchange,
    /// Ranks, and whether each holds whole experts.
    pub ranks: usize,
    pub expert_parallel: bool,
    /// Bytes of a K or V element in the cache.
    pub kv_element: usize,
    pub gathers_logits: bool,
}

impl Work<'_> {
    /// # Errors
    /// Nothing is known of an all-reduce of this size.
    pub fn pass(&self, plan: &StepPlan) -> Result<Pass, HardwareError> {
        let rows = plan.rows.len();
        let mut pass = Pass::default();
        let embedded = 2 * rows * self.shapes.hidden;
        pass.before.push(self.stream("embed", embedded));
        pass.before.extend(self.all_reduce(rows)?);
        for layer in &self.shapes.kinds {
            pass.kinds.push(self.layer(layer, &plan.rows)?);
        }
        pass.behind = self.head(rows, plan)?;
        pass.sum(&self.shapes.layers);
        Ok(pass)
    }

    fn layer(&self, layer: &Layer, rows: &Rows) -> Result<Vec<OpRecord>, HardwareError> {
        let (shapes, count) = (self.shapes, rows.len());
        let norm = || self.stream("norm", NORM_STREAMS * count * shapes.hidden);
        let behind_each = shapes.norms >= NORMS_AROUND_EACH;
        let mut ops = Vec::new();
        if !layer.o.is_none() {
            ops.push(norm());
            self.attention(layer, rows, &mut ops);
            ops.extend(self.all_reduce(count)?);
            ops.extend(behind_each.then(norm));
        }
        if layer.down.is_none() && layer.routed.is_none() {
            return Ok(ops);
        }
        if ops.is_empty() || shapes.norms > 1 {
            ops.push(norm());
        }
        if !layer.down.is_none() {
            let (gate_up, down) = (&layer.gate_up, &layer.down);
            ops.push(self.linear("gate_up", gate_up, count));
            let inside = count * (gate_up.outputs + down.inputs);
            ops.push(self.stream("silu_mul", inside));
            ops.push(self.linear("down", down, count));
        }
        if let Some(routed) = &layer.routed {
            ops.push(self.linear("router", &routed.router, count));
            ops.push(self.expert_mlp(routed, count));
        }
        ops.extend(self.all_reduce(count)?);
        ops.extend(behind_each.then(norm));
        Ok(ops)
    }

    fn attention(&self, layer: &Layer, rows: &Rows, ops: &mut Vec<OpRecord>) {
        let count = rows.len();
        let attention = Attention {
            shapes: self.shapes,
            layer,
            kv_element: self.kv_element,
            limits: self.limits,
            phases: Phases::new(rows, layer.kv),
        };
        ops.push(self.linear("qkv", &layer.qkv, count));
        if let Some(Latent { queries, unpack }) = &layer.latent {
            ops.push(self.stream("norm", 2 * count * layer.qkv.outputs));
            if !queries.is_none() {
                ops.push(self.linear("qkv", queries, count));
            }
            if !unpack.is_none() {
                // In halves: before attention and behind it.
                let mut halves = self.linear("qkv", unpack, attention.unpacked());
                halves.time += duration(self.limits.kernel(0.0));
                ops.push(halves);
            }
        }
        let written = 2 * count * (layer.q_width + layer.kv_width);
        ops.push(self.stream("write_kv", written));
        ops.push(self.attend(&attention));
        ops.push(self.linear("o", &layer.o, count));
    }

    /// Behind the last layer: only rows that draw a token need logits.
    fn head(&self, rows: usize, plan: &StepPlan) -> Result<Vec<OpRecord>, HardwareError> {
        let logit_rows = plan.logit_rows.len();
        let (shapes, head) = (self.shapes, &self.shapes.head);
        let mut ops = vec![self.stream("norm", NORM_STREAMS * rows * shapes.hidden)];
        if logit_rows == 0 {
            return Ok(ops);
        }
        ops.push(self.linear("head", head, logit_rows));
        if self.gathers_logits && self.ranks > 1 {
            let bytes = self.bytes(logit_rows * head.outputs * self.ranks);
            let seconds = self.exchange.nccl(bytes)? * GATHER_OF_ALL_REDUCE;
            let moved = Cost { bytes, flops: 0 };
            ops.push(record("gather", moved, seconds));
        }
        let passes = plan.picks.iter().map(|pick| passes(&pick.sampling)).max();
        let passes = passes.unwrap_or(GREEDY_PASSES);
        let read = Cost {
            bytes: (passes * logit_rows * head.outputs * LOGIT_BYTES) as u64,
            flops: 0,
        };
        let more = match passes {
            GREEDY_PASSES => 0,
            _ => DRAWN_KERNELS - 1,
        };
        let seconds =
            self.limits.seconds(read, Unit::Matmul) + f64::from(more) * self.limits.kernel(0.0);
        ops.push(record("sample", read, seconds));
        Ok(ops)
    }

    /// An operation that only moves activations.
    fn stream(&self, name: &'static str, elements: usize) -> OpRecord {
        let cost = Cost {
            bytes: self.bytes(elements),
            flops: 0,
        };
        record(name, cost, self.limits.seconds(cost, Unit::Matmul))
    }

    fn linear(&self, name: &'static str, matrix: &Matrix, rows: usize) -> OpRecord {
        let cost = Cost {
            bytes: matrix.bytes + self.bytes(rows * (matrix.inputs + matrix.outputs)),
            flops: FMA * rows as u64 * matrix.elements,
        };
        record(name, cost, self.limits.seconds(cost, unit(matrix)))
    }

    /// Prompts and running requests are two phases of one kernel: neither hides the other.
    fn attend(&self, attention: &Attention) -> OpRecord {
        let (running, prompts) = (attention.running(), attention.prompts());
        let seconds = self.limits.kernel(running.1 + prompts.1);
        let mut cost = running.0;
        cost += prompts.0;
        record("attend", cost, seconds)
    }

    /// All experts of a layer. Tokens choose evenly and apart from each other, so that of `E` experts
    /// `E (1 - (1 - k / E)^rows)` are read. Whole experts have their own tokens only, and the step waits for the
    /// rank that reads most of them.
    fn expert_mlp(&self, routed: &Routed, rows: usize) -> OpRecord {
        let experts = routed.experts;
        let (all, each) = (experts.count as f64, experts.per_token as f64);
        let touched = 1.0 - (1.0 - each / all).powf(rows as f64);
        let (here, slowest) = match self.expert_parallel {
            true => {
                let held = experts.count / self.ranks;
                let most = expected_most(held, touched, self.ranks);
                (self.ranks as f64, most / (held as f64 * touched))
            }
            false => (1.0, 1.0),
        };
        // Every one of this rank's experts together multiplies `elements` for a row.
        let chosen = rows as f64 * each / all;
        let passing = (rows as f64 * each / here) as usize;
        // Rows go to their experts and come back summed, and between the matmuls gate meets up.
        let inside = routed.gate_up.outputs + routed.down.inputs;
        let moved = 2 * (rows + passing) * self.shapes.hidden + passing * inside;
        let mut cost = Cost {
            bytes: self.bytes(moved),
            flops: 0,
        };
        let mut seconds = self.limits.kernel(0.0) * f64::from(EXPERT_KERNELS);
        seconds += self.limits.busy(cost, Unit::Matmul);
        for matrix in [&routed.gate_up, &routed.down] {
            let part = Cost {
                bytes: (matrix.bytes as f64 * touched) as u64
                    + self.bytes(passing * (matrix.inputs + matrix.outputs)),
                flops: (FMA as f64 * chosen * matrix.elements as f64) as u64,
            };
            let most = Cost {
                bytes: (part.bytes as f64 * slowest) as u64,
                ..part
            };
            seconds += self.limits.seconds(most, unit(matrix));
            cost += part;
        }
        record("experts", cost, seconds)
    }

    /// `None` on one rank.
    fn all_reduce(&self, rows: usize) -> Result<Option<OpRecord>, HardwareError> {
        if self.ranks == 1 {
            return Ok(None);
        }
        let elements = rows * self.shapes.hidden;
        let cost = Cost {
            bytes: self.bytes(elements),
            flops: elements as u64 * (self.ranks as u64 - 1) / self.ranks as u64,
        };
        let seconds = self.exchange.seconds(cost.bytes)?;
        Ok(Some(record(ALL_REDUCE, cost, seconds)))
    }

    /// Of so many activations.
    fn bytes(&self, elements: usize) -> u64 {
        (elements * self.shapes.element) as u64
    }
}

/// Of `ranks` that each hold `held` experts, touched with `chance` and apart from each other: how many are, where
/// they are most.
fn expected_most(held: usize, chance: f64, ranks: usize) -> f64 {
    // Touched experts of a rank are binomial: P(n) from P(n - 1); all ranks have at most n with F(n)^ranks.
    let odds = chance / (1.0 - chance);
    let mut probability = (1.0 - chance).powi(held as i32);
    if probability <= f64::MIN_POSITIVE || !odds.is_finite() {
        return held as f64;
    }
    let (mut at_most, mut expected) = (probability, 0.0);
    for n in 1..=held {
        expected += 1.0 - at_most.min(1.0).powi(ranks as i32);
        probability *= odds * (held + 1 - n) as f64 / n as f64;
        at_most += probability;
    }
    expected
}

const ALL_REDUCE: &str = "all_reduce";

impl Pass {
    /// Every operation in order, as the devices ran it.
    pub fn record(&self, layers: &[usize], recorder: &Recorder) {
        self.before.iter().for_each(|op| recorder.note(op.clone()));
        for (index, &kind) in layers.iter().enumerate() {
            for op in &self.kinds[kind] {
                let layer = Some(index);
                recorder.note(OpRecord {
                    layer,
                    ..op.clone()
                });
            }
        }
        self.behind.iter().for_each(|op| recorder.note(op.clone()));
    }

    fn sum(&mut self, layers: &[usize]) {
        let kinds: Vec<Sums> = self.kinds.iter().map(|ops| Sums::of(ops)).collect();
        let outside = [Sums::of(&self.before), Sums::of(&self.behind)];
        let layers = layers.iter().map(|&kind| kinds[kind]);
        for part in outside.into_iter().chain(layers) {
            self.time += part.time;
            self.cost += part.cost;
            self.traffic += part.traffic;
        }
    }
}

/// Of a list of operations.
#[derive(Clone, Copy, Default)]
struct Sums {
    time: Duration,
    cost: Cost,
    traffic: Traffic,
}

impl Sums {
    fn of(ops: &[OpRecord]) -> Self {
        let mut sums = Self::default();
        for op in ops {
            sums.time += op.time;
            sums.cost += op.cost;
            if op.name == ALL_REDUCE {
                sums.traffic += Traffic {
                    bytes: op.cost.bytes,
                    time: op.time,
                    wait: None,
                };
            }
        }
        sums
    }
}

fn unit(matrix: &Matrix) -> Unit {
    match matrix.eight_bits {
        true => Unit::EightBits,
        false => Unit::Matmul,
    }
}

fn record(name: &'static str, cost: Cost, seconds: f64) -> OpRecord {
    OpRecord {
        name,
        layer: None,
        // Both known once it is noted.
        queued: Duration::ZERO,
        start: Duration::ZERO,
        time: duration(seconds),
        cost,
        launches: None,
    }
}

//! A device without weights: a step takes the time that its operations would take on a card, by the
//! card's limits, in virtual time. Tokens are drawn by a hash. Everything above it is what runs on real
//! devices: scheduler, events, metrics.

mod all_reduce;
mod assumed;
mod attend;
mod calibration;
mod kernels;
mod limits;
mod pass;
mod server;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use super::tickets::Tickets;
use super::{ExecError, Executor, KvLayout, StepOutput, StepPlan, Ticket};
use crate::ground::clock::seconds;
use crate::ground::recorder::{Cost, OpRecord, Recorder};
use crate::ground::results::{self, RankMemory, Roofs};
use crate::ground::{Clock, VirtualClock};
use crate::hardware::{Gpu, Link, PushLink};
use crate::model::{StepLimits, workspace_bytes};
use crate::ops::sampling::draw::mix;
use crate::ops::{Pick, Sampled};
use crate::parallel::{AllReduce, ShardPlan};
use crate::shape::WeightType;

use all_reduce::Exchange;
pub use assumed::{assumed, untimed};
pub use kernels::Kernels;
use limits::Limits;
use pass::Work;
pub use server::Server;
use shapes::Shapes;

const GIGA: f64 = 1e9;
const TERA: f64 = 1e12;

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Setup {
    pub plan: Arc<ShardPlan>,
    /// Every rank has one.
    pub gpu: Gpu,
    /// Of activations, and of weights that are not quantised.
    pub dtype: WeightType,
    /// Kernels are launched from CUDA graphs.
    pub graphs: bool,
    /// What adds up over the ranks, as it was asked for; over PCIe a server adds up with NCCL where it is `Auto`.
    pub all_reduce: AllReduce,
    /// `None`: raw capacity.
    pub server: Option<Server>,
    /// Largest step, for what a rank's workspace would take.
    pub limits: StepLimits,
}

pub struct Simulated {
    setup: Setup,
    clock: Arc<VirtualClock>,
    limits: Limits,
    exchange: Exchange,
    shapes: Shapes,
    kv: Option<KvLayout>,
    recorder: Recorder,
    tickets: Tickets,
    /// Of the last step that was submitted.
    time: Duration,
}

impl Simulated {
    /// The executor moves `clock` on as its steps end.
    ///
    /// # Errors
    /// Nothing is known of an all-reduce between these cards.
    pub fn new(setup: Setup, clock: Arc<VirtualClock>) -> Result<Self, ExecError> {
        let (ranks, dtype) = (setup.plan.tp(), setup.dtype);
        let (gpu, link) = (&setup.gpu, setup.gpu.link());
        let (kernels, start) = match &setup.server {
            None => (Kernels::OWN, PushLink::START_SECONDS),
            Some(server) => (server.kernels, server.kernels.seconds),
        };
        // Engines have kernels of their own over NVLink, and NCCL elsewhere.
        let asked = match (setup.all_reduce, &setup.server, link) {
            (AllReduce::Auto, Some(_), Link::PcieHost | Link::PcieP2p) => AllReduce::Nccl,
            (asked, ..) => asked,
        };
        let largest = setup.limits.rows * setup.plan.shape().hidden_size * dtype.bytes();
        Ok(Self {
            limits: Limits::new(gpu, &kernels, dtype, setup.graphs),
            exchange: Exchange::new(link, ranks, asked, start, largest as u64)?,
            shapes: Shapes::new(&setup.plan, dtype),
            setup,
            clock,
            kv: None,
            recorder: Recorder::default(),
            tickets: Tickets::default(),
            time: Duration::ZERO,
        })
    }

    /// What each way of adding up takes, and which are chosen; `None`: there is one rank.
    pub fn all_reduce(&self) -> Option<results::AllReduce> {
        let ways = self.exchange.ways()?;
        Some(ways.told(self.setup.all_reduce))
    }

    fn step(&self, plan: &StepPlan, kv: KvLayout) -> Result<(Duration, StepOutput), ExecError> {
        let Setup {
            plan: shards,
            server,
            ..
        } = &self.setup;
        let ranks = shards.tp();
        let work = Work {
            shapes: &self.shapes,
            limits: &self.limits,
            exchange: &self.exchange,
            ranks,
            expert_parallel: shards.expert_parallel(),
            kv_element: kv.dtype.size_in_bytes(),
            gathers_logits: server.is_some_and(|server| server.gathers_logits),
        };
        let pass = work.pass(plan)?;
        pass.record(&self.shapes.layers, &self.recorder);
        let layers = self.shapes.layers.len();
        let host = server.map_or(0.0, |server| {
            server.host(
                &self.setup.gpu,
                pass.time.as_secs_f64(),
                ranks,
                layers,
                plan.rows.sequences(),
            )
        });
        let host = seconds(host);
        let vocab = shards.shape().vocab_size;
        let output = StepOutput {
            sampled: plan.picks.iter().map(|pick| draw(pick, vocab)).collect(),
            cost: Cost {
                bytes: pass.cost.bytes * ranks as u64,
                flops: pass.cost.flops * ranks as u64,
            },
            traffic: pass.traffic,
            host,
            ..StepOutput::default()
        };
        Ok((pass.time.saturating_add(host), output))
    }
}

/// The most that these kernels reach of a card; `fp8`: in matmuls of 8 bits.
pub fn reach(gpu: &Gpu, kernels: &Kernels, dtype: WeightType, fp8: bool) -> Roofs {
    Limits::new(gpu, kernels, dtype, true).roofs(fp8)
}

/// What its data sheet says of a card; `fp8`: its matmuls are of 8 bits, where it has such. `None`: it does not say.
pub fn sheet(gpu: &Gpu, dtype: WeightType, fp8: bool) -> Option<Roofs> {
    let tflops = match dtype {
        WeightType::F32 => gpu.f32_tflops?,
        WeightType::Bf16 | WeightType::F16 => gpu.half_tflops(),
    };
    let fp8 = gpu.fp8_tflops.filter(|_| fp8);
    Some(Roofs {
        read_bytes_per_s: gpu.bandwidth_gb_s * GIGA,
        flop_per_s: tflops.max(fp8.unwrap_or(0.0)) * TERA,
    })
}

/// Any token, the same for the same request, position and seed.
fn draw(pick: &Pick, vocab: usize) -> Sampled {
    let position = u64::from(pick.position);
    let drawn = mix(pick.sampling.seed, pick.stream, position);
    Sampled {
        token: (drawn % vocab as u64) as u32,
        logprobs: None,
    }
}

impl Executor for Simulated {
    fn memory(&mut self) -> Result<Vec<RankMemory>, ExecError> {
        let Setup {
            plan,
            gpu,
            dtype,
            limits,
            ..
        } = &self.setup;
        let kv_bytes = self.kv.map_or(0, |kv| {
            let elements = kv.num_blocks * kv.block_size * plan.kv_elements_per_token();
            (elements * kv.dtype.size_in_bytes()) as u64
        });
        let element = dtype.bytes();
        let memory = |rank| RankMemory {
            host: None,
            rank,
            device: gpu.name.clone(),
            weights_bytes: plan.weight_bytes(rank, |tensor, held| tensor.bytes(held, element)),
            kv_bytes,
            workspace_bytes: workspace_bytes(plan, rank, *limits, element),
        };
        Ok((0..plan.tp()).map(memory).collect())
    }

    fn measure_roofs(&mut self) -> Option<Roofs> {
        let Setup {
            plan, gpu, dtype, ..
        } = &self.setup;
        let (ranks, one) = (plan.tp() as f64, sheet(gpu, *dtype, false)?);
        Some(Roofs {
            read_bytes_per_s: one.read_bytes_per_s * ranks,
            flop_per_s: one.flop_per_s * ranks,
        })
    }

    fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError> {
        self.kv = Some(*layout);
        Ok(())
    }

    fn submit(&mut self, plan: Arc<StepPlan>) -> Result<Ticket, ExecError> {
        let kv = self.kv.ok_or(ExecError::NoKv)?;
        let (time, known) = self.step(&plan, kv)?;
        self.time = time;
        self.tickets.issue(|output| {
            *output = known;
            Ok(())
        })
    }

    fn wait(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError> {
        self.tickets.redeem(ticket, output)?;
        self.clock.advance(self.time);
        Ok(())
    }

    fn start_timelines(&mut self, clock: &Arc<dyn Clock>) -> Result<(), ExecError> {
        self.recorder.start_timeline(clock.clone(), None);
        Ok(())
    }

    /// All ranks are alike.
    fn take_timelines(&mut self) -> Result<Vec<Vec<OpRecord>>, ExecError> {
        let timeline = self.recorder.take_timeline().unwrap_or_default();
        Ok(vec![timeline; self.setup.plan.tp()])
    }
}

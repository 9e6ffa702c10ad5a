//! An engine on a simulated device, from shapes and a card: what fits decides how much it holds.

use std::sync::Arc;

use candle_core::DType;

use crate::engine::{Engine, EngineError};
use crate::exec::simulated::Setup;
use crate::exec::{ExecError, Executor, KvLayout, Server, Simulated};
use crate::fit::{self, Answer, Ask, Card, Extras, KvType, Limits, Release, Verdict};
use crate::ground::VirtualClock;
use crate::ground::results::{self, RankMemory};
use crate::hardware::Gpu;
use crate::model::StepLimits;
use crate::parallel::{AllReduce, ShardError, ShardPlan, Split};
use crate::scheduler::SchedulerConfig;
use crate::shape::{ModelShape, WeightType};
use crate::telemetry::memory::memory;

const GIB: f64 = (1u64 << 30) as f64;
/// What the scheduler knows of a block: who holds it, its place among the free ones, its content.
const BLOCK_BYTES: u64 = 32;

/// Why a simulation cannot start: the message of each says it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SimulationError {
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error("{model} does not run on {gpus} x {gpu}: {reason}; `candlepower fit` shows what would")]
    DoesNotFit {
        model: String,
        gpus: usize,
        gpu: String,
        reason: String,
    },
    #[error(
        "a KV cache of {blocks} blocks takes about {} MiB of this machine to keep account of, and {} MiB are free; use a larger --block-size than {block_size} or a smaller --kv-cache-memory",
        bytes >> 20,
        available >> 20
    )]
    Account {
        blocks: usize,
        block_size: usize,
        bytes: u64,
        available: u64,
    },
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What is simulated, and with which limits.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// Words for the model.
    pub model: String,
    /// Of the model.
    pub shape: ModelShape,
    /// Every rank has one.
    pub gpu: Gpu,
    /// How the cards share it.
    pub split: Split,
    /// `None`: raw capacity.
    pub server: Option<Server>,
    /// Kernels are launched from CUDA graphs.
    pub graphs: bool,
    /// What adds up over the cards; over PCIe a server adds up with NCCL where it is `Auto`.
    pub all_reduce: AllReduce,
    /// Of activations; `None`: the checkpoint's.
    pub dtype: Option<WeightType>,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// Bytes of the KV caches of all ranks; `None`: what the card's memory leaves.
    pub kv_bytes: Option<u64>,
    /// Share of the card's memory that may be used.
    pub utilization: f64,
    /// Its `num_blocks` is not read: the KV cache decides.
    pub scheduler: SchedulerConfig,
}

/// An idle engine, and what it was resolved to.
pub struct Started {
    /// It runs in virtual time.
    pub engine: Engine,
    /// Its limits, the number of KV blocks among them.
    pub scheduler: SchedulerConfig,
    /// What the KV cache holds.
    pub kv_dtype: DType,
    /// Memory of each.
    pub ranks: Vec<RankMemory>,
    /// What each way of adding up takes; `None`: there is one rank.
    pub all_reduce: Option<results::AllReduce>,
}

impl Simulation {
    /// # Errors
    /// The model cannot be split so, does not fit, or nothing is known of the cards' link.
    pub fn start(&self) -> Result<Started, SimulationError> {
        let plan = Arc::new(ShardPlan::split(&self.shape, self.split)?);
        let ask = self.ask();
        let (dtype, kv_dtype) = (ask.dtype(), self.kv_dtype(&ask));
        let answer = self.answer(&ask)?;
        let layout = KvLayout {
            num_blocks: self.num_blocks(&answer, &plan, kv_dtype),
            block_size: self.scheduler.block_size,
            dtype: kv_dtype,
        };
        check_account(&layout, memory().available)?;
        let rows = self.scheduler.max_num_batched_tokens;
        let setup = Setup {
            plan,
            gpu: self.gpu.clone(),
            dtype,
            graphs: self.graphs,
            all_reduce: self.all_reduce,
            server: self.server,
            limits: StepLimits {
                rows,
                logit_rows: self.scheduler.max_num_seqs.min(rows),
            },
        };
        let clock = Arc::new(VirtualClock::default());
        let mut executor = Simulated::new(setup, clock.clone())?;
        executor.allocate_kv(&layout)?;
        let (mut ranks, all_reduce) = (executor.memory()?, executor.all_reduce());
        if let (None, Some(rank)) = (self.kv_bytes, &answer.per_rank) {
            // Windows that give their blocks back hold more tokens than a block in every layer would.
            let room = (rank.kv_gib * GIB) as u64;
            ranks
                .iter_mut()
                .for_each(|rank| rank.kv_bytes = rank.kv_bytes.min(room));
        }
        let scheduler = SchedulerConfig {
            num_blocks: layout.num_blocks,
            ..self.scheduler.clone()
        };
        Ok(Started {
            engine: Engine::new(scheduler.clone(), Box::new(executor), clock)?,
            scheduler,
            kv_dtype,
            ranks,
            all_reduce,
        })
    }

    /// Of activations.
    pub fn dtype(&self) -> WeightType {
        self.ask().dtype()
    }

    fn kv_dtype(&self, ask: &Ask) -> DType {
        match (self.kv_type, ask.dtype()) {
            // A checkpoint may wish for it.
            (KvType::Auto, _) if ask.kv_bytes() == 1 => DType::F8E4M3,
            (KvType::Fp8, _) => DType::F8E4M3,
            (KvType::F32, _) | (KvType::Auto, WeightType::F32) => DType::F32,
            (KvType::F16, _) | (KvType::Auto, WeightType::F16) => DType::F16,
            (KvType::Bf16, _) | (KvType::Auto, WeightType::Bf16) => DType::BF16,
        }
    }

    /// # Errors
    /// It does not run on that card.
    fn answer(&self, ask: &Ask) -> Result<Answer, SimulationError> {
        let answer = fit::answer(ask);
        let holds = match self.kv_bytes {
            None => answer.fits,
            Some(_) => !matches!(answer.verdict, Verdict::Unsupported | Verdict::NoWeights),
        };
        match holds {
            true => Ok(answer),
            false => Err(SimulationError::DoesNotFit {
                model: self.model.clone(),
                gpus: self.split.tp,
                gpu: self.gpu.full_name.clone(),
                reason: answer.reason,
            }),
        }
    }

    /// The null block among them.
    fn num_blocks(&self, answer: &Answer, plan: &ShardPlan, kv_dtype: DType) -> usize {
        let SchedulerConfig {
            block_size,
            max_model_len,
            ..
        } = self.scheduler;
        let held = answer.kv_tokens.unwrap_or_default() as usize / block_size;
        // As many of the longest requests, which take fewer where windows give blocks back.
        let requests = answer.max_concurrency.unwrap_or_default();
        let of_requests = (requests * max_model_len.div_ceil(block_size) as f64) as usize;
        let most = held.max(of_requests);
        match self.kv_bytes {
            None => 1 + most,
            Some(bytes) => {
                let elements = block_size * plan.tp() * plan.kv_elements_per_token();
                let plain = bytes as usize / (elements * kv_dtype.size_in_bytes()).max(1);
                (plain as u128 * most.max(1) as u128 / held.max(1) as u128) as usize
            }
        }
    }

    fn ask(&self) -> Ask {
        let scheduler = &self.scheduler;
        Ask {
            model: self.model.clone(),
            shape: self.shape.clone(),
            stored: None,
            card: Card::from(&self.gpu),
            gpus: self.split.tp,
            split: self.split,
            pp: 1,
            engine: match self.server {
                None => fit::Engine::Candlepower,
                Some(_) => fit::Engine::Vllm(Release::USUAL),
            },
            limits: Limits {
                max_model_len: Some(scheduler.max_model_len),
                utilization: Some(self.utilization),
                max_num_seqs: Some(scheduler.max_num_seqs),
                max_num_batched_tokens: Some(scheduler.max_num_batched_tokens),
            },
            block_size: scheduler.block_size,
            dtype: self.dtype,
            kv_type: self.kv_type,
            extras: Extras::default(),
            eager: !self.graphs,
            load: None,
        }
    }
}

/// A card may hold more blocks than this machine can count; `available` is 0 where the system does not tell.
fn check_account(layout: &KvLayout, available: u64) -> Result<(), SimulationError> {
    let bytes = layout.num_blocks as u64 * BLOCK_BYTES;
    if available == 0 || bytes <= available {
        return Ok(());
    }
    Err(SimulationError::Account {
        blocks: layout.num_blocks,
        block_size: layout.block_size,
        bytes,
        available,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_blocks_than_a_machine_can_count_are_refused() {
        let layout = KvLayout {
            num_blocks: 1 << 28,
            block_size: 16,
            dtype: DType::BF16,
        };
        assert!(check_account(&layout, 0).is_ok());
        assert!(check_account(&layout, 8 << 30).is_ok());
        let refused = check_account(&layout, 1 << 30).unwrap_err().to_string();
        assert!(refused.contains("8192 MiB") && refused.contains("--block-size"));
    }
}

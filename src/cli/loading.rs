//! What every rank is built from, and whether this machine can hold its ranks.

use std::sync::Arc;

use candle_core::DType;
use indicatif::ProgressBar;

use super::common::CommonArgs;
use super::failure::Failure;
use super::model_files::ModelFiles;
use super::{memory_check, progress};
use crate::exec::{Build, Executor, Rank, Ranks, Threads};
use crate::model::{Decoder, Share};
use crate::ops::cpu::Cpu;
use crate::parallel::Collective;
use crate::telemetry::{Memory, machine};

pub struct Loading {
    pub weight_dtype: DType,
    /// Of the ranks on this machine.
    pub threads: Threads,
    /// Bytes of this machine's memory that its ranks leave for the KV cache.
    pub room: u64,
    pub build: Arc<Build>,
    /// Of loading.
    pub bar: ProgressBar,
}

/// All ranks, ready.
pub struct Loaded {
    pub executor: Box<dyn Executor>,
    /// Of all ranks.
    pub threads: usize,
}

impl Loading {
    /// Opens the weights; `ranks` are those of this machine.
    ///
    /// # Errors
    /// The weights cannot be opened, or do not fit.
    pub fn prepare(
        args: &CommonArgs,
        files: &ModelFiles,
        memory: &Memory,
        ranks: &[usize],
    ) -> Result<Self, Failure> {
        let (source, weight_dtype) = files.weight_source(args)?;
        let limits = args.step_limits();
        let room = memory_check::left_for_kv(
            &files.plan,
            ranks,
            weight_dtype,
            limits,
            memory.available,
            &files.source.name,
        )
        .map_err(Failure::Usage)?;
        let bar = bar(args, files, ranks, weight_dtype);
        let (plan, seen) = (files.plan.clone(), bar.clone());
        let build = move |collective: Box<dyn Collective>| {
            let rank = collective.rank();
            let share = Share { plan: &plan, rank };
            let mut progress = |bytes| seen.inc(bytes);
            let decoder = Decoder::load(share, source.as_ref(), &Cpu, limits, &mut progress)?;
            Ok(Rank::new(Box::new(Cpu), collective, decoder))
        };
        Ok(Self {
            weight_dtype,
            threads: Threads {
                count: args.threads.unwrap_or_else(default_threads),
                pinned: args.pin_threads,
            },
            room,
            build: Arc::new(build),
            bar,
        })
    }

    /// Every rank as a thread of this process.
    pub fn start_threads(self, files: &ModelFiles, memory: &Memory) -> Result<Loaded, Failure> {
        let plan = &files.plan;
        let elements = plan.kv_elements_per_token();
        let ranks = Ranks::load(plan.tp(), self.threads, memory.total, elements, self.build);
        let executor = Box::new(ranks.map_err(Failure::load)?);
        Ok(Loaded {
            executor,
            threads: self.threads.count.max(plan.tp()),
        })
    }
}

/// Of loading the weights of `ranks`, of type `weights` where they are not quantised.
pub fn bar(args: &CommonArgs, files: &ModelFiles, ranks: &[usize], weights: DType) -> ProgressBar {
    let held = ranks.iter().map(|&rank| {
        let plan = &files.plan;
        plan.weight_bytes(rank, |tensor| tensor.element_bytes(weights.size_in_bytes()))
    });
    progress::loading(held.sum(), args.output.quiet)
}

/// Physical cores, as far as this process may use them.
pub fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    machine().cores.min(allowed)
}

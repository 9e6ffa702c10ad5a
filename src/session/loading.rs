//! What every CPU rank is built from, and whether this machine can hold its ranks.

use std::sync::Arc;

use candle_core::DType;

use super::error::SessionError;
use super::files::ModelFiles;
use super::host_memory;
use crate::exec::{Build, Executor, Rank, Ranks, Threads};
use crate::ground::{Progress, Task};
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
    progress: Arc<dyn Progress>,
}

/// All ranks, ready.
pub struct Loaded {
    pub executor: Box<dyn Executor>,
    /// Of all ranks.
    pub threads: usize,
}

impl Loading {
    /// Opens the weights; `ranks` are those of this machine. Whoever loads them ends the task that it starts.
    ///
    /// # Errors
    /// The weights cannot be opened, or do not fit.
    pub fn prepare(
        files: &ModelFiles,
        memory: &Memory,
        ranks: &[usize],
        progress: &Arc<dyn Progress>,
    ) -> Result<Self, SessionError> {
        let (source, weight_dtype) = files.weight_source(progress)?;
        let options = &files.options;
        let limits = options.step_limits();
        let room = host_memory::left_for_kv(
            &files.plan,
            ranks,
            weight_dtype,
            limits,
            memory.available,
            &files.source.name,
        )?;
        progress.start(Task::Load, files.weight_bytes(ranks, weight_dtype));
        let (spec, plan, seen) = (files.spec.clone(), files.plan.clone(), progress.clone());
        let build = move |collective: Box<dyn Collective>| {
            let rank = collective.rank();
            let share = Share {
                spec: &spec,
                plan: &plan,
                rank,
            };
            let mut advance = |bytes| seen.advance(bytes);
            let decoder = Decoder::load(share, source.as_ref(), &Cpu, limits, &mut advance)?;
            Ok(Rank::new(Box::new(Cpu), collective, decoder))
        };
        Ok(Self {
            weight_dtype,
            threads: Threads {
                count: options.threads.unwrap_or_else(default_threads),
                pinned: options.pin_threads,
            },
            room,
            build: Arc::new(build),
            progress: progress.clone(),
        })
    }

    /// Every rank as a thread of this process.
    ///
    /// # Errors
    /// A thread or a rank cannot be started.
    pub fn start_threads(
        self,
        files: &ModelFiles,
        memory: &Memory,
    ) -> Result<Loaded, SessionError> {
        let plan = &files.plan;
        let elements = plan.kv_elements_per_token();
        let (build, progress) = (self.build, self.progress);
        let build = move |collective| Ok(build(collective)?.watched(progress.clone()));
        let build = Arc::new(build);
        let ranks = Ranks::load(plan.tp(), self.threads, memory.total, elements, build);
        let executor = Box::new(ranks.map_err(SessionError::load)?);
        Ok(Loaded {
            executor,
            threads: self.threads.count.max(plan.tp()),
        })
    }
}

/// Physical cores, as far as this process may use them.
pub fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    machine().cores.min(allowed)
}

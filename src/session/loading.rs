//! What every CPU rank is built from, and whether this machine can hold its ranks.

use std::sync::Arc;

use candle_core::DType;

use super::error::{SessionError, Wish};
use super::files::ModelFiles;
use super::host_memory;
use crate::exec::{Build, ExecError, Executor, Rank, Ranks, Threads};
use crate::ground::{Progress, Task, results};
use crate::model::{Decoder, Share, WeightType};
use crate::ops::cpu::Cpu;
use crate::parallel::Collective;
use crate::telemetry::{GpuProbe, Memory, machine};

pub struct Loading {
    pub weight_dtype: DType,
    /// Of activations.
    pub dtype: DType,
    /// Of the ranks on this machine.
    pub threads: Threads,
    /// Bytes of this machine's memory that its ranks leave for the KV cache.
    pub room: u64,
    pub build: Arc<Build>,
    pub progress: Arc<dyn Progress>,
}

/// What a process of a job that is not the first is loaded from; the probe is that of its GPUs.
pub type Following = (ModelFiles, Loading, Option<Arc<dyn GpuProbe>>);

/// All ranks, ready.
pub struct Loaded {
    pub executor: Box<dyn Executor>,
    /// Of all ranks.
    pub threads: usize,
    /// Of an MPI job; empty: there is no job.
    pub processes: Vec<results::Process>,
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
        let quantised = files.model.spec()?.quantization.is_some();
        let (dtype, cpu) = match (options.dtype, weight_dtype) {
            (Some(WeightType::Bf16), DType::BF16) if !quantised => (DType::BF16, Cpu::BF16),
            (Some(WeightType::Bf16), other) => {
                let weights = if quantised { "fp8" } else { other.as_str() };
                let name = files.source.name.clone();
                return Err(Wish::CpuWeights { name, weights }.into());
            }
            _ => (DType::F32, Cpu::F32),
        };
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
        let (spec, plan) = (files.model.spec()?.clone(), files.plan.clone());
        let seen = progress.clone();
        let build = move |collective: Box<dyn Collective>| {
            let rank = collective.rank();
            let share = Share {
                spec: &spec,
                plan: &plan,
                rank,
            };
            let mut advance = |bytes| seen.advance(bytes);
            let decoder = Decoder::load(share, source.as_ref(), &cpu, limits, &mut advance)?;
            Ok(Rank::new(Box::new(cpu), collective, decoder))
        };
        Ok(Self {
            weight_dtype,
            dtype,
            threads: Threads {
                count: options.threads.unwrap_or_else(default_threads),
                pinned: options.pin_threads,
            },
            room,
            build: Arc::new(build),
            progress: progress.clone(),
        })
    }

    /// Every rank as a thread of this process, whose steps end where who watches says stop.
    ///
    /// # Errors
    /// A thread or a rank cannot be started.
    pub fn start_threads(self, files: &ModelFiles, memory: u64) -> Result<Loaded, ExecError> {
        let (build, progress) = (self.build.clone(), self.progress.clone());
        let watched =
            move |collective: Box<dyn Collective>| Ok(build(collective)?.watched(progress.clone()));
        let build = Arc::new(watched);
        Self { build, ..self }.start(files, memory)
    }

    /// Every rank as a thread of this process, where a machine or a GPU each has so many bytes of memory.
    ///
    /// # Errors
    /// A thread or a rank cannot be started.
    pub fn start(self, files: &ModelFiles, memory: u64) -> Result<Loaded, ExecError> {
        let plan = &files.plan;
        let elements = plan.kv_elements_per_token();
        let ranks = Ranks::load(plan.tp(), self.threads, memory, elements, self.build)?;
        Ok(Loaded {
            executor: Box::new(ranks),
            threads: self.threads.count.max(plan.tp()),
            processes: Vec::new(),
        })
    }
}

/// Physical cores, as far as this process may use them.
pub fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    machine().cores.min(allowed)
}

//! A layout's copy of the model on a simulated card, under its share of the load.

use std::sync::Arc;

use super::judged::Judged;
use super::options::RecommendOptions;
use super::result::Predicted;
use super::target::{Demand, Target};
use crate::capacity::{self, Bound, Capacity, CapacityOptions, CapacityPlan, Objective};
use crate::exec::Server;
use crate::fit::{Ask, Engine};
use crate::ground::{Progress, Silent};
use crate::session::{EngineOptions, ModelFiles, SessionError};

/// The edge is looked for up to so many times the load.
const FARTHEST: f64 = 4.0;
/// A bound that every run keeps, where nothing else was asked for.
const WHOLE_CACHE_PERCENT: f64 = 100.0;

/// Plays loads of the model that `files` has.
pub struct Predictor<'a> {
    pub files: &'a ModelFiles,
    pub base: &'a Ask,
    pub options: &'a RecommendOptions,
    pub target: &'a Target,
    pub progress: Arc<dyn Progress>,
}

/// How the wished load went.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub predicted: Predicted,
    /// Requests of one copy that were played.
    pub requests: Option<usize>,
    pub holds: bool,
    /// The bound that was broken worst, or is nearest to it.
    pub worst: Option<Bound>,
}

impl Predictor<'_> {
    /// Of the wished load alone.
    ///
    /// # Errors
    /// The card cannot be simulated, or it was told to stop.
    pub fn at_wish(&self, judged: &Judged) -> Result<Outcome, SessionError> {
        let share = self.target.demand.share(judged.layout.replicas());
        let found = self.search(judged, share, share)?;
        Ok(outcome(&found, judged, share))
    }

    /// With the highest load that keeps the limits, up to four times the wished one.
    ///
    /// # Errors
    /// As [`at_wish`](Self::at_wish).
    pub fn capacity(&self, judged: &Judged) -> Result<Outcome, SessionError> {
        let replicas = judged.layout.replicas();
        let share = self.target.demand.share(replicas);
        let at_once = judged.answer.max_concurrency.unwrap_or(f64::INFINITY) / replicas as f64;
        let most = match self.target.demand {
            Demand::Concurrency(_) => (share * FARTHEST).min(at_once).floor().max(share),
            Demand::RequestRate(_) => share * FARTHEST,
        };
        let found = self.search(judged, share, most)?;
        let mut outcome = outcome(&found, judged, share);
        let edge = found.passing.as_ref().map(|point| point.value);
        outcome.predicted.capacity = edge.map(|edge| edge * replicas as f64);
        outcome.predicted.bound_by = match (found.failing, most < share * FARTHEST) {
            (Some(_), _) => found.binding,
            // Nothing was in the way but room.
            (None, true) => judged.answer.binds.map(str::to_owned),
            (None, false) => None,
        };
        Ok(outcome)
    }

    /// The highest load below the wished one that keeps the limits; `None`: not even one request does.
    ///
    /// # Errors
    /// As [`at_wish`](Self::at_wish).
    pub fn below(&self, judged: &Judged) -> Result<Option<f64>, SessionError> {
        let replicas = judged.layout.replicas();
        let share = self.target.demand.share(replicas);
        let least = match self.target.demand {
            Demand::Concurrency(_) => 1.0,
            Demand::RequestRate(_) => share / FARTHEST.powi(2),
        };
        let found = self.search(judged, least, share)?;
        Ok(found.passing.map(|point| point.value * replicas as f64))
    }

    fn search(&self, judged: &Judged, min: f64, max: f64) -> Result<Capacity, SessionError> {
        let silent: Arc<dyn Progress> = Arc::new(Silent(self.progress.clone()));
        let files = self.files.under(&self.engine_options(judged))?;
        let asked = CapacityOptions {
            objective: objective(&self.options.objective),
            search: self.target.demand.search(),
            min: Some(min),
            max: Some(max),
            repeats: 1,
            raise: false,
            input_len: Some(self.target.input_len.into()),
            output_len: Some(self.target.output_len.into()),
            ..CapacityOptions::default()
        };
        let plan = CapacityPlan::new(asked, &files, silent.as_ref())?;
        let session = files.open_for(self.target.context, None, &silent)?;
        capacity::edge(plan, session, None, &silent)
    }

    /// Of one copy, with the limits and the KV cache that fit judged.
    fn engine_options(&self, judged: &Judged) -> EngineOptions {
        let (layout, answer) = (&judged.layout, &judged.answer);
        let question = &self.options.question;
        let mut options = EngineOptions::new(&question.model);
        options.layers = question.layers;
        options.dtype = question.dtype;
        options.device = Some(device(judged));
        options.tp = layout.split.tp;
        options.expert_parallel = layout.split.expert_parallel;
        options.max_model_len = Some(self.target.context);
        options.max_num_seqs = Some(answer.max_num_seqs);
        options.max_num_batched_tokens = Some(answer.max_num_batched_tokens);
        options.block_size = question.block_size;
        options.gpu_memory_utilization = answer.gpu_memory_utilization;
        options.cuda_graphs = question.cuda_graphs;
        options.kv_cache_dtype = question.kv_cache_dtype;
        options.kv_cache_memory = Some(kv_bytes(judged, question.block_size));
        options.server = server(self.base.engine);
        options
    }
}

/// The simulated device of a layout.
pub fn device(judged: &Judged) -> String {
    format!("sim:{}", judged.layout.card)
}

/// Before the card; `None`: raw capacity, as this program's own engine has it.
pub fn server(engine: Engine) -> Option<Server> {
    match engine {
        Engine::Candlepower => None,
        Engine::Vllm(_) | Engine::Sglang | Engine::LlamaCpp(_) => Some(Server::VLLM),
    }
}

/// Bytes of the KV caches of all ranks of a copy, one block for padding among them.
pub fn kv_bytes(judged: &Judged, block_size: usize) -> u64 {
    let answer = &judged.answer;
    let tokens = answer.kv_tokens.unwrap_or_default() + block_size as u64;
    tokens * answer.kv_bytes_per_token.unwrap_or_default() * answer.tp as u64
}

fn objective(asked: &Objective) -> Objective {
    let mut objective = asked.clone();
    if objective.is_empty() {
        objective.kv_percent = Some(WHOLE_CACHE_PERCENT);
    }
    objective
}

fn outcome(found: &Capacity, judged: &Judged, share: f64) -> Outcome {
    let replicas = judged.layout.replicas() as f64;
    let trial = found.runs.iter().rfind(|trial| trial.value == share);
    let all = |rate: Option<f64>| rate.map(|rate| rate * replicas);
    Outcome {
        predicted: Predicted {
            percentile: found.objective.percentile,
            ttft_ms: trial.and_then(|trial| trial.ttft_ms),
            tpot_ms: trial.and_then(|trial| trial.tpot_ms),
            output_throughput: all(trial.and_then(|trial| trial.output_throughput)),
            request_throughput: all(trial.and_then(|trial| trial.request_throughput)),
            capacity: None,
            bound_by: None,
        },
        requests: trial.map(|trial| trial.requests),
        holds: trial.is_some_and(|trial| trial.passed),
        worst: trial.and_then(|trial| trial.worst()).cloned(),
    }
}

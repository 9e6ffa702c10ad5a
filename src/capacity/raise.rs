//! Each limit that the failing load came up against, doubled: where the load then passes, that limit is what binds.

use std::sync::Arc;

use rayon::prelude::*;

use super::plan::CapacityPlan;
use super::result::Raised;
use super::trial::{Touched, play};
use crate::ground::results::Engine;
use crate::ground::{Progress, Silent};
use crate::hardware::Gpu;
use crate::session::{Device, EngineOptions, ModelFiles, Session, SessionError};

const FACTOR: usize = 2;

/// One engine to be opened.
struct Other {
    what: &'static str,
    from: f64,
    to: f64,
    options: EngineOptions,
    gpu: Option<Gpu>,
}

/// What is known of the engine that failed, which may be gone.
pub struct Failed<'a> {
    pub options: &'a EngineOptions,
    pub device: &'a Device,
    pub settings: &'a Engine,
    pub touched: Touched,
    /// A load beyond the edge.
    pub value: f64,
}

/// Plays the load once for each limit.
pub fn raise(
    failed: &Failed,
    plan: &CapacityPlan,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Raised>, SessionError> {
    let others = others(failed);
    let value = failed.value;
    let try_out = |other: &Other, progress: &Arc<dyn Progress>| {
        let mut raised = Raised {
            what: other.what.to_owned(),
            from: other.from,
            to: other.to,
            value,
            moved: None,
            excess: None,
            reason: None,
        };
        let played =
            open(other, plan, progress).and_then(|mut session| play(&mut session, plan, value, 0));
        match played {
            Ok(Some(play)) => {
                raised.moved = Some(play.trial.passed);
                raised.excess = play.trial.worst().map(|bound| bound.excess());
                raised.excess = raised.excess.filter(|excess| excess.is_finite());
            }
            Ok(None) => return None,
            Err(error) => raised.reason = Some(error.to_string()),
        }
        Some(raised)
    };
    let all: Vec<Option<Raised>> = match failed.device.is_simulated() {
        true => {
            let silent: Arc<dyn Progress> = Arc::new(Silent(progress.clone()));
            let others = others.par_iter();
            others.map(|other| try_out(other, &silent)).collect()
        }
        // A machine has room for one.
        false => {
            let others = others.iter();
            others.map(|other| try_out(other, progress)).collect()
        }
    };
    Ok(all.into_iter().flatten().collect())
}

fn open(
    other: &Other,
    plan: &CapacityPlan,
    progress: &Arc<dyn Progress>,
) -> Result<Session, SessionError> {
    let mut files = ModelFiles::find(&other.options, &Silent(progress.clone()))?;
    if let Some(gpu) = &other.gpu {
        files.device = Device::Simulated(Box::new(gpu.clone()));
    }
    files.open_for(plan.max_model_len(), None, progress)
}

fn others(failed: &Failed) -> Vec<Other> {
    let Failed {
        options,
        settings,
        touched,
        ..
    } = failed;
    let kv_bytes: u64 = settings.ranks.iter().map(|rank| rank.kv_bytes).sum();
    // One thing changes at a time.
    let held = (*options).clone().kv_cache_memory(kv_bytes.max(1));
    let other = |what, from: usize, options| Other {
        what,
        from: from as f64,
        to: (from * FACTOR) as f64,
        options,
        gpu: None,
    };
    let mut others = Vec::new();
    if touched.kv_blocks {
        let more = (*options).clone().kv_cache_memory(kv_bytes * FACTOR as u64);
        others.push(other("kv_blocks", settings.num_kv_blocks, more));
    }
    if touched.max_num_seqs {
        let most = settings.max_num_seqs;
        let more = held.clone().max_num_seqs(most * FACTOR);
        others.push(other("max_num_seqs", most, more));
    }
    if touched.max_num_batched_tokens {
        let most = settings.max_num_batched_tokens;
        let more = held.clone().max_num_batched_tokens(most * FACTOR);
        others.push(other("max_num_batched_tokens", most, more));
    }
    if let Device::Simulated(gpu) = failed.device {
        others.extend(cards(gpu, &held));
    }
    others
}

/// A card with twice the bandwidth, and one with twice the arithmetic.
fn cards(gpu: &Gpu, options: &EngineOptions) -> [Other; 2] {
    let factor = FACTOR as f64;
    let twice = |rate: &mut Option<f64>| *rate = rate.map(|rate| rate * factor);
    let mut wide = gpu.clone();
    wide.bandwidth_gb_s *= factor;
    twice(&mut wide.measured_copy_gb_s);
    twice(&mut wide.measured_read_gb_s);
    let mut fast = gpu.clone();
    fast.fp16_tflops *= factor;
    for rate in [
        &mut fast.bf16_tflops,
        &mut fast.fp8_tflops,
        &mut fast.f32_tflops,
        &mut fast.measured_matmul_tflops,
        &mut fast.measured_fp8_matmul_tflops,
    ] {
        twice(rate);
    }
    let other = |what, from: f64, gpu| Other {
        what,
        from,
        to: from * factor,
        options: options.clone(),
        gpu: Some(gpu),
    };
    [
        other("memory_bandwidth", gpu.bandwidth_gb_s, wide),
        other("compute", gpu.half_tflops(), fast),
    ]
}

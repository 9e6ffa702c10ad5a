//! Whether a model can be held at all, asked before its first byte is loaded: a process that
//! outgrows its machine is killed without a word.

use candle_core::DType;

use super::error::Wish;
use crate::model::{StepLimits, workspace_bytes};
use crate::parallel::ShardPlan;

const GB: f64 = 1e9;
/// Bytes of an activation on the CPU.
const F32: usize = size_of::<f32>();

/// Bytes that are left for the KV cache beside weights and activations of `ranks`; `memory` is what is
/// available to them, 0 where the system does not tell: then nothing is refused.
pub fn left_for_kv(
    plan: &ShardPlan,
    ranks: &[usize],
    weights: DType,
    limits: StepLimits,
    memory: u64,
    name: &str,
) -> Result<u64, Wish> {
    if memory == 0 {
        return Ok(u64::MAX);
    }
    let gb = |bytes: u64| bytes as f64 / GB;
    let all_ranks = |bytes: &dyn Fn(usize) -> u64| {
        let ranks = ranks.iter().copied();
        ranks.map(bytes).fold(0, u64::saturating_add)
    };
    let weight_bytes = all_ranks(&|rank| {
        plan.weight_bytes(rank, |tensor, held| {
            tensor.bytes(held, weights.size_in_bytes())
        })
    });
    if weight_bytes > memory {
        return Err(Wish::WeightMemory {
            name: name.to_owned(),
            weights: gb(weight_bytes),
            dtype: weights.as_str(),
            memory: gb(memory),
            layers: plan.shape().layers.len(),
        });
    }
    let step_bytes = all_ranks(&|rank| workspace_bytes(plan, rank, limits, F32));
    if weight_bytes.saturating_add(step_bytes) > memory {
        return Err(Wish::StepMemory {
            rows: limits.rows,
            sequences: limits.logit_rows,
            step: gb(step_bytes),
            weights: gb(weight_bytes),
            memory: gb(memory),
        });
    }
    Ok(memory - weight_bytes - step_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::CARDS;
    use crate::model::ModelSpec;

    const GIB: u64 = 1 << 30;

    fn qwq() -> ShardPlan {
        let card = CARDS.iter().find(|card| card.name == "QwQ-32B").unwrap();
        let spec = ModelSpec::from_json(card.config_json, card.name).unwrap();
        ShardPlan::new(&spec.shape(), 1).unwrap()
    }

    #[test]
    fn too_little_memory_is_refused_with_the_way_out() {
        let limits = StepLimits {
            rows: 2048,
            logit_rows: 256,
        };
        let ask =
            |limits, memory| left_for_kv(&qwq(), &[0], DType::BF16, limits, memory, "QwQ-32B");
        assert!(ask(limits, 128 * GIB).is_ok());
        assert_eq!(ask(limits, 0).unwrap(), u64::MAX);
        let left = ask(limits, 128 * GIB).unwrap();
        assert!(left > 60 * GIB && left < 67 * GIB, "{left}");
        let error = ask(limits, 24 * GIB).unwrap_err().to_string();
        assert!(
            error.contains("QwQ-32B needs 65.5 GB") && error.contains("--layers"),
            "{error}"
        );
        let rows = usize::MAX >> 33;
        let error = ask(StepLimits { rows, ..limits }, 128 * GIB)
            .unwrap_err()
            .to_string();
        assert!(error.contains("--max-num-batched-tokens"), "{error}");
    }
}

//! Whether a model can be held at all, asked before its first byte is loaded: a process that
//! outgrows its machine is killed without a word.

use anyhow::bail;
use candle_core::DType;

use crate::model::{ModelSpec, StepLimits};

const GB: f64 = 1e9;
/// Bytes of an activation on the CPU.
const F32: u64 = 4;

/// Bytes that are left for the KV cache beside weights and activations; `memory` is what is available,
/// 0 where the system does not tell: then nothing is refused.
pub fn left_for_kv(
    spec: &ModelSpec,
    weights: DType,
    limits: StepLimits,
    memory: u64,
    name: &str,
) -> anyhow::Result<u64> {
    if memory == 0 {
        return Ok(u64::MAX);
    }
    let gb = |bytes: u64| bytes as f64 / GB;
    let weight_bytes = spec
        .parameters()
        .saturating_mul(weights.size_in_bytes() as u64);
    if weight_bytes > memory {
        bail!(
            "{name} needs {:.1} GB for its weights in {}, and {:.1} GB of memory are available; keep only some of its {} layers with --layers N, or choose a smaller model",
            gb(weight_bytes),
            weights.as_str(),
            gb(memory),
            spec.num_hidden_layers
        );
    }
    let step_bytes = step_bytes(spec, limits);
    if weight_bytes.saturating_add(step_bytes) > memory {
        bail!(
            "a step of {} tokens and {} sequences needs {:.1} GB beside {:.1} GB of weights, and {:.1} GB of memory are available; lower --max-num-batched-tokens or --max-num-seqs",
            limits.rows,
            limits.logit_rows,
            gb(step_bytes),
            gb(weight_bytes),
            gb(memory)
        );
    }
    Ok(memory - weight_bytes - step_bytes)
}

/// Activations that live through a step: the residual stream and its norms, q, k, v and the
/// attention's output, the MLP's inner rows, and the logits.
fn step_bytes(spec: &ModelSpec, limits: StepLimits) -> u64 {
    let stream = 3 * spec.hidden_size + spec.head_dim;
    let attention = 2 * (spec.q_size() + spec.kv_size());
    let row = stream + attention + 3 * spec.intermediate_size;
    let logit_row = spec.hidden_size + spec.q_size() + spec.vocab_size;
    let bytes = |rows: usize, width: usize| (rows as u64).saturating_mul(width as u64 * F32);
    bytes(limits.rows, row).saturating_add(bytes(limits.logit_rows, logit_row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::CARDS;

    const GIB: u64 = 1 << 30;

    fn qwq() -> ModelSpec {
        let card = CARDS.iter().find(|card| card.name == "QwQ-32B").unwrap();
        ModelSpec::from_json(card.config_json, card.name).unwrap()
    }

    #[test]
    fn too_little_memory_is_refused_with_the_way_out() {
        let limits = StepLimits {
            rows: 2048,
            logit_rows: 256,
        };
        let ask = |limits, memory| left_for_kv(&qwq(), DType::BF16, limits, memory, "QwQ-32B");
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

//! What the shapes and the card forbid, before any byte is counted.

use super::ask::{Ask, Engine, KvType};
use super::quantised;
use super::releases::Release;
use super::vllm;
use crate::hardware::Capability;
use crate::parallel::{self, Split};
use crate::shape::{Kv, ModelShape, Quantization, WeightType};

/// First compute capability on which SGLang runs FP8 weights, be it widened to 16 bits in the kernel.
const SGLANG_FP8: Capability = Capability { major: 8, minor: 0 };

/// Matrices that are several in one may end within a block from here on (vllm#30836).
const MERGED_MAY_END_WITHIN: [u32; 3] = [0, 14, 0];

/// First release that serves DeepSeek-V4.
const COMPRESSED: [u32; 3] = [0, 20, 0];

/// vLLM fills the vocabulary up to a multiple of this.
const VOCAB_PADDING: usize = 64;

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Broken {
    /// With its numbers; vLLM's are in its own words.
    pub rule: String,
    /// A sentence of the way out, where the fixes do not show it.
    pub hint: Option<String>,
}

impl Broken {
    fn new(rule: impl Into<String>) -> Self {
        let rule = rule.into();
        Self { rule, hint: None }
    }
}

/// The first rule that this ask breaks.
pub(super) fn broken(ask: &Ask) -> Option<Broken> {
    let own = match ask.engine {
        Engine::Candlepower | Engine::LlamaCpp(_) => split_rule(ask),
        Engine::Vllm(_) | Engine::Sglang => vllm_split_rule(ask, ask.split),
    };
    own.map(|rule| Broken {
        hint: Some(legal_hint(ask)),
        rule,
    })
    .or_else(|| stages_rule(ask))
    .or_else(|| compressed_rule(ask))
    .or_else(|| length_rule(ask))
    .or_else(|| card_rule(ask))
    .or_else(|| free_rule(ask))
}

/// Numbers of ranks that the shapes allow.
pub(super) fn legal(ask: &Ask) -> Vec<usize> {
    let mut legal = parallel::legal(&ask.shape, ask.split.expert_parallel);
    if let Engine::Vllm(_) | Engine::Sglang = ask.engine {
        legal.retain(|&tp| {
            let split = Split { tp, ..ask.split };
            vllm_split_rule(ask, split).is_none()
        });
    }
    legal
}

fn legal_hint(ask: &Ask) -> String {
    let legal = legal(ask);
    let listed: Vec<String> = legal.iter().map(usize::to_string).collect();
    match legal.is_empty() {
        true => "no --tp is legal for this model so".to_owned(),
        false => format!("--tp may be {}", listed.join(", ")),
    }
}

fn split_rule(ask: &Ask) -> Option<String> {
    parallel::broken_rule(&ask.shape, ask.split)
}

fn stages_rule(ask: &Ask) -> Option<Broken> {
    let layers = ask.shape.layers.len();
    (ask.pp > layers).then(|| {
        Broken::new(format!(
            "{} pipeline stages need a layer each, and the model has {layers}",
            ask.pp
        ))
    })
}

/// Whose cache of compressed latents is not known.
fn compressed_rule(ask: &Ask) -> Option<Broken> {
    let family = Some(&ask.shape.family).filter(|_| ask.has_compressed())?;
    let of_vllm = "--engine vllm --vllm-version 0.21 is";
    let (rule, hint) = match (ask.engine, ask.kv_type) {
        (Engine::Vllm(release), _) if release.since < COMPRESSED => (
            format!("vLLM serves {family} from 0.20 on, and these are the rules of {release}"),
            "--vllm-version 0.21 tells a newer one",
        ),
        (Engine::Vllm(_), KvType::Auto | KvType::Fp8) => match &ask.extras.draft {
            None => return None,
            Some(_) => (
                format!("how a draft model's KV cache lies beside that of {family} is not known"),
                "the model without --speculative-model is",
            ),
        },
        (Engine::Vllm(_), _) => (
            format!("the KV cache of {family} is in FP8: no other layout of it is known"),
            "--kv-cache-dtype fp8 is",
        ),
        (Engine::Candlepower, _) => (
            format!("this program's own engine does not run the compressed latents of {family}"),
            of_vllm,
        ),
        (Engine::Sglang, _) => (
            format!("how SGLang lays out the compressed latents of {family} is not known"),
            of_vllm,
        ),
        (Engine::LlamaCpp(_), _) => (
            format!("how llama.cpp lays out the compressed latents of {family} is not known"),
            of_vllm,
        ),
    };
    Some(Broken {
        rule,
        hint: Some(hint.to_owned()),
    })
}

fn length_rule(ask: &Ask) -> Option<Broken> {
    let (asked, positions) = (ask.limits.max_model_len?, ask.shape.positions);
    let asked = match ask.engine {
        // Its requests share one context evenly.
        Engine::LlamaCpp(_) => asked / ask.limits.max_num_seqs.unwrap_or(1),
        _ => asked,
    };
    let rule = match ask.engine {
        Engine::Candlepower | Engine::Sglang | Engine::LlamaCpp(_) => {
            format!("a length of {asked} tokens is beyond the model's {positions} positions")
        }
        Engine::Vllm(_) => format!(
            "User-specified max_model_len ({asked}) is greater than the derived max_model_len (max_position_embeddings={positions})"
        ),
    };
    (asked > positions).then(|| Broken::new(rule))
}

/// What vLLM asserts of a split, in the order and words in which a user meets them.
fn vllm_split_rule(ask: &Ask, split: Split) -> Option<String> {
    let shape = &ask.shape;
    let Split {
        tp,
        expert_parallel,
    } = split;
    let (heads, kv_heads) = (shape.num_attention_heads, shape.num_key_value_heads());
    if !heads.is_multiple_of(tp) {
        return Some(format!(
            "Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tp})."
        ));
    }
    let vocab = shape.vocab_size.next_multiple_of(VOCAB_PADDING);
    if !vocab.is_multiple_of(tp) {
        return Some(format!("{vocab} is not divisible by {tp}"));
    }
    if expert_parallel && shape.experts().is_none() {
        let rule = "Number of experts in the model must be greater than 0 when expert parallelism is enabled.";
        return Some(rule.to_owned());
    }
    // The assertion has no words of its own.
    if !(kv_heads.is_multiple_of(tp) || tp.is_multiple_of(kv_heads)) {
        return Some(format!(
            "KV heads ({kv_heads}) must be divisible by tensor parallel size ({tp}), or it by them."
        ));
    }
    let (dense, experts) = (shape.dense_width(), shape.experts());
    let expert = experts.map(|e| e.width).filter(|_| !expert_parallel);
    let whole = experts.map(|e| e.count).filter(|_| expert_parallel);
    let sizes = [dense, expert, whole].into_iter().flatten();
    let uneven = sizes.into_iter().find(|size| !size.is_multiple_of(tp));
    uneven
        .map(|size| format!("{size} is not divisible by {tp}"))
        .or_else(|| {
            let share = |size: usize| size / tp;
            let newer = matches!(ask.engine, Engine::Vllm(release) if release.since >= MERGED_MAY_END_WITHIN);
            // Who runs MiMo-V2 does not ask it: on four ranks none has whole blocks of K (vllm#30836, sglang#15464).
            let merged_may_end_within =
                newer || shape.layers.iter().any(|layer| differs(layer.kv));
            fp8_rule(
                shape,
                tp,
                (dense.map(share), expert.map(share)),
                merged_may_end_within,
            )
        })
        .or_else(|| quantised::split_rule(shape, split))
}

/// K and V of a head are of different widths.
fn differs(kv: Kv) -> bool {
    kv.heads()
        .is_some_and(|heads| heads.key_dim != heads.value_dim)
}

/// What vLLM asserts of weights in FP8 blocks: a rank's part of q, k, v, o and of gate, up, down (`dense`
/// and `expert` features of it) is whole blocks; of q, k, v and of gate, up it may end within one later.
fn fp8_rule(
    shape: &ModelShape,
    tp: usize,
    (dense, expert): (Option<usize>, Option<usize>),
    merged_may_end_within: bool,
) -> Option<String> {
    let Some(Quantization::Fp8 {
        block: [block_n, block_k],
    }) = shape.quantization
    else {
        return None;
    };
    // A single rank has the blocks as they are in the file.
    if tp == 1 {
        return None;
    }
    let whole = |size: usize, what: &str, side: &str, block: usize| {
        let rule = || {
            format!(
                "{what} = {size} is not divisible by weight quantization block_{side} = {block}."
            )
        };
        (!size.is_multiple_of(block)).then(rule)
    };
    let output = "Weight output_partition_size";
    let rows = |size, what| whole(size, what, "n", block_n);
    let merged = |size| rows(size, output).filter(|_| !merged_may_end_within);
    let columns = |size, what| whole(size, what, "k", block_k);
    let input = "Weight input_size_per_partition";
    let kv_heads = shape.num_key_value_heads();
    let kv_size = kv_heads * shape.head_dim;
    let (q, kv) = (
        shape.num_attention_heads * shape.head_dim / tp,
        kv_size / tp.min(kv_heads),
    );
    let attention = merged(q).or_else(|| merged(kv));
    attention
        .or_else(|| columns(q, input))
        .or_else(|| merged(dense?))
        .or_else(|| columns(dense?, input))
        .or_else(|| rows(expert?, "The output_size of gate's and up's weight"))
        .or_else(|| columns(expert?, "The input_size of down's weight"))
}

/// vLLM gives up before it loads anything where its share is more than what is free then.
fn free_rule(ask: &Ask) -> Option<Broken> {
    let Engine::Vllm(release) = ask.engine else {
        return None;
    };
    let memory = ask.card.memory_gib;
    let utilization = ask.limits.utilization.unwrap_or(release.utilization);
    let (free, desired) = (
        memory - vllm::before_start(release, ask)?,
        memory * utilization,
    );
    (desired > free).then(|| Broken {
        rule: format!(
            "Free memory on device ({free:.2}/{memory:.2} GiB) on startup is less than desired GPU memory utilization ({utilization}, {desired:.2} GiB)."
        ),
        hint: Some("the CUDA context is there before".to_owned()),
    })
}

fn card_rule(ask: &Ask) -> Option<Broken> {
    let own = ask.card.capability;
    let Capability { major, minor } = own;
    let name = &ask.card.name;
    let before = |since| own < since;
    let hint = Some("--dtype f16 runs there".to_owned());
    let fp8 = matches!(ask.shape.quantization, Some(Quantization::Fp8 { .. }));
    match ask.engine {
        Engine::Candlepower | Engine::Sglang
            if ask.dtype() == WeightType::Bf16 && before(Capability::BF16) =>
        {
            Some(Broken {
                rule: format!("bf16 needs compute capability 8.0, and {name} has {own}"),
                hint,
            })
        }
        Engine::Vllm(release) if bf16_refused(ask, release) && before(Capability::BF16) => {
            Some(Broken {
                rule: format!(
                    "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your {name} GPU has compute capability {own}."
                ),
                hint,
            })
        }
        Engine::Sglang if fp8 && before(SGLANG_FP8) => Some(Broken::new(format!(
            "The quantization method fp8 is not supported for the current GPU. Minimum capability: 80. Current capability: {major}{minor}."
        ))),
        _ => quantised::card_rule(ask).map(Broken::new),
    }
}

/// Newer releases choose f16 themselves where the checkpoint says bf16 and nobody asked for it.
fn bf16_refused(ask: &Ask, release: &Release) -> bool {
    let asked = ask.dtype == Some(WeightType::Bf16);
    ask.dtype() == WeightType::Bf16 && (asked || !release.falls_back_to_f16)
}

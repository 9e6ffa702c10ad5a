//! What vLLM asks of a card and of a split for quantised weights, by method and release.

use super::ask::{Ask, Engine};
use super::releases::Release;
use crate::hardware::Capability;
use crate::parallel::Split;
use crate::shape::{Code, Format, Method, ModelShape, Quantization, Scheme, TensorSpec};

/// The first compute capability on which weights of a kind run, from a release on.
struct Need {
    method: Method,
    code: Code,
    /// 0: any.
    bits: usize,
    since: [u32; 3],
    capability: Capability,
}

const fn need(
    method: Method,
    code: Code,
    bits: usize,
    since: [u32; 3],
    [major, minor]: [u32; 2],
) -> Need {
    Need {
        method,
        code,
        bits,
        since,
        capability: Capability { major, minor },
    }
}

const ALWAYS: [u32; 3] = [0, 0, 0];

/// `get_min_capability` of each quantisation's class (`model_executor/layers/quantization`), and where a kernel that
/// widens the weights took over from one that computes in them (Marlin for FP8: vllm#5975, on Turing vllm#29901; for NVFP4:
/// vllm#18312, vllm#33076). Read in the sources of 0.4.2 to 0.33.
const NEEDS: &[Need] = &[
    need(Method::Awq, Code::Int, 0, ALWAYS, [7, 5]),
    need(Method::Gptq, Code::Int, 0, ALWAYS, [6, 0]),
    need(Method::CompressedTensors, Code::Int, 4, ALWAYS, [8, 0]),
    need(Method::CompressedTensors, Code::Int, 4, [0, 12, 0], [7, 5]),
    need(Method::CompressedTensors, Code::Int, 8, ALWAYS, [7, 5]),
    need(Method::CompressedTensors, Code::Float, 8, ALWAYS, [8, 9]),
    need(Method::CompressedTensors, Code::Float, 8, [0, 6, 0], [8, 0]),
    need(
        Method::CompressedTensors,
        Code::Float,
        8,
        [0, 16, 0],
        [7, 5],
    ),
    need(Method::CompressedTensors, Code::Float, 4, ALWAYS, [10, 0]),
    need(Method::CompressedTensors, Code::Float, 4, [0, 9, 0], [8, 0]),
    need(
        Method::CompressedTensors,
        Code::Float,
        4,
        [0, 16, 0],
        [7, 5],
    ),
    need(Method::Fp8, Code::Float, 8, ALWAYS, [8, 9]),
    need(Method::Fp8, Code::Float, 8, [0, 5, 1], [8, 0]),
    need(Method::Fp8, Code::Float, 8, [0, 14, 0], [7, 5]),
    need(Method::FbgemmFp8, Code::Float, 8, ALWAYS, [8, 0]),
    need(Method::ModelOpt, Code::Float, 8, ALWAYS, [8, 9]),
    need(Method::ModelOpt, Code::Float, 8, [0, 27, 0], [8, 0]),
    need(Method::ModelOpt, Code::Float, 4, ALWAYS, [10, 0]),
    need(Method::ModelOpt, Code::Float, 4, [0, 9, 0], [8, 0]),
    need(Method::ModelOpt, Code::Float, 4, [0, 16, 0], [7, 5]),
    need(Method::BitsAndBytes, Code::Float, 0, ALWAYS, [7, 0]),
    need(Method::BitsAndBytes, Code::Int, 0, ALWAYS, [7, 0]),
    need(Method::Mxfp4, Code::Float, 4, ALWAYS, [8, 0]),
    need(Method::TorchAo, Code::Int, 0, ALWAYS, [7, 5]),
    // The class asks for less; the library itself fails below.
    need(Method::TorchAo, Code::Float, 0, ALWAYS, [8, 9]),
    need(Method::Gguf, Code::Int, 0, ALWAYS, [6, 0]),
    need(Method::Quark, Code::Float, 0, ALWAYS, [7, 0]),
    need(Method::Quark, Code::Float, 8, ALWAYS, [8, 9]),
    need(Method::Quark, Code::Int, 0, ALWAYS, [7, 5]),
];

/// What the card cannot do, in vLLM's words; `None`: it can, or nothing is known against it.
pub(super) fn card_rule(ask: &Ask) -> Option<String> {
    let Engine::Vllm(release) = ask.engine else {
        return None;
    };
    let scheme = match ask.shape.quantization? {
        Quantization::Other(scheme) => scheme,
        Quantization::Fp8 { .. } => FP8,
    };
    if (scheme.method, scheme.code) == (Method::ModelOpt, Code::Int) {
        let words = "ModelOpt currently only supports FP8 and NVFP4 quantizations in vLLM.";
        return Some(words.to_owned());
    }
    let (needed, own) = (minimum(release, scheme)?, ask.card.capability);
    let number = |capability: Capability| capability.major * 10 + capability.minor;
    let (needed_number, own_number) = (number(needed), number(own));
    (own < needed).then(|| match scheme.method {
        Method::CompressedTensors | Method::Quark => format!(
            "Quantization scheme is not supported for the current GPU. Min capability: {needed_number}. Current capability: {own_number}."
        ),
        method => format!(
            "The quantization method {} is not supported for the current GPU. Minimum capability: {needed_number}. Current capability: {own_number}.",
            match (method, scheme.bits) {
                (Method::ModelOpt, 4) => "modelopt_fp4",
                _ => method.name(),
            },
        ),
    })
}

/// Weights in blocks of FP8.
const FP8: Scheme = Scheme {
    method: Method::Fp8,
    code: Code::Float,
    bits: 8,
    group: None,
    activations: true,
    act_order: false,
};

fn minimum(release: &Release, scheme: Scheme) -> Option<Capability> {
    // Of compressed-tensors, weights alone in 8 bits are read as those in 4.
    let weights_alone = scheme.method == Method::CompressedTensors && !scheme.activations;
    let bits = match scheme.code {
        Code::Int if weights_alone => 4,
        _ => scheme.bits,
    };
    let fits = |need: &&Need| {
        need.method == scheme.method
            && need.code == scheme.code
            && (need.bits == 0 || need.bits == bits)
            && need.since <= release.since
    };
    NEEDS.iter().rev().find(fits).map(|need| need.capability)
}

/// Of MXFP4 experts, whose kernels want features in whole tiles: hidden ones, and those inside of a rank's part
/// (`Mxfp4MoEMethod.create_weights`; with it fit2-122 is 13.6 of 13.64 GiB and fit2-121 7.0 of 7.01).
const MXFP4_HIDDEN: usize = 256;
const MXFP4_INSIDE: usize = 128;

/// `bytes` of a rank's part of `tensor`, as vLLM lays them out.
pub(super) fn laid_out(ask: &Ask, tensor: &TensorSpec, bytes: u64) -> u64 {
    let mxfp4 = matches!(ask.shape.quantization, Some(Quantization::Other(scheme)) if scheme.method == Method::Mxfp4);
    // Biases are no tiles.
    let tiled = mxfp4 && tensor.count > 1 && tensor.format != Format::Plain;
    let experts = ask.shape.experts().filter(|_| tiled);
    let (Engine::Vllm(_), Some(experts)) = (ask.engine, experts) else {
        return bytes;
    };
    let inside = match ask.split.expert_parallel {
        true => experts.width,
        false => experts.width / ask.split.tp,
    };
    let filled = |size: usize, tile: usize| {
        let size = size.max(1);
        size.next_multiple_of(tile) as f64 / size as f64
    };
    let factor = filled(ask.shape.hidden_size, MXFP4_HIDDEN) * filled(inside, MXFP4_INSIDE);
    (bytes as f64 * factor) as u64
}

/// What of a split cuts a group of weights that share a scale, in vLLM's words.
pub(super) fn split_rule(shape: &ModelShape, split: Split) -> Option<String> {
    let Some(Quantization::Other(scheme)) = shape.quantization else {
        return None;
    };
    let grouped = matches!(
        scheme.method,
        Method::Awq | Method::Gptq | Method::CompressedTensors
    );
    let group = scheme
        .group
        .filter(|_| grouped && scheme.code == Code::Int)?;
    if split.tp == 1 {
        return None;
    }
    let experts = shape.experts().filter(|_| !split.expert_parallel);
    let heads = shape.num_attention_heads * shape.head_dim;
    let sizes = [
        Some(heads),
        shape.dense_width(),
        experts.map(|experts| experts.width),
    ];
    let mut parts = sizes.into_iter().flatten().map(|size| size / split.tp);
    let uneven = parts.find(|part| !part.is_multiple_of(group))?;
    Some(format!(
        "Weight input_size_per_partition = {uneven} is not divisible by group_size = {group}. Consider reducing tensor_parallel_size."
    ))
}

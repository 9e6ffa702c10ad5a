//! What a rank holds before the first step: its share of the model, and what was asked for beside it.

use std::collections::{HashMap, HashSet};

use super::super::ask::{Ask, GIB, Lora};
use super::super::releases::{Latent, Release};
use super::super::terms::{Item, Stage};
use crate::parallel::{ShardPlan, Split};
use crate::shape::{Format, Kv, Quantization, Role};

/// Of the caching allocator of PyTorch (`CUDACachingAllocator.cpp`).
const LARGE: u64 = 10 << 20;
const PAGE: u64 = 2 << 20;
const SPLIT: u64 = 1 << 20;

pub(super) fn item(release: &Release, stage: &Stage) -> Item {
    let ask = stage.ask;
    let plan = stage.weights as f64 / GIB;
    // Cosines and sines of every position, in the activations' type.
    let rope = (rotary(ask) * ask.dtype().bytes()) as f64 / GIB;
    let rounded = rounding(stage) as f64 / GIB;
    let mut gib = plan + rope + rounded;
    let mut how = format!(
        "{plan:.2} of the plan + {rope:.2} rotary table + {rounded:.2} of rounding by the allocator"
    );
    if let Some(lora) = ask.extras.lora {
        let room = lora_bytes(stage, lora) as f64 / GIB;
        gib += room;
        how += &format!(
            " + {room:.2} for {} adapters of rank {}",
            lora.adapters, lora.rank
        );
    }
    let copies = copies(stage) as f64 / GIB;
    if copies > 0.0 {
        gib += copies;
        how += &format!(" + {copies:.2} of K's weights in the place of V's");
    }
    let products = match release.latent {
        Latent::Absorbed => absorbed(stage) as f64 / GIB,
        _ => 0.0,
    };
    if products > 0.0 {
        gib += products;
        how += &format!(" + {products:.2} of products with what unpacks the latents");
    }
    let draft = draft_bytes(ask).filter(|_| stage.last);
    if let Some(bytes) = draft {
        let draft = bytes as f64 / GIB;
        gib += draft;
        how += &format!(" + {draft:.2} of the draft model");
    }
    let offloaded = ask.extras.cpu_offload_gib.min(plan);
    if offloaded > 0.0 {
        gib -= offloaded;
        how += &format!(" - {offloaded:.2} in the host's memory");
    }
    Item::from_gib(gib, how)
}

/// Bytes of a rank's weights of K in layers that have none of V: they lie there twice, once for each (`gemma4.py`).
fn copies(stage: &Stage) -> u64 {
    let named = |part: &str| {
        let parts = stage.plan.tensors();
        let part = part.to_owned();
        parts.filter(move |one| one.tensor.name.contains(&part))
    };
    let with_v: HashSet<usize> = named("v_proj").filter_map(|one| one.tensor.layer).collect();
    // Where no layer has a V of that name, they are named in another way.
    if with_v.is_empty() {
        return 0;
    }
    let copied = named("k_proj").filter(|one| {
        let here = one
            .tensor
            .layer
            .filter(|layer| stage.layers.contains(layer));
        here.is_some_and(|layer| !with_v.contains(&layer))
    });
    copied
        .map(|one| stage.ask.bytes(one.tensor, one.elements(0)))
        .sum()
}

/// Cosines and sines of all positions.
fn rotary(ask: &Ask) -> usize {
    let compressed = ask.shape.layers.iter().find_map(|layer| match layer.kv {
        Kv::Compressed(kept) => Some(kept),
        _ => None,
    });
    ask.shape.rotary_rows
        * match compressed {
            // By two bases: of windows, and of compressed latents.
            Some(kept) => 2 * kept.rotary,
            None => ask.shape.head_dim,
        }
}

/// What PyTorch's allocator adds to matrices: from `LARGE` on it takes whole pages, and what is left of the last one
/// stays with the matrix unless it is more than `SPLIT`. Matrices that read the same input are one: q, k and v; gate and
/// up; the experts of a layer.
fn rounding(stage: &Stage) -> u64 {
    let mut matrices: HashMap<(Option<usize>, Matrix), u64> = HashMap::new();
    for part in stage.plan.tensors() {
        let tensor = part.tensor;
        let here = match tensor.layer {
            Some(layer) => stage.layers.contains(&layer),
            None => true,
        };
        let expert = tensor.expert.is_some() || tensor.count > 1;
        let matrix = match tensor.role {
            Role::Query | Role::KeyValue => Matrix::QueryKeyValue,
            Role::Output => Matrix::Output,
            Role::Up => Matrix::Up { expert },
            Role::Down => Matrix::Down { expert },
            Role::Embedding if stage.layers.start == 0 => Matrix::Embedding,
            Role::Head if stage.last => Matrix::Head,
            _ => continue,
        };
        if here && tensor.shape.len() == 2 {
            let bytes = stage.ask.bytes(tensor, part.elements(0));
            *matrices.entry((tensor.layer, matrix)).or_default() += bytes;
        }
    }
    let large = matrices.values().filter(|&&bytes| bytes >= LARGE);
    let left = large.map(|bytes| bytes.next_multiple_of(PAGE) - bytes);
    left.filter(|&left| left <= SPLIT).sum()
}

/// Weights that are one allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Matrix {
    QueryKeyValue,
    Output,
    Up { expert: bool },
    Down { expert: bool },
    Embedding,
    Head,
}

/// Two matrices for each projection and adapter: `A` takes the inputs to the rank, `B` the rank to the outputs. Where
/// ranks share the outputs, each has all of `A`; where they share the inputs, all of `B`.
fn lora_bytes(stage: &Stage, lora: Lora) -> u64 {
    let mut features = 0;
    for part in stage.plan.tensors() {
        let tensor = part.tensor;
        let here = tensor
            .layer
            .is_some_and(|layer| stage.layers.contains(&layer));
        // Whose shape is not known takes no part.
        let known = matches!(tensor.format, Format::Plain | Format::Fp8);
        let [outputs, inputs] = tensor.shape[..] else {
            continue;
        };
        if !here || !known || tensor.expert.is_some() || tensor.count > 1 {
            continue;
        }
        let held = part.elements(0);
        features += match tensor.role {
            Role::Query | Role::KeyValue | Role::Up => inputs as u64 + held / inputs as u64,
            Role::Output | Role::Down => held / outputs as u64 + outputs as u64,
            _ => 0,
        };
    }
    features * (lora.rank * lora.adapters * stage.ask.dtype().bytes()) as u64
}

/// Inputs of what unpacks a layer's latent and of its query, and the latent's width; `None`: it has none.
fn latent(ask: &Ask, layer: usize) -> Option<[usize; 3]> {
    let Kv::Latent { width, .. } = ask.shape.layers[layer].kv else {
        return None;
    };
    let inputs = |unpacks: bool| {
        let tensors = ask.shape.tensors.iter().filter(|tensor| {
            let query = tensor.role == Role::Query && tensor.layer == Some(layer);
            query && tensor.shape.len() == 2 && tensor.name.contains("kv_b_proj") == unpacks
        });
        tensors.map(|tensor| tensor.shape[1]).max().unwrap_or(0)
    };
    Some([inputs(true), inputs(false), width])
}

/// Of each layer with a latent, for a rank's heads: the query's matrix times what unpacks K, what unpacks V times the
/// output's, and the query's part that is rotated (`W_Q_UK`, `W_UV_O`, `W_QR`). The first two are FP8 where the checkpoint is.
fn absorbed(stage: &Stage) -> u64 {
    let (ask, heads) = (stage.ask, stage.plan.rank_shape(0).num_heads);
    let element = ask.dtype().bytes();
    let multiplied = match ask.shape.quantization {
        Some(Quantization::Fp8 { .. }) => 1,
        _ => element,
    };
    let bytes = |layer: usize| {
        let [latent, query, width] = latent(ask, layer)?;
        let products = latent * (query + ask.shape.hidden_size) * multiplied;
        Some(heads * (products + query * (width - latent.min(width)) * element))
    };
    stage.layers.clone().filter_map(bytes).sum::<usize>() as u64
}

/// Of a product in f32, that are there at once: it, its blocks in order, and those scaled and clipped (`scaled_quantize`).
/// Fitted to fit3-019, which it fills to the last hundredth of a GiB.
const COPIES: usize = 4;

/// Bytes beside the weights while the last layer's products are made of matrices in FP8, which are widened to f32
/// (`process_weights_after_loading`); 0: none are.
pub(super) fn while_multiplied(release: &Release, stage: &Stage) -> u64 {
    let (ask, heads) = (stage.ask, stage.plan.rank_shape(0).num_heads);
    let fp8 = matches!(ask.shape.quantization, Some(Quantization::Fp8 { .. }));
    if release.latent != Latent::Absorbed || !fp8 {
        return 0;
    }
    let elements = |layer: usize| {
        let [latent, query, _] = latent(ask, layer)?;
        let tensors = ask.shape.tensors.iter().filter(|tensor| {
            let matrix = tensor.shape.len() == 2 && !matches!(tensor.format, Format::Scale { .. });
            let multiplied = matches!(tensor.role, Role::Query | Role::Output);
            matrix && multiplied && tensor.layer == Some(layer)
        });
        let widened = tensors
            .map(|tensor| tensor.elements() as usize)
            .sum::<usize>();
        let product = heads * latent * query.max(ask.shape.hidden_size);
        Some(COPIES * product + widened / ask.split.tp)
    };
    let most = stage.layers.clone().filter_map(elements).max();
    (most.unwrap_or(0) * size_of::<f32>()) as u64
}

/// Of rank 0, which holds as much as any; `None`: there is no draft model, or it cannot be split so, and then each rank
/// has the whole.
fn draft_bytes(ask: &Ask) -> Option<u64> {
    let draft = ask.extras.draft.as_ref()?;
    let plan = ShardPlan::split(draft, Split::from(ask.split.tp))
        .or_else(|_| ShardPlan::split(draft, Split::from(1)))
        .ok()?;
    let parts = plan.tensors();
    Some(
        parts
            .map(|part| ask.bytes(part.tensor, part.elements(0)))
            .sum(),
    )
}

//! What a trial run with the largest step takes: the forward pass, and the sampler behind it.

use super::super::ask::GIB;
use super::super::load_quantization::LoadQuantization;
use super::super::releases::{Release, Sampler};
use super::super::terms::{Item, Stage};
use super::second_runner;
use crate::hardware::Capability;
use crate::shape::{Format, Kv, Layer, Method, Mlp, Quantization, Role};

/// Bytes for each logit where rows are sorted: logits in 16 bits and in f32, sorted values, their 64-bit indices, the
/// sort's own copies, probabilities. Fitted to fit-08, fit-25 (38.1 to 38.5) and fit-01 (39.2).
const SORT_BYTES: f64 = 38.4;
/// Without sorting: logits in f32, probabilities and exponential noise, beside the logits in the activations' type.
/// Fitted with `SAMPLER_GIB` to fit2-073, fit2-090, fit2-108 and fit2-114, one report of vocabularies of 100,352 to
/// 256,000.
const THRESHOLD_BYTES: f64 = 12.43;
/// Whatever the vocabulary.
const SAMPLER_GIB: f64 = 0.063;
/// Beside the logits, a copy in f32, where the second runner tries neither top-k nor top-p.
const SECOND_RUNNER_BYTES: f64 = 4.0;
/// The second runner counts the tokens of each request's output for penalties, and has a bit for those of its prompt.
const COUNTED_BYTES: f64 = 4.0 + 1.0 / 8.0;
/// Rows of hidden size that live beside the MLP: the residual, its input and its output. With the MLP's
/// own three rows it gives fit-03 (2.06 of 2.07 GiB), fit-35 (2.99 of 2.99) and fit2-170 (2.52 of 2.53).
const HIDDEN_ROWS: usize = 3;
/// In the compiled model one more: fit2-110 (0.75 of 0.77), fit2-111 (0.84 of 0.85).
const COMPILED_HIDDEN_ROWS: usize = 4;

/// The older engine tries a tower with as many images as a step holds, and the sampler with as many rows: 0.74 (fit2-004).
/// An allowance where images are of any size.
const TOWER_GIB: f64 = 1.5;
/// Rows of a patch's features that live beside the two inside of its MLP: 2.18 (fit2-035), 1.66 (fit2-010).
const PATCH_ROWS: usize = 5;

/// Rows of each kind that live at once where latents are compressed: fitted to fit2-173.
const COMPRESSED_ROWS: usize = 3;
/// Heads that attention over compressed latents takes at a time (FlashMLA).
const KERNEL_HEADS: usize = 64;

/// GiB of a part, and the arithmetic behind them.
type Part = (f64, String);

/// The larger of the forward pass and the sampler behind it, with what stays of one in the other.
pub(super) fn item(release: &Release, stage: &Stage) -> Item {
    let (forward, forward_how) = forward(release, stage);
    let (between, between_how) = between_stages(stage);
    let (counted, counted_how) = counted(release, stage);
    let (larger, how) = match sampler(release, stage) {
        None => (forward, format!("forward pass: {forward_how}")),
        // Its own trial is one of images, as large as a step.
        Some(_) if !release.v1 && has_tower(stage) => {
            let (tower, how) = images(stage);
            (
                forward.max(tower),
                format!("{how} (the forward pass takes {forward:.2}: {forward_how})"),
            )
        }
        Some((sampler, how)) if release.counts_reserved => (
            forward + sampler,
            format!("forward pass: {forward_how}; sampler, which adds to it: {how}"),
        ),
        Some((sampler, how)) if sampler > forward => (
            sampler,
            format!("sampler: {how} (the forward pass takes {forward:.2}: {forward_how})"),
        ),
        Some(_) => (forward, format!("forward pass: {forward_how}")),
    };
    Item::from_gib(
        larger + between + counted,
        format!("{how}{between_how}{counted_how}"),
    )
}

fn gib(bytes: f64) -> f64 {
    bytes / GIB
}

fn forward(release: &Release, stage: &Stage) -> Part {
    let element = stage.ask.dtype().bytes();
    let tokens = stage.settings.max_num_batched_tokens;
    let (dense, experts) = mlp_widths(stage);
    let rows_of_hidden = match release.v1 {
        true => COMPILED_HIDDEN_ROWS,
        false => HIDDEN_ROWS,
    };
    let rows_of_hidden = rows_of_hidden * stage.ask.shape.hidden_size;
    let width = rows_of_hidden + dense.max(experts) + unpacked(stage) + beside_compressed(stage);
    let widened = widened(stage);
    let and_widened = match widened {
        0 => "",
        _ => " + a matrix in 16 bits, and what it makes",
    };
    (
        gib((tokens * width * element) as f64 + widened as f64),
        format!("{tokens} tokens x {width} values x {element} B{and_widened}"),
    )
}

/// Values of a token where latents are unpacked: query, K, V and output of a rank's heads as they are filled up, and query
/// and K before.
fn unpacked(stage: &Stage) -> usize {
    let (ask, heads) = (stage.ask, stage.plan.rank_shape(0).num_heads);
    let kept = |layer: &Layer| match (layer.kv, ask.kept(layer)) {
        (Kv::Latent { .. }, Kv::Full(kept)) => heads * (4 * kept.key_dim + 2 * ask.shape.head_dim),
        _ => 0,
    };
    let layers = ask.shape.layers[stage.layers.clone()].iter();
    layers.map(kept).max().unwrap_or(0)
}

/// Values of a token where latents are compressed: rows of the residual's copies in f32, and of queries and what they sum up,
/// filled up to the heads of the kernel.
fn beside_compressed(stage: &Stage) -> usize {
    let shape = &stage.ask.shape;
    let heads = stage.plan.rank_shape(0).num_heads;
    let width = shape.layers.iter().find_map(|layer| match layer.kv {
        Kv::Compressed(kept) => Some(kept.width),
        _ => None,
    });
    let of_heads = |width: usize| heads.next_multiple_of(KERNEL_HEADS) * width;
    let in_f32 = size_of::<f32>().div_ceil(stage.ask.dtype().bytes());
    let rows = |width: usize| in_f32 * shape.streams * shape.hidden_size + of_heads(width);
    COMPRESSED_ROWS * width.map_or(0, rows)
}

/// A tower with as many images as a step of the older engine holds.
fn images(stage: &Stage) -> Part {
    let Some(images) = stage.ask.shape.images else {
        return (TOWER_GIB, "a tower with images, an allowance".to_owned());
    };
    let settings = stage.settings;
    let most = settings.max_num_batched_tokens / images.tokens;
    let tried = most.min(settings.max_num_seqs).max(1);
    let values = 2 * images.intermediate_size + PATCH_ROWS * images.hidden_size;
    let (patches, element) = (images.patches, stage.ask.dtype().bytes());
    (
        gib(tried as f64 * patches as f64 * (values * element) as f64),
        format!("a tower: {tried} images x {patches} patches x {values} values x {element} B"),
    )
}

/// Hidden states and residual that one stage sends and the next receives.
fn between_stages(stage: &Stage) -> Part {
    let (ask, tokens) = (stage.ask, stage.settings.max_num_batched_tokens);
    if ask.pp == 1 {
        return (0.0, String::new());
    }
    let sent = gib((2 * tokens * ask.shape.hidden_size * ask.dtype().bytes()) as f64);
    (sent, format!(" + {sent:.2} between stages"))
}

/// What the second runner keeps of the tokens of each request.
fn counted(release: &Release, stage: &Stage) -> Part {
    if !stage.last || !second_runner(release, stage.ask) {
        return (0.0, String::new());
    }
    let tokens = stage.settings.max_num_seqs * stage.ask.shape.vocab_size;
    let counted = gib(tokens as f64 * COUNTED_BYTES);
    (counted, format!(" + {counted:.2} of token counts"))
}

/// `None`: another stage samples.
fn sampler(release: &Release, stage: &Stage) -> Option<Part> {
    let (ask, settings) = (stage.ask, stage.settings);
    let element = ask.dtype().bytes();
    let tokens = settings.max_num_batched_tokens;
    let rows = settings.max_num_seqs.min(tokens);
    let vocab = ask.shape.vocab_size;
    let short = second_runner(release, ask) && !release.second_runner_tries_all;
    let (each, fixed) = match (short, release.sampler) {
        (true, _) => (SECOND_RUNNER_BYTES + element as f64, SAMPLER_GIB),
        (false, Sampler::Sort) => (SORT_BYTES, 0.0),
        (false, Sampler::Threshold) => (THRESHOLD_BYTES + element as f64, SAMPLER_GIB),
    };
    let (workspace, and_workspace) = match release.keeps_workspaces && !experts_in_mxfp4(stage) {
        true if ask.shape.experts().is_some() => {
            let workspace = gib((tokens * mlp_widths(stage).1 * element) as f64);
            (
                workspace,
                format!(" + {workspace:.2} of the experts' workspace"),
            )
        }
        _ => (0.0, String::new()),
    };
    let states = gib((tokens * ask.shape.hidden_size * element) as f64);
    // What a tower made of images, and the embeddings that it is put among.
    let images = match release.v1 && has_tower(stage) {
        true => 2.0 * states,
        false => 0.0,
    };
    let logits = gib((rows * vocab) as f64 * each);
    stage.last.then(|| {
        (
            logits + fixed + states + images + workspace,
            format!(
                "{rows} rows x {vocab} logits x {each:.1} B + {tokens} hidden states{and_workspace}"
            ),
        )
    })
}

/// Bytes of the largest matrix in 16 bits and of what it makes of a step, where the kernel of quantised weights widens
/// them before it multiplies (`BitsAndBytesLinearMethod.apply`, `awq_dequantize`).
fn widened(stage: &Stage) -> u64 {
    let ask = stage.ask;
    let method = match (ask.extras.quantization, ask.shape.quantization) {
        (Some(LoadQuantization::BitsAndBytes), _) => Method::BitsAndBytes,
        (_, Some(Quantization::Other(scheme))) => scheme.method,
        _ => return 0,
    };
    let widens = match method {
        Method::BitsAndBytes => true,
        Method::Awq => ask.card.capability < AWQ_IN_KERNEL,
        _ => false,
    };
    if !widens {
        return 0;
    }
    let (hidden, tokens) = (ask.shape.hidden_size, stage.settings.max_num_batched_tokens);
    let rank = stage.plan.rank_shape(0);
    let heads = rank.num_heads * ask.shape.head_dim;
    let matrices = [
        [rank.intermediate_size, hidden],
        [hidden, rank.intermediate_size],
        [heads, hidden],
    ];
    let bytes = matrices
        .map(|[outputs, inputs]| (outputs * inputs + tokens * outputs) * ask.dtype().bytes());
    bytes.into_iter().max().unwrap_or(0) as u64
}

/// From here on AWQ's weights are widened piece by piece in the kernel (Marlin).
const AWQ_IN_KERNEL: Capability = Capability { major: 8, minor: 0 };

/// Their kernels (Triton) bring buffers of their own, which do not stay: fit2-121, fit2-122.
pub(super) fn experts_in_mxfp4(stage: &Stage) -> bool {
    matches!(stage.ask.shape.quantization, Some(Quantization::Other(scheme)) if scheme.method == Method::Mxfp4)
}

/// Whether dense MLPs have a gate beside what they widen; so where the tensors do not tell.
fn is_gated(stage: &Stage) -> bool {
    let shape = &stage.ask.shape;
    let up = |layer: usize| {
        let tensors = shape.tensors.iter().filter(|tensor| {
            let matrix = tensor.shape.len() == 2 && !matches!(tensor.format, Format::Scale { .. });
            matrix && tensor.role == Role::Up && tensor.layer == Some(layer) && tensor.count == 1
        });
        tensors.map(|tensor| tensor.shape[0]).sum::<usize>()
    };
    let widths = shape.layers.iter().enumerate();
    let dense = widths.filter_map(|(layer, kept)| match kept.mlp {
        Mlp::Dense { width } if width > 0 => Some((layer, width)),
        _ => None,
    });
    dense.take(1).all(|(layer, width)| up(layer) != width)
}

fn has_tower(stage: &Stage) -> bool {
    let mut tensors = stage.ask.shape.tensors.iter();
    tensors.any(|tensor| tensor.role == Role::Tower)
}

/// Values that a token has inside an MLP at once: gate and up, and their product; and the same with experts: a copy
/// of the token for each that it chose, and one buffer before and behind them that the larger side fills.
fn mlp_widths(stage: &Stage) -> (usize, usize) {
    let (shape, rank) = (&stage.ask.shape, stage.plan.rank_shape(0));
    let mut layers = shape.layers[stage.layers.clone()].iter();
    let dense = match layers.any(|layer| matches!(layer.mlp, Mlp::Dense { .. })) {
        true if is_gated(stage) => 3 * rank.intermediate_size,
        true => 2 * rank.intermediate_size,
        false => 0,
    };
    let experts = shape.experts().map_or(0, |experts| {
        let inside = rank.moe_intermediate_size;
        experts.per_token * ((2 * inside).max(shape.hidden_size) + inside)
    });
    (dense, experts)
}

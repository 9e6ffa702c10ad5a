//! The tower of a model that sees images, by its `vision_config`: a vision transformer and what leads from it to
//! the decoder.

use serde_json::Value;

use crate::shape::Images;
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;

/// Colours.
const CHANNELS: u128 = 3;
/// Features of a token's patches, far beyond any.
const MOST_MERGED: u128 = 1 << 40;
/// More than all of a model may have.
const MOST_WEIGHTS: u128 = 1 << 52;

/// Weights of the towers, where the decoder has `hidden` features; 0: there are none.
pub(super) fn parameters(config: &Keys, hidden: usize) -> Result<u64, ShapeError> {
    let (sees, hears) = (of_images(config, hidden)?, of_sounds(config, hidden)?);
    Ok((sees + hears).min(MOST_WEIGHTS) as u64)
}

/// A conformer (Gemma 3n, Gemma 4): of each layer two MLPs, attention with relative positions, and a convolution between
/// two matrices, in all so many squares of its width.
const SQUARES: u128 = 24;

fn of_sounds(config: &Keys, hidden: usize) -> Result<u128, ShapeError> {
    let Some(audio) = config.object("audio_config") else {
        return Ok(0);
    };
    let kind = audio.text("model_type").unwrap_or_default();
    if !kind.starts_with("gemma") {
        return Ok(0);
    }
    let usual = if kind.starts_with("gemma3n") {
        1536
    } else {
        1024
    };
    let width = audio.count(&["hidden_size"])?.unwrap_or(usual) as u128;
    let layers = audio.count(&["conf_num_hidden_layers", "num_hidden_layers"])?;
    let layers = layers.unwrap_or(12) as u128;
    let bridge = width * hidden as u128;
    Ok(layers * SQUARES * width * width + bridge)
}

/// Of MobileNetV5's encoder of images, which Gemma 3n's configurations name and say nothing of.
const MOBILENET_V5: u128 = 294_284_096;

/// Llama 3.2's tower: tiles of an image have positions of their own, in as many tables as there are shapes of images.
fn of_tiles(vision: &Keys, hidden: u128) -> Result<u128, ShapeError> {
    let size = |key: &str| Ok::<u128, ShapeError>(vision.size(&[key])? as u128);
    let (width, inner) = (size("hidden_size")?, size("intermediate_size")?);
    let layers = size("num_hidden_layers")? + size("num_global_layers")?;
    let (tiles, patch) = (size("max_num_tiles")?, size("patch_size")?);
    let side = size("image_size")? / patch;
    let shapes = vision.list("supported_aspect_ratios")?;
    let tables = shapes.map_or(0, |shapes| shapes.len() as u128) + 1;
    let layer = 4 * width * width + 2 * width * inner + inner + 5 * width;
    let patches = side * side + 1;
    let positions = patches + tables * tiles * (patches + 2);
    let stem = CHANNELS * patch * patch;
    let bridge = (size("vision_output_dim")? + 1) * hidden;
    Ok(layers * layer + (stem + positions) * width + bridge)
}

/// Layers that are built: those up to the deepest one whose output is asked for (`vision_feature_layer`, from the end if
/// negative), and how many outputs the decoder takes.
fn layers_built(config: &Keys, layers: usize) -> (usize, usize) {
    let asked = match config.value("vision_feature_layer") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_i64).collect(),
        Some(one) => one.as_i64().into_iter().collect(),
        None => Vec::new(),
    };
    let depth = |index: &i64| match usize::try_from(*index) {
        Ok(depth) => depth,
        Err(_) => (layers + 1).saturating_sub(index.unsigned_abs() as usize),
    };
    let deepest = asked.iter().map(depth).max().unwrap_or(layers);
    (deepest.min(layers), asked.len().max(1))
}

fn of_images(config: &Keys, hidden: usize) -> Result<u128, ShapeError> {
    let Some(vision) = config.object("vision_config") else {
        return Ok(0);
    };
    let kind = vision.text("model_type").unwrap_or_default();
    let outer = config.text("model_type").unwrap_or_default();
    let is = |name: &str| kind.contains(name) || outer.contains(name);
    let qwen = is("qwen");
    if is("mllama") {
        return of_tiles(&vision, hidden as u128);
    }
    if is("gemma3n") {
        let width = vision.count(&["hidden_size"])?.unwrap_or(2048);
        return Ok(MOBILENET_V5 + (width * hidden) as u128);
    }
    let layers = vision.count(&["depth", "num_hidden_layers", "vt_num_hidden_layers"])?;
    let width = vision.count(&["embed_dim", "hidden_size", "vt_hidden_size"])?;
    let (Some(layers), Some(width)) = (layers, width) else {
        return Ok(0);
    };
    let (layers, outputs) = layers_built(config, layers);
    let [layers, width, hidden] = [layers, width, hidden].map(|size| size as u128);
    let ratio = vision.number("mlp_ratio").unwrap_or(4.0).clamp(0.0, 1024.0);
    let inner = vision.count(&["intermediate_size", "vt_intermediate_size"])?;
    let inner = inner.map_or((ratio * width as f64) as u128, |inner| inner as u128);
    let gated = is("pixtral") || is("mistral3") || is("qwen2_5") || is("gemma4");
    let matrices = 4 * width * width + if gated { 3 } else { 2 } * width * inner;
    let biases = match is("pixtral") || is("mistral3") || is("gemma4") {
        true => 2 * width,
        false => 9 * width + inner,
    };
    // A whole list is no patch: the usual one is square.
    let patch = vision.count(&["patch_size"]).unwrap_or(None).unwrap_or(14) as u128;
    let frames = vision.count(&["temporal_patch_size"])?.unwrap_or(1) as u128;
    let stem = CHANNELS * patch * patch * frames * width;
    let side = vision.count(&["image_size"]).unwrap_or(None).unwrap_or(0) as u128 / patch.max(1);
    let positions = match vision.count(&["num_position_embeddings", "position_embedding_size"])? {
        // One table for each direction.
        Some(positions) if is("gemma4") => 2 * positions as u128,
        Some(positions) => positions as u128,
        None if is("pixtral") || is("mistral3") || qwen => 0,
        None => side * side,
    };
    let tower = layers * (matrices + biases) + stem + positions * width;
    let merged = merged(config, &vision, width) * outputs as u128;
    let out = vision
        .count(&["out_hidden_size"])?
        .map_or(hidden, |out| out as u128);
    let bridges = vision
        .list("deepstack_visual_indexes")?
        .map_or(1, |list| 1 + list.len() as u128);
    let bridge = match () {
        () if qwen => merged * merged + merged * out,
        () if is("gemma3") || is("gemma4") => width * hidden,
        () if is("mistral3") => merged * width + width * hidden + hidden * hidden,
        () if is("kimi") => merged * merged + merged * hidden,
        () => merged * hidden + hidden * hidden,
    };
    Ok(tower + bridges * bridge)
}

/// Where all are of one size: its own is stated, and how many tokens it becomes.
pub(super) fn images(config: &Keys) -> Result<Option<Images>, ShapeError> {
    let Some(vision) = config.object("vision_config") else {
        return Ok(None);
    };
    let of = |name: &str| vision.count(&[name]).unwrap_or(None);
    let sizes = [
        config.count(&["mm_tokens_per_image"])?,
        of("image_size"),
        of("patch_size"),
        of("hidden_size"),
        of("intermediate_size"),
    ];
    let [
        Some(tokens),
        Some(side),
        Some(patch),
        Some(hidden_size),
        Some(intermediate_size),
    ] = sizes
    else {
        return Ok(None);
    };
    let row = side / patch.max(1);
    Ok(Some(Images {
        tokens: tokens.max(1),
        patches: row.saturating_mul(row),
        hidden_size,
        intermediate_size,
    }))
}

/// Features of the patches that become one token.
fn merged(config: &Keys, vision: &Keys, width: u128) -> u128 {
    let side = vision
        .count(&["spatial_merge_size"])
        .unwrap_or(None)
        .or_else(|| config.count(&["spatial_merge_size"]).unwrap_or(None));
    let ratio = config
        .number("downsample_ratio")
        .filter(|&ratio| ratio > 0.0);
    let listed = vision.list("merge_kernel_size").unwrap_or(None);
    let patches = match (side, ratio, listed) {
        (Some(side), _, _) => side as u128 * side as u128,
        (None, Some(ratio), _) => (1.0 / ratio / ratio).min(1024.0) as u128,
        (None, None, Some(list)) => {
            let sides = list.iter().take(2).filter_map(|side| side.as_u64());
            sides.map(|side| u128::from(side.min(64))).product()
        }
        (None, None, None) => 1,
    };
    (patches * width).min(MOST_MERGED)
}

//! What of a model's shape the model of time can tell, and what it takes for granted.

use crate::shape::{Kv, ModelShape, Quantization, Role};

/// In names of what chooses the tokens that attention reads.
const INDEXER: &str = "indexer";

/// Why steps of such a model have no known time, to stand behind "for"; `None`: they have.
pub fn untimed(shape: &ModelShape) -> Option<String> {
    let recurrent = shape
        .layers
        .iter()
        .filter(|layer| layer.state.is_some())
        .count();
    if recurrent > 0 {
        return Some(format!(
            "nothing is known of how long the kernels take that carry the state of {recurrent} of its {} layers from token to token",
            shape.layers.len()
        ));
    }
    let keeps = |layer: usize| shape.layers[layer].kv != Kv::Nothing;
    let mut queries = shape
        .tensors
        .iter()
        .filter(|tensor| tensor.role == Role::Query);
    if queries.any(|tensor| tensor.layer.is_some_and(|layer| !keeps(layer))) {
        return Some(
            "nothing is known of how long attention takes in layers that read what others keep"
                .to_owned(),
        );
    }
    let mut names = shape.tensors.iter().map(|tensor| &tensor.name);
    names.any(|name| name.contains(INDEXER)).then(|| {
        "nothing is known of how long its indexer takes, nor how many tokens its attention reads"
            .to_owned()
    })
}

/// Sentences of what is taken for granted; empty: nothing that the checks of the model of time do not cover.
pub fn assumed(shape: &ModelShape) -> Vec<String> {
    let kinds = || shape.layers.iter().map(|layer| layer.kv);
    let mut said = Vec::new();
    if kinds().any(|kv| kv.window().is_some()) {
        said.push("layers with a window or chunks read no more than these, in kernels as fast as those of whole contexts");
    }
    if kinds().any(|kv| matches!(kv, Kv::Latent { .. })) {
        said.push("running requests multiply with the latents as they lie in the cache, on tensor cores; prompts unpack them, those of earlier steps again");
    }
    if shape.experts().is_some() {
        said.push("tokens choose their experts evenly and apart from each other");
    }
    match shape.quantization {
        Some(Quantization::Other(scheme)) if scheme.activations && scheme.bits == 8 => {
            said.push("quantised weights are multiplied in 8 bits, at the rate of FP8");
        }
        Some(Quantization::Other(_)) => {
            said.push(
                "quantised weights are widened to 16 bits on their way into products, at no cost",
            );
        }
        Some(Quantization::Fp8 { .. }) | None => {}
    }
    if shape
        .tensors
        .iter()
        .any(|tensor| tensor.role == Role::Tower)
    {
        said.push("requests are text: the tower for images has its room, and takes no time");
    }
    said.into_iter().map(str::to_owned).collect()
}

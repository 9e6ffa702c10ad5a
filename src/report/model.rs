//! What a checkpoint is, for a reader.

use super::layout::wrapped;
use crate::session::description::{Description, KvLayers};

const GIB: f64 = (1_u64 << 30) as f64;
const BILLION: f64 = 1e9;
const INDENT: usize = 2;
const NAME: usize = 14;

/// In lines of `width`.
pub fn text(model: &Description, width: usize) -> String {
    let family = match model.runnable {
        true => model.family.clone(),
        false => format!("{} (not run by this program's own engine)", model.family),
    };
    let active = match model.active_parameters < model.parameters {
        true => format!(
            ", of them {} for each token",
            billions(model.active_parameters)
        ),
        false => String::new(),
    };
    let dtype = model.dtype.map_or("no type stated", |dtype| dtype.name());
    let packed = match &model.quantization {
        Some(method) => format!("quantised ({method}), else {dtype}"),
        None => dtype.to_owned(),
    };
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        text += &wrapped(&format!("{name:<NAME$}{value}"), 0, NAME, width);
    };
    line("model", model.name.clone());
    line("family", family);
    line(
        "parameters",
        format!("{}{active}", billions(model.parameters)),
    );
    let from = match model.source {
        "headers" => "by the headers of its files",
        _ => "by its configuration",
    };
    let weights = model.weight_bytes as f64 / GIB;
    line("weights", format!("{weights:.2} GiB, {packed}, {from}"));
    line(
        "layers",
        format!(
            "{}, {} features, {} attention heads, {} KV heads",
            model.layers, model.hidden_size, model.num_attention_heads, model.num_key_value_heads
        ),
    );
    line("KV cache", kv(model));
    let tied = if model.tie_word_embeddings {
        ", head tied to the embedding"
    } else {
        ""
    };
    line(
        "context",
        format!(
            "{} tokens; vocabulary {}{tied}",
            model.context, model.vocab_size
        ),
    );
    if let Some(rope) = &model.rope {
        line("rope", rope.to_string());
    }
    if let Some(there) = model.chat_template {
        line(
            "chat template",
            if there { "yes" } else { "none" }.to_owned(),
        );
    }
    text += &format!(
        "\n{:<NAME$}{:>12} {:>10} {:>7}\n",
        "", "parameters", "GiB", "bits"
    );
    for sum in &model.roles {
        text += &format!(
            "{:<NAME$}{:>12} {:>10.3} {:>7.2}\n",
            sum.role,
            billions(sum.parameters),
            sum.bytes as f64 / GIB,
            sum.bits_per_parameter
        );
    }
    if !model.oddities.is_empty() {
        text += "\ntaken for granted, or odd\n";
    }
    for oddity in &model.oddities {
        text += &wrapped(oddity, INDENT, 2 * INDENT, width);
    }
    text
}

fn billions(count: u64) -> String {
    format!("{:.3} B", count as f64 / BILLION)
}

fn kv(model: &Description) -> String {
    let layers = |kind: &KvLayers| {
        let window = kind
            .window
            .map_or(String::new(), |window| format!(" of {window}"));
        format!("{} {}{window}", kind.layers, kind.kind)
    };
    let kinds: Vec<String> = model.kv_layers.iter().map(layers).collect();
    let state = match model.state_bytes_per_sequence {
        0 => String::new(),
        bytes => format!("; {bytes} B of state a sequence"),
    };
    format!(
        "{} B a token ({}){state}",
        model.kv_bytes_per_token,
        kinds.join(", ")
    )
}

//! The same tensors under other names: read where it is clear which is which, else told in a line.

use std::collections::HashMap;
use std::fs;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::cli_support::{Copy, Outcome, refused, run};

const FILE: &str = "model.safetensors";
const TIED: &str = "llama-tied-tiny";

/// The fixture with its tensors under other names; those that `name` gives none of are left out.
fn renamed(fixture: &str, name: impl Fn(&str) -> Vec<String>) -> Copy {
    let model = Copy::of(fixture);
    let mut files: Vec<String> = vec![FILE.to_owned()];
    if !model.file(FILE).exists() {
        files = (1..=2)
            .map(|k| format!("model-0000{k}-of-00002.safetensors"))
            .collect();
        model.remove("model.safetensors.index.json");
    }
    for file in files {
        let bytes = fs::read(model.file(&file)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut out: HashMap<String, TensorView> = HashMap::new();
        for (old, view) in tensors.tensors() {
            out.extend(name(&old).into_iter().map(|new| (new, view.clone())));
        }
        model.write(&file, safetensors::serialize(out, None).unwrap());
    }
    model
}

fn args(model: &Copy) -> Vec<&str> {
    let args = ["generate", "--model", model.path(), "--prompt-ids", "1,2,3"];
    [&args[..], &["--max-tokens", "8", "--ignore-eos"]].concat()
}

fn generate(model: &Copy) -> Outcome {
    run(&args(model)).succeeded()
}

#[test]
fn wrappers_and_bare_decoders_are_the_same_model() {
    for fixture in [TIED, "llama-tiny", "qwen3-moe-tiny"] {
        let usual = generate(&Copy::of(fixture)).stdout;
        let prefix = |prefix: &'static str| move |name: &str| vec![format!("{prefix}{name}")];
        let inner = |inner: &'static str| move |name: &str| vec![name.replacen("model.", inner, 1)];
        for (kind, model) in [
            (
                "language_model.",
                renamed(fixture, prefix("language_model.")),
            ),
            (
                "base_model.model.",
                renamed(fixture, prefix("base_model.model.")),
            ),
            ("module.", renamed(fixture, prefix("module."))),
            ("_orig_mod.", renamed(fixture, prefix("_orig_mod."))),
            (
                "module._orig_mod.",
                renamed(fixture, prefix("module._orig_mod.")),
            ),
            ("none", renamed(fixture, inner(""))),
            (
                "model.language_model.",
                renamed(fixture, inner("model.language_model.")),
            ),
            (
                "compiled layers",
                renamed(fixture, |name| {
                    vec![name.replace(".self_attn.", "._orig_mod.self_attn.")]
                }),
            ),
        ] {
            let outcome = generate(&model);
            assert_eq!(outcome.stdout, usual, "{fixture}, {kind}");
            let said = outcome.stderr.contains("read under their usual names");
            assert!(
                said || kind == "compiled layers",
                "{fixture}, {kind}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_tied_pair_is_stored_under_either_name() {
    let usual = generate(&Copy::of(TIED)).stdout;
    let (embedding, head) = ("model.embed_tokens.weight", "lm_head.weight");
    let pair = |names: &'static [&'static str]| {
        renamed(TIED, move |name| match name == embedding {
            true => names.iter().map(|&name| name.to_owned()).collect(),
            false => vec![name.to_owned()],
        })
    };
    assert_eq!(generate(&pair(&["lm_head.weight"])).stdout, usual);
    assert_eq!(
        generate(&pair(&["lm_head.weight", "model.embed_tokens.weight"])).stdout,
        usual
    );
    let wrapped = renamed(TIED, |name| match name == embedding {
        true => vec![format!("language_model.{head}")],
        false => vec![format!("language_model.{name}")],
    });
    assert_eq!(generate(&wrapped).stdout, usual);
    // Not tied, the one is not the other.
    let untied = pair(&["lm_head.weight"]).with_config("tie_word_embeddings", json!(false));
    refused(&args(&untied), &["model.embed_tokens.weight is missing"]);
    let headless = Copy::of(TIED).with_config("tie_word_embeddings", json!(false));
    refused(
        &args(&headless),
        &["lm_head.weight is missing", "tie_word_embeddings"],
    );
}

#[test]
fn names_that_are_not_clear_are_told_in_a_line() {
    let twice = renamed(TIED, |name| vec![format!("a.{name}"), format!("b.{name}")]);
    refused(&args(&twice), &["2 names", "a.model.", "b.model.", "more"]);
    let collide = renamed(TIED, |name| {
        vec![name.to_owned(), format!("_orig_mod.{name}")]
    });
    refused(&args(&collide), &["two tensors could be model."]);
    for (new, part) in [
        ("tok_embeddings.weight", "Meta's own layout"),
        ("transformer.h.0.attn.c_attn.weight", "another architecture"),
        ("model.layers.0.self_attn.q_proj.qweight", "GPTQ or AWQ"),
        (
            "model.layers.0.self_attn.q_proj.weight_packed",
            "compressed-tensors",
        ),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", "LoRA"),
        ("blk.0.attn_q.weight", "GGUF"),
    ] {
        let model = renamed(TIED, |name| {
            match name.contains("layers.0.self_attn.q_proj") {
                true => vec![new.to_owned()],
                false => vec![name.to_owned()],
            }
        });
        refused(
            &args(&model),
            &[new, part, "self_attn.q_proj.weight is missing"],
        );
    }
}

#[test]
fn lists_of_names_end_in_a_count() {
    let many = Copy::of(TIED).with_config("num_hidden_layers", json!(1000));
    let outcome = run(&args(&many));
    assert_eq!(outcome.code, Some(2));
    // 998 layers of nine tensors, of which 20 are named.
    assert!(
        outcome.stderr.contains("; and 8962 more; correct"),
        "{}",
        outcome.stderr.len()
    );
    assert!(outcome.stderr.len() < 3000);
    let more = renamed(TIED, |name| {
        let extra = (0..30).map(|k| format!("x{k}.{name}"));
        let extra = extra.filter(|_| name == "model.norm.weight");
        extra.chain([name.to_owned()]).collect()
    });
    let outcome = generate(&more);
    assert!(
        outcome.stderr.contains("30 tensors are not used"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("; and 10 more"), "{outcome:?}");
}

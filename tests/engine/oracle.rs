//! The decoder on random configurations, against decoders of other hands: candle-transformers' Llama, Qwen2 and
//! Qwen3, and for what those lack a plain f64 forward pass (`common/f64_model.rs`).

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, qwen2, qwen3};
use serde_json::{Value, json};

use crate::common::f64_model::F64Model;
use crate::common::probe::Probe;
use crate::common::random::Random;
use crate::common::{Backend, Model, random_model, relative_difference};

const BACKENDS: [Backend; 2] = [Backend::Cpu, Backend::Reference];

/// Of the largest logit of the case (at least of 1). Both sides sum f32 products in their own order and round angles
/// differently: 4e-6 at most was measured. A wrong switch moves logits by a tenth and more (last test).
const TOLERANCE: f32 = 1e-4;

/// Seeds of candle-transformers cases, 10 for each family.
const CASES: u64 = 30;
/// Seeds of f64 cases for each kind.
const F64_CASES: u64 = 6;
const DECODED: usize = 5;
const LONGEST_PROMPT: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    Llama,
    Qwen2,
    Qwen3,
}

/// A config that candle-transformers' config types read as well as ours.
fn config(family: Family, random: &mut Random) -> Value {
    let kv_heads = random.within(1..4);
    let heads = kv_heads * random.within(1..5);
    let head_dim = 2 * random.within(2..21);
    // Only Qwen3 states its head size; there hidden_size is free.
    let hidden = match family {
        Family::Qwen3 => random.within(9..130),
        _ => heads * head_dim,
    };
    let mut config = json!({
        "hidden_size": hidden,
        "intermediate_size": 2 * random.within(4..100) + 1,
        "num_hidden_layers": random.within(1..4),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        // Padded or not: any number of rows.
        "vocab_size": random.within(30..400),
        "max_position_embeddings": 128,
        "rms_norm_eps": random.pick(&[1e-6, 1e-5]),
        "rope_theta": random.pick(&[1e4, 1e5, 1e6]),
        "tie_word_embeddings": random.flip(),
        "hidden_act": "silu",
    });
    let more = match family {
        Family::Llama => {
            json!({ "model_type": "llama", "attention_bias": false, "mlp_bias": false })
        }
        // Window fields as real checkpoints have them, switched off.
        Family::Qwen2 => json!({
            "model_type": "qwen2", "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 1,
        }),
        Family::Qwen3 => json!({
            "model_type": "qwen3", "use_sliding_window": false, "sliding_window": null, "max_window_layers": 1,
            "head_dim": head_dim, "attention_bias": random.flip(),
        }),
    };
    merge(&mut config, more);
    config
}

fn merge(config: &mut Value, more: Value) {
    let Value::Object(more) = more else {
        panic!("{more} is not an object")
    };
    config.as_object_mut().unwrap().extend(more);
}

/// Wavelengths of small heads lie on both sides of these bounds and between them.
fn llama3(random: &mut Random) -> Value {
    json!({ "rope_scaling": {
        "rope_type": "llama3", "factor": random.pick(&[2.0, 8.0, 32.0]), "low_freq_factor": 1.0,
        "high_freq_factor": random.pick(&[2.0, 4.0]), "original_max_position_embeddings": random.pick(&[64, 256, 8192]),
    }})
}

/// A model of candle-transformers with a KV cache of its own.
enum Theirs {
    Llama(Box<llama::Llama>, Box<llama::Cache>),
    Qwen2(Box<qwen2::ModelForCausalLM>),
    Qwen3(Box<qwen3::ModelForCausalLM>),
}

impl Theirs {
    fn load(family: Family, dir: &Path, config: &Value) -> Self {
        let read = |file: &str| std::fs::read(dir.join(file)).unwrap();
        let weights = read("model.safetensors");
        let vb = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
        match family {
            Family::Llama => {
                let config: llama::LlamaConfig = serde_json::from_value(config.clone()).unwrap();
                let config = config.into_config(false);
                let cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
                let model = llama::Llama::load(vb, &config).unwrap();
                Self::Llama(Box::new(model), Box::new(cache))
            }
            Family::Qwen2 => {
                let config: qwen2::Config = serde_json::from_value(config.clone()).unwrap();
                Self::Qwen2(Box::new(qwen2::ModelForCausalLM::new(&config, vb).unwrap()))
            }
            Family::Qwen3 => {
                let config: qwen3::Config = serde_json::from_value(config.clone()).unwrap();
                Self::Qwen3(Box::new(qwen3::ModelForCausalLM::new(&config, vb).unwrap()))
            }
        }
    }

    /// Logits of the last of `tokens`, which start at `position`.
    fn last_logits(&mut self, tokens: &[u32], position: usize) -> Vec<f32> {
        let input = Tensor::new(tokens, &Device::Cpu).unwrap();
        let input = input.unsqueeze(0).unwrap();
        let logits = match self {
            Self::Llama(model, cache) => model.forward(&input, position, cache),
            Self::Qwen2(model) => model.forward(&input, position),
            Self::Qwen3(model) => model.forward(&input, position),
        };
        logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }
}

#[test]
fn agrees_with_candle_transformers() {
    let mut worst = 0.0f32;
    for seed in 0..CASES {
        let mut random = Random(seed);
        let family = [Family::Llama, Family::Qwen2, Family::Qwen3][seed as usize % 3];
        let mut config = config(family, &mut random);
        // Every second Llama.
        if family == Family::Llama && seed % 2 == 0 {
            merge(&mut config, llama3(&mut random));
        }
        let dtype = random.pick(&[DType::F32, DType::F32, DType::BF16]);
        let dir = tempfile::tempdir().unwrap();
        random_model::write(dir.path(), &config, dtype, &mut random);
        let (model, vocab) = (
            Model::open(dir.path()),
            config["vocab_size"].as_u64().unwrap(),
        );
        let vocab = vocab as usize;
        let prompt = random.within(1..LONGEST_PROMPT);
        let tokens = random.tokens(prompt + DECODED, vocab);
        let mut theirs = Theirs::load(family, dir.path(), &config);
        let mut expected = theirs.last_logits(&tokens[..prompt], 0);
        for (position, token) in tokens.iter().enumerate().skip(prompt) {
            expected.extend(theirs.last_logits(std::slice::from_ref(token), position));
        }
        let block_size = random.pick(&[1, 5, 16, 32]);
        for backend in BACKENDS {
            let mut probe = Probe::new(&model, backend, DType::F32, block_size);
            let steps = |step| if step == 0 { prompt } else { 1 };
            let found = probe.logits(std::slice::from_ref(&tokens), steps);
            let found = &found[0][(prompt - 1) * vocab..];
            let off = relative_difference(found, &expected);
            println!("seed {seed} {family:?} {backend:?} {dtype:?}: {off:.2e}");
            assert!(
                off < TOLERANCE,
                "seed {seed}, {backend:?}, {dtype:?}: {off}\n{config}"
            );
            worst = worst.max(off);
        }
    }
    println!("largest difference from candle-transformers: {worst:.2e}");
}

/// All positions of two prompts, whole and in chunks of 3, against f64.
fn check_f64(what: &str, change: impl Fn(&mut Random) -> (Family, Value)) {
    for seed in 0..F64_CASES {
        let mut random = Random(seed);
        let (family, more) = change(&mut random);
        let mut config = config(family, &mut random);
        merge(&mut config, more);
        let dtype = random.pick(&[DType::F32, DType::F16, DType::BF16]);
        let dir = tempfile::tempdir().unwrap();
        random_model::write(dir.path(), &config, dtype, &mut random);
        let model = Model::open(dir.path());
        let prompts = [LONGEST_PROMPT, 11].map(|n| random.tokens(n, model.spec.vocab_size));
        let oracle = F64Model::open(dir.path());
        let expected = prompts.each_ref().map(|prompt| oracle.logits(prompt));
        for backend in BACKENDS {
            for chunk in [LONGEST_PROMPT, 3] {
                let mut probe = Probe::new(&model, backend, DType::F32, random.pick(&[1, 5, 16]));
                let found = probe.logits(&prompts, |_| chunk);
                for (found, expected) in found.iter().zip(&expected) {
                    let off = relative_difference(found, expected);
                    println!("{what} seed {seed} {family:?} {backend:?} chunk {chunk}: {off:.2e}");
                    assert!(
                        off < TOLERANCE,
                        "{what}, seed {seed}, {backend:?}: {off}\n{config}"
                    );
                }
            }
        }
    }
}

fn any_family(random: &mut Random) -> Family {
    random.pick(&[Family::Llama, Family::Qwen2, Family::Qwen3])
}

#[test]
fn plain_rope_agrees_with_f64() {
    check_f64("plain", |random| (any_family(random), json!({})));
}

#[test]
fn llama3_rope_agrees_with_f64() {
    check_f64("llama3", |random| (any_family(random), llama3(random)));
}

#[test]
fn linear_rope_agrees_with_f64() {
    check_f64("linear", |random| {
        let factor = random.pick(&[2.0, 3.5, 8.0]);
        let key = random.pick(&["rope_type", "type"]);
        (
            any_family(random),
            json!({ "rope_scaling": { key: "linear", "factor": factor } }),
        )
    });
}

#[test]
fn yarn_rope_agrees_with_f64() {
    check_f64("yarn", |random| {
        let mut scaling = json!({
            "rope_type": "yarn", "factor": random.pick(&[2.0, 4.0, 40.0]),
            "original_max_position_embeddings": random.pick(&[32, 512, 4096]),
        });
        if random.flip() {
            merge(&mut scaling, json!({ "beta_fast": 16.0, "beta_slow": 2.0 }));
        }
        if random.flip() {
            merge(&mut scaling, json!({ "attention_factor": 1.3 }));
        }
        (any_family(random), json!({ "rope_scaling": scaling }))
    });
}

#[test]
fn sliding_windows_agree_with_f64() {
    check_f64("window", |random| {
        let family = random.pick(&[Family::Qwen2, Family::Qwen3]);
        let window = random.pick(&[1, 2, 7, 16, 47]);
        // From every layer having a window to only the last.
        let first = random.within(0..3);
        let more = json!({
            "use_sliding_window": true, "sliding_window": window, "max_window_layers": first,
            "num_hidden_layers": 3,
        });
        (family, more)
    });
}

#[test]
fn llama_biases_agree_with_f64() {
    check_f64("bias", |random| {
        let attention = random.flip();
        let mlp = !attention || random.flip();
        (
            Family::Llama,
            json!({ "attention_bias": attention, "mlp_bias": mlp }),
        )
    });
}

/// Without its effect the tests above would prove nothing: each switch must move the f64 logits.
#[test]
fn every_switch_moves_the_oracle() {
    let switches = [
        json!({ "rope_theta": 123.0 }),
        json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }),
        json!({ "rope_scaling": {
            "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512 } }),
        json!({ "rope_scaling": { "type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64 } }),
        json!({ "use_sliding_window": true, "sliding_window": 7, "max_window_layers": 2 }),
        json!({ "rms_norm_eps": 0.1 }),
    ];
    let mut random = Random(1);
    let mut plain = config(Family::Qwen2, &mut random);
    merge(
        &mut plain,
        json!({ "num_hidden_layers": 3, "rope_theta": 1e4 }),
    );
    let dir = tempfile::tempdir().unwrap();
    random_model::write(dir.path(), &plain, DType::F32, &mut random);
    let tokens = random.tokens(LONGEST_PROMPT, 30);
    let before = F64Model::open(dir.path()).logits(&tokens);
    for switch in switches {
        let mut changed = plain.clone();
        merge(&mut changed, switch.clone());
        std::fs::write(dir.path().join("config.json"), changed.to_string()).unwrap();
        let after = F64Model::open(dir.path()).logits(&tokens);
        let moved = relative_difference(&after, &before);
        println!("{switch}: {moved:.2e}");
        assert!(moved > 1000.0 * TOLERANCE, "{switch}: {moved}");
    }
}

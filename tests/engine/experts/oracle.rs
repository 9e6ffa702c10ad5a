//! Random configurations against candle-transformers' Qwen3-MoE, and against a plain f64 forward pass for what that
//! lacks: dense layers by `mlp_only_layers`, and weights in FP8.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen3_moe;
use candlepower::parallel::{ShardPlan, Split};
use serde_json::{Value, json};

use crate::common::f64_model::F64Model;
use crate::common::probe::Probe;
use crate::common::random::Random;
use crate::common::{Backend, Model, random_model, relative_difference};

const BACKENDS: [Backend; 2] = [Backend::Cpu, Backend::Reference];
/// Of the largest logit of the case (at least of 1), as in `oracle.rs`.
const TOLERANCE: f32 = 1e-4;
const CASES: u64 = 16;
const DECODED: usize = 5;
const LONGEST_PROMPT: usize = 40;

/// Experts of 4 to 64, of which a token takes 1 to 8.
fn config(random: &mut Random) -> Value {
    let kv_heads = random.pick(&[1, 2, 4]);
    let experts = random.pick(&[4, 6, 8, 16, 30, 64]);
    json!({
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "hidden_size": random.within(9..100),
        "intermediate_size": 2 * random.within(4..60),
        "moe_intermediate_size": 2 * random.within(1..40),
        "num_experts": experts,
        "num_experts_per_tok": random.within(1..9).min(experts),
        "norm_topk_prob": random.flip(),
        "decoder_sparse_step": random.pick(&[1, 1, 2]),
        "num_hidden_layers": random.within(2..5),
        "num_attention_heads": kv_heads * random.within(1..4),
        "num_key_value_heads": kv_heads,
        "head_dim": 2 * random.within(2..21),
        "attention_bias": false,
        "vocab_size": random.within(30..300),
        "max_position_embeddings": 128,
        "max_window_layers": 1,
        "use_sliding_window": false,
        "sliding_window": null,
        "rms_norm_eps": 1e-6,
        "rope_theta": random.pick(&[1e4, 1e6]),
        "tie_word_embeddings": random.flip(),
        "hidden_act": "silu",
    })
}

#[test]
fn agrees_with_candle_transformers() {
    let mut worst = 0.0f32;
    for seed in 0..CASES {
        let mut random = Random(seed);
        let config = config(&mut random);
        let dtype = random.pick(&[DType::F32, DType::BF16]);
        let dir = tempfile::tempdir().unwrap();
        random_model::write(dir.path(), &config, dtype, &mut random);
        let model = Model::open(dir.path());
        let vocab = model.spec.vocab_size;
        let prompt = random.within(1..LONGEST_PROMPT);
        let tokens = random.tokens(prompt + DECODED, vocab);
        // Its weights are widened from what the file holds; it computes in f32.
        let weights = std::fs::read(dir.path().join("model.safetensors")).unwrap();
        let vb = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
        let theirs: qwen3_moe::Config = serde_json::from_value(config.clone()).unwrap();
        let mut theirs = qwen3_moe::ModelForCausalLM::new(&theirs, vb).unwrap();
        let mut last = |tokens: &[u32], position: usize| -> Vec<f32> {
            let input = Tensor::new(tokens, &Device::Cpu).unwrap();
            let logits = theirs.forward(&input.unsqueeze(0).unwrap(), position);
            logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let mut expected = last(&tokens[..prompt], 0);
        for (position, token) in tokens.iter().enumerate().skip(prompt) {
            expected.extend(last(std::slice::from_ref(token), position));
        }
        let block_size = random.pick(&[1, 5, 16, 32]);
        for backend in BACKENDS {
            let mut probe = Probe::new(&model, backend, DType::F32, block_size);
            let steps = |step| if step == 0 { prompt } else { 1 };
            let found = probe.logits(std::slice::from_ref(&tokens), steps);
            let off = relative_difference(&found[0][(prompt - 1) * vocab..], &expected);
            println!("seed {seed} {backend:?} {dtype:?}: {off:.2e}");
            assert!(off < TOLERANCE, "seed {seed}, {backend:?}: {off}\n{config}");
            worst = worst.max(off);
        }
    }
    println!("largest difference from candle-transformers: {worst:.2e}");
}

/// All positions of two prompts, whole and in chunks, over one rank and over some that the shapes allow.
fn check_f64(what: &str, seed: u64, config: &Value, random: &mut Random) {
    let dtype = random.pick(&[DType::F32, DType::BF16]);
    let dir = tempfile::tempdir().unwrap();
    random_model::write(dir.path(), config, dtype, random);
    let model = Model::open(dir.path());
    let prompts = [LONGEST_PROMPT, 11].map(|n| random.tokens(n, model.spec.vocab_size));
    let oracle = F64Model::open(dir.path());
    let expected = prompts.each_ref().map(|prompt| oracle.logits(prompt));
    let splits = [1, 2, 3, 4].into_iter().flat_map(|tp| {
        [false, true].map(|expert_parallel| Split {
            tp,
            expert_parallel,
        })
    });
    let legal = splits.filter(|split| ShardPlan::split(&model.spec.shape(), *split).is_ok());
    let cpu = legal.map(|split| (Backend::Cpu, split));
    for (backend, split) in cpu.chain([(Backend::Reference, 1.into())]) {
        for chunk in [LONGEST_PROMPT, 3] {
            let block_size = random.pick(&[1, 5, 16]);
            let mut probe = Probe::split(&model, backend, DType::F32, block_size, split);
            let found = probe.logits(&prompts, |_| chunk);
            for (found, expected) in found.iter().zip(&expected) {
                let off = relative_difference(found, expected);
                println!("{what} seed {seed} {backend:?} {split:?} chunk {chunk}: {off:.2e}");
                assert!(
                    off < TOLERANCE,
                    "{what}, seed {seed}, {backend:?}, {split:?}: {off}\n{config}"
                );
            }
        }
    }
}

#[test]
fn experts_among_dense_layers_agree_with_f64() {
    for seed in 0..CASES {
        let mut random = Random(100 + seed);
        let mut config = config(&mut random);
        let dense = [json!([]), json!([0]), json!([1]), json!([0, 2])];
        config["mlp_only_layers"] = dense[seed as usize % dense.len()].clone();
        check_f64("experts", seed, &config, &mut random);
    }
}

/// Blocks of the published size, which here are all cut short, and smaller ones that slices cut anywhere.
#[test]
fn fp8_agrees_with_f64() {
    for seed in 0..CASES {
        let mut random = Random(200 + seed);
        let mut config = config(&mut random);
        if random.flip() {
            config["architectures"] = json!(["Qwen3ForCausalLM"]);
            config["model_type"] = json!("qwen3");
        }
        let block = random.pick(&[[128, 128], [128, 128], [16, 32], [8, 8]]);
        let kept = [
            json!([]),
            json!(["lm_head", "model.layers.0"]),
            json!(["v_proj"]),
            json!(null),
        ];
        config["quantization_config"] = json!({
            "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
            "weight_block_size": block, "modules_to_not_convert": random.pick(&[0, 1, 2, 3]),
        });
        let list = config["quantization_config"]["modules_to_not_convert"]
            .as_u64()
            .unwrap();
        config["quantization_config"]["modules_to_not_convert"] = kept[list as usize].clone();
        check_f64("fp8", seed, &config, &mut random);
    }
}

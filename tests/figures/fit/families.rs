//! Real models of each family, by the sizes in their configurations: parameters as their publishers count them, and what a
//! token takes of the KV cache; quantised ones against the weights that vLLM logged.

use candlepower::parallel::{ShardPlan, Split};
use candlepower::shape::reading::{Files, Named, read};
use candlepower::shape::{Format, ModelShape, ShapeError, TensorSpec};
use serde_json::{Value, json};

const GIB: f64 = (1_u64 << 30) as f64;
/// Of parameters and KV bytes.
const NEAR: f64 = 0.005;
/// Of vLLM's weights, which hold a rotary table and leftovers of loading too.
const NEAR_LOGGED: f64 = 0.02;

fn fixture(name: &str) -> Vec<Value> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/fit/");
    let text = std::fs::read_to_string(format!("{dir}{name}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn shape_of(config: &Value) -> Result<ModelShape, ShapeError> {
    read(&Files {
        config: Named {
            text: &config.to_string(),
            name: "config.json",
        },
        beside: None,
        headers: None,
    })
}

fn parameters(shape: &ModelShape) -> f64 {
    let of = |tensor: &TensorSpec| match tensor.format {
        Format::Scale { .. } => 0,
        _ => tensor.elements(),
    };
    shape.tensors.iter().map(of).sum::<u64>() as f64
}

#[test]
fn each_family_has_the_parameters_and_the_kv_bytes_that_are_published() {
    let mut off = Vec::new();
    for row in fixture("families.json") {
        let name = row["model"].as_str().unwrap();
        let shape = match shape_of(&row["config"]) {
            Ok(shape) => shape,
            Err(error) => {
                off.push(format!("{name}: {error}"));
                continue;
            }
        };
        let mut near = |what: &str, found: f64, published: &Value| {
            let published = published.as_f64().unwrap();
            if (found / published - 1.0).abs() > NEAR {
                let error = 100.0 * (found / published - 1.0);
                off.push(format!(
                    "{name}: {what} {found} of {published}, {error:+.2} %"
                ));
            }
        };
        near("parameters", parameters(&shape), &row["parameters"]);
        let kv = shape.kv_bytes_per_token(1, 2);
        near("KV bytes", kv as f64, &row["kv_bytes_per_token"]);
        if let Some(state) = row.get("state_elements") {
            let states = shape.layers.iter().filter_map(|layer| layer.state);
            let elements: usize = states.map(|state| state.conv + state.temporal).sum();
            near("state", elements as f64, state);
        }
    }
    assert!(off.is_empty(), "\n{}", off.join("\n"));
}

#[test]
fn quantised_checkpoints_have_the_weights_that_were_logged() {
    let mut off = Vec::new();
    for row in fixture("quantised.json") {
        let case = row["case"].as_str().unwrap();
        let shape = shape_of(&row["config"]).unwrap();
        let tp = row["tp"].as_u64().unwrap() as usize;
        let plan = ShardPlan::split(&shape, Split::from(tp)).unwrap();
        let bytes = plan.weight_bytes(0, |tensor, held| tensor.bytes(held, 2));
        let (found, logged) = (bytes as f64 / GIB, row["weights_gib"].as_f64().unwrap());
        if (found / logged - 1.0).abs() > NEAR_LOGGED {
            off.push(format!("{case}: {found:.3} of {logged}"));
        }
    }
    assert!(off.is_empty(), "\n{}", off.join("\n"));
}

fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 128256, "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
    })
}

/// Quantised as `quantization` says, GiB in all.
fn gib(key: &str, quantization: Value) -> Result<f64, ShapeError> {
    let mut config = llama();
    config[key] = quantization;
    let shape = shape_of(&config)?;
    let bytes = |tensor: &TensorSpec| tensor.bytes(tensor.elements(), 2);
    Ok(shape.tensors.iter().map(bytes).sum::<u64>() as f64 / GIB)
}

#[test]
fn a_quantisation_is_seen_wherever_it_is_stated_or_refused_by_name() {
    let plain = gib("unused", json!({})).unwrap();
    let config = "quantization_config";
    let groups = |bits: usize, kind: &str, group: usize| {
        json!({"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": bits, "type": kind, "group_size": group, "strategy": "group"},
        }}})
    };
    for (key, quantization, part_of_16_bits) in [
        (
            config,
            json!({"quant_method": "awq", "bits": 4, "group_size": 128}),
            0.26,
        ),
        (
            config,
            json!({"quant_method": "gptq", "bits": 4, "group_size": -1}),
            0.25,
        ),
        (
            config,
            json!({"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": true}),
            0.51,
        ),
        (
            config,
            json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": false}),
            0.26,
        ),
        (config, groups(4, "int", 128), 0.26),
        ("compression_config", groups(4, "int", 128), 0.26),
        (config, groups(4, "float", 16), 0.28),
        (config, groups(8, "int", 0), 0.5),
        (
            config,
            json!({"quant_method": "fp8", "activation_scheme": "static"}),
            0.5,
        ),
        (
            config,
            json!({"quant_method": "fp8", "weight_block_size": [128, 128]}),
            0.5,
        ),
        (config, json!({"quant_method": "fbgemm_fp8"}), 0.5),
        (
            config,
            json!({"quant_method": "modelopt", "quant_algo": "NVFP4"}),
            0.28,
        ),
        (
            config,
            json!({"quant_method": "bitsandbytes", "load_in_8bit": true}),
            0.5,
        ),
        (
            config,
            json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_use_double_quant": false}),
            0.28,
        ),
        (
            config,
            json!({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}),
            0.2656,
        ),
        (
            config,
            json!({"quant_method": "torchao", "quant_type": "float8dq"}).clone(),
            0.5,
        ),
        ("quantization", json!({"quant_algo": "FP8"}), 0.5),
    ] {
        let words = quantization.to_string();
        let linear = plain - 2.0 * 128_256.0 * 4096.0 * 2.0 / GIB;
        let wanted = plain - linear * (1.0 - part_of_16_bits);
        let found = gib(key, quantization).unwrap();
        assert!(
            (found / wanted - 1.0).abs() < 0.01,
            "{words}: {found} of {wanted}"
        );
    }
    for (key, quantization, name) in [
        (config, json!({"quant_method": "aqlm"}), "aqlm"),
        (
            config,
            json!({"quant_method": "fp8", "fmt": "e5m2"}),
            "fp8 in e5m2",
        ),
        (
            config,
            json!({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}),
            "MIXED_PRECISION",
        ),
        (
            "quantization",
            json!({"bits": 4, "group_size": 64}),
            "MLX in 4 bits",
        ),
        (config, json!({"bits": 4}), "an unnamed method"),
    ] {
        let message = gib(key, quantization).unwrap_err().to_string();
        assert!(
            message.contains(name) && message.contains("headers"),
            "{message}"
        );
    }
}

#[test]
fn what_is_excluded_keeps_its_type() {
    let all = gib(
        "quantization_config",
        json!({"quant_method": "awq", "bits": 4, "group_size": 128}),
    )
    .unwrap();
    let but_one = json!({"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["down_proj"]});
    let but_one = gib("quantization_config", but_one).unwrap();
    let down = 32.0 * 4096.0 * 14336.0 / GIB;
    assert!(
        (but_one - all - down * (2.0 - 0.5195)).abs() < 0.01,
        "{all} {but_one}"
    );
}

#[test]
fn an_unknown_family_is_refused_by_name_without_headers() {
    let mut config = llama();
    config["model_type"] = json!("mamba9");
    let message = shape_of(&config).unwrap_err().to_string();
    assert!(
        message.contains("mamba9") && message.contains("headers"),
        "{message}"
    );
}

/// The engine's own reading and this one are of the same models.
#[test]
fn the_engine_s_models_are_read_alike() {
    for card in candlepower::models() {
        let spec = candlepower::model::ModelSpec::from_json(card.config_json, card.name).unwrap();
        let config: Value = serde_json::from_str(card.config_json).unwrap();
        let (own, read) = (spec.outline(), shape_of(&config).unwrap());
        assert_eq!(own.layers, read.layers, "{}", card.name);
        assert_eq!(own.positions, read.positions, "{}", card.name);
        assert_eq!(
            own.tie_word_embeddings, read.tie_word_embeddings,
            "{}",
            card.name
        );
        assert_eq!(parameters(&own), parameters(&spec.shape()), "{}", card.name);
        let ratio = parameters(&own) / parameters(&read);
        assert!((ratio - 1.0).abs() < 1e-4, "{}: {ratio}", card.name);
        for tp in [1, 2, 4] {
            for whole in [false, true] {
                let split = Split {
                    tp,
                    expert_parallel: whole,
                };
                let held = |shape: &ModelShape| {
                    let plan = ShardPlan::split(shape, split).ok()?;
                    Some(plan.weight_bytes(0, |tensor, held| tensor.bytes(held, 2)))
                };
                assert_eq!(held(&own), held(&spec.shape()), "{} {split:?}", card.name);
            }
        }
    }
}

/// However many experts: what is worked out for an answer is an entry for each kind of weight of each layer.
#[test]
fn the_largest_plan_is_little_work() {
    let card = candlepower::models()
        .iter()
        .find(|card| card.name == "Qwen3-235B-A22B-FP8")
        .unwrap();
    let spec = candlepower::model::ModelSpec::from_json(card.config_json, card.name).unwrap();
    let (named, entries) = (spec.shape().tensors.len(), spec.outline().tensors.len());
    assert!(
        named > 70_000 && entries < 25 * spec.num_hidden_layers,
        "{named} {entries}"
    );
}

//! The shard plan as data: experts, FP8 blocks and their scales, checked against real headers and by count.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candlepower::hub::{CARDS, weights_in};
use candlepower::model::tensors::expected;
use candlepower::model::{Checkpoint, ModelSpec};
use candlepower::parallel::{ShardPlan, Split};
use candlepower::shape::{Format, Role, TensorSpec};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn spec_in(dir: &Path) -> ModelSpec {
    let text = fs::read_to_string(dir.join("config.json")).unwrap();
    ModelSpec::from_json(&text, "config.json").unwrap()
}

fn card(name: &str) -> ModelSpec {
    let card = CARDS.iter().find(|card| card.name == name).unwrap();
    ModelSpec::from_json(card.config_json, name).unwrap()
}

fn whole(tp: usize) -> Split {
    Split {
        tp,
        expert_parallel: true,
    }
}

/// A mixture of experts of small odd sizes with a dense layer among its sparse ones.
fn mixed(quantised: bool) -> ModelSpec {
    let mut config = json!({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
        "hidden_size": 256, "intermediate_size": 768, "moe_intermediate_size": 384,
        "num_experts": 8, "num_experts_per_tok": 2, "decoder_sparse_step": 2,
        "mlp_only_layers": [3], "num_hidden_layers": 6, "num_attention_heads": 8,
        "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000,
        "max_position_embeddings": 512, "tie_word_embeddings": false
    });
    if quantised {
        config["quantization_config"] =
            json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    }
    ModelSpec::from_json(&config.to_string(), "config.json").unwrap()
}

/// Every tensor of the headers is expected with its shape, and none beside them.
#[test]
fn names_and_shapes_are_those_of_the_checkpoints() {
    for name in ["qwen3-moe-tiny", "qwen3-fp8-tiny", "qwen3-moe-fp8-tiny"] {
        let dir = fixture(name);
        let spec = spec_in(&dir);
        let checkpoint = Checkpoint::open(&weights_in(&dir).unwrap(), &spec).unwrap();
        assert_eq!(checkpoint.warnings, Vec::<String>::new(), "{name}");
        for tensor in expected(&spec) {
            let stored = checkpoint.stored_bytes(&tensor.name).unwrap();
            let fp8 = tensor.format == Format::Fp8;
            assert_eq!(stored == 1, fp8, "{name}: {}", tensor.name);
        }
    }
}

#[test]
fn sparse_layers_are_those_of_the_config() {
    let tensors = expected(&mixed(false));
    let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
    // Every second layer but the third: 1 and 5.
    for layer in 0..6 {
        let sparse = [1, 5].contains(&layer);
        let layer = format!("model.layers.{layer}.mlp");
        assert_eq!(has(&format!("{layer}.gate.weight")), sparse);
        assert_eq!(has(&format!("{layer}.experts.7.up_proj.weight")), sparse);
        assert_eq!(has(&format!("{layer}.up_proj.weight")), !sparse);
    }
}

#[test]
fn modules_that_are_not_converted_keep_their_type() {
    let mut spec = mixed(true);
    let quantization = spec.quantization.as_mut().unwrap();
    quantization.modules_to_not_convert = vec!["model.layers.0".to_owned(), "lm_head".to_owned()];
    for tensor in expected(&spec) {
        let projection = tensor.name.contains("_proj.weight");
        let converted = projection && tensor.layer != Some(0);
        let plain = tensor.format == Format::Plain;
        assert_eq!(plain, !converted, "{}", tensor.name);
    }
    // By the end of a name too.
    let names = vec!["down_proj".to_owned()];
    spec.quantization.as_mut().unwrap().modules_to_not_convert = names;
    for tensor in expected(&spec) {
        let converted = tensor.name.contains("_proj.weight") && !tensor.name.contains("down");
        let plain = tensor.format == Format::Plain;
        assert_eq!(plain, !converted, "{}", tensor.name);
    }
    // Layer 1 is no part of a module named "model.layers.10".
    let name = "model.layers.10";
    spec.quantization.as_mut().unwrap().modules_to_not_convert = vec![name.to_owned()];
    assert!(expected(&spec).iter().all(|t| t.format != Format::Plain
        || t.layer != Some(1)
        || !t.name.contains("_proj.weight")));
}

fn elements(tensor: &TensorSpec) -> u64 {
    tensor.shape.iter().map(|&n| n as u64).product()
}

/// Each element is held once, but for what is replicated.
#[test]
fn ranks_hold_everything_between_them() {
    for spec in [mixed(false), mixed(true)] {
        for split in [1.into(), 2.into(), 4.into(), whole(2), whole(8)] {
            let plan = ShardPlan::split(&spec.shape(), split).unwrap();
            for part in plan.tensors() {
                let held: u64 = (0..split.tp).map(|rank| part.elements(rank)).sum();
                let all = elements(part.tensor) * part.replicas() as u64;
                let name = &part.tensor.name;
                match part.tensor.format {
                    // Neighbours may share a block: both hold its scale.
                    Format::Scale { .. } => assert!(held >= all, "{name} {split:?}"),
                    _ if matches!(part.tensor.role, Role::Embedding | Role::Head) => {
                        assert!(held >= all)
                    }
                    _ => assert_eq!(held, all, "{name} {split:?}"),
                }
            }
        }
    }
}

/// Of a weight's own rows, the scales are those of every block that they touch, by their global place.
#[test]
fn scales_follow_the_global_row() {
    // 384 rows over 2 ranks: 192 each, one block and a half.
    let plan = ShardPlan::new(&mixed(true).shape(), 2).unwrap();
    let slice = |name: &str, rank: usize| {
        let slice = plan.tensor(name).unwrap().slice(rank).unwrap();
        (slice.axis, slice.range)
    };
    let up = "model.layers.1.mlp.experts.5.up_proj.weight";
    assert_eq!(slice(up, 1), (0, 192..384));
    assert_eq!(slice(&format!("{up}_scale_inv"), 0), (0, 0..2));
    assert_eq!(slice(&format!("{up}_scale_inv"), 1), (0, 1..3));
    let down = "model.layers.1.mlp.experts.5.down_proj.weight";
    assert_eq!(slice(&format!("{down}_scale_inv"), 1), (1, 1..3));
    let kv = "model.layers.0.self_attn.k_proj.weight";
    assert_eq!(slice(&format!("{kv}_scale_inv"), 1), (0, 0..1));
}

#[test]
fn whole_experts_are_on_one_rank() {
    let plan = ShardPlan::split(&mixed(true).shape(), whole(4)).unwrap();
    for rank in 0..4 {
        let shape = plan.rank_shape(rank);
        assert_eq!(shape.experts, 2 * rank..2 * rank + 2);
        assert_eq!((shape.moe_intermediate_size, shape.num_heads), (384, 2));
        for expert in 0..8 {
            let name = format!("model.layers.5.mlp.experts.{expert}.down_proj.weight_scale_inv");
            let held = plan.tensor(&name).unwrap().slice(rank).is_some();
            assert_eq!(held, shape.experts.contains(&expert));
        }
    }
    let router = plan.tensor("model.layers.5.mlp.gate.weight").unwrap();
    assert_eq!(router.elements(3), elements(router.tensor));
}

/// The report's largest models, GiB on each rank: the figures of the notes.
#[test]
fn the_largest_models_have_their_known_bytes() {
    let gib = |name: &str, split: Split| {
        let plan = ShardPlan::split(&card(name).shape(), split).unwrap();
        let bytes = plan.weight_bytes(0, |tensor, held| match tensor.format {
            Format::Plain => 2 * held,
            Format::Fp8 => held,
            Format::Scale { .. } => 4 * held,
            Format::Packed { .. } | Format::Loose => panic!("{} is packed", tensor.name),
        });
        bytes as f64 / (1u64 << 30) as f64
    };
    let near = |found: f64, known: f64| assert!((found - known).abs() < 0.05, "{found} {known}");
    near(gib("Qwen3-235B-A22B", 8.into()), 54.9);
    near(gib("Qwen3-235B-A22B-FP8", 4.into()), 55.1);
    near(gib("Qwen3-235B-A22B-FP8", whole(8)), 27.65);
    // 192 of 128: half of a block's scale is held twice, nothing else differs.
    near(gib("Qwen3-235B-A22B-FP8", 8.into()), 27.65);
    let spec = card("Qwen3-235B-A22B");
    let all: u64 = expected(&spec).iter().map(elements).sum();
    assert_eq!(all, spec.parameters());
}

/// What fit makes of the plain model is what was published.
#[test]
fn a_shape_in_fp8_is_that_of_the_fp8_checkpoint() {
    let (plain, fp8) = (
        card("Qwen3-235B-A22B").shape(),
        card("Qwen3-235B-A22B-FP8").shape(),
    );
    let made = plain.in_fp8([128, 128]);
    assert_eq!(made.quantization, fp8.quantization);
    assert!(made.tensors.iter().eq(fp8.tensors.iter()));
    assert!(!plain.tensors.iter().eq(fp8.tensors.iter()));
}

#[test]
fn a_plan_of_seventy_thousand_tensors_is_quick() {
    let spec = card("Qwen3-235B-A22B-FP8");
    let start = Instant::now();
    let plan = ShardPlan::split(&spec.shape(), whole(8)).unwrap();
    let bytes = plan.weight_bytes(0, |tensor, held| tensor.bytes(held, 2));
    let took = start.elapsed();
    println!("{} tensors, {bytes} bytes, {took:?}", plan.tensors().len());
    assert!(plan.tensors().len() > 72_000);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn splits_that_shapes_forbid_say_why() {
    let rule = |split: Split| ShardPlan::split(&mixed(false).shape(), split).unwrap_err();
    let error = rule(16.into());
    assert!(error.to_string().contains("8 attention heads"), "{error}");
    assert_eq!(error.legal, [1, 2, 4, 8]);
    let mut spec = mixed(false);
    spec.experts.as_mut().unwrap().moe_intermediate_size = 100;
    let error = ShardPlan::new(&spec.shape(), 8).unwrap_err().to_string();
    let said = "100 intermediate features of an expert cannot be shared evenly by 8 ranks";
    assert!(error.contains(said), "{error}");
    assert!(ShardPlan::split(&spec.shape(), whole(8)).is_ok());
    spec.experts.as_mut().unwrap().num_experts = 6;
    let error = ShardPlan::split(&spec.shape(), whole(4))
        .unwrap_err()
        .to_string();
    assert!(error.contains("6 experts"), "{error}");
    let dense = ShardPlan::split(&card("QwQ-32B").shape(), whole(2)).unwrap_err();
    assert!(dense.to_string().contains("dense model"), "{dense}");
}

#[test]
fn quantisation_is_read_or_refused_by_name() {
    let config = |quantization: Value| {
        let mut config = json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 256,
            "intermediate_size": 384, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 512,
            "max_position_embeddings": 512
        });
        config["quantization_config"] = quantization;
        ModelSpec::from_json(&config.to_string(), "config.json")
    };
    let known = |quantization| {
        let spec = config(quantization).unwrap();
        spec.check_runnable("config.json")
    };
    let block = json!([128, 128]);
    assert!(known(json!({"quant_method": "fp8", "weight_block_size": block})).is_ok());
    for other in [
        json!({"quant_method": "awq", "bits": 4}),
        json!({"quant_method": "fp8"}),
    ] {
        let error = known(other).unwrap_err().to_string();
        assert!(error.contains("weight_block_size"), "{error}");
    }
    for wrong in [json!([128]), json!([128, 0]), json!("128")] {
        let error = config(json!({"quant_method": "fp8", "weight_block_size": wrong}));
        assert!(error.unwrap_err().to_string().contains("weight_block_size"));
    }
    let wrong = json!({"quant_method": "fp8", "modules_to_not_convert": 3});
    let error = config(wrong).unwrap_err().to_string();
    assert!(error.contains("modules_to_not_convert"), "{error}");
}

//! Files of such models: the stacked layout, and what can be wrong with scales.

use std::collections::{BTreeMap, HashMap};

use candle_core::safetensors::{load, save};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use crate::cli_support::{Copy, generate_exactly, golden, refused, refused_with, run};

const SHARDS: [&str; 2] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

/// A fixture in one file, its tensors changed.
fn changed(name: &str, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> Copy {
    let copy = Copy::of(name);
    let mut tensors = HashMap::new();
    for file in SHARDS.into_iter().chain(["model.safetensors"]) {
        if copy.file(file).exists() {
            tensors.extend(load(copy.file(file), &Device::Cpu).unwrap());
            copy.remove(file);
        }
    }
    let index = copy.file("model.safetensors.index.json");
    if index.exists() {
        std::fs::remove_file(index).unwrap();
    }
    change(&mut tensors);
    save(&tensors, copy.file("model.safetensors")).unwrap();
    copy
}

/// As transformers holds experts: gate over up, one matrix an expert.
fn stack(tensors: &mut HashMap<String, Tensor>) {
    let mut stacks: BTreeMap<String, BTreeMap<(usize, u8), Tensor>> = BTreeMap::new();
    tensors.retain(|name, tensor| {
        let Some((module, rest)) = name.split_once(".experts.") else {
            return true;
        };
        let [expert, projection, weight] = rest.split('.').collect::<Vec<_>>()[..] else {
            panic!("{name}");
        };
        let (stack, place) = match projection {
            "gate_proj" => ("gate_up_proj", 0),
            "up_proj" => ("gate_up_proj", 1),
            _ => ("down_proj", 0),
        };
        let suffix = weight.strip_prefix("weight").unwrap();
        let stacked = stacks.entry(format!("{module}.experts.{stack}{suffix}"));
        let key = (expert.parse().unwrap(), place);
        stacked.or_default().insert(key, tensor.clone());
        false
    });
    for (name, parts) in stacks {
        let experts = parts.keys().map(|(expert, _)| expert + 1).max().unwrap();
        let parts: Vec<&Tensor> = parts.values().collect();
        // candle cannot join e4m3: its bytes are those of f32 numbers that it holds exactly.
        let dtype = parts[0].dtype();
        let wide: Vec<Tensor> = parts
            .iter()
            .map(|p| p.to_dtype(DType::F32).unwrap())
            .collect();
        let all = Tensor::cat(&wide, 0).unwrap();
        let (rows, columns) = all.dims2().unwrap();
        let all = all.reshape((experts, rows / experts, columns)).unwrap();
        tensors.insert(name, all.to_dtype(dtype).unwrap());
    }
}

fn greedy(model: &str, name: &str, more: &[&str]) -> (Value, Value) {
    let (prompt, expected) = golden(name, 2);
    let outcome = generate_exactly(model, &prompt, more);
    assert_eq!(outcome.stderr, "", "{name}");
    (outcome.json()["token_ids"].clone(), expected)
}

#[test]
fn the_stacked_layout_gives_the_same_tokens() {
    for name in ["qwen3-moe-tiny", "qwen3-moe-fp8-tiny"] {
        let stacked = changed(name, stack);
        for split in [
            &["--tp", "1"][..],
            &["--tp", "4"],
            &["--tp", "4", "--expert-parallel"],
        ] {
            let (found, golden) = greedy(stacked.path(), name, split);
            assert_eq!(found, golden, "{name}, {split:?}");
        }
    }
}

#[test]
fn the_stacked_layout_is_checked_by_its_headers() {
    let name = "qwen3-moe-fp8-tiny";
    let module = "model.layers.1.mlp.experts";
    for tensor in ["gate_up_proj", "down_proj", "down_proj_scale_inv"] {
        let tensor = format!("{module}.{tensor}");
        let missing = changed(name, |tensors| {
            stack(tensors);
            tensors.remove(&tensor).unwrap();
        });
        refused(
            &["bench", "--model", missing.path()],
            &[&format!("{tensor} is missing")],
        );
    }
    // As if transposed.
    let tensor = format!("{module}.gate_up_proj_scale_inv");
    let turned = changed(name, |tensors| {
        stack(tensors);
        let short = tensors[&tensor]
            .narrow(1, 0, 1)
            .unwrap()
            .contiguous()
            .unwrap();
        tensors.insert(tensor.clone(), short);
    });
    refused(
        &["bench", "--model", turned.path()],
        &[&format!("{tensor} is [8, 1, 2], expected [8, 2, 2]")],
    );
}

#[test]
fn scales_that_are_missing_or_wrong_are_named() {
    for (name, tensor) in [
        (
            "qwen3-fp8-tiny",
            "model.layers.1.mlp.down_proj.weight_scale_inv",
        ),
        (
            "qwen3-moe-fp8-tiny",
            "model.layers.0.mlp.experts.5.up_proj.weight_scale_inv",
        ),
        (
            "qwen3-moe-fp8-tiny",
            "model.layers.1.self_attn.o_proj.weight_scale_inv",
        ),
    ] {
        let missing = changed(name, |tensors| {
            tensors.remove(tensor).unwrap();
        });
        refused(
            &["bench", "--model", missing.path()],
            &[&format!("{tensor} is missing")],
        );
        let turned = changed(name, |tensors| {
            let (rows, columns) = tensors[tensor].dims2().unwrap();
            let other = tensors[tensor].reshape((rows * columns, 1)).unwrap();
            let other = Tensor::cat(&[&other, &other], 0).unwrap();
            tensors.insert(tensor.to_owned(), other);
        });
        refused(&["bench", "--model", turned.path()], &[tensor, "expected"]);
        let coarse = changed(name, |tensors| {
            let other = tensors[tensor].to_dtype(DType::U8).unwrap();
            tensors.insert(tensor.to_owned(), other);
        });
        refused(
            &["bench", "--model", coarse.path()],
            &[&format!("{tensor} is U8"), "f32, bf16"],
        );
        for wrong in [f32::NAN, f32::INFINITY, -1.0] {
            let spoilt = changed(name, |tensors| {
                let shape = tensors[tensor].dims().to_vec();
                let dtype = tensors[tensor].dtype();
                let other = Tensor::full(wrong, shape, &Device::Cpu).unwrap();
                tensors.insert(tensor.to_owned(), other.to_dtype(dtype).unwrap());
            });
            refused_with(
                1,
                &["bench", "--model", spoilt.path(), "--quiet"],
                &[tensor, &format!("{wrong}")],
            );
        }
    }
}

#[test]
fn weights_of_another_type_than_the_config_says_are_named() {
    let tensor = "model.layers.0.self_attn.q_proj.weight";
    let plain = changed("qwen3-fp8-tiny", |tensors| {
        let wide = tensors[tensor].to_dtype(DType::BF16).unwrap();
        tensors.insert(tensor.to_owned(), wide);
    });
    refused(
        &["bench", "--model", plain.path()],
        &[&format!("{tensor} is BF16"), "modules_to_not_convert"],
    );
    // And with the module listed it is read as it is; its scales are not used.
    plain.edit("config.json", |config| {
        let kept = &mut config["quantization_config"]["modules_to_not_convert"];
        let list = kept.as_array_mut().unwrap();
        list.push("model.layers.0.self_attn.q_proj".into());
    });
    let args = [
        "generate",
        "--model",
        plain.path(),
        "--prompt-ids",
        "1",
        "--max-tokens",
        "2",
    ];
    let outcome = run(&args).succeeded();
    assert!(
        outcome.stderr.contains("1 tensors are not used"),
        "{outcome:?}"
    );
    let quantised = changed("qwen3-tiny", |tensors| {
        let narrow = tensors[tensor].to_dtype(DType::F8E4M3).unwrap();
        tensors.insert(tensor.to_owned(), narrow);
    });
    refused(
        &["bench", "--model", quantised.path()],
        &[&format!("{tensor} is F8_E4M3"), "not quantised"],
    );
}

#[test]
fn a_nan_among_weights_is_named() {
    let tensor = "model.layers.1.mlp.experts.3.down_proj.weight";
    let spoilt = changed("qwen3-moe-fp8-tiny", |tensors| {
        let shape = tensors[tensor].dims().to_vec();
        let nan = Tensor::full(f32::NAN, shape, &Device::Cpu).unwrap();
        tensors.insert(tensor.to_owned(), nan.to_dtype(DType::F8E4M3).unwrap());
    });
    refused_with(
        1,
        &["bench", "--model", spoilt.path(), "--quiet"],
        &[tensor, "NaN"],
    );
}

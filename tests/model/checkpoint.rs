//! The same weights in other files: shards or one file, three number formats, a slice of the layers.

use std::collections::HashMap;
use std::path::Path;

use crate::cli_support::{self, Copy, generate_exactly, run};
use candle_core::{DType, Device, Tensor, safetensors};
use candlepower::hub::weights_in;
use candlepower::model::tensors::expected;
use candlepower::model::{Checkpoint, ModelSpec, WeightSource};
use candlepower::shape::TensorSpec;
use serde_json::Value;

const SHARDED: [&str; 3] = ["llama-tiny", "qwen2-tiny", "qwen3-tiny"];
const SHARDS: [&str; 2] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];
const INDEX: &str = "model.safetensors.index.json";

fn spec(dir: &Path) -> ModelSpec {
    let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
    ModelSpec::from_json(&text, "config.json").unwrap()
}

/// The fixture with all its tensors in one file, in `dtype` where that is given.
fn in_one_file(name: &str, dtype: Option<DType>) -> Copy {
    let copy = Copy::of(name);
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for shard in SHARDS {
        tensors.extend(safetensors::load(copy.file(shard), &Device::Cpu).unwrap());
        copy.remove(shard);
    }
    copy.remove(INDEX);
    if let Some(dtype) = dtype {
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_dtype(dtype).unwrap();
        }
    }
    safetensors::save(&tensors, copy.file("model.safetensors")).unwrap();
    copy
}

/// A whole tensor as f32, through the source's own reading of rows.
fn values(source: &Checkpoint, tensor: &TensorSpec) -> Vec<f32> {
    let tensor = match tensor.shape[..] {
        [len] => source.vector(tensor, 0..len).unwrap(),
        [rows, columns] => source.block(tensor, 0..rows, 0..columns).unwrap(),
        _ => panic!("{tensor:?}"),
    };
    let tensor = tensor.to_dtype(DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn open(copy: &Copy) -> (ModelSpec, Checkpoint) {
    let spec = spec(copy.dir.path());
    let checkpoint = Checkpoint::open(&weights_in(copy.dir.path()).unwrap(), &spec).unwrap();
    (spec, checkpoint)
}

fn golden(name: &str) -> (String, Value) {
    cli_support::golden(name, 1)
}

/// What `model` makes of the prompt of the fixture `name`.
fn greedy(model: &Copy, name: &str, more: &[&str]) -> Value {
    let (prompt, _) = golden(name);
    let outcome = generate_exactly(model.path(), &prompt, more);
    outcome.json()["token_ids"].clone()
}

#[test]
fn shards_and_one_file_hold_the_same() {
    for name in SHARDED {
        let (shards, single) = (Copy::of(name), in_one_file(name, None));
        let (spec, a) = open(&shards);
        let (_, b) = open(&single);
        assert!(a.warnings.is_empty() && b.warnings.is_empty());
        for tensor in expected(&spec) {
            let name = &tensor.name;
            assert_eq!(a.dtype(&tensor).unwrap(), b.dtype(&tensor).unwrap());
            assert_eq!(values(&a, &tensor), values(&b, &tensor), "{name}");
        }
    }
}

#[test]
fn part_of_a_matrix_is_that_part() {
    let (spec, checkpoint) = open(&Copy::of("qwen2-tiny"));
    let width = spec.hidden_size;
    let table = expected(&spec).swap_remove(0);
    let all = values(&checkpoint, &table);
    let part = checkpoint.block(&table, 17..20, 0..width).unwrap();
    let part: Vec<f32> = part
        .to_dtype(DType::F32)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    assert_eq!(part, all[17 * width..20 * width]);
    let beyond = checkpoint
        .block(&table, 0..spec.vocab_size + 1, 0..width)
        .unwrap_err()
        .to_string();
    assert!(beyond.contains("model.embed_tokens.weight"), "{beyond}");
    let wider = TensorSpec {
        shape: vec![spec.vocab_size, width + 1],
        ..table.clone()
    };
    assert!(checkpoint.block(&wider, 0..1, 0..width).is_err());
    let other = TensorSpec {
        name: "no.such.tensor".to_owned(),
        ..table
    };
    assert!(checkpoint.block(&other, 0..1, 0..width).is_err());
}

#[test]
fn number_formats_agree() {
    for name in SHARDED {
        let (spec, plain) = open(&Copy::of(name));
        let stored = plain.weight_dtype();
        // Half the last place of the narrower format: 8 bits of bf16, 11 of f16.
        for (dtype, tolerance) in [
            (DType::F32, 0.0),
            (DType::BF16, 0.004),
            (DType::F16, 0.0005),
        ] {
            let copy = in_one_file(name, Some(dtype));
            let (_, other) = open(&copy);
            assert_eq!(other.weight_dtype(), dtype);
            let tolerance = if dtype == stored { 0.0 } else { tolerance };
            for tensor in expected(&spec) {
                let a = values(&plain, &tensor);
                let b = values(&other, &tensor);
                for (x, y) in a.iter().zip(&b) {
                    // Below 2^-14 f16 has fewer bits.
                    let error = (x - y).abs();
                    assert!(
                        error <= tolerance * x.abs() + 4e-8,
                        "{}: {x} {y}",
                        tensor.name
                    );
                }
            }
            if tolerance == 0.0 {
                assert_eq!(
                    greedy(&copy, name, &[]),
                    golden(name).1,
                    "{name} in {dtype:?}"
                );
            }
        }
    }
}

#[test]
fn a_slice_is_the_model_with_fewer_layers() {
    for name in SHARDED {
        let whole = Copy::of(name);
        let layers = spec(whole.dir.path()).num_hidden_layers;
        let all = layers.to_string();
        assert_eq!(greedy(&whole, name, &["--layers", &all]), golden(name).1);
        let slice = greedy(&whole, name, &["--layers", "1"]);
        assert_ne!(slice, golden(name).1);
        let short = Copy::of(name).with_config("num_hidden_layers", serde_json::json!(1));
        assert_eq!(slice, greedy(&short, name, &["--quiet"]));
    }
}

#[test]
fn a_slice_says_in_one_line_what_it_leaves() {
    let model = cli_support::fixture("llama-tied-tiny");
    let args = [
        "generate",
        "--model",
        &model,
        "--prompt-ids",
        "1",
        "--layers",
        "1",
    ];
    let remark = run(&args).succeeded().stderr;
    assert_eq!(remark.lines().count(), 1, "{remark}");
    assert!(
        remark.contains("9 tensors are not used: model.layers.1."),
        "{remark}"
    );
}

/// A file that is cut short or rewritten while it is open is an error: a mapped one would end the process.
#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    for (change, word) in [("cut", "bytes"), ("touched", "changed")] {
        let copy = in_one_file("llama-tiny", None);
        let path = copy.file("model.safetensors");
        let (spec, checkpoint) = open(&copy);
        let tensors = expected(&spec);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        match change {
            "cut" => file.set_len(file.metadata().unwrap().len() / 3).unwrap(),
            _ => file.set_modified(std::time::UNIX_EPOCH).unwrap(),
        }
        for tensor in &tensors {
            let outcome = match tensor.shape[..] {
                [len] => checkpoint.vector(tensor, 0..len),
                [rows, columns] => checkpoint.block(tensor, 0..rows, 0..columns / 2),
                _ => panic!("{tensor:?}"),
            };
            let message = outcome.unwrap_err().to_string();
            assert!(
                message.contains("model.safetensors: changed while it was read"),
                "{message}"
            );
            assert!(message.contains(word), "{message}");
        }
    }
}

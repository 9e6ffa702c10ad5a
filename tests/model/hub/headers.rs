//! Headers of files of weights, read by parts of files that are never fetched.

use std::collections::HashMap;

use candlepower::ground::safetensors_header::Stored;
use candlepower::hub::{HubError, headers};
use candlepower::shape::reading::{Files, Named, read};
use serde_json::json;

use super::file;
use super::home::{Home, MODEL};
use super::server::{Manner, Served, Server};

const SHARDS: usize = 70;
const IN_EACH: usize = 1000;
/// Of a tensor: a shard has 4 GB.
const BYTES: u64 = 4 << 20;
const MOST_MOVED: u64 = 12_000_000;
const LAYERS: usize = 100;

fn config() -> String {
    let config = json!({
        "model_type": "of-no-family", "hidden_size": 1024, "intermediate_size": 1024,
        "num_hidden_layers": LAYERS, "num_attention_heads": 8, "num_key_value_heads": 2,
        "vocab_size": 1024, "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
    });
    config.to_string()
}

fn shard(number: usize) -> String {
    format!("model-{number:05}-of-{SHARDS:05}.safetensors")
}

fn name(index: usize) -> String {
    let (layer, expert) = (index % LAYERS, index / LAYERS);
    format!("model.layers.{layer}.mlp.experts.{expert}.down_proj.weight")
}

/// The beginning of a file of so many tensors, and the bytes behind it.
fn beginning(first: usize, count: usize) -> (Vec<u8>, u64) {
    let mut entries = serde_json::Map::new();
    for place in 0..count {
        let start = place as u64 * BYTES;
        let entry =
            json!({"dtype": "BF16", "shape": [1024, 2048], "data_offsets": [start, start + BYTES]});
        entries.insert(name(first + place), entry);
    }
    let header = serde_json::Value::from(entries).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let whole = bytes.len() as u64 + count as u64 * BYTES;
    // More of it than anybody asks for at first.
    bytes.resize(bytes.len() + (128 << 10), 0);
    let behind = whole - bytes.len() as u64;
    (bytes, behind)
}

/// Files of many gigabytes of which only the beginnings are there.
fn repository(manner: impl Fn(u64) -> Manner) -> HashMap<String, Served> {
    let mut files = HashMap::from([file("config.json", config(), Manner::Well)]);
    let mut map = serde_json::Map::new();
    for number in 0..SHARDS {
        let first = number * IN_EACH;
        for index in first..first + IN_EACH {
            map.insert(name(index), shard(number + 1).into());
        }
        let (bytes, behind) = beginning(first, IN_EACH);
        files.extend([file(&shard(number + 1), bytes, manner(behind))]);
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
    files.extend([file("model.safetensors.index.json", index, Manner::Well)]);
    files
}

fn found(home: &Home) -> Result<Option<Vec<Stored>>, HubError> {
    let source = home.resolve(MODEL)?;
    headers(&source, &home.options.settings, home)
}

fn home(server: &Server) -> Home {
    let mut home = Home::new(&server.endpoint);
    home.options.dummy_weights = true;
    home
}

#[test]
fn seventy_thousand_tensors_are_known_by_a_few_megabytes() {
    let server = Server::start(repository(Manner::Oversold));
    let mut home = home(&server);
    let tensors = found(&home).unwrap().unwrap();
    assert_eq!(tensors.len(), SHARDS * IN_EACH);
    let moved = server.moved();
    assert!((4_000_000..MOST_MOVED).contains(&moved), "{moved} bytes");
    let shape = read(&Files {
        config: Named {
            text: &config(),
            name: "config.json",
        },
        beside: None,
        headers: Some(&tensors),
    })
    .unwrap();
    let weights: u64 = shape
        .tensors
        .iter()
        .map(|tensor| tensor.bytes(tensor.elements(), 2))
        .sum();
    assert_eq!(weights, (SHARDS * IN_EACH) as u64 * BYTES);
    assert!(
        shape
            .assumptions
            .iter()
            .any(|said| said.contains("of-no-family")),
        "{:?}",
        shape.assumptions
    );
    // The next time nobody is asked, with a network and without.
    let asked = server.seen().len();
    assert_eq!(found(&home).unwrap().unwrap(), tensors);
    drop(server);
    home.options.settings.offline = true;
    assert_eq!(found(&home).unwrap().unwrap(), tensors);
    assert!(asked < 300, "{asked}");
}

#[test]
fn what_a_hub_does_wrong_is_a_sentence() {
    for (manner, parts) in [
        (
            Manner::WithoutRanges,
            &["only as a whole", "byte ranges"][..],
        ),
        (Manner::Status(401), &["gated", "HF_TOKEN"]),
        (Manner::Status(403), &["gated", "no token is set"]),
        (Manner::LinkedSize(77), &["wrong size", "77"]),
        // Its tensors end before it does.
        (
            Manner::Oversold(12_345),
            &["not a whole safetensors file", "its tensors end at"],
        ),
        (Manner::CutAfter(100), &["was cut at 100"]),
    ] {
        let (bytes, _) = beginning(0, 2);
        let files = HashMap::from([
            file("config.json", config(), Manner::Well),
            file("model.safetensors", bytes, manner),
        ]);
        let server = Server::start(files);
        let message = found(&home(&server)).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_repository_without_safetensors_has_no_headers() {
    let files = HashMap::from([file("config.json", config(), Manner::Well)]);
    let server = Server::start(files);
    assert_eq!(found(&home(&server)).unwrap(), None);
}

//! Files that users write or get: workloads, results, GPU cards.

use candlepower::text::TokenPool;
use candlepower::workload::dataset::{self as requests, Defaults};
use candlepower::{hardware, reference};

use super::in_file;

const VOCABULARY: u32 = 256;

/// A card of a GPU, in TOML.
pub fn card(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = hardware::from_toml(text, "card.toml");
    }
}

/// Requests, a JSON object a line; every byte of a prompt is a token.
pub fn dataset(data: &[u8]) {
    let pool = TokenPool::below(VOCABULARY).expect("ids to draw from");
    let defaults = Defaults {
        output_len: 8,
        vocab_size: VOCABULARY as usize,
        max_len: 512,
        pool: &pool,
        seed: 0,
        encode: &|text| Ok(text.bytes().map(u32::from).collect()),
    };
    in_file("requests.jsonl", data, |dir| {
        let _ = requests::read(&dir.join("requests.jsonl"), &defaults);
    });
}

/// Results of this program, or published ones.
pub fn results(data: &[u8]) {
    in_file("results.json", data, |dir| {
        let _ = reference::load(&dir.join("results.json"));
    });
}

//! Files that users write or get: workloads, results, GPU cards.

use candlepower::text::TokenPool;
use candlepower::workload::dataset::{Defaults, parse};
use candlepower::{hardware, reference};

use super::in_file;

const VOCABULARY: u32 = 256;

/// A card of a GPU, in TOML.
pub fn card(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = hardware::from_toml(text, "card.toml");
    }
}

/// Requests in any of the known forms; every byte of a text is a token, and so is every message.
pub fn dataset(data: &[u8]) {
    let pool = TokenPool::below(VOCABULARY).expect("ids to draw from");
    let defaults = Defaults {
        output_len: 8,
        vocab_size: VOCABULARY as usize,
        max_len: 512,
        pool: &pool,
        seed: 0,
        encode: &|text| Ok(text.bytes().map(u32::from).collect()),
        chat: &|conversation| Ok(vec![1; conversation.messages.len()]),
    };
    if let Ok(dataset) = parse(data, "requests.jsonl", &defaults) {
        for item in dataset.iter() {
            assert_eq!(dataset.prompt(item).len(), item.prompt.len());
        }
    }
}

/// Results of this program, or published ones.
pub fn results(data: &[u8]) {
    in_file("results.json", data, |dir| {
        let _ = reference::load(&dir.join("results.json"));
    });
}

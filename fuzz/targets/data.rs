//! What users write or get: workloads, results, GPU cards, names of things.

use std::str::FromStr;

use candlepower::fit::Release;
use candlepower::hardware::Capability;
use candlepower::hub::{HubSettings, cards, weights_in};
use candlepower::text::TokenPool;
use candlepower::workload::dataset::{Defaults, parse};
use candlepower::workload::{Drawn, Lengths};
use candlepower::{Policy, Preset, hardware, reference};

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
        output_len: 8.into(),
        vocab_size: VOCABULARY as usize,
        max_len: 512,
        time_scale: 0.5,
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

/// Results of other tools, in any form.
pub fn imports(data: &[u8]) {
    in_file("result", data, |dir| {
        if let Ok(runs) = reference::load(&dir.join("result")) {
            assert!(runs.iter().all(|run| !run.name.is_empty()));
        }
    });
}

/// What is looked up by a name, or made from a short text; the files of a model by theirs.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Release::named(&text);
    let _ = Policy::from_str(&text);
    let _ = Preset::from_str(&text);
    if let Ok(lengths) = Lengths::from_str(&text) {
        let drawn = Drawn::new(lengths, lengths).within(4096.max(lengths.most() + 1));
        let (input, output) = drawn.draw(data.len() as u64);
        assert!(input >= 1 && output >= 1 && input <= lengths.most() && output <= lengths.most());
    }
    let _ = Capability::from_str(&text);
    let _ = hardware::find(&text);
    cards::find(&text);
    cards::closest(&text, 3);
    let settings = HubSettings::from_lookup(|_| Some(text.to_string()));
    settings.shown_endpoint();
    let dir = tempfile::tempdir().expect("a directory for the files");
    for name in text.lines().filter(|name| !name.contains('/')) {
        // Some names no file may have.
        let _ = std::fs::write(dir.path().join(name), "");
    }
    let _ = weights_in(dir.path());
}

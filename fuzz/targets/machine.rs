//! A model on a card, both as files of others describe them: whether it fits, and how it would run.

use std::path::Path;

use candlepower::fit::{Engine, KvType, Release};
use candlepower::{EngineOptions, LoadOptions, Question, Unwatched};

/// Not in UTF-8, so in neither of the files.
const NEXT_FILE: u8 = 0xff;
const SMALL_KV_BYTES: u64 = 1 << 20;

/// Flags, a byte each; then `config.json`, how a tool says that it quantised the weights, and the card.
pub fn fit(data: &[u8]) {
    let Some((flags, files)) = data.split_first_chunk::<4>() else {
        return;
    };
    described(files, |model, card| {
        let sizes = flags.map(usize::from);
        let mut question = Question::new(model)
            .gpu(card)
            .gpus([1 + sizes[0] % 16])
            .pp(1 + sizes[0] / 64)
            .expert_parallel(flags[1] & 1 == 1)
            .cuda_graphs(flags[1] & 2 == 2)
            .kv_cache_dtype([KvType::Auto, KvType::F32, KvType::F16, KvType::Bf16][sizes[1] / 64]);
        if flags[1] & 4 == 4 {
            question = question.engine(Engine::Vllm(Release::USUAL));
        }
        if flags[2] > 0 {
            question = question.max_model_len(1 << (flags[2] % 32));
        }
        if flags[3] > 0 {
            question = question.concurrency(1 << (flags[3] % 32));
        }
        let _ = question.answers(&Unwatched);
    });
}

/// A GGUF file, which must be whole to be asked about.
pub fn gguf(data: &[u8]) {
    super::in_file("model.gguf", data, |dir| {
        let path = dir.join("model.gguf");
        let model = path.to_str().expect("a path in UTF-8");
        let question = Question::new(model).gpu_memory(24.0).gpus([2]);
        let vllm = Engine::Vllm(Release::USUAL);
        let _ = question.engine(vllm).answers(&Unwatched);
    });
}

/// Flags in a byte; then the same files.
pub fn simulated(data: &[u8]) {
    let Some((flags, files)) = data.split_first() else {
        return;
    };
    described(files, |model, card| {
        let mut options = EngineOptions::new(model)
            .device(format!("sim:{card}"))
            .dummy_weights(true)
            .expert_parallel(flags & 0x80 != 0)
            .tp(1 + usize::from(flags % 8));
        // What a card's memory holds of a small model takes its time.
        if flags & 0x40 == 0 {
            options = options.kv_cache_memory(SMALL_KV_BYTES);
        }
        let load = LoadOptions::default()
            .concurrency([2])
            .requests([3])
            .input_len(8)
            .output_len(4);
        if let Ok(mut session) = options.open() {
            let _ = session.play(&load);
        }
    });
}

/// Calls `with` the paths of a model's directory and of a card.
fn described(files: &[u8], with: impl FnOnce(&str, &str)) {
    let dir = tempfile::tempdir().expect("a directory for the files");
    let mut parts = files.split(|byte| *byte == NEXT_FILE);
    let mut write = |name: &str| {
        let path = dir.path().join(name);
        let part = parts.next().filter(|part| !part.is_empty());
        part.inspect(|part| std::fs::write(&path, part).expect("a file in it"));
        path
    };
    write("config.json");
    write("hf_quant_config.json");
    let card = write("card.toml");
    let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    with(&text(dir.path()), &text(&card));
}

//! What each fuzz target does with its bytes: nothing may panic, hang or grow without bound.
//!
//! cargo-fuzz runs these functions on inputs that it makes up; `tests/model/corpora.rs` runs them on those in `corpus/`.

mod data;
mod hub;
mod machine;
mod model;
mod scheduler;

pub use data::{card, dataset, names, results};
pub use hub::{cache, headers, http};
pub use machine::{fit, gguf, simulated};
pub use model::{
    chat_template, config, generation_config, index, safetensors, tokenizer, tokenizer_config,
};
pub use scheduler::scheduler;

use std::path::Path;

/// Calls `read` with a directory that holds one file.
fn in_file<R>(name: &str, data: &[u8], read: impl FnOnce(&Path) -> R) -> R {
    let dir = tempfile::tempdir().expect("a directory for one file");
    let file = dir.path().join(name);
    std::fs::write(file, data).expect("a file in it");
    read(dir.path())
}

//! The folder that the pages' commands run in: it has the files that they name.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::cli_support::{Outcome, copy_files, fixture};

/// Of `bench --dataset`.
const REQUESTS: &str = r#"{"input_len": 8, "output_len": 3}
{"prompt_ids": [1, 2, 3, 4], "output_len": 2}
"#;
/// Traces of others: a chat with a long system prompt, and a table.
const TRACE: &str = r#"{"timestamp": 0, "input_length": 1500, "output_length": 4, "hash_ids": [1, 2, 3]}
{"timestamp": 900, "input_length": 1536, "output_length": 5, "hash_ids": [1, 2, 3]}
{"timestamp": 2400, "input_length": 1100, "output_length": 3, "hash_ids": [1, 2, 9]}
"#;
const TABLE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,480,10
2023-11-16 18:17:04.0319600,318,8
";
/// Of `sweep --points`.
const POINTS: &str = "[[point]]\nconcurrency = 1\n[[point]]\nconcurrency = 2\noutput_len = 4\n";
/// The one that `gpus --help` shows.
const CARD: &str = r#"compute_capability = "8.9"
memory_gib = 23.5
bandwidth_gb_s = 1008
fp16_tflops = 165.2
"#;
/// Names of model folders, and the fixtures that stand for them.
const MODELS: [(&str, &str); 3] = [
    ("my-model", "qwen2-tiny"),
    ("my-moe-fp8", "qwen3-moe-fp8-tiny"),
    ("target/smollm2-135m", "llama-tiny"),
];

pub struct World {
    dir: TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for (name, stand_in) in MODELS {
            let to = dir.path().join(name);
            fs::create_dir_all(&to).unwrap();
            copy_files(fixture(stand_in).as_ref(), &to);
        }
        let config = dir.path().join("my-model/config.json");
        fs::copy(config, dir.path().join("config.json")).unwrap();
        fs::write(dir.path().join("requests.jsonl"), REQUESTS).unwrap();
        fs::write(dir.path().join("mooncake.jsonl"), TRACE).unwrap();
        fs::write(dir.path().join("azure.csv"), TABLE).unwrap();
        fs::write(dir.path().join("my-card.toml"), CARD).unwrap();
        fs::write(dir.path().join("points.toml"), POINTS).unwrap();
        Self { dir }
    }

    /// By a shell, away from any network and from the caller's own model cache; `candlepower` is the built program.
    pub fn run(&self, line: &str) -> Outcome {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_candlepower"));
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(self.dir.path())
            .env(
                "PATH",
                format!("{}:{path}", program.parent().unwrap().display()),
            )
            .env("HF_HOME", env!("CARGO_TARGET_TMPDIR"))
            .env("HF_HUB_OFFLINE", "1")
            .env_remove("HF_TOKEN")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Outcome::of(output)
    }
}

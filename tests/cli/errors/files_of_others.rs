//! Model files as Python, browsers, git and bad luck leave them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli_support::{Copy, Outcome, command, refused, run};

/// A Llama of 8 billion parameters, as its `config.json` has it.
fn llama_8b() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
        "hidden_act": "silu", "torch_dtype": "bfloat16", "tie_word_embeddings": false
    })
}

fn fit(model: &Path, env: &[(&str, &str)]) -> Outcome {
    let model = model.to_str().unwrap();
    let args = [
        "fit",
        "--gpu",
        "h100-sxm",
        "--max-model-len",
        "8192",
        "--model",
        model,
    ];
    let mut command = command(&args);
    command.envs(env.iter().copied());
    Outcome::of(command.output().unwrap())
}

/// The text of a configuration, fitted; its folder is `DIR` in what is said.
fn fit_text(text: impl AsRef<[u8]>) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("llama.json");
    fs::write(&path, text).unwrap();
    let outcome = fit(&path, &[]);
    let folder = dir.path().to_str().unwrap();
    Outcome {
        stdout: outcome.stdout.replace(folder, "DIR"),
        stderr: outcome.stderr.replace(folder, "DIR"),
        ..outcome
    }
}

/// The configuration with `more` behind its first brace.
fn with(more: &str) -> String {
    llama_8b()
        .to_string()
        .replacen('{', &format!("{{{more},"), 1)
}

#[test]
fn what_python_writes_is_read() {
    let plain = fit_text(llama_8b().to_string()).succeeded();
    for more in [
        r#""router_limits": [0.0, Infinity]"#,
        r#""a": NaN, "b": -Infinity, "c": [1e999, {"d": NaN}]"#,
        r#""name": "half \ud83d of a pair""#,
        r#""n": 123456789012345678901234567890"#,
    ] {
        let outcome = fit_text(with(more)).succeeded();
        assert_eq!(
            (&outcome.stdout, &outcome.stderr),
            (&plain.stdout, &plain.stderr),
            "{more}"
        );
    }
    let marked = format!("\u{feff}{}", llama_8b());
    assert_eq!(fit_text(marked).succeeded().stdout, plain.stdout);
}

#[test]
fn a_number_that_is_none_is_refused_where_it_is_needed() {
    for (key, value) in [
        ("rms_norm_eps", "NaN"),
        ("rope_theta", "Infinity"),
        ("vocab_size", "1e999"),
    ] {
        let mut config = llama_8b();
        config.as_object_mut().unwrap().remove(key);
        let text = config
            .to_string()
            .replacen('{', &format!("{{\"{key}\": {value},"), 1);
        let outcome = fit_text(text);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("{key} is")), "{outcome:?}");
    }
    let factor = r#""rope_scaling": {"rope_type": "yarn", "factor": Infinity}"#;
    let outcome = fit_text(with(factor));
    assert!(
        outcome.code == Some(2) && outcome.stderr.contains("factor is"),
        "{outcome:?}"
    );
}

#[test]
fn of_equal_keys_the_last_one_counts_and_it_is_said() {
    let plain = fit_text(llama_8b().to_string()).succeeded();
    let outcome = fit_text(with(r#""num_hidden_layers": 4000, "vocab_size": 7"#)).succeeded();
    assert_eq!(outcome.stdout, plain.stdout);
    assert!(
        outcome
            .stderr
            .contains("num_hidden_layers, vocab_size given more than once"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("llama.json"), "{outcome:?}");
}

#[test]
fn configurations_without_measure_are_refused() {
    let deep = |open: &str, close: &str| open.repeat(200_000) + "0" + &close.repeat(200_000);
    let list = with(&format!("\"a\": [{}0]", "0,".repeat(5_000_000)));
    let objects = with(&format!(
        "\"a\": [{}0]",
        "{\"a\":{\"b\":{}}},".repeat(800_000)
    ));
    for (text, part) in [
        (
            with(&format!("\"a\": {}", deep("[", "]"))),
            "100 levels of nesting",
        ),
        (
            with(&format!("\"a\": {}", deep("{\"a\":", "}"))),
            "100 levels of nesting",
        ),
        (list, "more values than such a file has"),
        (objects, "more values than such a file has"),
        (
            with(&format!("\"a\": \"{}\"", "x".repeat(20 << 20))),
            "16777216 at most",
        ),
        (
            llama_8b().to_string().replacen(
                "\"hidden_size\":4096",
                &format!("\"hidden_size\": \"{}\"", "x".repeat(1 << 20)),
                1,
            ),
            "…",
        ),
    ] {
        let outcome = fit_text(text);
        assert_eq!(outcome.code, Some(2), "{part}");
        assert!(
            outcome.stderr.contains(part) && outcome.stderr.contains("llama.json"),
            "{part}"
        );
        assert!(outcome.stderr.len() < 1000, "{part}");
    }
}

#[test]
fn caches_of_others_are_read_by_their_references() {
    let home = tempfile::tempdir().unwrap();
    let repo = |name: &str| home.path().join(format!("hub/models--acme--{name}"));
    for name in ["newline", "norefs"] {
        let snapshot = repo(name).join("snapshots/abc123");
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(snapshot.join("config.json"), llama_8b().to_string()).unwrap();
    }
    fs::create_dir(repo("newline").join("refs")).unwrap();
    fs::write(repo("newline").join("refs/main"), "abc123\n").unwrap();
    let env = [("HF_HOME", home.path().to_str().unwrap())];
    fit(Path::new("acme/newline"), &env).succeeded();
    let missing = fit(Path::new("acme/norefs"), &env);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(
        missing.stderr.contains("refs/main is missing"),
        "{missing:?}"
    );
    fit(Path::new("acme/norefs@abc123"), &env).succeeded();
}

#[test]
fn weights_that_are_something_else_are_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    for (bytes, what, way_out) in [
        (&pointer[..], "a git-lfs pointer", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page", "download"),
        (b"GGUF\x03\0\0\0\0", "a GGUF file", "safetensors"),
        (b"PK\x03\x04\x14\0", "a zip archive", "save_pretrained"),
        (b"\x80\x02}q\0.", "a Python pickle", "save_pretrained"),
        (
            b"{\"error\": \"not found\"}",
            "JSON text",
            "download it again",
        ),
        (b"", "an empty file", "download it again"),
    ] {
        for name in ["llama-tied-tiny", "llama-tiny"] {
            let model = Copy::of(name);
            let file = match name {
                "llama-tiny" => "model-00001-of-00002.safetensors",
                _ => "model.safetensors",
            };
            model.write(file, bytes);
            let args = ["generate", "--model", model.path(), "--prompt-ids", "1"];
            refused(&args, &[file, what, way_out]);
        }
    }
}

#[test]
fn shards_without_an_index_are_read_and_an_incomplete_set_is_explained() {
    let args = |model: &Copy| {
        let text = format!(
            "generate --model {} --prompt-ids 1,2 --max-tokens 4",
            model.path()
        );
        text.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let go = |model: &Copy| {
        let args = args(model);
        run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let model = Copy::of("llama-tiny");
    let before = go(&model).succeeded();
    model.remove("model.safetensors.index.json");
    assert_eq!(go(&model).succeeded().stdout, before.stdout);
    model.remove("model-00002-of-00002.safetensors");
    let outcome = go(&model);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    for part in [
        "of 2 shards 1 is missing",
        "model-00002-of-00002.safetensors",
    ] {
        assert!(outcome.stderr.contains(part), "{outcome:?}");
    }
    let single = Copy::of("llama-tied-tiny");
    let before = go(&single).succeeded();
    fs::rename(
        single.file("model.safetensors"),
        single.file("model-00001-of-00001.safetensors"),
    )
    .unwrap();
    assert_eq!(go(&single).succeeded().stdout, before.stdout);
}

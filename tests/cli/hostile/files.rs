//! Data files without measure.

use serde_json::json;

use super::inputs::Inputs;
use super::table::{case, refused, refused_in};
use crate::cli_support::fixture;

#[test]
fn datasets() {
    let inputs = Inputs::new();
    let model = fixture("llama-tiny");
    let bench = |what, file: String, says| {
        case(
            what,
            &[
                "bench",
                "--model",
                &model,
                "--concurrency",
                "1",
                "--dataset",
                &file,
            ],
            says,
        )
    };
    let line = "{\"prompt_ids\":[1,2,3],\"output_len\":1}\n";
    refused(&[
        bench(
            "a prompt of 50 MB",
            inputs.file("a", "{\"prompt\":\"", "word ", 10_000_000, "\"}\n"),
            "line 1: the line has more than",
        ),
        bench(
            "8 million ids in a line of 16 MB",
            inputs.file("b", "{\"prompt_ids\":[", "1,", 8_000_000, "1]}"),
            "line 1",
        ),
        bench(
            "60 MB without a line break",
            inputs.file("c", "", "x", 60_000_000, ""),
            "line 1: the line has more than",
        ),
        bench(
            "a million lines, the last one spoiled",
            inputs.file("d", "", line, 1_000_000, "{oops\n"),
            "line 1000001",
        ),
        bench(
            "ten million brackets",
            inputs.file("e", "{\"messages\":", "[", 10_000_000, "\n"),
            "levels of nesting",
        ),
        bench(
            "an array of a million objects, cut short",
            inputs.file(
                "f",
                "[",
                "{\"prompt_ids\":[1],\"output_len\":1},\n",
                1_000_000,
                "",
            ),
            "cut short",
        ),
        bench("/dev/zero", "/dev/zero".to_owned(), "line 1"),
    ]);
}

#[test]
fn configurations() {
    let inputs = Inputs::new();
    let fit = |what, model: String, says| {
        case(what, &["fit", "--gpu", "h100-sxm", "--model", &model], says)
    };
    let config = |name| inputs.model(name);
    let file = "config.json";
    let pair = "\"k\":{\"v\":[0]},";
    refused(&[
        fit(
            "config.json with an array of 50 million",
            config("a").repeated(file, "{\"a\":[", "1,", 50_000_000, "1]}"),
            "where such a file has",
        ),
        fit(
            "config.json of 10 GB",
            config("b").sparse(file, 10 << 30),
            "10737418240 bytes",
        ),
        fit(
            "config.json with an array of 8 million",
            config("c").repeated(file, "{\"a\":[", "1,", 8_000_000, "1]}"),
            "more values than such a file has",
        ),
        fit(
            "config.json with the same key a million times",
            config("d").repeated(file, "{", pair, 1_000_000, "\"k\":0}"),
            "more values than such a file has",
        ),
        fit(
            "config.json of ten million brackets",
            config("e").repeated(file, "", "[", 10_000_000, ""),
            "levels of nesting",
        ),
        fit(
            "positions stretched by 1e308",
            config("f").config("rope_scaling", json!({"type": "yarn", "factor": 1e308})),
            "factor is 1e308",
        ),
        fit(
            "two thousand million layers",
            config("g").config("num_hidden_layers", json!(1_u64 << 31)),
            "num_hidden_layers is 2147483648",
        ),
        fit(
            "hf_quant_config.json of three million braces",
            config("h").repeated("hf_quant_config.json", "", "{\"a\":", 3_000_000, ""),
            "levels of nesting",
        ),
    ]);
}

#[test]
fn weights() {
    let inputs = Inputs::new();
    let generate = |what, model: String, says| {
        let args = [
            "generate",
            "--prompt-ids",
            "1",
            "--max-tokens",
            "1",
            "--model",
            &model,
        ];
        case(what, &args, says)
    };
    let index = "model.safetensors.index.json";
    let header = |name| inputs.model(name);
    let empty = |i| format!("\"t{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}},");
    let most = 32 << 20;
    let last = "\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
    refused(&[
        generate(
            "an index of 900,000 names in 47 MB",
            header("a").repeated(index, "{\"weight_map\":{", "\"model.layers.0.self_attn.q_proj.weight\":\"a-b.c\",", 900_000, "\"x\":\"y\"}}"),
            "more values than such a file has",
        ),
        generate(
            "an index of 60 MB",
            header("b").repeated(index, "{\"weight_map\":{", "\"model.layers.0.self_attn.q_proj.weight\":\"a-b.c\",", 1_200_000, "\"x\":\"y\"}}"),
            "where such a file has",
        ),
        generate(
            "a header of 32 MB with 500,000 tensors",
            header("c").header(most, "{", &empty, 500_000),
            "more than 300000 tensors",
        ),
        generate(
            "a header of 32 MB with 290,000 tensors",
            header("d").header(most, &format!("{{{last}"), &|i| format!(",{}", empty(i).trim_end_matches(',')), 290_000),
            "do not match config.json",
        ),
        generate(
            "a header of 32 MB of spaces",
            header("e").header(most, "{", &|_| String::new(), 0),
            "do not match config.json",
        ),
        generate(
            "a header with two million notes",
            header("f").header(most, "{\"__metadata__\":{\"a\":\"b\"", &|i| format!(",\"{i}\":\"\""), 2_000_000),
            "model.safetensors",
        ),
        generate(
            "a header of 40 MB",
            header("g").header(40 << 20, "{", &|_| String::new(), 0),
            "33554432 are the most",
        ),
        generate(
            "a header of 2^63 bytes",
            header("h").header(1 << 63, "{", &|_| String::new(), 0),
            "its header has 9223372036854775808",
        ),
        generate(
            "a tensor of 2^68 bytes",
            header("i").header(100, "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,0]}", &|_| String::new(), 0),
            "has other bytes",
        ),
    ]);
}

#[test]
fn cards_and_references() {
    let inputs = Inputs::new();
    let model = fixture("llama-tied-tiny");
    let gpus = |what, file: String, says| case(what, &["gpus", &file], says);
    let bench = |what, file: String, says| {
        case(
            what,
            &["bench", "--model", &model, "--reference", &file],
            says,
        )
    };
    refused(&[
        gpus(
            "a card of 50 MB",
            inputs.file("a.toml", "name = \"", "x", 50_000_000, "\""),
            "1048576 at most",
        ),
        gpus(
            "a card of a million brackets",
            inputs.file("b.toml", "name = ", "[", 1_000_000, ""),
            "b.toml",
        ),
        bench(
            "a reference of 100 MB",
            inputs.file("c.json", "[", "1,", 50_000_000, "1]"),
            "it holds no result of",
        ),
        bench(
            "a reference of 30 MB",
            inputs.file("d.json", "{\"runs\":[", "1,", 15_000_000, "1]}"),
            "d.json",
        ),
        bench(
            "a reference of a million brackets",
            inputs.file("e.json", "", "[", 1_000_000, ""),
            "levels of nesting",
        ),
    ]);
}

/// Beside what was asked for: a token, a reference and a manifest, all without an end.
#[test]
fn small_files_without_an_end() {
    use std::os::unix::fs::symlink;

    let home = tempfile::tempdir().unwrap();
    let refs = home.path().join("hub/models--acme--endless/refs");
    std::fs::create_dir_all(&refs).unwrap();
    for endless in [home.path().join("token"), refs.join("main")] {
        symlink("/dev/zero", endless).unwrap();
    }
    let env = [("HF_HOME", home.path().to_str().unwrap())];
    let fit = ["fit", "--gpu", "h100-sxm", "--model", "acme/endless"];
    refused_in(
        &env,
        &case(
            "a reference without an end",
            &fit,
            "is not complete in the cache",
        ),
    );
}

#[test]
fn pipes_that_nobody_writes_to() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe").to_str().unwrap().to_owned();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let model = fixture("llama-tied-tiny");
    let bench = ["bench", "--model", &model, "--dataset", &pipe];
    refused(&[case("a pipe without a writer", &bench, "nobody writes")]);
    let writer = format!("sleep 1; echo '{{\"prompt\":\"Hi\"}}' > {pipe}");
    let mut writer = std::process::Command::new("sh")
        .arg("-c")
        .arg(writer)
        .spawn()
        .unwrap();
    let end = super::child::run(&bench.map(str::to_owned), &[], None, super::table::LIMIT);
    assert_eq!(end.status.code(), Some(0), "{end:?}");
    assert!(writer.wait().unwrap().success());
}

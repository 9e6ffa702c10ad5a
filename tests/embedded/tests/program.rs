//! A program that embeds the engine draws the tokens that the command line draws: those of the fixture.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_program_draws_the_golden_tokens_and_plays_a_load() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/llama-tiny");
    let golden = std::fs::read_to_string(model.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let ids = |list: &Value| -> Vec<String> {
        let ids = list.as_array().unwrap().iter();
        ids.map(ToString::to_string).collect()
    };
    let prompt = ids(&golden["prompts"][1]);
    let output = Command::new(env!("CARGO_BIN_EXE_embedded"))
        .arg(&model)
        .args(&prompt)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    let values = |name: &str| -> Vec<String> {
        let lines = said.lines().filter_map(|line| line.split_once(' '));
        let found = lines.filter(|(key, _)| *key == name);
        found.map(|(_, value)| value.to_owned()).collect()
    };
    assert_eq!(values("token"), ids(&golden["greedy"][1])[..8]);
    assert_eq!(values("successful_requests"), ["6"]);
    let rate: f64 = values("output_tokens_per_sec")[0].parse().unwrap();
    assert!(rate > 0.0);
}

/// Whoever embeds the engine takes neither the command line's parser nor its errors.
#[test]
fn the_program_depends_on_the_crate_alone() {
    let manifest = include_str!("../Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let own = dependencies.split("[dev-dependencies]").next().unwrap();
    assert_eq!(own.trim(), "candlepower = { path = \"../..\" }");
    let lines = include_str!("../src/main.rs").lines().count();
    assert!(lines < 60, "{lines} lines");
}

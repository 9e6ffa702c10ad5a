//! `candlepower gpus`.

use std::fs;

use tempfile::TempDir;

use crate::cli_support::{refused, run};

const PIPE_COLUMNS: usize = 100;

#[test]
fn the_table_fits_a_pipe_and_shows_sheet_and_measurement() {
    let outcome = run(&["gpus"]).succeeded();
    assert_eq!(outcome.stderr, "");
    for line in outcome.stdout.lines() {
        assert!(line.chars().count() <= PIPE_COLUMNS, "{line}");
        assert_eq!(line, line.trim_end());
    }
    let row = |name: &str| {
        let mut lines = outcome.stdout.lines();
        let line = lines.find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        row("rtx4090-24g"),
        "rtx4090-24g 23.55 1008 920 165.2 330.3 8.9 450 PCIe 4 x16 no P2P"
    );
    assert_eq!(
        row("h100-sxm"),
        "h100-sxm 79.22 3350 - 989.4 1978.9 9.0 700 NVLink 4, 900 GB/s"
    );
    assert_eq!(
        row("v100-16g"),
        "v100-16g 15.78 900 - *125.0 - 7.0 300 NVLink 2, 300 GB/s"
    );
    assert!(row("rtx2060-12g").contains("~11.65"));
}

#[test]
fn json_has_every_figure_with_its_source() {
    let json = run(&["gpus", "--json"]).succeeded().json();
    let gpus = json["gpus"].as_array().unwrap();
    assert!(gpus.len() >= 40, "{}", gpus.len());
    let card = |name: &str| gpus.iter().find(|gpu| gpu["name"] == name).unwrap();
    let gpu = card("rtx4090-48g");
    assert_eq!(gpu["memory_gib"], 47.37);
    assert_eq!(gpu["compute_capability"], "8.9");
    assert!(
        gpu["sources"]["memory_gib"]
            .as_str()
            .unwrap()
            .contains("50866487296")
    );
    assert!(gpu["nvlink_gb_s"].is_null());
    assert_eq!(gpu["absent"]["nvlink_gb_s"], "no NVLink");
}

#[test]
fn names_and_files_choose_cards() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("mine.toml");
    let path = file.to_str().unwrap();
    fs::write(
        &file,
        "compute_capability = \"9.0\"\nmemory_gib = 64\nbandwidth_gb_s = 2000\nfp16_tflops = 500\n",
    )
    .unwrap();
    let json = run(&["gpus", "L4", path, "--json"]).succeeded().json();
    let names: Vec<_> = json["gpus"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gpu| &gpu["name"])
        .collect();
    assert_eq!(names, ["l4", "mine"]);

    fs::write(&file, "memory_gib = \"lots\"\n").unwrap();
    refused(
        &["gpus", path],
        &[path, "memory_gib = \"lots\"", "a positive number"],
    );
    refused(
        &["gpus", "a100"],
        &["`a100`", "a100-40g (", "a100-80g (", "candlepower gpus"],
    );
}

#[test]
fn help_shows_examples() {
    let help = run(&["gpus", "--help"]).succeeded().stdout;
    assert!(
        help.contains("Examples:") && help.contains("my-card.toml"),
        "{help}"
    );
    assert!(
        run(&["--help"])
            .succeeded()
            .stdout
            .contains("candlepower gpus")
    );
}

//! `bench --shapes`: llama-bench's question, and the forms of its answer.

use candlepower::bench::Shapes;
use serde_json::Value;

use crate::cli_support::{Outcome, bad_value, fixture, refused, run};

fn shapes(more: &[&str]) -> Outcome {
    let model = fixture("qwen2-tiny");
    let args = [
        "bench",
        "--model",
        &model,
        "--shapes",
        "pp48,tg8,pp48+tg8",
        "--depth",
        "0,32",
    ];
    run(&[&args[..], more].concat()).succeeded()
}

#[test]
fn json_is_of_the_schema_and_its_means_are_those_of_its_samples() {
    let result = shapes(&["--json"]).json();
    let validator = jsonschema::validator_for(&Shapes::schema()).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(&result)
        .map(|e| e.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    let tests = result["tests"].as_array().unwrap();
    let names: Vec<&str> = tests
        .iter()
        .map(|test| test["test"].as_str().unwrap())
        .collect();
    let expected = [
        "pp48",
        "tg8",
        "pp48+tg8",
        "pp48 @ d32",
        "tg8 @ d32",
        "pp48+tg8 @ d32",
    ];
    assert_eq!(names, expected);
    for test in tests {
        let numbers = |key: &str| -> Vec<f64> {
            let values = test[key].as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect()
        };
        let (ns, ts) = (numbers("samples_ns"), numbers("samples_ts"));
        assert_eq!((ns.len(), ts.len()), (5, 5), "five repeats");
        let tokens = test["n_prompt"].as_f64().unwrap() + test["n_gen"].as_f64().unwrap();
        for (ns, ts) in ns.iter().zip(&ts) {
            assert!((tokens / ns * 1e9 / ts - 1.0).abs() < 1e-9, "{test}");
        }
        let mean = ts.iter().sum::<f64>() / 5.0;
        let squares: f64 = ts.iter().map(|ts| (ts - mean).powi(2)).sum();
        assert!((test["avg_ts"].as_f64().unwrap() / mean - 1.0).abs() < 1e-9);
        let std = (squares / 4.0).sqrt();
        assert!((test["stddev_ts"].as_f64().unwrap() - std).abs() < 1e-6 * mean);
    }
    assert_eq!(result["engine"]["prefix_cache"], true, "it holds the depth");
}

/// In virtual time a figure is what its steps take: a depth costs, and nothing else is in the clock.
#[test]
fn only_what_a_shape_names_is_in_the_clock() {
    let args = "bench --device sim:h100-sxm --model Qwen2.5-0.5B --repeats 2 --json --shapes";
    let args: Vec<&str> = args.split(' ').collect();
    let ns = |more: &[&str]| -> Vec<f64> {
        let result = run(&[&args[..], more].concat()).succeeded().json();
        let tests = result["tests"].as_array().unwrap().clone();
        for test in &tests {
            assert_eq!(test["samples_ns"][0], test["samples_ns"][1], "{test}");
        }
        tests
            .iter()
            .map(|test| test["avg_ns"].as_f64().unwrap())
            .collect()
    };
    let flat = ns(&["pp512,tg64,pp512+tg64"]);
    let deep = ns(&["pp512,tg64", "--depth", "4096"]);
    assert!(deep[0] > flat[0] && deep[1] > flat[1], "{flat:?} {deep:?}");
    // The prompt of the depth alone, which is not in the clock, takes several times as long.
    let whole = ns(&["pp4608"]);
    assert!(deep[0] < 0.5 * whole[0], "{deep:?} {whole:?}");
    let both = flat[0] + flat[1];
    assert!((flat[2] / both - 1.0).abs() < 0.1, "{flat:?}");
    // Twice the tokens, twice the time.
    let twice = ns(&["tg128"]);
    assert!((twice[0] / flat[1] - 2.0).abs() < 0.1, "{twice:?} {flat:?}");
}

#[test]
fn each_form_has_a_line_for_each_test() {
    let markdown = shapes(&["--format", "markdown", "--repeats", "2"]).stdout;
    let rows: Vec<&str> = markdown
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 8, "{markdown}");
    assert!(
        rows[0].starts_with("| model ") && rows[0].ends_with(" t/s |"),
        "{markdown}"
    );
    assert!(rows[1].chars().all(|c| "|-: ".contains(c)), "{markdown}");
    let cells = |row: &str| row.split('|').count();
    assert!(
        rows.iter().all(|row| cells(row) == 8 && row.contains('|')),
        "{markdown}"
    );
    assert!(
        rows[7].contains("pp48+tg8 @ d32") && rows[7].contains(" ± "),
        "{markdown}"
    );

    let lines = shapes(&["--format", "jsonl", "--repeats", "2"]).stdout;
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 6);
    for key in [
        "model_type",
        "model_n_params",
        "n_threads",
        "n_depth",
        "avg_ts",
        "stddev_ts",
    ] {
        assert!(!lines[5][key].is_null(), "{key}: {}", lines[5]);
    }

    let csv = shapes(&["--format", "csv", "--repeats", "1"]).stdout;
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [10; 7], "{csv}");

    let table = shapes(&[]).stdout;
    assert!(
        table.lines().all(|line| line.chars().count() <= 100),
        "{table}"
    );
    assert!(table.contains("pp48 @ d32 "), "{table}");
}

#[test]
fn what_cannot_be_is_refused_by_its_flag() {
    let model = fixture("qwen2-tiny");
    let bench = ["bench", "--model", &model];
    bad_value(&bench, "--shapes", "pp0");
    let with = |more: &[&'static str]| [&bench[..], more].concat();
    refused(
        &with(&["--shapes", "tg4", "--depth", "33"]),
        &["--depth 33", "--block-size 16", "48"],
    );
    refused(
        &with(&["--format", "jsonl"]),
        &["--format jsonl", "--shapes"],
    );
    refused(&with(&["--shapes", "pp99999"]), &["100000", "positions"]);
    let both = run(&with(&["--shapes", "tg4", "--concurrency", "2"]));
    assert_eq!(both.code, Some(2), "{both:?}");
}

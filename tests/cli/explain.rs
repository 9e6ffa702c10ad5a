//! `explain` as users run it: where the tokens a second of a run went.

use std::fs;
use std::path::Path;

use candlepower::comparison::waterfall::Waterfall;
use serde_json::Value;
use tempfile::TempDir;

use crate::cli_support::{fixture, refused, run};

fn bench(out: &Path, args: &str) {
    let out = out.to_str().unwrap();
    let args: Vec<&str> = args.split(' ').collect();
    let fixed = ["bench", "--quiet", "--format", "csv", "--out", out];
    run(&[&fixed[..], &args].concat()).succeeded();
}

fn level<'a>(waterfall: &'a Value, name: &str) -> &'a Value {
    let levels = waterfall["levels"].as_array().unwrap();
    levels.iter().find(|level| level["name"] == name).unwrap()
}

/// What every level lost is what lies between the highest and the lowest.
fn adds_up(waterfall: &Value) {
    let validator = jsonschema::validator_for(&Waterfall::schema()).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(waterfall)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let levels = waterfall["levels"].as_array().unwrap();
    let rates: Vec<f64> = levels
        .iter()
        .filter_map(|l| l["tokens_per_s"].as_f64())
        .collect();
    let lost: f64 = levels.iter().filter_map(|l| l["lost"].as_f64()).sum();
    let whole = rates[0] - rates[rates.len() - 1];
    assert!(
        (lost - whole).abs() <= 1e-9 * rates[0].max(whole),
        "{waterfall}"
    );
}

#[test]
fn a_run_on_the_cpu_falls_from_its_roof_to_its_rate() {
    let dir = TempDir::new().unwrap();
    let (out, model) = (dir.path().join("run"), fixture("llama-tiny"));
    let load = "--concurrency 1,3 --requests 3,6 --input-len 8 --output-len 6 --threads 2 --tp 2";
    bench(&out, &format!("--model {model} {load}"));
    let profile = |phase: &str, batch: &str, context: &str| {
        let args = [
            "profile",
            "--model",
            &model,
            "--phase",
            phase,
            "--batch",
            batch,
            "--context",
            context,
            "--threads",
            "2",
            "--tp",
            "2",
            "--steps",
            "4",
            "--json",
            "--quiet",
        ];
        let path = dir
            .path()
            .join(format!("{phase}.json"))
            .display()
            .to_string();
        fs::write(&path, run(&args).succeeded().stdout).unwrap();
        path
    };
    let (decode, prefill) = (profile("decode", "1,3", "12"), profile("prefill", "1", "8"));
    let result = out.to_str().unwrap();
    let explain = |more: &[&str]| {
        run(&[&["explain", result, "--json"][..], more].concat())
            .succeeded()
            .json()
    };

    let both = explain(&[]);
    let [one, three] = both["waterfalls"].as_array().unwrap().as_slice() else {
        panic!("{both}");
    };
    assert_eq!((&one["run"], &three["run"]), (&"c1".into(), &"c3".into()));
    for waterfall in [one, three] {
        adds_up(waterfall);
        assert!(level(waterfall, "data_sheet")["reason"].is_string());
        assert!(
            level(waterfall, "kernels")["reason"]
                .as_str()
                .unwrap()
                .contains("--profile")
        );
        for name in ["roof", "steps", "batches", "host", "load"] {
            assert_eq!(level(waterfall, name)["origin"], "measured", "{name}");
        }
    }
    let parts = level(one, "steps")["parts"].as_array().unwrap();
    assert!(
        parts
            .iter()
            .any(|part| part["name"] == "exchanges between ranks"),
        "{one}"
    );

    let profiled = explain(&["--load", "c3", "--profile", &decode, &prefill]);
    adds_up(&profiled);
    let kernels = level(&profiled, "kernels");
    let parts = kernels["parts"].as_array().unwrap();
    for operation in ["qkv", "attend", "down"] {
        assert!(
            parts.iter().any(|part| part["name"] == operation),
            "{kernels}"
        );
    }
    // Its own result, imported, is what it is.
    let imported = explain(&["--load", "c3", "--import", result]);
    adds_up(&imported);
    let (own, theirs) = (level(&imported, "load"), level(&imported, "server"));
    let rate = |level: &Value| level["tokens_per_s"].as_f64().unwrap();
    assert!((rate(own) / rate(theirs) - 1.0).abs() < 1e-9, "{imported}");
    assert_eq!(theirs["origin"], "imported");
    assert!(
        imported["left_out"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("the loads differ")
    );

    // The page has the same, and the operations.
    let page = dir.path().join("page.html");
    let shown = page.to_str().unwrap();
    run(&[
        "report",
        result,
        "--profile",
        &decode,
        &prefill,
        "--output",
        shown,
        "--quiet",
    ])
    .succeeded();
    let text = fs::read_to_string(&page).unwrap();
    let (_, rest) = text.split_once("id=\"data\">").unwrap();
    let data: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(data["results"][0]["runs"][1]["waterfall"], profiled);
    assert_eq!(data["profiles"].as_array().unwrap().len(), 3);
    // Each rank's own time, and how long it waited for the other.
    let ranks = data["results"][0]["runs"][1]["steps"]["ranks"]
        .as_array()
        .unwrap();
    assert_eq!(ranks.len(), 2, "{ranks:?}");
    for part in ["compute", "communication", "wait"] {
        assert!(
            ranks.iter().all(|rank| rank[part].as_f64().unwrap() >= 0.0),
            "{ranks:?}"
        );
    }
    let extended = &data["results"][0]["results"]["runs"][1]["extended"];
    let [wait, exchange] = ["wait_share_percent", "communication_share_percent"]
        .map(|name| extended[name].as_f64().unwrap());
    assert!(0.0 < wait && wait < exchange, "{wait} of {exchange} %");

    refused(
        &["explain", result, "--load", "c9"],
        &["--load c9", "c1, c3"],
    );
    refused(
        &[
            "explain",
            result,
            "--profile",
            &format!("{result}/results.json"),
        ],
        &["results.json", "profile --json"],
    );
    refused(&["explain", "no/such"], &["no/such", "results.json"]);
    refused(&["explain", result, "--import", &decode], &["decode.json"]);
}

#[test]
fn levels_of_a_simulated_card_are_predicted() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("run");
    let card = "--device sim:rtx4090-48g --tp 2 --model QwQ-32B";
    bench(
        &out,
        &format!("{card} --concurrency 4 --requests 10 --input-len 64 --output-len 12"),
    );
    let result = out.to_str().unwrap();
    let found = run(&["explain", result, "--json"]).succeeded().json();
    adds_up(&found);
    let rates: Vec<f64> = ["data_sheet", "roof", "steps", "batches", "load"]
        .iter()
        .map(|name| {
            let level = level(&found, name);
            assert_eq!(level["origin"], "predicted", "{level}");
            level["tokens_per_s"].as_f64().unwrap()
        })
        .collect();
    assert!(rates.is_sorted_by(|a, b| a >= b), "{rates:?}");

    // Without its steps only the rate is left.
    fs::remove_file(out.join("steps.jsonl")).unwrap();
    let bare = run(&["explain", result, "--json"]).succeeded().json();
    assert!(
        level(&bare, "steps")["reason"]
            .as_str()
            .unwrap()
            .contains("steps.jsonl")
    );
    assert!(level(&bare, "load")["tokens_per_s"].is_number());

    let table = run(&["explain", result]).succeeded().stdout;
    assert!(table.contains("data sheet: not observed"), "{table}");
    let markdown = run(&["explain", result, "--format", "markdown"])
        .succeeded()
        .stdout;
    assert!(
        markdown.contains("| level | tok/s | lost | of the top | origin |"),
        "{markdown}"
    );
}

//! `report.html` as `bench` writes it and as `report` makes it again.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli_support::{copy_files, fixture, refused, run};

/// A result of two loads in `out`.
fn bench(model: &str, out: &Path) {
    let load = "--concurrency 1,2 --requests 2,6 --input-len 6 --output-len 4 --threads 1 --quiet";
    let load: Vec<&str> = load.split(' ').collect();
    let out = out.to_str().unwrap();
    let args = ["bench", "--model", model, "--format", "csv", "--out", out];
    run(&[&args[..], &load].concat()).succeeded();
}

/// What the page's script draws.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn a_page_is_made_again_from_its_files() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("result");
    bench(&fixture("qwen2-tiny"), &out);
    let written = fs::read_to_string(out.join("report.html")).unwrap();
    let again = dir.path().join("again.html");
    let (from, to) = (out.to_str().unwrap(), again.to_str().unwrap());
    let said = run(&["report", from, "--output", to]).succeeded();
    assert_eq!(said.stdout, "");
    assert_eq!(said.stderr, format!("written to {to}\n"));
    let again = fs::read_to_string(again).unwrap();
    assert_eq!(data(&written), data(&again));

    let data = data(&written);
    let [first, second] = data["results"][0]["runs"].as_array().unwrap().as_slice() else {
        panic!("{data}");
    };
    assert_eq!(
        (&first["name"], &second["name"]),
        (&"c1".into(), &"c2".into())
    );
    assert_eq!(second["requests"]["count"], 6);
    assert_eq!(second["latencies"]["ttft"]["n"], 6);
    // Three gaps between the four tokens of each.
    assert_eq!(second["latencies"]["itl"]["n"], 18);
    let steps = &second["steps"];
    let rates = steps["output"].as_array().unwrap().iter();
    let tokens: f64 =
        rates.map(|rate| rate.as_f64().unwrap()).sum::<f64>() * steps["bin"].as_f64().unwrap();
    assert!((tokens - 24.0).abs() < 0.1, "{tokens} tokens are drawn");
    assert!(
        second["telemetry"]["time"]
            .as_array()
            .is_some_and(|times| !times.is_empty())
    );
}

#[test]
fn results_stand_side_by_side_in_one_page() {
    let dir = TempDir::new().unwrap();
    let sweep = dir.path().join("sweep");
    for name in ["monday", "tuesday"] {
        bench(&fixture("llama-tiny"), &sweep.join(name));
    }
    // Without its raw files, a result is still shown.
    fs::remove_file(sweep.join("monday/steps.jsonl")).unwrap();
    fs::remove_file(sweep.join("monday/telemetry.csv")).unwrap();
    let said = run(&["report", sweep.to_str().unwrap(), "--quiet"]).succeeded();
    assert_eq!(said.stderr, "");
    let page = fs::read_to_string(sweep.join("report.html")).unwrap();
    let data = data(&page);
    assert_eq!(data["results"][0]["name"], "monday");
    assert_eq!(data["results"][1]["name"], "tuesday");
    assert!(data["results"][0]["runs"][0]["steps"].is_null());
    assert!(data["results"][1]["runs"][0]["steps"].is_object());
    assert_eq!(page.matches("<section class=\"verdict\">").count(), 2);
}

#[test]
fn a_sweep_has_a_page_with_its_objective() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("swept");
    let swept = out.to_str().unwrap();
    let model = fixture("llama-tiny");
    let grid = "--grid concurrency=1,2 --requests 2 --input-len 6 --output-len 4 --threads 1 --goodput tpot:60000 --quiet";
    let grid: Vec<&str> = grid.split(' ').collect();
    run(&[&["sweep", "--model", &model, "--out", swept][..], &grid].concat()).succeeded();
    run(&["report", swept, "--quiet"]).succeeded();
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let data = data(&page);
    let sweep = &data["sweeps"][0];
    assert_eq!(sweep["name"], "swept");
    assert_eq!(sweep["sweep"]["points"].as_array().unwrap().len(), 2);
    assert_eq!(sweep["objectives"].as_array().unwrap().len(), 1);
    assert_eq!(sweep["objectives"][0]["tpot_ms"], 60000.0);
    assert_eq!(data["results"], serde_json::json!([]));
    assert!(
        page.contains("100.0 % of its requests met the objective"),
        "{}",
        &page[..2000]
    );
    assert!(
        page.contains("output tokens a second</span>"),
        "{}",
        &page[..2000]
    );

    let file = out.join("sweep.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("candlepower/sweep/1", "candlepower/sweep/0"),
    )
    .unwrap();
    refused(&["report", swept], &["sweep.json", "another version"]);
}

#[test]
fn names_are_text_in_the_page() {
    let dir = TempDir::new().unwrap();
    let model = dir.path().join("<img src=x onerror=alert(1)> & {title}");
    fs::create_dir(&model).unwrap();
    copy_files(fixture("llama-tiny").as_ref(), &model);
    let out = dir.path().join("</script>".replace('/', "|"));
    bench(model.to_str().unwrap(), &out);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(!page.contains("<img"), "a name became markup");
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt; &amp; {title}"),
        "{}",
        &page[..2000]
    );
    let name = data(&page)["results"][0]["results"]["model"]["name"].clone();
    assert!(
        name.as_str()
            .unwrap()
            .ends_with("<img src=x onerror=alert(1)> & {title}"),
        "{name}"
    );
}

#[test]
fn what_holds_no_result_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    refused(&["report", path], &[path, "results.json", "bench --out"]);
    refused(&["report", "no/such/folder"], &["no/such/folder"]);
    let out = dir.path().join("result");
    bench(&fixture("llama-tiny"), &out);
    let result = out.to_str().unwrap();
    for file in ["summary.csv", "results.json", "nothing.json"] {
        let file = out.join(file);
        let file = file.to_str().unwrap();
        refused(
            &["report", result, "--profile", file],
            &["--profile", file, "profile --json"],
        );
    }
    fs::remove_file(out.join("report.html")).unwrap();
    let file = out.join("results.json");
    run(&["report", file.to_str().unwrap()]).succeeded();
    assert!(out.join("report.html").is_file());
    let steps = out.join("steps.jsonl");
    let text = fs::read_to_string(&steps).unwrap();
    fs::write(&steps, text.replacen("{\"run\":0", "{\"run\":7", 1)).unwrap();
    refused(&["report", result], &["steps.jsonl, line 1", "run 7"]);
    fs::write(&steps, "{\n").unwrap();
    refused(&["report", result], &["steps.jsonl, line 1"]);
    fs::write(&steps, text).unwrap();
    refused(
        &["report", result, "--output", "no/such/folder/page.html"],
        &["--output", "no/such/folder"],
    );
    fs::write(
        out.join("results.json"),
        "{\"schema\":\"candlepower/results/9\"}",
    )
    .unwrap();
    refused(
        &["report", result],
        &["results.json", "candlepower/results/9"],
    );
}

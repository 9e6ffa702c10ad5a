//! `compare` as users run it: verdicts, differences, definitions, baselines.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::cli_support::{Outcome, run};

fn fixture(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/imports");
    dir.join(name).display().to_string()
}

/// A run of a simulated card.
struct Sim {
    dir: TempDir,
}

impl Sim {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A card that is so much slower than an RTX 4090.
    fn card(&self, part: f64) -> String {
        let file = self.path(&format!("card-{part}.toml"));
        let text = format!(
            "name = \"test\"\nfull_name = \"Test card\"\ncompute_capability = \"8.9\"\nmemory_gib = 23.5\n\
             bandwidth_gb_s = {}\nfp16_tflops = {}\nbf16_tflops = {}\n",
            1008.0 * part,
            165.0 * part,
            165.0 * part
        );
        std::fs::write(&file, text).unwrap();
        format!("sim:{}", file.display())
    }

    fn play(&self, name: &str, device: &str, more: &[&str]) -> String {
        let out = self.path(name).display().to_string();
        let model = [
            "bench",
            "--model",
            "Qwen2.5-0.5B",
            "--device",
            device,
            "--reference",
            "none",
        ];
        let args = [&model[..], &["--out", &out, "--quiet"], more].concat();
        run(&args).succeeded();
        out
    }
}

fn compare(args: &[&str]) -> Outcome {
    run(&[&["compare", "--json"][..], args].concat())
}

fn metric<'a>(compared: &'a Value, name: &str) -> &'a Value {
    let metrics = compared["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|metric| metric["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {compared}"))
}

fn differs(compared: &Value, what: &str) -> bool {
    let list = compared["differences"].as_array().unwrap();
    list.iter().any(|difference| difference["what"] == what)
}

const CLOSED: [&str; 6] = [
    "--concurrency",
    "4",
    "--requests",
    "40",
    "--output-len",
    "16",
];

#[test]
fn one_seed_is_no_change_and_a_slower_card_is_slower() {
    let sim = Sim::new();
    let (whole, slow) = (sim.card(1.0), sim.card(0.9));
    let (a, b) = (
        sim.play("a", &whole, &CLOSED),
        sim.play("b", &whole, &CLOSED),
    );
    let c = sim.play("c", &slow, &CLOSED);
    let same = compare(&[&a, &b]).succeeded().json();
    assert_eq!(same["verdict"], "no change", "{same}");
    assert_eq!(metric(&same, "output_throughput")["ratio"], 1.0);
    assert!(metric(&same, "mean_tpot_ms")["low"].is_number());
    let slower = compare(&[&a, &c]);
    assert_eq!(slower.code, Some(3), "{slower:?}");
    assert_eq!(slower.json()["verdict"], "slower");
    assert!(differs(&slower.json(), "device"));
    // The other way round, and within a wider tolerance.
    let faster = compare(&[&c, &a]).succeeded().json();
    assert_eq!(faster["verdict"], "faster");
    let wide = compare(&[&a, &c, "--tolerance", "30%"]).succeeded().json();
    assert_eq!(wide["verdict"], "no change", "{wide}");
}

#[test]
fn of_several_loads_the_verdict_names_each() {
    let sim = Sim::new();
    let loads = "--concurrency 2,4 --requests 8 --output-len 8";
    let loads: Vec<&str> = loads.split(' ').collect();
    let a = sim.play("a", &sim.card(1.0), &loads);
    let said = run(&["compare", &a, &a]).succeeded().stdout;
    let verdict = "no change: c2 output_throughput 1.000, c2 mean_ttft_ms 1.000";
    assert!(said.contains(verdict), "{said}");
    assert!(said.contains("c4 output_throughput 1.000"), "{said}");
}

/// How fast the CPU is changes while others use it, so that a pair of plays may differ beyond what either tells of itself.
/// What cannot change is the work, what differs besides, and that one of two is not slower both ways.
#[test]
fn one_seed_on_the_cpu_is_the_same_work_and_seldom_another_speed() {
    const PAIRS: usize = 5;
    let dir = tempfile::tempdir().unwrap();
    let model = crate::cli_support::fixture("llama-tiny");
    let play = |name: String| {
        let out = dir.path().join(name).display().to_string();
        let load = "--concurrency 4 --requests 32 --input-len 8 --output-len 8 --kv-cache-memory 16M --threads 1 --quiet";
        let load: Vec<&str> = load.split(' ').collect();
        let args = ["bench", "--model", &model, "--format", "csv", "--out", &out];
        run(&[&args[..], &load].concat()).succeeded();
        out
    };
    let mut verdicts = Vec::new();
    for pair in 0..PAIRS {
        let [a, b] = ["a", "b"].map(|name| play(format!("{pair}{name}")));
        let outcome = compare(&[&a, &b, "--tolerance", "10%"]);
        let compared = outcome.json();
        let [one, other] = [&a, &b].map(|dir| {
            let text = std::fs::read_to_string(format!("{dir}/results.json")).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["runs"][0]["extended"].clone()
        });
        for name in ["completed", "total_input_tokens", "total_output_tokens"] {
            assert_eq!(one[name], other[name], "{name}");
        }
        assert_eq!(compared["differences"], serde_json::json!([]), "{compared}");
        let verdict = compared["verdict"].as_str().unwrap().to_owned();
        let code = if verdict == "slower" { 3 } else { 0 };
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        let back = compare(&[&b, &a, "--tolerance", "10%"]).json();
        let slower = [&compared, &back].map(|one| one["verdict"] == "slower");
        assert_ne!(slower, [true; 2], "{compared} {back}");
        let itself = compare(&[&a, &a]).succeeded().json();
        assert_eq!(itself["verdict"], "no change");
        if ["no change", "inconclusive"].contains(&&*verdict) {
            return;
        }
        verdicts.push(verdict);
    }
    panic!("{PAIRS} pairs of the same work, and each differs: {verdicts:?}");
}

#[test]
fn a_slower_card_is_slower_at_any_seed() {
    let sim = Sim::new();
    let cards = [sim.card(1.0), sim.card(0.9)];
    for trial in 0..20 {
        let results = [0, 1].map(|at: usize| {
            let seed = (2 * trial + at).to_string();
            let load = [
                "--request-rate",
                "8",
                "--requests",
                "120",
                "--output-len",
                "32",
            ];
            let more = [&load[..], &["--seed", &seed]].concat();
            sim.play(&format!("{trial}-{at}"), &cards[at], &more)
        });
        let outcome = compare(&[&results[0], &results[1]]);
        assert_eq!(outcome.code, Some(3), "trial {trial}: {outcome:?}");
        assert!(differs(&outcome.json(), "setting seed"));
    }
}

#[test]
fn equal_machines_are_seldom_called_unequal() {
    const PAIRS: usize = 200;
    let sim = Sim::new();
    let card = sim.card(1.0);
    let mut alarms = 0;
    let mut before: Option<String> = None;
    for seed in 0..2 * PAIRS {
        let load = [
            "--request-rate",
            "20",
            "--requests",
            "120",
            "--output-len",
            "32",
        ];
        let seed_text = seed.to_string();
        let more = [&load[..], &["--seed", &seed_text]].concat();
        let result = sim.play(&format!("{seed}"), &card, &more);
        let Some(other) = before.take() else {
            before = Some(result);
            continue;
        };
        let verdict = compare(&[&other, &result]).json()["verdict"].clone();
        alarms += usize::from(verdict == "slower" || verdict == "faster");
    }
    // 5 % of them may.
    assert!(alarms <= PAIRS / 20, "{alarms} of {PAIRS} pairs");
}

#[test]
fn repeats_give_their_own_interval() {
    let sim = Sim::new();
    let card = sim.card(1.0);
    let more = [&CLOSED[..], &["--repeats", "3"]].concat();
    let a = sim.play("a", &card, &more);
    let b = sim.play("b", &card, &CLOSED);
    let both = compare(&[&a, &a]).succeeded().json();
    let reason = metric(&both, "mean_tpot_ms")["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.starts_with("t over repeats"), "{reason}");
    let mixed = compare(&[&a, &b]).json();
    let reason = metric(&mixed, "mean_tpot_ms")["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.contains("blocks of time of the second"), "{reason}");
}

#[test]
fn figures_of_other_definitions_are_not_divided() {
    let outcome = compare(&[&fixture("vllm-serve.json"), &fixture("trtllm-bench.json")]);
    let compared = outcome.json();
    for name in ["mean_tpot_ms", "p99_e2el_ms"] {
        let metric = metric(&compared, name);
        assert_eq!(metric["ratio"], Value::Null, "{metric}");
        let reason = metric["reason"].as_str().unwrap();
        assert!(reason.contains("is defined as"), "{reason}");
    }
    assert_eq!(metric(&compared, "output_throughput")["ratio"], 1.0);
    assert!(differs(&compared, "tool") && differs(&compared, "engine"));
    // vLLM's own with itself, chunks with tokens: not.
    let chunks = compare(&[
        &fixture("vllm-serve.json"),
        &fixture("vllm-serve-chunks.json"),
    ])
    .json();
    assert_eq!(metric(&chunks, "mean_itl_ms")["ratio"], Value::Null);
    assert!(metric(&chunks, "mean_tpot_ms")["ratio"].is_number());
    assert!(differs(&chunks, "requests"));
}

#[test]
fn other_tools_alike_are_compared() {
    let one = compare(&[&fixture("llama-bench.jsonl"), &fixture("llama-bench.md")]).succeeded();
    let one = one.json();
    // Its two tests pair by what they are.
    assert_eq!(one["metrics"].as_array().unwrap().len(), 4, "{one}");
    assert_eq!(one["verdict"], "no change");
    let ours = Sim::new();
    let card = ours.card(1.0);
    let out = ours.play("a", &card, &CLOSED);
    // Our own vllm.json says what results.json does.
    let vllm = format!("{out}/vllm.json");
    let same = compare(&[&out, &vllm]).succeeded().json();
    for name in [
        "output_throughput",
        "mean_tpot_ms",
        "mean_itl_ms",
        "mean_e2el_ms",
    ] {
        let ratio = metric(&same, name)["ratio"].as_f64().unwrap();
        assert!((ratio - 1.0).abs() < 1e-9, "{name}: {ratio}");
    }
}

#[test]
fn profiles_are_compared_operation_by_operation() {
    let dir = tempfile::tempdir().unwrap();
    let profile = |name: &str, device: &str| {
        let args = [
            "profile",
            "--model",
            "Qwen2.5-0.5B",
            "--device",
            device,
            "--json",
            "--quiet",
        ];
        let path = dir.path().join(name).display().to_string();
        std::fs::write(&path, run(&args).succeeded().stdout).unwrap();
        path
    };
    let sim = Sim::new();
    let (a, b) = (
        profile("a.json", &sim.card(1.0)),
        profile("b.json", &sim.card(0.8)),
    );
    let outcome = compare(&[&a, &b]);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let compared = outcome.json();
    assert!(metric(&compared, "step_us")["ratio"].as_f64().unwrap() > 1.05);
    let metrics = compared["metrics"].as_array().unwrap();
    let operations = metrics
        .iter()
        .filter(|m| m["name"].as_str().unwrap().starts_with("op "));
    assert!(operations.count() > 3);
}

#[test]
fn baselines_are_kept_by_name() {
    let sim = Sim::new();
    let (whole, slow) = (sim.card(1.0), sim.card(0.9));
    let (a, b) = (
        sim.play("a", &whole, &CLOSED),
        sim.play("b", &slow, &CLOSED),
    );
    let kept = sim.path("kept").display().to_string();
    let with = |args: &[&str]| compare(&[args, &["--baselines", &kept]].concat());
    with(&[&a, "--save-baseline", "main"]).succeeded();
    assert_eq!(with(&[&b, "--baseline", "main"]).code, Some(3));
    // Saved after it was compared with what was there.
    assert_eq!(
        with(&[&b, "--baseline", "main", "--save-baseline", "main"]).code,
        Some(3)
    );
    with(&[&b, "--baseline", "main"]).succeeded();
    let none = with(&[&b, "--baseline", "other"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("--save-baseline other"), "{none:?}");
    for bad in ["../x", "", ".x"] {
        assert_eq!(with(&[&b, "--baseline", bad]).code, Some(2), "{bad}");
    }
}

#[test]
fn what_cannot_be_compared_is_said_in_a_sentence() {
    let said = |args: &[&str]| {
        let outcome = compare(args);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        outcome.stderr
    };
    let (one, dir) = (fixture("vllm-serve.json"), tempfile::tempdir().unwrap());
    assert!(said(&[&one]).contains("--baseline NAME"));
    assert!(said(&[&one, "nowhere"]).contains("no such file or directory"));
    let empty = dir.path().display().to_string();
    assert!(said(&[&one, &empty]).contains("holds no results.json"));
    assert!(said(&[&one, "reference:nobody"]).contains("no such reference run"));
    assert!(said(&[&one, &one, "--tolerance", "120%"]).contains("below 100 %"));
}

#[test]
fn every_format_says_the_same() {
    let args = [fixture("vllm-serve.json"), fixture("trtllm-bench.json")];
    let shown = |format: &str| {
        let all = ["compare", &args[0], &args[1], "--format", format];
        let outcome = run(&all);
        assert!(matches!(outcome.code, Some(0 | 3)), "{outcome:?}");
        outcome.stdout
    };
    for format in ["table", "markdown", "csv", "html", "json"] {
        let text = shown(format);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("output_throughput"), "{format}: {text}");
        assert!(text.contains("counted as 0"), "{format}: {text}");
    }
    assert!(shown("html").starts_with("<!doctype html>"));
    assert!(!shown("html").contains("http"));
    assert!(shown("markdown").contains("| output_throughput | 120"));
}

/// Who compares sees what a file's own numbers are worth, before they are divided.
#[test]
fn what_does_not_add_up_is_said() {
    let (merged, whole) = (
        fixture("vllm-serve-merged.json"),
        fixture("vllm-serve.json"),
    );
    let compared = compare(&[&whole, &merged, "--tolerance", "99%"]).json();
    let remarks = compared["remarks"].as_array().unwrap();
    assert_eq!(remarks.len(), 3, "{compared}");
    for remark in remarks {
        assert_eq!(remark["of"], "b");
        let text = remark["text"].as_str().unwrap();
        assert!(text.starts_with("does not add up"), "{text}");
    }
    for format in ["table", "markdown", "html"] {
        let args = [
            "compare",
            &whole,
            &merged,
            "--tolerance",
            "99%",
            "--format",
            format,
        ];
        let shown = run(&args).stdout;
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("parts of several clients were merged"),
            "{shown}"
        );
    }
    let same = compare(&[&whole, &whole]).json();
    assert_eq!(same["remarks"], serde_json::json!([]));
}

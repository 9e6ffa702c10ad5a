//! Words, commands, prices and exit codes.

use candlepower::recommend::{Recommendation, Recommended};
use serde_json::Value;

use super::{asked, recommended};
use crate::cli_support::{Outcome, command, fixture, refused, run};
use crate::fit::checkpoints::llama_gguf;
use crate::simulated::quantised;

const WISH: &str = "--model DeepSeek-R1-Distill-Llama-8B --max-model-len 4096 --concurrency 40 --input-len 1024 --output-len 256";

/// A command of this program, as words of its command line.
fn words(line: &str) -> Vec<&str> {
    let words = line.strip_prefix("candlepower ").unwrap();
    words.split(' ').collect()
}

#[test]
fn the_json_is_as_its_schema_says() {
    let found = asked(&format!("{WISH} --gpu h100-sxm,l40s --slo tpot:40"))
        .succeeded()
        .json();
    let validator = jsonschema::validator_for(&Recommendation::schema()).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(&found)
        .map(|e| e.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    let layouts = found["layouts"].as_array().unwrap();
    let prices: Vec<f64> = layouts
        .iter()
        .map(|l| l["price_per_hour"].as_f64().unwrap())
        .collect();
    assert!(prices.len() > 1 && prices.is_sorted(), "{prices:?}");
    for layout in layouts {
        assert_eq!(layout["verdict"], "FITS");
        assert!(layout["command"]["vllm"].is_string(), "{layout}");
        assert!(layout["price"]["source"].as_str().unwrap().contains("2026"));
        let figures = &layout["predicted"];
        assert!(
            figures["tpot_ms"].as_f64().unwrap() <= 40.0
                && figures["capacity"].as_f64() >= Some(40.0)
        );
    }
}

#[test]
fn commands_say_what_was_judged() {
    let found = recommended(
        "--model QwQ-32B --gpu a100-80g --gpus 2 --tp 2 --max-model-len 8192 --concurrency 20 --max-num-seqs 64",
    );
    let layout = &found.layouts[0];
    assert_eq!(
        layout.command.vllm.as_deref(),
        Some(
            "vllm serve Qwen/QwQ-32B --tensor-parallel-size 2 --max-model-len 8192 --gpu-memory-utilization 0.9 --max-num-seqs 64 --max-num-batched-tokens 2048"
        )
    );
    let sglang = layout.command.sglang.as_deref().unwrap();
    assert!(sglang.starts_with("python -m sglang.launch_server --model-path Qwen/QwQ-32B --tp-size 2 --context-length 8192 --mem-fraction-static 0."), "{sglang}");
    assert!(sglang.ends_with("--max-running-requests 64"), "{sglang}");
    let own = layout.command.candlepower.as_deref().unwrap();
    let mut settings = words(own);
    settings.push("--print-config");
    let printed = run(&settings).succeeded().stdout;
    for line in [
        "tp = 2",
        "max-model-len = 8192",
        "max-num-seqs = 64",
        "concurrency = [20]",
    ] {
        assert!(
            printed.contains(line) || line.starts_with("concurrency"),
            "{line}: {printed}"
        );
    }
    assert!(layout.absent["llama_server"].contains("GGUF"));
}

#[test]
fn the_simulated_command_draws_what_was_predicted() {
    // Two copies, of which the command plays one.
    for flags in ["--gpu h100-sxm --gpus 1", "--gpu l40s --gpus 4 --tp 2"] {
        draws_what_was_predicted(&recommended(&format!("{WISH} {flags}")).layouts[0]);
    }
}

/// However long its requests take: ten times as long as one alone, or as many as the percentile needs.
#[test]
fn the_simulated_command_of_an_open_loop_is_as_long_as_what_was_predicted() {
    let wish = "--model Qwen2.5-0.5B --max-model-len 4096 --request-rate 20 --input-len 1024 --output-len 256 --slo tpot:50";
    for flags in ["--gpu h100-sxm --gpus 1", "--gpu l40s --gpus 2 --tp 1"] {
        let found = recommended(&format!("{wish} {flags}"));
        let layout = &found.layouts[0];
        draws_what_was_predicted(layout);
        let own = layout.command.candlepower.as_deref().unwrap();
        let requests = |line: &str| {
            let words = words(line);
            let at = words.iter().position(|word| *word == "--requests").unwrap();
            words[at + 1].parse::<usize>().unwrap()
        };
        let simulated = layout.command.simulated.as_deref().unwrap();
        assert_eq!(requests(own), requests(simulated));
        // A minute of it would be as many.
        assert_ne!(requests(own), 60 * 20 / layout.replicas);
    }
}

fn draws_what_was_predicted(layout: &Recommended) {
    let predicted = layout.predicted.as_ref().unwrap();
    let mut line = words(layout.command.simulated.as_deref().unwrap());
    line.push("--json");
    let played = run(&line).succeeded().json();
    let figure = |name: &str| played["runs"][0]["extended"][name].as_f64().unwrap();
    let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-6, "{line:?}: {a} {b}");
    near(figure("p95_ttft_ms"), predicted.ttft_ms.unwrap());
    near(figure("p95_tpot_ms"), predicted.tpot_ms.unwrap());
    let all = figure("output_throughput") * layout.replicas as f64;
    near(all, predicted.output_throughput.unwrap());
}

#[test]
fn weights_that_only_other_engines_run_are_timed_behind_their_server() {
    let dir = tempfile::tempdir().unwrap();
    let model = quantised::write(dir.path(), Some(quantised::awq()));
    // No prompt is read for it.
    let tokenizer = dir.path().join("tokenizer.json");
    std::fs::write(&tokenizer, "{").unwrap();
    let wish = format!(
        "--model {model} --gpu rtx4090-24g --gpus 1 --max-model-len 2048 --concurrency 4 --slo tpot:20"
    );
    let found = recommended(&wish);
    std::fs::remove_file(tokenizer).unwrap();
    let layout = &found.layouts[0];
    assert_eq!(layout.quantisation.as_deref(), Some("awq"));
    draws_what_was_predicted(layout);
    assert!(layout.command.vllm.is_some() && layout.command.candlepower.is_none());
    let reason = &layout.absent["candlepower"];
    assert!(reason.contains("own engine does not run"), "{reason}");
    let own = format!("fit --recommend {wish} --engine candlepower");
    let own: Vec<&str> = own.split(' ').collect();
    refused(&own, &["awq", "--engine vllm", "leave out --slo"]);
}

#[test]
fn copies_are_one_server_or_several() {
    let dense = recommended(&format!("{WISH} --gpu l40s --gpus 2 --tp 1"));
    let layout = &dense.layouts[0];
    assert_eq!(layout.replicas, 2);
    assert!(
        layout
            .command
            .vllm
            .as_deref()
            .unwrap()
            .ends_with("--data-parallel-size 2")
    );
    assert!(
        layout
            .command
            .sglang
            .as_deref()
            .unwrap()
            .contains("--tp-size 1 --dp-size 2")
    );
    assert!(
        layout
            .command
            .candlepower
            .as_deref()
            .unwrap()
            .contains("--concurrency 20 --requests 80")
    );
    let experts = fixture("qwen3-moe-tiny");
    let found = recommended(&format!(
        "--model {experts} --gpu l4 --gpus 2 --tp 1 --concurrency 4 --input-len 8 --output-len 8"
    ));
    let servers = found.layouts[0].command.vllm.clone().unwrap();
    let servers: Vec<&str> = servers.split(" & ").collect();
    assert_eq!(servers.len(), 2);
    assert!(
        servers[1].starts_with("CUDA_VISIBLE_DEVICES=1 vllm serve ")
            && servers[1].ends_with("--port 8001")
    );
}

#[test]
fn prices_of_ones_own_decide_and_cards_without_come_last() {
    let order = |more: &str| -> Vec<String> {
        let found = recommended(&format!(
            "{WISH} --gpu h100-sxm,l40s,rtx4090-48g --gpus 1 {more}"
        ));
        found.layouts.into_iter().map(|layout| layout.gpu).collect()
    };
    assert_eq!(order(""), ["l40s", "h100-sxm", "rtx4090-48g"]);
    assert_eq!(
        order("--price rtx4090-48g=0.5,h100-sxm=0.6"),
        ["rtx4090-48g", "h100-sxm", "l40s"]
    );
    assert_eq!(order("--max-price 1"), ["l40s"]);
    assert_eq!(order("--top 1"), ["l40s"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prices.toml");
    std::fs::write(
        &file,
        "[price]\nh100-sxm = { usd_per_hour = 0.1, source = \"ours\" }",
    )
    .unwrap();
    let found = recommended(&format!(
        "{WISH} --gpu h100-sxm --gpus 1 --price {}",
        file.display()
    ));
    assert_eq!(found.layouts[0].price.as_ref().unwrap().source, "ours");
    refused(
        &["fit", "--recommend", "--price", "h100-sxm=x"],
        &["--price h100-sxm=x"],
    );
    refused(
        &["fit", "--recommend", "--price", "h100-sxm"],
        &["--price h100-sxm", "give CARD=USD"],
    );
    let stages = run(&["fit", "--recommend", "--gpu", "h100-sxm", "--pp", "2"]);
    assert!(
        stages.code == Some(2) && stages.stderr.contains("'--pp <N>'"),
        "{stages:?}"
    );
}

/// A file of 4.9 GiB, without its data.
#[test]
fn a_gguf_file_is_started_by_llama_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("llama-Q4_K.gguf");
    llama_gguf(&path);
    let model = path.display();
    // All requests together have more tokens than the model has positions.
    let wish =
        format!("--model {model} --gpu a100-80g,rtx4090-24g --max-model-len 4096 --concurrency 40");
    let found = recommended(&wish);
    let layout = &found.layouts[0];
    assert_eq!(
        (found.engine.as_str(), layout.predicted.is_some()),
        ("llama.cpp", false)
    );
    assert_eq!(layout.quantisation.as_deref(), Some("gguf"));
    assert_eq!(
        layout.command.llama_server.clone().unwrap(),
        format!(
            "llama-server -m {model} -c 163840 -np 40 -ngl 999 -ub 512 -fa on -ctk f16 -ctv f16"
        )
    );
    for name in ["vllm", "sglang", "candlepower", "simulated"] {
        assert!(!layout.absent[name].is_empty());
    }
    let path = path.to_str().unwrap();
    let asked = ["fit", "--recommend", "--model", path];
    refused(
        &[&asked[..], &["--slo", "tpot:50"]].concat(),
        &["GGUF", "leave out --slo"],
    );
    let two = ["--gpu", "a100-80g", "--gpus", "2", "--format", "markdown"];
    let two = run(&[&asked[..], &two].concat()).succeeded().stdout;
    assert!(two.contains("**1. 2 x a100-80g, tp 1, pp 2**"), "{two}");
}

fn nearest(flags: &str) -> (Outcome, Value) {
    let outcome = asked(flags);
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let found = outcome.json();
    assert_eq!(found["layouts"].as_array().unwrap().len(), 0);
    (outcome, found["nearest"].clone())
}

#[test]
fn a_wish_that_nothing_holds_is_told_what_would() {
    let (_, slow) = nearest(&format!("{WISH} --gpu l40s --gpus 1 --slo tpot:25"));
    let reason = slow["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("tpot is ") && reason.ends_with("the limit 25"),
        "{reason}"
    );
    // What it names holds, and one more does not.
    let change = slow["changes"][0].as_str().unwrap();
    let most: usize = change
        .strip_prefix("--concurrency ")
        .unwrap()
        .parse()
        .unwrap();
    let with = |requests: usize| {
        let wish = WISH.replace("concurrency 40", &format!("concurrency {requests}"));
        asked(&format!("{wish} --gpu l40s --gpus 1 --slo tpot:25")).code
    };
    assert_eq!((with(most), with(most + 1)), (Some(0), Some(3)), "{most}");

    let (_, full) = nearest(&format!("{WISH} --gpu l4 --gpus 1"));
    assert!(
        full["reason"]
            .as_str()
            .unwrap()
            .starts_with("RUNS_QUEUED: "),
        "{full}"
    );
    assert!(
        full["changes"][0]
            .as_str()
            .unwrap()
            .starts_with("--concurrency "),
        "{full}"
    );

    let (_, small) = nearest("--model QwQ-32B --gpu t4,l4 --gpus 1 --max-model-len 4096");
    assert!(
        small["layout"].as_str().unwrap().starts_with("1 x l4"),
        "{small}"
    );
    assert!(
        small["changes"]
            .as_array()
            .is_some_and(|changes| !changes.is_empty()),
        "{small}"
    );

    let (_, dear) = nearest(&format!("{WISH} --gpu h100-sxm --gpus 1 --max-price 1"));
    assert_eq!(dear["changes"][0], "--max-price 2.69");
}

#[test]
fn a_rate_is_held_where_the_queue_does_not_grow() {
    let wish = "--model DeepSeek-R1-Distill-Llama-8B --gpu l40s --input-len 500 --output-len 50";
    let found = recommended(&format!("{wish} --gpus 1 --request-rate 2 --slo ttft:2000"));
    let predicted = found.layouts[0].predicted.as_ref().unwrap();
    assert!(predicted.capacity.unwrap() >= 2.0);
    // Thirty times as much takes more cards.
    let more = recommended(&format!(
        "{wish} --gpus 1,2,4,8 --request-rate 60 --slo ttft:2000"
    ));
    assert!(more.layouts[0].gpus > 1, "{:?}", more.layouts[0]);
}

#[test]
fn what_a_reader_sees_fits_his_terminal() {
    let flags = format!("fit --recommend {WISH} --gpu h100-sxm,l40s --slo tpot:40");
    let args: Vec<&str> = flags.split(' ').collect();
    let table = Outcome::of(command(&args).env("COLUMNS", "80").output().unwrap()).succeeded();
    for line in table.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(
        table.stdout.contains("vllm serve") && table.stdout.contains(" \\\n"),
        "{}",
        table.stdout
    );
    let markdown = run(&[&args[..], &["--format", "markdown"]].concat()).succeeded();
    assert!(
        markdown.stdout.contains("```bash\n# vllm\nvllm serve"),
        "{}",
        markdown.stdout
    );
}

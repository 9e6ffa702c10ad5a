//! The reference runs: all there, artefacts marked, definitions apart.

use candlepower::ground::results::{
    ClientMode, Figure, Kind, Metrics, ReferenceRun, Results, Scenario, ThroughputDefinition,
};
use candlepower::reference::artefacts::NON_STREAMING;
use candlepower::reference::{
    self, Reason, ReferenceError, comparable, from_results, library, load, named, value,
};

use super::fixture::results;

const MODEL: &str = "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B";

/// On no card that published figures are of.
fn select(
    choice: Option<&str>,
    model: &str,
    scenarios: &[Scenario],
) -> Result<Vec<ReferenceRun>, ReferenceError> {
    reference::select(choice, model, (None, 0), scenarios)
}

fn c50() -> Scenario {
    Scenario {
        concurrency: Some(50),
        input_len: Some(100),
        output_len: Some(601),
        ..Scenario::default()
    }
}

fn run(name: &str) -> ReferenceRun {
    let mut runs = named(name).unwrap();
    assert_eq!(runs.len(), 1, "{name}");
    runs.remove(0)
}

/// A run of ours at the same model and load as the references at concurrency 50.
fn ours() -> Results {
    let mut results = results();
    results.model.name = MODEL.to_owned();
    let run = &mut results.runs[0];
    let goodput = run.scenario.goodput;
    run.scenario = Scenario { goodput, ..c50() };
    let metrics = &mut run.metrics;
    (metrics.total_requests, metrics.successful_requests) = (Some(200), Some(200));
    metrics.total_tokens_generated = Some(200 * 601);
    results
}

#[test]
fn every_row_is_there_and_every_null_explained() {
    let library = library().unwrap();
    let failed = library.iter().filter(|run| run.failure.is_some()).count();
    assert_eq!((library.len() - failed, failed), (20, 5));
    for run in &library {
        assert_eq!(run.kind, Kind::Reference);
        let entries = run.metrics.entries();
        let mut nulls: Vec<&String> = entries.keys().filter(|k| entries[*k].is_null()).collect();
        nulls.sort_unstable();
        assert_eq!(
            nulls,
            run.not_observed.keys().collect::<Vec<_>>(),
            "{}",
            run.name
        );
    }
    let mut names: Vec<&str> = library.iter().map(|run| run.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), library.len());
}

#[test]
fn what_the_client_could_not_see_is_null_and_kept_raw() {
    let library = library().unwrap();
    let rtx = library
        .iter()
        .filter(|run| run.hardware.name.starts_with("rtx"));
    let rtx: Vec<_> = rtx.filter(|run| run.failure.is_none()).collect();
    assert_eq!(rtx.len(), 14);
    for run in rtx {
        assert_eq!(run.client_mode, ClientMode::NonStreaming, "{}", run.name);
        assert_eq!(run.metrics.avg_first_token_latency, None);
        assert_eq!(run.metrics.avg_tpot, None);
        for name in ["avg_first_token_latency", "avg_tpot", "p95_tpot"] {
            assert_eq!(run.not_observed[name], NON_STREAMING);
        }
        assert_eq!(run.raw["avg_tpot"], 0.0);
        assert_eq!(
            run.throughput_definition,
            Some(ThroughputDefinition::Output)
        );
    }
    let idle = run("rtx4090-48g-x2/DeepSeek-R1-Distill-Qwen-14B/c1");
    assert_eq!(idle.metrics.cpu_percent, None);
    assert_eq!(idle.raw["cpu_percent"], 0.0);
    assert!(idle.not_observed["cpu_percent"].contains("serving"));
    let busy = run("rtx4090-48g-x2/DeepSeek-R1-Distill-Qwen-14B/c50");
    assert_eq!(busy.metrics.cpu_percent, Some(187.7695));
    assert_eq!(busy.metrics.avg_gpu_temp_c, Some(48.78));
}

#[test]
fn rows_that_count_their_input_and_stopped_early_say_so() {
    let library = library().unwrap();
    let a100: Vec<_> = library
        .iter()
        .filter(|r| r.hardware.name == "a100-80g-x1")
        .collect();
    assert_eq!(a100.len(), 6);
    for run in a100 {
        let counts = run.throughput_definition;
        // One row prints neither duration nor a contradiction; all six can be told.
        assert_eq!(
            counts,
            Some(ThroughputDefinition::InputAndOutput),
            "{}",
            run.name
        );
        assert_eq!(run.client_mode, ClientMode::Streaming);
        assert!(run.tokens_per_request.unwrap() < 601.0);
        assert!(
            run.notes.iter().any(|note| note.contains("ended early")),
            "{:?}",
            run.notes
        );
        assert!(
            run.notes
                .iter()
                .any(|note| note.contains("requests in all"))
        );
    }
    let qwen = run("a100-80g-x1/DeepSeek-R1-Distill-Qwen-14B/c50");
    assert!((qwen.tokens_per_request.unwrap() - 357.94).abs() < 1e-9);
    assert_eq!(qwen.metrics.avg_tpot, Some(0.02531));
}

#[test]
fn failed_runs_keep_their_words() {
    let run = run("rtx4090-48g-x8/DeepSeek-R1-Distill-Qwen-32B/c1000");
    assert_eq!(run.failure.as_deref(), Some("timed out, not completed"));
    assert_eq!((run.concurrency, run.requests), (Some(1000), Some(5000)));
    assert_eq!(run.not_observed["avg_latency"], "timed out, not completed");
    assert_eq!(run.backend, "vLLM");
}

#[test]
fn only_figures_of_one_definition_have_a_ratio() {
    let results = ours();
    let ours = &from_results(&results, "ours")[0];
    let rtx = &run("rtx4090-48g-x2/DeepSeek-R1-Distill-Qwen-14B/c50");
    let a100 = &run("a100-80g-x1/DeepSeek-R1-Distill-Qwen-14B/c50");
    for metric in [
        "overall_total_throughput",
        "output_tokens_per_sec",
        "avg_latency",
    ] {
        assert_eq!(comparable(metric, ours, rtx), Ok(()), "{metric}");
    }
    assert_eq!(comparable("output_tokens_per_sec", ours, a100), Ok(()));

    let total = comparable("overall_total_throughput", ours, a100).unwrap_err();
    let Reason::Definition {
        ours: o, theirs: t, ..
    } = &total
    else {
        panic!("{total}");
    };
    assert_eq!(o, "output tokens / duration");
    assert_eq!(t, "prompt and output tokens / duration");
    let ttft = comparable("avg_first_token_latency", ours, a100);
    assert!(matches!(ttft, Err(Reason::Definition { .. })), "{ttft:?}");
    let ttft = comparable("avg_first_token_latency", ours, rtx);
    assert!(matches!(ttft, Err(Reason::NotObserved { .. })), "{ttft:?}");
    let rate = comparable("requests_per_sec", ours, a100);
    assert!(matches!(rate, Err(Reason::Load { .. })), "{rate:?}");
    let duration = comparable("total_duration", ours, a100);
    assert!(matches!(duration, Err(Reason::Load { .. })), "{duration:?}");
    let other = &run("rtx4090-48g-x2/QwQ-32B/c50");
    let model = comparable("output_tokens_per_sec", ours, other);
    assert!(matches!(model, Err(Reason::Model { .. })), "{model:?}");
    let alone = &run("rtx4090-48g-x2/DeepSeek-R1-Distill-Qwen-14B/c1");
    let load = comparable("output_tokens_per_sec", ours, alone);
    assert!(matches!(load, Err(Reason::Load { .. })), "{load:?}");
}

#[test]
fn references_are_chosen_by_load_name_or_file() {
    let names =
        |runs: Vec<ReferenceRun>| -> Vec<String> { runs.into_iter().map(|run| run.name).collect() };
    let found = select(None, "DEEPSEEK-R1-distill-qwen-14b", &[c50()]).unwrap();
    let both = [
        "rtx4090-48g-x2/DeepSeek-R1-Distill-Qwen-14B/c50",
        "a100-80g-x1/DeepSeek-R1-Distill-Qwen-14B/c50",
    ];
    assert_eq!(names(found), both);
    let mut short = c50();
    short.output_len = Some(32);
    assert!(select(None, MODEL, &[short]).unwrap().is_empty());
    assert!(select(Some("none"), MODEL, &[c50()]).unwrap().is_empty());
    let found = select(Some("a100-80g-x1"), MODEL, &[c50()]).unwrap();
    assert_eq!(names(found), both[1..]);
    // Asked for by name, a machine stands beside another model too.
    let found = select(Some("a100-80g-x1"), "Qwen2.5-0.5B", &[c50()]).unwrap();
    assert_eq!(found.len(), 3);
    // The model that did not even load stands beside every load of it.
    let found = select(None, "DeepSeek-R1-Distill-Qwen-32B", &[c50()]).unwrap();
    assert!(names(found).contains(&"rtx4090-48g-x2/DeepSeek-R1-Distill-Qwen-32B/load".to_owned()));
}

#[test]
fn unknown_names_and_broken_files_are_named() {
    let error = select(Some("h100"), MODEL, &[c50()])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("h100") && error.contains("rtx4090-48g-x2"),
        "{error}"
    );
    assert!(error.contains("a100-80g-x1"), "{error}");
    let one = select(Some("a100-80g-x1/QwQ-32B/c300"), MODEL, &[c50()]);
    assert_eq!(one.unwrap().len(), 1, "a run has a name of its own");
    let missing = select(Some("missing.json"), MODEL, &[c50()]).unwrap_err();
    assert!(matches!(missing, ReferenceError::Read { .. }));
    assert!(missing.to_string().contains("missing.json"));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("odd.json");
    let fails = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let error = load(&file).unwrap_err().to_string();
        assert!(error.contains("odd.json"), "{error}");
        error
    };
    assert!(fails("{}").contains("it holds no result of"));
    assert!(fails(r#"{"schema": "candlepower/results/0"}"#).contains("results/0"));
    let published = include_str!("../../../models/vllm_reference.json");
    assert!(
        fails(&published.replacen("\"avg_latency\":", "\"latency\":", 1)).contains("`latency`")
    );
    assert!(fails(&published.replacen("11.541", "\"fast\"", 1)).contains("not a number"));
}

#[test]
fn our_own_results_are_a_reference_too() {
    let results = ours();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("results.json");
    std::fs::write(&file, candlepower::report::json(&results).unwrap()).unwrap();
    let found = select(file.to_str(), MODEL, &[c50()]).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, Kind::Measured);
    assert_eq!(found[0].metrics, results.runs[0].metrics);
    assert_eq!(found[0].extended.as_ref(), Some(&results.runs[0].extended));
    assert_eq!(value("mean_ttft_ms", &found[0]), Some(1500.0));
    let again = &from_results(&results, "again")[0];
    assert_eq!(comparable("mean_ttft_ms", again, &found[0]), Ok(()));
}

#[test]
fn published_figures_are_the_nearest_of_model_and_card() {
    let all = reference::nearest::all().unwrap();
    assert!(all.len() > 90);
    for run in &all {
        // Of some the file was seen and its address not kept, which is said.
        let sourced = run.source.starts_with("http") || run.source.ends_with("not recorded");
        let figures = [&run.figures, &run.beside];
        let has_one = run.metrics.output_tokens_per_sec.is_some()
            || figures.iter().any(|figures| !figures.is_empty());
        assert!(sourced && has_one, "{}", run.name);
    }
    let load = |concurrency| Scenario {
        concurrency: Some(concurrency),
        input_len: Some(100),
        output_len: Some(601),
        ..Scenario::default()
    };
    let select = |model: &str, card: &str, loads: &[Scenario]| {
        reference::select(Some("published"), model, (Some(card), 1), loads).unwrap()
    };
    // A tuned model has the shapes of its base.
    let found = select("Qwen2.5-0.5B", "a100-80g", &[load(1), load(8)]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].hardware.name, "a100-80g-x1");
    let notes = found[0].notes.join("; ");
    assert!(
        notes.contains("prompt tokens 6144 there, 100 here"),
        "{notes}"
    );
    assert!(select("Qwen2.5-0.5B", "l4", &[load(1)]).is_empty());
    assert!(select("Unknown-1B", "a100-80g", &[load(1)]).is_empty());
    // The library's runs of the same load on the same cards are published too.
    let on = |cards| {
        let on = (Some("rtx4090-48g"), cards);
        reference::select(Some("published"), "QwQ-32B", on, &[load(50)]).unwrap()
    };
    let names: Vec<String> = on(2).into_iter().map(|run| run.name).collect();
    assert!(
        names.contains(&"rtx4090-48g-x2/QwQ-32B/c50".to_owned()),
        "{names:?}"
    );
    assert!(!on(1).iter().any(|run| names.contains(&run.name)));
}

#[test]
fn a_published_figure_that_can_be_divided_by_comes_first() {
    let cases = reference::nearest::all().unwrap();
    let mut divided = 0;
    for case in cases.iter().filter(|case| case.concurrency.is_some()) {
        let (card, _) = case.hardware.name.rsplit_once("-x").unwrap();
        // The same load with a prompt that another figure may be nearer to.
        let scenario = Scenario {
            concurrency: case.concurrency,
            request_rate: case.request_rate,
            input_len: case.input_len.map(|tokens| 1 + tokens / 4),
            output_len: case.output_len,
            ..Scenario::default()
        };
        let on = (Some(card), case.hardware.gpus);
        let found = reference::select(Some("published"), &case.model, on, &[scenario]).unwrap();
        let ours = ReferenceRun {
            model: case.model.clone(),
            concurrency: case.concurrency,
            request_rate: case.request_rate,
            metrics: Metrics {
                output_tokens_per_sec: Some(1.0),
                ..Metrics::default()
            },
            ..ReferenceRun::default()
        };
        let rate = "output_tokens_per_sec";
        if comparable(rate, &ours, case).is_ok() && !found.is_empty() {
            assert_eq!(comparable(rate, &ours, &found[0]), Ok(()), "{}", case.name);
            divided += 1;
        }
    }
    assert!(divided > 20, "{divided}");
}

#[test]
fn a_refusal_says_what_each_side_means() {
    let ours = from_results(&results(), "here").remove(0);
    let mut theirs = ours.clone();
    theirs.extended = None;
    let figure = |definition: &str| Figure {
        value: 1.0,
        definition: definition.to_owned(),
    };
    let tpot = figure("tokens of the decode calls alone");
    theirs.figures.insert("mean_tpot_ms".to_owned(), tpot);
    theirs
        .figures
        .insert("mean_batch_size".to_owned(), figure("requests of a batch"));
    let refusal = |metric: &str| comparable(metric, &ours, &theirs).unwrap_err().to_string();
    assert_eq!(
        refusal("mean_tpot_ms"),
        "mean_tpot_ms is defined as (last token less first token) / (tokens - 1), each request alike here and as tokens of \
         the decode calls alone there"
    );
    assert_eq!(
        refusal("mean_batch_size"),
        "mean_batch_size is defined as docs/metrics.md says here and as requests of a batch there"
    );
}

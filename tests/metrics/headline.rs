//! The console's first screen, of runs with figures set by hand.

use candlepower::ground::results::{Check, Failure, GpuMetrics, Kind, Results, Run, Slo};
use candlepower::metrics::summarize;
use candlepower::reference::named;
use candlepower::report::headline;

use crate::fixture::{measured, raw, results, scenario};

/// Every figure of the screen, on a CPU.
fn run(concurrency: usize, output: f64) -> Run {
    let mut run = measured(&raw(), scenario());
    run.scenario.concurrency = Some(concurrency);
    run.scenario.requests = 64;
    (run.scenario.input_len, run.scenario.output_len) = (Some(100), Some(601));
    run.scenario.goodput = None;
    run.failures.clear();
    run.metrics.output_tokens_per_sec = Some(output);
    let extended = &mut run.extended;
    extended.output_throughput = Some(output);
    (extended.ttft.p50_ttft_ms, extended.ttft.p95_ttft_ms) = (Some(81.25), Some(245.0));
    (extended.tpot.p50_tpot_ms, extended.tpot.p95_tpot_ms) = (Some(20.5), Some(33.125));
    extended.bandwidth_utilization_percent = Some(83.9);
    extended.flop_utilization_percent = Some(0.6);
    extended.low_confidence.clear();
    run.not_observed.clear();
    run
}

fn of(runs: Vec<Run>) -> Results {
    let mut results = results();
    results.engine.threads = 2;
    results.repeats = summarize(&runs);
    results.runs = runs;
    results
}

/// Eight cards that told their power and energy.
fn on_gpus(mut runs: Vec<Run>) -> Results {
    for run in &mut runs {
        let watched = |index| GpuMetrics {
            index,
            name: "NVIDIA GeForce RTX 4090".to_owned(),
            mean_power_watts: Some(310.0),
            energy_j: Some(12_000.0),
            ..GpuMetrics::default()
        };
        run.gpus = (0..8).map(watched).collect();
        run.extended.energy_j = Some(96_000.0);
        run.extended.energy_per_output_token_j = Some(4.25);
        run.extended.output_throughput_per_gpu = run.extended.output_throughput.map(|o| o / 8.0);
    }
    let mut results = of(runs);
    (results.engine.threads, results.engine.tp) = (0, 8);
    results.hardware.device = "cuda".to_owned();
    results.hardware.name = "NVIDIA GeForce RTX 4090".to_owned();
    results.hardware.count = 8;
    results
}

fn predicted(server: Option<&str>) -> Results {
    let mut runs = vec![run(1, 26.4), run(50, 765.2)];
    for run in &mut runs {
        run.extended.output_throughput_per_gpu = run.extended.output_throughput.map(|o| o / 2.0);
    }
    let mut results = of(runs);
    results.kind = Kind::Predicted;
    (results.engine.threads, results.engine.tp) = (0, 2);
    results.engine.server = server.map(str::to_owned);
    results.hardware.device = "sim:rtx4090-48g".to_owned();
    results.hardware.count = 2;
    results
}

fn refer(results: &mut Results, model: &str, names: &[&str]) {
    results.model.name = format!("org/{model}");
    for name in names {
        results.references.extend(named(name).unwrap());
    }
}

/// The line of a screen that starts with `start`.
fn line<'a>(screen: &'a str, start: &str) -> &'a str {
    let found = screen.lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line {start:?} in\n{screen}"))
}

/// The words of all lines, however they are broken.
fn words(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fits(screen: &str, width: usize) {
    for line in screen.lines() {
        assert!(line.chars().count() <= width, "{line:?} in\n{screen}");
    }
}

#[test]
fn one_load_is_one_line() {
    let screen = headline(&of(vec![run(8, 52.052)]), 80);
    assert_eq!(
        screen,
        "\
Tiny in bf16, dummy weights on a CPU, 2 threads
measured; 100 tokens in, 601 out

    output    TTFT    TTFT    TPOT    TPOT  of the
     tok/s  p50 ms  p95 ms  p50 ms  p95 ms    roof
c8   52.05   81.25   245.0   20.50   33.12  84% BW

checks: all 4 hold
more: --format full shows every metric, --out DIR keeps them
"
    );
}

#[test]
fn gpus_add_their_share_and_their_energy() {
    let mut runs = vec![run(1, 52.0), run(300, 4160.0)];
    runs[1].extended.flop_utilization_percent = Some(91.2);
    let screen = headline(&on_gpus(runs), 80);
    assert_eq!(
        screen,
        "\
Tiny in bf16, dummy weights on 8 x NVIDIA GeForce RTX 4090, tp 8
measured; 100 tokens in, 601 out

      output    tok/s    TTFT    TTFT    TPOT    TPOT  energy    of the
       tok/s  per GPU  p50 ms  p95 ms  p50 ms  p95 ms   J/tok      roof
c1     52.00    6.500   81.25   245.0   20.50   33.12   4.250    84% BW
c300    4160    520.0   81.25   245.0   20.50   33.12   4.250  91% FLOP

checks: all 8 hold
more: --format full shows every metric, --out DIR keeps them
"
    );
}

#[test]
fn what_some_loads_lack_is_a_dash_with_its_reason_once() {
    let mut runs = vec![run(1, 52.0), run(2, 60.0), run(8, 70.0)];
    for (run, n) in runs.iter_mut().zip([2, 16]) {
        for name in ["p95_ttft_ms", "p95_tpot_ms"] {
            let reason = format!("p95 needs 20 values or more, there are {n}");
            run.not_observed.insert(name.to_owned(), reason);
        }
        (run.extended.ttft.p95_ttft_ms, run.extended.tpot.p95_tpot_ms) = (None, None);
        run.extended.low_confidence = vec!["p50_ttft_ms".to_owned(), "p50_itl_ms".to_owned()];
    }
    runs[2].extended.bandwidth_utilization_percent = None;
    runs[2].extended.flop_utilization_percent = None;
    let why = "the machine's roof was not measured in this run";
    let mut note = |name: &str| runs[2].not_observed.insert(name.to_owned(), why.to_owned());
    note("bandwidth_utilization_percent");
    note("a_metric_that_is_not_shown");
    let screen = headline(&of(runs), 100);
    let cells: Vec<&str> = line(&screen, "c1").split_whitespace().collect();
    assert_eq!(
        cells,
        ["c1", "52.00", "81.25~", "-", "20.50", "-", "84%", "BW"]
    );
    assert!(line(&screen, "c8").ends_with("33.12       -"), "{screen}");
    let reasons = "- not observed: p95 needs 20 values or more; the machine's roof was not measured in this run";
    assert!(words(&screen).contains(reasons), "{screen}");
    assert_eq!(screen.matches("not observed").count(), 1);
    assert_eq!(line(&screen, "~"), "~ from too few requests to be trusted");
    // No column without a figure in any load.
    assert!(
        !screen.contains("GPU") && !screen.contains("energy"),
        "{screen}"
    );
}

#[test]
fn a_real_record_s_nulls_are_explained() {
    let screen = headline(&results(), 80);
    let reasons = "- not observed: p95 needs 20 values or more\n";
    assert!(screen.contains(reasons), "{screen}");
    assert!(screen.contains("c4: 1 of 4 requests FAILED; the first: timed out after 2 s\n"));
    // 0.5 good requests a second of 0.75, and two of four.
    assert!(line(&screen, "c4  ").contains("0.5000  50.00%"), "{screen}");
}

#[test]
fn ratios_stand_where_the_figures_are_the_same_quantity() {
    let mut results = of(vec![run(50, 841.24), run(300, 1169.91)]);
    let model = "DeepSeek-R1-Distill-Qwen-14B";
    refer(&mut results, model, &["rtx4090-48g-x2", "a100-80g-x1"]);
    let same = |r: &candlepower::ground::results::ReferenceRun| {
        r.name.contains(model) && [Some(50), Some(300)].contains(&r.concurrency)
    };
    results.references.retain(same);
    let screen = words(&headline(&results, 80));
    assert!(
        screen.contains(
            "output tok/s over reference rtx4090-48g-x2 (vLLM): 1.000x at c50, 1.000x at c300"
        ),
        "{screen}"
    );
    assert!(
        screen.contains(
            "output tok/s over reference a100-80g-x1 (vLLM): 0.7421x at c50, 0.3508x at c300"
        ),
        "{screen}"
    );
}

#[test]
fn no_ratio_has_its_reason_in_words() {
    let c50_and_c300 = || of(vec![run(50, 900.0), run(300, 1198.98)]);
    // Published without its output rate.
    let mut results = c50_and_c300();
    let runs = ["a100-80g-x1/QwQ-32B/c50", "a100-80g-x1/QwQ-32B/c300"];
    refer(&mut results, "QwQ-32B", &runs);
    let screen = words(&headline(&results, 80));
    assert!(
        screen.contains(
            "reference a100-80g-x1 (vLLM): not comparable at c50 (its output tok/s is missing: not published), 2.000x at c300"
        ),
        "{screen}"
    );

    // Another model, at every load: said once.
    let mut results = c50_and_c300();
    let other = ["rtx4090-48g-x2/QwQ-32B/c50", "rtx4090-48g-x2/QwQ-32B/c300"];
    refer(&mut results, "Qwen3-0.6B", &other);
    let screen = words(&headline(&results, 80));
    let models =
        "(vLLM): not comparable: the models differ: org/Qwen3-0.6B here, Qwen/QwQ-32B there";
    assert!(screen.contains(models), "{screen}");
    assert_eq!(screen.matches("not comparable").count(), 1, "{screen}");

    // Failed before any load.
    let mut results = c50_and_c300();
    let failed = "rtx4090-48g-x2/DeepSeek-R1-Distill-Qwen-32B/load";
    refer(&mut results, "DeepSeek-R1-Distill-Qwen-32B", &[failed]);
    let screen = words(&headline(&results, 80));
    assert!(
        screen
            .contains("reference rtx4090-48g-x2 (vLLM): not comparable: it failed: failed to load"),
        "{screen}"
    );

    // No time of a virtual GPU is one.
    let mut results = c50_and_c300();
    results.kind = Kind::Virtual;
    refer(&mut results, "QwQ-32B", &runs[1..]);
    let screen = headline(&results, 80);
    assert!(
        words(&screen).contains("not comparable: no time of a virtual GPU"),
        "{screen}"
    );
    assert!(!screen.contains("x at"), "{screen}");
}

#[test]
fn a_prediction_says_so_in_the_head_and_in_every_line() {
    for (server, head) in [
        (
            None,
            "PREDICTED, not measured: raw capacity, no server; 100 tokens in, 601 out",
        ),
        (
            Some("vllm"),
            "PREDICTED, not measured: behind vllm; 100 tokens in, 601 out",
        ),
    ] {
        let mut results = predicted(server);
        refer(&mut results, "QwQ-32B", &["rtx4090-48g-x2/QwQ-32B/c50"]);
        let screen = headline(&results, 80);
        assert_eq!(screen.lines().nth(1), Some(head));
        assert!(
            line(&screen, "c1 predicted  ").contains(" 26.40 "),
            "{screen}"
        );
        assert!(
            line(&screen, "c50 predicted  ").contains(" 765.2 "),
            "{screen}"
        );
        assert!(
            screen.contains("predicted output tok/s over reference rtx4090-48g-x2 (vLLM): 1.304x"),
            "{screen}"
        );
        assert!(
            !words(&screen).contains("; measured") && !screen.contains("dummy"),
            "{screen}"
        );
    }
}

#[test]
fn virtual_and_partial_runs_say_so_in_the_head_and_in_the_line() {
    let mut results = of(vec![run(1, 52.0), run(8, 60.0)]);
    results.partial = true;
    let screen = headline(&results, 80);
    assert!(screen.contains("\nPARTIAL: "), "{screen}");
    assert!(line(&screen, "c1  ").contains("52.00"), "{screen}");
    assert!(line(&screen, "c8 partial  ").contains("60.00"), "{screen}");

    results.kind = Kind::Virtual;
    let screen = headline(&results, 80);
    assert!(
        screen.contains("\nVIRTUAL GPU: no time here is a measurement"),
        "{screen}"
    );
    assert!(line(&screen, "c1 virtual  ").contains("52.00"), "{screen}");
    assert!(
        line(&screen, "c8 virtual, partial  ").contains("60.00"),
        "{screen}"
    );
}

#[test]
fn what_is_wrong_stands_before_the_figures() {
    let mut runs = vec![run(1, 52.0), run(8, 0.0)];
    let broken = |name: &str| Check {
        name: name.to_owned(),
        ok: false,
        detail: "3 is not 4".to_owned(),
    };
    runs[1].checks.push(broken("littles_law"));
    let failure = |id| Failure {
        id,
        reason: "timed out\nafter 2 s".to_owned(),
    };
    runs[0].failures = vec![failure(0), failure(3)];
    runs[1].failures = (0..64).map(failure).collect();
    runs[1].extended.completed = 0;
    let screen = headline(&of(runs.clone()), 80);
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(
        lines[2..6],
        [
            "c8: CHECK FAILED littles_law: 3 is not 4",
            "c1: 2 of 64 requests FAILED; the first: timed out after 2 s",
            "c8: NO REQUEST SUCCEEDED; the first failed: timed out after 2 s",
            "",
        ]
    );
    assert!(screen.contains("\nchecks: 8 of 9 hold\n"), "{screen}");

    // A flood of them leaves the figures on the screen.
    runs[1].checks = vec![broken("event_order"); 40];
    let screen = headline(&of(runs), 80);
    assert_eq!(screen.matches("CHECK FAILED").count(), 6, "{screen}");
    assert!(
        screen.contains("and 36 more like these: --format full"),
        "{screen}"
    );
    assert!(screen.lines().count() < 24, "{screen}");
}

#[test]
fn repeats_are_one_line_with_an_interval() {
    let repeated = |concurrency, outputs: &[f64]| -> Vec<Run> {
        let plays = outputs.iter().enumerate().map(|(repeat, output)| {
            let mut run = run(concurrency, *output);
            (run.scenario.repeat, run.scenario.repeats) = (repeat, outputs.len());
            run.extended.ttft.p50_ttft_ms = Some(80.0 + repeat as f64);
            run
        });
        plays.collect()
    };
    let mut runs = repeated(1, &[50.0, 52.0, 54.0]);
    runs.extend(repeated(8, &[99.0, 100.0, 101.0]));
    runs[4].failures = vec![Failure {
        id: 0,
        reason: "lost".to_owned(),
    }];
    let mut results = of(runs);
    refer(&mut results, "QwQ-32B", &["rtx4090-48g-x2/QwQ-32B/c1"]);
    let screen = headline(&results, 80);
    // Student's t of two degrees of freedom: 4.303 times 2 over the root of 3.
    assert!(
        line(&screen, "c1 x3").starts_with("c1 x3  52.00 ±4.968   81.00   245.0"),
        "{screen}"
    );
    assert!(
        line(&screen, "c8 x3").starts_with("c8 x3  100.0 ±2.484   81.00   245.0"),
        "{screen}"
    );
    assert_eq!(
        line(&screen, "xN:"),
        "xN: mean of N plays; ± gives the 95% interval"
    );
    // Against the mean, not the first play.
    assert!(words(&screen).contains("(vLLM): 2.074x at c1"), "{screen}");
    assert!(
        screen.contains("c8 #2: 1 of 64 requests FAILED"),
        "{screen}"
    );
    fits(&screen, 80);

    let screen = headline(&of(repeated(1, &[50.0, 54.0])), 80);
    assert!(
        line(&screen, "c1 x2").starts_with("c1 x2   52.00   80.50"),
        "{screen}"
    );
    assert_eq!(line(&screen, "xN:"), "xN: mean of N plays");
}

#[test]
fn loads_have_names_of_their_own() {
    let mut runs = vec![run(8, 1.0), run(8, 2.0), run(0, 3.0), run(0, 4.0)];
    runs[1].scenario.requests = 128;
    runs[2].scenario.concurrency = None;
    runs[2].scenario.request_rate = Some(2.5);
    runs[2].scenario.goodput = Some(Slo {
        ttft_ms: Some(200.0),
        ..Slo::default()
    });
    runs[3].scenario.concurrency = None;
    runs[3].scenario.name = "trace".to_owned();
    for run in &mut runs {
        (run.scenario.input_len, run.scenario.dataset) =
            (None, Some("some/chats.jsonl".to_owned()));
    }
    let screen = headline(&of(runs), 100);
    assert!(
        screen.contains("\nmeasured; requests of chats.jsonl\n"),
        "{screen}"
    );
    for (name, output) in [
        ("c8 of 64 ", "1.000"),
        ("c8 of 128 ", "2.000"),
        ("2.5 req/s ", "3.000"),
        ("trace ", "4.000"),
    ] {
        assert!(line(&screen, name).contains(output), "{name}: {screen}");
    }
}

#[test]
fn figures_of_any_size_stay_in_their_columns() {
    let mut runs = vec![run(1, 1.25e-7), run(1000, 123_456_789.4)];
    (
        runs[0].extended.ttft.p50_ttft_ms,
        runs[0].extended.ttft.p95_ttft_ms,
    ) = (Some(0.5), Some(2e7));
    runs[0].extended.tpot.p95_tpot_ms = Some(1e17);
    runs[0].extended.bandwidth_utilization_percent = Some(1e-5);
    runs[0].extended.flop_utilization_percent = Some(0.0);
    runs[1].extended.flop_utilization_percent = Some(763.5);
    let results = on_gpus(runs);
    for width in [40, 60, 80, 100, 200] {
        let screen = headline(&results, width);
        fits(&screen, width);
        let text = words(&screen);
        for part in [
            "1.25e-7",
            "123456789",
            "5.00e-4",
            "20000",
            "1.00e17",
            "1.00e-5% BW",
            "764% FLOP",
        ] {
            assert!(text.contains(part), "{part}: {screen}");
        }
        // Seconds, for one of them is long.
        assert!(
            screen.contains("p95 s") && !screen.contains("p95 s "),
            "{screen}"
        );
        assert!(
            text.contains("above 100%: the roof was measured too low"),
            "{screen}"
        );
        let narrow = screen
            .lines()
            .filter(|line| line.starts_with("c1000"))
            .count();
        assert_eq!(narrow > 1, width < 100, "{screen}");
    }
}

#[test]
fn no_word_makes_a_line_wider_than_the_screen() {
    let mut results = on_gpus(vec![run(1000, 52.0)]);
    results.model.name = format!("org/{}", "long-name-".repeat(15));
    results.hardware.name = "a card\u{7} of\tmany words ".repeat(9);
    results.runs[0].failures = vec![Failure {
        id: 0,
        reason: format!("/a/path{}", "/deeper".repeat(30)),
    }];
    refer(&mut results, &"long-name-".repeat(15), &["rtx4090-48g-x8"]);
    for width in [40, 80, 100] {
        let screen = headline(&results, width);
        fits(&screen, width);
        assert!(!screen.contains(['\u{7}', '\t']), "{screen}");
    }
    results.runs.clear();
    assert!(headline(&results, 80).contains("no load was played"));
}

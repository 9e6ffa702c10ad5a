//! The console's first screen: its figures.

use candlepower::ground::results::{Failure, Run, Slo};
use candlepower::report::headline;

use super::fixture::results;
use super::screen::{fits, line, of, on_gpus, refer, run, words};

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

checks: all 5 hold
more: --format full shows every metric, --out DIR keeps them
"
    );
}

#[test]
fn gpus_add_their_rates_their_power_and_their_energy() {
    let mut runs = vec![run(1, 52.0), run(300, 4160.0)];
    runs[1].extended.flop_utilization_percent = Some(91.2);
    let screen = headline(&on_gpus(runs), 80);
    assert_eq!(
        screen,
        "\
Tiny in bf16, dummy weights on 8 x NVIDIA GeForce RTX 4090, tp 8
measured; 100 tokens in, 601 out

      output    tok/s    TTFT    TTFT    TPOT    TPOT        W  energy     GB/s
       tok/s  per GPU  p50 ms  p95 ms  p50 ms  p95 ms  per GPU   J/tok  per GPU
c1     52.00    6.500   81.25   245.0   20.50   33.12    310.0   4.250    845.7
c300    4160    520.0   81.25   245.0   20.50   33.12    310.0   4.250    845.7

          MBU  TFLOP/s      MFU
      of roof  per GPU  of roof
c1     83.90%    1.500  0.6000%
c300   83.90%    1.500   91.20%

checks: all 10 hold
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
    let reasons = "- not observed (p95 needs 20 values or more, the machine's roof was not measured in this run); ~ too few requests to be trusted";
    assert!(words(&screen).contains(reasons), "{screen}");
    assert_eq!(screen.matches("not observed").count(), 1);
    // No column without a figure in any load.
    assert!(
        !screen.contains("GPU") && !screen.contains("energy"),
        "{screen}"
    );
}

#[test]
fn a_real_record_s_nulls_are_explained() {
    let screen = headline(&results(), 80);
    let reasons = "\n- not observed (p95 needs 20 values or more); ~ too few";
    assert!(screen.contains(reasons), "{screen}");
    assert!(screen.contains("c4: 1 of 4 requests FAILED; the first: timed out after 2 s\n"));
    // 0.5 good requests a second of 0.75, and two of four.
    let cells: Vec<&str> = line(&screen, "c4  ").split_whitespace().collect();
    assert_eq!(cells[6..8], ["0.5000", "50.00%"], "{screen}");
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
    runs[4].extended.failed = 1;
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
    assert_eq!(line(&screen, "xN:"), "xN: mean of N plays; ± 95% interval");
    // Against the mean, not the first play.
    assert!(words(&screen).contains("(vLLM): c1 2.07x"), "{screen}");
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
    runs[1].scenario.requests = Some(128);
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
            "1.00e-5%",
            "763.5%",
        ] {
            assert!(text.contains(part), "{part}: {screen}");
        }
        // Seconds, for one of them is long.
        assert!(screen.contains("p95 s"));
        assert!(
            text.contains("above 100%: the roof was measured too low"),
            "{screen}"
        );
        let narrow = screen
            .lines()
            .filter(|line| line.starts_with("c1000"))
            .count();
        assert_eq!(narrow > 1, width < 120, "{screen}");
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
}

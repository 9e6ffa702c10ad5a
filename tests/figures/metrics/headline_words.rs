//! The console's first screen: what is said of its figures.

use candlepower::ground::results::{Check, Failure, Kind, ReferenceRun};
use candlepower::report::headline;

use super::screen::{line, of, predicted, refer, run, words};

#[test]
fn ratios_stand_where_the_figures_are_the_same_quantity() {
    let mut results = of(vec![run(50, 841.24), run(300, 1198.98)]);
    let model = "DeepSeek-R1-Distill-Qwen-14B";
    refer(&mut results, model, &["rtx4090-48g-x2", "a100-80g-x1"]);
    let same =
        |r: &ReferenceRun| r.name.contains(model) && [Some(50), Some(300)].contains(&r.concurrency);
    results.references.retain(same);
    let screen = words(&headline(&results, 80));
    assert!(
        screen.contains("output tok/s over reference rtx4090-48g-x2 (vLLM): c50 1.00x, c300 1.02x"),
        "{screen}"
    );
    assert!(
        screen.contains("output tok/s over reference a100-80g-x1 (vLLM): c50 0.74x, c300 0.36x"),
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
            "reference a100-80g-x1 (vLLM): c50 not comparable (not published there), c300 2.00x"
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
    refer(&mut results, "QwQ-32B", &other);
    let screen = headline(&results, 80);
    assert!(
        words(&screen).contains("not comparable: no time of a virtual GPU"),
        "{screen}"
    );
    assert!(!screen.contains(" over "), "{screen}");
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
            screen
                .contains("predicted output tok/s over reference rtx4090-48g-x2 (vLLM): c50 1.30x"),
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
    runs[0].extended.failed = 2;
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
    assert!(screen.contains("\nchecks: 10 of 11 hold\n"), "{screen}");

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

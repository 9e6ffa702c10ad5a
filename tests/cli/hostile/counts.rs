//! Counts of flags and files: refused with their size, or stopped.

use std::time::Duration;

use super::child::run;
use super::inputs::Inputs;
use super::table::{LIMIT, MOST_MIB, case, ended_well, refused};
use crate::cli_support::fixture;

/// Of a run for a few seconds: records are kept in memory up to a bound, then in a file.
const MOST_RUNNING_MIB: i64 = 300;
const A_WHILE: Duration = Duration::from_secs(3);
/// From the signal to the end: two seconds of an idle machine.
const LONGEST_STOP: Duration = Duration::from_secs(10);
/// The documented maximum of a count.
const MOST: &str = "2147483648";

#[test]
fn counts_that_no_machine_holds() {
    let model = fixture("llama-tied-tiny");
    let bench = |what, flags: &[&str], says| {
        let args = [
            "bench",
            "--model",
            &model,
            "--input-len",
            "4",
            "--output-len",
            "2",
        ];
        case(what, &[&args[..], flags].concat(), says)
    };
    let one = ["--concurrency", "1", "--requests", "1"];
    let profile = |what, flags: &[&str], says| {
        case(
            what,
            &[&["profile", "--model", &model, "--context", "8"][..], flags].concat(),
            says,
        )
    };
    let ids = vec!["1"; 60_000].join(",");
    let generate = ["generate", "--model", &model, "--prompt-ids"];
    refused(&[
        bench(
            "--repeats at its maximum",
            &[&one[..], &["--repeats", MOST]].concat(),
            "ask for",
        ),
        bench(
            "--concurrency at its maximum",
            &["--concurrency", MOST],
            "ask for",
        ),
        bench("--tp at its maximum", &["--tp", MOST], "--tp"),
        bench(
            "--block-size at its maximum",
            &["--block-size", MOST],
            "--block-size",
        ),
        bench(
            "--max-num-batched-tokens at its maximum",
            &["--max-num-batched-tokens", MOST],
            "--max-num-batched-tokens",
        ),
        bench(
            "--max-model-len at its maximum",
            &["--max-model-len", MOST],
            "--max-model-len",
        ),
        bench(
            "--kv-cache-memory of 1000 TiB",
            &["--kv-cache-memory", "1000T"],
            "--kv-cache-memory",
        ),
        bench(
            "--trace-steps at its maximum",
            &["--trace", "/dev/null", "--trace-steps", "0..2147483648"],
            "10000 steps",
        ),
        profile("--batch at its maximum", &["--batch", MOST], "--batch"),
        profile(
            "--context at its maximum",
            &["--context", MOST],
            "--max-model-len",
        ),
        case(
            "a prompt of 60,000 ids",
            &[&generate[..], &[&ids]].concat(),
            "do not fit",
        ),
        case(
            "--max-tokens at its maximum",
            &[&generate[..], &["1", "--max-tokens", MOST]].concat(),
            "do not fit",
        ),
    ]);
    // What a step takes is known when one has run: so this is refused as a run that failed.
    let steps = profile(
        "profile --steps at its maximum",
        &["--steps", MOST],
        "ask for",
    );
    ended_well(&steps, &run(&steps.args, &[], None, LIMIT), 1, MOST_MIB);
}

#[test]
fn counts_that_have_no_end_stop() {
    let model = fixture("llama-tied-tiny");
    let lens = [
        "--input-len",
        "4",
        "--output-len",
        "2",
        "--concurrency",
        "1",
    ];
    let cases = [
        (
            "--warmup at its maximum",
            "cpu",
            &["--warmup", MOST, "--requests", "1"][..],
            "in the warm-up",
        ),
        (
            "--requests at its maximum",
            "cpu",
            &["--requests", MOST],
            "partial",
        ),
        (
            "simulated, --warmup at its maximum",
            "sim:h100-sxm",
            &["--warmup", MOST, "--requests", "1"],
            "in the warm-up",
        ),
        (
            "simulated, --requests at its maximum",
            "sim:h100-sxm",
            &["--requests", MOST],
            "partial",
        ),
    ];
    for (what, device, flags, says) in cases {
        let args = [
            &["bench", "--model", &model, "--device", device][..],
            &lens,
            flags,
        ]
        .concat();
        let case = case(what, &args, says);
        let end = run(&case.args, &[], Some(A_WHILE), LIMIT);
        ended_well(&case, &end, 1, MOST_RUNNING_MIB);
        assert!(end.took < A_WHILE + LONGEST_STOP, "{what}: {:?}", end.took);
    }
}

#[test]
fn a_dataset_of_a_million_texts_is_left_in_the_middle() {
    let inputs = Inputs::new();
    let line = "{\"prompt\":\"a\",\"output_len\":1}\n";
    let file = inputs.file("a", "", line, 1_000_000, "");
    let model = fixture("llama-tied-tiny");
    let args = ["bench", "--model", &model, "--dataset", &file];
    let case = case(
        "a dataset of a million texts",
        &args,
        "interrupted: the dataset",
    );
    let end = run(&case.args, &[], Some(Duration::from_secs(1)), LIMIT);
    ended_well(&case, &end, 1, MOST_MIB);
    assert!(end.took < LONGEST_STOP, "{:?}", end.took);
}

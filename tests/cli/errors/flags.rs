//! Flag values that no run can have.

use crate::cli_support::{bad_value, fixture, refused, run};

#[test]
fn counts_are_whole_and_positive() {
    let flags = [
        "--layers",
        "--threads",
        "--tp",
        "--max-model-len",
        "--max-num-seqs",
        "--max-num-batched-tokens",
        "--block-size",
        "--concurrency",
        "--requests",
        "--input-len",
        "--output-len",
        "--repeats",
    ];
    for flag in flags {
        for value in [
            "0",
            "-1",
            "1.5",
            "many",
            "18446744073709551615",
            "99999999999999999999",
        ] {
            bad_value(&["bench"], flag, value);
        }
    }
    for value in ["0", "-3", "x"] {
        bad_value(&["generate", "--prompt-ids", "1"], "--max-tokens", value);
    }
}

#[test]
fn counts_that_may_be_zero_are_not_negative() {
    let generate = ["generate", "--prompt-ids", "1"];
    for value in ["-1", "1.5", "x"] {
        bad_value(&["bench"], "--warmup", value);
        bad_value(&["bench"], "--seed", value);
        bad_value(&generate, "--top-k", value);
        bad_value(&generate, "--logprobs", value);
    }
}

#[test]
fn one_bad_number_of_a_list_is_enough() {
    for flag in ["--concurrency", "--requests"] {
        let outcome = run(&["bench", flag, "1,0"]);
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.stderr.contains("invalid value '0'"), "{outcome:?}");
    }
}

#[test]
fn sizes_rates_and_times_are_positive_numbers() {
    for value in ["0", "-1", "lots", "nan", "1e400"] {
        bad_value(&["bench"], "--kv-cache-memory", value);
        bad_value(&["bench"], "--request-rate", value);
        bad_value(&["bench"], "--request-timeout", value);
        bad_value(&["bench", "--request-rate", "1"], "--burstiness", value);
    }
    for value in ["0", "-0.5", "1.01", "x"] {
        bad_value(&["bench"], "--gpu-memory-utilization", value);
    }
    for value in ["1e300", "1e-300"] {
        bad_value(&["bench"], "--request-rate", value);
        bad_value(&["bench"], "--request-timeout", value);
    }
    // As a rate it means all at once.
    bad_value(&["bench"], "--request-timeout", "inf");
}

#[test]
fn sampling_numbers_have_ranges() {
    let generate = ["generate", "--prompt-ids", "1"];
    for value in ["-0.1", "nan", "inf", "hot"] {
        bad_value(&generate, "--temperature", value);
    }
    for value in ["-0.1", "1.1", "nan", "x"] {
        bad_value(&generate, "--top-p", value);
    }
}

#[test]
fn goodput_needs_known_names_and_positive_limits() {
    for value in ["", "ttft", "ttft:0", "itl:3", "tpot:-1", "ttft:1,,tpot:2"] {
        let goodput = format!("--goodput={value}");
        let outcome = run(&["bench", &goodput]);
        assert_eq!(outcome.code, Some(2), "{value}: {outcome:?}");
        assert!(outcome.stderr.contains("--goodput"), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn words_that_are_not_choices_list_them() {
    for (flag, value, choice) in [
        ("--scenario", "c7", "c1000"),
        ("--scheduler", "fifo", "prefill-first"),
        ("--dtype", "q4", "bf16"),
        ("--kv-cache-dtype", "int4", "fp8"),
    ] {
        let outcome = run(&["bench", flag, value]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        for part in [flag, value, choice] {
            assert!(outcome.stderr.contains(part), "{part}: {outcome:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn more_pinned_threads_than_cpus() {
    let model = fixture("qwen2-tiny");
    let threads = std::thread::available_parallelism().unwrap().get() + 1;
    let threads = threads.to_string();
    let args = [
        "bench",
        "--model",
        &model,
        "--pin-threads",
        "--threads",
        &threads,
    ];
    refused(&args, &["--pin-threads", &threads, "fewer --threads"]);
}

#[test]
fn what_this_version_lacks_is_refused_with_a_way_out() {
    let model = fixture("qwen2-tiny");
    for (flag, value, way_out) in [
        ("--device", "cuda", "--device cpu"),
        ("--device", "sim:h100", "candlepower gpus"),
        ("--device", "xyz", "--device cpu"),
        ("--dtype", "f16", "f32"),
    ] {
        refused(
            &["bench", "--model", &model, flag, value],
            &[flag, value, way_out],
        );
    }
    // What only some models have.
    refused(
        &["bench", "--model", &model, "--expert-parallel"],
        &["dense model", "leave --expert-parallel out"],
    );
    let scheme = ["--activation-scheme", "dynamic"];
    refused(
        &[&["bench", "--model", &model], &scheme[..]].concat(),
        &["--activation-scheme dynamic", "not FP8", "leave it out"],
    );
    let simulated = [
        "--device",
        "sim:h100-sxm",
        "--activation-scheme",
        "weight-only",
    ];
    let fp8 = fixture("qwen3-fp8-tiny");
    refused(
        &[
            "bench", "--model", &fp8, "--device", "cpu", "--dtype", "bf16",
        ],
        &["--dtype bf16", "weights of bf16", "--dtype auto"],
    );
    refused(
        &[&["bench", "--model", &fp8], &simulated[..]].concat(),
        &[
            "--activation-scheme weight-only",
            "simulated",
            "leave it out",
        ],
    );
}

#[test]
fn flags_that_exclude_each_other() {
    for pair in [
        &["--concurrency", "1", "--request-rate", "2"][..],
        &["--scenario", "c1", "--concurrency", "1"],
        &["--input-len", "3", "--prompt", "x"],
        &["--dataset", "x", "--prompt", "x"],
        &["--quiet", "--verbose"],
        &["--burstiness", "2"],
    ] {
        let args: Vec<&str> = ["bench"].iter().chain(pair).copied().collect();
        let outcome = run(&args);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(pair[0]), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn lists_of_loads_must_pair() {
    let model = fixture("qwen2-tiny");
    let loads = ["--concurrency", "1,2", "--requests", "1,2,3"];
    let args: Vec<&str> = ["bench", "--model", &model]
        .into_iter()
        .chain(loads)
        .collect();
    refused(&args, &["--requests", "3 numbers for 2 loads"]);
}

#[test]
fn a_model_larger_than_the_machine_is_refused_before_it_is_loaded() {
    // 16M tokens a step over 152k logits: more than any machine that runs this has.
    let steps = "16777216";
    refused(
        &[
            "bench",
            "--model",
            "Qwen2.5-0.5B",
            "--max-num-batched-tokens",
            steps,
            "--max-num-seqs",
            steps,
        ],
        &[steps, "--max-num-batched-tokens", "--max-num-seqs"],
    );
}

#[test]
fn no_command_and_unknown_commands() {
    for args in [
        &["bogus"][..],
        &["--bogus"],
        &["bench", "--bogus"],
        &["bench", "extra"],
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(args.last().unwrap()), "{outcome:?}");
    }
    let outcome = run(&[]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("Usage:"), "{outcome:?}");
}

//! Virtual time ends in a sentence, never in a panic: the slowest card that can be described, and a clock at
//! the end of its time.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use candlepower::bench::{Load, play};
use candlepower::exec::Server;
use candlepower::hardware::from_toml;
use candlepower::metrics::mark_predicted;
use candlepower::workload::Arrivals;

use super::setup::{Asked, card, measured, simulation};
use crate::cli_support::refused_with;

fn asked(load: Load) -> Asked {
    Asked {
        load,
        requests: 4,
        input_len: 100,
        output_len: 5,
    }
}

#[test]
fn the_slowest_and_the_fastest_card_are_simulated() {
    for (bandwidth, tflops) in [("1", "0.1"), ("1", "1e6"), ("1e6", "0.1"), ("1e6", "1e6")] {
        let text = format!(
            "compute_capability = \"9.0\"\nmemory_gib = 1e5\nbandwidth_gb_s = {bandwidth}\nfp16_tflops = {tflops}\n"
        );
        let gpu = from_toml(&text, "mine.toml").unwrap();
        for (model, server) in [
            ("Qwen2.5-0.5B", None),
            ("Qwen3-235B-A22B", Some(Server::VLLM)),
        ] {
            let mut simulation = simulation(card(model), gpu.clone(), 1, server);
            simulation.kv_bytes = Some(1 << 32);
            let mut engine = simulation.start().unwrap().engine;
            let script = asked(Load::Closed { concurrency: 2 }).script();
            let recording = play(&mut engine, &script, &AtomicBool::new(false), &mut || {});
            assert_eq!(recording.cut_short, None);
            let mut run = measured(&recording, 4);
            mark_predicted(&mut run, server.is_some());
            assert!(run.checks.iter().all(|check| check.ok), "{:?}", run.checks);
        }
    }
}

#[test]
fn a_clock_at_its_end_ends_the_run() {
    let gpu = super::setup::gpu("l4");
    let rates = [1e-9, 1e-300, 1.0];
    let open = rates.map(|rate| Load::Open(Arrivals::new(rate, 1.0).unwrap()));
    for (load, is_late) in [(Load::Closed { concurrency: 2 }, false)]
        .into_iter()
        .chain(open.map(|load| (load, true)))
    {
        let mut engine = simulation(card("Qwen2.5-0.5B"), gpu.clone(), 1, None)
            .start()
            .unwrap()
            .engine;
        // All but a second of the time that there is.
        let end = Duration::from_nanos(u64::MAX);
        engine.clock().sleep_until(end - Duration::from_secs(1));
        let mut script = asked(load).script();
        script.requests = 60;
        script.limits.request_timeout = Some(Duration::MAX);
        let recording = play(&mut engine, &script, &AtomicBool::new(false), &mut || {});
        if is_late {
            let reason = recording.cut_short.unwrap();
            assert!(reason.contains("584 years"), "{reason}");
        }
        assert!(engine.clock().now() <= end);
    }
}

/// The files that were handed in, and others of their kind.
#[test]
fn cards_of_no_speed_are_refused_by_the_command() {
    let dir = tempfile::tempdir().unwrap();
    for (bandwidth, tflops, key) in [
        ("1e-9", "165.2", "bandwidth_gb_s = 0.000000001"),
        ("1008", "1e-12", "fp16_tflops = 0.000000000001"),
        ("1e300", "165.2", "bandwidth_gb_s = "),
        ("nan", "165.2", "bandwidth_gb_s = nan"),
        ("1008", "-inf", "fp16_tflops = -inf"),
        ("0.9", "165.2", "bandwidth_gb_s = 0.9"),
    ] {
        let file = dir.path().join("slow.toml");
        let text = format!(
            "compute_capability = \"8.9\"\nmemory_gib = 23.5\nbandwidth_gb_s = {bandwidth}\nfp16_tflops = {tflops}\n"
        );
        std::fs::write(&file, text).unwrap();
        let device = format!("sim:{}", file.display());
        let args = [
            "bench",
            "--device",
            &device,
            "--concurrency",
            "1",
            "--requests",
            "1",
        ];
        refused_with(2, &args, &["slow.toml", key, "from "]);
    }
}

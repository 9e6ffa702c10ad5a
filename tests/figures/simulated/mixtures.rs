//! The report's mixtures of experts on four kinds of nodes.

use candlepower::bench::Load;
use candlepower::ground::results::Run;
use candlepower::parallel::Split;
use candlepower::session::SimulationError;

use super::setup::{Asked, card, gpu, ms_per_token, run, simulation};

/// GPU, number of them, and whether the model fits in bf16.
const NODES: [(&str, usize, bool); 4] = [
    ("rtx4090-48g", 8, false),
    ("l40s", 8, false),
    ("h100-sxm", 4, false),
    ("a100-80g", 8, true),
];

fn played(model: &str, node: (&str, usize), whole: bool, concurrency: usize) -> Run {
    let mut simulation = simulation(card(model), gpu(node.0), node.1, None);
    simulation.split = Split {
        tp: node.1,
        expert_parallel: whole,
    };
    let asked = Asked {
        load: Load::Closed { concurrency },
        requests: concurrency,
        input_len: 100,
        output_len: 301,
    };
    run(&simulation, &asked)
}

/// A token reads 22 thousand million parameters, more or less: its eight experts of each layer, attention, head.
#[test]
fn one_request_reads_the_active_parameters() {
    for (name, ranks, fits) in NODES {
        for (model, bytes) in [("Qwen3-235B-A22B-FP8", 1.0), ("Qwen3-235B-A22B", 2.0)] {
            if bytes == 2.0 && !fits {
                continue;
            }
            for whole in [false, true] {
                let run = played(model, (name, ranks), whole, 1);
                let ms = ms_per_token(&run);
                let read = run.extended.achieved_bytes_per_s.unwrap() * ms * 1e-12;
                assert!((21.0..26.0).contains(&(read / bytes)), "{name}: {read} GB");
                // Never faster than memory allows, nor slower by what 188 all-reduces cannot explain.
                let gb_s = gpu(name).bandwidth_gb_s * ranks as f64;
                let floor = 1e3 * read / gb_s;
                println!(
                    "{model} on {ranks} x {name}, whole experts {whole}: {ms:.2} ms, floor {floor:.2}"
                );
                assert!(ms > floor && ms < 7.0 * floor, "{name}: {ms} ms, {floor}");
            }
        }
    }
}

/// Fifty requests reach nearly all experts, so that a token costs each of them many times what it costs one.
#[test]
fn fifty_requests_share_the_experts() {
    for (name, ranks, _) in NODES {
        for whole in [false, true] {
            let tokens = |concurrency| {
                let run = played("Qwen3-235B-A22B-FP8", (name, ranks), whole, concurrency);
                run.extended.output_throughput.unwrap()
            };
            let gain = tokens(50) / tokens(1);
            println!("{ranks} x {name}, whole experts {whole}: {gain:.1} times one request");
            // A dense model would gain nearly fifty times. Sums through a host's memory grow with the batch.
            assert!((3.0..20.0).contains(&gain), "{name}: {gain}");
        }
    }
}

#[test]
fn what_does_not_fit_is_not_predicted() {
    for (name, ranks, fits) in NODES {
        let simulation = simulation(card("Qwen3-235B-A22B"), gpu(name), ranks, None);
        match simulation.start() {
            Ok(_) => assert!(fits, "{name}"),
            Err(error) => {
                assert!(
                    matches!(error, SimulationError::DoesNotFit { .. }) && !fits,
                    "{error}"
                );
            }
        }
    }
}

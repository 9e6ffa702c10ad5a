//! This project's own steps on an H100 (`kernels/NOTES.md`), which the level without a server predicts.

use candlepower::bench::Load;

use super::setup::{Asked, card, gpu, run, simulation};

/// Relative error of each.
const ERROR: f64 = 0.06;
/// Requests in flight, all of which ran at a time.
const LOADS: [usize; 3] = [1, 50, 300];
/// Milliseconds from one token to the next, 100 tokens in and 200 out.
const MEASURED: [(&str, [f64; 3]); 3] = [
    ("DeepSeek-R1-Distill-Qwen-1.5B", [2.05, 2.34, 4.06]),
    ("DeepSeek-R1-Distill-Llama-8B", [6.22, 7.14, 14.2]),
    ("DeepSeek-R1-Distill-Qwen-14B", [11.5, 13.0, 24.9]),
];

#[test]
fn own_steps_are_near() {
    for (model, measured) in MEASURED {
        for (concurrency, measured) in LOADS.into_iter().zip(measured) {
            let mut simulation = simulation(card(model), gpu("h100-sxm"), 1, None);
            simulation.scheduler.max_num_seqs = concurrency;
            let asked = Asked {
                load: Load::Closed { concurrency },
                requests: 2 * concurrency,
                input_len: 100,
                output_len: 200,
            };
            let predicted = run(&simulation, &asked).extended.tpot.mean_tpot_ms.unwrap();
            let error = predicted / measured - 1.0;
            println!(
                "{model} at {concurrency}: {predicted:.2} ms, {measured} measured: {:+.1} %",
                100.0 * error
            );
            assert!(error.abs() <= ERROR, "{model} at {concurrency}: {error}");
        }
    }
}

//! Continues a prompt and plays a load on a model, by the crate's face alone.
//!
//! `embedded MODEL ID...` prints the ids that follow, then what a small load came to.

use std::error::Error;

use candlepower::{EngineOptions, Generation, LoadOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("usage: embedded MODEL ID...")?;
    let prompt: Vec<u32> = arguments.map(|id| id.parse()).collect::<Result<_, _>>()?;
    let mut session = EngineOptions::new(model)
        .device("cpu")
        .max_model_len(256)
        .max_num_seqs(4)
        .open()?;
    for token in session.generate(&[Generation::new(prompt).max_tokens(8).ignore_eos(true)])? {
        println!("token {}", token?.id);
    }
    let load = LoadOptions::default()
        .concurrency([2])
        .requests([6])
        .input_len(16)
        .output_len(8);
    let results = session.play(&load)?;
    let run = &results.runs[0];
    for (name, value) in [
        (
            "successful_requests",
            run.metrics.successful_requests.map(|n| n as f64),
        ),
        ("output_tokens_per_sec", run.metrics.output_tokens_per_sec),
        ("mean_ttft_ms", run.extended.ttft.mean_ttft_ms),
        ("mean_tpot_ms", run.extended.tpot.mean_tpot_ms),
    ] {
        println!("{name} {}", value.ok_or("not observed")?);
    }
    match run.checks.iter().find(|check| !check.ok) {
        None => Ok(()),
        Some(check) => Err(format!("{}: {}", check.name, check.detail).into()),
    }
}

//! A load played in this process, and five of its metrics:
//!
//! ```console
//! cargo run --release --example capacity -- Qwen2.5-0.5B 8
//! ```

use candlepower::{EngineOptions, Error, LoadOptions};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments
        .next()
        .unwrap_or("tests/fixtures/llama-tiny".to_owned());
    let concurrency = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    let load = LoadOptions::default()
        .concurrency([concurrency])
        .requests([2 * concurrency])
        .input_len(32)
        .output_len(16);
    let mut session = EngineOptions::new(model).max_model_len(128).open()?;
    let results = session.play(&load)?;
    let run = &results.runs[0];
    let rows = [
        (
            "requests that succeeded",
            run.metrics.successful_requests.map(|n| n as f64),
        ),
        ("output tok/s", run.metrics.output_tokens_per_sec),
        (
            "mean time to first token, ms",
            run.extended.ttft.mean_ttft_ms,
        ),
        (
            "mean time per output token, ms",
            run.extended.tpot.mean_tpot_ms,
        ),
        (
            "share of the read bandwidth, %",
            run.extended.bandwidth_utilization_percent,
        ),
    ];
    println!("{} on {}", results.model.name, results.hardware.name);
    for (name, value) in rows {
        match value {
            Some(value) => println!("{name:32} {value:10.2}"),
            None => println!("{name:32} not observed"),
        }
    }
    Ok(())
}

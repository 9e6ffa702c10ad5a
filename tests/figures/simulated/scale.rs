//! A thousand requests at a time take seconds of real time, and each step a time in line with its batch.

use std::time::{Duration, Instant};

use candlepower::exec::Server;
use candlepower::ground::{Request, Sampling, StopRule};

use super::setup::{Asked, card, gpu, record, simulation};

const LLAMA_70B: &str = "DeepSeek-R1-Distill-Llama-70B";
/// Of real time, optimised.
const LONGEST: Duration = Duration::from_secs(10);
/// Times that a build with checks may take longer, and a machine that others use too.
const UNOPTIMISED: u32 = 6;

#[test]
fn a_thousand_at_a_time_five_thousand_in_all() {
    let simulation = simulation(card(LLAMA_70B), gpu("rtx4090-48g"), 8, Some(Server::VLLM));
    let start = Instant::now();
    let recording = record(&simulation, &Asked::report(1000, 5000));
    let took = start.elapsed();
    println!(
        "{} steps in {took:?}: {:.1} us a step",
        recording.steps.len(),
        1e6 * took.as_secs_f64() / recording.steps.len() as f64
    );
    assert_eq!(recording.requests.len(), 5000);
    assert!(recording.requests.iter().all(|r| r.output_tokens == 601));
    // At most 256 run, and the others wait for them.
    assert_eq!(recording.steps.iter().map(|s| s.running).max(), Some(256));
    let allowed = match cfg!(debug_assertions) {
        true => LONGEST * UNOPTIMISED,
        false => LONGEST,
    };
    assert!(took < allowed, "{took:?}");
}

/// Real time of a decode step with so many running requests: the quickest quarter's, as others use the
/// machine.
fn step_time(running: usize) -> f64 {
    let mut simulation = simulation(card("Qwen2.5-0.5B"), gpu("h100-sxm"), 1, None);
    simulation.scheduler.max_num_seqs = running;
    simulation.scheduler.max_num_batched_tokens = 16 * running;
    simulation.scheduler.max_model_len = 512;
    let mut engine = simulation.start().unwrap().engine;
    let mut events = Vec::new();
    for id in 0..running as u64 {
        let request = Request {
            id,
            prompt: [1; 16].into(),
            stop: StopRule {
                max_tokens: 256,
                end_tokens: Vec::new().into(),
            },
            sampling: Sampling::GREEDY,
            arrival: Duration::ZERO,
        };
        engine.submit(request, &mut events);
    }
    engine.step(&mut events).unwrap();
    let mut times = Vec::new();
    for _ in 0..200 {
        events.clear();
        let start = Instant::now();
        let step = engine.step(&mut events).unwrap();
        times.push(start.elapsed().as_secs_f64());
        assert_eq!(step.decode_tokens, running);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

#[test]
fn scheduling_cost_is_linear_in_running_requests() {
    let (few, many) = (step_time(256), step_time(2048));
    println!(
        "{:.1} us with 256 running, {:.1} us with 2048",
        1e6 * few,
        1e6 * many
    );
    // Eight times the requests, and caches that hold fewer of them; a quadratic cost would be 64 times.
    assert!(many / few < 20.0, "{few} s, then {many} s");
}

//! Many requests on the simulated device, where a request costs little but what we spend on it.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candlepower::bench::{Limits, Load, Script, play};
use candlepower::fit::KvType;
use candlepower::ground::Sampling;
use candlepower::ground::results::Scenario;
use candlepower::hub::cards;
use candlepower::metrics::{MeasureInput, measure};
use candlepower::model::ModelSpec;
use candlepower::parallel::{AllReduce, Split};
use candlepower::scheduler::{Policy, SchedulerConfig};
use candlepower::session::Simulation;
use candlepower::text::TokenPool;
use candlepower::workload::{Arrivals, Work};

use super::asked;
use super::process::Process;

const PARTS: usize = 10;
/// MiB of records that stay in memory: requests, steps, and a vector's room to grow.
const RECORDS: usize = 2 * 32 + 48;

fn simulation() -> Simulation {
    let name = "Qwen2.5-0.5B";
    Simulation {
        model: name.to_owned(),
        shape: ModelSpec::from_json(cards::find(name).unwrap().config_json, name)
            .unwrap()
            .shape(),
        gpu: candlepower::hardware::find("h100-sxm").unwrap(),
        split: Split::from(1),
        server: None,
        graphs: true,
        all_reduce: AllReduce::Auto,
        dtype: None,
        kv_type: KvType::Auto,
        kv_bytes: None,
        utilization: 0.9,
        scheduler: SchedulerConfig {
            policy: Policy::Mixed,
            max_num_seqs: 128,
            max_num_batched_tokens: 2048,
            max_model_len: 64,
            block_size: 16,
            num_blocks: 0,
            prefix_cache: false,
        },
    }
}

/// Time and memory when each part of the requests was done.
fn played(load: Load, requests: usize) -> Vec<(f64, Process)> {
    let mut engine = simulation().start().unwrap().engine;
    let script = Script {
        work: Work::synthetic(12, 6, TokenPool::below(32_000).unwrap()),
        load: load.clone(),
        requests,
        warmup: 1000,
        limits: Limits::default(),
        sampling: Sampling::GREEDY,
        end_tokens: Vec::new(),
        seed: 0,
    };
    let mut told = 0;
    let mut parts = Vec::new();
    let start = Instant::now();
    let recording = play(&mut engine, &script, &AtomicBool::new(false), &mut || {
        told += 1;
        if told % (requests / PARTS) == 0 {
            parts.push((start.elapsed().as_secs_f64(), Process::now()));
        }
    });
    assert_eq!(recording.cut_short, None);
    assert_eq!((recording.requests.len(), told), (requests, requests));
    assert_eq!(engine.scheduler().blocks_used(), 0);
    let played = start.elapsed();
    let run = measure(&MeasureInput {
        requests: &recording.requests,
        steps: &recording.steps,
        telemetry: &[],
        experts: &[],
        scenario: Scenario {
            concurrency: match load {
                Load::Closed { concurrency } => Some(concurrency),
                _ => None,
            },
            ..Scenario::default()
        },
        model: "",
        prompt: "",
        timestamp: "",
        capacity: 128,
        gpus: &[],
        watched: &[],
        roofs: None,
        clocks: recording.clocks,
    });
    assert!(run.checks.iter().all(|check| check.ok), "{:?}", run.checks);
    assert_eq!(run.metrics.successful_requests, Some(requests as u64));
    assert_eq!(run.extended.percentile_n.itl, 5 * requests);
    println!(
        "{requests} requests played in {played:?}, measured in {:?}; spilled: {}; {:?}, then {:?}, {:?} after all",
        start.elapsed() - played,
        recording.requests.is_spilled(),
        parts[0].1,
        parts[PARTS - 1].1,
        Process::now()
    );
    parts
}

fn hold(load: Load) {
    let requests = asked("CANDLEPOWER_LOAD_REQUESTS", 100_000);
    let parts = played(load, requests);
    let (first, last) = (parts[0].1, parts[PARTS - 1].1);
    assert!(
        last.resident_mib <= first.resident_mib + RECORDS,
        "{first:?}, then {last:?}"
    );
    let mut seconds: Vec<f64> = parts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    println!("seconds of each part: {seconds:.3?}");
    // The quickest of the last against the slowest but one of the first: others use the machine too.
    let late = seconds.split_off(PARTS / 2);
    seconds.sort_by(f64::total_cmp);
    let late = late.into_iter().fold(f64::INFINITY, f64::min);
    let early = seconds[seconds.len() - 2];
    assert!(late < 2.0 * early, "{late} s, and {early} s at first");
}

#[test]
fn a_closed_loop_of_many_requests_takes_the_same_memory_and_time_for_each() {
    hold(Load::Closed { concurrency: 256 });
}

#[test]
fn an_open_loop_of_many_requests_takes_the_same_memory_and_time_for_each() {
    hold(Load::Open(Arrivals::new(2000.0, 0.5).unwrap()));
}

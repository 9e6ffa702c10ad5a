//! What holds of every prediction, whatever its constants.

use std::sync::Arc;
use std::time::Duration;

use candlepower::exec::simulated::Setup;
use candlepower::exec::{Executor, Server, StepOutput, StepPlan};
use candlepower::ground::{Clock, VirtualClock};
use candlepower::hardware::Gpu;
use candlepower::model::ModelSpec;
use candlepower::ops::Rows;
use candlepower::parallel::Split;

use super::device::{Device, plan};
use super::setup::{Asked, card, gpu, record, run, simulation};

fn plain(name: &str, gpu_name: &str, tp: usize) -> Device {
    Device::new(&card(name).shape(), gpu(gpu_name), tp.into(), |_| ())
}

#[test]
fn two_runs_are_equal() {
    let simulation = simulation(card("QwQ-32B"), gpu("rtx4090-48g"), 2, Some(Server::VLLM));
    let asked = Asked::report(50, 200);
    let (first, second) = (record(&simulation, &asked), record(&simulation, &asked));
    assert!(first.requests.iter().eq(second.requests.iter()));
    assert!(first.steps.iter().eq(second.steps.iter()));
}

#[test]
fn more_of_anything_is_never_slower() {
    let mixed = [(1, 300), (1, 1000), (512, 512)];
    let base = gpu("a100-80g");
    let seconds = |change: fn(&mut Gpu)| {
        let mut gpu = base.clone();
        change(&mut gpu);
        Device::new(&card("QwQ-32B").shape(), gpu, 2.into(), |_| ()).seconds(&mixed)
    };
    let before = seconds(|_| ());
    for (what, change) in [
        (
            "bandwidth",
            (|gpu| gpu.bandwidth_gb_s *= 1.5) as fn(&mut Gpu),
        ),
        ("measured reads", |gpu| {
            gpu.measured_read_gb_s = Some(1900.0)
        }),
        ("matmul", |gpu| gpu.measured_matmul_tflops = Some(400.0)),
        ("clocks", |gpu| {
            gpu.f32_tflops = gpu.f32_tflops.map(|f| 1.5 * f)
        }),
    ] {
        assert!(seconds(change) <= before, "{what}");
    }
    let slow_link = seconds(|gpu| gpu.nvlink_generation = None);
    assert!(slow_link > before, "PCIe is slower than NVLink");
}

/// The bandwidth that decides decode is the card's: twice as much halves what weights take, and leaves what kernels do.
#[test]
fn decode_is_bound_by_memory_and_prompts_by_arithmetic() {
    let base = gpu("rtx4090-48g");
    let seconds = |bandwidth: f64, tflops: f64, sequences: &[(usize, usize)]| {
        let mut gpu = base.clone();
        gpu.bandwidth_gb_s *= bandwidth;
        gpu.measured_matmul_tflops = Some(165.0 * tflops);
        let spec = card("DeepSeek-R1-Distill-Qwen-14B");
        Device::new(&spec.shape(), gpu, 1.into(), |_| ()).seconds(sequences)
    };
    let decode = |bandwidth, tflops| seconds(bandwidth, tflops, &[(1, 500)]);
    let prompt = |bandwidth, tflops| seconds(bandwidth, tflops, &[(2048, 2048)]);
    assert!(decode(1.0, 1.0) / decode(2.0, 1.0) > 1.85);
    assert!(decode(1.0, 1.0) / decode(1.0, 2.0) < 1.01);
    assert!(prompt(1.0, 1.0) / prompt(1.0, 2.0) > 1.7);
    assert!(prompt(1.0, 1.0) / prompt(2.0, 1.0) < 1.1);
}

#[test]
fn attention_is_over_the_contexts_of_the_step() {
    let mut device = plain("QwQ-32B", "h100-sxm", 1);
    let short = device.seconds(&[(1, 100); 32]);
    let long = device.seconds(&[(1, 10_100); 32]);
    let bytes = 32.0 * 10_000.0 * card("QwQ-32B").kv_elements_per_token() as f64 * 2.0;
    // 84 GB more, at what the card reads.
    let rate = bytes / (long - short);
    assert!((2.0e12..3.35e12).contains(&rate), "{rate}");
}

#[test]
fn only_rows_that_draw_a_token_pass_the_head() {
    let mut device = plain("Qwen2.5-0.5B", "rtx4090-48g", 1);
    let head = |device: &mut Device, plan: StepPlan| {
        device.start_timeline();
        let ticket = device.executor.submit(Arc::new(plan)).unwrap();
        device
            .executor
            .wait(ticket, &mut StepOutput::default())
            .unwrap();
        let ops = device.take_timeline();
        let flops = ops
            .iter()
            .filter(|op| op.name == "head")
            .map(|op| op.cost.flops);
        flops.sum::<u64>()
    };
    let (one, many) = (plan(&[(64, 64)]), plan(&[(1, 64); 64]));
    let silent = StepPlan {
        timed: false,
        logit_rows: Vec::new(),
        picks: Vec::new(),
        ..one.clone()
    };
    assert_eq!(head(&mut device, silent), 0);
    let of_one = head(&mut device, one);
    assert_eq!(of_one, 2 * 896 * 151_936);
    assert_eq!(head(&mut device, many), 64 * of_one);
}

#[test]
fn the_timeline_is_the_step() {
    let mut device = plain("Qwen3-0.6B", "rtx4090-48g", 2);
    device.start_timeline();
    let (time, output) = device.step(&[(1, 50), (30, 30)]);
    let ops = device.take_timeline();
    assert_eq!(ops.iter().map(|op| op.time).sum::<Duration>(), time);
    let bytes: u64 = ops.iter().map(|op| op.cost.bytes).sum();
    assert_eq!(output.cost.bytes, 2 * bytes, "of both ranks");
    // Behind the embedding, and twice in each layer.
    let exchanges = ops.iter().filter(|op| op.name == "all_reduce");
    assert_eq!(exchanges.clone().count(), 1 + 2 * 28);
    assert_eq!(output.traffic.bytes, 57 * 31 * 1024 * 2);
    let exchanging: Duration = exchanges.map(|op| op.time).sum();
    assert_eq!(output.traffic.time, exchanging);
    assert_eq!(output.host, Duration::ZERO);
    assert_eq!(output.sampled.len(), 2);
    let layers = ops.iter().filter_map(|op| op.layer);
    assert_eq!(layers.max(), Some(27));
}

/// Weights are read once a step, whatever the batch, and by no rank more than its share.
#[test]
fn bytes_of_a_decode_step_are_the_ranks_weights() {
    let spec = card("DeepSeek-R1-Distill-Llama-8B");
    for tp in [1, 2, 8] {
        let mut device = Device::new(&spec.shape(), gpu("h100-sxm"), tp.into(), |_| ());
        let (_, output) = device.step(&[(1, 1)]);
        let memory = device.executor.memory().unwrap();
        let held: u64 = memory.iter().map(|rank| rank.weights_bytes).sum();
        // Of the embedding one row is read.
        let embedding = 2 * 128_256 * 4096;
        let read = (held - embedding) as f64;
        assert!(
            (output.cost.bytes as f64 / read - 1.0).abs() < 0.02,
            "tp {tp}"
        );
    }
}

/// Of 128 experts 8 are read for one token, nearly all for a hundred; whole experts on eight ranks are
/// the same bytes.
#[test]
fn experts_are_read_as_far_as_tokens_reach_them() {
    let spec = card("Qwen3-235B-A22B");
    let experts = |split: Split, rows: usize| {
        let mut device = Device::new(&spec.shape(), gpu("h200"), split, |_| ());
        device.start_timeline();
        device.step(&vec![(1, 100); rows]);
        let ops = device.take_timeline();
        let bytes = ops.iter().filter(|op| op.name == "experts");
        bytes.map(|op| op.cost.bytes as f64).sum::<f64>()
    };
    let whole = Split {
        tp: 8,
        expert_parallel: true,
    };
    for split in [Split::from(8), whole] {
        let all = 94.0 * 128.0 * 3.0 * 4096.0 * 1536.0 * 2.0 / 8.0;
        for (rows, expected) in [(1, 8.0 / 128.0), (16, 0.644), (100, 0.998)] {
            let share = experts(split, rows) / all;
            // What goes in and out of them is some percent of a full batch.
            assert!(
                (share - expected).abs() < 0.06,
                "{split:?}: {rows} rows read {share}"
            );
        }
    }
}

/// One token's eight experts, whole ones on eight ranks: the rank that holds most of them holds two or three, and
/// the others wait for it. With a full batch every expert is read anyway.
#[test]
fn whole_experts_wait_for_the_fullest_rank() {
    let spec = card("Qwen3-235B-A22B");
    let seconds = |expert_parallel: bool, rows: usize| {
        let split = Split {
            tp: 8,
            expert_parallel,
        };
        let mut device = Device::new(&spec.shape(), gpu("h200"), split, |_| ());
        device.step(&vec![(1, 100); rows]).0.as_secs_f64()
    };
    // Some 1.4 experts of 37.7 MB more than one, 94 times, at the 4.2 TB/s that memory gives.
    let waited = 1e3 * (seconds(true, 1) - seconds(false, 1));
    assert!((1.0..1.5).contains(&waited), "{waited} ms");
    let full = seconds(true, 200) / seconds(false, 200);
    assert!((0.95..1.05).contains(&full), "{full}");
}

#[test]
fn graphs_and_servers_cost_what_they_say() {
    let spec = card("DeepSeek-R1-Distill-Qwen-1.5B");
    let one = [(1, 100)];
    let with = |change: fn(&mut Setup)| {
        let mut device = Device::new(&spec.shape(), gpu("h100-sxm"), 1.into(), change);
        device.step(&one)
    };
    let (raw, _) = with(|_| ());
    let (eager, _) = with(|setup| setup.graphs = false);
    // 28 layers of 9 kernels, some 5 us apart.
    assert!(eager > raw && eager >= Duration::from_micros(28 * 9 * 5));
    let (served, output) = with(|setup| setup.server = Some(Server::VLLM));
    // An engine of others launches more, and its host is there too.
    assert!(served - output.host > raw);
    assert!(output.host > Duration::from_micros(200));
    let (offline, output) = with(|setup| setup.server = Some(Server::ENGINE));
    assert!(raw < offline && output.host > Duration::from_micros(200));
}

/// Both parts of a kernel that moves and computes alike are longer than either.
#[test]
fn a_step_bends_where_memory_and_arithmetic_meet() {
    let mut device = plain("DeepSeek-R1-Distill-Llama-8B", "h100-sxm", 1);
    let seconds = |device: &mut Device, rows: usize| device.seconds(&vec![(1, 100); rows]);
    let steps = [1, 64, 128, 256, 512, 1024].map(|rows| seconds(&mut device, rows));
    assert!(steps.is_sorted(), "{steps:?}");
    // What each more row costs rises through the knee: 300 rows of weights are as many FLOPs as bytes take.
    let each = |a: usize, b: usize, rows: f64| (steps[b] - steps[a]) / rows;
    assert!(each(0, 1, 63.0) < each(2, 3, 128.0));
    assert!(each(2, 3, 128.0) < each(4, 5, 512.0));
}

/// A cache that more query heads share costs their products over a long context.
#[test]
fn query_heads_cost_an_engine_at_long_contexts() {
    let seconds = |heads: usize, server: Option<Server>| {
        let mut spec = card("DeepSeek-R1-Distill-Llama-8B");
        spec.num_attention_heads = heads;
        let mut device = Device::new(&spec.shape(), gpu("h20-96g"), 1.into(), |setup| {
            setup.server = server;
        });
        device.seconds(&[(1, 100_000)]) - device.seconds(&[(1, 1000)])
    };
    let engine = Some(Server::ENGINE);
    assert!(seconds(32, engine) > 1.3 * seconds(8, engine));
    assert!(seconds(32, None) < 1.1 * seconds(8, None));
}

/// FP8 weights are half the bytes of the same model in bf16.
#[test]
fn fp8_reads_half() {
    let (half, fp8) = (card("Qwen3-235B-A22B"), card("Qwen3-235B-A22B-FP8"));
    let whole = Split {
        tp: 8,
        expert_parallel: true,
    };
    let bytes = |spec: &ModelSpec| {
        let mut device = Device::new(&spec.shape(), gpu("h200"), whole, |_| ());
        device.step(&[(1, 10); 64]).1.cost.bytes as f64
    };
    let ratio = bytes(&fp8) / bytes(&half);
    assert!((0.5..0.54).contains(&ratio), "{ratio}");
}

#[test]
fn every_token_is_drawn_alike_and_within_the_vocabulary() {
    let mut device = plain("Qwen2.5-0.5B", "l4", 1);
    let (_, first) = device.step(&[(1, 7), (1, 8), (1, 7)]);
    let (_, again) = device.step(&[(1, 7), (1, 8), (1, 9)]);
    assert_eq!(first.sampled[..2], again.sampled[..2]);
    assert_ne!(first.sampled[0], first.sampled[2], "streams differ");
    assert_ne!(first.sampled[2], again.sampled[2], "positions differ");
    assert!(first.sampled.iter().all(|s| s.token < 151_936));
}

/// A queue forms, and latency with it; the devices do no more.
#[test]
fn waiting_requests_are_in_no_step() {
    let simulation = simulation(card("QwQ-32B"), gpu("rtx4090-48g"), 2, None);
    let (some, many) = (
        run(&simulation, &Asked::report(300, 600)),
        run(&simulation, &Asked::report(1000, 1000)),
    );
    let rate = |run: &candlepower::ground::results::Run| run.metrics.output_tokens_per_sec.unwrap();
    assert!((rate(&some) / rate(&many) - 1.0).abs() < 0.1);
    assert!(many.metrics.max_latency > some.metrics.max_latency);
}

#[test]
fn a_virtual_clock_jumps_and_never_back() {
    let clock = VirtualClock::default();
    clock.sleep_until(Duration::from_secs(3600));
    clock.advance(Duration::from_millis(5));
    clock.sleep_until(Duration::from_secs(1));
    assert_eq!(clock.now(), Duration::from_millis(3_600_005));
}

/// The window of a layer bounds what its attention reads.
#[test]
fn windows_bound_attention() {
    let mut spec = card("Qwen2.5-0.5B");
    let mut all = Device::new(&spec.shape(), gpu("a10"), 1.into(), |_| ());
    spec.layer_windows = vec![Some(256); spec.num_hidden_layers];
    let mut near = Device::new(&spec.shape(), gpu("a10"), 1.into(), |_| ());
    let long = [(1, 20_000); 8];
    assert!(near.seconds(&long) < all.seconds(&long));
    assert_eq!(near.seconds(&[(1, 200)]), all.seconds(&[(1, 200)]));
    let rows: &Rows = &plan(&[(3, 300), (1, 50)]).rows;
    assert_eq!(rows.attended_tokens(Some(256)), 258 + 50);
    assert_eq!(rows.attended_tokens_of(0, Some(256)), 258);
}

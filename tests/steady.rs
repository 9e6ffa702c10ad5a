//! A steady decode step starts no thread and allocates nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use candle_core::DType;
use candlepower::ground::{Request, Sampling, StopRule};
use candlepower::scheduler::{Policy, SchedulerConfig};
use common::{Backend, Model, Setup, fixture};

const STEPS: usize = 150;

/// Counts what every thread of the process asks of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn threads_of_this_process() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn a_decode_step_neither_allocates_nor_starts_a_thread() {
    // One test: another at the same time would be counted too.
    for tp in [1, 2] {
        steady("llama-tiny", tp, DType::BF16, &[0.0]);
        steady("llama-tiny", tp, DType::BF16, &[0.0, 0.8]);
        steady("qwen3-moe-fp8-tiny", tp, DType::F8E4M3, &[0.0, 0.8]);
    }
}

/// Requests take these temperatures in turn: a step of greedy ones keeps no logits.
fn steady(name: &str, tp: usize, kv: DType, temperatures: &[f32]) {
    let model = Model::open(&fixture(name));
    let setup = Setup {
        backend: Backend::Cpu,
        kv,
        tp,
        expert_parallel: false,
        threads: 2,
        scheduler: SchedulerConfig {
            policy: Policy::Mixed,
            max_num_seqs: 16,
            max_num_batched_tokens: 256,
            max_model_len: 512,
            block_size: 16,
            num_blocks: 257,
            prefix_cache: false,
        },
        graphs: None,
    };
    let mut engine = common::Session::start(&model, &setup).engine;
    let mut events = Vec::new();
    for id in 0..8 {
        let temperature = temperatures[id as usize % temperatures.len()];
        let request = Request {
            id,
            prompt: (1..=20).collect::<Vec<u32>>().into(),
            stop: StopRule {
                max_tokens: 300,
                end_tokens: Arc::default(),
            },
            sampling: Sampling {
                temperature,
                top_k: 40,
                top_p: 0.9,
                ..Sampling::GREEDY
            },
            arrival: Duration::ZERO,
        };
        engine.submit(request, &mut events);
    }
    // Prefill, which also admits.
    engine.step(&mut events).unwrap();
    let mut steps = |count: usize| {
        for _ in 0..count {
            events.clear();
            engine.step(&mut events).unwrap();
            assert_eq!(events.len(), 8, "one token each");
        }
    };
    // Buffers grow to their sizes.
    steps(100);
    let threads = threads_of_this_process();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    steps(STEPS);
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    // Block tables double now and then while contexts grow.
    const GROWTH: u64 = 4;
    let allocations = after - before;
    assert!(
        allocations <= GROWTH,
        "{name}, tp {tp}: {allocations} allocations in {STEPS} steps"
    );
    assert_eq!(threads_of_this_process(), threads);
}

//! Cost of a scheduler step (`schedule` and `complete`) with 1,000 running requests, each decoding one token.

use std::hint::black_box;
use std::time::{Duration, Instant};

use candlepower::scheduler::{Decision, Outcome, Policy, Scheduler, SchedulerConfig, Submission};
use criterion::{Criterion, criterion_group, criterion_main};

const REQUESTS: usize = 1_000;
const PROMPT_TOKENS: usize = 256;
const OUTPUT_TOKENS: usize = 2_048;
const BLOCK_SIZE: usize = 16;
/// Prompts differ from their first token on, so that the prefix cache shares nothing.
const VOCABULARY: u32 = 32_000;

struct Load {
    scheduler: Scheduler,
    decision: Decision,
    outcomes: Vec<Outcome>,
    /// Decode steps until the requests reach their full length.
    steps_left: usize,
}

impl Load {
    /// 1,000 requests with their prompts computed and one token each.
    fn new(prefix_cache: bool) -> Self {
        let len = PROMPT_TOKENS + OUTPUT_TOKENS;
        let mut scheduler = Scheduler::new(SchedulerConfig {
            policy: Policy::Mixed,
            max_num_seqs: REQUESTS,
            max_num_batched_tokens: REQUESTS * PROMPT_TOKENS,
            max_model_len: len,
            block_size: BLOCK_SIZE,
            num_blocks: 1 + REQUESTS * len.div_ceil(BLOCK_SIZE),
            prefix_cache,
        })
        .expect("the limits are sound");
        for id in 0..REQUESTS as u64 {
            let tokens = (0..PROMPT_TOKENS as u32).map(|token| (id as u32 + token) % VOCABULARY);
            let submission = Submission {
                id,
                prompt: tokens.collect(),
                max_tokens: OUTPUT_TOKENS,
            };
            scheduler.add(submission).expect("the request fits");
        }
        let mut load = Self {
            scheduler,
            decision: Decision::default(),
            outcomes: Vec::with_capacity(REQUESTS),
            steps_left: OUTPUT_TOKENS,
        };
        load.step();
        load
    }

    /// Returns the time inside the scheduler.
    fn step(&mut self) -> Duration {
        self.steps_left -= 1;
        let start = Instant::now();
        self.scheduler.schedule(&mut self.decision);
        let scheduled = start.elapsed();
        assert_eq!(self.decision.entries.len(), REQUESTS);
        self.outcomes.clear();
        self.outcomes
            .extend(self.decision.entries.iter().map(|entry| Outcome {
                id: entry.id,
                token: entry.id as u32 ^ self.steps_left as u32,
                finished: false,
            }));
        let start = Instant::now();
        self.scheduler.complete(black_box(&self.outcomes));
        scheduled + start.elapsed()
    }
}

fn decode_steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler step, 1000 running requests");
    for (name, prefix_cache) in [("decode", false), ("decode, prefix cache", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut load = Load::new(prefix_cache);
                let mut elapsed = Duration::ZERO;
                for _ in 0..iterations {
                    // The last step would finish them all.
                    if load.steps_left == 1 {
                        load = Load::new(prefix_cache);
                    }
                    elapsed += load.step();
                }
                elapsed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode_steps);
criterion_main!(benches);

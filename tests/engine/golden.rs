//! The tiny checkpoints against what Hugging Face transformers computed for them, however a load is cut into steps.

use candle_core::DType;
use candlepower::scheduler::Policy;

use crate::common::golden::{F32_TOLERANCE, Golden, largest_of_all, relative_rms};
use crate::common::probe::Probe;
use crate::common::random::Random;
use crate::common::{Arrival, Backend, DENSE, FIXTURES, Model, Session, Setup, fixture};

const POLICIES: [Policy; 3] = [Policy::Mixed, Policy::PrefillFirst, Policy::Reserve];
const BACKENDS: [Backend; 2] = [Backend::Cpu, Backend::Reference];

/// bf16 keeps 8 bits of each cached number: every key and value is off by up to 2^-9 of itself, and three layers carry
/// that into logits of size up to 10. Measured: 0.13 to 0.19.
const BF16_TOLERANCE: f32 = 0.3;
/// Two backends with bf16 caches round the same way but for numbers that f32 noise moves over a rounding boundary.
/// Measured: up to 0.002.
const BF16_AGREEMENT: f32 = 0.02;

/// Activations of bf16 are off by as much in each layer's input: their root mean square over that of the logits.
/// Measured: 0.008 to 0.013.
const BF16_RMS: f64 = 0.02;

/// Plays the golden prompts alone and together in one engine.
fn check(model: &Model, golden: &Golden, setup: &Setup, name: &str) {
    let mut session = Session::start(model, setup);
    let alone = session.alone(&golden.prompts, golden.max_tokens());
    assert_eq!(alone, golden.greedy, "{name}, alone, {setup:?}");
    let together = session.together(&golden.prompts, golden.max_tokens());
    assert_eq!(together, golden.greedy, "{name}, together, {setup:?}");
}

/// Every combination, under every policy.
fn matrix(name: &str, backend: Backend, block_sizes: &[usize], budgets: &[usize], caches: &[bool]) {
    let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
    for &block_size in block_sizes {
        for &budget in budgets {
            for policy in POLICIES {
                for &prefix_cache in caches {
                    let mut setup = Setup {
                        backend,
                        ..Setup::default()
                    };
                    setup.scheduler.block_size = block_size;
                    setup.scheduler.num_blocks = 1024_usize.div_ceil(block_size) + 1;
                    setup.scheduler.max_num_batched_tokens = budget;
                    setup.scheduler.policy = policy;
                    setup.scheduler.prefix_cache = prefix_cache;
                    check(&model, &golden, &setup, name);
                }
            }
        }
    }
}

#[test]
fn greedy_tokens_are_golden_whatever_the_schedule() {
    for name in FIXTURES {
        // What experts and FP8 add knows of no blocks.
        let block_sizes = match DENSE.contains(&name) {
            true => &[1, 7, 16, 32][..],
            false => &[7, 16],
        };
        matrix(
            name,
            Backend::Cpu,
            block_sizes,
            &[16, 64, 2048],
            &[false, true],
        );
    }
}

#[test]
fn greedy_tokens_of_the_reference_kernels_are_golden() {
    for name in FIXTURES {
        matrix(name, Backend::Reference, &[16], &[64], &[true]);
    }
}

#[test]
fn preemption_changes_no_token() {
    for name in FIXTURES {
        let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
        // Each prompt twice: the pool holds the longest request and no more.
        let prompts = [golden.prompts.clone(), golden.prompts.clone()].concat();
        let expected = [golden.greedy.clone(), golden.greedy.clone()].concat();
        let longest = golden.prompts.iter().map(Vec::len).max().unwrap() + golden.max_tokens();
        for block_size in [1, 7, 16, 32] {
            for (policy, prefix_cache) in POLICIES.into_iter().flat_map(|p| [(p, false), (p, true)])
            {
                let mut setup = Setup::default();
                setup.scheduler.block_size = block_size;
                setup.scheduler.num_blocks = longest.div_ceil(block_size) + 1;
                setup.scheduler.max_num_batched_tokens = 64;
                setup.scheduler.policy = policy;
                setup.scheduler.prefix_cache = prefix_cache;
                let mut session = Session::start(&model, &setup);
                let found = session.together(&prompts, golden.max_tokens());
                assert_eq!(found, expected, "{name}, {setup:?}");
                let preemptions = session.engine.scheduler().preemptions();
                // Reserve admits only what can finish; the others must have been driven to it.
                assert_eq!(preemptions > 0, policy != Policy::Reserve, "{setup:?}");
            }
        }
    }
}

#[test]
fn the_prefix_cache_is_hit_and_changes_no_token() {
    for name in FIXTURES {
        let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
        for block_size in [1, 7, 16, 32] {
            let mut setup = Setup::default();
            setup.scheduler.block_size = block_size;
            setup.scheduler.num_blocks = 1024_usize.div_ceil(block_size) + 1;
            setup.scheduler.prefix_cache = true;
            let mut session = Session::start(&model, &setup);
            let hits = |session: &Session| session.engine.scheduler().prefix_hit_tokens();
            let mut found = session.together(&golden.prompts, golden.max_tokens());
            assert_eq!(found, golden.greedy, "{name}, {setup:?}");
            let before = hits(&session);
            found = session.together(&golden.prompts, golden.max_tokens());
            assert_eq!(found, golden.greedy, "{name}, cached, {setup:?}");
            // All full blocks of a prompt are found again, except the one with its last token, which is computed.
            let whole = |p: &Vec<u32>| (p.len() - 1) / block_size * block_size;
            let expected: usize = golden.prompts.iter().map(whole).sum();
            assert_eq!(
                hits(&session) - before,
                expected as u64,
                "{name}, {setup:?}"
            );
            // Prompts that start as a cached one and then leave it, for unknown tokens and for those of another
            // cached prompt: a block is the same only after the same prefix.
            let mut left = golden.prompts[3].clone();
            left[40] = (left[40] + 1) % 500;
            let crossed = [&golden.prompts[2][..32], &golden.prompts[3][32..]].concat();
            let others = [left, crossed];
            let cached = session.alone(&others, 8);
            setup.scheduler.prefix_cache = false;
            let plain = Session::start(&model, &setup).alone(&others, 8);
            assert_eq!(cached, plain, "{name}, {setup:?}");
        }
    }
}

/// Golden prompts among random neighbours, in random order, arriving at random steps.
#[test]
fn batch_composition_changes_no_token() {
    for name in FIXTURES {
        let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
        for seed in 0..24 {
            let mut random = Random(seed);
            let mut setup = Setup {
                threads: 2,
                ..Setup::default()
            };
            let config = &mut setup.scheduler;
            config.policy = random.pick(&POLICIES);
            config.block_size = random.pick(&[1, 3, 16, 32]);
            config.max_num_batched_tokens = random.pick(&[5, 16, 100, 2048]);
            config.max_num_seqs = random.pick(&[2, 6, 32]);
            config.prefix_cache = random.flip();
            // From one long request to all of them.
            let room = random.within(130..600);
            config.num_blocks = room.div_ceil(config.block_size) + 1;
            let mut load: Vec<(Option<usize>, Arrival)> = (0..random.within(8..20))
                .map(|_| {
                    let which = random
                        .flip()
                        .then(|| random.within(0..golden.prompts.len()));
                    let length = random.within(1..90);
                    let neighbour = random.tokens(length, model.spec.vocab_size);
                    let arrival = Arrival {
                        step: random.within(0..40),
                        prompt: which.map_or(neighbour, |i| golden.prompts[i].clone()),
                        max_tokens: which.map_or(random.within(1..40), |_| golden.max_tokens()),
                    };
                    (which, arrival)
                })
                .collect();
            load[0].0 = Some(3);
            load[0].1.prompt.clone_from(&golden.prompts[3]);
            load[0].1.max_tokens = golden.max_tokens();
            let arrivals: Vec<Arrival> = load.iter().map(|(_, arrival)| arrival.clone()).collect();
            let found = Session::start(&model, &setup).play(&arrivals);
            // `found` is in the order of the load, whatever the order of arrival.
            for ((which, arrival), found) in load.iter().zip(&found) {
                assert_eq!(found.len(), arrival.max_tokens);
                if let Some(i) = which {
                    assert_eq!(found, &golden.greedy[*i], "{name}, seed {seed}, {setup:?}");
                }
            }
        }
    }
}

/// Logits of the golden prompts of one fixture, and their largest distance to the golden ones.
fn logits(
    name: &str,
    backend: Backend,
    kv: DType,
    block_size: usize,
    chunk: usize,
) -> (Vec<Vec<f32>>, f32) {
    let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
    let mut probe = Probe::new(&model, backend, kv, block_size);
    let found = probe.logits(&golden.prompts, |_| chunk);
    let worst = largest_of_all(&found, &Golden::logits(name));
    println!("{name} {backend:?} {kv:?} block {block_size} chunk {chunk}: {worst:.2e}");
    (found, worst)
}

#[test]
fn logits_are_golden_at_every_prompt_position() {
    for name in FIXTURES {
        for backend in BACKENDS {
            for block_size in [1, 7, 16, 32] {
                for chunk in [512, 13, 1] {
                    let (_, worst) = logits(name, backend, DType::F32, block_size, chunk);
                    assert!(worst < F32_TOLERANCE, "{name}, {backend:?}: {worst}");
                }
            }
        }
    }
}

#[test]
fn logits_with_a_bf16_cache_stay_near() {
    for name in DENSE {
        for chunk in [512, 13] {
            let [cpu, reference] = BACKENDS.map(|backend| {
                let (found, worst) = logits(name, backend, DType::BF16, 16, chunk);
                assert!(worst < BF16_TOLERANCE, "{name}, {backend:?}: {worst}");
                // A cache that secretly stayed f32 would be nearer than bf16 can be.
                assert!(worst > F32_TOLERANCE, "{name}, {backend:?}: {worst}");
                found
            });
            let apart = largest_of_all(&cpu, &reference);
            println!("{name} bf16 chunk {chunk}: backends {apart:.2e} apart");
            assert!(apart < BF16_AGREEMENT, "{name}, chunk {chunk}: {apart}");
        }
    }
}

/// As they come from pairs of bf16 where the processor multiplies them, and from rounded activations elsewhere.
#[test]
fn logits_of_bf16_activations_stay_near_and_keep_their_bits_in_every_chunk() {
    // The one whose weights are f32 meets them in f32.
    for name in DENSE.into_iter().filter(|&name| name != "llama-tied-tiny") {
        for kv in [DType::BF16, DType::F32] {
            let golden = Golden::logits(name);
            let (whole, _) = logits(name, Backend::CpuBf16, kv, 16, 512);
            let rms = relative_rms(&whole, &golden);
            println!("{name} bf16 activations, {kv:?} cache: {rms:.4}");
            assert!((1e-4..BF16_RMS).contains(&rms), "{name}, {kv:?}: {rms}");
            for chunk in [13, 1] {
                let (found, _) = logits(name, Backend::CpuBf16, kv, 16, chunk);
                assert!(found == whole, "{name}, {kv:?}, chunk {chunk}: other bits");
            }
        }
    }
}

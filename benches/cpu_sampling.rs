//! From rows of logits to tokens, beside what reading the logits once costs:
//! `cargo bench --bench cpu_sampling [-- FILTER]`.

mod cards;
mod roofs;

use std::cell::RefCell;

use candlepower::exec::sample::{Head, Sampler};
use candlepower::ground::Sampling;
use candlepower::ops::cpu::Cpu;
use candlepower::ops::{Backend, Buffer, Pick, Sampled, cost, storage};
use candlepower::parallel::Solo;
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Normal};
use roofs::{Case, Place, Traffic};

/// Of the Qwen family and of small models.
const VOCABULARIES: [usize; 2] = [151_936, 49_152];
const SIZES: [(usize, Place); 3] = [(1, Place::Cache), (32, Place::Cache), (32, Place::Memory)];
/// Spread of a trained model's logits, about.
const DEVIATION: f32 = 2.5;

const WARM: Sampling = Sampling {
    temperature: 0.8,
    ..Sampling::GREEDY
};
const TOP_K: usize = 50;
const TOP_P: f32 = 0.95;
const ALTERNATIVES: usize = 5;

const KINDS: [(&str, Sampling); 6] = [
    ("argmax", Sampling::GREEDY),
    ("temperature", WARM),
    (
        "top-k",
        Sampling {
            top_k: TOP_K,
            ..WARM
        },
    ),
    (
        "top-p",
        Sampling {
            top_p: TOP_P,
            ..WARM
        },
    ),
    (
        "top-k and top-p",
        Sampling {
            top_k: TOP_K,
            top_p: TOP_P,
            ..WARM
        },
    ),
    (
        "logprobs",
        Sampling {
            logprobs: Some(ALTERNATIVES),
            ..Sampling::GREEDY
        },
    ),
];

fn main() {
    roofs::beside(|beside| {
        for vocabulary in VOCABULARIES {
            for (kind, sampling) in KINDS {
                for (rows, place) in SIZES {
                    // The others are not bound by memory.
                    if place == Place::Memory && sampling != Sampling::GREEDY {
                        continue;
                    }
                    let case = Case {
                        kernel: kind,
                        name: format!("{rows} x {vocabulary}, {place:?}"),
                        cost: cost::sample(rows, vocabulary),
                        traffic: Traffic::Read,
                        place,
                    };
                    let picks: Vec<Pick> = (0..rows)
                        .map(|row| Pick {
                            stream: row as u64,
                            position: 0,
                            sampling,
                        })
                        .collect();
                    beside.kernel(
                        &case,
                        || {
                            let sets = (0..case.sets()).map(|_| logits(rows, vocabulary));
                            (sets.collect::<Vec<_>>(), RefCell::default())
                        },
                        |(sets, state), turn| {
                            let head = Head {
                                kernels: &Cpu::F32,
                                collective: &Solo,
                                vocab: &(0..vocabulary),
                                vocab_size: vocabulary,
                            };
                            let (sampler, out): &mut (Sampler, Vec<Sampled>) =
                                &mut state.borrow_mut();
                            sampler.sample(&head, &sets[turn % sets.len()], &picks, out)
                        },
                    );
                }
            }
        }
    });
}

/// Normally distributed: how far a selection gets depends on the values.
fn logits(rows: usize, vocabulary: usize) -> Buffer {
    let buffer = Cpu::F32.buffer(rows, vocabulary).expect("a buffer");
    let normal = Normal::new(0.0, DEVIATION).expect("a distribution");
    let mut rng = StdRng::seed_from_u64(0);
    let filled = storage::write(&buffer, |values: &mut [f32]| {
        values.fill_with(|| normal.sample(&mut rng));
        Ok(())
    });
    filled.expect("a buffer is filled");
    buffer
}

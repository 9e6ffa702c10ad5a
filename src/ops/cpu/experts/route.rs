//! The router's choice: a softmax over all scores, and its highest.

use std::cell::RefCell;

use candle_core::Result;

use crate::ops::cpu::kernel_portable::weight;
use crate::ops::storage;
use crate::ops::{Buffer, Routes, Routing};

/// In place of the weight of an expert that was chosen; below every weight.
const TAKEN: f32 = -1.0;

thread_local! {
    /// Weights of one row's experts.
    static WEIGHTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

pub fn route(
    scores: &Buffer,
    routing: &Routing,
    rows: usize,
    routes: &Routes,
    load: &Buffer,
) -> Result<()> {
    let Routing {
        num_experts, top_k, ..
    } = *routing;
    storage::read(scores, |scores: &[f32]| {
        storage::write(&routes.weights, |weights: &mut [f32]| {
            storage::write(&routes.experts, |chosen: &mut [u32]| {
                let chosen = &mut chosen[..rows * top_k];
                let rows = scores.chunks_exact(num_experts).take(rows);
                let experts = chosen.chunks_exact_mut(top_k);
                // A row takes about a microsecond: no work for threads beside its experts'.
                for ((scores, experts), weights) in
                    rows.zip(experts).zip(weights.chunks_exact_mut(top_k))
                {
                    choose(scores, routing.normalize, experts, weights);
                }
                storage::write(load, |load: &mut [u32]| {
                    for &mut expert in chosen {
                        load[expert as usize] += 1;
                    }
                    Ok(())
                })
            })
        })
    })
}

fn choose(scores: &[f32], normalize: bool, experts: &mut [u32], weights: &mut [f32]) {
    let mut all = WEIGHTS.take();
    let peak = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    all.clear();
    all.extend(scores.iter().map(|score| weight(score - peak)));
    let sum: f32 = all.iter().sum();
    all.iter_mut().for_each(|weight| *weight /= sum);
    for (expert, weight) in experts.iter_mut().zip(&mut *weights) {
        let mut best = (0, TAKEN);
        for (index, &weight) in (0..).zip(&all) {
            // A NaN is as good as any that is left.
            let better = weight > best.1 || best.1 == TAKEN && weight != TAKEN;
            best = if better { (index, weight) } else { best };
        }
        (*expert, *weight) = best;
        all[best.0 as usize] = TAKEN;
    }
    if normalize {
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    WEIGHTS.set(all);
}

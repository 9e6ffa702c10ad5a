//! The experts of a sparse layer: rows are grouped by the expert they chose, and each touched expert's
//! weights are read once for all of them.
//!
//! All experts' panels are one list of work for the threads, which meet after gate and up, after down, and
//! after the sums of rows that are many. Activations lie as the tiles of a chunk read them, k by k.

mod layer;
mod plan;
pub mod route;

use std::cell::RefCell;
use std::sync::Mutex;

use candle_core::{Error, Result, bail};

use self::layer::Layer;
use self::plan::Plan;
use super::best::with_best_kernel;
use super::elementwise::for_rows;
use super::packing::Activations;
use super::workers;
use crate::ops::storage;
use crate::ops::{Buffer, ExpertSpace, Experts, Routes};

thread_local! {
    static PLAN: RefCell<Plan> = RefCell::default();
}

pub fn experts(
    x: &Buffer,
    experts: &Experts,
    routes: &Routes,
    activations: Activations,
    rows: usize,
    space: &ExpertSpace,
    out: &Buffer,
) -> Result<()> {
    // Taken, not borrowed: a thread that waits for others may run another call of this function.
    let mut plan = PLAN.take();
    let top_k = routes.experts.dim(1)?;
    storage::read(&routes.experts, |chosen: &[u32]| {
        plan.group(experts, &chosen[..rows * top_k], top_k);
        Ok(())
    })?;
    let done = match experts.held.first() {
        Some(first) if !plan.chunks.is_empty() => {
            let layer = Layer::of(experts, first, activations);
            with_best_kernel!(activations, kernel => layer.run(kernel, x, &mut plan, space))
        }
        _ => Ok(()),
    };
    let done = done.and_then(|()| add_up(&plan, routes, rows, space, out));
    PLAN.set(plan);
    done
}

fn add_up(
    plan: &Plan,
    routes: &Routes,
    rows: usize,
    space: &ExpertSpace,
    out: &Buffer,
) -> Result<()> {
    let (top_k, hidden) = (routes.experts.dim(1)?, out.dim(1)?);
    storage::read(&routes.weights, |weights: &[f32]| {
        storage::read(&space.out, |results: &[f32]| {
            storage::write(out, |out: &mut [f32]| {
                for_rows(&mut out[..rows * hidden], hidden, |row, out| {
                    out.fill(0.0);
                    let choices = row * top_k..(row + 1) * top_k;
                    for (&weight, choice) in weights[choices.clone()].iter().zip(choices) {
                        let Some(place) = plan.place(choice) else {
                            continue;
                        };
                        let result = &results[place * hidden..][..hidden];
                        for (out, result) in out.iter_mut().zip(result) {
                            *out += weight * result;
                        }
                    }
                });
                Ok(())
            })
        })
    })
}

/// Calls `f(i)` for `i` in `0..count`, on all threads where it is worth their while.
fn each(count: usize, parallel: bool, f: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    if !parallel {
        return (0..count).try_for_each(f);
    }
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    workers::each_when_free(count, |i| {
        if let (Err(error), Ok(mut failed)) = (f(i), failed.lock()) {
            *failed = Some(error);
        }
    });
    match failed.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => bail!("a thread panicked while it noted an error"),
    }
}

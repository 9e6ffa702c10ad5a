//! A step of some layers tells that of all: layers are alike.

use std::collections::BTreeMap;

use super::MICRO;
use super::about::About;
use super::result::{Whole, WholeOp};
use super::steps::Step;

/// Where the operations of a step lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Before or behind all layers.
    Outside,
    /// In a layer that others follow.
    Ordinary,
    /// In the last layer: of a prompt, it goes on with the rows that need logits.
    Last,
}

/// Calls and microseconds over all steps, by operation; gaps stand beside them.
#[derive(Debug, Default)]
struct Sum {
    ops: BTreeMap<&'static str, (f64, f64)>,
    gaps_us: f64,
}

/// # Errors
/// Why there is nothing to tell, as a sentence.
pub fn whole(about: &About, steps: &[Step]) -> Result<Whole, &'static str> {
    let About {
        layers,
        model_layers,
        load,
        ..
    } = *about;
    if layers == model_layers {
        return Err("all layers ran");
    }
    if layers < 2 {
        return Err("one layer is first and last at once; keep two or more with --layers");
    }
    let sums = sums(layers, steps);
    let steps = steps.len() as f64;
    let mut ops: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let mut host_us = 0.0;
    for (place, sum) in &sums {
        let times = match place {
            Place::Outside | Place::Last => 1.0,
            Place::Ordinary => (model_layers - 1) as f64 / (layers - 1) as f64,
        };
        host_us += sum.gaps_us * times / steps;
        for (name, (calls, us)) in &sum.ops {
            let op = ops.entry(name).or_default();
            op.0 += calls * times / steps;
            op.1 += us * times / steps;
        }
    }
    let step_us = ops.values().map(|(_, us)| us).sum::<f64>() + host_us;
    let ops = ops.into_iter().map(|(name, (calls, us))| WholeOp {
        name: name.to_owned(),
        calls: calls.round() as u64,
        us,
        share: us / step_us,
    });
    let mut ops: Vec<WholeOp> = ops.collect();
    ops.sort_by(|a, b| b.us.total_cmp(&a.us));
    Ok(Whole {
        layers: model_layers,
        step_us,
        tokens_per_s: load.rows() as f64 / step_us * MICRO,
        ops,
        host_us,
    })
}

/// Of rank 0. The gap before an operation belongs to its place.
fn sums(layers: usize, steps: &[Step]) -> BTreeMap<Place, Sum> {
    let mut sums: BTreeMap<Place, Sum> = BTreeMap::new();
    for step in steps {
        let (before, behind) = step.gaps(0);
        for (op, gap) in step.ops[0].iter().zip(before) {
            let place = match op.layer {
                None => Place::Outside,
                Some(layer) if layer + 1 == layers => Place::Last,
                Some(_) => Place::Ordinary,
            };
            let sum = sums.entry(place).or_default();
            let (calls, us) = sum.ops.entry(op.name).or_default();
            *calls += 1.0;
            *us += op.time.as_secs_f64() * MICRO;
            sum.gaps_us += gap.as_secs_f64() * MICRO;
        }
        sums.entry(Place::Outside).or_default().gaps_us += behind.as_secs_f64() * MICRO;
    }
    sums
}

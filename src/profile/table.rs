//! From what was measured to the table.

use std::collections::BTreeMap;

use super::about::About;
use super::kernels;
use super::measure::Measured;
use super::result::{Bound, OpRow, Profile, RankRow, RoofRates, SCHEMA, TimedBy, Totals};
use super::rows::{Rate, rows};
use super::steps::{Step, mean_us, middle};
use super::whole::whole;
use super::{GIGA, MICRO};
use crate::ground::recorder::is_exchange;
use crate::ground::results::{Kind, Roofs};

/// The table of at least one step on at least one rank.
pub fn profile(about: &About, measured: &Measured) -> Profile {
    let all = Step::cut(&measured.steps, &measured.timelines);
    let count = all.len();
    let times = all.iter().map(|step| step.time().as_secs_f64() * MICRO);
    let step_us_range = times.fold([f64::INFINITY, 0.0], |[least, most], time| {
        [time.min(least), time.max(most)]
    });
    let (steps, ranks) = (middle(all), measured.timelines.len());
    let step_us = mean_us(&steps, Step::time);
    let host_us = mean_us(&steps, |step| step.idle(0));
    let rate = measured.roofs.map(|roofs| Rate::of_each(roofs, ranks));
    let ops = rows(&steps, step_us, rate);
    let whole_model = whole(about, &steps);
    let timed_by = timed_by(about, measured);
    let mut not_observed = BTreeMap::new();
    if measured.roofs.is_none() {
        let reason = "the roofs of this device cannot be measured";
        not_observed.insert("roofs".to_owned(), reason.to_owned());
    }
    for (name, reason) in kernels::not_observed(about, measured, &ops) {
        not_observed.insert(name.to_owned(), reason);
    }
    if let Err(reason) = &whole_model {
        not_observed.insert("whole_model".to_owned(), (*reason).to_owned());
    }
    if measured.counts.0.is_empty() {
        let reason = "nothing ran that could be counted";
        not_observed.insert("counters".to_owned(), reason.to_owned());
    }
    let mut counters = BTreeMap::new();
    for (name, counted) in &measured.counts.0 {
        let each = counted.as_ref().map(|all| all / count as f64);
        if let Err(reason) = &each {
            not_observed.insert(format!("counters.{name}"), (*reason).clone());
        }
        counters.insert((*name).to_owned(), each.ok());
    }
    let About { load, .. } = about;
    Profile {
        schema: SCHEMA.to_owned(),
        kind: about.kind,
        device: about.device.clone(),
        hardware: about.hardware.clone(),
        model: about.model.clone(),
        layers: about.layers,
        model_layers: about.model_layers,
        tp: ranks,
        threads: about.threads,
        phase: load.phase,
        batch: load.batch,
        context: load.context,
        rows: load.rows(),
        roofs: measured.roofs.map(rates),
        timed_by,
        steps: count,
        step_us,
        step_us_range,
        tokens_per_s: load.rows() as f64 / step_us * MICRO,
        totals: totals(&ops, timed_by, step_us, host_us),
        ops,
        host_us,
        host_share: host_us / step_us,
        ranks: match ranks {
            1 => Vec::new(),
            ranks => (0..ranks).map(|rank| rank_row(&steps, rank)).collect(),
        },
        whole_model: whole_model.ok(),
        counters,
        not_observed,
    }
}

fn timed_by(about: &About, measured: &Measured) -> TimedBy {
    match (about.kind, about.device.as_str()) {
        (Kind::Predicted, _) => TimedBy::Model,
        (_, "cuda") if measured.untraced.is_none() => TimedBy::Cupti,
        (_, "cuda") => TimedBy::Events,
        _ => TimedBy::Clock,
    }
}

fn rates(roofs: Roofs) -> RoofRates {
    RoofRates {
        read_gb_s: roofs.read_bytes_per_s / GIGA,
        gflop_s: roofs.flop_per_s / GIGA,
    }
}

fn totals(ops: &[OpRow], timed_by: TimedBy, step_us: f64, host_us: f64) -> Totals {
    let floors = ops.iter().map(|op| op.floor_us);
    let floor_us: Option<f64> = floors.sum();
    let bytes = ops.iter().map(|op| op.bytes).sum();
    let flops = ops.iter().map(|op| op.flops).sum();
    let giga_per_s = |amount: u64| amount as f64 / step_us * MICRO / GIGA;
    Totals {
        us: ops.iter().map(|op| op.us).sum::<f64>() + host_us,
        kernels_us: (timed_by == TimedBy::Cupti).then(|| kernels::us(ops)),
        bytes,
        flops,
        gb_s: giga_per_s(bytes),
        gflop_s: giga_per_s(flops),
        floor_us,
        roof_fraction: floor_us.map(|floor| floor / step_us),
        gap_us: floor_us.map(|floor| step_us - floor),
    }
}

fn rank_row(steps: &[Step], rank: usize) -> RankRow {
    RankRow {
        rank,
        busy_us: mean_us(steps, |step| step.ops[rank].iter().map(|op| op.time).sum()),
        exchange_us: mean_us(steps, |step| {
            let exchanges = step.ops[rank].iter().filter(|op| is_exchange(op.name));
            exchanges.map(|op| op.time).sum()
        }),
        wait_us: mean_us(steps, |step| step.waits(rank).iter().sum()),
    }
}

impl Bound {
    /// Of an operation that takes `us`, and would take the others at the roofs.
    pub(super) fn of(us: f64, memory_us: f64, compute_us: f64) -> Self {
        if us > 2.0 * (memory_us + compute_us) {
            Self::Latency
        } else if memory_us >= compute_us {
            Self::Memory
        } else {
            Self::Compute
        }
    }
}

//! One row an operation: its calls in the steps that count, added up.

use super::kernels::Kernels;
use super::result::{Bound, OpRow};
use super::steps::Step;
use super::{GIGA, MICRO};
use crate::ground::recorder::{Cost, OpRecord, is_exchange};
use crate::ground::results::Roofs;
use crate::metrics::quantile::Sample;

/// What one rank can do at best.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    bytes_per_us: f64,
    flop_per_us: f64,
}

impl Rate {
    /// Roofs are of all ranks together, which are alike.
    pub fn of_each(roofs: Roofs, ranks: usize) -> Self {
        let each = |per_s: f64| per_s / ranks as f64 / MICRO;
        Self {
            bytes_per_us: each(roofs.read_bytes_per_s),
            flop_per_us: each(roofs.flop_per_s),
        }
    }
}

/// Sums over all calls of one operation on one rank, in all steps that count.
#[derive(Debug, Clone, Default)]
struct Sum {
    calls_us: Vec<f64>,
    cost: Cost,
    memory_us: f64,
    compute_us: f64,
    floor_us: f64,
    wait_us: f64,
    /// `None`: the device does not tell them.
    kernels: Option<Kernels>,
}

impl Sum {
    fn add(&mut self, op: &OpRecord, rate: Option<Rate>) {
        self.calls_us.push(op.time.as_secs_f64() * MICRO);
        self.cost += op.cost;
        if let Some(launches) = &op.launches {
            let kernels = self.kernels.get_or_insert_default();
            launches.iter().for_each(|launch| kernels.add(launch));
        }
        if let Some(rate) = rate {
            let memory = op.cost.bytes as f64 / rate.bytes_per_us;
            let compute = op.cost.flops as f64 / rate.flop_per_us;
            self.memory_us += memory;
            self.compute_us += compute;
            self.floor_us += memory.max(compute);
        }
    }

    fn us(&self) -> f64 {
        self.calls_us.iter().sum()
    }
}

/// Sums by name, in order of first appearance.
#[derive(Default)]
struct Sums(Vec<(&'static str, Sum)>);

impl Sums {
    fn of(steps: &[Step], rank: usize, rate: Option<Rate>) -> Self {
        let mut sums = Self::default();
        for step in steps {
            for op in step.ops[rank] {
                sums.entry(op.name).add(op, rate);
            }
            let exchanges = step.ops[rank].iter().filter(|op| is_exchange(op.name));
            for (op, wait) in exchanges.zip(step.waits(rank)) {
                sums.entry(op.name).wait_us += wait.as_secs_f64() * MICRO;
            }
        }
        sums
    }

    fn entry(&mut self, name: &'static str) -> &mut Sum {
        let known = self.0.iter().position(|(other, _)| *other == name);
        let index = known.unwrap_or_else(|| {
            self.0.push((name, Sum::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    fn us_of(&self, name: &str) -> f64 {
        let found = self.0.iter().find(|(other, _)| *other == name);
        found.map_or(0.0, |(_, sum)| sum.us())
    }
}

/// Of rank 0, per step, the longest first.
pub fn rows(steps: &[Step], step_us: f64, rate: Option<Rate>) -> Vec<OpRow> {
    let ranks = steps.first().map_or(0, |step| step.ops.len());
    let mut all: Vec<Sums> = (0..ranks).map(|rank| Sums::of(steps, rank, rate)).collect();
    // All steps are alike, so that counts divide without a rest.
    let (count, each) = (steps.len() as u64, 1.0 / steps.len() as f64);
    let spread = |name: &str, all: &[Sums]| {
        let times = all.iter().map(|sums| sums.us_of(name) * each);
        times.fold([f64::INFINITY, 0.0], |[least, most], us| {
            [us.min(least), us.max(most)]
        })
    };
    let ranges: Vec<_> = match all.first() {
        Some(first) => first.0.iter().map(|(name, _)| spread(name, &all)).collect(),
        None => Vec::new(),
    };
    let own = all.drain(..).next().unwrap_or_default();
    let rows = own.0.into_iter().zip(ranges).map(|((name, sum), range)| {
        let us = sum.us() * each;
        let (bytes, flops) = (sum.cost.bytes / count, sum.cost.flops / count);
        let giga_per_s = |amount: u64| amount as f64 / us * MICRO / GIGA;
        let floor_us = rate.map(|_| sum.floor_us * each);
        let calls = sum.calls_us.len() as u64 / count;
        let call_us = Sample::new(sum.calls_us).map_or(f64::NAN, |calls| calls.percentile(50));
        OpRow {
            name: name.to_owned(),
            calls,
            us,
            call_us,
            share: us / step_us,
            bytes,
            flops,
            gb_s: giga_per_s(bytes),
            gflop_s: giga_per_s(flops),
            roof_fraction: floor_us.map(|floor| floor / us),
            bound: rate.map(|_| Bound::of(us, sum.memory_us * each, sum.compute_us * each)),
            floor_us,
            gap_us: floor_us.map(|floor| us - floor),
            ranks_us: (ranks > 1).then_some(range),
            wait_us: is_exchange(name).then_some(sum.wait_us * each),
            kernels: sum.kernels.map(|kernels| kernels.rows(count)),
        }
    });
    let mut rows: Vec<OpRow> = rows.collect();
    rows.sort_by(|a, b| b.us.total_cmp(&a.us));
    rows
}

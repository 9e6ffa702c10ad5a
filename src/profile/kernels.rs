//! What an operation launched: one row a kernel and shape.

use std::sync::Arc;

use super::MICRO;
use super::about::About;
use super::measure::Measured;
use super::result::{KernelRow, OpRow};
use crate::ground::launch::{Launch, LaunchShape};
use crate::ground::results::Kind;

/// Sums over launches, in order of first appearance.
#[derive(Debug, Clone, Default)]
pub struct Kernels(Vec<Kernel>);

/// All launches of one kernel in one shape.
#[derive(Debug, Clone)]
struct Kernel {
    name: Arc<str>,
    shape: Option<LaunchShape>,
    launches: u64,
    us: f64,
    bytes: Option<u64>,
}

impl Kernels {
    pub fn add(&mut self, launch: &Launch) {
        let is_same = |k: &Kernel| k.name == launch.kernel && k.shape == launch.shape;
        let index = self.0.iter().position(is_same).unwrap_or_else(|| {
            self.0.push(Kernel {
                name: launch.kernel.clone(),
                shape: launch.shape,
                launches: 0,
                us: 0.0,
                bytes: Some(0),
            });
            self.0.len() - 1
        });
        let kernel = &mut self.0[index];
        kernel.launches += 1;
        kernel.us += launch.time.as_secs_f64() * MICRO;
        let bytes = kernel.bytes.zip(launch.bytes);
        kernel.bytes = bytes.map(|(all, own)| all + own);
    }

    /// Of one step, of `steps` that are alike.
    pub fn rows(self, steps: u64) -> Vec<KernelRow> {
        let row = |kernel: Kernel| {
            let shape = kernel.shape;
            KernelRow {
                name: kernel.name.to_string(),
                launches: kernel.launches / steps,
                us: kernel.us / steps as f64,
                grid: shape.map(|shape| shape.grid),
                block: shape.map(|shape| shape.block),
                registers: shape.and_then(|shape| shape.registers),
                shared_bytes: shape.map(|shape| shape.shared_bytes),
                occupancy: shape.and_then(|shape| shape.occupancy),
                bytes: kernel.bytes.map(|bytes| bytes / steps),
            }
        };
        self.0.into_iter().map(row).collect()
    }
}

/// Of all kernels of a step.
pub fn us(ops: &[OpRow]) -> f64 {
    let kernels = ops.iter().filter_map(|op| op.kernels.as_deref()).flatten();
    kernels.map(|kernel| kernel.us).sum()
}

/// For every null about kernels in `ops` and their sum: why.
pub fn not_observed(
    about: &About,
    measured: &Measured,
    ops: &[OpRow],
) -> Vec<(&'static str, String)> {
    let all: Option<Vec<&[KernelRow]>> = ops.iter().map(|op| op.kernels.as_deref()).collect();
    let Some(all) = all else {
        let reason = match about.kind {
            Kind::Predicted => "a simulated device launches no kernels",
            _ => "operations on a CPU launch no kernels",
        };
        return ["kernels", "totals.kernels_us"]
            .map(|name| (name, reason.to_owned()))
            .to_vec();
    };
    let has = |is_null: fn(&KernelRow) -> bool| all.iter().copied().flatten().any(is_null);
    let mut reasons = Vec::new();
    if let Some(reason) = &measured.untraced {
        reasons.push(("totals.kernels_us", reason.clone()));
    }
    let mut push = |name, reason: &str| reasons.push((name, reason.to_owned()));
    if has(|kernel| kernel.grid.is_none()) {
        let reason = "a library does not tell which kernel it launches, nor how";
        push("kernels.grid", reason);
    }
    if has(|kernel| kernel.grid.is_some() && kernel.registers.is_none()) {
        let reason = "a virtual GPU has the registers of this build's machine code, and there is none for such a card";
        push("kernels.registers", reason);
    }
    if has(|kernel| kernel.bytes.is_none()) {
        let reason = "the virtual GPU alone counts them, of own kernels, with VGPU_TRAFFIC=1; on a card ncu does";
        push("kernels.bytes", reason);
    }
    reasons
}

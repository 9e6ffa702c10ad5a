//! What stands behind attention: one gated MLP, or a router and its experts.

use candle_core::Result;

use super::context::Context;
use super::workspace::{ExpertWorkspace, Workspace};
use crate::ops::{Buffer, Expert, Experts, Linear, Routing, cost};

pub(super) enum Mlp {
    Dense {
        /// gate and up stacked.
        gate_up: Linear,
        down: Linear,
    },
    Sparse(Sparse),
}

pub(super) struct Sparse {
    /// A score for every expert of the model: each rank routes each row.
    pub router: Linear,
    pub routing: Routing,
    pub experts: Experts,
    /// u32: how often each of the model's experts was chosen since the weights were loaded.
    pub load: Buffer,
}

impl Mlp {
    /// Bytes of all weights.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Dense { gate_up, down } => gate_up.bytes() + down.bytes(),
            Self::Sparse(sparse) => sparse.router.bytes() + sparse.experts.bytes(),
        }
    }

    /// Bytes of one expert's weights; `None`: there are none here.
    pub fn expert_bytes(&self) -> Option<u64> {
        match self {
            Self::Dense { .. } => None,
            Self::Sparse(sparse) => sparse.experts.held.first().map(Expert::bytes),
        }
    }

    /// How often each expert was chosen; `None`: there are none.
    pub fn load(&self) -> Option<&Buffer> {
        match self {
            Self::Dense { .. } => None,
            Self::Sparse(sparse) => Some(&sparse.load),
        }
    }

    /// Writes to `delta` this rank's part of what the first `count` rows of `normed` add to the residual stream.
    pub fn run(&self, at: usize, ws: &Workspace, count: usize, context: &Context) -> Result<()> {
        match (self, &ws.dense, &ws.experts) {
            (Self::Dense { gate_up, down }, Some(space), _) => {
                let (at, kernels, x) = (Some(at), context.kernels, &ws.normed);
                let cost = context.cost().silu_mul(count, down.k);
                if kernels.gates(x, gate_up, count)? {
                    let mut both = context.cost().linear(gate_up, count);
                    both += cost;
                    context.recorder.run("gate_up", at, both, || {
                        kernels.gated(x, gate_up, count, &space.activated)
                    })?;
                } else {
                    context.linear("gate_up", at, x, gate_up, count, &space.gate_up)?;
                    context.recorder.run("silu_mul", at, cost, || {
                        kernels.silu_mul(&space.gate_up, count, &space.activated)
                    })?;
                }
                context.linear("down", at, &space.activated, down, count, &ws.delta)
            }
            (Self::Sparse(sparse), _, Some(space)) => {
                sparse.run(at, &ws.normed, space, count, context, &ws.delta)
            }
            _ => candle_core::bail!("layer {at} has no room for its step"),
        }
    }
}

impl Sparse {
    fn run(
        &self,
        at: usize,
        x: &Buffer,
        ws: &ExpertWorkspace,
        count: usize,
        context: &Context,
        out: &Buffer,
    ) -> Result<()> {
        let Context {
            kernels, recorder, ..
        } = context;
        let (at, routing) = (Some(at), &self.routing);
        context.linear("router", at, x, &self.router, count, &ws.scores)?;
        recorder.run("route", at, cost::route(routing, count), || {
            kernels.route(&ws.scores, routing, count, &ws.routes, &self.load)
        })?;
        // Only now is it known which experts are read.
        let cost = match ws.routes.experts.device().is_cpu() {
            true => context.cost().experts(&self.experts, &ws.routes, count)?,
            false => context.cost().expert_rows(&self.experts, routing, count),
        };
        recorder.run("experts", at, cost, || {
            kernels.experts(x, &self.experts, &ws.routes, count, &ws.space, out)
        })
    }
}

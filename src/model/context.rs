//! What a forward pass works with.

use candle_core::{Result, bail};

use crate::ground::Progress;
use crate::ground::recorder::Recorder;
use crate::ops::cost::Activations;
use crate::ops::{Buffer, Kernels, Linear};
use crate::parallel::Collective;

/// All but the decoder's own weights.
pub struct Context<'a> {
    pub kernels: &'a dyn Kernels,
    pub collective: &'a dyn Collective,
    pub recorder: &'a Recorder,
    /// Whoever may stop the pass between two layers.
    pub progress: &'a dyn Progress,
}

/// # Errors
/// Somebody said stop.
pub(super) fn go_on(progress: &dyn Progress) -> Result<()> {
    match progress.is_stopped() {
        true => bail!("it was told to stop"),
        false => Ok(()),
    }
}

impl Context<'_> {
    /// What operations cost with these kernels' activations.
    pub(super) fn cost(&self) -> Activations {
        Activations::of(self.kernels.activations())
    }

    pub(super) fn linear(
        &self,
        name: &'static str,
        layer: Option<usize>,
        x: &Buffer,
        w: &Linear,
        rows: usize,
        out: &Buffer,
    ) -> Result<()> {
        let cost = self.cost().linear(w, rows);
        self.recorder
            .run(name, layer, cost, || self.kernels.linear(x, w, rows, out))
    }
}

//! What a server adds to the device's own time. Without one a prediction is the raw capacity.

use super::calibration::{
    VLLM_LAYER_SECONDS, VLLM_RANK_SECONDS, VLLM_REQUEST_SECONDS, VLLM_STEP_SECONDS,
};

/// Host time of an engine behind a server, fitted to published serving figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Server {
    pub name: &'static str,
    /// In turn with the devices: of each step, and of each rank and running request in it.
    step: f64,
    rank: f64,
    request: f64,
    /// Beside the devices, for each layer: the step takes at least so long.
    layer: f64,
    /// All ranks' logits are sent to one of them before a token is drawn.
    pub gathers_logits: bool,
}

impl Server {
    /// vLLM of 2025: one engine process, one process a rank, graphs in pieces.
    pub const VLLM: Self = Self {
        name: "vllm",
        step: VLLM_STEP_SECONDS,
        rank: VLLM_RANK_SECONDS,
        request: VLLM_REQUEST_SECONDS,
        layer: VLLM_LAYER_SECONDS,
        gathers_logits: true,
    };

    /// Seconds that a step lasts beyond the `busy` ones of the devices.
    pub fn host(&self, busy: f64, ranks: usize, layers: usize, requests: usize) -> f64 {
        let beside = self.layer * layers as f64;
        let in_turn = self.step + self.rank * ranks as f64 + self.request * requests as f64;
        (beside - busy).max(0.0) + in_turn
    }
}

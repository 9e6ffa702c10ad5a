//! What an engine adds to the device's own time, alone or behind a server. Without one a prediction is the raw capacity.

use super::kernels::Kernels;
use crate::hardware::{Capability, Gpu};

const MILLI: f64 = 1e-3;
/// First compute capability whose hosts have the processors of 2023 and later.
const LATER: Capability = Capability { major: 9, minor: 0 };

/// An engine that is not this one: its kernels, and the time of its host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Server {
    pub name: &'static str,
    pub kernels: Kernels,
    /// Milliseconds in turn with the devices: of each step, and of each rank and running request in it.
    pub step_ms: f64,
    pub rank_ms: f64,
    pub request_ms: f64,
    /// Beside the devices, for each layer: the step takes at least so long.
    pub layer_ms: f64,
    /// Part of these times that the faster hosts of H100, H20 and all later cards take, beside those of the cards before.
    pub later_host: f64,
    /// All ranks' logits are sent to one of them before a token is drawn.
    pub gathers_logits: bool,
}

/// Fitted to Qwen's figures on H20 beside those on A100, and in line with servers on H100 beside those on RTX 4090.
const LATER_HOST: f64 = 0.34;

impl Server {
    /// An engine's own loop, without a server or a client: vLLM and SGLang called from Python, TensorRT-LLM's benchmark.
    /// Fitted to the cases of them: Qwen's figures on A100 (vLLM 0.6.3) and H20 (SGLang 0.4.6), NVIDIA's on A100 (0.17).
    pub const ENGINE: Self = Self {
        name: "engine",
        kernels: Kernels::ENGINES,
        step_ms: 0.67,
        rank_ms: 0.88,
        request_ms: 0.0025,
        layer_ms: 0.0,
        later_host: LATER_HOST,
        gathers_logits: false,
    };

    /// vLLM of 2025 and its client: one engine process, one process a rank, graphs in pieces: Python launches attention
    /// between them, while the GPU works, which models of 1.5B and less wait for. Fitted to the cases of servers and to
    /// the report's rows; those ask for 0.28 ms a layer at most, a host of the cases for 0.35.
    pub const VLLM: Self = Self {
        name: "vllm",
        kernels: Kernels::ENGINES,
        step_ms: 0.40,
        rank_ms: 0.08,
        request_ms: 0.125,
        layer_ms: 0.28,
        later_host: LATER_HOST,
        gathers_logits: true,
    };

    /// Seconds that a step lasts beyond the `busy` ones of the devices.
    pub fn host(&self, gpu: &Gpu, busy: f64, ranks: usize, layers: usize, requests: usize) -> f64 {
        let part = match gpu.compute_capability >= LATER {
            true => self.later_host,
            false => 1.0,
        };
        let seconds = |ms: f64| ms * MILLI * part;
        let in_turn =
            self.step_ms + self.rank_ms * ranks as f64 + self.request_ms * requests as f64;
        (seconds(self.layer_ms * layers as f64) - busy).max(0.0) + seconds(in_turn)
    }
}

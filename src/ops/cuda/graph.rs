//! What a stream was given, kept as a CUDA graph: one launch in place of hundreds.

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaGraph, result, sys};
use candle_core::{Result, bail};

use super::device::Gpu;
use crate::ops::Replay;

struct Graph {
    graph: CudaGraph,
    gpu: Gpu,
}

impl Replay for Graph {
    fn replay(&self) -> Result<()> {
        let stream = self.gpu.stream.cu_stream();
        // SAFETY: the graph and the stream live as long as this, and a rank stays on one thread.
        unsafe { result::graph::launch(self.graph.cu_graph_exec(), stream) }.w()
    }
}

/// Records what `work` queues on the GPU's stream. Nothing of it runs.
///
/// # Errors
/// `work` fails, or did what a capture does not allow: an allocation outside the pool, a wait, a blocking copy.
pub fn capture(gpu: &Gpu, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Replay>> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    gpu.stream.begin_capture(mode).w()?;
    gpu.set_captures(true);
    gpu.launches.end_chain();
    let worked = work();
    gpu.set_captures(false);
    // Also after an error: a stream that is left in capture refuses everything.
    let ended = gpu.stream.end_capture(sys::CUgraphInstantiate_flags(0));
    worked?;
    let Some(graph) = ended.w()? else {
        bail!("a capture gave no graph");
    };
    graph.upload().w()?;
    let gpu = gpu.clone();
    Ok(Box::new(Graph { graph, gpu }))
}

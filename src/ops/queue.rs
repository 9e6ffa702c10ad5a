//! Steps that a device takes ahead of the host.

use std::ops::Range;

use candle_core::Result;

use super::buffer::Buffer;

/// Work that a device keeps, to be queued again as one.
pub trait Replay {
    /// # Errors
    /// The device has failed.
    fn replay(&self) -> Result<()>;
}

/// A device that works through what it was given while the host goes on: as graphs, and two steps at a time.
pub trait Queue {
    /// Takes room for steps of up to so many rows and sequences, of so many blocks each: what a graph was captured
    /// with stays where it is.
    fn reserve(&self, rows: usize, sequences: usize, max_blocks: usize) -> Result<()>;

    /// Keeps what `work` queues instead of running it. The buffers must live as long as the replays; `reserve` was
    /// called, and a step like that of the capture has run.
    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Replay>>;

    /// What of [`Kernels::greedy`](super::Kernels::greedy) a graph can keep.
    fn queue_greedy(&self, logits: &Buffer, vocab: &Range<usize>, rows: usize) -> Result<()>;

    /// Sends the answers of what was queued last on their way, and keeps them for a next step that names its tokens
    /// by `ground::pending`. At most two may be on their way.
    fn send_greedy(&self, rows: usize) -> Result<()>;

    /// Waits for the answers that were sent first.
    fn collect_greedy(&self, rows: usize, out: &mut Vec<(u32, f32)>) -> Result<()>;
}

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

    /// Until [`Self::keep_fastest`] operations of a shape try one algorithm after the other.
    fn try_algorithms(&self);

    /// Keeps the fastest for each shape, from now on. Waits for what was queued.
    fn keep_fastest(&self) -> Result<()>;

    /// Draws as the step's picks say of which `Pick::is_highest`: a key for each of the first `rows` rows, in a buffer
    /// that a next step finds tokens in which it names by `ground::pending`. Of several ranks' keys the highest, as an
    /// unsigned number, is that of the highest logit, or sum of logit and noise, of equals the lowest token's.
    fn queue_draw(&self, logits: &Buffer, vocab: &Range<usize>, rows: usize) -> Result<Buffer>;

    /// Sends what was queued last, of `rows` rows, on its way. At most two may be on their way.
    fn send(&self, rows: usize) -> Result<()>;

    /// Waits for what was sent first: tokens of its first `rows` rows and what was highest, and
    /// [`Kernels::experts_read`](super::Kernels::experts_read) behind them, 0 where there are no experts.
    fn collect(&self, rows: usize, out: &mut Vec<(u32, f32)>) -> Result<u32>;
}

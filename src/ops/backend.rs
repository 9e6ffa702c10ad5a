//! A device as whoever loads and steps a rank sees it: its memory, its clocks, and its kernels.

use std::any::Any;

use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::buffer::Buffer;
use super::kernels::Kernels;
use super::operands::{AttentionShape, KvLayer};
use super::queue::Queue;
use super::weight::{Linear, WeightRows};
use crate::ground::recorder::Timer;

/// Bytes of a device with memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemory {
    pub free: u64,
    pub total: u64,
}

/// Rates that a device reaches at best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceRoofs {
    pub read_bytes_per_s: f64,
    pub flop_per_s: f64,
}

/// What holds a rank's weights, cache and workspace, beside the kernels over them.
pub trait Backend: Kernels {
    /// Which device it is, among those of its kind.
    fn device(&self) -> String {
        self.name().to_owned()
    }

    /// Of the device, where it has memory of its own; what no buffer holds any more is given back first.
    fn memory(&self) -> Result<Option<DeviceMemory>> {
        Ok(None)
    }

    /// Waits for all that was queued.
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    /// Whether the device hangs, after a rank has failed: what a rank has there cannot be freed.
    fn is_lost(&self) -> bool {
        false
    }

    /// Times what is queued on the device; `None` where operations are done when they return. A profiler that waits to
    /// be told begins with one that is `profiled`.
    fn timer(&self, _profiled: bool) -> Option<Box<dyn Timer>> {
        None
    }

    /// The same by records that the device keeps of what ran, also within graphs; or why there are none, as a sentence.
    /// `None` where no kernels are launched.
    fn activity(&self) -> Option<std::result::Result<Box<dyn Timer>, String>> {
        None
    }

    /// Until it is dropped, a profiler that watches from outside shows what this thread does as `name`; `None`, without
    /// asking for it: none watches.
    fn range(&self, _name: &dyn Fn() -> String) -> Option<Box<dyn Any>> {
        None
    }

    /// What the device can do at best, measured; `None` where it cannot be.
    fn measure_roofs(&self) -> Option<DeviceRoofs> {
        None
    }

    /// A zeroed activation buffer.
    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer>;

    /// A zeroed f32 buffer, whatever activations are: rotations, scores, logits.
    fn wide_buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        self.buffer(rows, width)
    }

    /// A small f32 tensor of the CPU where the kernels read it.
    fn vector(&self, values: Tensor) -> Result<Tensor> {
        Ok(values)
    }

    /// A zeroed buffer of u32: chosen experts, and how often each was chosen.
    fn index_buffer(&self, rows: usize, width: usize) -> Result<Buffer>;

    /// A cache for one layer, of which nothing is read that was not written; memory is touched only then where the
    /// device can.
    fn kv_layer(
        &self,
        num_blocks: usize,
        block_size: usize,
        shape: &AttentionShape,
        dtype: DType,
    ) -> Result<KvLayer>;

    /// Stacks `parts` along n and lays them out for `linear` and `embed`. Parts agree in k; those that differ
    /// in dtype meet in f32. Parts that are all e4m3 stay so, their scales beside them; `embed` and `greedy`
    /// do not take them.
    ///
    /// # Errors
    /// An e4m3 part without scales or with a NaN, or parts whose blocks lie differently along k.
    fn pack(&self, parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear>;

    /// Where steps can be queued ahead of the host; `None`: each operation is done when it returns.
    fn queue(&self) -> Option<&dyn Queue> {
        None
    }
}

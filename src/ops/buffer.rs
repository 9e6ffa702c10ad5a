//! A tensor that kernels write, step after step, without an allocation.

use std::ops::Deref;

use candle_core::{Result, Tensor, bail};

/// The whole of one storage. Reads as the tensor it is.
///
/// candle hands out a storage for writing only through its in-place operations, and these collect
/// the axes of the tensor they are called on, if it has any longer than 1. So the call is made on
/// the first element, which shares the storage.
#[derive(Debug, Clone)]
pub struct Buffer {
    whole: Tensor,
    first: Tensor,
}

impl Buffer {
    /// # Errors
    /// `whole` is empty, or a view of a larger storage.
    pub fn new(whole: Tensor) -> Result<Self> {
        let extent = whole.layout().contiguous_offsets();
        if extent != Some((0, whole.elem_count())) || whole.elem_count() == 0 {
            bail!(
                "a buffer of kernels is a whole storage, not {:?}",
                whole.layout()
            );
        }
        let first = whole.flatten_all()?.narrow(0, 0, 1)?;
        Ok(Self { whole, first })
    }

    /// For in-place operations that write the storage from its start.
    pub(crate) fn first(&self) -> &Tensor {
        &self.first
    }

    pub fn bytes(&self) -> u64 {
        super::bytes::bytes_of(self)
    }
}

impl Deref for Buffer {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.whole
    }
}

//! What tensors take.

use candle_core::Tensor;

/// Bytes that a tensor's elements take.
pub(super) fn bytes_of(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

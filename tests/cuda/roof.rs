//! What a GPU can do at best: that it is measured, since how much it is depends on the GPU.

use candle_core::DType;
use candlepower::ops::Backend;

use crate::support::cuda;

#[test]
fn roofs_are_measured() {
    for dtype in [DType::F32, DType::BF16] {
        let roofs = cuda(dtype).measure_roofs().unwrap();
        assert!(roofs.read_bytes_per_s.is_finite() && roofs.read_bytes_per_s > 0.0);
        assert!(roofs.flop_per_s.is_finite() && roofs.flop_per_s > 0.0);
    }
}

// Linear layers and experts of e4m3 with block scales, activations bf16 or f16: see product.cuh.
// Bytes to move: one for each weight, and the scales.
#include "product.cuh"

EXPORT_PRODUCTS(bf16_e4m3, bf16, e4m3)
EXPORT_PRODUCTS(f16_e4m3, f16, e4m3)

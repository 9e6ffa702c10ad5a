// Experts whose weights are bf16 or f16, of the type of activations: see product.cuh.
// Bytes to move: each weight of a chosen expert once a tile.
#include "product.cuh"

EXPORT_EXPERTS(bf16_bf16, bf16, bf16)
EXPORT_EXPERTS(f16_f16, f16, f16)

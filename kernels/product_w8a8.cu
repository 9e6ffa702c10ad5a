// Linear layers and experts of e4m3 with block scales, activations rounded to e4m3 too, a scale for each row and
// block of columns: see product.cuh. From compute capability 8.9 on the tensor cores multiply e4m3; before, f16 that
// hold the same numbers.
// Bytes to move: one for each weight, and the scales.
#include "product.cuh"

EXPORT_PRODUCTS(e4m3_e4m3, e4m3, e4m3)

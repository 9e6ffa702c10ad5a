// Rows of a table, copied: the embedding of tokens, and the rows whose logits are wanted.
//
// out[i] = table[indices[i] - first], zeros where the table has no such row.
// table [table_rows, units], indices [rows], out [rows, units], of units of 16, 4 or 2 bytes: elements are not looked
// at. An index with its highest bit set is pending: its complement is the low half of latest[index without that
// bit], the key in which the step before left its token. Grid (rows, ceil(units / threads)). Moves each row once in and once out.
#include "common.cuh"

template <typename Unit>
__device__ __forceinline__ void gather(const Unit* table, uint32_t table_rows, uint32_t first, const uint32_t* indices,
                                       const uint64_t* latest, uint32_t units, Unit* out) {
    const uint32_t column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= units) return;
    uint32_t index = indices[blockIdx.x];
    if (index >> 31) index = ~static_cast<uint32_t>(latest[index & 0x7fffffffu]);
    // Below `first` the difference wraps, and is beyond any table.
    const uint32_t row = index - first;
    Unit unit{};
    if (row < table_rows) unit = table[static_cast<uint64_t>(row) * units + column];
    out[static_cast<uint64_t>(blockIdx.x) * units + column] = unit;
}

#define EXPORT_GATHER(NAME, UNIT)                                                                                   \
    extern "C" __global__ void gather_##NAME(const UNIT* table, uint32_t table_rows, uint32_t first,                \
                                             const uint32_t* indices, const uint64_t* latest, uint32_t units,        \
                                             UNIT* out) {                                                           \
        gather(table, table_rows, first, indices, latest, units, out);                                              \
    }

EXPORT_GATHER(b128, uint4)
EXPORT_GATHER(b32, uint32_t)
EXPORT_GATHER(b16, uint16_t)

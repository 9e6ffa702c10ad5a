//! The names of the KV cache's blocks.

/// Index of a block in the KV cache.
pub type BlockId = u32;

/// Never handed out: padding in block tables may point at it and read or write it.
pub const NULL_BLOCK: BlockId = 0;

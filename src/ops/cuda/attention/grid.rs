//! Which of the attention kernels a step takes, and how many of their blocks.

use candle_core::{DType, Result, bail};

use crate::ops::cuda::device::Gpu;
use crate::ops::cuda::modules::Grid;
use crate::ops::cuda::suffix;
use crate::ops::scratch::{self, DECODE_BLOCKS, MOST_WAVES, TILE_ROWS};

/// Tokens that a split has at least, and how many there may be: as in the kernels.
const SPLIT_TOKENS: usize = 64;
const MOST_SPLITS: usize = 128;
/// How near the best a last wave must be filled.
const GOOD: f64 = 0.85;
/// Bytes of one access.
pub const ACCESS: usize = 16;
/// Shared memory that the driver takes of each block.
const RESERVED: u32 = 1 << 10;

/// The kernels for one head_dim and pair of types.
pub struct Kernel {
    pub file: String,
    suffix: String,
    /// head_dim with its padding.
    pub dim: usize,
    /// Bytes of an activation, and whether e4m3 is widened in shared memory.
    element: usize,
    staged: bool,
    /// Element by element: from another wide type, or heads that are no whole accesses.
    apart: bool,
}

impl Kernel {
    /// # Errors
    /// No kernel takes such heads, or such types.
    pub fn of(dtype: DType, cache: DType, head_dim: usize) -> Result<Self> {
        let (Some(fits), true) = (scratch::padded(head_dim), head_dim.is_multiple_of(2)) else {
            bail!("CUDA attention takes even head_dims up to 256, not {head_dim}");
        };
        let same = cache == dtype || cache == DType::F8E4M3;
        let apart = !same || !(head_dim * cache.size_in_bytes()).is_multiple_of(ACCESS);
        let (dim, name) = match apart {
            true => (256, "any".to_owned()),
            false => (fits, fits.to_string()),
        };
        Ok(Self {
            file: match apart {
                true => "attention_any".to_owned(),
                false => format!("attention_{name}_{}", suffix(dtype)?),
            },
            suffix: format!("{name}_{}_{}", suffix(dtype)?, suffix(cache)?),
            dim,
            element: dtype.size_in_bytes(),
            staged: cache == DType::F8E4M3 && !apart,
            apart,
        })
    }

    /// For sequences of one row.
    pub fn decode(&self) -> Tiles {
        let warps = if self.dim > 128 { 2 } else { 4 };
        let keys = if self.exact() { 8 } else { 16 };
        self.tiles("decode", TILE_ROWS, warps, TILE_ROWS, warps * keys)
    }

    /// For longer ones, `blocks(rows)` of them with so many rows: in tall tiles where two have room on a multiprocessor,
    /// and there are enough of them. The rows of a causal prompt see half of the keys on average, the last ones all: so
    /// what starts first takes as long as two waves.
    pub fn prefill(&self, gpu: &Gpu, blocks: impl Fn(usize) -> usize) -> Tiles {
        let (warps, keys) = match (self.exact(), self.dim) {
            (true, _) => (2, 16),
            (false, ..=128) => (4, 64),
            (false, _) => (4, 32),
        };
        let of = |name, tiles| {
            let rows = warps * tiles * TILE_ROWS;
            // Queries that registers hold pass through the memory of as many values.
            let pass = !self.exact() && tiles * self.dim <= 160 && rows <= keys;
            self.tiles(name, rows, warps, if pass { 0 } else { rows }, keys)
        };
        let short = of("prefill", 1);
        if self.exact() || self.apart || self.dim > 128 {
            return short;
        }
        let tall = of("prefill_tall", 2);
        // Registers are for two. A little less than two waves of them is as good.
        let slots = 2 * gpu.multiprocessors as usize;
        match tall.resident(gpu) >= 2 && 8 * blocks(tall.rows) >= 15 * slots {
            true => tall,
            false => short,
        }
    }

    fn tiles(&self, name: &str, rows: usize, warps: usize, queries: usize, keys: usize) -> Tiles {
        let row = self.dim * self.element;
        let raw = if self.staged { self.dim } else { 0 };
        Tiles {
            function: format!("attention_{name}_{}", self.suffix),
            rows,
            threads: 32 * warps,
            shared: (queries * row + 2 * keys * (row + raw)) as u32,
        }
    }

    /// In f32, without tensor cores.
    fn exact(&self) -> bool {
        self.element == size_of::<f32>()
    }
}

/// How a block is laid out.
pub struct Tiles {
    pub function: String,
    /// Packed query rows: those of all heads of a group.
    pub rows: usize,
    threads: usize,
    shared: u32,
}

impl Tiles {
    pub fn grid(&self, x: usize, y: usize, z: usize) -> Grid {
        Grid {
            blocks: (x as u32, y as u32, z as u32),
            threads: self.threads as u32,
            shared: self.shared,
        }
    }

    /// How many of them the shared memory of a multiprocessor has room for.
    fn resident(&self, gpu: &Gpu) -> usize {
        // What kernels have besides: eight bytes of each row, and a little more.
        let own = self.shared + 8 * self.rows as u32 + RESERVED;
        (gpu.shared_of_multiprocessor / own) as usize
    }

    /// Blocks of decode that the GPU runs at once.
    fn slots(&self, gpu: &Gpu) -> usize {
        gpu.multiprocessors as usize * self.resident(gpu).clamp(1, DECODE_BLOCKS)
    }
}

/// Into how many splits a grid divides contexts of at most `capacity` tokens, with `blocks` blocks for each split. Not
/// from the contexts of now: a captured launch is replayed while they grow.
pub fn splits(tiles: &Tiles, gpu: &Gpu, blocks: usize, capacity: usize) -> usize {
    fewest(tiles.slots(gpu), blocks.max(1), capacity)
}

/// The fewest that fill the last wave, of `slots` blocks, nearly as well as any number does; all, where that is one wave.
fn fewest(slots: usize, blocks: usize, capacity: usize) -> usize {
    let most = (MOST_WAVES * slots / blocks).min(capacity.div_ceil(SPLIT_TOKENS));
    let most = most.clamp(1, MOST_SPLITS);
    if most * blocks <= slots {
        return most;
    }
    let choices = 1..=most;
    let filled = |splits: usize| {
        let blocks = splits * blocks;
        blocks as f64 / (blocks.div_ceil(slots) * slots) as f64
    };
    let best = choices.clone().map(filled).fold(0.0, f64::max);
    let good = |&splits: &usize| filled(splits) >= GOOD * best;
    choices.into_iter().find(good).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots of an H100: (sequences, kv heads, tokens) and how many blocks share a context.
    #[test]
    fn splits_fill_the_last_wave() {
        let splits = |sequences: usize, kv_heads, tokens| fewest(396, sequences * kv_heads, tokens);
        assert_eq!(splits(1, 8, 1 << 17), 43);
        assert_eq!(splits(32, 8, 1 << 17), 3);
        assert_eq!(splits(128, 8, 1 << 17), 1);
        // One wave: nobody waits for another.
        assert_eq!(splits(1, 8, 1 << 10), 16);
        assert_eq!(splits(1, 1, 1 << 17), MOST_SPLITS);
    }

    #[test]
    fn parts_have_room() {
        for slots in [1, 24, 256, 396] {
            for blocks in 1..4 * slots {
                let splits = fewest(slots, blocks, 1 << 17);
                assert!((1..=MOST_SPLITS).contains(&splits));
                assert!(splits == 1 || splits * blocks <= MOST_WAVES * slots);
            }
        }
    }
}

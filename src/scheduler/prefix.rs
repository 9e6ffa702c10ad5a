//! Finds full KV blocks again by what they hold: the index of the prefix cache.
//!
//! A block is known by the hash of all tokens up to its end, chained block by block, and a hit also compares the
//! block's own token ids. Blocks of equal content may stand in the index side by side: each is evicted on its own.

use super::block_id::BlockId;
use super::links::Links;

/// Parent of a sequence's first block. Any value does; these are the first fractional bits of pi.
pub(super) const ROOT_HASH: u64 = 0x243f_6a88_85a3_08d3;

/// Odd multiplier with well-spread bits: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Folds the well-mixed upper half of a product into the lower one, which picks the bucket.
const HALF: u32 = u64::BITS / 2;

/// Hash of a prefix that ends with the block `tokens`, from the hash of the prefix before it. The same in every
/// process: a replay must find the same blocks.
pub(super) fn chain_hash(parent: u64, tokens: &[u32]) -> u64 {
    tokens.iter().fold(mix(parent), |hash, &token| {
        mix(hash ^ u64::from(token).wrapping_add(1))
    })
}

/// A bijection of 64 bits, so states that differ stay apart.
fn mix(value: u64) -> u64 {
    let product = value.wrapping_mul(MULTIPLIER);
    product ^ (product >> HALF)
}

/// A hash table with its chains threaded through a flat array: one node a block, one anchor a bucket.
#[derive(Debug)]
pub(super) struct PrefixIndex {
    block_size: usize,
    chains: Links,
    /// Bucket anchors follow the blocks.
    first_anchor: u32,
    bucket_mask: u64,
    hashes: Vec<u64>,
    /// `block_size` ids a block.
    tokens: Vec<u32>,
}

impl PrefixIndex {
    /// `num_blocks` is at most 2^30, so that the anchors fit beside the blocks.
    pub(super) fn new(num_blocks: u32, block_size: usize) -> Self {
        let buckets = num_blocks.next_power_of_two();
        let blocks = num_blocks as usize;
        Self {
            block_size,
            chains: Links::new(num_blocks + buckets),
            first_anchor: num_blocks,
            bucket_mask: u64::from(buckets - 1),
            hashes: vec![0; blocks],
            tokens: vec![0; blocks * block_size],
        }
    }

    /// The youngest block that holds `tokens` after the prefix that `hash` stands for.
    pub(super) fn find(&self, hash: u64, tokens: &[u32]) -> Option<BlockId> {
        self.chains
            .iter(self.anchor(hash))
            .find(|&block| self.hashes[block as usize] == hash && self.tokens_of(block) == tokens)
    }

    /// Makes a block known that is not in the index. `tokens` fill it exactly.
    pub(super) fn insert(&mut self, block: BlockId, hash: u64, tokens: &[u32]) {
        let begin = block as usize * self.block_size;
        self.tokens[begin..begin + self.block_size].copy_from_slice(tokens);
        self.hashes[block as usize] = hash;
        self.chains.push_front(self.anchor(hash), block);
    }

    /// Forgets a block; one that is not in the index stays so.
    pub(super) fn remove(&mut self, block: BlockId) {
        self.chains.unlink(block);
    }

    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.chains.is_linked(block)
    }

    pub(super) fn tokens_of(&self, block: BlockId) -> &[u32] {
        let begin = block as usize * self.block_size;
        &self.tokens[begin..begin + self.block_size]
    }

    pub(super) fn check_integrity(&self) -> Result<(), String> {
        let mut reached = 0;
        for bucket in 0..=self.bucket_mask {
            for block in self.chains.iter(self.anchor(bucket)) {
                if self.hashes[block as usize] & self.bucket_mask != bucket {
                    return Err(format!("block {block} is in the wrong hash bucket"));
                }
                reached += 1;
            }
        }
        let linked = (0..self.first_anchor)
            .filter(|&block| self.contains(block))
            .count();
        if reached != linked {
            return Err(format!(
                "{linked} blocks are indexed, but {reached} can be found"
            ));
        }
        Ok(())
    }

    fn anchor(&self, hash: u64) -> u32 {
        // The mask is below 2^31, so the bucket fits.
        self.first_anchor + (hash & self.bucket_mask) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_collision_is_not_a_hit() {
        let mut index = PrefixIndex::new(8, 2);
        index.insert(3, 77, &[1, 2]);
        assert_eq!(index.find(77, &[1, 3]), None);
        index.insert(5, 77, &[1, 3]);
        assert_eq!(index.find(77, &[1, 2]), Some(3));
        assert_eq!(index.find(77, &[1, 3]), Some(5));
        assert_eq!(index.find(77 + 8, &[1, 2]), None, "same bucket, other hash");
    }

    #[test]
    fn equal_blocks_are_forgotten_one_by_one() {
        let mut index = PrefixIndex::new(8, 1);
        index.insert(1, 9, &[4]);
        index.insert(2, 9, &[4]);
        assert_eq!(index.find(9, &[4]), Some(2));
        index.remove(2);
        assert_eq!(index.find(9, &[4]), Some(1));
        index.remove(1);
        index.remove(1);
        assert_eq!(index.find(9, &[4]), None);
        index.check_integrity().unwrap();
    }

    #[test]
    fn the_hash_depends_on_parent_order_and_every_token() {
        let hash = chain_hash(ROOT_HASH, &[1, 2, 3]);
        assert_ne!(hash, chain_hash(ROOT_HASH, &[1, 3, 2]));
        assert_ne!(hash, chain_hash(ROOT_HASH, &[1, 2, 3, 0]));
        assert_ne!(hash, chain_hash(hash, &[1, 2, 3]));
        assert_ne!(chain_hash(0, &[0]), chain_hash(0, &[0, 0]));
    }

    #[test]
    fn hashes_fill_the_buckets_evenly() {
        const BUCKETS: usize = 256;
        const KEYS: usize = 64 * BUCKETS;
        let mut load = vec![0; BUCKETS];
        for key in 0..KEYS as u32 {
            load[chain_hash(ROOT_HASH, &[key, 0]) as usize % BUCKETS] += 1;
        }
        // 64 on average; a fair hash leaves 16..160 with probability far below 1e-8.
        assert!(
            load.iter().all(|count| (16..160).contains(count)),
            "{load:?}"
        );
    }
}

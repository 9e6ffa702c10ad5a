//! The blocks of the KV cache: who holds them, which are free, and what free ones still hold.
//!
//! A freed block keeps its content, and its place in the prefix index, until it is handed out again. Free blocks wait
//! in one list: those without reusable content in front, then the others, least recently used first.

use super::block_id::{BlockId, NULL_BLOCK};
use super::links::Links;
use super::prefix::PrefixIndex;

#[derive(Debug)]
pub(super) struct BlockPool {
    /// Requests that hold each block.
    references: Vec<u32>,
    /// The null block, which is never free, anchors the list.
    free: Links,
    num_free: usize,
    index: Option<PrefixIndex>,
}

impl BlockPool {
    /// `num_blocks` counts the null block and is at most 2^30.
    pub(super) fn new(num_blocks: usize, block_size: usize, prefix_cache: bool) -> Self {
        let count = num_blocks as u32;
        let mut free = Links::new(count);
        for block in 1..count {
            free.push_back(NULL_BLOCK, block);
        }
        Self {
            references: vec![0; num_blocks],
            free,
            num_free: num_blocks - 1,
            index: prefix_cache.then(|| PrefixIndex::new(count, block_size)),
        }
    }

    /// Blocks that can be handed out, reusable content or not.
    pub(super) fn num_free(&self) -> usize {
        self.num_free
    }

    /// Blocks that can be held, free or not.
    pub(super) fn num_usable(&self) -> usize {
        self.references.len() - 1
    }

    pub(super) fn references(&self, block: BlockId) -> u32 {
        self.references[block as usize]
    }

    /// Hands out the free block that is least worth keeping, and forgets its content. None when all are held.
    pub(super) fn take(&mut self) -> Option<BlockId> {
        let block = self.free.next(NULL_BLOCK);
        if block == NULL_BLOCK {
            return None;
        }
        if let Some(index) = &mut self.index {
            index.remove(block);
        }
        self.hold(block);
        Some(block)
    }

    /// One more request holds a block that was found in the prefix index.
    pub(super) fn hold(&mut self, block: BlockId) {
        if self.references(block) == 0 {
            self.free.unlink(block);
            self.num_free -= 1;
        }
        self.references[block as usize] += 1;
    }

    /// One request less holds the block. The last one frees it.
    pub(super) fn release(&mut self, block: BlockId) {
        let references = &mut self.references[block as usize];
        *references -= 1;
        if *references > 0 {
            return;
        }
        self.num_free += 1;
        if self.is_indexed(block) {
            self.free.push_back(NULL_BLOCK, block);
        } else {
            self.free.push_front(NULL_BLOCK, block);
        }
    }

    /// Makes the content of a full block known to later requests. Nothing happens without a prefix cache.
    pub(super) fn publish(&mut self, block: BlockId, hash: u64, tokens: &[u32]) {
        if let Some(index) = &mut self.index {
            index.insert(block, hash, tokens);
        }
    }

    /// A block, free or held, that holds these tokens behind the same prefix.
    pub(super) fn find(&self, hash: u64, tokens: &[u32]) -> Option<BlockId> {
        self.index.as_ref()?.find(hash, tokens)
    }

    /// The tokens of a block that later requests may share.
    pub(super) fn indexed_tokens(&self, block: BlockId) -> Option<&[u32]> {
        let index = self.index.as_ref()?;
        index.contains(block).then(|| index.tokens_of(block))
    }

    pub(super) fn check_integrity(&self) -> Result<(), String> {
        if self.references(NULL_BLOCK) != 0 || self.is_indexed(NULL_BLOCK) {
            return Err("the null block is in use".to_owned());
        }
        let mut listed = 0;
        for block in self.free.iter(NULL_BLOCK) {
            if self.references(block) != 0 {
                return Err(format!("block {block} is held and in the free list"));
            }
            listed += 1;
        }
        let unheld = self.references[1..]
            .iter()
            .filter(|&&count| count == 0)
            .count();
        if listed != self.num_free || unheld != self.num_free {
            return Err(format!(
                "{} blocks count as free, {listed} are listed, {unheld} are not held",
                self.num_free
            ));
        }
        self.index
            .as_ref()
            .map_or(Ok(()), PrefixIndex::check_integrity)
    }

    fn is_indexed(&self, block: BlockId) -> bool {
        self.index
            .as_ref()
            .is_some_and(|index| index.contains(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_but_the_null_block_is_handed_out_once() {
        let mut pool = BlockPool::new(4, 2, false);
        let blocks: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(blocks, [1, 2, 3]);
        assert_eq!(pool.num_free(), 0);
        pool.release(2);
        assert_eq!(pool.take(), Some(2));
        pool.check_integrity().unwrap();
    }

    #[test]
    fn content_survives_until_the_block_is_reused() {
        let mut pool = BlockPool::new(4, 1, true);
        let (a, b, c) = (pool.take(), pool.take(), pool.take());
        assert_eq!((a, b, c), (Some(1), Some(2), Some(3)));
        pool.publish(1, 10, &[7]);
        pool.publish(2, 20, &[8]);
        pool.release(1);
        pool.release(2);
        pool.release(3);
        assert_eq!(pool.take(), Some(3), "nothing is lost with block 3");
        pool.hold(1);
        pool.release(1);
        assert_eq!(pool.take(), Some(2), "block 1 was used more recently");
        assert_eq!(pool.find(20, &[8]), None);
        assert_eq!(pool.find(10, &[7]), Some(1));
        pool.check_integrity().unwrap();
    }

    #[test]
    fn a_shared_block_is_freed_by_its_last_holder() {
        let mut pool = BlockPool::new(2, 1, true);
        assert_eq!(pool.take(), Some(1));
        pool.publish(1, 10, &[7]);
        pool.hold(1);
        pool.release(1);
        assert_eq!((pool.num_free(), pool.references(1)), (0, 1));
        assert_eq!(pool.take(), None);
        pool.release(1);
        assert_eq!(pool.num_free(), 1);
        pool.check_integrity().unwrap();
    }
}

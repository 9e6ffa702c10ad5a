//! What must hold between any two calls. Slow and independent of how the state came about: for tests.

use super::config::Policy;
use super::sequence::Sequence;
use super::state::Scheduler;

impl Scheduler {
    /// Checks queues, block tables, reference counts and the prefix index against each other; the first
    /// contradiction comes back as a sentence.
    pub fn check_integrity(&self) -> Result<(), String> {
        self.pool.check_integrity()?;
        self.check_queues()?;
        self.check_references()?;
        for &slot in &self.running {
            self.check_running(&self.sequences[slot])?;
        }
        for &slot in &self.waiting {
            let sequence = &self.sequences[slot];
            let progress = (sequence.num_computed, sequence.num_published);
            if !sequence.block_table.is_empty() || progress != (0, 0) {
                return Err(format!("waiting request {} holds blocks", sequence.id()));
            }
        }
        Ok(())
    }

    fn check_queues(&self) -> Result<(), String> {
        let queued = self.running.len() + self.waiting.len();
        if queued != self.sequences.len() {
            return Err(format!(
                "{queued} requests are queued, {} are alive",
                self.sequences.len()
            ));
        }
        if self.running.len() > self.config.max_num_seqs {
            return Err(format!("{} requests are running", self.running.len()));
        }
        let in_order = self.running.iter().chain(&self.waiting);
        let arrivals = in_order.map(|&slot| self.sequences[slot].arrival);
        if !arrivals.is_sorted_by(|earlier, later| earlier < later) {
            return Err("running and waiting requests are out of order".to_owned());
        }
        let running = self.running.iter().map(|&slot| &self.sequences[slot]);
        let reserved: usize = running
            .map(|sequence| sequence.max_blocks(self.config.block_size))
            .sum();
        if reserved != self.reserved_blocks {
            return Err(format!(
                "{} blocks count as reserved, the running requests need {reserved}",
                self.reserved_blocks
            ));
        }
        if self.config.policy == Policy::Reserve && reserved > self.blocks_total() {
            return Err(format!("{reserved} blocks are promised"));
        }
        Ok(())
    }

    fn check_references(&self) -> Result<(), String> {
        let mut holders = vec![0; self.config.num_blocks];
        for &slot in &self.running {
            for &block in &self.sequences[slot].block_table {
                holders[block as usize] += 1;
            }
        }
        for (block, &count) in (0..).zip(&holders) {
            let counted = self.pool.references(block);
            if count != counted {
                return Err(format!(
                    "block {block} is in {count} tables, but counts {counted} holders"
                ));
            }
        }
        Ok(())
    }

    fn check_running(&self, sequence: &Sequence) -> Result<(), String> {
        let id = sequence.id();
        let block_size = self.config.block_size;
        let (blocks, computed) = (sequence.block_table.len(), sequence.num_computed);
        if computed > sequence.tokens().len() || blocks != computed.div_ceil(block_size) {
            return Err(format!(
                "request {id} holds {blocks} blocks for {computed} of {} tokens",
                sequence.tokens().len()
            ));
        }
        for (position, &block) in sequence.block_table.iter().enumerate() {
            let begin = position * block_size;
            let end = (begin + block_size).min(computed);
            let indexed = self.pool.indexed_tokens(block);
            let is_published = position < sequence.num_published;
            if is_published && indexed != Some(&sequence.tokens()[begin..end]) {
                return Err(format!(
                    "block {block} of request {id} holds other tokens than the prefix index says"
                ));
            }
            if !is_published && (indexed.is_some() || self.pool.references(block) > 1) {
                return Err(format!(
                    "block {block} is written by request {id} and shared"
                ));
            }
        }
        Ok(())
    }
}

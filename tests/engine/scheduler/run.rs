//! Plays a load against the scheduler and holds every step against an independent model.

use std::collections::{BTreeMap, BTreeSet};

use candlepower::ground::RequestId;
use candlepower::scheduler::{
    BlockId, Decision, Entry, NULL_BLOCK, Outcome, Policy, Scheduler, SchedulerConfig,
    SchedulerLog, Submission,
};
use proptest::sample::Index;

use super::content::{END_TOKEN, draw, prefix_hashes, reference_output};
use super::load::Load;

/// No load takes nearly as many steps.
const MAX_STEPS: usize = 20_000;

/// A live request as an executor would know it: from the decisions alone.
#[derive(Debug)]
struct Live {
    tokens: Vec<u32>,
    prompt_len: usize,
    max_tokens: usize,
    computed: usize,
    table: Vec<BlockId>,
    admitted: bool,
}

impl Live {
    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    fn is_running(&self) -> bool {
        !self.table.is_empty()
    }
}

#[derive(Debug)]
pub struct Run {
    config: SchedulerConfig,
    pub scheduler: Scheduler,
    pub log: SchedulerLog,
    /// What each slot of each block holds.
    cache: Vec<Option<u64>>,
    live: BTreeMap<RequestId, Live>,
    last_admitted: Option<RequestId>,
    next_id: RequestId,
    pub decisions: Vec<Decision>,
}

impl Run {
    fn new(config: &SchedulerConfig) -> Self {
        Self {
            config: config.clone(),
            scheduler: Scheduler::new(config.clone()).unwrap(),
            log: SchedulerLog::new(config.clone()),
            cache: vec![None; config.num_blocks * config.block_size],
            live: BTreeMap::new(),
            last_admitted: None,
            next_id: 0,
            decisions: Vec::new(),
        }
    }

    /// Plays the load to its end, checking everything on the way.
    pub fn play(load: &Load) -> Self {
        let mut run = Self::new(&load.config);
        let mut decision = Decision::default();
        for turn in &load.turns {
            for (prompt, max_tokens) in &turn.arrivals {
                run.arrive(prompt, *max_tokens);
            }
            run.abort(turn.abort_before);
            run.step(&mut decision, turn.abort_during);
        }
        for _ in 0..MAX_STEPS {
            if run.scheduler.is_idle() {
                break;
            }
            run.step(&mut decision, None);
        }
        assert!(run.live.is_empty(), "never finished: {:?}", run.live);
        assert!(run.scheduler.is_idle());
        assert_eq!(run.scheduler.blocks_used(), 0, "blocks leaked");
        run
    }

    fn arrive(&mut self, prompt: &[u32], max_tokens: usize) {
        let id = self.next_id;
        self.next_id += 1;
        let submission = Submission {
            id,
            prompt: prompt.into(),
            max_tokens,
        };
        let len = prompt.len() + max_tokens;
        let pool = (self.config.num_blocks - 1) * self.config.block_size;
        let can_run = !prompt.is_empty()
            && max_tokens > 0
            && len <= self.config.max_model_len
            && len - 1 <= pool;
        let accepted = self.scheduler.add(submission.clone()).is_ok();
        assert_eq!(accepted, can_run, "{submission:?}");
        self.log.add(&submission, accepted);
        if accepted {
            let live = Live {
                tokens: prompt.to_vec(),
                prompt_len: prompt.len(),
                max_tokens,
                computed: 0,
                table: Vec::new(),
                admitted: false,
            };
            self.live.insert(id, live);
        }
    }

    fn abort(&mut self, which: Option<Index>) {
        let Some(which) = which else { return };
        // One past the live ones: an id that is not known.
        let ids: Vec<_> = self.live.keys().copied().chain([self.next_id]).collect();
        let id = ids[which.index(ids.len())];
        let found = self.scheduler.abort(id);
        assert_eq!(found, self.live.remove(&id).is_some());
        self.log.abort(id, found);
        self.check_state();
    }

    fn step(&mut self, decision: &mut Decision, abort_during: Option<Index>) {
        self.scheduler.schedule(decision);
        self.log.schedule(decision);
        self.decisions.push(decision.clone());
        for id in &decision.preempted {
            let victim = self.live.get_mut(id).unwrap();
            assert!(victim.is_running(), "preempted while waiting");
            victim.table.clear();
            victim.computed = 0;
        }
        self.check_limits(decision);
        self.check_admissions(decision);
        self.apply_entries(decision);
        self.check_nothing_idles(decision);
        let outcomes = self.execute(decision);
        self.check_state();
        self.abort(abort_during);
        self.scheduler.complete(&outcomes);
        self.log.complete(&outcomes);
        self.take_outcomes(&outcomes);
        self.check_state();
    }

    fn check_limits(&self, decision: &Decision) {
        let tokens: usize = decision.entries.iter().map(|entry| entry.num_tokens).sum();
        assert!(tokens <= self.config.max_num_batched_tokens);
        assert!(decision.entries.len() <= self.config.max_num_seqs);
        assert!(self.scheduler.running() <= self.config.max_num_seqs);
        let ids: Vec<_> = decision.entries.iter().map(|entry| entry.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "not in order of arrival");
        let entered: BTreeSet<_> = ids.into_iter().collect();
        assert!(decision.preempted.iter().all(|id| !entered.contains(id)));
        assert_eq!(self.live.is_empty(), decision.is_empty(), "stalled");
    }

    fn check_admissions(&mut self, decision: &Decision) {
        let waiting_again: BTreeSet<_> = decision.preempted.iter().collect();
        for entry in &decision.entries {
            let comes_from_queue = !self.live[&entry.id].is_running();
            assert!(
                !comes_from_queue || waiting_again.is_empty(),
                "admitted beside a preemption"
            );
            let is_first = !self.live[&entry.id].admitted;
            assert_eq!(is_first, decision.admitted.contains(&entry.id));
        }
        for &id in &decision.admitted {
            assert!(self.last_admitted < Some(id), "overtaken");
            self.last_admitted = Some(id);
            self.live.get_mut(&id).unwrap().admitted = true;
            let older = self.live.range(..id);
            assert!(older.into_iter().all(|(_, live)| live.admitted), "skipped");
        }
    }

    /// Follows the entries, and holds them against what was known before.
    fn apply_entries(&mut self, decision: &Decision) {
        let mut consumed = 0;
        for entry in &decision.entries {
            let live = self.live.get_mut(&entry.id).unwrap();
            if live.is_running() {
                assert_eq!(entry.start, live.computed, "computed tokens have a gap");
                let decodes = live.pending() == 1 && live.tokens.len() > live.prompt_len;
                assert_eq!(entry.is_decode, decodes);
            } else {
                assert!(!entry.is_decode);
                assert_eq!(entry.start % self.config.block_size, 0);
                assert!(entry.start == 0 || self.config.prefix_cache);
            }
            let end = entry.start + entry.num_tokens;
            assert!(entry.num_tokens > 0 && end <= live.tokens.len());
            assert_eq!(entry.samples, end == live.tokens.len());
            assert_eq!(entry.new_blocks.start, consumed);
            consumed = entry.new_blocks.end;
            live.table
                .extend_from_slice(&decision.new_blocks[entry.new_blocks.clone()]);
            live.computed = end;
            assert_eq!(live.table.len(), end.div_ceil(self.config.block_size));
            assert!(!live.table.contains(&NULL_BLOCK));
        }
        assert_eq!(consumed, decision.new_blocks.len());
    }

    /// Room that a step leaves is room that nobody could use.
    fn check_nothing_idles(&self, decision: &Decision) {
        let left = self.config.max_num_batched_tokens - decision.num_tokens();
        let decodes = decision.entries.iter().any(|entry| entry.is_decode);
        if left == 0 {
            return;
        }
        let running = self.live.values().filter(|live| live.is_running());
        for live in running {
            let waits_for_prefill = self.config.policy == Policy::PrefillFirst
                && !decodes
                && live.pending() == 1
                && live.tokens.len() > live.prompt_len;
            assert!(live.pending() == 0 || waits_for_prefill, "{live:?} idles");
        }
        let head = self.live.values().find(|live| !live.is_running());
        let (Some(head), true) = (head, decision.preempted.is_empty()) else {
            return;
        };
        if self.config.prefix_cache || self.scheduler.running() == self.config.max_num_seqs {
            return;
        }
        let block_size = self.config.block_size;
        let total = self.scheduler.blocks_total();
        let chunk = head.tokens.len().min(left).div_ceil(block_size);
        let free = total - self.scheduler.blocks_used();
        let at_full_length = |live: &Live| {
            let tokens = live.prompt_len + live.max_tokens - 1;
            tokens.div_ceil(block_size)
        };
        let running = self.live.values().filter(|live| live.is_running());
        let promised: usize = running.map(at_full_length).sum();
        let is_kept_out = match self.config.policy {
            Policy::Reserve => promised + at_full_length(head) > total,
            // A decode step may free no block before the next admission is tried.
            Policy::PrefillFirst if decodes => true,
            Policy::Mixed | Policy::PrefillFirst => chunk > free,
        };
        assert!(is_kept_out, "{head:?} waits beside {free} free blocks");
    }

    /// Reads and writes the cache as the entries say, and samples from what can be read.
    fn execute(&mut self, decision: &Decision) -> Vec<Outcome> {
        let mut holders: BTreeMap<BlockId, usize> = BTreeMap::new();
        for &block in self.live.values().flat_map(|live| &live.table) {
            *holders.entry(block).or_default() += 1;
        }
        for entry in &decision.entries {
            self.check_readable(entry, entry.start);
        }
        for entry in &decision.entries {
            let live = &self.live[&entry.id];
            let hashes = prefix_hashes(&live.tokens);
            let written = hashes
                .iter()
                .enumerate()
                .take(entry.end())
                .skip(entry.start);
            for (position, &hash) in written {
                let block = live.table[position / self.config.block_size];
                assert_eq!(holders[&block], 1, "block {block} is shared and written");
                let slot =
                    block as usize * self.config.block_size + position % self.config.block_size;
                self.cache[slot] = Some(hash);
            }
        }
        let mut outcomes = Vec::new();
        for entry in &decision.entries {
            let newest = self.check_readable(entry, entry.end());
            if entry.samples {
                let token = draw(newest);
                outcomes.push(Outcome {
                    id: entry.id,
                    token,
                    finished: token == END_TOKEN,
                });
            }
        }
        outcomes
    }

    /// The first `count` tokens of the entry's request lie where its table says; returns the content of the last.
    fn check_readable(&self, entry: &Entry, count: usize) -> u64 {
        let live = &self.live[&entry.id];
        let hashes = prefix_hashes(&live.tokens);
        let mut content = 0;
        for (position, hash) in hashes.iter().enumerate().take(count) {
            let block = live.table[position / self.config.block_size] as usize;
            let slot = block * self.config.block_size + position % self.config.block_size;
            assert_eq!(self.cache[slot], Some(*hash), "stale KV at {position}");
            content = *hash;
        }
        content
    }

    fn take_outcomes(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let Some(live) = self.live.get_mut(&outcome.id) else {
                continue;
            };
            live.tokens.push(outcome.token);
            let (prompt, output) = live.tokens.split_at(live.prompt_len);
            let expected = reference_output(prompt, live.max_tokens);
            assert_eq!(output, &expected[..output.len()]);
            if output.len() == expected.len() {
                self.live.remove(&outcome.id);
                assert!(self.scheduler.sequence(outcome.id).is_none());
            }
        }
    }

    /// The scheduler agrees with itself and with what its decisions told.
    fn check_state(&self) {
        self.scheduler.check_integrity().unwrap();
        let running = self.live.values().filter(|live| live.is_running());
        assert_eq!(self.scheduler.running(), running.count());
        assert_eq!(
            self.scheduler.running() + self.scheduler.waiting(),
            self.live.len()
        );
        let held: BTreeSet<_> = self.live.values().flat_map(|live| &live.table).collect();
        assert_eq!(self.scheduler.blocks_used(), held.len());
        for (&id, live) in &self.live {
            let sequence = self.scheduler.sequence(id).unwrap();
            assert_eq!(sequence.id(), id);
            assert_eq!(sequence.tokens(), live.tokens);
            assert_eq!(sequence.prompt_len(), live.prompt_len);
            assert_eq!(sequence.block_table(), live.table);
            assert_eq!(sequence.num_computed(), live.computed);
        }
    }
}

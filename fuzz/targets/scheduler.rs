//! The scheduler under any order of calls, with its integrity checked after each.

use candlepower::scheduler::{Decision, Outcome, Policy, Scheduler, SchedulerConfig, Submission};

/// More than any load here takes to drain.
const MOST_STEPS: usize = 10_000;

/// The limits, then a call a byte, whose arguments are the bytes after it.
pub fn scheduler(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let Some(config) = limits(&mut bytes) else {
        return;
    };
    let mut play = Play {
        scheduler: Scheduler::new(config).expect("limits under which something can run"),
        decision: Decision::default(),
        next_id: 0,
    };
    while let Some(call) = play.call(&mut bytes) {
        let whole = play.scheduler.check_integrity();
        whole.unwrap_or_else(|fault| panic!("after {call}: {fault}"));
    }
    play.drain();
}

fn limits(bytes: &mut impl Iterator<Item = u8>) -> Option<SchedulerConfig> {
    let mut size = |most: u8| Some(1 + usize::from(bytes.next()? % most));
    Some(SchedulerConfig {
        policy: [Policy::Mixed, Policy::PrefillFirst, Policy::Reserve][size(3)? - 1],
        max_num_seqs: size(8)?,
        max_num_batched_tokens: size(32)?,
        max_model_len: size(64)?,
        block_size: size(8)?,
        num_blocks: 1 + size(40)?,
        prefix_cache: size(2)? == 1,
    })
}

struct Play {
    scheduler: Scheduler,
    decision: Decision,
    next_id: u64,
}

impl Play {
    /// One call, and its name; `None` at the end of the bytes.
    fn call(&mut self, bytes: &mut impl Iterator<Item = u8>) -> Option<&'static str> {
        let mut next = || bytes.next();
        Some(match next()? % 5 {
            0 => {
                // Few tokens, so that prompts share their beginnings; ids may come twice.
                let (len, kind, max_tokens) = (next()? % 72, next()?, next()? % 24);
                let id = self.next_id - u64::from(kind >= 0xf0 && self.next_id > 0);
                self.next_id = id + 1;
                let token = |at: u8| u32::from(at / 8 == kind % 8);
                let _ = self.scheduler.add(Submission {
                    id,
                    prompt: (0..len).map(token).collect(),
                    max_tokens: usize::from(max_tokens),
                });
                "add"
            }
            1 => {
                self.scheduler
                    .abort(self.next_id.saturating_sub(next()?.into()));
                "abort"
            }
            2 => {
                self.scheduler.reset_prefix_cache();
                "reset_prefix_cache"
            }
            // An abort between the two is what a cancelled request does.
            3 => {
                self.scheduler.schedule(&mut self.decision);
                let whole = self.scheduler.check_integrity();
                whole.unwrap_or_else(|fault| panic!("after schedule: {fault}"));
                // What was scheduled is completed in any case.
                let (gone, ends) = (next().unwrap_or(0), next().unwrap_or(0));
                if gone >= 0x80 {
                    self.scheduler
                        .abort(self.next_id.saturating_sub((gone & 0x7f).into()));
                }
                self.complete(ends);
                "complete"
            }
            _ => {
                self.step(next()?);
                "a step"
            }
        })
    }

    fn step(&mut self, ends: u8) {
        self.scheduler.schedule(&mut self.decision);
        self.complete(ends);
    }

    /// Requests whose bit is set in `ends` finish early.
    fn complete(&mut self, ends: u8) {
        let sampling = self.decision.entries.iter().filter(|entry| entry.samples);
        let outcomes: Vec<Outcome> = sampling
            .map(|entry| Outcome {
                id: entry.id,
                token: 1,
                finished: ends >> (entry.id % 8) & 1 == 1,
            })
            .collect();
        self.scheduler.complete(&outcomes);
    }

    /// Whatever happened, what is left runs to its end and gives every block back.
    fn drain(&mut self) {
        for _ in 0..MOST_STEPS {
            if self.scheduler.is_idle() {
                break;
            }
            self.step(0);
            assert!(!self.decision.is_empty(), "stalled");
        }
        assert!(self.scheduler.is_idle(), "never finished");
        assert_eq!(self.scheduler.blocks_used(), 0, "blocks leaked");
        self.scheduler.check_integrity().expect("a whole pool");
    }
}

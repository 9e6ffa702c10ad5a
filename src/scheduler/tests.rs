//! The rule by worked examples: small loads with the decisions written out.

use super::*;
use crate::ground::RequestId;

fn config(policy: Policy) -> SchedulerConfig {
    SchedulerConfig {
        policy,
        max_num_seqs: 8,
        max_num_batched_tokens: 8,
        max_model_len: 64,
        block_size: 4,
        num_blocks: 33,
        prefix_cache: false,
    }
}

struct Bench {
    scheduler: Scheduler,
    decision: Decision,
}

impl Bench {
    fn new(config: SchedulerConfig) -> Self {
        Self {
            scheduler: Scheduler::new(config).unwrap(),
            decision: Decision::default(),
        }
    }

    fn add(&mut self, id: RequestId, prompt: &[u32], max_tokens: usize) {
        self.try_add(id, prompt, max_tokens).unwrap();
    }

    fn try_add(
        &mut self,
        id: RequestId,
        prompt: &[u32],
        max_tokens: usize,
    ) -> Result<(), SchedulerError> {
        self.scheduler.add(Submission {
            id,
            prompt: prompt.into(),
            max_tokens,
        })
    }

    /// Schedules, answers each sampling entry with token 9, and returns (id, start, tokens) of the entries.
    fn step(&mut self) -> Vec<(RequestId, usize, usize)> {
        self.scheduler.schedule(&mut self.decision);
        self.scheduler.check_integrity().unwrap();
        let sampling = self.decision.entries.iter().filter(|entry| entry.samples);
        let outcomes: Vec<_> = sampling
            .map(|entry| Outcome {
                id: entry.id,
                token: 9,
                finished: false,
            })
            .collect();
        self.scheduler.complete(&outcomes);
        self.scheduler.check_integrity().unwrap();
        let entries = self.decision.entries.iter();
        entries
            .map(|entry| (entry.id, entry.start, entry.num_tokens))
            .collect()
    }
}

fn prompt(len: usize, seed: u32) -> Vec<u32> {
    (0..len as u32).map(|token| seed + token).collect()
}

#[test]
fn mixed_fills_the_budget_with_decode_then_prefill_chunks() {
    let mut bench = Bench::new(config(Policy::Mixed));
    bench.add(1, &prompt(5, 0), 4);
    bench.add(2, &prompt(10, 0), 4);
    assert_eq!(bench.step(), [(1, 0, 5), (2, 0, 3)]);
    assert_eq!(bench.decision.admitted, [1, 2]);
    assert_eq!(bench.decision.new_blocks, [1, 2, 3]);
    assert_eq!(bench.decision.entries[1].new_blocks, 2..3);
    assert!(bench.decision.entries[0].samples && !bench.decision.entries[1].samples);

    assert_eq!(bench.step(), [(1, 5, 1), (2, 3, 7)]);
    assert!(bench.decision.admitted.is_empty());
    assert!(bench.decision.entries[0].is_decode && !bench.decision.entries[1].is_decode);
    assert_eq!(bench.step(), [(1, 6, 1), (2, 10, 1)]);
    assert_eq!(bench.scheduler.sequence(1).unwrap().tokens()[5..], [9; 3]);

    // The fourth token of request 1 is its last, and it is not computed.
    assert_eq!(bench.step(), [(1, 7, 1), (2, 11, 1)]);
    assert!(bench.scheduler.sequence(1).is_none());
    assert_eq!(bench.step(), [(2, 12, 1)]);
    assert!(bench.scheduler.is_idle());
    assert_eq!(bench.scheduler.blocks_used(), 0);
}

#[test]
fn prefill_first_decodes_only_when_no_prefill_is_left() {
    let mut bench = Bench::new(config(Policy::PrefillFirst));
    bench.add(1, &prompt(5, 0), 3);
    bench.add(2, &prompt(10, 0), 3);
    assert_eq!(bench.step(), [(1, 0, 5), (2, 0, 3)]);
    assert_eq!(bench.step(), [(2, 3, 7)]);
    bench.add(3, &prompt(2, 0), 2);
    assert_eq!(bench.step(), [(3, 0, 2)]);
    assert_eq!(bench.step(), [(1, 5, 1), (2, 10, 1), (3, 2, 1)]);
}

#[test]
fn the_youngest_is_preempted_and_recomputes_prompt_and_output() {
    // Four blocks of four tokens: both prompts fit, not both outputs.
    let mut bench = Bench::new(SchedulerConfig {
        num_blocks: 5,
        max_num_batched_tokens: 16,
        ..config(Policy::Mixed)
    });
    bench.add(1, &prompt(8, 0), 4);
    bench.add(2, &prompt(7, 0), 4);
    assert_eq!(bench.step(), [(1, 0, 8), (2, 0, 7)]);
    bench.add(3, &prompt(1, 0), 1);
    assert_eq!(bench.step(), [(1, 8, 1)]);
    assert_eq!(bench.decision.preempted, [2]);
    assert!(
        bench.decision.admitted.is_empty(),
        "no admission beside a preemption"
    );
    assert_eq!(bench.scheduler.preemptions(), 1);

    // Request 2 needs two blocks for 7 + 1 tokens, one is free: request 3 must not overtake it.
    assert_eq!(bench.step(), [(1, 9, 1)]);
    assert_eq!(bench.step(), [(1, 10, 1)]);
    assert_eq!(bench.step(), [(2, 0, 8), (3, 0, 1)]);
    assert_eq!(
        bench.decision.admitted,
        [3],
        "request 2 was admitted before"
    );
}

#[test]
fn a_request_that_preempts_itself_leaves_older_ones_alone() {
    // Seven blocks: request 1 holds five, the second chunk of request 2 would need three more than its two.
    let mut bench = Bench::new(SchedulerConfig {
        num_blocks: 8,
        max_num_batched_tokens: 22,
        ..config(Policy::Mixed)
    });
    bench.add(1, &prompt(17, 0), 3);
    bench.add(2, &prompt(17, 0), 1);
    assert_eq!(bench.step(), [(1, 0, 17), (2, 0, 5)]);
    assert_eq!(bench.step(), [(1, 17, 1)]);
    assert_eq!(bench.decision.preempted, [2]);
}

#[test]
fn reserve_admits_only_what_can_finish() {
    // Eight blocks; each request holds three at full length.
    let mut bench = Bench::new(SchedulerConfig {
        num_blocks: 9,
        max_num_batched_tokens: 64,
        ..config(Policy::Reserve)
    });
    for id in 1..=3 {
        bench.add(id, &prompt(4, 0), 9);
    }
    assert_eq!(bench.step(), [(1, 0, 4), (2, 0, 4)]);
    for _ in 1..9 {
        assert_eq!(bench.step().len(), 2);
    }
    assert_eq!(bench.step(), [(3, 0, 4)]);
    assert_eq!(bench.scheduler.preemptions(), 0);
}

#[test]
fn a_budget_below_the_running_requests_serves_the_oldest() {
    let mut bench = Bench::new(SchedulerConfig {
        max_num_batched_tokens: 2,
        ..config(Policy::Mixed)
    });
    for id in 1..=3 {
        bench.add(id, &[5], 2);
    }
    assert_eq!(bench.step(), [(1, 0, 1), (2, 0, 1)]);
    assert_eq!(bench.step(), [(1, 1, 1), (2, 1, 1)]);
    assert_eq!(bench.step(), [(3, 0, 1)]);
}

#[test]
fn an_equal_prefix_is_computed_once() {
    let mut bench = Bench::new(SchedulerConfig {
        prefix_cache: true,
        max_num_batched_tokens: 64,
        ..config(Policy::Mixed)
    });
    bench.add(1, &prompt(10, 0), 3);
    assert_eq!(bench.step(), [(1, 0, 10)]);
    let mut other = prompt(10, 0);
    other[7] += 1;
    bench.add(2, &prompt(10, 0), 1);
    bench.add(3, &other, 1);
    assert_eq!(bench.step(), [(1, 10, 1), (2, 8, 2), (3, 4, 6)]);
    // Blocks 1 and 2 for request 2, block 1 for request 3: a table starts with what was found.
    assert_eq!(bench.decision.new_blocks, [1, 2, 4, 1, 5, 6]);
    assert_eq!(bench.scheduler.prefix_hit_tokens(), 12);
}

#[test]
fn a_full_hit_leaves_one_token_to_compute() {
    let mut bench = Bench::new(SchedulerConfig {
        prefix_cache: true,
        ..config(Policy::Mixed)
    });
    bench.add(1, &prompt(8, 0), 1);
    assert_eq!(bench.step(), [(1, 0, 8)]);
    assert_eq!(bench.scheduler.blocks_used(), 0);
    bench.add(2, &prompt(8, 0), 1);
    assert_eq!(bench.step(), [(2, 4, 4)]);
    assert!(bench.decision.entries[0].samples && !bench.decision.entries[0].is_decode);
}

#[test]
fn what_a_request_finds_again_after_its_preemption_is_no_hit() {
    let mut bench = Bench::new(SchedulerConfig {
        prefix_cache: true,
        num_blocks: 5,
        max_num_batched_tokens: 16,
        ..config(Policy::Mixed)
    });
    bench.add(1, &prompt(8, 0), 2);
    bench.add(2, &prompt(7, 20), 4);
    assert_eq!(bench.step(), [(1, 0, 8), (2, 0, 7)]);
    assert_eq!(bench.step(), [(1, 8, 1)]);
    assert_eq!(bench.decision.preempted, [2]);
    assert_eq!(bench.step(), [(2, 4, 4)]);
    assert_eq!(bench.scheduler.prefix_hit_tokens(), 0);
}

#[test]
fn only_executed_blocks_are_shared() {
    let mut bench = Bench::new(SchedulerConfig {
        prefix_cache: true,
        max_num_batched_tokens: 64,
        ..config(Policy::Mixed)
    });
    bench.add(1, &prompt(10, 0), 3);
    bench.add(2, &prompt(10, 0), 3);
    assert_eq!(bench.step(), [(1, 0, 10), (2, 0, 10)]);
    bench.add(3, &prompt(10, 5), 3);
    bench.scheduler.schedule(&mut bench.decision);
    assert!(bench.scheduler.abort(3));
    bench.scheduler.complete(&[]);
    bench.add(4, &prompt(10, 5), 3);
    bench.scheduler.schedule(&mut bench.decision);
    let entry = bench.decision.entries.last().unwrap();
    assert_eq!((entry.id, entry.start), (4, 0));
}

#[test]
fn late_or_unknown_outcomes_are_passed_over() {
    let mut bench = Bench::new(config(Policy::Mixed));
    bench.add(1, &prompt(3, 0), 5);
    bench.scheduler.schedule(&mut bench.decision);
    let outcome = |id| Outcome {
        id,
        token: 7,
        finished: false,
    };
    bench
        .scheduler
        .complete(&[outcome(1), outcome(1), outcome(2)]);
    assert_eq!(bench.scheduler.sequence(1).unwrap().tokens()[3..], [7]);
    assert!(bench.scheduler.abort(1) && !bench.scheduler.abort(1));
    bench.scheduler.complete(&[outcome(1)]);
    assert!(bench.scheduler.is_idle());
    assert_eq!(bench.scheduler.blocks_used(), 0);
}

#[test]
fn what_can_never_fit_is_refused_with_the_numbers() {
    let mut bench = Bench::new(SchedulerConfig {
        num_blocks: 4,
        ..config(Policy::Mixed)
    });
    let mut refuse = |id, len, max_tokens| {
        let error = bench.try_add(id, &prompt(len, 0), max_tokens);
        error.unwrap_err().to_string()
    };
    assert!(refuse(7, 0, 1).starts_with("request 7 has an empty prompt"));
    assert!(refuse(7, 1, 0).starts_with("request 7 asks for 0 output tokens"));
    let too_long = refuse(7, 60, 5);
    assert!(too_long.contains("60 prompt + 5 output tokens, more than max_model_len 64"));
    assert!(refuse(7, 1, usize::MAX).contains("max_model_len 64"));
    // Three blocks hold 12 tokens; the last output token needs no room.
    assert!(refuse(7, 12, 2).contains("needs 4 KV blocks of 4 tokens, more than the 3"));
    bench.add(7, &prompt(12, 0), 1);
    let duplicate = bench.try_add(7, &[1], 1).unwrap_err();
    assert_eq!(duplicate, SchedulerError::DuplicateId(7));
    assert_eq!(bench.scheduler.waiting(), 1);
}

#[test]
fn a_replay_tells_where_it_differs() {
    let config = config(Policy::Mixed);
    let mut log = SchedulerLog::new(config.clone());
    let mut scheduler = Scheduler::new(config).unwrap();
    let submission = Submission {
        id: 1,
        prompt: [1, 2, 3].into(),
        max_tokens: 2,
    };
    log.add(&submission, scheduler.add(submission.clone()).is_ok());
    let mut decision = Decision::default();
    scheduler.schedule(&mut decision);
    log.schedule(&decision);
    assert_eq!(replay(&log), Ok(()));

    decision.entries[0].num_tokens = 2;
    log.records[1] = LogRecord::Schedule(decision);
    assert!(replay(&log).unwrap_err().starts_with("call 1 gives"));
    log.records[0] = LogRecord::Abort { id: 1, found: true };
    assert_eq!(
        replay(&log).unwrap_err(),
        "call 0 gives false now, was Abort { id: 1, found: true }"
    );
}

#[test]
fn a_broken_log_is_named_by_line() {
    assert!(matches!(SchedulerLog::read(&[][..]), Err(LogError::Empty)));
    let mut file = Vec::new();
    SchedulerLog::new(config(Policy::Mixed))
        .write(&mut file)
        .unwrap();
    file.extend_from_slice(b"{\"call\":\"dance\"}\n");
    let error = SchedulerLog::read(file.as_slice()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("line 2 of the scheduler log is not a record")
    );
}

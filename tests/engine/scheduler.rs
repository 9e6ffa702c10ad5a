//! Properties of the scheduler over random loads, with a KV cache that remembers what was written into it.
//!
//! A request's next token is drawn from what its block table makes readable, so a wrong, stale or overwritten block
//! changes its output.

mod content;
mod load;
mod run;

use candlepower::scheduler::{Policy, SchedulerLog, replay};
use proptest::prelude::*;

use load::{any_policy, load};
use run::Run;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_024,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// All the checks of `Run`: budgets, order of admission, contiguous progress, no leak, no wrong sharing, every
    /// request finishes with the output it has alone.
    #[test]
    fn every_load_finishes_within_its_limits(load in load(any_policy())) {
        Run::play(&load);
    }

    #[test]
    fn reserve_never_preempts(load in load(Just(Policy::Reserve))) {
        let run = Run::play(&load);
        prop_assert_eq!(run.scheduler.preemptions(), 0);
        prop_assert!(run.decisions.iter().all(|step| step.preempted.is_empty()));
    }

    #[test]
    fn prefill_first_never_mixes(load in load(Just(Policy::PrefillFirst))) {
        for step in Run::play(&load).decisions {
            let decodes = step.entries.iter().filter(|entry| entry.is_decode).count();
            prop_assert!(decodes == 0 || decodes == step.entries.len(), "{:?}", step);
        }
    }

    #[test]
    fn preemptions_are_counted(load in load(any_policy())) {
        let run = Run::play(&load);
        let told: usize = run.decisions.iter().map(|step| step.preempted.len()).sum();
        prop_assert_eq!(run.scheduler.preemptions(), told as u64);
    }

    #[test]
    fn decisions_replay_bit_for_bit(load in load(any_policy())) {
        let run = Run::play(&load);
        let mut file = Vec::new();
        run.log.write(&mut file).unwrap();
        let log = SchedulerLog::read(file.as_slice()).unwrap();
        prop_assert_eq!(&log, &run.log);
        prop_assert_eq!(replay(&log), Ok(()));
    }
}

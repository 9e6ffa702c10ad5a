//! A real engine under a load that never lets it settle: lengths from one token to the longest, requests that
//! are ended at any moment, too few blocks for those that run.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use candle_core::DType;
use candlepower::bench::{Limits, Load, Script, play};
use candlepower::ground::{Event, EventKind, FinishReason, Request, Sampling, StopRule};
use candlepower::scheduler::{Policy, SchedulerConfig};
use candlepower::workload::{Dataset, Work, WorkItem};

use super::asked;
use super::process::Process;
use crate::common::random::Random;
use crate::common::{Backend, Model, Session, Setup, fixture};

const LONGEST: usize = 128;
/// MiB by which memory may grow once everything has been used: pages that an allocator has not given back.
const SLACK: usize = 12;

fn session(prefix_cache: bool) -> Session {
    let setup = Setup {
        backend: Backend::Cpu,
        kv: DType::BF16,
        threads: 2,
        scheduler: SchedulerConfig {
            policy: Policy::Mixed,
            max_num_seqs: 48,
            max_num_batched_tokens: 96,
            max_model_len: LONGEST,
            block_size: 4,
            // A third of what its requests would take at full length.
            num_blocks: 48 * LONGEST / 4 / 3,
            prefix_cache,
        },
        ..Setup::default()
    };
    Session::start(&Model::open(&fixture("llama-tiny")), &setup)
}

fn request(random: &mut Random, id: u64) -> Request {
    let prompt = random.within(1..LONGEST);
    // Some begin alike, for the prefix cache.
    let token = |at: usize, random: &mut Random| match id.is_multiple_of(3) && at < 32 {
        true => 7,
        false => random.within(1..200) as u32,
    };
    Request {
        id,
        prompt: (0..prompt).map(|at| token(at, random)).collect(),
        stop: StopRule {
            max_tokens: random.within(1..LONGEST - prompt + 1),
            end_tokens: Vec::new().into(),
        },
        sampling: Sampling {
            temperature: random.pick(&[0.0, 0.8]),
            ..Sampling::GREEDY
        },
        arrival: Duration::ZERO,
    }
}

#[test]
fn random_lengths_and_cancellations_leave_the_engine_as_it_was() {
    for prefix_cache in [false, true] {
        churn(prefix_cache, asked("CANDLEPOWER_LOAD_SECONDS", 20) / 2);
    }
}

fn churn(prefix_cache: bool, seconds: usize) {
    let mut engine = session(prefix_cache).engine;
    let mut random = Random(3);
    let (mut next, mut ended, mut cancelled, mut preempted) = (0, 0, 0, 0);
    let mut events: Vec<Event> = Vec::new();
    let start = Instant::now();
    let whole = Duration::from_secs(seconds as u64);
    let mut warm = None;
    let mut steps = 0;
    while start.elapsed() < whole {
        while engine.in_flight() < 160 && random.within(0..8) > 0 {
            engine.submit(request(&mut random, next), &mut events);
            next += 1;
        }
        if next > 0 && random.within(0..4) == 0 {
            // Waiting, running or gone, as it comes.
            let id = next - 1 - random.within(0..200).min(next as usize - 1) as u64;
            let how = EventKind::Finished(FinishReason::Cancelled);
            engine.abort(id, how, &mut events);
        }
        if !engine.is_idle() {
            engine.step(&mut events).unwrap();
        }
        steps += 1;
        if steps % 50 == 0 {
            engine.scheduler().check_integrity().unwrap();
        }
        for event in events.drain(..) {
            match event.kind {
                EventKind::Finished(FinishReason::Cancelled) => cancelled += 1,
                EventKind::Finished(_) => ended += 1,
                EventKind::Failed(reason) => panic!("{reason}"),
                EventKind::Preempted => preempted += 1,
                _ => {}
            }
        }
        if warm.is_none() && start.elapsed() > whole / 3 {
            warm = Some(Process::now());
        }
    }
    let (warm, now) = (warm.unwrap(), Process::now());
    for id in engine.unfinished() {
        let how = EventKind::Finished(FinishReason::Cut);
        engine.abort(id, how, &mut events);
    }
    // A step that was under way when its requests were ended.
    while !engine.is_idle() {
        engine.step(&mut events).unwrap();
    }
    engine.scheduler().check_integrity().unwrap();
    assert_eq!(engine.scheduler().blocks_used(), 0, "blocks leaked");
    println!(
        "{next} requests in {seconds} s, {steps} steps: {ended} ended, {cancelled} cancelled, {preempted} preemptions; {warm:?}, then {now:?}"
    );
    assert!(ended > 20 && cancelled > 20 && preempted > 20, "too quiet");
    assert!(
        now.resident_mib <= warm.resident_mib + SLACK,
        "{warm:?}, then {now:?}"
    );
    assert_eq!((now.threads, now.files), (warm.threads, warm.files));
}

/// The report's largest load by its number in flight: 1,000 at a time, with lengths of all kinds, of which some
/// miss a deadline.
#[test]
fn a_thousand_at_a_time_with_deadlines() {
    let mut engine = session(false).engine;
    let mut random = Random(5);
    let item = |_| {
        let request = request(&mut random, 1);
        WorkItem {
            prompt: request.prompt,
            output_len: request.stop.max_tokens.min(24),
            arrival: None,
        }
    };
    let script = |requests| Script {
        work: Work::Dataset((0..997).map(item).collect::<Dataset>().into()),
        load: Load::Closed { concurrency: 1000 },
        requests,
        warmup: 100,
        limits: Limits {
            request_timeout: Some(Duration::from_secs(2)),
            ..Limits::default()
        },
        sampling: Sampling::GREEDY,
        end_tokens: Vec::new(),
        seed: 0,
    };
    let requests = 250 * asked("CANDLEPOWER_LOAD_SECONDS", 20);
    let (mut told, mut warm) = (0, None);
    let script = script(requests);
    let recording = play(&mut engine, &script, &AtomicBool::new(false), &mut || {
        told += 1;
        if told == requests / 2 {
            warm = Some(Process::now());
        }
    });
    let (warm, now) = (warm.unwrap(), Process::now());
    assert_eq!(recording.cut_short, None);
    assert_eq!((recording.requests.len(), told), (requests, requests));
    let late = recording
        .requests
        .iter()
        .filter(|r| r.error.is_some())
        .count();
    println!("{requests} requests, {late} beyond their deadline; {warm:?}, then {now:?}");
    engine.scheduler().check_integrity().unwrap();
    assert!(engine.is_idle() && engine.scheduler().blocks_used() == 0);
    // Records that are kept in memory before they go to a file are the rest.
    assert!(
        now.resident_mib <= warm.resident_mib + SLACK + 64,
        "{warm:?}, then {now:?}"
    );
}

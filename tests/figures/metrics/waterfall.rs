//! Where tokens a second are lost: levels by hand, and their sums for any run.

use candlepower::comparison::waterfall::{Explained, Level, Name, Origin, Waterfall, waterfall};
use candlepower::ground::results::{Kind, ReferenceRun, Results};
use candlepower::ground::{Log, StepRecord};
use candlepower::profile::{OpRow, Phase, Profile, TimedBy, Totals};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::fixture::{raw, results};

/// The steps of the fixture, and what each made: 9 tokens, 2 of them of a request that failed.
fn steps() -> Vec<StepRecord> {
    let mut steps = raw().steps;
    for (step, tokens) in steps.iter_mut().zip([1, 3, 5]) {
        step.output_tokens = tokens;
    }
    steps
}

fn explained(
    results: &Results,
    steps: Vec<StepRecord>,
    profiles: &[Profile],
    imports: &[ReferenceRun],
) -> Waterfall {
    let steps = Log::from(steps);
    waterfall(&Explained {
        name: "c4",
        results,
        run: 0,
        steps: &steps,
        profiles,
        imports,
    })
}

fn level(waterfall: &Waterfall, name: Name) -> &Level {
    waterfall.levels.iter().find(|l| l.name == name).unwrap()
}

fn rate(waterfall: &Waterfall, name: Name) -> f64 {
    let level = level(waterfall, name);
    level.tokens_per_s.unwrap_or_else(|| panic!("{level:?}"))
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// One operation that takes `us` and moves `bytes`.
fn profile(phase: Phase, rows: usize, us: f64, bytes: u64) -> Profile {
    let op = OpRow {
        name: "down".to_owned(),
        calls: 2,
        us,
        call_us: us / 2.0,
        share: 1.0,
        bytes,
        flops: 0,
        gb_s: 1.0,
        gflop_s: 0.0,
        roof_fraction: None,
        bound: None,
        floor_us: None,
        gap_us: None,
        ranks_us: None,
        wait_us: None,
        kernels: None,
    };
    let totals = Totals {
        us,
        kernels_us: None,
        bytes,
        flops: 0,
        gb_s: 1.0,
        gflop_s: 0.0,
        floor_us: None,
        roof_fraction: None,
        gap_us: None,
    };
    Profile {
        schema: candlepower::profile::SCHEMA.to_owned(),
        kind: Kind::Measured,
        device: "cpu".to_owned(),
        hardware: "a CPU".to_owned(),
        model: "Tiny".to_owned(),
        layers: 2,
        model_layers: 2,
        tp: 1,
        threads: 1,
        phase,
        batch: rows,
        context: 1,
        rows,
        roofs: None,
        timed_by: TimedBy::Clock,
        steps: 4,
        step_us: us,
        step_us_range: [us, us],
        tokens_per_s: 1.0,
        ops: vec![op],
        host_us: 0.0,
        host_share: 0.0,
        totals,
        ranks: Vec::new(),
        whole_model: None,
        counters: Default::default(),
        not_observed: Default::default(),
    }
}

/// What another tool says of the same load.
fn import(tokens_per_s: f64) -> ReferenceRun {
    let mut run = ReferenceRun {
        name: "theirs".to_owned(),
        model: "org/Tiny".to_owned(),
        concurrency: Some(4),
        ..ReferenceRun::default()
    };
    run.metrics.output_tokens_per_sec = Some(tokens_per_s);
    run
}

#[test]
fn levels_are_those_by_hand() {
    let mut results = results();
    let of = |results: &Results| explained(results, steps(), &[], &[import(0.5)]);
    let found = of(&results);
    // Bytes at 4000 a second take longer than FLOPs at 10,000: 0.1, 0.3 and 0.6 s.
    assert!(near(rate(&found, Name::Roof), 9.0 / 1.0), "{found:?}");
    assert!(near(rate(&found, Name::Steps), 9.0 / 3.0));
    assert!(near(rate(&found, Name::Batches), 9.0 / 3.0));
    assert!(near(rate(&found, Name::Host), 9.0 / 4.0));
    assert!(near(rate(&found, Name::Load), 7.0 / 4.0));
    assert!(near(rate(&found, Name::Server), 0.5));
    // In their exchanges the timed steps spent 0.3 s of 3, 0.03 of them waiting.
    let parts = &level(&found, Name::Steps).parts;
    let lost = |name: &str| parts.iter().find(|part| part.name == name).unwrap().lost;
    assert!(
        near(lost("exchanges between ranks"), 9.0 * 0.27 / 3.0),
        "{parts:?}"
    );
    assert!(near(lost("waiting for the slowest rank"), 9.0 * 0.03 / 3.0));
    for (name, origin) in [
        (Name::DataSheet, None),
        (Name::Roof, Some(Origin::Measured)),
        (Name::Kernels, None),
        (Name::Load, Some(Origin::Measured)),
        (Name::Server, Some(Origin::Imported)),
    ] {
        assert_eq!(level(&found, name).origin, origin, "{name}");
    }

    results.kind = Kind::Predicted;
    for level in of(&results)
        .levels
        .iter()
        .filter(|l| l.name != Name::Server)
    {
        let known = level.origin.unwrap_or(Origin::Predicted);
        assert_eq!(known, Origin::Predicted, "{level:?}");
    }
}

#[test]
fn steps_that_are_not_full_are_lost_to_the_scheduler() {
    let mut steps = steps();
    let decode = |start: f64, scheduled: usize| StepRecord {
        start,
        end: start + 0.5,
        exec_seconds: 0.5,
        scheduled,
        decode_tokens: scheduled,
        output_tokens: scheduled,
        bytes: 400,
        ..StepRecord::default()
    };
    steps.truncate(2);
    // Of 5 tokens decoded one was alone: five fourths of the full step make them all.
    steps.extend([decode(2.0, 4), decode(2.5, 1)]);
    let found = explained(&results(), steps, &[], &[]);
    assert!(
        near(rate(&found, Name::Steps), 9.0 / (1.25 + 0.5 * 1.25)),
        "{found:?}"
    );
    assert!(near(rate(&found, Name::Batches), 9.0 / 2.25));
    let note = level(&found, Name::Batches).note.as_ref().unwrap();
    assert!(
        note.starts_with("1 of 2 decode steps ran 4 requests or more of 4 asked for"),
        "{note}"
    );
}

#[test]
fn operations_of_a_profile_stand_between_roof_and_steps() {
    // Each at half of the roof: 0.2 s for 400 bytes.
    let profiles = [
        profile(Phase::Prefill, 10, 2e5, 400),
        profile(Phase::Decode, 4, 2e5, 400),
    ];
    let found = explained(&results(), steps(), &profiles, &[]);
    assert!(near(rate(&found, Name::Kernels), 9.0 / 2.0), "{found:?}");
    let kernels = level(&found, Name::Kernels);
    assert_eq!(kernels.parts[0].name, "down");
    assert!(near(kernels.parts[0].lost, 9.0 - 4.5));
    // The second step has 51 tokens, and no profile is of as many.
    assert_eq!(kernels.origin, Some(Origin::Predicted));
    let same = explained(
        &results(),
        vec![steps()[0].clone(), steps()[2].clone()],
        &profiles,
        &[],
    );
    assert_eq!(level(&same, Name::Kernels).origin, Some(Origin::Measured));

    let reason = |profiles: &[Profile]| {
        let found = explained(&results(), steps(), profiles, &[]);
        level(&found, Name::Kernels).reason.clone().unwrap()
    };
    let decode_alone = reason(&profiles[1..]);
    assert!(
        decode_alone.contains("no profile is of a prefill step"),
        "{decode_alone}"
    );
    let other = Profile {
        layers: 1,
        ..profile(Phase::Decode, 4, 1.0, 1)
    };
    assert!(reason(&[other]).contains("first 1 of 2 layers"));
}

#[test]
fn an_import_of_another_load_or_machine_is_left_out() {
    let other_load = ReferenceRun {
        concurrency: Some(8),
        ..import(1.0)
    };
    let mut other_card = import(1.0);
    other_card.hardware.gpu = Some("H100".to_owned());
    let failed = ReferenceRun {
        failure: Some("out of memory".to_owned()),
        ..import(1.0)
    };
    let found = explained(&results(), steps(), &[], &[other_load, other_card, failed]);
    let reasons: Vec<&str> = found.left_out.iter().map(|one| &*one.reason).collect();
    let [load, card, failed] = reasons[..] else {
        panic!("{found:?}");
    };
    assert!(load.contains("the loads differ"), "{load}");
    assert!(card.contains("the machines differ"), "{card}");
    assert!(failed.contains("out of memory"), "{failed}");
    let server = level(&found, Name::Server);
    assert!(
        server.reason.as_ref().unwrap().starts_with("theirs: "),
        "{server:?}"
    );
}

prop_compose! {
    fn any_step()(
        exec_seconds in 1e-4..1.0_f64,
        scheduled in 1_usize..20,
        prefill_tokens in prop_oneof![Just(0_usize), 1_usize..500],
        bytes in 0_u64..10_000,
        flops in 0_u64..50_000,
        idle_seconds in prop_oneof![Just(0.0), 0.0..0.01_f64],
        divided in option::of((0.0..0.5_f64, 0.0..0.5_f64, option::of(0.0..1.0_f64))),
    ) -> StepRecord {
        StepRecord {
            exec_seconds,
            scheduled,
            prefill_tokens,
            decode_tokens: scheduled,
            output_tokens: scheduled,
            bytes,
            flops,
            idle_seconds,
            compute_seconds: divided.map(|(compute, ..)| compute * exec_seconds),
            communication_seconds: divided.map(|(_, exchange, _)| exchange * exec_seconds),
            wait_seconds: divided.and_then(|(_, exchange, wait)| Some(wait? * exchange * exec_seconds)),
            ..StepRecord::default()
        }
    }
}

proptest! {
    #[test]
    fn what_levels_and_parts_lose_adds_up(
        steps in vec(any_step(), 0..40),
        succeeded in 0_u64..1000,
        failed in prop_oneof![Just(0_u64), 1_u64..100],
        concurrency in option::of(1_usize..20),
        measured_roof in any::<bool>(),
        profiled in any::<bool>(),
        imported in option::of(1e-3..1e3_f64),
    ) {
        let mut results = results();
        let spent: f64 = steps.iter().map(|step| step.exec_seconds + step.idle_seconds).sum();
        let run = &mut results.runs[0];
        run.extended.duration = (succeeded > 0).then_some(1.2 * spent + 1e-3);
        run.extended.total_output_tokens = succeeded;
        run.extended.failed_output_tokens = failed;
        run.scenario.concurrency = concurrency;
        results.hardware.roofs = results.hardware.roofs.filter(|_| measured_roof);
        let profiles = match profiled {
            true => vec![profile(Phase::Prefill, 50, 3e5, 500), profile(Phase::Decode, 8, 1e4, 700)],
            false => Vec::new(),
        };
        let imports: Vec<_> = imported.into_iter().map(|rate| ReferenceRun { concurrency, ..import(rate) }).collect();
        let found = explained(&results, steps, &profiles, &imports);
        let rates: Vec<f64> = found.levels.iter().filter_map(|level| level.tokens_per_s).collect();
        let scale = rates.iter().fold(0.0, |sum: f64, rate| sum + rate);
        let lost: f64 = found.levels.iter().filter_map(|level| level.lost).sum();
        if let (Some(top), Some(bottom)) = (rates.first(), rates.last()) {
            prop_assert!((top - bottom - lost).abs() <= 1e-9 * scale, "{:?}", found);
        }
        for level in &found.levels {
            let is_observed = level.tokens_per_s.is_some();
            prop_assert_eq!(level.reason.is_none(), is_observed);
            prop_assert_eq!(level.origin.is_some(), is_observed);
            prop_assert!(!level.definition.is_empty());
            if !level.parts.is_empty() {
                let sum: f64 = level.parts.iter().map(|part| part.lost).sum();
                let size: f64 = level.parts.iter().map(|part| part.lost.abs()).sum();
                let whole = level.lost.unwrap();
                prop_assert!((sum - whole).abs() <= 1e-9 * (size + scale), "{:?}", level);
            }
        }
        let first = found.levels.iter().find(|level| level.tokens_per_s.is_some());
        prop_assert!(first.is_none_or(|level| level.lost.is_none()));
        // The engine's last level is the run's own rate.
        let own = level(&found, Name::Load).tokens_per_s;
        let duration = results.runs[0].extended.duration;
        prop_assert_eq!(own.is_some(), duration.is_some());
        if let Some((own, duration)) = own.zip(duration) {
            prop_assert!((own - succeeded as f64 / duration).abs() <= 1e-9 * own);
        }
    }
}

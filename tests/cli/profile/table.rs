//! The table from operations that are known.

use std::time::Duration;

use candlepower::ground::launch::{Launch, LaunchShape};
use candlepower::ground::recorder::{Cost, OpRecord};
use candlepower::ground::results::{Kind, Roofs};
use candlepower::profile::{About, Bound, Load, Measured, OpRow, Phase, Profile, TimedBy, profile};
use candlepower::report::profile::text;

/// 1 byte and 10 FLOPs a nanosecond.
const ROOFS: Roofs = Roofs {
    read_bytes_per_s: 1e9,
    flop_per_s: 1e10,
};

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn about(layers: usize, model_layers: usize) -> About {
    About {
        kind: Kind::Measured,
        device: "cpu".to_owned(),
        hardware: "a processor".to_owned(),
        model: "a model".to_owned(),
        layers,
        model_layers,
        threads: 2,
        load: Load {
            phase: Phase::Decode,
            batch: 4,
            context: 100,
        },
    }
}

/// One operation after another, each some microseconds behind the one before.
struct Tape {
    now: u64,
    ops: Vec<OpRecord>,
}

impl Tape {
    fn from(start: u64) -> Self {
        Self {
            now: start,
            ops: Vec::new(),
        }
    }

    fn op(mut self, name: &'static str, layer: Option<usize>, gap: u64, time: u64) -> Self {
        let start = self.now + gap;
        self.now = start + time;
        // Memory-bound at half of the roof.
        let bytes = time * 500;
        self.ops.push(OpRecord {
            name,
            layer,
            queued: us(start),
            start: us(start),
            time: us(time),
            cost: Cost { bytes, flops: 0 },
            launches: None,
        });
        self
    }
}

fn row<'a>(profile: &'a Profile, name: &str) -> &'a OpRow {
    let found = profile.ops.iter().find(|op| op.name == name);
    found.unwrap_or_else(|| panic!("{name} is not in {profile:?}"))
}

fn near(value: f64, expected: f64) {
    let off = (value - expected).abs();
    assert!(
        off <= 1e-9 * expected.abs().max(1.0),
        "{value}, not {expected}"
    );
}

/// `layers` of two operations each between one before and one behind, a microsecond apart.
fn step(start: u64, layers: usize, stretch: u64) -> (Vec<OpRecord>, (Duration, Duration)) {
    let mut tape = Tape::from(start).op("embed", None, 3, 5 * stretch);
    for layer in 0..layers {
        // The last layer goes on with fewer rows.
        let down = if layer + 1 == layers { 10 } else { 40 };
        tape =
            tape.op("qkv", Some(layer), 1, 20 * stretch)
                .op("down", Some(layer), 1, down * stretch);
    }
    let tape = tape.op("head", None, 1, 100 * stretch);
    let end = tape.now + 2;
    (tape.ops, (us(start), us(end)))
}

fn measured(layers: usize, stretches: &[u64]) -> Measured {
    let (mut steps, mut timeline, mut start) = (Vec::new(), Vec::new(), 1000);
    for &stretch in stretches {
        let (ops, span) = step(start, layers, stretch);
        timeline.extend(ops);
        steps.push(span);
        start = span.1.as_micros() as u64 + 7;
    }
    Measured {
        steps,
        timelines: vec![timeline],
        roofs: Some(ROOFS),
        ..Measured::default()
    }
}

#[test]
fn operations_and_the_host_make_up_the_step() {
    let profile = profile(&about(3, 3), &measured(3, &[1, 1]));
    // 5 + 3 x 20 + 2 x 40 + 10 + 100 in operations; 3 + 6 + 1 + 2 between them.
    near(profile.step_us, 267.0);
    near(profile.host_us, 12.0);
    near(profile.totals.us, profile.step_us);
    let names: Vec<&str> = profile.ops.iter().map(|op| op.name.as_str()).collect();
    assert_eq!(names, ["head", "down", "qkv", "embed"], "the longest first");
    let qkv = row(&profile, "qkv");
    assert_eq!((qkv.calls, qkv.bytes, qkv.flops), (3, 30_000, 0));
    near(qkv.us, 60.0);
    near(qkv.call_us, 20.0);
    near(qkv.share, 60.0 / 267.0);
    near(qkv.gb_s, 0.5);
    near(qkv.roof_fraction.unwrap(), 0.5);
    near(qkv.floor_us.unwrap(), 30.0);
    near(qkv.gap_us.unwrap(), 30.0);
    near(row(&profile, "down").call_us, 40.0);
    near(profile.totals.floor_us.unwrap(), 127.5);
    near(profile.totals.gap_us.unwrap(), 139.5);
    near(profile.tokens_per_s, 4.0 / 267e-6);
    assert_eq!(profile.not_observed["whole_model"], "all layers ran");
}

#[test]
fn outliers_at_both_ends_are_left_out_and_told() {
    let profile = profile(&about(2, 2), &measured(2, &[2, 2, 9, 2, 1, 2, 2, 9]));
    let usual = self::profile(&about(2, 2), &measured(2, &[2]));
    near(profile.step_us, usual.step_us);
    near(row(&profile, "head").us, 200.0);
    assert_eq!(profile.steps, 8);
    let [fastest, slowest] = profile.step_us_range;
    assert!(fastest < profile.step_us && slowest > 3.0 * profile.step_us);
}

/// Four steps of two calls of one operation, which launches kernels of its own and a library's.
fn launching() -> Measured {
    let launch = |kernel: &str, blocks, time| Launch {
        kernel: kernel.into(),
        shape: (blocks > 0).then_some(LaunchShape {
            grid: [blocks, 2, 1],
            block: 128,
            registers: Some(96),
            shared_bytes: 4096,
            occupancy: Some(0.25),
        }),
        gap: us(0),
        time: us(time),
        bytes: (blocks > 0).then_some(1_500_000),
    };
    let op = |start, launches| OpRecord {
        name: "attend",
        layer: None,
        queued: us(start),
        start: us(start),
        time: us(4),
        cost: Cost::default(),
        launches: Some(launches),
    };
    let split = || {
        vec![
            launch("split", 8, 1),
            launch("split", 4, 1),
            launch("merge", 1, 2),
        ]
    };
    let timeline = (0..4).flat_map(|step| {
        let more = vec![launch("split", 8, 3), launch("library", 0, 1)];
        [op(10 * step, split()), op(10 * step + 5, more)]
    });
    Measured {
        steps: (0..4).map(|s| (us(10 * s), us(10 * s + 9))).collect(),
        timelines: vec![timeline.collect()],
        untraced: Some("no library was found".to_owned()),
        ..Measured::default()
    }
}

#[test]
fn launches_stand_below_their_operation_by_kernel_and_shape() {
    let profile = profile(&about(1, 1), &launching());
    let kernels = row(&profile, "attend").kernels.as_deref().unwrap();
    let seen: Vec<_> = kernels
        .iter()
        .map(|k| (k.name.as_str(), k.grid.map(|grid| grid[0]), k.launches))
        .collect();
    let wanted = [
        ("split", Some(8), 2),
        ("split", Some(4), 1),
        ("merge", Some(1), 1),
        ("library", None, 1),
    ];
    assert_eq!(seen, wanted);
    let times: Vec<f64> = kernels.iter().map(|k| k.us).collect();
    times
        .iter()
        .zip([4.0, 1.0, 2.0, 1.0])
        .for_each(|(time, wanted)| near(*time, wanted));
    near(times.iter().sum(), row(&profile, "attend").us);
    let bytes: Vec<_> = kernels.iter().map(|k| k.bytes).collect();
    let wanted = [Some(3_000_000), Some(1_500_000), Some(1_500_000), None];
    assert_eq!(bytes, wanted);
    for (key, reason) in [("grid", "library"), ("bytes", "virtual GPU")] {
        let said = &profile.not_observed[&format!("kernels.{key}")];
        assert!(said.contains(reason), "{said}");
    }
    let text = text(&[profile], 120);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let at = lines.iter().position(|line| *line == "attend").unwrap();
    assert_eq!(lines[at + 1], "split 2 0.004 8x2x1 128 96 4096 25.0 % 3.00");
    assert_eq!(lines[at + 4], "library 1 0.001 n/o n/o n/o n/o n/o n/o");
    assert!(text.contains("CUDA graphs off"), "{text}");
}

#[test]
fn what_times_kernels_on_a_gpu_is_said() {
    let about = About {
        device: "cuda".to_owned(),
        ..about(1, 1)
    };
    let by_events = profile(&about, &launching());
    assert_eq!(by_events.timed_by, TimedBy::Events);
    assert_eq!(by_events.totals.kernels_us, None);
    let reason = &by_events.not_observed["totals.kernels_us"];
    assert_eq!(reason, "no library was found");
    assert!(text(&[by_events], 200).contains("CUDA graphs off (no library was found)"));
    let traced = Measured {
        untraced: None,
        ..launching()
    };
    let by_records = profile(&about, &traced);
    assert_eq!(by_records.timed_by, TimedBy::Cupti);
    // Four of each call's, in nine of the step.
    near(by_records.totals.kernels_us.unwrap(), 8.0);
    assert!(!by_records.not_observed.contains_key("totals.kernels_us"));
    let table = text(&[by_records], 200);
    let said = "kernels 0.008 ms (88.9 % of the step), as CUPTI tells";
    assert!(table.contains(said), "{table}");
}

#[test]
fn a_librarys_long_name_is_cut_in_the_table_alone() {
    let mut traced = launching();
    let name = "_Z40ncclDevKernel_AllReduce_Sum_f32_RING_LL24ncclDevKernelArgsStorage";
    for launch in traced.timelines[0]
        .iter_mut()
        .flat_map(|op| op.launches.iter_mut().flatten())
    {
        launch.kernel = name.into();
    }
    let profile = profile(&about(1, 1), &traced);
    let kernels = row(&profile, "attend").kernels.as_deref().unwrap();
    assert_eq!(kernels[0].name, name);
    let table = text(&[profile], 200);
    assert!(
        table.contains(&format!("{}... ", &name[..48])) && !table.contains(name),
        "{table}"
    );
}

#[test]
fn where_no_kernels_are_launched_their_absence_has_a_reason() {
    let simulated = About {
        kind: Kind::Predicted,
        device: "sim:h100-sxm".to_owned(),
        ..about(2, 2)
    };
    for (about, timed_by, reason) in [
        (about(2, 2), TimedBy::Clock, "CPU"),
        (simulated, TimedBy::Model, "simulated"),
    ] {
        let profile = profile(&about, &measured(2, &[1]));
        assert!(profile.ops.iter().all(|op| op.kernels.is_none()));
        assert_eq!(profile.timed_by, timed_by);
        let said = &profile.not_observed["kernels"];
        assert!(said.contains(reason), "{said}");
        assert!(!text(&[profile], 120).contains("kernels"));
    }
}

#[test]
fn an_operation_is_bound_by_what_explains_its_time() {
    let bound = |bytes, flops, time| {
        let op = OpRecord {
            name: "op",
            layer: None,
            queued: us(0),
            start: us(0),
            time: us(time),
            cost: Cost { bytes, flops },
            launches: None,
        };
        let measured = Measured {
            steps: vec![(us(0), us(time))],
            timelines: vec![vec![op]],
            roofs: Some(ROOFS),
            ..Measured::default()
        };
        profile(&about(1, 1), &measured).ops[0].bound
    };
    // 100 us of reading, 10 us of computing.
    assert_eq!(bound(100_000, 100_000, 120), Some(Bound::Memory));
    assert_eq!(bound(100_000, 100_000, 219), Some(Bound::Memory));
    assert_eq!(bound(100_000, 100_000, 221), Some(Bound::Latency));
    assert_eq!(bound(10_000, 1_000_000, 120), Some(Bound::Compute));
    // Both, one after the other.
    assert_eq!(bound(90_000, 1_000_000, 200), Some(Bound::Compute));
    assert_eq!(bound(10, 10, 5), Some(Bound::Latency));
}

#[test]
fn a_device_without_roofs_has_no_fractions() {
    let measured = Measured {
        roofs: None,
        ..measured(2, &[1])
    };
    let profile = profile(&about(2, 2), &measured);
    assert!(profile.roofs.is_none() && profile.not_observed.contains_key("roofs"));
    for op in &profile.ops {
        assert!(op.roof_fraction.is_none() && op.bound.is_none() && op.gap_us.is_none());
    }
    assert!(profile.totals.floor_us.is_none());
}

#[test]
fn a_slice_tells_the_whole() {
    for layers in [2, 4] {
        let profile = profile(&about(layers, 24), &measured(layers, &[1, 1]));
        let whole = profile.whole_model.expect("a slice");
        let (ops, (start, end)) = step(0, 24, 1);
        near(whole.step_us, (end - start).as_secs_f64() * 1e6);
        assert_eq!(whole.layers, 24);
        let down = whole.ops.iter().find(|op| op.name == "down").unwrap();
        near(down.us, 23.0 * 40.0 + 10.0);
        assert_eq!(down.calls, 24);
        let shares: f64 = whole.ops.iter().map(|op| op.share).sum();
        near(shares + whole.host_us / whole.step_us, 1.0);
        assert_eq!(
            whole.ops.iter().map(|op| op.calls).sum::<u64>(),
            ops.len() as u64
        );
    }
    let profile = profile(&about(1, 24), &measured(1, &[1]));
    assert!(profile.whole_model.is_none());
    assert!(profile.not_observed["whole_model"].contains("--layers"));
}

#[test]
fn ranks_share_the_roofs_and_wait_for_the_last() {
    let first = Tape::from(0)
        .op("qkv", Some(0), 0, 30)
        .op("all_reduce", Some(0), 0, 25);
    let second = Tape::from(0)
        .op("qkv", Some(0), 0, 50)
        .op("all_reduce", Some(0), 0, 5);
    let measured = Measured {
        steps: vec![(us(0), us(60))],
        timelines: vec![first.ops, second.ops],
        roofs: Some(ROOFS),
        ..Measured::default()
    };
    let profile = profile(&about(1, 1), &measured);
    assert_eq!(profile.tp, 2);
    let all_reduce = row(&profile, "all_reduce");
    near(all_reduce.us, 25.0);
    near(all_reduce.wait_us.unwrap(), 20.0);
    assert_eq!(all_reduce.ranks_us, Some([5.0, 25.0]));
    let qkv = row(&profile, "qkv");
    assert_eq!((qkv.ranks_us, qkv.wait_us), (Some([30.0, 50.0]), None));
    // Each rank has half of the roof.
    near(qkv.roof_fraction.unwrap(), 1.0);
    near(profile.host_us, 5.0);
    let waits: Vec<f64> = profile.ranks.iter().map(|rank| rank.wait_us).collect();
    assert_eq!(waits, [20.0, 0.0]);
    near(profile.ranks[1].busy_us, 55.0);
}

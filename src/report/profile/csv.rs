//! One line an operation of every load, then the host's gap and the step.

use crate::profile::{OpRow, Profile};
use crate::report::csv::quoted;

const LOAD: [&str; 7] = [
    "model", "device", "phase", "batch", "context", "tp", "layers",
];
const COLUMNS: [&str; 16] = [
    "name",
    "calls",
    "us",
    "call_us",
    "share",
    "bytes",
    "flops",
    "gb_s",
    "gflop_s",
    "roof_fraction",
    "bound",
    "floor_us",
    "gap_us",
    "fastest_rank_us",
    "slowest_rank_us",
    "wait_us",
];

/// Cells of one line, by `COLUMNS`.
type Line = [String; COLUMNS.len()];

/// Full precision; empty where there is no value.
pub fn csv(profiles: &[Profile]) -> String {
    let mut out = format!("{},{}\n", LOAD.join(","), COLUMNS.join(","));
    for profile in profiles {
        let load: [String; LOAD.len()] = [
            quoted(&profile.model),
            quoted(&profile.device),
            profile.phase.to_string(),
            profile.batch.to_string(),
            profile.context.to_string(),
            profile.tp.to_string(),
            profile.layers.to_string(),
        ];
        let load = load.join(",");
        let ops = profile.ops.iter().map(operation);
        for line in ops.chain([host(profile), step(profile)]) {
            out.push_str(&format!("{load},{}\n", line.join(",")));
        }
    }
    out
}

fn operation(op: &OpRow) -> Line {
    let [fastest, slowest] = op.ranks_us.map_or([None; 2], |range| range.map(Some));
    [
        op.name.clone(),
        op.calls.to_string(),
        op.us.to_string(),
        op.call_us.to_string(),
        op.share.to_string(),
        op.bytes.to_string(),
        op.flops.to_string(),
        op.gb_s.to_string(),
        op.gflop_s.to_string(),
        value(op.roof_fraction),
        op.bound.map_or(String::new(), |bound| bound.to_string()),
        value(op.floor_us),
        value(op.gap_us),
        value(fastest),
        value(slowest),
        value(op.wait_us),
    ]
}

fn host(profile: &Profile) -> Line {
    named("host", |column| match column {
        "us" => Some(profile.host_us),
        "share" => Some(profile.host_share),
        _ => None,
    })
}

fn step(profile: &Profile) -> Line {
    let totals = &profile.totals;
    named("step", |column| match column {
        "us" => Some(profile.step_us),
        "share" => Some(1.0),
        "bytes" => Some(totals.bytes as f64),
        "flops" => Some(totals.flops as f64),
        "gb_s" => Some(totals.gb_s),
        "gflop_s" => Some(totals.gflop_s),
        "roof_fraction" => totals.roof_fraction,
        "floor_us" => totals.floor_us,
        "gap_us" => totals.gap_us,
        _ => None,
    })
}

fn named(name: &str, number: impl Fn(&str) -> Option<f64>) -> Line {
    COLUMNS.map(|column| match column {
        "name" => name.to_owned(),
        column => value(number(column)),
    })
}

fn value(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

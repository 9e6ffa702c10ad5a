//! The console table of a profile, and one line a load where there are several.

use super::cells::{MEGA, MILLI, NOT_OBSERVED, aligned, fixed, optional, percent};
use super::kernels;
use crate::ground::results::Kind;
use crate::profile::{OpRow, Profile};
use crate::report::columns;
use crate::report::layout::wrap;
use crate::report::number::number;

/// Cells of a line: an operation's name, then numbers.
const COLUMNS: usize = 12;
const HEAD: [[&str; COLUMNS]; 2] = [
    [
        "operation",
        "calls",
        "us",
        "ms",
        "of the",
        "MB",
        "MFLOP",
        "GB/s",
        "GFLOP/s",
        "of its",
        "bound",
        "ms above",
    ],
    [
        "",
        "",
        "a call",
        "a step",
        "step",
        "",
        "",
        "",
        "",
        "roof",
        "by",
        "its floor",
    ],
];
/// No value for this line.
const NONE: &str = "";
/// Columns of the table of several ranks.
const RANK_COLUMNS: usize = 4;
/// Columns of the table of several loads.
const SWEEP_COLUMNS: usize = 9;

/// Every load in full, then all of them beside each other.
pub fn text(profiles: &[Profile], width: usize) -> String {
    let mut out = String::new();
    for profile in profiles {
        one(&mut out, profile, width);
    }
    if profiles.len() > 1 {
        sweep(&mut out, profiles, width);
    }
    out
}

/// Of a profile whose device only computes what a GPU would.
const NOT_MEASURED: &str =
    "virtual GPU: counts, bytes and FLOPs are real, no time or rate here is a measurement";

fn one(out: &mut String, profile: &Profile, width: usize) {
    title(out, profile, width);
    out.push('\n');
    let mut lines = HEAD.map(|head| head.map(str::to_owned)).to_vec();
    lines.extend(profile.ops.iter().map(operation));
    lines.push(host(profile));
    lines.push(step(profile));
    aligned(out, &lines, width);
    out.push('\n');
    kernels::table(out, profile, width);
    if profile.tp > 1 {
        ranks(out, profile, width);
    }
    for remark in remarks(profile) {
        wrap(out, &remark, width);
    }
    out.push('\n');
}

fn title(out: &mut String, profile: &Profile, width: usize) {
    let Profile {
        model,
        device,
        hardware,
        threads,
        tp,
        phase,
        batch,
        context,
        steps,
        step_us_range: [fastest, slowest],
        ..
    } = profile;
    let kind = columns::kind(profile.kind);
    let threads = match profile.kind {
        Kind::Measured => format!(", {threads} threads"),
        _ => String::new(),
    };
    let lines = [
        format!("{model} on {device}: {hardware}, tp {tp}{threads}"),
        format!(
            "{kind}: {phase}, batch {batch}, context {context}: {} ms a step, {} tokens/s ({steps} steps, {} to {} ms)",
            number(profile.step_us / MILLI),
            number(profile.tokens_per_s),
            number(fastest / MILLI),
            number(slowest / MILLI),
        ),
        match profile.roofs {
            Some(roofs) => format!(
                "roofs {}: read {} GB/s, multiply-add {} GFLOP/s",
                match profile.kind {
                    Kind::Predicted => "of the data sheet",
                    _ => "of this run",
                },
                number(roofs.read_gb_s),
                number(roofs.gflop_s)
            ),
            None => "roofs: not observed".to_owned(),
        },
    ];
    if profile.kind == Kind::Virtual {
        wrap(out, NOT_MEASURED, width);
    }
    lines.iter().for_each(|line| wrap(out, line, width));
}

fn operation(op: &OpRow) -> [String; COLUMNS] {
    [
        op.name.clone(),
        op.calls.to_string(),
        fixed(op.call_us, 1),
        fixed(op.us / MILLI, 3),
        percent(op.share),
        fixed(op.bytes as f64 / MEGA, 2),
        fixed(op.flops as f64 / MEGA, 1),
        fixed(op.gb_s, 1),
        fixed(op.gflop_s, 1),
        optional(op.roof_fraction, percent),
        op.bound
            .map_or(NOT_OBSERVED.to_owned(), |bound| bound.to_string()),
        optional(op.gap_us, |us| fixed(us / MILLI, 3)),
    ]
}

fn host(profile: &Profile) -> [String; COLUMNS] {
    let mut line = [NONE; COLUMNS].map(str::to_owned);
    line[0] = "host".to_owned();
    line[3] = fixed(profile.host_us / MILLI, 3);
    line[4] = percent(profile.host_share);
    line[COLUMNS - 1] = fixed(profile.host_us / MILLI, 3);
    line
}

fn step(profile: &Profile) -> [String; COLUMNS] {
    let totals = &profile.totals;
    [
        "step".to_owned(),
        NONE.to_owned(),
        NONE.to_owned(),
        fixed(profile.step_us / MILLI, 3),
        percent(totals.us / profile.step_us),
        fixed(totals.bytes as f64 / MEGA, 2),
        fixed(totals.flops as f64 / MEGA, 1),
        fixed(totals.gb_s, 1),
        fixed(totals.gflop_s, 1),
        optional(totals.roof_fraction, percent),
        NONE.to_owned(),
        optional(totals.gap_us, |us| fixed(us / MILLI, 3)),
    ]
}

/// How evenly the ranks share the work, and what they wait for.
fn ranks(out: &mut String, profile: &Profile, width: usize) {
    let heads = ["operation", "fastest rank", "slowest rank", "rank 0 waits"];
    let mut lines = vec![heads.map(str::to_owned)];
    let ms = |us: f64| format!("{} ms", fixed(us / MILLI, 3));
    for op in &profile.ops {
        let [fastest, slowest] = op.ranks_us.unwrap_or([op.us; 2]);
        let wait = op.wait_us.map_or(String::new(), ms);
        let cells: [String; RANK_COLUMNS] = [op.name.clone(), ms(fastest), ms(slowest), wait];
        lines.push(cells);
    }
    aligned(out, &lines, width);
    out.push('\n');
    for rank in &profile.ranks {
        let line = format!(
            "rank {}: busy {}, of that {} in exchanges, of that {} waiting for the last rank",
            rank.rank,
            ms(rank.busy_us),
            ms(rank.exchange_us),
            ms(rank.wait_us)
        );
        wrap(out, &line, width);
    }
}

/// What the numbers point at.
fn remarks(profile: &Profile) -> Vec<String> {
    let mut remarks = Vec::new();
    if let (Some((op, gap)), Some(floor)) = (widest_gap(profile), profile.totals.floor_us) {
        remarks.push(format!(
            "floor of the step: {} ms; widest gap: {}, {} ms ({} of the step)",
            number(floor / MILLI),
            op.name,
            number(gap / MILLI),
            percent(gap / profile.step_us)
        ));
    }
    if let Some(whole) = &profile.whole_model {
        remarks.push(format!(
            "all {} layers: {} ms a step, {} tokens/s, worked out from the {} that ran",
            whole.layers,
            number(whole.step_us / MILLI),
            number(whole.tokens_per_s),
            profile.layers
        ));
    }
    let counted = profile.counters.iter();
    let counted = counted.filter_map(|(name, count)| Some(format!("{name} {}", number((*count)?))));
    let counted: Vec<String> = counted.collect();
    if !counted.is_empty() {
        remarks.push(format!("events of a step: {}", counted.join(", ")));
    }
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    let events = profile.not_observed.iter();
    for (name, reason) in events.filter_map(|(n, r)| Some((n.strip_prefix("counters.")?, r))) {
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    for (reason, names) in reasons {
        remarks.push(format!("not observed ({reason}): {}", names.join(", ")));
    }
    remarks
}

/// The operation that is furthest above its floor, and how far, in microseconds; `None` without roofs.
fn widest_gap(profile: &Profile) -> Option<(&OpRow, f64)> {
    let gaps = profile.ops.iter().filter_map(|op| Some((op, op.gap_us?)));
    gaps.max_by(|(_, a), (_, b)| a.total_cmp(b))
}

fn sweep(out: &mut String, profiles: &[Profile], width: usize) {
    let heads = [
        "phase",
        "batch",
        "context",
        "ms a step",
        "tokens/s",
        "GB/s",
        "GFLOP/s",
        "of its roof",
        "widest gap",
    ];
    let mut lines = vec![heads.map(str::to_owned)];
    for profile in profiles {
        let cells: [String; SWEEP_COLUMNS] = [
            profile.phase.to_string(),
            profile.batch.to_string(),
            profile.context.to_string(),
            number(profile.step_us / MILLI),
            number(profile.tokens_per_s),
            fixed(profile.totals.gb_s, 1),
            fixed(profile.totals.gflop_s, 1),
            optional(profile.totals.roof_fraction, percent),
            widest_gap(profile).map_or(String::new(), |(op, _)| op.name.clone()),
        ];
        lines.push(cells);
    }
    aligned(out, &lines, width);
}

//! The answer of each load, a line.

use super::load::Load;
use crate::metrics::repeats::spread;
use crate::report::layout::{GAP, blocks, chars, push_right};
use crate::report::number::number;

const OUTPUT: &str = "output_throughput";
const PER_GPU: &str = "output_throughput_per_gpu";
const BYTES: &str = "achieved_bytes_per_s_per_gpu";
const FLOP: &str = "achieved_flop_per_s_per_gpu";
const POWER: &str = "avg_gpu_power_watts";
const ENERGY: &str = "energy_per_output_token_j";
const USD: [&str; 2] = [
    "usd_per_million_input_tokens",
    "usd_per_million_output_tokens",
];
const GOODPUT: &str = "request_goodput";
const ATTAINMENT: &str = "goodput_attainment_percent";
const BANDWIDTH: &str = "bandwidth_utilization_percent";
const FLOPS: &str = "flop_utilization_percent";
const TTFT: [&str; 2] = ["p50_ttft_ms", "p95_ttft_ms"];
const TPOT: [&str; 2] = ["p50_tpot_ms", "p95_tpot_ms"];

const GIGA: f64 = 1e9;
const TERA: f64 = 1e12;
const MS: f64 = 1e3;
/// From here a latency is easier read in seconds.
const LONG_MS: f64 = 1e4;
const WHOLE: f64 = 100.0;
const ABSENT: &str = "-";
/// Marks a percentile that comes from too few values to be trusted.
const UNCERTAIN: &str = "~";
/// Behind the rule that a percentile misses stands by how much: the load's own affair.
const COUNTED: &str = ", there are";

struct Column {
    head: [&'static str; 2],
    cells: Vec<String>,
}

/// What cells refer to below.
#[derive(Default)]
struct Notes {
    absent: Vec<String>,
    uncertain: bool,
    above_roof: bool,
    interval: bool,
}

/// Writes the lines, in as many blocks as `width` needs; gives the footnote of what they show.
pub(super) fn answers(out: &mut String, loads: &[Load], width: usize) -> Option<String> {
    let mut notes = Notes::default();
    let columns = columns(loads, &mut notes);
    let labels: Vec<String> = loads.iter().map(label).collect();
    let label_width = labels.iter().map(|label| chars(label)).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let room = width.saturating_sub(label_width);
    for (index, block) in blocks(&widths, GAP, room).into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let mut line = |label: &str, cell: &dyn Fn(&Column) -> &str| {
            let mut text = format!("{label:label_width$}");
            for column in block.clone() {
                push_right(&mut text, cell(&columns[column]), widths[column]);
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line("", &|column| column.head[0]);
        line("", &|column| column.head[1]);
        for (row, label) in labels.iter().enumerate() {
            line(label, &|column| &column.cells[row]);
        }
    }
    notes.line(loads)
}

impl Column {
    fn width(&self) -> usize {
        let heads = self.head.iter().map(|head| chars(head));
        let cells = self.cells.iter().map(|cell| chars(cell));
        heads.chain(cells).max().unwrap_or(0)
    }
}

/// The load, how often it was played, and what it is if it was not measured whole.
fn label(load: &Load) -> String {
    let plays = match load.plays.len() {
        1 => String::new(),
        plays => format!(" x{plays}"),
    };
    let words = match load.words.is_empty() {
        true => String::new(),
        false => format!(" {}", load.words.join(", ")),
    };
    format!("{}{plays}{words}", load.name)
}

fn columns(loads: &[Load], notes: &mut Notes) -> Vec<Column> {
    let seen = |metric: &str| loads.iter().any(|load| load.mean(metric).is_some());
    let mut columns = vec![Column {
        head: ["output", "tok/s"],
        cells: loads.iter().map(|load| output(load, notes)).collect(),
    }];
    let mut add = |head, metric, scale, unit: &str| {
        let cell = |load| cell(load, metric, scale, unit, notes);
        let cells = loads.iter().map(cell).collect();
        columns.push(Column { head, cells });
    };
    // One GPU's is the output.
    let split = loads.iter().any(|l| l.mean(PER_GPU) != l.mean(OUTPUT));
    if seen(PER_GPU) && split {
        add(["tok/s", "per GPU"], PER_GPU, 1.0, "");
    }
    let long = loads.iter().flat_map(|load| TTFT.map(|p| load.mean(p)));
    match long.flatten().any(|ms| ms >= LONG_MS) {
        true => {
            add(["TTFT", "p50 s"], TTFT[0], MS, "");
            add(["TTFT", "p95 s"], TTFT[1], MS, "");
        }
        false => {
            add(["TTFT", "p50 ms"], TTFT[0], 1.0, "");
            add(["TTFT", "p95 ms"], TTFT[1], 1.0, "");
        }
    }
    add(["TPOT", "p50 ms"], TPOT[0], 1.0, "");
    add(["TPOT", "p95 ms"], TPOT[1], 1.0, "");
    if loads.iter().any(|l| l.plays[0].scenario.goodput.is_some()) {
        add(["goodput", "req/s"], GOODPUT, 1.0, "");
        add(["SLO", "met"], ATTAINMENT, 1.0, "%");
    }
    if loads
        .iter()
        .any(|l| l.plays[0].scenario.price_per_hour.is_some())
    {
        add(["$/Mtok", "in"], USD[0], 1.0, "");
        add(["$/Mtok", "out"], USD[1], 1.0, "");
    }
    if loads.iter().all(|load| load.plays[0].gpus.is_empty()) {
        columns.push(Column {
            head: ["of the", "roof"],
            cells: loads.iter().map(|load| roof(load, notes)).collect(),
        });
        return columns;
    }
    add(["W", "per GPU"], POWER, 1.0, "");
    add(["energy", "J/tok"], ENERGY, 1.0, "");
    add(["GB/s", "per GPU"], BYTES, GIGA, "");
    add(["MBU", "of roof"], BANDWIDTH, 1.0, "%");
    add(["TFLOP/s", "per GPU"], FLOP, TERA, "");
    add(["MFU", "of roof"], FLOPS, 1.0, "%");
    let above = |load: &Load, metric| load.mean(metric).is_some_and(|share| share > WHOLE);
    notes.above_roof |= loads
        .iter()
        .any(|load| above(load, BANDWIDTH) || above(load, FLOPS));
    columns
}

fn cell(load: &Load, metric: &str, scale: f64, unit: &str, notes: &mut Notes) -> String {
    let Some(value) = load.mean(metric) else {
        return notes.absent(load, metric);
    };
    let uncertain = load.is_uncertain(metric);
    notes.uncertain |= uncertain;
    let mark = if uncertain { UNCERTAIN } else { "" };
    format!("{}{unit}{mark}", number(value / scale))
}

/// With half of its interval where there were repeats enough for one.
fn output(load: &Load, notes: &mut Notes) -> String {
    let Some(values) = load.each(OUTPUT) else {
        return notes.absent(load, OUTPUT);
    };
    match spread(&values) {
        Some(spread) => {
            notes.interval = true;
            let half = spread.ci95_high - spread.mean;
            format!("{} ±{}", number(spread.mean), number(half))
        }
        None => cell(load, OUTPUT, 1.0, "", notes),
    }
}

/// The nearer of the two limits: it binds.
fn roof(load: &Load, notes: &mut Notes) -> String {
    let (bandwidth, flops) = (load.mean(BANDWIDTH), load.mean(FLOPS));
    let (share, what) = match (bandwidth, flops) {
        (Some(bandwidth), Some(flops)) if flops > bandwidth => (flops, "FLOP"),
        (Some(bandwidth), _) => (bandwidth, "BW"),
        (None, Some(flops)) => (flops, "FLOP"),
        (None, None) => return notes.absent(load, BANDWIDTH),
    };
    notes.above_roof |= share > WHOLE;
    match share < 1.0 {
        true => format!("{}% {what}", number(share)),
        false => format!("{share:.0}% {what}"),
    }
}

impl Notes {
    fn absent(&mut self, load: &Load, metric: &str) -> String {
        let reason = load.reason(metric).unwrap_or("no reason is known");
        let reason = reason.split(COUNTED).next().unwrap_or(reason).to_owned();
        if !self.absent.contains(&reason) {
            self.absent.push(reason);
        }
        ABSENT.to_owned()
    }

    /// All in one line: what is not on the screen needs no word.
    fn line(self, loads: &[Load]) -> Option<String> {
        let mut parts = Vec::new();
        if !self.absent.is_empty() {
            parts.push(format!(
                "{ABSENT} not observed ({})",
                self.absent.join(", ")
            ));
        }
        if self.uncertain {
            parts.push(format!("{UNCERTAIN} too few requests to be trusted"));
        }
        if self.above_roof {
            parts.push("above 100%: the roof was measured too low".to_owned());
        }
        if loads.iter().any(|load| load.plays.len() > 1) {
            parts.push("xN: mean of N plays".to_owned());
        }
        if self.interval {
            parts.push("± 95% interval".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

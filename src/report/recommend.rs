//! What is recommended, for a reader: a table, the commands of the first layout, and in Markdown those of all.

use std::fmt::Write;

use super::capacity::objective;
use super::layout::{GAP, chars, wrapped};
use super::number::number;
use crate::parallel::Split;
use crate::recommend::{Commands, Demand, Miss, Recommendation, Recommended, placed};

const HEADS: [&str; 10] = [
    "", "GPUs", "tp", "copies", "$/h", "TTFT ms", "TPOT ms", "tok/s", "$/Mtok", "most",
];
/// Column of words; the others are figures.
const GPUS: usize = 1;
/// Before the later lines of a command.
const CONTINUED: &str = "    ";

/// At most `width` wide, but for a table or a word that is wider by itself.
pub fn text(found: &Recommendation, width: usize) -> String {
    let mut out = String::new();
    let mut say = |line: &str| out += &wrapped(line, 0, GAP, width);
    say(&title(found));
    say(&engine(found));
    say(&count(found));
    out.push('\n');
    if let Some(first) = found.layouts.first() {
        out += &table(&rows(found));
        let line = format!("\nThe first, {}, is started by one of", place(first));
        out += &wrapped(&line, 0, 0, width);
        for (name, line) in commands(&first.command) {
            let _ = write!(out, "\n{name}\n{}\n", continued(line, width));
        }
        for (name, reason) in &first.absent {
            out.push('\n');
            out += &wrapped(&format!("{name}: none: {reason}"), 0, GAP, width);
        }
        out.push('\n');
        out += &wrapped(&legend(found), 0, 0, width);
    }
    if let Some(miss) = &found.nearest {
        missed(miss)
            .iter()
            .for_each(|line| out += &wrapped(line, 0, GAP, width));
    }
    for note in &found.notes {
        out += &wrapped(&format!("note: {note}"), 0, GAP, width);
    }
    out
}

/// With the commands of every layout.
pub fn markdown(found: &Recommendation) -> String {
    let mut out = format!(
        "{}  \n{}  \n{}\n\n",
        title(found),
        engine(found),
        count(found)
    );
    if !found.layouts.is_empty() {
        let rows = rows(found);
        for (index, row) in rows.iter().enumerate() {
            let _ = writeln!(out, "| {} |", row.join(" | "));
            if index == 0 {
                let rule = |column| if column == GPUS { "---" } else { "---:" };
                let rules: Vec<&str> = (0..HEADS.len()).map(rule).collect();
                let _ = writeln!(out, "| {} |", rules.join(" | "));
            }
        }
        let _ = write!(out, "\n{}\n", legend(found));
    }
    for (index, layout) in found.layouts.iter().enumerate() {
        let _ = write!(out, "\n**{}. {}**\n\n```bash\n", index + 1, place(layout));
        for (name, line) in commands(&layout.command) {
            let _ = writeln!(out, "# {name}\n{line}");
        }
        out += "```\n";
    }
    if let Some(miss) = &found.nearest {
        out += &missed(miss).join("  \n");
        out.push('\n');
    }
    out.push('\n');
    for note in &found.notes {
        let _ = writeln!(out, "- {note}");
    }
    out
}

fn title(found: &Recommendation) -> String {
    let target = &found.target;
    let demand = match target.demand {
        Demand::Concurrency(1) => "1 request in flight".to_owned(),
        Demand::Concurrency(requests) => format!("{requests} requests in flight"),
        Demand::RequestRate(rate) => format!("{} requests/s", number(rate)),
    };
    format!(
        "{}: {demand}, {} tokens in and {} out, a context of {}",
        found.model, target.input_len, target.output_len, target.context
    )
}

fn engine(found: &Recommendation) -> String {
    let engine = match &found.vllm_rules_since {
        Some(since) => format!("vLLM (rules of {since} and later)"),
        None => found.engine.clone(),
    };
    let limits = found.objective.as_ref().map(objective);
    let price = found.max_price.map(|most| format!("at most ${most}/h"));
    let parts = [Some(engine), limits, price];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn count(found: &Recommendation) -> String {
    let (tried, room) = (found.tried, found.with_room);
    let of = format!("of {tried} that were tried ({room} have room for it)");
    match found.layouts.len() {
        0 => format!("no layout holds it, {of}"),
        1 => format!("1 layout, {of}"),
        n => format!("{n} layouts, cheapest first, {of}"),
    }
}

fn place(layout: &Recommended) -> String {
    let split = Split {
        tp: layout.tp,
        expert_parallel: layout.expert_parallel,
    };
    placed(layout.gpus, &layout.gpu, split, layout.pp, layout.replicas)
}

fn legend(found: &Recommendation) -> String {
    let predicted = found
        .layouts
        .iter()
        .find_map(|layout| layout.predicted.as_ref());
    let percentile = predicted.map_or(String::new(), |predicted| {
        format!("TTFT and TPOT: predicted, at p{}. ", predicted.percentile)
    });
    let most = match found.target.demand {
        Demand::Concurrency(_) => "requests in flight",
        Demand::RequestRate(_) => "requests a second",
    };
    format!(
        "{percentile}most: {most} up to which all limits are kept, and what ends there; + where the search did (at four times the load)."
    )
}

/// The head among them.
fn rows(found: &Recommendation) -> Vec<[String; HEADS.len()]> {
    let layouts = found.layouts.iter().enumerate();
    let rows = layouts.map(|(index, layout)| row(index + 1, layout));
    [HEADS.map(str::to_owned)].into_iter().chain(rows).collect()
}

fn row(rank: usize, layout: &Recommended) -> [String; HEADS.len()] {
    let dash = || "-".to_owned();
    let usd = |value: Option<f64>| value.map_or_else(dash, |usd| format!("{usd:.2}"));
    let predicted = layout.predicted.as_ref();
    let figure = |value: Option<f64>| value.map_or_else(dash, number);
    let experts = match layout.expert_parallel {
        true => " ep",
        false => "",
    };
    let stages = match layout.pp {
        1 => String::new(),
        n => format!(" pp {n}"),
    };
    let most = predicted.and_then(|predicted| {
        let most = predicted.capacity?;
        let most = match most.fract() == 0.0 {
            true => most.to_string(),
            false => number(most),
        };
        Some(match &predicted.bound_by {
            Some(bound) => format!("{most} {bound}"),
            None => format!("{most}+"),
        })
    });
    [
        rank.to_string(),
        format!("{} x {}", layout.gpus, layout.gpu),
        format!("{}{stages}{experts}", layout.tp),
        layout.replicas.to_string(),
        usd(layout.price_per_hour),
        figure(predicted.and_then(|predicted| predicted.ttft_ms)),
        figure(predicted.and_then(|predicted| predicted.tpot_ms)),
        figure(predicted.and_then(|predicted| predicted.output_throughput)),
        usd(layout.usd_per_million_output_tokens),
        most.unwrap_or_else(dash),
    ]
}

fn table(rows: &[[String; HEADS.len()]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| chars(&row[column]))
            .max()
            .unwrap_or(0)
    };
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let (width, gap) = (width(column), if column == 0 { 0 } else { 1 });
            let _ = match column {
                GPUS => write!(out, "{:gap$}{cell:<width$}", ""),
                _ => write!(out, "{:gap$}{cell:>width$}", ""),
            };
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

fn commands(all: &Commands) -> Vec<(&'static str, &str)> {
    let named = [
        ("vllm", &all.vllm),
        ("sglang", &all.sglang),
        ("llama_server", &all.llama_server),
        ("candlepower", &all.candlepower),
        ("simulated", &all.simulated),
    ];
    let there = named.into_iter();
    there
        .filter_map(|(name, line)| Some((name, line.as_deref()?)))
        .collect()
}

/// Broken before flags, as a shell reads on behind a backslash; a line with quotes is left as it is.
fn continued(line: &str, width: usize) -> String {
    if line.contains('\'') {
        return line.to_owned();
    }
    let mut lines = vec![String::new()];
    let mut part = String::new();
    let mut place = |part: &mut String| {
        let part = std::mem::take(part);
        if let Some(last) = lines.last_mut() {
            // A space, and the backslash with one before it.
            if !last.is_empty() && chars(last) + 1 + chars(&part) + 2 > width {
                last.push_str(" \\");
                lines.push(format!("{CONTINUED}{part}"));
            } else {
                last.push_str(if last.is_empty() { "" } else { " " });
                last.push_str(&part);
            }
        }
    };
    for word in line.split(' ') {
        if word.starts_with('-') && !part.is_empty() {
            place(&mut part);
        }
        part.push_str(if part.is_empty() { "" } else { " " });
        part.push_str(word);
    }
    place(&mut part);
    lines.join("\n")
}

fn missed(miss: &Miss) -> Vec<String> {
    let mut lines = vec![format!("nearest: {}: {}", miss.layout, miss.reason)];
    if !miss.changes.is_empty() {
        lines.push(format!("it would hold with {}", miss.changes.join(", or ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_goes_on_behind_a_backslash() {
        let line = "vllm serve some/model --tensor-parallel-size 2 --max-model-len 4096 -x";
        let broken = continued(line, 40);
        assert_eq!(
            broken,
            "vllm serve some/model \\\n    --tensor-parallel-size 2 \\\n    --max-model-len 4096 -x"
        );
        assert_eq!(broken.replace(" \\\n   ", ""), line);
        assert!(broken.lines().all(|line| chars(line) <= 40));
        assert_eq!(continued("a 'b - c' --d", 4), "a 'b - c' --d");
    }
}

//! The console table: metrics down, runs across, in as many blocks as the width needs.

use std::fmt::Write;
use std::ops::Range;

use super::gpus;
use super::grid::{Grid, Section, grid};
use super::layout::{GAP, blocks, chars, push_right, wrap};
use super::number::{number, superscript};
use crate::ground::results::{Kind, Results, Run, StartUp, WeightSource};

/// A column is never narrower.
const NARROWEST: usize = 9;

/// Everything of `results` that a reader wants first, at most `width` characters wide where a
/// column allows it.
pub fn table(results: &Results, width: usize) -> String {
    let grid = grid(results);
    let mut out = String::new();
    for line in title(results).lines() {
        wrap(&mut out, line, width);
    }
    let labels = labels(&grid);
    let widths: Vec<usize> = (0..grid.heads.len())
        .map(|c| column_width(&grid, c))
        .collect();
    for block in blocks(&widths, GAP, width.saturating_sub(labels.total())) {
        out.push('\n');
        head(&mut out, &grid, &labels, &widths, block.clone());
        for section in &grid.sections {
            let _ = writeln!(out, "{}", section.title);
            rows(&mut out, section, &labels, &widths, block.clone());
        }
    }
    out.push('\n');
    for section in &grid.sections {
        for (reason, names) in &section.not_observed {
            let text = format!("not observed ({reason}): {}", names.join(", "));
            wrap(&mut out, &text, width);
        }
    }
    for (index, note) in grid.footnotes.iter().enumerate() {
        wrap(
            &mut out,
            &format!("{} {note}", superscript(index + 1)),
            width,
        );
    }
    for remark in &grid.remarks {
        wrap(&mut out, remark, width);
    }
    for line in closing(results) {
        wrap(&mut out, &line, width);
    }
    out
}

/// Model, machine and method, in four lines.
pub(super) fn title(results: &Results) -> String {
    let (model, engine, hardware) = (&results.model, &results.engine, &results.hardware);
    let layers = match model.num_hidden_layers == model.model_layers {
        true => format!("{} layers", model.num_hidden_layers),
        false => format!(
            "first {} of {} layers",
            model.num_hidden_layers, model.model_layers
        ),
    };
    let weights = match model.weights {
        WeightSource::Dummy if results.kind == Kind::Predicted => "shapes",
        WeightSource::Dummy => "dummy weights",
        WeightSource::Checkpoint => "checkpoint",
    };
    let format = match (&model.quantization, engine.activation_scheme.as_deref()) {
        (None, _) => model.dtype.clone(),
        (Some(method), Some("dynamic")) => {
            format!("{method} (activations too) and {}", model.dtype)
        }
        (Some(method), _) => format!("{method} and {}", model.dtype),
    };
    let split = match engine.expert_parallel {
        true => format!("{} with whole experts", engine.tp),
        false => engine.tp.to_string(),
    };
    let cut_short = if results.partial { ", cut short" } else { "" };
    format!(
        "{} ({}, {weights} in {format}) on {}: {}\n\
         {} scheduler, {} seqs, {} batched tokens, tp {split}, seed {}\n\
         KV {} blocks of {} tokens in {}, prefix cache {}\n\
         {}{cut_short}, candlepower {}, {}\n",
        model.name,
        layers,
        hardware.device,
        hardware.name,
        engine.scheduler,
        engine.max_num_seqs,
        engine.max_num_batched_tokens,
        engine.seed,
        engine.num_kv_blocks,
        engine.block_size,
        engine.kv_cache_dtype,
        if engine.prefix_cache { "on" } else { "off" },
        kind(results),
        results.environment.candlepower,
        results.environment.time,
    )
}

/// Whose numbers these are.
fn kind(results: &Results) -> String {
    let kind = super::columns::kind(results.kind);
    match (results.kind, &results.engine.server) {
        (Kind::Predicted, None) => format!("{kind}: raw capacity in virtual time"),
        (Kind::Predicted, Some(server)) => {
            format!(
                "{kind}: in virtual time, {}",
                super::columns::behind(server)
            )
        }
        (Kind::Virtual, _) => format!("{kind} GPU: computed for real, no time is a measurement"),
        _ => kind.to_owned(),
    }
}

/// The start, repeats, GPUs one by one, failures by reason, and checks.
pub(super) fn closing(results: &Results) -> Vec<String> {
    let assumed = results.model.assumptions.iter();
    let assumed = assumed.map(|sentence| format!("assumed: {sentence}"));
    let mut lines: Vec<String> = start_up(&results.start_up)
        .into_iter()
        .chain(assumed)
        .collect();
    for repeats in &results.repeats {
        let load = repeats
            .concurrency
            .map_or(String::new(), |c| format!(" c{c}"));
        for (name, spread) in &repeats.metrics {
            lines.push(format!(
                "{}{load}, {} repeats: {name} {} (95 % interval {} to {})",
                repeats.scenario,
                repeats.runs,
                number(spread.mean),
                number(spread.ci95_low),
                number(spread.ci95_high),
            ));
        }
    }
    for run in &results.runs {
        let name = label(run);
        lines.extend(gpus::lines(run).map(|gpu| format!("{name}: {gpu}")));
        lines.extend(failures(run).into_iter().map(|f| format!("{name}: {f}")));
        let broken = run.checks.iter().filter(|check| !check.ok);
        lines.extend(broken.map(|c| format!("{name}: CHECK FAILED {}: {}", c.name, c.detail)));
    }
    let checks = results.runs.iter().flat_map(|run| &run.checks);
    let (passed, all) = checks.fold((0, 0), |(passed, all), check| {
        (passed + usize::from(check.ok), all + 1)
    });
    lines.push(format!("checks: {passed} of {all} hold"));
    lines
}

/// `None`: nothing was started.
fn start_up(took: &StartUp) -> Option<String> {
    let parts = [
        ("load", took.load_s),
        ("upload", took.upload_s),
        ("warm-up", took.warm_up_s),
        ("capture", took.capture_s),
    ];
    let known = parts.into_iter();
    let known = known.filter_map(|(part, seconds)| Some(format!("{part} {} s", number(seconds?))));
    let known: Vec<String> = known.collect();
    let total = number(took.total_s?);
    Some(format!("started in {total} s: {}", known.join(", ")))
}

fn label(run: &Run) -> String {
    let scenario = &run.scenario;
    let load = scenario
        .concurrency
        .map_or(String::new(), |c| format!(" c{c}"));
    let repeat = match scenario.repeats {
        0 | 1 => String::new(),
        _ => format!(" #{}", scenario.repeat + 1),
    };
    format!("{}{load}{repeat}", scenario.name)
}

/// How many requests failed for each reason, in order of first appearance.
fn failures(run: &Run) -> Vec<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for failure in &run.failures {
        match counts
            .iter_mut()
            .find(|(reason, _)| *reason == failure.reason)
        {
            Some((_, count)) => *count += 1,
            None => counts.push((&failure.reason, 1)),
        }
    }
    let line = |(reason, count)| format!("{count} failed: {reason}");
    counts.into_iter().map(line).collect()
}

/// Widths of the two columns on the left.
struct Labels {
    name: usize,
    unit: usize,
}

impl Labels {
    fn total(&self) -> usize {
        self.name + GAP + self.unit
    }
}

fn labels(grid: &Grid) -> Labels {
    let rows = || grid.sections.iter().flat_map(|section| &section.rows);
    Labels {
        name: rows().map(|row| row.name.len()).max().unwrap_or(0),
        unit: rows().map(|row| row.unit.len()).max().unwrap_or(0),
    }
}

fn column_width(grid: &Grid, column: usize) -> usize {
    let rows = grid.sections.iter().flat_map(|section| &section.rows);
    let cells = rows.map(|row| chars(&row.cells[column]));
    let heads = grid.heads[column].iter().map(|line| chars(line));
    cells.chain(heads).max().unwrap_or(0).max(NARROWEST)
}

fn head(out: &mut String, grid: &Grid, labels: &Labels, widths: &[usize], block: Range<usize>) {
    for line in 0..2 {
        let mut text = " ".repeat(labels.total());
        for column in block.clone() {
            push_right(&mut text, &grid.heads[column][line], widths[column]);
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

fn rows(
    out: &mut String,
    section: &Section,
    labels: &Labels,
    widths: &[usize],
    block: Range<usize>,
) {
    for row in &section.rows {
        let (name, unit) = (labels.name, labels.unit);
        let mut text = format!("{:name$}{:GAP$}{:unit$}", row.name, "", row.unit);
        for column in block.clone() {
            push_right(&mut text, &row.cells[column], widths[column]);
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

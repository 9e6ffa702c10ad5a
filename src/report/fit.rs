//! The answers of `fit` for a reader.

use super::layout::wrapped;
use crate::fit::{Answer, Verdict};

/// Further lines of the arithmetic begin under its words.
const UNDER_WORDS: usize = 28;
const INDENT: usize = 2;

/// One answer in full, or several as a table with their reasons, in lines of `width`.
pub fn text(answers: &[Answer], explain: bool, width: usize) -> String {
    match answers {
        [answer] => one(answer, explain, width),
        answers => table(answers, explain, width),
    }
}

fn one(answer: &Answer, explain: bool, width: usize) -> String {
    let verdict = answer.verdict.name();
    let title = format!("{verdict}: {} on {}", answer.model, place(answer));
    let mut text = wrapped(&title, 0, INDENT, width);
    text += &wrapped(&answer.reason, INDENT, INDENT, width);
    if let Some(message) = &answer.message {
        text += &wrapped(&format!("vLLM says: {message}"), INDENT, INDENT, width);
    }
    if explain && !answer.explain.is_empty() {
        text += "\n";
        text += &arithmetic(answer, width);
    } else {
        text += &ledger(answer, width);
    }
    text += &assumed(answer, width);
    text += &record(answer, width);
    text + &fixes(answer, width)
}

/// How good such answers were.
fn record(answer: &Answer, width: usize) -> String {
    let Some(record) = &answer.record else {
        return String::new();
    };
    let errors = match (record.median_error, record.worst_error) {
        (Some(median), Some(worst)) => format!(
            "KV cache within {:.1} % at the median, {:.1} % at worst, ",
            100.0 * median,
            100.0 * worst
        ),
        _ => String::new(),
    };
    let sources = match record.sources {
        1 => "1 source".to_owned(),
        n => format!("{n} sources"),
    };
    let line = format!(
        "on {} published start-ups {} ({sources}): {errors}{} verdicts right",
        record.cases, record.alike, record.verdicts_right
    );
    wrapped(&line, INDENT, INDENT, width)
}

fn assumed(answer: &Answer, width: usize) -> String {
    let lines = answer.assumptions.iter();
    let lines = lines.map(|line| wrapped(&format!("note: {line}"), INDENT, 2 * INDENT, width));
    lines.collect()
}

/// GPUs and how the model lies on them.
fn place(answer: &Answer) -> String {
    let replicas = match answer.replicas {
        1 => String::new(),
        n => format!(", {n} replicas"),
    };
    let idle = match answer.gpus - answer.replicas * answer.tp * answer.pp {
        0 => String::new(),
        n => format!(", {n} idle"),
    };
    let stages = match answer.pp {
        1 => String::new(),
        pp => format!(", pp {pp}"),
    };
    let experts = match answer.expert_parallel {
        true => ", expert parallel",
        false => "",
    };
    let engine = match &answer.vllm_rules_since {
        None if answer.engine == "sglang" => "SGLang".to_owned(),
        None => answer.engine.to_owned(),
        Some(since) => format!("vLLM (rules of {since} and later)"),
    };
    format!(
        "{} x {}, tp {}{stages}{experts}{replicas}{idle}, {engine}",
        answer.gpus, answer.gpu, answer.tp
    )
}

fn ledger(answer: &Answer, width: usize) -> String {
    let Some(rank) = &answer.per_rank else {
        return String::new();
    };
    let rows = [
        ("memory", rank.memory_gib),
        ("budget", rank.budget_gib),
        ("weights", rank.weights_gib),
        ("activations", rank.activations_gib),
        ("overhead", rank.overhead_gib),
        ("graphs", rank.graphs_gib),
        ("KV cache", rank.kv_gib),
    ];
    let mut text = "\n  GiB on each GPU\n".to_owned();
    for (name, gib) in rows {
        text += &format!("  {name:<12} {gib:>7.2}\n");
    }
    let figures = [
        answer.kv_tokens.map(|n| format!("{n} tokens of KV cache")),
        answer
            .max_model_len_that_fits
            .map(|n| format!("longest request that fits: {n} tokens")),
        answer
            .max_concurrency
            .map(|n| format!("requests at once: {n:.2}")),
    ];
    let figures: Vec<String> = figures.into_iter().flatten().collect();
    text + &wrapped(&figures.join("; "), INDENT, INDENT, width)
}

/// Columns of a change.
const CHANGE: usize = 44;

fn fixes(answer: &Answer, width: usize) -> String {
    if answer.fixes.is_empty() {
        return match answer.verdict {
            Verdict::Fits => String::new(),
            Verdict::RunsQueued => "\n  no single change lets all of them run at once\n".to_owned(),
            _ => "\n  no change that was tried makes it fit\n".to_owned(),
        };
    }
    let mut text = match answer.fits {
        true => "\n  all at once with\n".to_owned(),
        false => "\n  fits with\n".to_owned(),
    };
    let changes = answer.fixes.iter().map(|fix| fix.change.len());
    let column = changes.fold(CHANGE, usize::max);
    for fix in &answer.fixes {
        let line = format!("{:<column$} {:>12} KV tokens", fix.change, fix.kv_tokens);
        text += &wrapped(&line, INDENT, 2 * INDENT, width);
    }
    text
}

fn table(answers: &[Answer], explain: bool, width: usize) -> String {
    let Some(first) = answers.first() else {
        return String::new();
    };
    let title = format!("{} on {} (GiB on each)", first.model, first.gpu);
    let mut text = wrapped(&title, 0, INDENT, width);
    text += &format!(
        "\n{:>4} {:>3} {:>3} {:>8} {:>6} {:>6} {:>8} {:>11} {:>9}  {}\n",
        "GPUs", "tp", "pp", "weights", "activ.", "other", "KV", "KV tokens", "at once", "verdict"
    );
    for answer in answers {
        let rank = answer.per_rank.as_ref();
        let gib = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        text += &format!(
            "{:>4} {:>3} {:>3} {:>8} {:>6} {:>6} {:>8} {:>11} {:>9}  {}\n",
            answer.gpus,
            answer.tp,
            answer.pp,
            gib(rank.map(|r| r.weights_gib)),
            gib(rank.map(|r| r.activations_gib)),
            gib(rank.map(|r| r.overhead_gib + r.graphs_gib)),
            gib(rank.map(|r| r.kv_gib)),
            answer.kv_tokens.map_or("-".to_owned(), |n| n.to_string()),
            gib(answer.max_concurrency),
            answer.verdict.name()
        );
    }
    for answer in answers {
        let gpus = match answer.gpus {
            1 => "1 GPU".to_owned(),
            n => format!("{n} GPUs"),
        };
        let line = format!("{gpus}: {}: {}", answer.verdict.name(), answer.reason);
        text += "\n";
        text += &wrapped(&line, 0, INDENT, width);
        if explain {
            text += &arithmetic(answer, width);
        }
        text += fixes(answer, width).trim_start_matches('\n');
    }
    // They are the same for each number of GPUs.
    text + &assumed(first, width)
}

fn arithmetic(answer: &Answer, width: usize) -> String {
    // Where words would have hardly any room, they hang at the side.
    let hanging = match UNDER_WORDS < width / 2 {
        true => UNDER_WORDS,
        false => 2 * INDENT,
    };
    let lines = answer.explain.iter();
    lines
        .map(|line| wrapped(line, INDENT, hanging, width))
        .collect()
}

//! The answers of `fit` for a reader.

use crate::fit::{Answer, Verdict};

/// Columns of a line: what a pipe and most terminals show.
const COLUMNS: usize = 100;
/// Further lines of the arithmetic begin under its words.
const UNDER_WORDS: usize = 28;
const INDENT: usize = 2;

/// One answer in full, or several as a table with their reasons.
pub fn text(answers: &[Answer], explain: bool) -> String {
    match answers {
        [answer] => one(answer, explain),
        answers => table(answers, explain),
    }
}

fn one(answer: &Answer, explain: bool) -> String {
    let verdict = answer.verdict.name();
    let title = format!("{verdict}: {} on {}", answer.model, place(answer));
    let mut text = wrapped(&title, 0, INDENT);
    text += &wrapped(&answer.reason, INDENT, INDENT);
    if let Some(message) = &answer.message {
        text += &wrapped(&format!("vLLM says: {message}"), INDENT, INDENT);
    }
    if explain && !answer.explain.is_empty() {
        text += "\n";
        text += &arithmetic(answer);
    } else {
        text += &ledger(answer);
    }
    text + &fixes(answer)
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
        None => answer.engine.to_owned(),
        Some(since) => format!("vLLM (rules of {since} and later)"),
    };
    format!(
        "{} x {}, tp {}{stages}{experts}{replicas}{idle}, {engine}",
        answer.gpus, answer.gpu, answer.tp
    )
}

fn ledger(answer: &Answer) -> String {
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
    text + &format!("  {}\n", figures.join("; "))
}

fn fixes(answer: &Answer) -> String {
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
    for fix in &answer.fixes {
        text += &format!("  {:<44} {:>12} KV tokens\n", fix.change, fix.kv_tokens);
    }
    text
}

fn table(answers: &[Answer], explain: bool) -> String {
    let Some(first) = answers.first() else {
        return String::new();
    };
    let mut text = format!(
        "{} on {} (GiB on each)\n\n{:>4} {:>3} {:>3} {:>8} {:>6} {:>6} {:>8} {:>11} {:>9}  {}\n",
        first.model,
        first.gpu,
        "GPUs",
        "tp",
        "pp",
        "weights",
        "activ.",
        "other",
        "KV",
        "KV tokens",
        "at once",
        "verdict"
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
        text += &wrapped(&line, 0, INDENT);
        if explain {
            text += &arithmetic(answer);
        }
        text += fixes(answer).trim_start_matches('\n');
    }
    text
}

fn arithmetic(answer: &Answer) -> String {
    let lines = answer.explain.iter();
    lines
        .map(|line| wrapped(line, INDENT, UNDER_WORDS))
        .collect()
}

/// `text` in lines of at most [`COLUMNS`], the first `indent` in, the others `hanging`; it keeps its own
/// spaces, but where a line breaks.
fn wrapped(text: &str, indent: usize, hanging: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    for word in text.split_inclusive(' ') {
        let width = line.chars().count() + word.trim_end().chars().count();
        if width > COLUMNS {
            lines += line.trim_end();
            lines.push('\n');
            line = " ".repeat(hanging);
        }
        line += word;
    }
    lines + line.trim_end() + "\n"
}

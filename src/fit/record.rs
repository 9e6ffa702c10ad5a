//! How far answers like this one were off where somebody published what came out.
//!
//! The table is worked out from `tests/fixtures/calibration/startups.json` by the test `startups`, which fails where the
//! two differ.

use serde::Serialize;

use super::ask::{Ask, Engine};
use super::releases::Release;

/// A row for each start-up: id, number of its source, engine, rules since, several ranks, verdict right, error of the
/// KV tokens.
const TABLE: &str = include_str!("record.csv");
/// Fewer say nothing of the next.
const ENOUGH: usize = 4;

/// Errors on start-ups that somebody published, of those that are nearest to what is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// How many.
    pub cases: usize,
    /// By how many reports: each weighs the same in the median.
    pub sources: usize,
    /// What they have in common with the question.
    pub alike: String,
    /// Of those, verdicts that are right.
    pub verdicts_right: usize,
    /// Share by which the tokens of the KV cache are off, at the median; `None`: nobody logged them.
    pub median_error: Option<f64>,
    /// At worst.
    pub worst_error: Option<f64>,
}

struct Row<'a> {
    source: &'a str,
    engine: &'a str,
    since: &'a str,
    several: bool,
    right: bool,
    kv_error: Option<f64>,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut cells = line.split(',').skip(1);
        let mut next = || cells.next();
        Some(Self {
            source: next()?,
            engine: next()?,
            since: next()?,
            several: next()? == "several",
            right: next()? == "right",
            kv_error: next()?.parse().ok(),
        })
    }

    fn is_v1(&self) -> bool {
        Release::named(self.since).is_ok_and(|release| release.v1)
    }
}

/// Of the nearest start-ups that are enough to speak of. `None`: of our own engine, which measures itself.
pub(super) fn record(ask: &Ask) -> Option<Record> {
    let engine = ask.engine.name();
    let several = ask.ranks() > 1;
    let ranks = match several {
        true => "on several cards",
        false => "on one card",
    };
    let rows: Vec<Row> = TABLE.lines().filter_map(Row::read).collect();
    let of_engine = |row: &&Row| row.engine == engine;
    let tiers: Vec<(String, Vec<&Row>)> = match ask.engine {
        Engine::Candlepower => return None,
        Engine::Vllm(release) => {
            let since = release.to_string();
            let near = |row: &&Row| of_engine(row) && row.is_v1() == release.v1;
            let generation = match release.v1 {
                true => "of the V1 engine",
                false => "of the V0 engine",
            };
            let rows = || rows.iter();
            vec![
                (
                    format!("of these rules {ranks}"),
                    rows()
                        .filter(near)
                        .filter(|row| row.since == since && row.several == several)
                        .collect(),
                ),
                (
                    format!("{generation} {ranks}"),
                    rows()
                        .filter(near)
                        .filter(|row| row.several == several)
                        .collect(),
                ),
                (generation.to_owned(), rows().filter(near).collect()),
            ]
        }
        _ => vec![(
            "of the engine".to_owned(),
            rows.iter().filter(of_engine).collect(),
        )],
    };
    let (alike, rows) = tiers.into_iter().find(|(_, rows)| rows.len() >= ENOUGH)?;
    Some(summed(alike, &rows))
}

fn summed(alike: String, rows: &[&Row]) -> Record {
    let of_source = |source: &str| {
        rows.iter()
            .filter(|row| row.source == source && row.kv_error.is_some())
            .count()
    };
    let mut errors: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|row| Some((row.kv_error?.abs(), 1.0 / of_source(row.source) as f64)))
        .collect();
    errors.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = errors.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let median = errors.iter().find(|(_, weight)| {
        sum += weight;
        sum >= half
    });
    let mut sources: Vec<&str> = rows.iter().map(|row| row.source).collect();
    sources.sort_unstable();
    sources.dedup();
    Record {
        cases: rows.len(),
        sources: sources.len(),
        alike,
        verdicts_right: rows.iter().filter(|row| row.right).count(),
        median_error: median.map(|(error, _)| *error),
        worst_error: errors.last().map(|(error, _)| *error),
    }
}

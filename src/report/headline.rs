//! The console's first screen: what ran and on what, the answer, how it stands to others, and whether to
//! believe it. Everything else is behind `--format full`.

mod answers;
mod beside;
mod load;
mod title;
mod troubles;
mod verdict;

use super::layout::{GAP, wrap};
use crate::ground::results::Results;

pub(super) use verdict::Verdict;

const MORE: &str = "more: --format full shows every metric, --out DIR keeps them";

/// A few lines for five seconds, none wider than `width` unless that is narrower than one column.
pub fn headline(results: &Results, width: usize) -> String {
    let loads = load::loads(results);
    let mut out = String::new();
    let say = |out: &mut String, lines: Vec<String>| {
        lines.iter().for_each(|line| paragraph(out, line, width));
    };
    say(&mut out, title::title(results));
    say(&mut out, troubles::troubles(&loads));
    out.push('\n');
    let note = answers::answers(&mut out, &loads, width);
    out.push('\n');
    say(&mut out, note.into_iter().collect());
    say(&mut out, beside::beside(results, &loads));
    say(&mut out, results.model.assumed().into_iter().collect());
    say(&mut out, vec![troubles::checks(results), MORE.to_owned()]);
    out
}

/// What tells each run from the others: its load, and which play of it.
pub fn play_names(results: &Results) -> Vec<String> {
    let loads = load::loads(results);
    let load = |run| loads.iter().find(|load| load.has(run));
    let name = |run| load(run).map_or_else(String::new, |load| load.play_name(run));
    results.runs.iter().map(name).collect()
}

/// As [`wrap`], for words of any length: paths and other people's messages.
fn paragraph(out: &mut String, text: &str, width: usize) {
    let room = width.saturating_sub(GAP).max(1);
    let mut pieces = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().filter(|c| !c.is_control()).collect();
        pieces.extend(letters.chunks(room).map(String::from_iter));
    }
    wrap(out, &pieces.join(" "), width);
}

//! `report.html`: one file that needs no other, and no network. What is drawn is computed here; the script in the page
//! draws it. Names and texts of others reach the page as JSON without a `<`, and its script writes them as text.

mod beside;
mod definitions;
mod latencies;
mod requests;
mod roofline;
mod steps;
mod sweeps;
mod telemetry;
mod verdict;

use std::fmt::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::beside::Beside;
use self::definitions::{Definitions, definitions};
use self::latencies::Latencies;
use self::requests::Requests;
use self::roofline::Point;
use self::steps::Steps;
pub use self::sweeps::ShownSweep;
use self::telemetry::Telemetry;
use self::verdict::Verdict;
use super::headline::play_names;
use super::{RawRun, ReportError};
use crate::comparison::waterfall::{Explained, Waterfall, waterfall};
use crate::ground::results::{ReferenceRun, Results};
use crate::profile::Profile;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    include_str!("script/base.js"),
    include_str!("script/chart.js"),
    include_str!("script/linked.js"),
    include_str!("script/overview.js"),
    include_str!("script/run.js"),
    include_str!("script/explain.js"),
    include_str!("script/sweep.js"),
    include_str!("script/page.js"),
);
/// Results of which the page shows everything at once; of a sweep's others when it is asked.
const UNFOLDED: usize = 4;
/// Failures of a run that the page lists; `results.json` has all.
const MOST_FAILURES: usize = 50;

/// All that a page shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Content<'a> {
    pub results: &'a [Shown<'a>],
    pub sweeps: &'a [ShownSweep<'a>],
    pub profiles: &'a [Profile],
    /// Of other tools, for the last level of waterfalls.
    pub imports: &'a [ReferenceRun],
}

/// One result on the page.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Tells it from the others, such as its directory's name.
    pub name: &'a str,
    pub results: &'a Results,
    /// Of each run; fewer where the raw files are not there.
    pub raw: &'a [RawRun],
}

#[derive(Serialize)]
struct Data<'a> {
    definitions: Definitions,
    results: Vec<Part<'a>>,
    sweeps: &'a [ShownSweep<'a>],
    profiles: &'a [Profile],
}

#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
    verdict: Verdict,
    /// `results.json`, its failures cut down to a few.
    results: Value,
    beside: Beside,
    runs: Vec<Drawn>,
}

/// What is drawn of a run.
#[derive(Serialize)]
struct Drawn {
    name: String,
    failures: usize,
    steps: Option<Steps>,
    latencies: Latencies,
    requests: Requests,
    roofline: Vec<Point>,
    waterfall: Waterfall,
    telemetry: Telemetry,
}

/// The page of results, sweeps and profiles.
///
/// # Errors
/// `Json`, which only a number outside JSON could cause.
pub fn html(content: &Content) -> Result<String, ReportError> {
    let parts = content.results.iter().map(|shown| part(shown, content));
    let data = Data {
        definitions: definitions(),
        results: parts.collect::<Result<_, _>>()?,
        sweeps: content.sweeps,
        profiles: content.profiles,
    };
    let shown = data.results.len() + content.sweeps.len();
    let name = |name: &'_ str| match shown {
        1 => String::new(),
        _ => name.to_owned(),
    };
    let sweeps = content.sweeps.iter();
    let sweeps = sweeps.map(|sweep| sweep.verdict(&name(sweep.name)));
    let results = data.results.iter();
    let results = results.map(|part| part.verdict.html(&name(part.name)));
    let mut verdicts: Vec<String> = sweeps.chain(results).collect();
    if verdicts.len() > UNFOLDED {
        let rest = verdicts.split_off(UNFOLDED);
        let (count, rest) = (rest.len(), rest.concat());
        verdicts.push(format!(
            "<details><summary>{count} more results</summary>\n{rest}</details>\n"
        ));
    }
    let title = match (&data.results[..], content.sweeps) {
        ([only], []) => escaped(&only.verdict.line()),
        ([], [only]) => escaped(&only.line()),
        _ => format!("{shown} results"),
    };
    Ok(format!(
        include_str!("page.html"),
        policy = policy(),
        title = title,
        style = STYLE,
        verdicts = verdicts.concat(),
        data = island(&data)?,
        script = SCRIPT,
    ))
}

fn part<'a>(shown: &Shown<'a>, content: &Content) -> Result<Part<'a>, ReportError> {
    let results = shown.results;
    let mut kept = results.clone();
    for run in &mut kept.runs {
        run.failures.truncate(MOST_FAILURES);
    }
    let nothing = RawRun::default();
    let runs = results.runs.iter().zip(play_names(results)).enumerate();
    let runs = runs.map(|(index, (run, name))| {
        let raw = shown.raw.get(index).unwrap_or(&nothing);
        Drawn {
            waterfall: waterfall(&Explained {
                name: &name,
                results,
                run: index,
                steps: &raw.steps,
                profiles: content.profiles,
                imports: content.imports,
            }),
            name,
            failures: run.failures.len(),
            steps: Steps::of(&raw.steps),
            latencies: Latencies::of(&raw.requests),
            requests: Requests::of(&raw.requests),
            roofline: roofline::points(&raw.steps),
            telemetry: Telemetry::of(&raw.telemetry),
        }
    });
    Ok(Part {
        name: shown.name,
        verdict: Verdict::of(results),
        results: serde_json::to_value(kept)?,
        beside: Beside::of(results),
        runs: runs.collect(),
    })
}

/// Nothing is loaded, and no other script or style than the page's own takes part.
fn policy() -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    let mut policy =
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'".to_owned();
    for (what, text) in [("script-src", SCRIPT), ("style-src", STYLE)] {
        let _ = write!(policy, "; {what} 'sha256-{}'", hash(text));
    }
    policy
}

/// JSON in which nothing can end the element that holds it.
fn island(data: &impl Serialize) -> Result<String, ReportError> {
    let text = serde_json::to_string(data)?;
    Ok(text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026"))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// As many figures as a plot can show.
fn short(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_what_holds_it() {
        let hostile = "</script><img src=x onerror=alert(1)>&\"\u{2028}";
        let island = island(&hostile).unwrap();
        assert!(!island.contains(['<', '>', '&']), "{island}");
        assert_eq!(serde_json::from_str::<String>(&island).unwrap(), hostile);
        assert!(!escaped(hostile).contains(['<', '>', '"']));
    }

    #[test]
    fn the_page_is_small_without_its_data() {
        let page = html(&Content::default()).unwrap();
        assert!(page.len() < 300_000, "{} bytes", page.len());
        for word in [
            "http://", "https://", "//cdn", "@import", "url(\"", "src=\"",
        ] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(word), "{word}");
        }
    }

    #[test]
    fn figures_are_those_of_a_plot() {
        assert_eq!(short(1.234_567_8), 1.2346);
        assert_eq!(short(0.0), 0.0);
        assert_eq!(short(1_234_567.0), 1_234_600.0);
    }
}

//! A comparison as a table, Markdown, CSV or a page.

use std::fmt::Write;

use super::csv::quoted;
use super::layout::{chars, wrapped};
use super::number::number;
use crate::comparison::{Compared, Comparison};

/// Cells of one figure.
const HEAD: [&str; 6] = ["metric", "a", "b", "b / a", "interval", "verdict"];
/// Part of a ratio below which a digit more tells nothing.
const DIGITS: usize = 3;
const ABSENT: &str = "-";

/// Its name, behind that of its load where there are several.
fn named(metric: &Compared) -> String {
    let load = metric.load.as_ref();
    let load = load.map_or(String::new(), |load| format!("{load} "));
    format!("{load}{}", metric.name)
}

fn cells(metric: &Compared) -> [String; 6] {
    let shown = |value: Option<f64>| value.map_or(ABSENT.to_owned(), number);
    let ratio = |value: f64| format!("{value:.DIGITS$}");
    let interval = metric.low.zip(metric.high);
    [
        named(metric),
        shown(metric.a),
        shown(metric.b),
        metric.ratio.map_or(ABSENT.to_owned(), ratio),
        interval.map_or(ABSENT.to_owned(), |(low, high)| {
            format!("{}..{}", ratio(low), ratio(high))
        }),
        metric.verdict.map_or(ABSENT, |v| v.words()).to_owned(),
    ]
}

/// What is said of more than one figure is said once: reasons, and the figures that each is of.
fn reasons(comparison: &Comparison) -> Vec<(String, Vec<&str>)> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for metric in &comparison.metrics {
        let Some(reason) = &metric.reason else {
            continue;
        };
        // Such a sentence names its own figure.
        let reason = reason.replace(&format!("{} is defined", metric.name), "defined");
        match found.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) if names.contains(&&*metric.name) => {}
            Some((_, names)) => names.push(&metric.name),
            None => found.push((reason, vec![&metric.name])),
        }
    }
    found
}

/// How the whole stands, in a sentence.
fn headline(comparison: &Comparison) -> String {
    let judged = comparison.metrics.iter().filter(|m| m.judged);
    let names: Vec<String> = judged
        .filter_map(|m| Some(format!("{} {:.DIGITS$}", named(m), m.ratio?)))
        .collect();
    let by = match names.is_empty() {
        true => "no figure that decides is in both".to_owned(),
        false => format!(
            "{}; tolerance {} %",
            names.join(", "),
            number(100.0 * comparison.tolerance)
        ),
    };
    format!("{}: {by}", comparison.verdict.words())
}

pub fn table(comparison: &Comparison, width: usize) -> String {
    let mut out = String::new();
    let mut line = |text: &str, indent: usize| out += &wrapped(text, indent, indent + 2, width);
    line(&format!("a  {}", comparison.a), 0);
    line(&format!("b  {}", comparison.b), 0);
    line("", 0);
    match comparison.differences.is_empty() {
        true => line("nothing else differs that both state", 0),
        false => line("what differs besides", 0),
    }
    for difference in &comparison.differences {
        let text = format!(
            "{}: {}  ->  {}",
            difference.what, difference.a, difference.b
        );
        line(&text, 2);
    }
    if !comparison.remarks.is_empty() {
        line("of the results themselves", 0);
    }
    for remark in &comparison.remarks {
        line(&format!("{}  {}", remark.of, remark.text), 2);
    }
    line("", 0);
    let rows: Vec<[String; 6]> = comparison.metrics.iter().map(cells).collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|at| {
            let cells = rows.iter().map(|row| chars(&row[at]));
            cells.chain([chars(HEAD[at])]).max().unwrap_or(0)
        })
        .collect();
    let head = HEAD.map(str::to_owned);
    for row in std::iter::once(&head).chain(&rows) {
        let mut text = format!("{:<1$}", row[0], widths[0]);
        for at in 1..HEAD.len() {
            let _ = match at {
                5 => write!(text, "  {}", row[at]),
                _ => write!(text, "  {:>1$}", row[at], widths[at]),
            };
        }
        out += text.trim_end();
        out.push('\n');
    }
    out.push('\n');
    for (reason, names) in reasons(comparison) {
        out += &wrapped(&format!("{reason}: {}", names.join(", ")), 0, 2, width);
    }
    out.push('\n');
    out += &wrapped(&headline(comparison), 0, 2, width);
    out
}

pub fn markdown(comparison: &Comparison) -> String {
    let escaped = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    let mut out = format!(
        "**{}**\n\n- a: `{}`\n- b: `{}`\n",
        escaped(&headline(comparison)),
        comparison.a,
        comparison.b
    );
    for difference in &comparison.differences {
        let (a, b) = (escaped(&difference.a), escaped(&difference.b));
        let _ = writeln!(out, "- {} differs: {a} in a, {b} in b", difference.what);
    }
    for remark in &comparison.remarks {
        let _ = writeln!(out, "- of {}: {}", remark.of, escaped(&remark.text));
    }
    let _ = write!(
        out,
        "\n| {} |\n|---|{}",
        HEAD.join(" | "),
        "---:|".repeat(4)
    );
    out.push_str("---|\n");
    for metric in &comparison.metrics {
        let cells = cells(metric).map(|cell| escaped(&cell));
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out.push('\n');
    for (reason, names) in reasons(comparison) {
        let _ = writeln!(out, "- {}: {}", escaped(&reason), names.join(", "));
    }
    out
}

pub fn csv(comparisons: &[Comparison]) -> String {
    let mut out =
        String::from("a,b,load,metric,value_a,value_b,ratio,low,high,verdict,judged,reason\n");
    for comparison in comparisons {
        for metric in &comparison.metrics {
            let shown = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
            let text = |text: &Option<String>| quoted(text.as_deref().unwrap_or_default());
            let _ = writeln!(
                out,
                "{},{},{},{},{},{},{},{},{},{},{},{}",
                quoted(&comparison.a),
                quoted(&comparison.b),
                text(&metric.load),
                quoted(&metric.name),
                shown(metric.a),
                shown(metric.b),
                shown(metric.ratio),
                shown(metric.low),
                shown(metric.high),
                metric.verdict.map_or("", |v| v.words()),
                metric.judged,
                text(&metric.reason),
            );
        }
    }
    out
}

/// One page without scripts, of nothing but itself.
pub fn html(comparisons: &[Comparison]) -> String {
    let mut out = String::from(PAGE);
    for comparison in comparisons {
        let class = comparison.verdict.words().replace(' ', "-");
        let _ = write!(
            out,
            "<h1 class=\"{class}\">{}</h1>\n<p>a: <code>{}</code><br>b: <code>{}</code></p>\n<ul>\n",
            plain(&headline(comparison)),
            plain(&comparison.a),
            plain(&comparison.b)
        );
        for difference in &comparison.differences {
            let (what, a, b) = (&difference.what, &difference.a, &difference.b);
            let parts = [what, a, b].map(|text| plain(text));
            let _ = writeln!(
                out,
                "<li>{} differs: {} in a, {} in b</li>",
                parts[0], parts[1], parts[2]
            );
        }
        for remark in &comparison.remarks {
            let _ = writeln!(out, "<li>of {}: {}</li>", remark.of, plain(&remark.text));
        }
        out.push_str("</ul>\n<table>\n<tr>");
        HEAD.iter().for_each(|head| {
            let _ = write!(out, "<th>{head}</th>");
        });
        out.push_str("</tr>\n");
        for metric in &comparison.metrics {
            let verdict = metric.verdict.map_or("", |v| v.words());
            let why = metric.reason.as_deref().unwrap_or_default();
            let _ = write!(
                out,
                "<tr class=\"{}\" title=\"{}\">",
                verdict.replace(' ', "-"),
                plain(why)
            );
            for cell in cells(metric) {
                let _ = write!(out, "<td>{}</td>", plain(&cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table>\n<ul>\n");
        for (reason, names) in reasons(comparison) {
            let _ = writeln!(
                out,
                "<li>{}: {}</li>",
                plain(&reason),
                plain(&names.join(", "))
            );
        }
        out.push_str("</ul>\n");
    }
    out + "</html>\n"
}

const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width\">\n<title>candlepower compare</title>\n<style>\n\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\n\
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #8884}\n\
td:first-child,th:first-child{text-align:left}h1{font-size:1.2rem}h1.slower,.slower td:last-child{color:#c33}\n\
h1.faster,.faster td:last-child{color:#282}\n</style>\n";

fn plain(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

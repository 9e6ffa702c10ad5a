//! A page that tells raw capacity from what a server showed: predictions of a simulated device beside the
//! figures of reference runs.

use std::fmt::Write;

use super::markdown::escaped;
use super::number::number;
use crate::reference::CostRow;

/// Marks figures that count input tokens.
const WITH_INPUT: &str = "\\*";
const ABSENT: &str = "-";

/// The page in Markdown: one row a reference run, failures below. `device` is as on the command line,
/// `server` the name of the profile.
pub fn server_cost(rows: &[CostRow], device: &str, server: &str) -> String {
    let mut out = format!(
        "# What the server cost\n\n\
         Tokens a second. *Predicted* by the simulated device {device}: the raw capacity of the cards, and the same with \
         the host time of {server} added; *measured* by others, on real cards behind a real server. Raw over measured is \
         what the server cost; served over measured is what the profile of {server} does not explain.\n\n\
         | machine | model | load | predicted raw | predicted behind {server} | measured | raw / measured | served / measured |\n\
         |---|---|---|---:|---:|---:|---:|---:|\n"
    );
    for row in rows {
        let mark = if row.counts_input { WITH_INPUT } else { "" };
        let rate = |rate: &Result<f64, String>| match rate {
            Ok(rate) => format!("{}{mark}", number(*rate)),
            Err(_) => ABSENT.to_owned(),
        };
        let ratio = |predicted: &Result<f64, String>| match (predicted, &row.measured) {
            (Ok(predicted), Ok(measured)) => format!("{}x", number(predicted / measured)),
            _ => ABSENT.to_owned(),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            escaped(&row.machine),
            escaped(&row.model),
            escaped(&row.load),
            rate(&row.raw),
            rate(&row.served),
            rate(&row.measured),
            ratio(&row.raw),
            ratio(&row.served)
        );
    }
    out.push('\n');
    if rows.iter().any(|row| row.counts_input) {
        let _ = writeln!(
            out,
            "- {WITH_INPUT} input and output tokens together, as published"
        );
    }
    for row in rows {
        let name = format!("{} {} {}", row.machine, row.model, row.load);
        if row.preemptions > 0 {
            let _ = writeln!(
                out,
                "- {}: requests gave their KV blocks back {} times in the raw prediction and were computed again; --scheduler reserve lets in only what can finish",
                escaped(&name),
                row.preemptions
            );
        }
        for (whose, outcome) in [
            ("measured".to_owned(), &row.measured),
            ("predicted raw".to_owned(), &row.raw),
            (format!("predicted behind {server}"), &row.served),
        ] {
            if let Err(reason) = outcome {
                let _ = writeln!(out, "- {}, {whose}: {}", escaped(&name), escaped(reason));
            }
        }
    }
    out
}

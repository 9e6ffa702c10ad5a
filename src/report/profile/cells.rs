//! Cells of a profile's tables, and how they stand below each other.

use std::fmt::Write;

use crate::report::layout::blocks;

pub const MILLI: f64 = 1e3;
pub const MEGA: f64 = 1e6;
const PERCENT: f64 = 100.0;
/// Of what nobody saw.
pub const NOT_OBSERVED: &str = "n/o";

/// The first cell of each line to the left, the others to the right, in as many blocks as `width` needs.
pub fn aligned<const N: usize>(out: &mut String, lines: &[[String; N]], width: usize) {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = lines.iter().map(|line| line[column].len());
        cells.max().unwrap_or(0)
    });
    let room = width.saturating_sub(widths[0]);
    for (index, block) in blocks(&widths[1..], 1, room).into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        for line in lines {
            let mut text = format!("{:<1$}", line[0], widths[0]);
            for column in block.clone().map(|column| column + 1) {
                let _ = write!(text, " {:>1$}", line[column], widths[column]);
            }
            let _ = writeln!(out, "{}", text.trim_end());
        }
    }
}

pub fn fixed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * PERCENT)
}

pub fn optional(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or(NOT_OBSERVED.to_owned(), show)
}

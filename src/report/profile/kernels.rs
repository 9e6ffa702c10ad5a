//! What each operation of a profile launched, one line a kernel and shape.

use super::cells::{MEGA, MILLI, NOT_OBSERVED, aligned, fixed, optional, percent};
use crate::profile::{KernelRow, OpRow, Profile};
use crate::report::layout::wrap;
use crate::report::number::number;

/// Columns of the table.
const COLUMNS: usize = 9;
const HEAD: [&str; COLUMNS] = [
    "operation and its kernels",
    "launches",
    "ms",
    "grid",
    "block",
    "registers",
    "shared",
    "occupancy",
    "MB",
];
/// Letters of a name; libraries have longer ones.
const LONGEST: usize = 48;

/// Nothing where no kernels are launched.
pub fn table(out: &mut String, profile: &Profile, width: usize) {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for op in &profile.ops {
        let kernels = op.kernels.as_deref().unwrap_or_default();
        if !kernels.is_empty() {
            lines.push(operation(op));
            lines.extend(kernels.iter().map(kernel));
        }
    }
    if lines.len() > 1 {
        aligned(out, &lines, width);
        wrap(out, &times(profile), width);
        out.push('\n');
    }
}

/// What told them, and what they come to.
fn times(profile: &Profile) -> String {
    match profile.totals.kernels_us {
        Some(us) => format!(
            "kernels {} ms ({} of the step), as CUPTI tells of each, in the step's CUDA graph where it has one",
            number(us / MILLI),
            percent(us / profile.step_us)
        ),
        None => {
            let reason = profile.not_observed.get("totals.kernels_us");
            let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
            format!(
                "kernels are timed by events between them, with CUDA graphs off{reason}; within graphs nsys times them"
            )
        }
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

fn operation(op: &OpRow) -> [String; COLUMNS] {
    let mut line = [const { String::new() }; COLUMNS];
    line[0].clone_from(&op.name);
    line
}

fn kernel(kernel: &KernelRow) -> [String; COLUMNS] {
    let told = |value: Option<u32>| value.map_or(NOT_OBSERVED.to_owned(), |v| v.to_string());
    let grid = kernel.grid.map(|[x, y, z]| format!("{x}x{y}x{z}"));
    [
        format!("  {}", shortened(&kernel.name)),
        kernel.launches.to_string(),
        fixed(kernel.us / MILLI, 3),
        grid.unwrap_or(NOT_OBSERVED.to_owned()),
        told(kernel.block),
        told(kernel.registers),
        told(kernel.shared_bytes),
        optional(kernel.occupancy, percent),
        optional(kernel.bytes.map(|bytes| bytes as f64), |bytes| {
            fixed(bytes / MEGA, 2)
        }),
    ]
}

//! The roofline of a run: operations by their arithmetic intensity and what they reach, as SVG.

use std::fmt::Write;

use super::text::text;
use crate::profile::{OpRow, Profile, RoofRates};
use crate::report::number::number;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Radius of an operation that is the whole step; areas are in proportion to shares.
const RADIUS: f64 = 34.0;
const LEAST_RADIUS: f64 = 2.5;
/// An operation with a smaller share has its name in the tooltip only.
const NAMED_SHARE: f64 = 0.04;
const LEGEND_LINE: f64 = 18.0;
const DECADE: f64 = 10.0;
const PERCENT: f64 = 100.0;
/// Operations that stand on the left and the bottom edge when nothing lies further out.
const FEWEST_FLOP_PER_BYTE: f64 = 0.1;
const LEAST_GFLOP_S: f64 = 1.0;
/// Columns of the table below the plot.
const TEXT_WIDTH: usize = 120;
/// Told apart by people who do not see all colours (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000",
];

/// Logarithmic axes over whole decades.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn around(profiles: &[Profile], roofs: Option<RoofRates>) -> Self {
        let ops = || profiles.iter().flat_map(|p| &p.ops).filter_map(place);
        let ridge = roofs.map(|roofs| roofs.gflop_s / roofs.read_gb_s);
        let peak = roofs.map(|roofs| roofs.gflop_s);
        let decades = |values: &[f64]| {
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(0.0, f64::max);
            (low.log10().floor(), (high.log10() + f64::EPSILON).ceil())
        };
        let xs: Vec<f64> = ops().map(|(x, _)| x).chain(ridge).collect();
        let ys: Vec<f64> = ops().map(|(_, y)| y).chain(peak).collect();
        Self {
            x: decades(&[&xs[..], &[FEWEST_FLOP_PER_BYTE, DECADE]].concat()),
            y: decades(&[&ys[..], &[LEAST_GFLOP_S, DECADE]].concat()),
        }
    }

    fn x(&self, value: f64) -> f64 {
        let (low, high) = self.x;
        LEFT + (value.log10() - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.y;
        HEIGHT - BOTTOM - (value.log10() - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    }

    /// Whole powers of ten of one axis.
    fn decades((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
        (low as i32..=high as i32).map(|exponent| DECADE.powi(exponent))
    }
}

/// FLOPs a byte and GFLOP/s; `None` for an operation that only moves bytes.
fn place(op: &OpRow) -> Option<(f64, f64)> {
    let computes = op.flops > 0 && op.bytes > 0;
    computes.then(|| (op.flops as f64 / op.bytes as f64, op.gflop_s))
}

/// Of rank 0; all loads of a run have the same.
fn roofs(profiles: &[Profile]) -> Option<RoofRates> {
    let profile = profiles.first()?;
    let (roofs, ranks) = (profile.roofs?, profile.tp as f64);
    Some(RoofRates {
        read_gb_s: roofs.read_gb_s / ranks,
        gflop_s: roofs.gflop_s / ranks,
    })
}

/// A page of its own: the plot, and the tables below it.
pub fn html(profiles: &[Profile]) -> String {
    let title = escaped(&title(profiles));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body style=\"font-family:sans-serif\">\n{}<pre>{}</pre>\n</body>\n</html>\n",
        svg(profiles),
        escaped(&text(profiles, TEXT_WIDTH))
    )
}

pub fn svg(profiles: &[Profile]) -> String {
    let roofs = roofs(profiles);
    let axes = Axes::around(profiles, roofs);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"15\">{}</text>\n",
        escaped(&title(profiles))
    );
    grid(&mut out, &axes);
    if let Some(roofs) = roofs {
        roof_lines(&mut out, &axes, roofs);
    }
    for (profile, colour) in profiles.iter().zip(COLOURS.iter().cycle()) {
        let mut ops: Vec<&OpRow> = profile.ops.iter().collect();
        // Small ones on top of large ones.
        ops.sort_by(|a, b| b.share.total_cmp(&a.share));
        for op in ops {
            operation(&mut out, &axes, profile, op, colour);
        }
    }
    legend(&mut out, profiles);
    out.push_str("</svg>\n");
    out
}

fn title(profiles: &[Profile]) -> String {
    profiles.first().map_or(String::new(), |profile| {
        format!(
            "{} on {}: {}",
            profile.model, profile.device, profile.hardware
        )
    })
}

fn grid(out: &mut String, axes: &Axes) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for value in Axes::decades(axes.x) {
        let x = axes.x(value);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
            bottom + LEGEND_LINE
        );
    }
    for value in Axes::decades(axes.y) {
        let y = axes.y(value);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">FLOPs a byte</text>\
         <text x=\"18\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {:.1})\">GFLOP/s</text>",
        (LEFT + right) / 2.0,
        HEIGHT - LEGEND_LINE,
        (TOP + bottom) / 2.0,
        (TOP + bottom) / 2.0
    );
}

fn roof_lines(out: &mut String, axes: &Axes, roofs: RoofRates) {
    let ridge = roofs.gflop_s / roofs.read_gb_s;
    // The slope enters at the left edge or at the bottom one.
    let (left, low) = (DECADE.powf(axes.x.0), DECADE.powf(axes.y.0));
    let start = left.max(low / roofs.read_gb_s);
    let end = DECADE.powf(axes.x.1);
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke=\"#444\" stroke-width=\"2\" points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{} GFLOP/s, read {} GB/s</text>",
        axes.x(start),
        axes.y(start * roofs.read_gb_s),
        axes.x(ridge),
        axes.y(roofs.gflop_s),
        axes.x(end),
        axes.y(roofs.gflop_s),
        axes.x(end) - 4.0,
        axes.y(roofs.gflop_s) - 6.0,
        number(roofs.gflop_s),
        number(roofs.read_gb_s)
    );
}

fn operation(out: &mut String, axes: &Axes, profile: &Profile, op: &OpRow, colour: &str) {
    let Some((x, y)) = place(op) else {
        return;
    };
    let (x, y) = (axes.x(x), axes.y(y));
    let radius = (RADIUS * op.share.sqrt()).max(LEAST_RADIUS);
    let of_roof = op.roof_fraction.map_or(String::new(), |fraction| {
        format!(", {:.0} % of its roof", fraction * PERCENT)
    });
    let _ = writeln!(
        out,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" fill-opacity=\"0.45\" stroke=\"{colour}\">\
         <title>{} ({}): {:.1} % of the step, {} GB/s, {} GFLOP/s{of_roof}</title></circle>",
        escaped(&op.name),
        load(profile),
        op.share * PERCENT,
        number(op.gb_s),
        number(op.gflop_s),
    );
    if op.share >= NAMED_SHARE {
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\">{}</text>",
            y + 3.0,
            escaped(&op.name)
        );
    }
}

fn legend(out: &mut String, profiles: &[Profile]) {
    let x = WIDTH - RIGHT + 14.0;
    for (index, (profile, colour)) in profiles.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let y = TOP + LEGEND_LINE * (index + 1) as f64;
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{}</text>",
            x + 10.0,
            y + 4.0,
            load(profile)
        );
    }
    let y = TOP + LEGEND_LINE * (profiles.len() + 2) as f64;
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" font-size=\"10\">area: share of its step</text>"
    );
}

fn load(profile: &Profile) -> String {
    let Profile {
        phase,
        batch,
        context,
        ..
    } = profile;
    format!("{phase} {batch} x {context}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

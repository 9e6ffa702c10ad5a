//! The frontier as SVG: what one user sees against what one GPU gives.

use std::fmt::Write;

use crate::capacity::{PointRow, Sweep};
use crate::report::number::number;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;
/// Lines of the grid along each axis.
const TICKS: usize = 5;
/// The furthest points stand a little inside.
const ROOM: f64 = 1.05;

/// An empty plot where no point has both figures.
pub fn svg(swept: &Sweep) -> String {
    let of = |point: &PointRow| Some((point.tokens_per_s_per_user?, point.tokens_per_s_per_gpu?));
    let most = |axis: fn((f64, f64)) -> f64| {
        let values = swept.points.iter().filter_map(of).map(axis);
        let most = values.fold(0.0, f64::max) * ROOM;
        if most > 0.0 { most } else { 1.0 }
    };
    let (most_x, most_y) = (most(|(x, _)| x), most(|(_, y)| y));
    let x = |value: f64| LEFT + value / most_x * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / most_y * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    for tick in 0..=TICKS {
        let part = tick as f64 / TICKS as f64;
        let (at_x, at_y) = (x(part * most_x), y(part * most_y));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let _ = writeln!(
            out,
            "<line x1=\"{at_x:.1}\" y1=\"{TOP}\" x2=\"{at_x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <line x1=\"{LEFT}\" y1=\"{at_y:.1}\" x2=\"{right}\" y2=\"{at_y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            bottom + 18.0,
            number(part * most_x),
            LEFT - 6.0,
            at_y + 4.0,
            number(part * most_y)
        );
    }
    let line = swept.frontier.iter();
    let line = line.filter_map(|&index| swept.points.get(index).and_then(of));
    let line: Vec<String> = line
        .map(|(a, b)| format!("{:.1},{:.1}", x(a), y(b)))
        .collect();
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke=\"#0072b2\" stroke-width=\"2\" points=\"{}\"/>",
        line.join(" ")
    );
    for (index, point) in swept.points.iter().enumerate() {
        let Some((user, gpu)) = of(point) else {
            continue;
        };
        let colour = match swept.frontier.contains(&index) {
            true => "#0072b2",
            false => "#999999",
        };
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"><title>{}: {} tok/s/user, {} tok/s/GPU</title></circle>",
            x(user),
            y(gpu),
            escaped(&words(point)),
            number(user),
            number(gpu)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">output tokens/s that a user sees</text>\
         <text x=\"18\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {:.1})\">output tokens/s of a GPU</text>\n</svg>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 16.0,
        (TOP + HEIGHT - BOTTOM) / 2.0,
        (TOP + HEIGHT - BOTTOM) / 2.0
    );
    out
}

fn words(point: &PointRow) -> String {
    let words = point.settings.iter();
    let words: Vec<String> = words
        .map(|(flag, value)| format!("{flag}={value}"))
        .collect();
    words.join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

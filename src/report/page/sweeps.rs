//! A sweep on the page.

use serde::Serialize;

use super::escaped;
use crate::capacity::{PointRow, Sweep};
use crate::ground::results::{Extended, Slo};
use crate::report::columns;
use crate::report::number::number;

/// Percent of requests that must meet an objective, where there is one.
const MET: f64 = 95.0;

/// Whether enough requests met the objective, or there is none.
fn meets(point: &PointRow) -> bool {
    let part = point.extended.as_ref();
    let part = part.and_then(|figures| figures.goodput_attainment_percent);
    point.error.is_none() && part.is_none_or(|part| part >= MET)
}

/// A sweep, and what its points were asked to meet.
#[derive(Debug, Clone, Serialize)]
pub struct ShownSweep<'a> {
    pub(super) name: &'a str,
    sweep: &'a Sweep,
    /// Each once.
    objectives: Vec<Slo>,
}

impl<'a> ShownSweep<'a> {
    /// `name` tells it from the others, such as its directory's.
    pub fn new(name: &'a str, sweep: &'a Sweep) -> Self {
        let mut objectives: Vec<Slo> = Vec::new();
        for slo in sweep.points.iter().filter_map(|point| point.goodput) {
            if !objectives.contains(&slo) {
                objectives.push(slo);
            }
        }
        Self {
            name,
            sweep,
            objectives,
        }
    }

    /// What was swept, on what, and the point that gives most.
    pub fn line(&self) -> String {
        format!("{}: {}", self.what(), self.answer())
    }

    fn what(&self) -> String {
        let each = |of: fn(&PointRow) -> Option<&String>| {
            let mut names: Vec<&str> = Vec::new();
            for name in self.sweep.points.iter().filter_map(of) {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
            names.join(", ")
        };
        let (models, devices) = (each(|p| p.model.as_ref()), each(|p| p.device.as_ref()));
        match models.is_empty() {
            true => format!("a sweep of {} points", self.sweep.points.len()),
            false => format!("{models} on {devices}, {} points", self.sweep.points.len()),
        }
    }

    /// The point that gives most of those that met the objective; of all, where none did.
    fn best(&self) -> Option<(&PointRow, f64)> {
        let points = || self.sweep.points.iter();
        let rate = |point: &PointRow| point.tokens_per_s_per_gpu;
        let met = points().any(|point| rate(point).is_some() && meets(point));
        let rated = points().filter(|point| meets(point) || !met);
        let rated = rated.filter_map(|point| Some((point, rate(point)?)));
        rated.max_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    fn answer(&self) -> String {
        match self.best() {
            Some((point, rate)) => {
                let whose = match point.device.as_deref() {
                    Some("cpu") | None => "",
                    Some(_) => " per GPU",
                };
                format!("at most {} output tokens a second{whose}", number(rate))
            }
            None => "no point was played without an error".to_owned(),
        }
    }

    /// What else a reader must know of the best point.
    fn notes(&self) -> Vec<String> {
        let Some((point, _)) = self.best() else {
            return Vec::new();
        };
        let figure = |of: fn(&Extended) -> Option<f64>| of(point.extended.as_ref()?);
        let user = point.tokens_per_s_per_user;
        let user = user.map(|rate| format!("a user of it sees {} tokens a second", number(rate)));
        let ttft = figure(|figures| figures.ttft.mean_ttft_ms);
        let ttft = ttft.map(|ms| format!("the first after {} ms (mean)", number(ms)));
        let seen: Vec<String> = user.into_iter().chain(ttft).collect();
        let met = figure(|figures| figures.goodput_attainment_percent).map(|part| {
            let others = self
                .sweep
                .points
                .iter()
                .filter(|point| !meets(point))
                .count();
            format!(
                "{} % of its requests met the objective; {others} of {} points did not meet it",
                number(part),
                self.sweep.points.len()
            )
        });
        let seen = (!seen.is_empty()).then(|| seen.join(", "));
        seen.into_iter().chain(met).collect()
    }

    /// As it stands in the page before any script runs. `name` is empty where nothing else is on the page.
    pub(super) fn verdict(&self, name: &str) -> String {
        let span = |class: &str, text: &str| match text {
            "" => String::new(),
            text => format!(" <span class=\"{class}\">{}</span>", escaped(text)),
        };
        let (kind, load) = match self.best() {
            Some((point, _)) => {
                let settings = point.settings.iter();
                let settings = settings.map(|(flag, value)| {
                    let text = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    format!("{flag} {text}")
                });
                let settings: Vec<String> = settings.collect();
                let kind = point.kind.map_or("", columns::kind);
                (kind, format!("at {}", settings.join(", ")))
            }
            None => ("", String::new()),
        };
        let failed = self
            .sweep
            .points
            .iter()
            .filter(|p| p.error.is_some())
            .count();
        let failed = match failed {
            0 => String::new(),
            count => format!("<p class=\"trouble\">{count} points failed</p>\n"),
        };
        let notes = self.notes().into_iter();
        let notes: String = notes
            .map(|note| format!("<p class=\"seen\">{}</p>\n", escaped(&note)))
            .collect();
        format!(
            "<section class=\"verdict\">\n<h1>{}{}{}{}{}{}</h1>\n{failed}{notes}</section>\n",
            span("name", name),
            span(&format!("kind {kind}"), kind),
            span(
                "kind partial",
                if self.sweep.partial { "partial" } else { "" }
            ),
            span("what", &self.what()),
            span("answer", &self.answer()),
            span("load", &load),
        )
    }
}

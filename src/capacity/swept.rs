//! What a sweep ends in: a row for each point, and the frontier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::frontier::{Speeds, frontier};
use super::store::StoredPoint;
use crate::ground::results::{Extended, Kind, Metrics, Run, Slo};

/// Value of `Sweep::schema`.
pub const SWEEP_SCHEMA: &str = "candlepower/sweep/1";
/// Its file in the directory of a sweep.
pub const SWEEP: &str = "sweep.json";

/// Every point, and those that no other beats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sweep {
    /// `SWEEP_SCHEMA` of the version that wrote it.
    pub schema: String,
    /// Points are missing: the same command goes on.
    pub partial: bool,
    /// In the order asked for; those that were not played are left out.
    pub points: Vec<PointRow>,
    /// Indices into `points`: output tokens a second of a GPU against those of a user, the slowest for a user first.
    pub frontier: Vec<usize>,
}

impl Sweep {
    /// Of what is stored of `asked` points, each with its file.
    pub(super) fn of(stored: Vec<(String, StoredPoint)>, asked: usize) -> Self {
        let points: Vec<PointRow> = stored
            .into_iter()
            .map(|(file, point)| row(point, file))
            .collect();
        let speeds: Vec<Option<Speeds>> = points.iter().map(speeds).collect();
        Self {
            schema: SWEEP_SCHEMA.to_owned(),
            partial: points.len() < asked,
            frontier: frontier(&speeds),
            points,
        }
    }

    /// The JSON Schema of what is written.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Sweep).to_value()
    }
}

/// One point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointRow {
    pub settings: Map<String, Value>,
    /// Null: it failed.
    pub kind: Option<Kind>,
    /// The model, as figures are compared under its name; null: it failed.
    pub model: Option<String>,
    pub device: Option<String>,
    /// What each request was asked to keep; null: nothing, or the point failed.
    pub goodput: Option<Slo>,
    /// Of several repeats those of the one with the median output throughput; null: it failed.
    pub metrics: Option<Metrics>,
    pub extended: Option<Extended>,
    /// Output tokens a second of each GPU, or of the machine where there is none.
    pub tokens_per_s_per_gpu: Option<f64>,
    /// Output tokens a second that one user sees: 1 / mean TPOT.
    pub tokens_per_s_per_user: Option<f64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// That it took.
    pub seconds: f64,
    /// Its file in the directory of the sweep.
    pub file: String,
}

fn speeds(row: &PointRow) -> Option<Speeds> {
    Some(Speeds {
        per_user: row.tokens_per_s_per_user?,
        per_gpu: row.tokens_per_s_per_gpu?,
    })
}

fn row(stored: StoredPoint, file: String) -> PointRow {
    let results = stored.results.filter(|_| stored.error.is_none());
    let run = results.as_ref().and_then(|results| median(&results.runs));
    let extended = run.map(|run| &run.extended);
    let devices = results.as_ref().map_or(1, |results| results.hardware.count);
    let per_gpu = extended.and_then(|figures| {
        let all = figures.output_throughput?;
        let each = figures.output_throughput_per_gpu;
        Some(each.unwrap_or(all / devices.max(1) as f64))
    });
    PointRow {
        kind: results.as_ref().map(|results| results.kind),
        model: results.as_ref().map(|results| results.model.label()),
        device: results.as_ref().map(|r| r.hardware.device.clone()),
        goodput: run.and_then(|run| run.scenario.goodput),
        metrics: run.map(|run| run.metrics.clone()),
        tokens_per_s_per_gpu: per_gpu,
        tokens_per_s_per_user: extended.and_then(|figures| figures.decode_speed_per_user),
        extended: extended.cloned(),
        settings: stored.settings,
        error: stored.error,
        seconds: stored.seconds,
        file,
    }
}

/// The run in the middle, by its output throughput.
fn median(runs: &[Run]) -> Option<&Run> {
    let mut runs: Vec<&Run> = runs.iter().collect();
    let speed = |run: &Run| run.extended.output_throughput.unwrap_or(0.0);
    runs.sort_by(|a, b| speed(a).total_cmp(&speed(b)));
    runs.get(runs.len().saturating_sub(1) / 2).copied()
}

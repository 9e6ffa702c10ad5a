//! llama-bench's question: how fast one prompt is read, and one answer drawn token by token, at a depth of context.

mod measure;
mod shape;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::content::length_for;
use super::run::environment;
use crate::ground::results::{Engine, Environment, Hardware, Kind, Model};
use crate::metrics::quantile::moments;
use crate::session::{LARGEST_COUNT, ModelFiles, Session, SessionError, Wish};
use crate::telemetry;
use crate::text::TokenPool;

pub use shape::Shape;

/// Value of `Shapes::schema`.
pub const SHAPES_SCHEMA: &str = "candlepower/shapes/1";

/// Shapes to play, each at every depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeOptions {
    /// In the order in which they are played.
    pub shapes: Vec<Shape>,
    /// Tokens that lie in the KV cache before the clock starts; empty: none.
    pub depths: Vec<usize>,
    /// Plays of each that count.
    pub repeats: usize,
    /// Plays of each before them.
    pub warmup: usize,
}

/// What was measured of every shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shapes {
    /// `SHAPES_SCHEMA` of the version that wrote it.
    pub schema: String,
    /// Measured or predicted.
    pub kind: Kind,
    /// It was cut short: the tests that are there are whole.
    pub partial: bool,
    /// The machine and the program.
    pub environment: Environment,
    /// Its name and shapes.
    pub model: Model,
    /// What computed.
    pub hardware: Hardware,
    /// Limits and policies, as they were resolved.
    pub engine: Engine,
    /// One a shape and depth.
    pub tests: Vec<ShapeTest>,
}

impl Shapes {
    /// The JSON Schema of what is written.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Shapes).to_value()
    }
}

/// One shape at one depth, in the order played. Keys are llama-bench's where it has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShapeTest {
    /// Such as `pp512 @ d4096`.
    pub test: String,
    /// Prompt tokens inside the clock.
    pub n_prompt: usize,
    /// Output tokens inside the clock, one step each.
    pub n_gen: usize,
    /// Tokens of context before both.
    pub n_depth: usize,
    /// Nanoseconds, the mean of all repeats.
    pub avg_ns: f64,
    /// Their sample standard deviation.
    pub stddev_ns: f64,
    /// Tokens a second, the mean of all repeats.
    pub avg_ts: f64,
    /// Their sample standard deviation.
    pub stddev_ts: f64,
    /// Nanoseconds of each repeat, in the order played.
    pub samples_ns: Vec<f64>,
    /// Tokens a second of each.
    pub samples_ts: Vec<f64>,
}

impl ShapeTest {
    /// From the seconds of each repeat.
    fn of(shape: Shape, depth: usize, seconds: &[f64]) -> Self {
        const NS: f64 = 1e9;
        let tokens = (shape.prompt + shape.output) as f64;
        let samples_ns: Vec<f64> = seconds.iter().map(|time| time * NS).collect();
        let samples_ts: Vec<f64> = seconds.iter().map(|time| tokens / time).collect();
        let (avg_ns, stddev_ns) = spread(&samples_ns);
        let (avg_ts, stddev_ts) = spread(&samples_ts);
        Self {
            test: shape.at(depth),
            n_prompt: shape.prompt,
            n_gen: shape.output,
            n_depth: depth,
            avg_ns,
            stddev_ns,
            avg_ts,
            stddev_ts,
            samples_ns,
            samples_ts,
        }
    }
}

/// Mean and sample standard deviation, which is 0 of one value.
fn spread(values: &[f64]) -> (f64, f64) {
    let (mean, squares) = moments(values).unwrap_or_default();
    let freedom = values.len().saturating_sub(1).max(1);
    (mean, (squares / freedom as f64).sqrt())
}

/// Shapes that a model can hold.
#[derive(Debug, Clone)]
pub struct ShapePlan {
    options: ShapeOptions,
    /// What a session must be opened for.
    pub max_model_len: usize,
    pool: Arc<TokenPool>,
}

impl ShapePlan {
    /// A depth is read once and found again in the prefix cache, which is switched on in `files` for it.
    ///
    /// # Errors
    /// A shape at a depth is longer than the model's context, or a depth is no whole number of KV blocks.
    pub fn new(options: ShapeOptions, files: &mut ModelFiles) -> Result<Self, SessionError> {
        let mut options = options;
        if options.depths.is_empty() {
            options.depths.push(0);
        }
        let deepest = options.depths.iter().copied().max().unwrap_or(0);
        let block_size = files.options.block_size;
        for depth in &options.depths {
            if *depth > LARGEST_COUNT || !depth.is_multiple_of(block_size) {
                return Err(Wish::Load(format!(
                    "--depth {depth}: it must be a multiple of --block-size {block_size}, whose whole blocks are kept; ask for {}",
                    depth.next_multiple_of(block_size).min(LARGEST_COUNT)
                ))
                .into());
            }
        }
        files.options.prefix_cache |= deepest > 0;
        let longest = options.shapes.iter().map(|shape| shape.longest(deepest));
        Ok(Self {
            max_model_len: length_for(longest.max().unwrap_or(1), files)?,
            options,
            pool: Arc::new(files.token_pool()?),
        })
    }

    /// Plays every shape at every depth, until the session is told to stop.
    ///
    /// # Errors
    /// The engine failed, or its KV cache cannot hold a shape.
    pub fn run(&self, session: &mut Session) -> Result<Shapes, SessionError> {
        let time = telemetry::utc_now();
        let mut tests = Vec::new();
        let depths = self.options.depths.iter();
        let all: Vec<(usize, Shape)> = depths
            .flat_map(|&depth| self.options.shapes.iter().map(move |&shape| (depth, shape)))
            .collect();
        for &(depth, shape) in &all {
            match measure::measure(session, self, shape, depth)? {
                Some(seconds) => tests.push(ShapeTest::of(shape, depth, &seconds)),
                None => break,
            }
        }
        Ok(Shapes {
            schema: SHAPES_SCHEMA.to_owned(),
            kind: session.kind,
            partial: tests.len() < all.len(),
            environment: environment(session, time),
            model: session.model.clone(),
            hardware: session.hardware.clone(),
            engine: session.settings.clone(),
            tests,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_the_mean_and_the_sample_deviation_of_its_repeats() {
        let shape: Shape = "pp6+tg2".parse().unwrap();
        let test = ShapeTest::of(shape, 16, &[2.0, 4.0]);
        assert_eq!(test.test, "pp6+tg2 @ d16");
        assert_eq!(test.samples_ts, [4.0, 2.0]);
        assert_eq!(test.avg_ts, 3.0);
        assert!((test.stddev_ts - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(test.avg_ns, 3e9);
        assert_eq!(ShapeTest::of(shape, 0, &[2.0]).stddev_ts, 0.0);
    }
}

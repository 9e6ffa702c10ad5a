//! Rotary position embeddings: the kinds of `rope_scaling` and their inverse frequencies.
//!
//! Formulas: RoFormer (arXiv 2104.09864), position interpolation (2306.15595), YaRN (2309.00071),
//! and Meta's Llama 3.1 rule as published in its reference code.

use std::f64::consts::PI;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::{SpecError, invalid};
use super::fields::Fields;
use crate::ground::terminal::listed;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RopeSpec {
    pub theta: f64,
    pub scaling: RopeScaling,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
pub enum RopeScaling {
    Default,
    Linear {
        factor: f64,
    },
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: f64,
    },
    Yarn {
        factor: f64,
        /// Multiplies cos and sin.
        attention_factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        original_max_position_embeddings: f64,
        /// Round the correction range to whole dimensions.
        truncate: bool,
    },
}

/// A context that no length of a request could be counted in.
const MOST_POSITIONS: f64 = (1_u64 << 31) as f64;
const YARN_BETA_FAST: f64 = 32.0;
const YARN_BETA_SLOW: f64 = 1.0;
/// YaRN's fit of the attention temperature: 0.1 ln(factor) + 1.
const YARN_MSCALE: f64 = 0.1;
/// Keeps a ramp of zero width from dividing by zero, as the published code does.
const YARN_MIN_RAMP: f64 = 0.001;

impl RopeSpec {
    /// Reads `rope_scaling` (or the nested `rope_parameters`).
    pub(super) fn new(
        theta: f64,
        scaling: Option<Fields>,
        max_position_embeddings: usize,
        file: &str,
    ) -> Result<Self, SpecError> {
        if !(theta.is_finite() && theta > 1.0) {
            return Err(invalid(file, "rope_theta", theta, "it must be above 1"));
        }
        let Some(fields) = scaling else {
            return Ok(Self {
                theta,
                scaling: RopeScaling::Default,
            });
        };
        let kind = match fields.text("rope_type")? {
            None => fields.text("type")?,
            kind => kind,
        };
        let number = |key: &'static str| fields.number(key);
        let positive = |key: &'static str, default: Option<f64>| match number(key)?.or(default) {
            None => Err(SpecError::Missing {
                file: file.to_owned(),
                key,
            }),
            Some(v) if v > 0.0 && v.is_finite() => Ok(v),
            Some(v) => Err(invalid(file, key, v, "it must be a positive number")),
        };
        let max = max_position_embeddings as f64;
        let scaling = match kind.as_deref() {
            Some("default") => RopeScaling::Default,
            Some("linear") => RopeScaling::Linear {
                factor: positive("factor", None)?,
            },
            Some("llama3") => {
                let low_freq_factor = positive("low_freq_factor", None)?;
                let high_freq_factor = positive("high_freq_factor", None)?;
                if high_freq_factor <= low_freq_factor {
                    return Err(invalid(
                        file,
                        "high_freq_factor",
                        high_freq_factor,
                        format!("it must be above low_freq_factor ({low_freq_factor})"),
                    ));
                }
                RopeScaling::Llama3 {
                    factor: positive("factor", None)?,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings: positive(
                        "original_max_position_embeddings",
                        None,
                    )?,
                }
            }
            Some("yarn") => {
                let original = positive("original_max_position_embeddings", Some(max))?;
                let factor = positive("factor", Some(max / original))?;
                let default = match (number("mscale")?, number("mscale_all_dim")?) {
                    (Some(m), Some(all)) if m != 0.0 && all != 0.0 => {
                        yarn_mscale(factor, m) / yarn_mscale(factor, all)
                    }
                    _ => yarn_mscale(factor, 1.0),
                };
                RopeScaling::Yarn {
                    factor,
                    attention_factor: positive("attention_factor", Some(default))?,
                    beta_fast: positive("beta_fast", Some(YARN_BETA_FAST))?,
                    beta_slow: positive("beta_slow", Some(YARN_BETA_SLOW))?,
                    original_max_position_embeddings: original,
                    truncate: fields.flag("truncate")?.unwrap_or(true),
                }
            }
            Some(other) => {
                return Err(SpecError::RopeKind {
                    file: file.to_owned(),
                    found: other.to_owned(),
                });
            }
            // A nested form that holds theta alone; anything with a factor must say its kind.
            None if number("factor")?.is_none() && !holds_objects(fields.map) => {
                RopeScaling::Default
            }
            None => {
                let keys: Vec<&str> = fields.map.keys().map(String::as_str).collect();
                return Err(SpecError::RopeKind {
                    file: file.to_owned(),
                    found: format!("unnamed, with {}", listed(&keys, ", ")),
                });
            }
        };
        let rope = Self { theta, scaling };
        let stretched = rope.stretched_positions(max_position_embeddings);
        match stretched < MOST_POSITIONS {
            true => Ok(rope),
            false => {
                let rule =
                    format!("it stretches to {stretched:.3e} positions, where 2^31 are the most");
                let factor = number("factor")?.unwrap_or(stretched);
                Err(invalid(file, "factor", format!("{factor:?}"), rule))
            }
        }
    }

    /// Positions that a stretched embedding reaches where the config writes so many; 0: it is not stretched.
    pub(super) fn stretched_positions(&self, written: usize) -> f64 {
        match self.scaling {
            RopeScaling::Default | RopeScaling::Llama3 { .. } => 0.0,
            RopeScaling::Linear { factor } => written as f64 * factor,
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                ..
            } => original_max_position_embeddings * factor,
        }
    }

    /// Inverse frequency of each of the `head_dim / 2` rotated pairs, in radians per position.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f64> {
        let plain = (0..head_dim / 2).map(|i| self.theta.powf(-((2 * i) as f64) / head_dim as f64));
        match self.scaling {
            RopeScaling::Default => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => plain
                .map(|f| {
                    let turns = original_max_position_embeddings * f / (2.0 * PI);
                    let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    let smooth = smooth.clamp(0.0, 1.0);
                    (1.0 - smooth) * f / factor + smooth * f
                })
                .collect(),
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                truncate,
                ..
            } => {
                // The dimension whose wavelength makes `turns` turns over the original context.
                let dimension = |turns: f64| {
                    head_dim as f64 * (original_max_position_embeddings / (turns * 2.0 * PI)).ln()
                        / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                low = low.max(0.0);
                high = high.min((head_dim - 1) as f64);
                if low == high {
                    high += YARN_MIN_RAMP;
                }
                plain
                    .enumerate()
                    .map(|(i, f)| {
                        let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        f / factor * ramp + f * (1.0 - ramp)
                    })
                    .collect()
            }
        }
    }

    /// Factor on cos and sin (1 for every kind but YaRN).
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn {
                attention_factor, ..
            } => attention_factor,
            _ => 1.0,
        }
    }
}

fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        YARN_MSCALE * mscale * factor.ln() + 1.0
    }
}

/// Per-layer-type nesting (`{"full_attention": {...}}`) is not one rope for all layers.
fn holds_objects(fields: &Map<String, Value>) -> bool {
    fields.values().any(Value::is_object)
}

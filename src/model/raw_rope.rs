//! Which of the keys about rotary embeddings counts, where a `config.json` has several.
//!
//! As transformers 5.24 has it (`RotaryEmbeddingConfigMixin`): `rope_scaling` before `rope_parameters`; what
//! stands within before what stands beside, but for `original_max_position_embeddings`, where it is the other way
//! round; `rope_type` before `type`. Where another key said otherwise there is a remark.

use serde_json::{Map, Value};

use super::error::{SpecError, invalid};
use super::fields::Fields;
use super::rope::RopeSpec;

const DEFAULT_THETA: f64 = 10_000.0;
const ORIGINAL: &str = "original_max_position_embeddings";
/// Within `rope_scaling` or `rope_parameters`.
const THETA: &str = "rope_theta";

#[derive(Debug)]
pub(super) struct RawRope {
    /// What counts of `rope_scaling` and `rope_parameters`.
    scaling: Option<Map<String, Value>>,
    theta: f64,
    partial_rotary_factor: Option<f64>,
    remarks: Vec<String>,
}

impl RawRope {
    pub fn read(fields: &Fields) -> Result<Self, SpecError> {
        let mut remarks = Vec::new();
        let older = fields.object("rope_scaling")?;
        let newer = fields.object("rope_parameters")?;
        let within = older.or(newer);
        let number = |key| match within {
            Some(within) => within.number(key),
            None => Ok(None),
        };
        let theta = number(THETA)?.or(fields.number(THETA)?);
        if let (Some(_), Some(newer)) = (older, newer)
            && older.map(|fields| fields.map) != Some(newer.map)
        {
            let mut remark =
                "rope_scaling counts, and rope_parameters beside it does not".to_owned();
            if let (None, Some(other)) = (theta, newer.number(THETA)?) {
                remark += &format!(
                    ": so rope_theta is {DEFAULT_THETA}, not {other}, as for transformers; set it beside rope_scaling"
                );
            }
            remarks.push(remark);
        }
        let mut scaling = within.map(|within| within.map.clone());
        if let Some(scaling) = &mut scaling {
            if let (Some(kind), Some(other)) = (scaling.get("rope_type"), scaling.get("type"))
                && kind != other
            {
                remarks.push(format!(
                    "rope_type {kind} counts, and type {other} beside it does not"
                ));
            }
            if let Some(beside) = fields.number(ORIGINAL)? {
                let within = scaling.insert(ORIGINAL.to_owned(), beside.into());
                if let Some(within) = within.filter(|within| within.as_f64() != Some(beside)) {
                    remarks.push(format!(
                        "{ORIGINAL} counts as {beside}, as it stands by itself, and not as {within}"
                    ));
                }
            }
        }
        let partial = "partial_rotary_factor";
        Ok(Self {
            scaling,
            theta: theta.unwrap_or(DEFAULT_THETA),
            partial_rotary_factor: number(partial)?.or(fields.number(partial)?),
            remarks,
        })
    }

    pub fn spec(
        &self,
        max_positions: usize,
        remarks: &mut Vec<String>,
        file: &str,
    ) -> Result<RopeSpec, SpecError> {
        if let Some(factor) = self.partial_rotary_factor.filter(|&f| f != 1.0) {
            return Err(invalid(
                file,
                "partial_rotary_factor",
                factor,
                "only full rotary embeddings (1.0) are supported",
            ));
        }
        remarks.extend_from_slice(&self.remarks);
        let scaling = self.scaling.as_ref().map(|map| Fields { map, file });
        RopeSpec::new(self.theta, scaling, max_positions, file)
    }
}

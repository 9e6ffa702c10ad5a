//! From a model's files to its spec.

use serde_json::Value;

use super::config::RawConfig;
use super::error::SpecError;
use super::fields::Fields;
use super::quantization::QuantizationSpec;
use super::spec::ModelSpec;
use crate::ground::json::{self, Limits};
use crate::hub::ModelSource;

/// A spec, and what is to be said of the files that it was read from: sentences that name them.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    pub spec: ModelSpec,
    pub remarks: Vec<String>,
}

impl ModelSpec {
    /// Parses the text of a `config.json`; `file` names it in errors.
    pub fn from_json(text: &str, file: &str) -> Result<Self, SpecError> {
        Ok(Described::from_json(text, file)?.spec)
    }
}

impl Described {
    /// Of the files that were found of a model: how its weights are quantised may stand beside `config.json`.
    pub fn of(source: &ModelSource) -> Result<Self, SpecError> {
        let mut described = Self::from_json(&source.config_json, &source.config_name())?;
        if let (None, Some(beside)) = (&described.spec.quantization, &source.quantization) {
            described.spec.quantization = QuantizationSpec::beside(beside)?;
        }
        Ok(described)
    }

    /// Whether a `config.json` is of a family that the engine runs, whatever else is wrong with it.
    pub fn is_known(text: &str, file: &str) -> bool {
        let Ok(json) = json::parse(text.as_bytes(), Limits::CONFIG) else {
            return false;
        };
        let Value::Object(mut map) = json.value else {
            return false;
        };
        map.retain(|key, _| matches!(key.as_str(), "architectures" | "model_type"));
        let named = RawConfig::read(&Fields { map: &map, file });
        named.is_ok_and(|config| config.architecture(file).is_ok())
    }

    /// Parses the text of a `config.json`; `file` names it.
    pub fn from_json(text: &str, file: &str) -> Result<Self, SpecError> {
        let json =
            json::parse(text.as_bytes(), Limits::CONFIG).map_err(|source| SpecError::Json {
                file: file.to_owned(),
                source,
            })?;
        let Value::Object(map) = &json.value else {
            let file = file.to_owned();
            return Err(SpecError::NotAnObject { file });
        };
        let mut remarks = json.remarks;
        let spec = RawConfig::read(&Fields { map, file })?.into_spec(&mut remarks, file)?;
        let remarks = remarks.iter().map(|remark| format!("{file}: {remark}"));
        Ok(Self {
            spec,
            remarks: remarks.collect(),
        })
    }
}

//! The shape of a model that the engine may not run.

use super::error::{SessionError, Wish};
use crate::ground::Progress;
use crate::ground::safetensors_header::Stored;
use crate::hub::{self, HubSettings, ModelSource};
use crate::shape::reading::{self, Files, Named};
use crate::shape::{ModelShape, ShapeError};

/// By the configuration, and the headers of its weights where some are given.
pub fn of_configuration(
    source: &ModelSource,
    headers: Option<&[Stored]>,
) -> Result<ModelShape, ShapeError> {
    let file = source.config_name();
    let beside = source.quantization.as_ref();
    let beside_name = beside.map(|side| side.path.display().to_string());
    let beside = beside.zip(beside_name.as_ref());
    reading::read(&Files {
        config: Named {
            text: &source.config_json,
            name: &file,
        },
        beside: beside.map(|(side, name)| Named {
            text: &side.text,
            name,
        }),
        headers,
    })
}

/// By the configuration, and by the headers of its weights only where that does not tell.
pub fn of_others(
    source: &ModelSource,
    progress: &dyn Progress,
) -> Result<ModelShape, SessionError> {
    let error = match of_configuration(source, None) {
        Ok(shape) => return Ok(shape),
        Err(error @ (ShapeError::Family { .. } | ShapeError::Quantization { .. })) => error,
        Err(error) => return Err(Wish::from(error).into()),
    };
    match hub::headers(source, &HubSettings::from_env(), progress)? {
        Some(headers) => Ok(of_configuration(source, Some(&headers)).map_err(Wish::from)?),
        None => Err(Wish::from(error).into()),
    }
}

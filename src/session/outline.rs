//! The shape of a model that the engine may not run.

use crate::ground::safetensors_header::Stored;
use crate::hub::ModelSource;
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

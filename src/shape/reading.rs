//! A model's shape from its files: the configuration, what tools wrote beside it, and the headers of its weights.

use safetensors::Dtype;
use serde_json::{Map, Value};

use super::error::ShapeError;
use super::family;
use super::headers::{Measured, measure};
use super::keys::Keys;
use super::quantizer::Quantizer;
use super::{Code, Method, ModelShape, Quantization, Scheme};
use crate::ground::json::{self, Limits};
use crate::ground::safetensors_header::Stored;

/// A text, and what it is called in messages.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub text: &'a str,
    pub name: &'a str,
}

/// What is there of a model.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// `config.json`.
    pub config: Named<'a>,
    /// What a tool that quantised the weights wrote beside it.
    pub beside: Option<Named<'a>>,
    /// Tensors of all files of weights; `None`: the configuration alone.
    pub headers: Option<&'a [Stored]>,
}

/// # Errors
/// A file is malformed, or it does not tell what the model's bytes are.
pub fn read(files: &Files) -> Result<ModelShape, ShapeError> {
    let config = object(files.config)?;
    let config = Keys::new(&config, files.config.name);
    let beside = files.beside.map(object).transpose()?;
    let beside = files.beside.zip(beside.as_ref());
    let beside = beside.map(|(side, map)| Keys::new(map, side.name));
    let quantizer = Quantizer::read(&config, beside.as_ref());
    let Some(tensors) = files.headers else {
        return family::describe(&config, &quantizer?);
    };
    let (quantizer, seen) = match quantizer {
        Ok(quantizer) => (quantizer, None),
        // The headers tell the bytes; only what the card must be able to do is not known.
        Err(ShapeError::Quantization { method, .. }) => (Quantizer::default(), Some(method)),
        Err(error) => return Err(error),
    };
    let mut shape = family::outline_of(&config)?;
    shape.quantization = quantizer.quantization;
    shape.kv_in_fp8 = quantizer.kv_in_fp8;
    let bits = match quantizer.quantization {
        Some(Quantization::Other(scheme)) => scheme.bits,
        _ => 4,
    };
    if !measure(
        &mut shape,
        tensors.iter().map(|tensor| measured(tensor, bits)),
    ) {
        return Err(ShapeError::Damaged {
            file: files.config.name.to_owned(),
            reason: "its headers tell of more bytes than any model has".to_owned(),
        });
    }
    let packed = tensors
        .iter()
        .find(|tensor| !is_plain(tensor.dtype) && !is_index(tensor.dtype));
    match (&seen, shape.quantization, packed) {
        (Some(method), _, _) => shape.assumptions.push(format!(
            "nothing is known of weights quantised by {method}: their bytes are those of the headers, and every card is taken to run them"
        )),
        (None, None, Some(tensor)) => shape.assumptions.push(format!(
            "no file says how the weights are quantised, and {} is stored in {:?}: bytes are those of the headers",
            tensor.name, tensor.dtype
        )),
        (None, Some(_), None) if !tensors.is_empty() => shape.assumptions.push(
            "the weights are said to be quantised, and all are stored in 16 bits or more: bytes are those of the headers".to_owned(),
        ),
        _ => {}
    }
    if shape.quantization.is_none() && (seen.is_some() || packed.is_some()) {
        shape.quantization = Some(Quantization::Other(Scheme {
            method: Method::Unnamed,
            code: Code::Int,
            bits,
            group: None,
            activations: false,
            act_order: false,
        }));
    }
    Ok(shape)
}

fn object(file: Named) -> Result<Map<String, Value>, ShapeError> {
    let name = file.name;
    let json = json::parse(file.text.as_bytes(), Limits::CONFIG);
    let json = json.map_err(|source| ShapeError::Json {
        file: name.to_owned(),
        source,
    })?;
    match json.value {
        Value::Object(map) => Ok(map),
        _ => Err(ShapeError::NotAnObject {
            file: name.to_owned(),
        }),
    }
}

fn is_plain(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32 | Dtype::F64)
}

/// What no weight is packed in.
fn is_index(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::I64 | Dtype::U64 | Dtype::BOOL)
}

/// Of weights packed in so many bits.
fn measured(tensor: &Stored, bits: usize) -> Measured<'_> {
    let elements: u64 = tensor.shape.iter().map(|&n| n as u64).product();
    let in_each = match tensor.dtype {
        Dtype::I32 | Dtype::U32 => 32 / bits.max(1),
        Dtype::U8 if bits <= 4 => 2,
        _ => 1,
    };
    Measured {
        name: &tensor.name,
        shape: &tensor.shape,
        bytes: tensor.bytes.end - tensor.bytes.start,
        plain: is_plain(tensor.dtype),
        parameters: elements.saturating_mul(in_each as u64),
    }
}

//! What all methods have in common.

use serde_json::Value;

use super::excluded::Names;
use super::{Packing, Quantizer};
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;
use crate::shape::{Code, Method, Quantization, Scheme};

pub(super) type Outcome = Result<Quantizer, ShapeError>;

/// Bits that whole weights can have.
pub(super) const MOST_BITS: usize = 8;
/// Input features in a group of a type that fixes it.
pub(super) const NVFP4_GROUP: usize = 16;
pub(super) const MX_GROUP: usize = 32;
/// bitsandbytes: weights that share a largest value.
pub(super) const NF4_GROUP: usize = 64;

pub(super) fn unknown(keys: &Keys, method: &str) -> ShapeError {
    ShapeError::Quantization {
        file: keys.file.to_owned(),
        method: method.to_owned(),
    }
}

pub(super) fn scheme(method: Method, code: Code, bits: usize, group: usize) -> Scheme {
    Scheme {
        method,
        code,
        bits,
        group: Some(group).filter(|&group| group > 0),
        activations: false,
        act_order: false,
    }
}

/// All projections but those that a list names are packed alike.
pub(super) fn uniform(
    keys: &Keys,
    scheme: Scheme,
    packing: Packing,
    lists: &[&'static str],
) -> Outcome {
    Ok(Quantizer {
        quantization: Some(Quantization::Other(scheme)),
        excluded: excluded(keys, lists)?,
        groups: vec![(Names::default(), packing)],
        ..Quantizer::default()
    })
}

pub(super) fn excluded(keys: &Keys, lists: &[&'static str]) -> Result<Names, ShapeError> {
    let mut names = Vec::new();
    for list in lists {
        names.extend(keys.texts(list)?);
    }
    Names::new(names).ok_or_else(|| {
        ShapeError::invalid(
            keys.file,
            lists[0],
            "a list",
            "its names or expressions are too many, too long or malformed",
        )
    })
}

pub(super) fn bits(keys: &Keys, names: &[&str]) -> Result<usize, ShapeError> {
    let bits = keys.size(names)?;
    match bits <= MOST_BITS {
        true => Ok(bits),
        false => Err(ShapeError::invalid(
            keys.file,
            names[0],
            bits,
            "quantised weights have 8 bits at most",
        )),
    }
}

/// -1 and nothing are a whole row: 0.
pub(super) fn group(keys: &Keys, names: &[&str]) -> usize {
    let found = names.iter().find_map(|name| keys.value(name));
    found.and_then(Value::as_u64).unwrap_or(0).min(1 << 31) as usize
}

/// One scale for the whole tensor.
pub(super) const EIGHT_BITS: Packing = Packing {
    bits: 8,
    group: 0,
    scale: 0,
    zero_bits: 0,
    index: 0,
};
pub(super) const EIGHT_BITS_BY_ROW: Packing = Packing {
    scale: 4,
    ..EIGHT_BITS
};

pub(super) fn fp8_scheme(method: Method) -> Scheme {
    Scheme {
        activations: true,
        ..scheme(method, Code::Float, 8, 0)
    }
}

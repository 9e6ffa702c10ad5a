//! compressed-tensors and ModelOpt, which write in groups what they did to which modules.

use serde_json::Value;

use super::common::{
    EIGHT_BITS, EIGHT_BITS_BY_ROW, MX_GROUP, NVFP4_GROUP, Outcome, bits, excluded, fp8_scheme,
    group, scheme, uniform, unknown,
};
use super::excluded::Names;
use super::{Packing, Quantizer};
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;
use crate::shape::{Code, Method, Quantization, Scheme};

pub(super) fn modelopt(keys: &Keys) -> Outcome {
    let Some(algorithm) = keys.text("quant_algo") else {
        // Only the KV cache, or the groups of compressed-tensors.
        return match keys.value("config_groups") {
            Some(_) => compressed_tensors(keys),
            None => Ok(Quantizer {
                kv_in_fp8: kv_in_fp8(keys),
                ..Quantizer::default()
            }),
        };
    };
    let lists = ["exclude_modules", "ignore", "modules_to_not_convert"];
    let four = |group: usize| Packing {
        bits: 4,
        group,
        scale: 1,
        ..Packing::default()
    };
    let (scheme, packing) = match algorithm.to_ascii_uppercase().as_str() {
        "FP8" => (fp8_scheme(Method::ModelOpt), EIGHT_BITS),
        "FP8_PER_CHANNEL_PER_TOKEN" => (fp8_scheme(Method::ModelOpt), EIGHT_BITS_BY_ROW),
        "NVFP4" | "NVFP4_AWQ" | "W4A16_NVFP4" => (
            Scheme {
                activations: !algorithm.starts_with("W4A16"),
                ..scheme(Method::ModelOpt, Code::Float, 4, NVFP4_GROUP)
            },
            four(NVFP4_GROUP),
        ),
        "MXFP8" => (
            scheme(Method::ModelOpt, Code::Float, 8, MX_GROUP),
            Packing {
                group: MX_GROUP,
                scale: 1,
                ..EIGHT_BITS
            },
        ),
        "W4A16_AWQ" | "W4A8_AWQ" => {
            let group = match group(keys, &["group_size"]) {
                0 => 128,
                group => group,
            };
            (
                scheme(Method::ModelOpt, Code::Int, 4, group),
                Packing {
                    scale: 2,
                    ..four(group)
                },
            )
        }
        other => return Err(unknown(keys, &format!("ModelOpt in {other}"))),
    };
    let mut quantizer = uniform(keys, scheme, packing, &lists)?;
    quantizer.kv_in_fp8 = kv_in_fp8(keys);
    Ok(quantizer)
}

fn kv_in_fp8(keys: &Keys) -> bool {
    let scheme = keys.object("kv_cache_scheme");
    keys.text("kv_cache_quant_algo") == Some("FP8")
        || scheme.is_some_and(|scheme| {
            scheme.text("type") == Some("float") && scheme.number("num_bits") == Some(8.0)
        })
}

pub(super) fn compressed_tensors(keys: &Keys) -> Outcome {
    let mut quantizer = Quantizer {
        excluded: excluded(keys, &["ignore"])?,
        kv_in_fp8: kv_in_fp8(keys),
        ..Quantizer::default()
    };
    let groups = keys.object("config_groups");
    let groups = groups.iter().flat_map(|groups| groups.map.values());
    for group in groups.filter_map(Value::as_object) {
        let group = Keys::new(group, keys.file);
        let Some(weights) = group.object("weights") else {
            continue;
        };
        let (mut scheme, packing) = numbers(&weights)?;
        scheme.activations = group.object("input_activations").is_some();
        let targets = group.texts("targets")?;
        let all = targets.contains(&"Linear") || targets.is_empty();
        let names = match all {
            true => Some(Names::default()),
            false => Names::new(targets),
        };
        let Some(names) = names else {
            return Err(ShapeError::invalid(
                keys.file,
                "targets",
                "a list",
                "its names or expressions are too many, too long or malformed",
            ));
        };
        // What names single modules goes before what means all.
        match all {
            true => quantizer.groups.push((names, packing)),
            false => quantizer.groups.insert(0, (names, packing)),
        }
        quantizer
            .quantization
            .get_or_insert(Quantization::Other(scheme));
    }
    match quantizer.quantization.is_some() || quantizer.kv_in_fp8 {
        true => Ok(quantizer),
        false => Err(unknown(
            keys,
            "compressed-tensors without weights in its config_groups",
        )),
    }
}

/// Of the `weights` of a group.
fn numbers(weights: &Keys) -> Result<(Scheme, Packing), ShapeError> {
    let bits = bits(weights, &["num_bits"])?;
    let code = match weights.text("type") {
        Some("float") => Code::Float,
        _ => Code::Int,
    };
    let strategy = weights.text("strategy").unwrap_or_default();
    let group = group(weights, &["group_size"]);
    let group = match strategy {
        "channel" | "tensor" => 0,
        // Blocks of rows and columns take less than a scale a row and group.
        "block" => 128 * 128,
        _ => group,
    };
    let scale = match (code, bits, group) {
        _ if strategy == "tensor" => 0,
        (Code::Float, 4, _) => 1,
        (_, _, 0) => 4,
        _ => 2,
    };
    let symmetric = weights.flag("symmetric", true);
    let packing = Packing {
        bits,
        group,
        scale,
        zero_bits: if symmetric || group == 0 { 0 } else { bits },
        index: 0,
    };
    let act_order = weights
        .value("actorder")
        .is_some_and(|order| order.as_bool() == Some(true) || order.as_str() == Some("group"));
    let scheme = Scheme {
        act_order,
        ..scheme(Method::CompressedTensors, code, bits, group)
    };
    let packing = Packing {
        index: if act_order { 8 } else { 0 },
        ..packing
    };
    Ok((scheme, packing))
}

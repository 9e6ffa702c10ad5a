//! What each tool writes about how it quantised.

use serde_json::Value;

use super::excluded::Names;
use super::{Packing, Quantizer};
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;
use crate::shape::{Code, Method, Quantization, Scheme};

type Outcome = Result<Quantizer, ShapeError>;

/// Bits that whole weights can have.
const MOST_BITS: usize = 8;
/// Input features in a group of a type that fixes it.
const NVFP4_GROUP: usize = 16;
const MX_GROUP: usize = 32;
/// bitsandbytes: weights that share a largest value.
const NF4_GROUP: usize = 64;

/// Under one of the keys of a `config.json`; `None`: it says nothing.
pub(super) fn within(config: &Keys) -> Option<Outcome> {
    let keys = ["quantization_config", "compression_config"];
    let inner = config.object("text_config");
    let found = keys.iter().find_map(|key| config.object(key));
    let nested = || keys.iter().find_map(|key| inner?.object(key));
    if let Some(found) = found.or_else(nested) {
        return Some(stated(&found));
    }
    let mlx = config.object("quantization")?;
    Some(match mlx.value("bits") {
        Some(bits) => Err(unknown(&mlx, &format!("MLX in {bits} bits"))),
        None => modelopt(&mlx),
    })
}

/// In `hf_quant_config.json`, `quantize_config.json` or `quant_config.json`; `None`: it says nothing.
pub(super) fn beside(side: &Keys) -> Option<Outcome> {
    if let Some(keys) = side.object("quantization") {
        return match keys.value("quant_algo").is_some()
            || keys.value("kv_cache_quant_algo").is_some()
        {
            true => Some(modelopt(&keys)),
            false => None,
        };
    }
    match (side.value("w_bit"), side.value("bits")) {
        (Some(_), _) => Some(awq(side)),
        (None, Some(_)) => Some(gptq(side)),
        (None, None) => Some(Err(unknown(side, "an unnamed method"))),
    }
}

fn stated(keys: &Keys) -> Outcome {
    let method = match (keys.text("quant_method"), keys.text("quant_algo")) {
        (Some(method), _) => method,
        (None, Some(_)) => "modelopt",
        (None, None) if keys.value("config_groups").is_some() => "compressed-tensors",
        (None, None) if keys.value("load_in_4bit").is_some() => "bitsandbytes",
        (None, None) if keys.value("load_in_8bit").is_some() => "bitsandbytes",
        (None, None) => "an unnamed method",
    };
    let method = method.to_ascii_lowercase();
    let packing = keys.text("packing_format").unwrap_or_default();
    match method.as_str() {
        "awq" | "awq_marlin" => awq(keys),
        "gptq" | "gptq_marlin" | "gptqmodel" => gptq(keys),
        "auto-round" | "auto_round" | "intel/auto-round" if packing.contains("awq") => awq(keys),
        "auto-round" | "auto_round" | "intel/auto-round" => gptq(keys),
        "compressed-tensors" => compressed_tensors(keys),
        "fp8" => fp8(keys),
        "fbgemm_fp8" => fbgemm_fp8(keys),
        "modelopt" | "modelopt_fp4" | "nvfp4" => modelopt(keys),
        "bitsandbytes" => bitsandbytes(keys),
        "mxfp4" | "gpt_oss_mxfp4" => mxfp4(keys),
        "torchao" => torchao(keys),
        "quark" => quark(keys),
        other => Err(unknown(keys, other)),
    }
}

fn unknown(keys: &Keys, method: &str) -> ShapeError {
    ShapeError::Quantization {
        file: keys.file.to_owned(),
        method: method.to_owned(),
    }
}

fn scheme(method: Method, code: Code, bits: usize, group: usize) -> Scheme {
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
fn uniform(keys: &Keys, scheme: Scheme, packing: Packing, lists: &[&'static str]) -> Outcome {
    Ok(Quantizer {
        quantization: Some(Quantization::Other(scheme)),
        excluded: excluded(keys, lists)?,
        groups: vec![(Names::default(), packing)],
        ..Quantizer::default()
    })
}

fn excluded(keys: &Keys, lists: &[&'static str]) -> Result<Names, ShapeError> {
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

fn bits(keys: &Keys, names: &[&str]) -> Result<usize, ShapeError> {
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
fn group(keys: &Keys, names: &[&str]) -> usize {
    let found = names.iter().find_map(|name| keys.value(name));
    found.and_then(Value::as_u64).unwrap_or(0).min(1 << 31) as usize
}

fn awq(keys: &Keys) -> Outcome {
    let bits = bits(keys, &["bits", "w_bit"])?;
    let group = group(keys, &["group_size", "q_group_size"]);
    let packing = Packing {
        bits,
        group,
        scale: 2,
        zero_bits: if keys.flag("zero_point", true) {
            bits
        } else {
            0
        },
        index: 0,
    };
    let scheme = scheme(Method::Awq, Code::Int, bits, group);
    uniform(keys, scheme, packing, &["modules_to_not_convert"])
}

fn gptq(keys: &Keys) -> Outcome {
    let bits = bits(keys, &["bits"])?;
    let group = group(keys, &["group_size"]);
    let act_order = keys.flag("desc_act", false) && group > 0;
    let packing = Packing {
        bits,
        group,
        scale: 2,
        // Where they all are the middle, kernels need none.
        zero_bits: if keys.flag("sym", true) { 0 } else { bits },
        // The order and its inverse.
        index: if act_order { 8 } else { 0 },
    };
    let scheme = Scheme {
        act_order,
        ..scheme(Method::Gptq, Code::Int, bits, group)
    };
    let mut quantizer = uniform(keys, scheme, packing, &["modules_to_not_convert"])?;
    quantizer.packs_head = keys.flag("lm_head", false);
    for key in ["dynamic", "extra_config"] {
        if keys.object(key).is_some() {
            quantizer.assumptions.push(format!(
                "{}: what {key} says of single modules is not counted: all projections are taken for {bits} bits",
                keys.file
            ));
        }
    }
    Ok(quantizer)
}

fn fp8(keys: &Keys) -> Outcome {
    let format = keys.text("fmt").unwrap_or("e4m3");
    if format != "e4m3" && format != "float8_e4m3fn" {
        return Err(unknown(keys, &format!("fp8 in {format}")));
    }
    let lists = ["modules_to_not_convert", "ignored_layers"];
    if let Some(value) = keys.value("weight_block_size") {
        let block: Option<[usize; 2]> = serde_json::from_value(value.clone()).ok();
        let block = block.filter(|block| block.iter().all(|&n| n > 0 && n < 1 << 31));
        let Some(block) = block else {
            return Err(ShapeError::invalid(
                keys.file,
                "quantization_config.weight_block_size",
                value,
                "it must be two positive numbers, rows and columns of a block",
            ));
        };
        return Ok(Quantizer {
            quantization: Some(Quantization::Fp8 { block }),
            excluded: excluded(keys, &lists)?,
            ..Quantizer::default()
        });
    }
    uniform(keys, fp8_scheme(Method::Fp8), EIGHT_BITS, &lists)
}

/// One scale for the whole tensor.
const EIGHT_BITS: Packing = Packing {
    bits: 8,
    group: 0,
    scale: 0,
    zero_bits: 0,
    index: 0,
};
const EIGHT_BITS_BY_ROW: Packing = Packing {
    scale: 4,
    ..EIGHT_BITS
};

fn fp8_scheme(method: Method) -> Scheme {
    Scheme {
        activations: true,
        ..scheme(method, Code::Float, 8, 0)
    }
}

fn fbgemm_fp8(keys: &Keys) -> Outcome {
    let scheme = fp8_scheme(Method::FbgemmFp8);
    uniform(keys, scheme, EIGHT_BITS_BY_ROW, &["modules_to_not_convert"])
}

fn modelopt(keys: &Keys) -> Outcome {
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

fn bitsandbytes(keys: &Keys) -> Outcome {
    let lists = ["llm_int8_skip_modules"];
    let eight = keys.flag("load_in_8bit", false) || keys.flag("_load_in_8bit", false);
    if eight {
        let scheme = scheme(Method::BitsAndBytes, Code::Int, 8, 0);
        return uniform(keys, scheme, EIGHT_BITS_BY_ROW, &lists);
    }
    // The largest values of 64 weights each, themselves in 8 bits unless the file says they are not.
    let double = keys.flag("bnb_4bit_use_double_quant", true);
    let packing = Packing {
        bits: 4,
        group: NF4_GROUP,
        scale: if double { 1 } else { 4 },
        ..Packing::default()
    };
    let scheme = scheme(Method::BitsAndBytes, Code::Float, 4, NF4_GROUP);
    uniform(keys, scheme, packing, &lists)
}

fn mxfp4(keys: &Keys) -> Outcome {
    let packing = Packing {
        bits: 4,
        group: MX_GROUP,
        scale: 1,
        ..Packing::default()
    };
    let scheme = scheme(Method::Mxfp4, Code::Float, 4, MX_GROUP);
    let mut quantizer = uniform(keys, scheme, packing, &["modules_to_not_convert"])?;
    quantizer.experts_only = true;
    Ok(quantizer)
}

/// By the name of the configuration's class.
fn torchao(keys: &Keys) -> Outcome {
    let written = keys
        .value("quant_type")
        .map(Value::to_string)
        .unwrap_or_default();
    let name = written.to_ascii_lowercase();
    let packing = |bits| Packing {
        bits,
        group: if bits == 4 { 128 } else { 0 },
        scale: if bits == 4 { 2 } else { 4 },
        zero_bits: if bits == 4 { 16 } else { 0 },
        index: 0,
    };
    let has = |part: &str| name.contains(part);
    let (code, bits) = match () {
        () if has("float8") => (Code::Float, 8),
        () if has("int4") => (Code::Int, 4),
        () if has("int8") => (Code::Int, 8),
        () => return Err(unknown(keys, &format!("torchao in {written}"))),
    };
    let group = packing(bits).group;
    let lists = ["modules_to_not_convert"];
    uniform(
        keys,
        scheme(Method::TorchAo, code, bits, group),
        packing(bits),
        &lists,
    )
}

fn quark(keys: &Keys) -> Outcome {
    let weight = keys
        .object("global_quant_config")
        .and_then(|all| all.object("weight"));
    let kind = weight
        .and_then(|weight| weight.text("dtype"))
        .unwrap_or_default();
    let lists = ["exclude"];
    match kind {
        "fp8_e4m3" => uniform(keys, fp8_scheme(Method::Quark), EIGHT_BITS_BY_ROW, &lists),
        "fp4" => {
            let packing = Packing {
                bits: 4,
                group: MX_GROUP,
                scale: 1,
                ..Packing::default()
            };
            uniform(
                keys,
                scheme(Method::Quark, Code::Float, 4, MX_GROUP),
                packing,
                &lists,
            )
        }
        other => Err(unknown(keys, &format!("quark in {other:?}"))),
    }
}

fn compressed_tensors(keys: &Keys) -> Outcome {
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
        let all = targets.iter().any(|target| *target == "Linear") || targets.is_empty();
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

//! What each tool writes about how it quantised.

use serde_json::Value;

use super::common::{
    EIGHT_BITS, EIGHT_BITS_BY_ROW, MX_GROUP, NF4_GROUP, NVFP4_GROUP, Outcome, bits, excluded,
    fp8_scheme, group, scheme, uniform, unknown,
};
use super::grouped::{compressed_tensors, modelopt};
use super::{Packing, Quantizer};
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;
use crate::shape::{Code, Method, Quantization, Scheme};

/// Under one of the keys of a `config.json`; `None`: it says nothing.
pub(super) fn within(config: &Keys) -> Option<Outcome> {
    let keys = ["quantization_config", "compression_config"];
    let other = |key: &&&str| config.value(key).is_some_and(|value| !value.is_object());
    if let Some(key) = keys.iter().find(other) {
        let rule = "it must be an object, such as {\"quant_method\": \"awq\", \"bits\": 4}";
        let value = config.value(key).cloned().unwrap_or_default();
        return Some(Err(ShapeError::invalid(config.file, key, value, rule)));
    }
    let inner = config.object("text_config");
    let found = keys.iter().find_map(|key| config.object(key));
    let nested = || keys.iter().find_map(|key| inner?.object(key));
    if let Some(found) = found.or_else(nested) {
        return Some(stated(&found).and_then(|quantizer| with_experts(quantizer, config, &found)));
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

/// DeepSeek-V4's experts have a type of their own, which stands beside what is said of the other weights.
fn with_experts(quantizer: Quantizer, config: &Keys, stated: &Keys) -> Outcome {
    let group = match (config.text("expert_dtype"), stated.text("moe_quant_algo")) {
        (None, _) => return Ok(quantizer),
        (Some("fp4"), Some("NVFP4")) => NVFP4_GROUP,
        (Some("fp4"), None) => MX_GROUP,
        (Some(found), _) => {
            return Err(unknown(config, &format!("experts in {found}")));
        }
    };
    let packing = Packing {
        bits: 4,
        group,
        scale: 1,
        ..Packing::default()
    };
    Ok(Quantizer {
        experts: Some(packing),
        ..quantizer
    })
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

fn fbgemm_fp8(keys: &Keys) -> Outcome {
    let scheme = fp8_scheme(Method::FbgemmFp8);
    uniform(keys, scheme, EIGHT_BITS_BY_ROW, &["modules_to_not_convert"])
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

//! `config.json` as it is found in the wild: every card, every spelling, every refusal.

use candlepower::hub::CARDS;
use candlepower::model::rope::RopeScaling;
use candlepower::model::tensors::expected;
use candlepower::model::{Architecture, Described, ModelSpec, WeightType};
use serde_json::{Value, json};

/// Parameters as the publishers state them, to the last one.
const PARAMETERS: [(&str, u64); 10] = [
    ("Qwen2.5-0.5B", 494_032_768),
    ("Qwen3-0.6B", 596_049_920),
    ("DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
    ("DeepSeek-R1-Distill-Qwen-14B", 14_770_033_664),
    ("DeepSeek-R1-Distill-Qwen-32B", 32_763_876_352),
    ("DeepSeek-R1-Distill-Llama-8B", 8_030_261_248),
    ("DeepSeek-R1-Distill-Llama-70B", 70_553_706_496),
    ("QwQ-32B", 32_763_876_352),
    ("Qwen3-235B-A22B", 235_093_634_560),
    ("Qwen3-235B-A22B-FP8", 235_093_634_560),
];

#[test]
fn cards_have_their_published_parameters() {
    assert_eq!(CARDS.len(), PARAMETERS.len());
    for card in CARDS {
        let spec = ModelSpec::from_json(card.config_json, card.name).unwrap();
        let published = PARAMETERS.iter().find(|(name, _)| *name == card.name);
        assert_eq!(
            Some(spec.parameters()),
            published.map(|p| p.1),
            "{}",
            card.name
        );
        assert!(spec.check_runnable(card.name).is_ok(), "{}", card.name);
        // Scales are no parameters.
        if spec.quantization.is_none() {
            // The tensor list and the formula are two ways to count the same weights.
            let elements: usize = expected(&spec)
                .iter()
                .map(|t| t.shape.iter().product::<usize>())
                .sum();
            assert_eq!(elements as u64, spec.parameters(), "{}", card.name);
        }
    }
}

fn config(changes: Value) -> String {
    let mut config = json!({
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 100,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    });
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => config.as_object_mut().unwrap().remove(key),
            value => config
                .as_object_mut()
                .unwrap()
                .insert(key.clone(), value.clone()),
        };
    }
    config.to_string()
}

fn spec(changes: Value) -> ModelSpec {
    ModelSpec::from_json(&config(changes), "config.json").unwrap()
}

fn refusal(changes: Value) -> String {
    let spec = ModelSpec::from_json(&config(changes), "config.json");
    let outcome = spec.and_then(|spec| spec.check_runnable("config.json"));
    let text = outcome.unwrap_err().to_string();
    assert!(text.starts_with("config.json: "), "{text}");
    text
}

fn llama(changes: Value) -> ModelSpec {
    let mut all = json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama"});
    all.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    spec(all)
}

#[test]
fn families_differ_in_their_switches() {
    let qwen2 = spec(json!({}));
    assert!(qwen2.qkv_bias && !qwen2.o_bias && !qwen2.qk_norm);
    assert_eq!(qwen2.head_dim, 8);
    let qwen3 = spec(json!({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}));
    assert!(!qwen3.qkv_bias && !qwen3.o_bias && qwen3.qk_norm);
    assert_eq!(qwen3.head_dim, 128);
    let biased = llama(json!({"attention_bias": true, "mlp_bias": true}));
    assert!(biased.qkv_bias && biased.o_bias && biased.mlp_bias && !biased.qk_norm);
    let plain = llama(json!({"head_dim": 16, "num_key_value_heads": null}));
    assert!(!plain.qkv_bias && !plain.o_bias && !plain.mlp_bias);
    assert_eq!((plain.head_dim, plain.num_key_value_heads), (16, 8));
    assert_eq!(plain.q_size(), 128);
}

#[test]
fn the_class_or_the_type_alone_is_enough() {
    assert_eq!(
        spec(json!({"architectures": null})).architecture,
        Architecture::Qwen2
    );
    assert_eq!(
        spec(json!({"model_type": null})).architecture,
        Architecture::Qwen2
    );
    assert!(refusal(json!({"architectures": null, "model_type": null})).contains("model_type"));
}

#[test]
fn weight_types_have_many_spellings() {
    let of = |changes| spec(changes).weight_type;
    assert_eq!(of(json!({})), Some(WeightType::Bf16));
    assert_eq!(of(json!({"torch_dtype": null})), None);
    assert_eq!(
        of(json!({"torch_dtype": null, "dtype": "float16"})),
        Some(WeightType::F16)
    );
    assert_eq!(
        of(json!({"torch_dtype": "torch.float32"})),
        Some(WeightType::F32)
    );
    assert!(refusal(json!({"torch_dtype": "int8"})).contains("\"int8\""));
}

#[test]
fn sliding_windows_need_their_switch() {
    let window = json!({"sliding_window": 32, "max_window_layers": 2});
    assert!(spec(window).layer_windows.is_empty());
    let on =
        spec(json!({"sliding_window": 32, "max_window_layers": 2, "use_sliding_window": true}));
    assert_eq!(on.layer_windows, [None, None, Some(32), Some(32)]);
    let kinds = [
        "full_attention",
        "sliding_attention",
        "full_attention",
        "sliding_attention",
    ];
    let listed =
        spec(json!({"sliding_window": 32, "use_sliding_window": true, "layer_types": kinds}));
    assert_eq!(listed.layer_windows, [None, Some(32), None, Some(32)]);
    let mut cut = listed.clone();
    cut.truncate_layers(2);
    assert_eq!((cut.num_hidden_layers, cut.layer_window(1)), (2, Some(32)));
    let odd = json!({"use_sliding_window": true, "layer_types": ["x", "x", "x", "x"]});
    assert!(refusal(odd).contains("layer_types"));
}

#[test]
fn rope_is_read_flat_and_nested() {
    let flat = spec(json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}}));
    let nested = spec(json!({
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}
    }));
    assert_eq!(flat.rope, nested.rope);
    assert_eq!(flat.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    let plain = spec(json!({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}));
    assert_eq!(
        (plain.rope.theta, plain.rope.scaling),
        (1e6, RopeScaling::Default)
    );
    assert_eq!(spec(json!({})).rope.theta, 1e4);
}

#[test]
fn yarn_takes_its_published_defaults() {
    let scaling =
        json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128});
    let RopeScaling::Yarn {
        factor,
        attention_factor,
        beta_fast,
        beta_slow,
        ..
    } = spec(json!({"rope_scaling": scaling})).rope.scaling
    else {
        panic!("not yarn");
    };
    assert_eq!((factor, beta_fast, beta_slow), (4.0, 32.0, 1.0));
    // 0.1 ln 4 + 1
    assert!((attention_factor - 1.138_629_436_111_989).abs() < 1e-12);
}

/// A stretched embedding reaches further than the config writes; Llama 3.1's factor is in what it writes.
#[test]
fn positions_are_those_of_the_stretched_embedding() {
    let positions = |scaling: Value| spec(json!({ "rope_scaling": scaling })).shape().positions;
    let yarn = |original: usize| json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": original});
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512
    });
    assert_eq!(positions(Value::Null), 512);
    assert_eq!(positions(json!({"type": "linear", "factor": 2.5})), 1280);
    assert_eq!(positions(yarn(512)), 2048);
    assert_eq!(positions(yarn(64)), 512);
    assert_eq!(positions(llama3), 512);
}

#[test]
fn a_shape_has_the_rule_of_each_layer() {
    let windows = json!({"use_sliding_window": true, "sliding_window": 32, "max_window_layers": 2});
    let spec = spec(windows);
    let shape = spec.shape();
    let windows = shape.layers.iter().map(|layer| layer.kv.window());
    assert_eq!(windows.collect::<Vec<_>>(), spec.layer_windows);
    // 4 layers of K and V, 2 heads of 8.
    assert_eq!(shape.kv_elements_per_token(1), 4 * 2 * 2 * 8);
    assert_eq!(spec.kv_elements_per_token(), 4 * 2 * 2 * 8);
    assert_eq!(shape.kv_elements_per_token(8), 4 * 2 * 8);
    assert_eq!((shape.dense_width(), shape.experts()), (Some(96), None));
}

/// Worked by hand from the rule: theta 500,000, head 4, original length 64, factor 8, bands 1 and 4.
#[test]
fn llama3_scales_long_waves_and_keeps_short_ones() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64
    });
    let rope = llama(json!({"rope_theta": 5e5, "rope_scaling": scaling})).rope;
    let found = rope.inverse_frequencies(4);
    // 64 / (2 pi) = 10.19 turns: above 4, kept. The next makes 0.0144 turns: below 1, divided by 8.
    assert_eq!(found[0], 1.0);
    assert!((found[1] - 5e5_f64.powf(-0.5) / 8.0).abs() < 1e-15);
}

#[test]
fn what_cannot_be_used_is_named() {
    let mistral = json!({"architectures": ["MistralForCausalLM"], "model_type": "mistral"});
    assert!(refusal(mistral).contains("MistralForCausalLM"));
    let classifier = json!({"architectures": ["Qwen2ForSequenceClassification"]});
    assert!(refusal(classifier).contains("Qwen2ForSequenceClassification"));
    let longrope = json!({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}});
    assert!(refusal(longrope).contains("longrope"));
    let unnamed = json!({"rope_scaling": {"factor": 2.0}});
    assert!(refusal(unnamed).contains("factor"));
    assert!(refusal(json!({"rope_scaling": {"type": "linear"}})).contains("factor is missing"));
    assert!(refusal(json!({"rope_scaling": {"type": "linear", "factor": -1.0}})).contains("-1"));
    assert!(refusal(json!({"hidden_act": "gelu"})).contains("gelu"));
    assert!(refusal(json!({"partial_rotary_factor": 0.5})).contains("0.5"));
    assert!(refusal(json!({"num_attention_heads": 9})).contains("num_key_value_heads (2)"));
    assert!(refusal(json!({"hidden_size": 0})).contains("hidden_size is 0"));
    assert!(refusal(json!({"vocab_size": null})).contains("vocab_size is missing"));
    assert!(refusal(json!({"head_dim": 7})).contains("head_dim is 7"));
    assert!(refusal(json!({"hidden_size": "64"})).contains("hidden_size is \"64\", but"));
    assert!(refusal(json!({"rms_norm_eps": -1e-6})).contains("rms_norm_eps"));
    let gptq = json!({"quantization_config": {"quant_method": "gptq", "bits": 4}});
    assert!(refusal(gptq).contains("gptq"));
}

#[test]
fn end_tokens_come_as_one_or_many() {
    assert_eq!(spec(json!({"eos_token_id": 7})).eos_token_ids, [7]);
    assert_eq!(spec(json!({"eos_token_id": [7, 9]})).eos_token_ids, [7, 9]);
    assert!(spec(json!({})).eos_token_ids.is_empty());
}

fn described(changes: Value) -> Described {
    let mut all = json!({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"});
    all.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    Described::from_json(&config(all), "config.json").unwrap()
}

/// transformers 5.24: `rope_scaling or rope_parameters`, then what stands within, beside, by default.
#[test]
fn of_two_keys_about_rotary_embeddings_the_one_of_transformers_counts() {
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128});
    let plain = json!({"rope_type": "default", "rope_theta": 1e6});
    let with_theta = json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5});
    let is_yarn = |scaling: &RopeScaling| matches!(scaling, RopeScaling::Yarn { .. });
    for (changes, yarn_counts, theta, remark) in [
        (
            json!({"rope_scaling": yarn, "rope_parameters": plain}),
            true,
            1e4,
            "so rope_theta is 10000, not 1000000",
        ),
        (
            json!({"rope_scaling": yarn, "rope_parameters": plain, "rope_theta": 3e6}),
            true,
            3e6,
            "rope_scaling counts",
        ),
        (
            json!({"rope_scaling": with_theta, "rope_parameters": plain, "rope_theta": 3e6}),
            false,
            5e5,
            "rope_scaling counts",
        ),
        (
            json!({"rope_scaling": {}, "rope_parameters": plain}),
            false,
            1e6,
            "",
        ),
        (
            json!({"rope_scaling": null, "rope_parameters": yarn, "rope_theta": 7e5}),
            true,
            7e5,
            "",
        ),
        (
            json!({"rope_parameters": plain, "rope_theta": 7e5}),
            false,
            1e6,
            "",
        ),
        (
            json!({"rope_scaling": plain, "rope_parameters": plain}),
            false,
            1e6,
            "",
        ),
        (
            json!({"rope_scaling": yarn, "rope_theta": 7e5}),
            true,
            7e5,
            "",
        ),
    ] {
        let Described { spec, remarks } = described(changes.clone());
        assert_eq!(is_yarn(&spec.rope.scaling), yarn_counts, "{changes}");
        assert_eq!(spec.rope.theta, theta, "{changes}");
        assert_eq!(
            remarks.is_empty(),
            remark.is_empty(),
            "{changes}: {remarks:?}"
        );
        let all = remarks.concat();
        assert!(
            all.contains(remark) && (all.is_empty() || all.starts_with("config.json: ")),
            "{all}"
        );
    }
}

#[test]
fn other_pairs_of_keys_about_rotary_embeddings() {
    // `rope_type` before `type`.
    let both = json!({"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 2.0}});
    let Described { spec, remarks } = described(both);
    assert_eq!(spec.rope.scaling, RopeScaling::Linear { factor: 2.0 });
    assert!(
        remarks[0].contains("rope_type \"linear\" counts"),
        "{remarks:?}"
    );
    // The original length beside before the one within.
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
    let beside = json!({"rope_scaling": yarn, "original_max_position_embeddings": 128});
    let Described { spec, remarks } = described(beside);
    let RopeScaling::Yarn {
        original_max_position_embeddings,
        ..
    } = spec.rope.scaling
    else {
        panic!("{:?}", spec.rope);
    };
    assert_eq!(original_max_position_embeddings, 128.0);
    assert!(remarks[0].contains("counts as 128"), "{remarks:?}");
    // What is no object is not passed over.
    for scaling in [json!("yarn"), json!(4.0), json!(["yarn"])] {
        assert!(refusal(json!({"rope_scaling": scaling})).contains("rope_scaling is"));
    }
}

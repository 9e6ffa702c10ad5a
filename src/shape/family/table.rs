//! The families of models whose every layer has attention and a gated MLP, as data: where each differs from Llama. Sizes come from a
//! model's configuration.
//!
//! Source: the configuration and modelling files of each family in Hugging Face transformers.

use super::kind::{Family, Flag, QkNorm, Windows};

pub(super) const LLAMA: Family = Family {
    names: &[
        "llama",
        "Yi",
        "smollm3",
        "internlm3",
        "granite",
        "deci",
        "nemotron-nas",
        "mllama_text_model",
        "mllama",
    ],
    qkv_bias: Flag::Key("attention_bias", false),
    o_bias: Flag::Key("attention_bias", false),
    mlp_bias: Flag::Key("mlp_bias", false),
    gated: true,
    qk_norm: QkNorm::Never,
    norms: 2,
    norm_bias: false,
    tied: false,
    windows: Windows::Never,
    gated_attention: false,
    both: false,
    learned_positions: None,
    defaults: &[],
};

const QWEN2: Family = Family {
    names: &[
        "qwen2",
        "qwen2_vl",
        "qwen2_vl_text",
        "qwen2_5_vl",
        "qwen2_5_vl_text",
        "qwen2_5_omni_text",
    ],
    qkv_bias: Flag::Always,
    o_bias: Flag::Never,
    mlp_bias: Flag::Never,
    windows: Windows::Switched,
    ..LLAMA
};

pub(super) const QWEN3: Family = Family {
    names: &[
        "qwen3",
        "qwen3_moe",
        "qwen3_vl",
        "qwen3_vl_text",
        "qwen3_vl_moe",
        "qwen3_vl_moe_text",
        "qwen3_omni_moe_text",
    ],
    mlp_bias: Flag::Never,
    qk_norm: QkNorm::Head,
    windows: Windows::Switched,
    defaults: &[("head_dim", 128)],
    ..LLAMA
};

const GEMMA: Family = Family {
    names: &["gemma"],
    tied: true,
    defaults: &[("head_dim", 256)],
    ..LLAMA
};

const GEMMA3: Family = Family {
    names: &["gemma3_text", "gemma3"],
    qk_norm: QkNorm::Head,
    norms: 4,
    windows: Windows::AllBut(6),
    defaults: &[
        ("head_dim", 256),
        ("vocab_size", 262_208),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 4),
        ("max_position_embeddings", 131_072),
        ("sliding_window", 4096),
    ],
    ..GEMMA
};

const COHERE: Family = Family {
    names: &["cohere"],
    qk_norm: QkNorm::WholeIf("use_qk_norm"),
    norms: 1,
    tied: true,
    ..LLAMA
};

pub(super) const DEEPSEEK: Family = Family {
    names: &[
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "glm_moe_dsa",
        "kimi_k2",
        "glm4_moe_lite",
        "minicpm3",
    ],
    qkv_bias: Flag::Key("attention_bias", false),
    ..LLAMA
};

const DEEPSEEK_V4: Family = Family {
    names: &["deepseek_v4"],
    ..LLAMA
};

const OLMO2: Family = Family {
    names: &["olmo2"],
    qk_norm: QkNorm::Whole,
    ..LLAMA
};

/// Families whose layers all have attention.
pub(super) const FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        names: &["mistral", "ministral", "ministral3", "mixtral", "pixtral"],
        qkv_bias: Flag::Never,
        o_bias: Flag::Never,
        windows: Windows::All,
        ..LLAMA
    },
    QWEN2,
    Family {
        names: &["qwen2_moe"],
        qkv_bias: Flag::Key("qkv_bias", true),
        ..QWEN2
    },
    QWEN3,
    GEMMA,
    Family {
        names: &["gemma2"],
        norms: 4,
        windows: Windows::AllBut(2),
        ..GEMMA
    },
    GEMMA3,
    Family {
        names: &["gemma3n_text", "gemma3n"],
        norms: 7,
        windows: Windows::AllBut(5),
        defaults: &[
            ("head_dim", 256),
            ("vocab_size", 262_400),
            ("vocab_size_per_layer_input", 262_144),
            ("hidden_size_per_layer_input", 256),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 2),
            ("max_position_embeddings", 32_768),
            ("sliding_window", 512),
            ("num_kv_shared_layers", 15),
            ("laurel_rank", 64),
            ("altup_num_inputs", 4),
        ],
        ..GEMMA3
    },
    Family {
        names: &["gemma4_text", "gemma4"],
        norms: 5,
        defaults: &[
            ("head_dim", 256),
            ("global_head_dim", 512),
            ("vocab_size", 262_144),
            ("vocab_size_per_layer_input", 262_144),
            ("hidden_size_per_layer_input", 256),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
            ("max_position_embeddings", 131_072),
            ("sliding_window", 512),
        ],
        ..GEMMA3
    },
    Family {
        names: &["phi3"],
        qkv_bias: Flag::Never,
        o_bias: Flag::Never,
        windows: Windows::All,
        ..LLAMA
    },
    Family {
        names: &["phimoe"],
        norm_bias: true,
        windows: Windows::All,
        ..LLAMA
    },
    COHERE,
    Family {
        names: &["cohere2"],
        qk_norm: QkNorm::Never,
        windows: Windows::AllBut(4),
        ..COHERE
    },
    Family {
        names: &["internlm2"],
        qkv_bias: Flag::Key("bias", false),
        o_bias: Flag::Key("bias", false),
        ..LLAMA
    },
    Family {
        names: &["seed_oss"],
        qkv_bias: Flag::Key("attention_bias", true),
        o_bias: Flag::Key("attention_out_bias", false),
        defaults: &[("head_dim", 128)],
        ..LLAMA
    },
    Family {
        names: &["olmo"],
        norms: 0,
        ..LLAMA
    },
    OLMO2,
    Family {
        names: &["olmo3"],
        windows: Windows::AllBut(4),
        ..OLMO2
    },
    Family {
        names: &["olmoe"],
        ..OLMO2
    },
    Family {
        names: &["minimax_m2"],
        qk_norm: QkNorm::WholeIf("use_qk_norm"),
        ..LLAMA
    },
    DEEPSEEK,
    DEEPSEEK_V4,
    Family {
        names: &["glm4", "glm4v_text"],
        o_bias: Flag::Never,
        norms: 4,
        ..LLAMA
    },
    Family {
        names: &["glm"],
        o_bias: Flag::Never,
        ..LLAMA
    },
    Family {
        names: &["glm4_moe", "glm4v_moe_text"],
        o_bias: Flag::Never,
        qk_norm: QkNorm::HeadIf("use_qk_norm"),
        ..LLAMA
    },
    Family {
        names: &["chatglm"],
        qkv_bias: Flag::Key("add_qkv_bias", true),
        o_bias: Flag::Key("add_bias_linear", false),
        mlp_bias: Flag::Key("add_bias_linear", false),
        ..LLAMA
    },
    Family {
        names: &["gpt_oss"],
        qkv_bias: Flag::Always,
        o_bias: Flag::Always,
        mlp_bias: Flag::Always,
        windows: Windows::AllBut(2),
        defaults: &[("head_dim", 64), ("sliding_window", 128)],
        ..LLAMA
    },
    Family {
        names: &["llama4_text", "llama4"],
        windows: Windows::AllBut(4),
        defaults: &[
            ("head_dim", 128),
            ("intermediate_size_mlp", 16_384),
            ("attention_chunk_size", 8192),
            ("max_position_embeddings", 131_072),
        ],
        ..LLAMA
    },
    Family {
        names: &["stablelm"],
        qkv_bias: Flag::Key("use_qkv_bias", false),
        o_bias: Flag::Never,
        norm_bias: true,
        ..LLAMA
    },
    Family {
        names: &["exaone4"],
        qk_norm: QkNorm::Head,
        windows: Windows::AllBut(4),
        ..LLAMA
    },
    Family {
        names: &["ernie4_5", "ernie4_5_moe"],
        qkv_bias: Flag::Key("use_bias", false),
        o_bias: Flag::Key("use_bias", false),
        mlp_bias: Flag::Key("use_bias", false),
        tied: true,
        ..LLAMA
    },
    Family {
        names: &["mimo_v2_flash"],
        ..LLAMA
    },
    Family {
        names: &["step3p5"],
        qk_norm: QkNorm::Head,
        ..LLAMA
    },
    Family {
        names: &["dots1"],
        qk_norm: QkNorm::Head,
        ..LLAMA
    },
    Family {
        names: &["hunyuan_v1_dense", "hunyuan_v1_moe"],
        qk_norm: QkNorm::HeadIf("use_qk_norm"),
        ..LLAMA
    },
    Family {
        names: &["bailing_moe", "bailing_moe_v2"],
        qkv_bias: Flag::Key("use_qkv_bias", false),
        o_bias: Flag::Key("use_bias", false),
        mlp_bias: Flag::Never,
        qk_norm: QkNorm::HeadIf("use_qk_norm"),
        ..LLAMA
    },
];

//! The families of which some layers carry a state from token to token, as data: where each differs from others.

use super::kind::{Family, QkNorm, Windows};
use super::table::{DEEPSEEK, LLAMA, QWEN3};

pub(super) const HYBRIDS: &[Family] = &[
    Family {
        names: &[
            "qwen3_next",
            "qwen3_5",
            "qwen3_5_text",
            "qwen3_5_moe",
            "qwen3_5_moe_text",
        ],
        gated_attention: true,
        windows: Windows::Never,
        defaults: &[
            ("head_dim", 256),
            ("linear_num_key_heads", 16),
            ("linear_num_value_heads", 32),
            ("linear_key_head_dim", 128),
            ("linear_value_head_dim", 128),
            ("linear_conv_kernel_dim", 4),
            ("full_attention_interval", 4),
        ],
        ..QWEN3
    },
    Family {
        names: &["falcon_h1"],
        both: true,
        ..LLAMA
    },
    Family {
        names: &["granitemoe", "granitemoeshared", "granitemoehybrid"],
        tied: true,
        ..LLAMA
    },
    Family {
        names: &["nemotron_h"],
        gated: false,
        norms: 1,
        ..LLAMA
    },
    Family {
        names: &["jamba"],
        ..LLAMA
    },
    Family {
        names: &["minimax", "minimax_text_01", "minimax_m1"],
        ..LLAMA
    },
    Family {
        names: &["bamba"],
        ..LLAMA
    },
    Family {
        names: &["lfm2", "lfm2_moe"],
        qk_norm: QkNorm::Head,
        tied: true,
        ..LLAMA
    },
    Family {
        names: &["kimi_linear"],
        ..DEEPSEEK
    },
];

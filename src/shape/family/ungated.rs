//! The families of models whose MLPs have no gate beside their input projection, as data: where each differs from Llama.

use super::kind::{Family, Flag, QkNorm, Windows};
use super::table::LLAMA;

pub(super) const UNGATED: &[Family] = &[
    Family {
        names: &["phi"],
        qkv_bias: Flag::Always,
        o_bias: Flag::Always,
        mlp_bias: Flag::Always,
        gated: false,
        norms: 1,
        norm_bias: true,
        ..LLAMA
    },
    Family {
        names: &["falcon", "RefinedWeb", "RefinedWebModel"],
        qkv_bias: Flag::Key("bias", false),
        o_bias: Flag::Key("bias", false),
        mlp_bias: Flag::Key("bias", false),
        gated: false,
        norms: 1,
        norm_bias: true,
        tied: true,
        defaults: &[("max_position_embeddings", 2048)],
        ..LLAMA
    },
    Family {
        names: &["nemotron"],
        gated: false,
        norm_bias: true,
        ..LLAMA
    },
    Family {
        names: &["starcoder2"],
        qkv_bias: Flag::Key("use_bias", true),
        o_bias: Flag::Key("use_bias", true),
        mlp_bias: Flag::Key("use_bias", true),
        gated: false,
        norm_bias: true,
        tied: true,
        windows: Windows::All,
        ..LLAMA
    },
    Family {
        names: &["opt"],
        qkv_bias: Flag::Key("enable_bias", true),
        o_bias: Flag::Key("enable_bias", true),
        mlp_bias: Flag::Key("enable_bias", true),
        gated: false,
        norm_bias: true,
        tied: true,
        learned_positions: Some(2),
        ..LLAMA
    },
    Family {
        names: &["apertus"],
        gated: false,
        qk_norm: QkNorm::Head,
        ..LLAMA
    },
    Family {
        names: &["arcee"],
        gated: false,
        ..LLAMA
    },
];

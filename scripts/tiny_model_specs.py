"""What each tiny checkpoint of make-tiny-models.py is: its shapes, seed and config.json.

The models are as small as the rules of their families allow, and each has something
that the others lack: biases, tied heads, llama3 rope scaling, an odd head count, q/k
norms with a head_dim of their own, experts, block fp8 with f32 or bf16 scales.
"""

from __future__ import annotations

VOCAB = 512
EOT_ID, IM_END_ID = VOCAB - 5, VOCAB - 3
FP8_BLOCK = 128

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,  # small, so that short prompts feel it
}

# One entry per folder. Keys in lower case that are not config fields:
# seed, dtype (of the plain weights), shards, fp8 (dtype of the block scales).
SPECS: dict[str, dict] = {
    "qwen2-tiny": dict(
        seed=7, model_type="qwen2", hidden_size=128, intermediate_size=320,
        num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2,
        rope_theta=10000.0, rms_norm_eps=1e-6, tie_word_embeddings=False,
        dtype="bfloat16", shards=2,
    ),
    "qwen2-tied-tiny": dict(
        seed=2, model_type="qwen2", hidden_size=112, intermediate_size=304,
        num_hidden_layers=2, num_attention_heads=7, num_key_value_heads=1,
        rope_theta=1000000.0, rms_norm_eps=1e-6, tie_word_embeddings=True,
        dtype="bfloat16", shards=1,
    ),
    "llama-tiny": dict(
        seed=22, model_type="llama", hidden_size=128, intermediate_size=320,
        num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2,
        rope_theta=500000.0, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_scaling=LLAMA3_ROPE, dtype="bfloat16", shards=2,
    ),
    "llama-tied-tiny": dict(
        seed=1, model_type="llama", hidden_size=72, intermediate_size=192,
        num_hidden_layers=2, num_attention_heads=9, num_key_value_heads=3,
        rope_theta=100000.0, rms_norm_eps=1e-5, tie_word_embeddings=True,
        dtype="float32", shards=1,
    ),
    "qwen3-tiny": dict(
        seed=62, model_type="qwen3", hidden_size=96, intermediate_size=256,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=128,
        rope_theta=1000000.0, rms_norm_eps=1e-6, tie_word_embeddings=True,
        dtype="bfloat16", shards=2,
    ),
    "qwen3-moe-tiny": dict(
        seed=4, model_type="qwen3_moe", hidden_size=128, intermediate_size=256,
        moe_intermediate_size=64, num_experts=8, num_experts_per_tok=2,
        num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2, head_dim=32,
        rope_theta=1000000.0, rms_norm_eps=1e-6, tie_word_embeddings=False,
        dtype="bfloat16", shards=2,
    ),
    "qwen3-fp8-tiny": dict(
        seed=1, model_type="qwen3", hidden_size=256, intermediate_size=384,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=128,
        rope_theta=1000000.0, rms_norm_eps=1e-6, tie_word_embeddings=True,
        dtype="bfloat16", shards=1, fp8="float32",
    ),
    "qwen3-moe-fp8-tiny": dict(
        seed=5, model_type="qwen3_moe", hidden_size=256, intermediate_size=512,
        moe_intermediate_size=128, num_experts=8, num_experts_per_tok=2,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=128,
        rope_theta=1000000.0, rms_norm_eps=1e-6, tie_word_embeddings=False,
        dtype="bfloat16", shards=2, fp8="bfloat16",
    ),
}
NOT_CONFIG = ("seed", "dtype", "shards", "fp8")
ARCHITECTURE = {
    "qwen2": "Qwen2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}


def config_of(spec: dict) -> dict:
    """config.json as the family's models publish it."""
    fields = {k: v for k, v in spec.items() if k not in NOT_CONFIG}
    kind = spec["model_type"]
    config = {
        "architectures": [ARCHITECTURE[kind]],
        **fields,
        "vocab_size": VOCAB,
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rope_scaling": spec.get("rope_scaling"),
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": EOT_ID,
        "eos_token_id": IM_END_ID,
        "torch_dtype": spec["dtype"],
    }
    if kind == "llama":
        config.update(attention_bias=False, mlp_bias=False, pretraining_tp=1)
    else:
        config.update(use_sliding_window=False, sliding_window=None)
    if kind.startswith("qwen3"):
        config.update(attention_bias=False)
    if kind == "qwen3_moe":
        config.update(
            norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
            output_router_logits=False, router_aux_loss_coef=0.001,
        )
    if "fp8" in spec:
        skip = ["lm_head"]
        names = ["input_layernorm", "post_attention_layernorm"]
        if kind == "qwen3_moe":
            names.insert(1, "mlp.gate")
        for i in range(spec["num_hidden_layers"]):
            skip += [f"model.layers.{i}.{n}" for n in names]
        config["quantization_config"] = {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "modules_to_not_convert": skip,
            "quant_method": "fp8",
            "weight_block_size": [FP8_BLOCK, FP8_BLOCK],
        }
    return config

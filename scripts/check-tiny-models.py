#!/usr/bin/env python3
"""Check checkpoints against their golden files with numpy alone.

    pip install "numpy>=1.26"
    scripts/check-tiny-models.py tests/fixtures/*-tiny
    scripts/check-tiny-models.py --golden tests/fixtures/smollm2-golden.json target/smollm2-135m

An independent forward pass (no torch, no transformers): it reads the files as an
engine would, shards, bf16 and block fp8 included, and computes in f64. The tiny
checkpoints carry golden.json and golden.safetensors (see make-tiny-models.py): greedy
tokens must be equal and logits within MAX_DIFFERENCE. `--golden` names one file for
one large model: greedy tokens and the five best logits after each prompt.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from pathlib import Path

import numpy as np

MAX_DIFFERENCE = 1e-3  # of a logit, f32 arithmetic against f64


def e4m3_table() -> np.ndarray:
    """The value of each of the 256 bytes of float8 e4m3fn."""
    out = np.empty(256, np.float32)
    for byte in range(256):
        sign = -1.0 if byte & 0x80 else 1.0
        exp, man = (byte >> 3) & 15, byte & 7
        if exp == 15 and man == 7:
            out[byte] = np.nan
        elif exp == 0:
            out[byte] = sign * man * 2.0**-9
        else:
            out[byte] = sign * (1 + man / 8) * 2.0 ** (exp - 7)
    return out


E4M3 = e4m3_table()


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        start, end = info["data_offsets"]
        raw = data[8 + size + start : 8 + size + end]
        if info["dtype"] == "F32":
            array = np.frombuffer(raw, "<f4")
        elif info["dtype"] == "BF16":
            array = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif info["dtype"] == "F8_E4M3":
            array = E4M3[np.frombuffer(raw, np.uint8)]
        else:
            raise SystemExit(f"{path}: {name} is {info['dtype']}")
        tensors[name] = array.reshape(info["shape"])
    return tensors


def load(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """config.json and the weights, block fp8 expanded."""
    config = json.loads((folder / "config.json").read_text())
    tensors: dict[str, np.ndarray] = {}
    index = folder / "model.safetensors.index.json"
    files = {"model.safetensors"}
    if index.exists():
        files = set(json.loads(index.read_text())["weight_map"].values())
    for file in sorted(files):
        tensors.update(read_safetensors(folder / file))
    block = config.get("quantization_config", {}).get("weight_block_size")
    for name in [n for n in tensors if n.endswith("weight_scale_inv")]:
        scale = tensors.pop(name)
        weight = name.removesuffix("_scale_inv")
        rows, cols = tensors[weight].shape
        grown = scale.repeat(block[0], 0).repeat(block[1], 1)[:rows, :cols]
        tensors[weight] = tensors[weight] * grown
    return config, tensors


def inverse_frequencies(config: dict, head_dim: int) -> np.ndarray:
    freq = config["rope_theta"] ** -(np.arange(0, head_dim, 2) / head_dim)
    scaling = config.get("rope_scaling")
    if not scaling:
        return freq
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelengths = scaling["original_max_position_embeddings"] / (2 * np.pi / freq)
    smooth = np.clip((wavelengths - low) / (high - low), 0, 1)
    return (1 - smooth) * freq / scaling["factor"] + smooth * freq


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Model:
    """A decoder of the Llama, Qwen2, Qwen3 or Qwen3-MoE family."""

    def __init__(self, folder: Path) -> None:
        self.config, self.w = load(folder)
        c = self.config
        self.heads, self.kv = c["num_attention_heads"], c["num_key_value_heads"]
        self.head_dim = c.get("head_dim") or c["hidden_size"] // self.heads
        self.freq = inverse_frequencies(c, self.head_dim)

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        eps = self.config["rms_norm_eps"]
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.w[f"{name}.weight"]

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        y = x @ self.w[f"{name}.weight"].T
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def rope(self, x: np.ndarray) -> np.ndarray:  # [T, heads, head_dim], halves
        angle = np.arange(len(x))[:, None] * self.freq
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = np.split(x, 2, -1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, x: np.ndarray, p: str) -> np.ndarray:
        t = len(x)
        q = self.linear(x, f"{p}.q_proj").reshape(t, self.heads, self.head_dim)
        k = self.linear(x, f"{p}.k_proj").reshape(t, self.kv, self.head_dim)
        v = self.linear(x, f"{p}.v_proj").reshape(t, self.kv, self.head_dim)
        if f"{p}.q_norm.weight" in self.w:
            q, k = self.norm(q, f"{p}.q_norm"), self.norm(k, f"{p}.k_norm")
        group = self.heads // self.kv
        q, k = self.rope(q), self.rope(k).repeat(group, 1)
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(self.head_dim)
        scores = np.where(np.tril(np.ones((t, t), bool)), scores, -np.inf)
        out = np.einsum("hts,shd->thd", softmax(scores), v.repeat(group, 1))
        return self.linear(out.reshape(t, -1), f"{p}.o_proj")

    def mlp(self, x: np.ndarray, p: str) -> np.ndarray:
        gate, up = self.linear(x, f"{p}.gate_proj"), self.linear(x, f"{p}.up_proj")
        return self.linear(silu(gate) * up, f"{p}.down_proj")

    def moe(self, x: np.ndarray, p: str) -> np.ndarray:
        probs = softmax(self.linear(x, f"{p}.gate"))
        out = np.zeros_like(x)
        for t, row in enumerate(probs):
            top = np.argsort(-row, kind="stable")[: self.config["num_experts_per_tok"]]
            total = row[top].sum() if self.config["norm_topk_prob"] else 1.0
            for e in top:
                out[t] += row[e] / total * self.mlp(x[t : t + 1], f"{p}.experts.{e}")[0]
        return out

    def logits(self, ids: list[int]) -> np.ndarray:
        x = self.w["model.embed_tokens.weight"][ids].astype(np.float64)
        for i in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{i}"
            x = x + self.attention(self.norm(x, f"{p}.input_layernorm"), f"{p}.self_attn")
            h = self.norm(x, f"{p}.post_attention_layernorm")
            x = x + (self.moe if f"{p}.mlp.gate.weight" in self.w else self.mlp)(h, f"{p}.mlp")
        tied = self.config["tie_word_embeddings"]
        head = "model.embed_tokens" if tied else "lm_head"
        return self.norm(x, "model.norm") @ self.w[f"{head}.weight"].T

    def greedy(self, prompt: list[int], expected: list[int]) -> list[int]:
        """The best token at each position of `expected`, given those before it."""
        logits = self.logits(prompt + expected[:-1])[len(prompt) - 1 :]
        return logits.argmax(-1).tolist()


def check_folder(folder: Path) -> bool:
    """A tiny checkpoint against golden.json and golden.safetensors beside it."""
    model = Model(folder)
    golden = json.loads((folder / "golden.json").read_text())
    expected = read_safetensors(folder / "golden.safetensors")
    worst, same = 0.0, 0
    for i, (prompt, greedy) in enumerate(zip(golden["prompts"], golden["greedy"], strict=True)):
        difference = model.logits(prompt) - expected[f"logits.{i}"]
        worst = max(worst, float(np.abs(difference).max()))
        same += model.greedy(prompt, greedy) == greedy
    return verdict(folder.name, worst, same, len(golden["prompts"]))


def check_golden(folder: Path, file: Path) -> bool:
    """A model against a file of prompts, greedy tokens and first logits."""
    model = Model(folder)
    cases = json.loads(file.read_text())["cases"]
    worst, same = 0.0, 0
    for case in cases:
        last = model.logits(case["prompt_ids"])[-1]
        worst = max(worst, *(abs(last[token] - logit) for token, logit in case["first_top5"]))
        equal = model.greedy(case["prompt_ids"], case["greedy"]) == case["greedy"]
        same += equal
        print(f"  {case['prompt']!r}: {'equal' if equal else 'DIFFERENT'}, {case['text']!r}")
    return verdict(folder.name, worst, same, len(cases))


def verdict(name: str, worst: float, same: int, count: int) -> bool:
    print(f"{name}: largest logit difference {worst:.2e}, {same} of {count} continuations equal")
    return worst < MAX_DIFFERENCE and same == count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--golden", type=Path, help="golden file of a model without its own")
    args = parser.parse_args()
    results = [
        check_golden(folder, args.golden) if args.golden else check_folder(folder) for folder in args.folders
    ]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()

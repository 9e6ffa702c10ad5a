#!/usr/bin/env python3
"""Make tiny random checkpoints and their golden outputs for engine tests.

    pip install "numpy==2.4.6" "torch==2.15.0" "transformers==5.23.0" \
                "tokenizers==0.23.3" "safetensors==0.8.0"
    scripts/make-tiny-models.py OUT_DIR [--only NAME ...] [--search]

OUT_DIR is tests/fixtures for the committed ones; check-tiny-models.py checks them. The
weights come from numpy's PCG64 with the seed in tiny_model_specs.py, never from torch's
generator, so any version of these packages writes the same tensors. Names,
shapes, dtypes and config.json follow the files published on the model hubs
(flat `rope_theta`, one tensor per expert), not what transformers 5 saves.

Every folder gets config.json, generation_config.json, tokenizer.json,
tokenizer_config.json, the weights (two shards and an index, or one file), and
  golden.json         prompts, 32 greedy tokens each (end tokens ignored), margins
  golden.safetensors  logits.N, f32 [prompt length, vocab], for prompt N

Golden values are computed by transformers in f32, from the stored weights (bf16
rounded, or fp8 times scale), with eager attention and no KV cache. The fp8
reference is weight-only: activations are not quantised.

`--search` looks, for each model, for the first seed from the given one on whose
continuations are varied and whose best two logits never come closer than
MIN_MARGIN, so that a correct f32 engine cannot pick another token.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tiny_model_specs import EOT_ID, FP8_BLOCK, IM_END_ID, SPECS, VOCAB, config_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
PROMPT_LENGTHS = [1, 7, 33, 70]
NEW_TOKENS = 32
MIN_MARGIN = 0.02
MIN_DISTINCT = 12
FP8_MAX = 448.0

TOKENIZER_TEXT = """
A benchmark asks a simple question and the answer depends on how it is asked. The engine reads
the prompt, fills its cache, and then writes one token after another until it is told to stop.
When many people ask at the same time the requests wait in a queue; the scheduler picks some of
them, packs their tokens into a batch, and runs the model once for the whole batch. Short prompts
and long prompts share the machine, so the time to the first token and the time between tokens
tell two different stories. A good report shows both, with the median and the slow tail, and says
which machine, which model, which weights and which settings were measured. Numbers without their
conditions are not results. fn main() { let x = vec![0u8; 1024]; println!("{:?}", x.len()); }
def add(a, b): return a + b  # 0 1 2 3 4 5 6 7 8 9
"""


def make_weights(spec: dict) -> dict[str, torch.Tensor]:
    """f32 weights, scaled so that greedy text is varied rather than one token."""
    rng = np.random.Generator(np.random.PCG64(spec["seed"]))
    kind = spec["model_type"]
    hidden = spec["hidden_size"]
    heads, kv = spec["num_attention_heads"], spec["num_key_value_heads"]
    head_dim = spec.get("head_dim", hidden // heads)
    tensors: dict[str, torch.Tensor] = {}

    def put(name: str, array: np.ndarray) -> None:
        tensors[name] = torch.from_numpy(array.astype(np.float32))

    def linear(name: str, rows: int, cols: int, gain: float = 1.0, bias: bool = False) -> None:
        put(f"{name}.weight", rng.standard_normal((rows, cols)) * (gain / np.sqrt(cols)))
        if bias:
            put(f"{name}.bias", rng.standard_normal(rows) * 0.5)

    def norm(name: str, size: int) -> None:
        put(f"{name}.weight", 1.0 + 0.2 * rng.standard_normal(size))

    def mlp(name: str, inner: int) -> None:
        linear(f"{name}.gate_proj", inner, hidden, 1.5)
        linear(f"{name}.up_proj", inner, hidden, 1.5)
        linear(f"{name}.down_proj", hidden, inner, 3.0)

    linear("model.embed_tokens", VOCAB, hidden, 4.0)
    for i in range(spec["num_hidden_layers"]):
        p = f"model.layers.{i}"
        norm(f"{p}.input_layernorm", hidden)
        bias = kind == "qwen2"
        linear(f"{p}.self_attn.q_proj", heads * head_dim, hidden, 1.4, bias)
        linear(f"{p}.self_attn.k_proj", kv * head_dim, hidden, 1.4, bias)
        linear(f"{p}.self_attn.v_proj", kv * head_dim, hidden, 2.0, bias)
        linear(f"{p}.self_attn.o_proj", hidden, heads * head_dim, 2.0)
        if kind.startswith("qwen3"):
            norm(f"{p}.self_attn.q_norm", head_dim)
            norm(f"{p}.self_attn.k_norm", head_dim)
        norm(f"{p}.post_attention_layernorm", hidden)
        if kind == "qwen3_moe":
            linear(f"{p}.mlp.gate", spec["num_experts"], hidden, 2.0)
            for e in range(spec["num_experts"]):
                mlp(f"{p}.mlp.experts.{e}", spec["moe_intermediate_size"])
        else:
            mlp(f"{p}.mlp", spec["intermediate_size"])
    norm("model.norm", hidden)
    if not spec["tie_word_embeddings"]:
        linear("lm_head", VOCAB, hidden, 4.0)
    return tensors


def quantise_fp8(w: torch.Tensor, scale_dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Block-wise e4m3; the stored scale is what one multiplies by to get w back."""
    rows, cols = w.shape
    grid = (-(-rows // FP8_BLOCK), -(-cols // FP8_BLOCK))
    scale = torch.empty(grid, dtype=torch.float32)
    out = torch.empty(w.shape, dtype=torch.float8_e4m3fn)
    for r in range(grid[0]):
        for c in range(grid[1]):
            at = np.s_[r * FP8_BLOCK : (r + 1) * FP8_BLOCK, c * FP8_BLOCK : (c + 1) * FP8_BLOCK]
            scale[r, c] = (w[at].abs().max() / FP8_MAX).to(scale_dtype).float()
            out[at] = (w[at] / scale[r, c]).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
    return out, scale.to(scale_dtype)


def dequantise_fp8(w: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    grown = scale.float().repeat_interleave(FP8_BLOCK, 0).repeat_interleave(FP8_BLOCK, 1)
    return w.float() * grown[: w.shape[0], : w.shape[1]]


def stored_and_reference(spec: dict) -> tuple[dict, dict]:
    """The tensors as written to disk, and the f32 values that they stand for."""
    dtype = getattr(torch, spec["dtype"])
    stored, reference = {}, {}
    for name, w in make_weights(spec).items():
        if "fp8" in spec and "_proj.weight" in name:
            q, scale = quantise_fp8(w, getattr(torch, spec["fp8"]))
            stored[name] = q
            stored[name.removesuffix("weight") + "weight_scale_inv"] = scale
            reference[name] = dequantise_fp8(q, scale)
        else:
            stored[name] = w.to(dtype)
            reference[name] = stored[name].float()
    return stored, reference


def prompts_of(spec: dict) -> list[list[int]]:
    rng = np.random.Generator(np.random.PCG64([spec["seed"], 7]))
    return [rng.integers(0, EOT_ID, n).tolist() for n in PROMPT_LENGTHS]


def reference_model(config: dict, weights: dict) -> torch.nn.Module:
    plain = {k: v for k, v in config.items() if k != "quantization_config"}
    plain["torch_dtype"] = "float32"
    with tempfile.TemporaryDirectory() as tmp:
        (Path(tmp) / "config.json").write_text(json.dumps(plain))
        save_file(weights, Path(tmp) / "model.safetensors", metadata={"format": "pt"})
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            tmp, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    bad = {key: value for key, value in info.items() if value}
    if bad:
        raise SystemExit(f"transformers did not take the weights as they are: {bad}")
    return model.eval()


@torch.no_grad()
def golden_of(model: torch.nn.Module, prompts: list[list[int]], early: bool = False):
    """(logits per prompt, greedy tokens per prompt, smallest top-2 margin, distinct tokens)."""
    logits, greedy, margin, distinct = [], [], float("inf"), NEW_TOKENS
    for prompt in prompts:
        ids, first = list(prompt), None
        for _ in range(NEW_TOKENS):
            out = model(torch.tensor([ids]), use_cache=False).logits[0].float()
            first = out if first is None else first
            top = out[-1].topk(2).values
            margin = min(margin, float(top[0] - top[1]))
            if early and margin < MIN_MARGIN:
                return logits, greedy, margin, 0
            ids.append(int(out[-1].argmax()))
        logits.append(first.contiguous())
        greedy.append(ids[len(prompt) :])
        distinct = min(distinct, len(set(greedy[-1])))
    return logits, greedy, margin, distinct


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_weights(out: Path, tensors: dict[str, torch.Tensor], shards: int) -> None:
    if shards == 1:
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
        return
    total = sum(t.nbytes for t in tensors.values())
    parts: list[dict] = [{} for _ in range(shards)]
    done = 0
    for name, tensor in tensors.items():  # cuts in the middle of a layer, as real files do
        parts[min(done * shards // total, shards - 1)][name] = tensor
        done += tensor.nbytes
    weight_map = {}
    for i, part in enumerate(parts, 1):
        file = f"model-{i:05d}-of-{shards:05d}.safetensors"
        save_file(part, out / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(out / "model.safetensors.index.json", index)


def write_tokenizer(out: Path) -> None:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIAL), min_frequency=1, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tok.train_from_iterator([TOKENIZER_TEXT], trainer)
    tok.add_special_tokens(SPECIAL)
    if tok.get_vocab_size() != VOCAB or tok.token_to_id("<|im_end|>") != IM_END_ID:
        raise SystemExit(f"tokenizer has {tok.get_vocab_size()} tokens, not {VOCAB}")
    tok.save(str(out / "tokenizer.json"))
    write_json(
        out / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": 512,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": (
                "{% for message in messages %}<|im_start|>{{ message.role }}\n"
                "{{ message.content }}<|im_end|>\n{% endfor %}"
                "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
            ),
        },
    )


def search_seed(spec: dict) -> dict:
    for seed in range(spec["seed"], spec["seed"] + 400):
        spec = {**spec, "seed": seed}
        model = reference_model(config_of(spec), stored_and_reference(spec)[1])
        *_, margin, distinct = golden_of(model, prompts_of(spec), early=True)
        if margin >= MIN_MARGIN and distinct >= MIN_DISTINCT:
            return spec
    raise SystemExit("no seed found")


def make(name: str, spec: dict, out: Path) -> None:
    config = config_of(spec)
    stored, reference = stored_and_reference(spec)
    prompts = prompts_of(spec)
    logits, greedy, margin, distinct = golden_of(reference_model(config, reference), prompts)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_json(out / "config.json", config)
    write_json(
        out / "generation_config.json",
        {"bos_token_id": EOT_ID, "eos_token_id": [IM_END_ID, EOT_ID], "pad_token_id": EOT_ID},
    )
    write_tokenizer(out)
    write_weights(out, stored, spec["shards"])
    save_file(
        {f"logits.{i}": t for i, t in enumerate(logits)}, out / "golden.safetensors",
        metadata={"format": "pt"},
    )
    golden = {
        "seed": spec["seed"],
        "dtype": "float32",
        "prompts": prompts,
        "greedy": greedy,
        "min_top2_margin": round(margin, 5),
        "made_with": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "numpy": np.__version__,
        },
    }
    rows = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()]
    (out / "golden.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
    for file in out.iterdir():
        file.chmod(0o644)  # safetensors writes files that only the owner reads
    size = sum(f.stat().st_size for f in out.iterdir())
    count = sum(t.numel() for t in reference.values())
    print(
        f"{name}: seed {spec['seed']}, {count:,} parameters, {size:,} bytes in all, "
        f"margin {margin:.4f}, at least {distinct} distinct tokens of {NEW_TOKENS}", flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SPECS), default=list(SPECS))
    parser.add_argument("--search", action="store_true", help="look for a seed with wide margins")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in args.only:
        spec = search_seed(SPECS[name]) if args.search else SPECS[name]
        make(name, spec, args.out_dir / name)


if __name__ == "__main__":
    main()

"""One random checkpoint for every engine: a card's shapes, bf16, in the Hugging Face layout.

Only the standard library: a gigabyte of weights is made of bytes, not of numbers.
"""

import json
import random
from pathlib import Path

# The high byte of a bf16 is its sign and the upper 7 bits of its exponent; with these, and any low
# byte, a value lies between 2^-7 and 2^-5: a standard deviation near 0.02, as in real checkpoints.
EXPONENT = 0x3C
SIGN = 0x80
HIGH_BYTES = bytes(EXPONENT | (byte & SIGN) for byte in range(1 << 8))
DEVIATION = 0.019
ONE = b"\x80\x3f"
CHUNK = 1 << 24
SEED = 0


def tensors(config: dict) -> dict[str, list[int]]:
    """Names and shapes of a dense Qwen2 or Llama decoder."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    q, kv = heads * head_dim, config["num_key_value_heads"] * head_dim
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], hidden]}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        attention = {"q_proj": [q, hidden], "k_proj": [kv, hidden], "v_proj": [kv, hidden], "o_proj": [hidden, q]}
        for name, shape in attention.items():
            shapes[f"{at}self_attn.{name}.weight"] = shape
            if config["model_type"] == "qwen2" and name != "o_proj":
                shapes[f"{at}self_attn.{name}.bias"] = shape[:1]
        for name, shape in {"gate_proj": [inner, hidden], "up_proj": [inner, hidden], "down_proj": [hidden, inner]}.items():
            shapes[f"{at}mlp.{name}.weight"] = shape
        shapes[f"{at}input_layernorm.weight"] = [hidden]
        shapes[f"{at}post_attention_layernorm.weight"] = [hidden]
    shapes["model.norm.weight"] = [hidden]
    if not config.get("tie_word_embeddings", False):
        shapes["lm_head.weight"] = [config["vocab_size"], hidden]
    return shapes


def elements(shape: list[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def sizes(config: dict) -> dict[str, int]:
    """Parameters that a decode step multiplies by (head included), and those of the layers alone."""
    shapes = tensors(config)
    layers = sum(elements(s) for name, s in shapes.items() if name.startswith("model.layers."))
    head = config["vocab_size"] * config["hidden_size"]
    return {"layers": layers, "step": layers + head}


def random_bf16(count: int, generator: random.Random) -> bytearray:
    values = bytearray(2 * count)
    values[0::2] = generator.randbytes(count)
    values[1::2] = generator.randbytes(count).translate(HIGH_BYTES)
    return values


def make(card: Path, folder: Path) -> Path:
    """Writes the checkpoint once; a folder with the stamp is complete."""
    stamp = folder / "complete"
    if stamp.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(card.read_text())
    if config["model_type"] not in ("qwen2", "llama"):
        raise SystemExit(f"{card}: the peers are compared on dense Qwen2 and Llama shapes, not {config['model_type']}")
    config["torch_dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    header, start = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors(config).items():
        end = start + 2 * elements(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = random.Random(SEED)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors(config).items():
            left = elements(shape)
            while left:
                count = min(left, CHUNK)
                file.write(ONE * count if name.endswith("norm.weight") else random_bf16(count, generator))
                left -= count
    stamp.touch()
    return folder


def prompts(vocab_size: int, length: int, count: int) -> list[list[int]]:
    """The same token ids for every engine that takes ids."""
    generator = random.Random(length)
    return [[generator.randrange(1, vocab_size) for _ in range(length)] for _ in range(count)]

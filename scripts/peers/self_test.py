"""The arithmetic of the comparison on canned outputs that can be checked by hand."""

import random
import statistics
import struct

from . import checkpoint
from .candlepower import decode_rate
from .engine import last_json
from .llama_cpp import decode_row, prefill_row
from .table import Round, cell, markdown

ROOFS = {"read_bytes_per_s": 600.0, "flop_per_s": 8000.0}
LOADS = ["decode x1", "decode x8"]


def rounds() -> list[Round]:
    first = Round({
        "candlepower": {"decode x1": 30.0, "decode x8": 100.0},
        "a": {"decode x1": 20.0},
        "b": {"decode x1": 10.0},
    }, {load: ROOFS for load in LOADS}, {"decode x1": {"bytes_per_s": 300.0, "flop_per_s": 1.0}})
    second = Round({"candlepower": {"decode x1": 20.0}, "a": {"decode x1": 10.0}, "b": {"decode x1": 16.0}})
    return [first, second]


def check_table() -> None:
    made, sizes = rounds(), {"step": 10, "layers": 8}
    # The best peer is another one in each round.
    assert [played.ratio("decode x1") for played in made] == [1.5, 1.25]
    # No peer did it: no ratio, not an infinite one.
    assert [played.ratio("decode x8") for played in made] == [None, None]
    assert made[0].roof_share("decode x1", sizes) == 1.0
    assert made[0].roof_share("decode x8", sizes) == 0.25
    assert made[0].counted_share("decode x1") == 0.5
    assert made[1].roof_share("decode x1", sizes) is None
    text = markdown(made, ["candlepower", "a", "b", "c"], LOADS, sizes, {"c": "would not build"})
    assert "| candlepower | 25.0 (20.0-30.0) | 100 |" in text, text
    assert "| a | 15.0 (10.0-20.0) | – |" in text, text
    assert "| c * | – | – |" in text and "* c: would not build" in text, text
    assert "| candlepower to the best peer | 1.38x (1.25-1.50) | – |" in text, text
    assert cell([1.0]) == "1.0"
    # Interrupted before anything ran.
    assert "| a | – | – |" in markdown([], ["a"], LOADS, sizes, {})


def check_outputs() -> None:
    assert decode_rate([{"tokens": [1.0, 2.0, 3.0]}]) == 1.0
    # From 2.0, when the second starts, to 4.0, when the first ends: two tokens of each.
    assert decode_rate([{"tokens": [1.0, 2.0, 3.0, 4.0]}, {"tokens": [2.0, 3.0, 4.0, 5.0]}]) == 2.0
    assert last_json('a note\n{"rates": {}}\n') == {"rates": {}}
    assert prefill_row({"n_prompt": 100, "samples_ts": [3.0, 1.0, 2.0]}) == ("prefill 100", 2.0)
    assert decode_row({"pl": 8, "speed_tg": 60.5, "speed_pp": 1.0}) == ("decode x8", 60.5)


def check_checkpoint() -> None:
    config = {
        "model_type": "qwen2", "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2,
        "num_key_value_heads": 1, "num_hidden_layers": 1, "vocab_size": 10, "tie_word_embeddings": True,
    }
    shapes = checkpoint.tensors(config)
    assert shapes["model.layers.0.self_attn.k_proj.weight"] == [4, 8]
    assert "lm_head.weight" not in shapes
    assert checkpoint.sizes(config)["step"] - checkpoint.sizes(config)["layers"] == 80
    assert checkpoint.prompts(10, 5, 2) == checkpoint.prompts(10, 5, 3)[:2]
    bits = checkpoint.random_bf16(1 << 12, random.Random(0))
    # A bf16 is the upper half of an f32.
    values = [struct.unpack("<f", b"\0\0" + bits[at : at + 2])[0] for at in range(0, len(bits), 2)]
    assert abs(statistics.pstdev(values) - checkpoint.DEVIATION) < 0.001, statistics.pstdev(values)


def run() -> int:
    check_table()
    check_outputs()
    check_checkpoint()
    print("self test passed")
    return 0

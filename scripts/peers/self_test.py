"""The arithmetic of the comparison on numbers that can be checked by hand."""

from . import checkpoint, table
from .engines import decode_rate, last_json


def rounds() -> table.Rounds:
    made = table.Rounds(["decode x1", "decode x8"])
    made.rates = [
        {"candlepower": {"decode x1": 30.0, "decode x8": 100.0}, "a": {"decode x1": 20.0}, "b": {"decode x1": 10.0}},
        {"candlepower": {"decode x1": 20.0}, "a": {"decode x1": 10.0}, "b": {"decode x1": 16.0}},
    ]
    made.roofs = [{"read_bytes_per_s": 600.0, "flop_per_s": 8000.0}, {"read_bytes_per_s": 400.0, "flop_per_s": 8000.0}]
    return made


def run() -> int:
    made, sizes = rounds(), {"step": 10, "layers": 8}
    # The best peer is another one in each round.
    assert made.ratios("decode x1") == [1.5, 1.25]
    # No peer did it: no ratio, not an infinite one.
    assert made.ratios("decode x8") == []
    assert made.roof_shares("decode x1", sizes) == [1.0, 1.0]
    assert made.roof_shares("decode x8", sizes) == [0.25]
    text = table.markdown(made, ["candlepower", "a", "b", "c"], sizes, {"c": "would not build"})
    assert "| candlepower | 25.0 (20.0-30.0) | 100 |" in text, text
    assert "| a | 15.0 (10.0-20.0) | – |" in text, text
    assert "| to the best peer | 1.38x (1.25-1.50) | – |" in text, text
    assert "c has no row: would not build" in text, text

    one = [{"tokens": [1.0, 2.0, 3.0]}]
    assert decode_rate(one, 1) == 1.0
    # From 2.0, when the second starts, to 4.0, when the first ends: two tokens of each.
    two = [{"tokens": [1.0, 2.0, 3.0, 4.0]}, {"tokens": [2.0, 3.0, 4.0, 5.0]}]
    assert decode_rate(two, 2) == 2.0

    assert last_json('note\n{"rates": {}}\n') == {"rates": {}}
    config = {
        "model_type": "qwen2", "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2,
        "num_key_value_heads": 1, "num_hidden_layers": 1, "vocab_size": 10, "tie_word_embeddings": True,
    }
    shapes = checkpoint.tensors(config)
    assert shapes["model.layers.0.self_attn.k_proj.weight"] == [4, 8]
    assert "lm_head.weight" not in shapes
    assert checkpoint.sizes(config)["step"] - checkpoint.sizes(config)["layers"] == 80
    assert checkpoint.prompts(10, 5) == checkpoint.prompts(10, 5)
    print("self test passed")
    return 0

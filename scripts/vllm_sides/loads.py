"""The loads of `candlepower bench`: closed loops of random token ids with exact lengths."""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

from .errors import SideError

# In flight, requests, output tokens.
SCENARIOS = {
    "quick": [(1, 2, 32), (8, 16, 32)],
    "c1": [(1, 10, 601)],
    "c50": [(50, 200, 601)],
    "c300": [(300, 1500, 601)],
    "c1000": [(1000, 5000, 601)],
}
OUTPUT_LEN = 32
# Of the requests that warm up.
WARM_TOKENS = 4


@dataclass(frozen=True)
class Load:
    concurrency: int
    requests: int
    input_len: int
    output_len: int

    @property
    def name(self) -> str:
        return f"c{self.concurrency}"


@dataclass(frozen=True)
class Job:
    """What both sides play, and vLLM's flags for it."""

    model: str
    loads: list[Load]
    vocabulary: int
    seed: int
    flags: list[str]

    def prompts(self, load: Load) -> list[list[int]]:
        return self.draw(load, load.requests, "measured")

    def warm_up(self, load: Load) -> list[list[int]]:
        """As many as run at a time, and none of those that are measured: a prefix cache would know them."""
        return self.draw(load, min(load.concurrency, load.requests), "warm-up")

    def draw(self, load: Load, count: int, purpose: str) -> list[list[int]]:
        generator = random.Random(f"{self.seed} {load.name} {purpose}")
        return [[generator.randrange(self.vocabulary) for _ in range(load.input_len)] for _ in range(count)]


def loads(options: argparse.Namespace) -> list[Load]:
    """Those that the flags ask for.

    Raises ValueError: a sentence about a flag.
    """
    if options.scenario:
        names = list(SCENARIOS)[1:] if options.scenario == "all" else options.scenario.split(",")
        unknown = [name for name in names if name not in SCENARIOS]
        if unknown:
            raise ValueError(f"--scenario {','.join(unknown)}: known are {', '.join(SCENARIOS)}, all")
        rows = [row for name in names for row in SCENARIOS[name]]
    else:
        count = max(len(options.concurrency), len(options.requests))
        lists = [values * count if len(values) == 1 else values for values in (options.concurrency, options.requests)]
        if any(len(values) != count for values in lists):
            raise ValueError(
                f"--concurrency has {len(options.concurrency)} values and --requests {len(options.requests)}: "
                "give as many, or one of either"
            )
        rows = [(*pair, OUTPUT_LEN) for pair in zip(*lists)]
    found = [Load(c, r, options.input_len, options.output_len or out) for c, r, out in rows]
    if any(min(load.concurrency, load.requests, load.input_len, load.output_len) < 1 for load in found):
        raise ValueError("--concurrency, --requests, --input-len and --output-len are at least 1")
    return found


def vllm_flags(options: argparse.Namespace) -> list[str]:
    """The same for both sides; those of the user come last and win."""
    longest = max(load.input_len + load.output_len for load in options.loads)
    return [
        f"--max-model-len={longest}",
        f"--max-num-seqs={options.max_num_seqs}",
        f"--max-num-batched-tokens={options.max_num_batched_tokens}",
        f"--tensor-parallel-size={options.tp}",
        "--enable-prefix-caching" if options.prefix_cache else "--no-enable-prefix-caching",
        *options.flags,
    ]


def vocabulary(model: str) -> int:
    """Token ids that the model knows."""
    folder = Path(model)
    if folder.is_dir():
        config = read_config(folder)
    elif folder.is_absolute() or model.startswith("."):
        raise SideError(f"--model {model}: there is no such folder; give one in Hugging Face layout, or a hub id")
    else:
        config = hub_config(model)
    known = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    if not known:
        raise SideError(f"--model {model}: its config.json has no vocab_size, so no prompt can be drawn")
    return known


def read_config(folder: Path) -> dict:
    try:
        return json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise SideError(f"--model {folder}: its config.json cannot be read ({error}); give a folder in Hugging Face layout") from error


def hub_config(model: str) -> dict:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model).to_dict()
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise SideError(f"--model {model}: no such folder, and the hub gives no config.json ({reason})") from error

"""This repository's engine: its rates from the token times that `bench` writes, its roofs and what it says it used."""

import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import checkpoint
from .engine import POLITE, ROOT, Engine, PeerError, call
from .loads import INPUT_LEN, REPEATS, Work, decode, prefill
from .python_engines import cpu_flags


@dataclass
class Run:
    """One run of a `bench`."""

    requests: list[dict]
    steps: list[dict]


class Candlepower(Engine):
    name = "candlepower"

    def __init__(self, scratch: Path):
        super().__init__(scratch)
        self.binary = ROOT / "target" / "release" / "candlepower"
        # By load: the roofs measured in the process that ran it, and what its steps counted.
        self.roofs: dict[str, dict[str, float]] = {}
        self.counted: dict[str, dict[str, float]] = {}

    @property
    def pin(self) -> str:
        return "this repository's release build"

    def installed(self) -> bool:
        return self.binary.exists()

    def install(self) -> None:
        call([*POLITE, "cargo", "build", "--release", "--locked", "--quiet"], self.log, cwd=ROOT)

    def run(self, model: Path, work: Work) -> dict[str, float]:
        rates = {}
        if work.batches:
            runs, roofs = self.bench(model, work, INPUT_LEN, work.output_len, work.batches, work.batches)
            for batch, run in zip(work.batches, runs):
                rates[decode(batch)] = decode_rate(run.requests)
                # The steps that the rate is taken from: a token of each sequence, and no prompt.
                pure = [s for s in run.steps if s["decode_tokens"] == batch and not s["prefill_tokens"]]
                self.note(decode(batch), roofs, pure)
        for length in work.prefills:
            (run,), roofs = self.bench(model, work, length, 1, [1], [REPEATS])
            rates[prefill(length)] = length / statistics.median(r["tokens"][0] - r["arrival"] for r in run.requests)
            self.note(prefill(length), roofs, run.steps)
        return rates

    def note(self, load: str, roofs: dict[str, float], steps: list[dict]) -> None:
        seconds = sum(step["exec_seconds"] for step in steps)
        self.roofs[load] = roofs
        self.counted[load] = {
            "bytes_per_s": sum(step["bytes"] for step in steps) / seconds,
            "flop_per_s": sum(step["flops"] for step in steps) / seconds,
        }

    def bench(self, model: Path, work: Work, input_len: int, output_len: int, concurrency: list[int],
              requests: list[int]) -> tuple[list[Run], dict[str, float]]:
        """The runs, and the roofs measured in the same process."""
        vocab = json.loads((model / "config.json").read_text())["vocab_size"]
        prompts = checkpoint.prompts(vocab, input_len, max(requests))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            dataset = out / "prompts.jsonl"
            dataset.write_text("".join(json.dumps({"prompt_ids": ids, "output_len": output_len}) + "\n" for ids in prompts))
            arguments = ["--model", model, "--threads", work.threads, "--dataset", dataset, "--reference", "none",
                         "--concurrency", ",".join(map(str, concurrency)), "--requests", ",".join(map(str, requests))]
            # As the peers do where the processor multiplies bf16.
            if "avx512_bf16" in cpu_flags():
                arguments += ["--dtype", "bf16"]
            call([self.binary, "bench", *arguments, "--out", out, "--quiet"], self.log)
            results = json.loads((out / "results.json").read_text())
            lines, steps = (read_lines(out / f"{name}.jsonl") for name in ("requests", "steps"))
        engine, environment = results["engine"], results["environment"]
        self.version = f"candlepower {environment['candlepower']}, {environment['git']}"
        self.settings = f"bf16 weights, {engine['dtype']} arithmetic, {engine['kv_cache_dtype']} KV"
        for line in lines:
            if line.get("error"):
                raise PeerError(f"a request failed: {line['error']}")
        runs = [Run(of_run(lines, index), of_run(steps, index)) for index in range(len(concurrency))]
        return runs, results["hardware"]["roofs"]


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def of_run(lines: list[dict], run: int) -> list[dict]:
    """Lines name their run only when there are several."""
    return [line for line in lines if line.get("run", 0) == run]


def decode_rate(requests: list[dict]) -> float:
    """Tokens a second while all requests decode together: from the last first token to the first end."""
    start = max(r["tokens"][0] for r in requests)
    end = min(r["tokens"][-1] for r in requests)
    count = sum(1 for r in requests for t in r["tokens"] if start < t <= end)
    return count / (end - start)

"""From the times of tokens to a result with the keys of `vllm bench serve`."""

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from host import cpu_name
from metric_definitions import Request
from vllm_definitions import vllm

from .loads import Job, Load

# Of each request: only when asked for.
LISTS = ("input_lens", "output_lens", "start_times", "queue_times", "ttfts", "itls", "latencies", "errors")
# Our names of what vLLM's configuration holds, and where.
SETTINGS = {
    "max_model_len": "model_config.max_model_len",
    "max_num_seqs": "scheduler_config.max_num_seqs",
    "max_num_batched_tokens": "scheduler_config.max_num_batched_tokens",
    "chunked_prefill": "scheduler_config.enable_chunked_prefill",
    "async_scheduling": "scheduler_config.async_scheduling",
    "block_size": "cache_config.block_size",
    "num_kv_blocks": "cache_config.num_gpu_blocks",
    "prefix_cache": "cache_config.enable_prefix_caching",
    "dtype": "model_config.dtype",
    "kv_cache_dtype": "cache_config.cache_dtype",
    "quantization": "model_config.quantization",
    "eager": "model_config.enforce_eager",
    "graphs": "compilation_config.cudagraph_mode",
    "compilation": "compilation_config.mode",
    "tp": "parallel_config.tensor_parallel_size",
    "pp": "parallel_config.pipeline_parallel_size",
    "device": "device_config.device",
}
# Enums by their values, which are all that a server's JSON has.
NAMES = {
    "graphs": {0: "none", 1: "piecewise", 2: "full", (2, 0): "full_decode_only", (2, 1): "full_and_piecewise"},
    "compilation": {0: "none", 1: "stock_torch_compile", 2: "dynamo_trace_once", 3: "vllm_compile"},
}


@dataclass
class Streamed(Request):
    """A request whose `tokens` are the times of the stream's chunks, of which one may hold several tokens."""

    count: int = 0

    @property
    def n(self) -> int:
        return self.count

    @staticmethod
    def of_times(prompt: int, sent: float, chunks: list[float], count: int, error: str) -> "Streamed":
        is_whole = bool(chunks) and not error
        return Streamed(
            prompt,
            arrival=sent,
            submitted=sent,
            admitted=None,
            tokens=chunks,
            preemptions=0,
            ok=is_whole,
            given_up="",
            error=error,
            cached=None,
            count=count,
        )


@dataclass
class Played:
    """What a side says: the requests of each load, its release, and the settings that it used."""

    requests: list[list[Streamed]]
    version: str
    settings: dict


def settings(look_up) -> dict:
    """`look_up` gives what a dotted name leads to, or None."""
    found = {name: look_up(path) for name, path in SETTINGS.items()}
    return {name: plain(name, value) for name, value in found.items() if value is not None}


def plain(name: str, value: object) -> object:
    """A number or a word: an enum by its name, a type of torch without the module."""
    value = getattr(value, "value", value)
    value = tuple(value) if isinstance(value, list) else value
    named = NAMES.get(name, {}).get(value, value)
    return named if isinstance(named, (bool, int, float)) else str(named).removeprefix("torch.")


def variables() -> dict[str, str]:
    """Those of the environment that vLLM reads, and no secret."""
    return {name: value for name, value in os.environ.items() if name.startswith("VLLM_") and "KEY" not in name and "TOKEN" not in name}


def result(side: str, job: Job, load: Load, requests: list[Streamed], played: Played, detailed: bool) -> dict:
    figures = vllm(requests, None)
    for name in LISTS:
        if not detailed:
            del figures[name]
    return {
        "tool": "vllm-reference",
        "side": side,
        "backend": "vllm",
        "vllm_version": played.version,
        "model_id": job.model,
        "num_prompts": load.requests,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": load.concurrency,
        **figures,
        "settings": played.settings | variables(),
        "hardware": hardware(played.settings),
        "errors_seen": sorted({request.error for request in requests if request.error}),
    }


def headline(result: dict) -> str:
    if not result["completed"]:
        return f"c{result['max_concurrency']}: no request succeeded: {'; '.join(result['errors_seen'])}"
    shown = [f"{result['output_throughput']:.1f} output tok/s"]
    for name in ("ttft", "tpot"):
        value = result[f"mean_{name}_ms"]
        shown += [f"mean {name.upper()} {value:.1f} ms"] if value is not None else []
    failed = f", {result['failed']} failed" if result["failed"] else ""
    return f"c{result['max_concurrency']}: {', '.join(shown)}{failed}"


def hardware(used: dict) -> dict:
    cpu = cpu_name()
    cards = gpus() if used.get("device") != "cpu" else []
    count = min(len(cards), used.get("tp", 1) * used.get("pp", 1))
    found = {"name": cpu, "gpus": count, "cpu": cpu, "ram_gib": memory_gib(), "os": os_name()}
    if count:
        name, mib, driver = cards[0]
        found |= {"name": f"{count} x {name}", "gpu": name, "gpu_memory_gb": round(float(mib) / 1024, 1), "driver": driver}
    return found


def gpus() -> list[list[str]]:
    """Name, MiB and driver of each."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines() if done.returncode == 0]
    return [row for row in rows if len(row) == 3]


def os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def memory_gib() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            return round(int(line.split()[1]) / (1 << 20), 1)
    return 0.0

"""What `vllm bench serve` would have written of the same requests: vllm.json, by its definitions."""

from __future__ import annotations

import math
from collections import Counter

from metric_definitions import (
    MS, PERCENTS, Request, Value, busiest_second, duration, known, mean, percentile, ratio, std, successful,
)  # fmt: skip

ANY = object()  # an entry that no definition fixes


def vllm(requests: list[Request], slo: dict | None) -> dict:
    """The file of `vllm bench serve`. Its clock starts when a request is sent, the wait before that is
    `queue_times`, and seconds are counted from the first start of a request that succeeded.
    Percentiles are always numbers; of a failed request only the prompt, the start and the error count."""
    good, total = successful(requests), duration(requests)
    inputs, outputs = sum(r.prompt for r in good), sum(r.n for r in good)
    samples = {
        "ttft": [r.tokens[0] - r.sent for r in good],
        "tpot": known([r.tpot for r in good]),
        "itl": [gap for r in good for gap in r.itl],
        "e2el": [r.tokens[-1] - r.sent for r in good],
    }
    out = {
        "duration": total,
        "completed": len(good),
        "failed": len(requests) - len(good),
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": ratio(len(good), total),
        "request_goodput": ratio(vllm_good(good, slo), total),
        "output_throughput": ratio(outputs, total),
        "total_token_throughput": ratio(inputs + outputs, total),
        "input_lens": [r.prompt for r in requests],
        "output_lens": [r.n if r.ok else 0 for r in requests],
        "start_times": [r.sent for r in requests],
        "queue_times": [r.sent - r.arrival for r in requests],
        "ttfts": [r.tokens[0] - r.sent if r.ok else ANY for r in requests],
        "itls": [r.itl if r.ok else ANY for r in requests],
        "latencies": [r.tokens[-1] - r.sent if r.ok else ANY for r in requests],
        "errors": [r.error for r in requests],
        "max_output_tokens_per_s": busiest_second(good, min((r.sent for r in good), default=0)),
        "max_concurrent_requests": busiest_crowd(good),
    }
    for name, seconds in samples.items():
        values = [v * MS for v in seconds]
        out |= {f"mean_{name}_ms": mean(values), f"std_{name}_ms": std(values)}
        out |= {f"median_{name}_ms": percentile(values, 50)}
        out |= {f"p{p}_{name}_ms": percentile(values, p) for p in PERCENTS}
    return out


def vllm_good(good: list[Request], slo: dict | None) -> Value:
    """Requests within every bound; vLLM takes the TPOT of a single token for 0."""
    bounds = {k: v for k, v in (slo or {}).items() if v is not None}
    if not bounds:
        return None
    met = 0
    for r in good:
        seen = {"ttft_ms": r.tokens[0] - r.sent, "tpot_ms": r.tpot or 0, "e2el_ms": r.tokens[-1] - r.sent}
        met += all(seen[k] * MS <= bound for k, bound in bounds.items())
    return met


def busiest_crowd(good: list[Request]) -> Value:
    """Most requests that were alive at any time of one second, seconds from the first start."""
    origin = min((r.sent for r in good), default=0)
    alive: Counter[int] = Counter()
    for r in good:
        alive.update(range(math.floor(r.sent - origin), math.floor(r.tokens[-1] - origin) + 1))
    return max(alive.values(), default=None)

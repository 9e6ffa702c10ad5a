"""The metrics of a bench run, computed from its raw files alone (standard library only).

Written from the definitions, apart from the program that is checked with it:
  source     the 35 figures of the source report: seconds, tokens/s, percent; latencies
             over successful requests, from arrival; percentiles numpy-linear
  extended   the modern set under vLLM's names: milliseconds, tokens/s
  spread     of a metric over repeats
`None` stands for what cannot be observed.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

MS = 1e3
PERCENTS = (50, 90, 95, 99)
STEADY_SHARE = 0.95
GPU_METRICS = (
    "avg_gpu_mem_percent", "avg_gpu_power_watts", "avg_gpu_temp_C",
    "avg_gpu_clock_gr_mhz", "avg_gpu_clock_mem_mhz", "gpu_index",
)  # fmt: skip
GPU_EXTENDED = (
    "energy_j", "energy_per_output_token_j", "energy_by", "energy_per_token_j",
    "output_tokens_per_s_per_watt", "kwh_per_million_output_tokens", "idle_power_watts",
    "energy_above_idle_j", "energy_above_idle_per_output_token_j", "output_throughput_per_gpu",
    "achieved_bytes_per_s_per_gpu", "achieved_flop_per_s_per_gpu",
)  # fmt: skip
PER_GPU = ("output_throughput", "achieved_bytes_per_s", "achieved_flop_per_s")
HOST = ("mean_host_ms_per_step", "host_share_percent")
TEXT_METRICS = ("model", "prompt", "timestamp")

Value = float | int | None


@dataclass
class Request:
    """A line of requests.jsonl."""

    prompt: int
    arrival: float
    submitted: float | None
    admitted: float | None
    tokens: list[float]
    preemptions: int
    ok: bool
    given_up: str  # "cancelled" as the load asked, "cut" by the end of the run; neither is a failure
    error: str
    cached: int | None  # prompt tokens found in the prefix cache; None where it was off

    @staticmethod
    def of(line: dict) -> Request:
        error, finish = line.get("error") or "", line["finish"]
        given_up = finish if finish in ("cancelled", "cut") and not error else ""
        return Request(
            line["prompt_tokens"], line["arrival"], line["submitted"], line["admitted"],
            line["tokens"], line["preemptions"],
            finish is not None and not error and not given_up, given_up, error or given_up,
            line.get("cached_tokens"),
        )  # fmt: skip

    @property
    def n(self) -> int:
        return len(self.tokens)

    @property
    def sent(self) -> float:
        """When a vLLM client would have sent it: there is no semaphore between it and the engine."""
        return self.arrival

    @property
    def ttft(self) -> float:
        return self.tokens[0] - self.arrival

    @property
    def e2el(self) -> float:
        return self.tokens[-1] - self.arrival

    @property
    def tpot(self) -> float | None:
        return (self.tokens[-1] - self.tokens[0]) / (self.n - 1) if self.n > 1 else None

    @property
    def itl(self) -> list[float]:
        return [b - a for a, b in pairwise(self.tokens)]


def mean(values: list[float]) -> Value:
    return math.fsum(values) / len(values) if values else None


def std(values: list[float]) -> Value:
    """Population standard deviation, numpy's default."""
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / len(values)) if values else None


def percentile(values: list[float], percent: int) -> Value:
    """numpy.percentile(values, percent), method "linear" (type 7)."""
    if not values:
        return None
    ordered = sorted(values)
    place = percent / 100 * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratio(a: Value, b: Value) -> Value:
    return None if a is None or not b else a / b


def known(values: list[Value]) -> list[float]:
    return [v for v in values if v is not None]


def successful(requests: list[Request]) -> list[Request]:
    return [r for r in requests if r.ok and r.tokens]


def judged(requests: list[Request]) -> list[Request]:
    """Those that completed or failed; the load itself ended the others."""
    return [r for r in requests if not r.given_up]


def duration(requests: list[Request]) -> Value:
    """First arrival to the last token of any request."""
    last = max((r.tokens[-1] for r in requests if r.tokens), default=None)
    return None if last is None else last - min(r.arrival for r in requests)


def during(requests: list[Request], telemetry: list[dict]) -> list[dict]:
    """Samples between the first arrival and the last token."""
    start, length = min((r.arrival for r in requests), default=0), duration(requests)
    return [s for s in telemetry if length is not None and start <= s["time"] <= start + length]


def source(requests: list[Request], telemetry: list[dict]) -> dict[str, Value]:
    good, total = successful(requests), duration(requests)
    telemetry = during(requests, telemetry)
    latency = [r.e2el for r in good]
    tpot = known([r.tpot for r in good])
    own = known([ratio(r.n, r.e2el) for r in good])
    output = sum(r.n for r in good)
    return {
        "total_requests": len(requests),
        "successful_requests": len(good),
        "failed_requests": len(judged(requests)) - len(good),
        "success_rate": ratio(100 * len(good), len(judged(requests))),
        "requests_per_sec": ratio(len(good), total),
        "avg_latency": mean(latency),
        "min_latency": min(latency, default=None),
        "max_latency": max(latency, default=None),
        **{f"p{p}_latency": percentile(latency, p) for p in (90, 95, 99)},
        "avg_first_token_latency": mean([r.ttft for r in good]),
        "avg_tpot": mean(tpot),
        "p95_tpot": percentile(tpot, 95),
        "min_tpot": min(tpot, default=None),
        "max_tpot": max(tpot, default=None),
        "total_tokens_generated": output,
        "max_throughput": max(own, default=None),
        "min_throughput": min(own, default=None),
        "avg_throughput": mean(own),
        "overall_total_throughput": ratio(output, total),
        "input_tokens_per_sec": ratio(sum(r.prompt for r in good), total),
        "output_tokens_per_sec": ratio(output, total),
        "total_duration": total,
        "cpu_percent": mean([s["cpu_percent"] for s in telemetry]),
        "ram_percent": mean([s["ram_percent"] for s in telemetry]),
    }


def few(count: int, percent: int, needed: int = 1) -> bool:
    """n < needed / (1 - k): fewer than `needed` values lie above the percentile."""
    return count * (100 - percent) < 100 * needed


def latency_set(name: str, seconds: list[float]) -> dict[str, Value]:
    values = [v * MS for v in seconds]
    out = {
        f"mean_{name}_ms": mean(values),
        f"median_{name}_ms": percentile(values, 50),
        f"std_{name}_ms": std(values),
        f"max_{name}_ms": max(values, default=None),
    }
    for p in PERCENTS:
        out[f"p{p}_{name}_ms"] = None if few(len(values), p) else percentile(values, p)
    return out


def latencies(requests: list[Request]) -> dict[str, list[float]]:
    """Seconds, over successful requests, by the name that the extended set uses."""
    good = successful(requests)
    served = [r for r in good if r.admitted is not None]
    return {
        "ttft": [r.ttft for r in good],
        "tpot": known([r.tpot for r in good]),
        "itl": [gap for r in good for gap in r.itl],
        "e2el": [r.e2el for r in good],
        "queue": [r.admitted - r.arrival for r in served],
        "ttft_service": [r.tokens[0] - r.admitted for r in served],
        "normalized_latency": [r.e2el / r.n for r in good],
    }


def low_confidence(requests: list[Request]) -> set[str]:
    """Percentiles that exist but come from fewer than 10 / (1 - k) values: those of the extended set, and
    the source report's, which exist for any number of values."""
    sets = latencies(requests)
    source = [("latency", "e2el", p) for p in (90, 95, 99)] + [("tpot", "tpot", 95)]
    return {
        f"p{p}_{name}_ms"
        for name, values in sets.items()
        for p in PERCENTS
        if not few(len(values), p) and few(len(values), p, 10)
    } | {f"p{p}_{name}" for name, values, p in source if sets[values] and few(len(sets[values]), p, 10)}


def in_flight(requests: list[Request]) -> tuple[Value, Value]:
    """Mean (over the run's duration) and largest number between arrival and last token."""
    good, total = successful(requests), duration(requests)
    # A request that ends when another arrives does not overlap it: ends sort first.
    marks = sorted([(r.arrival, 1) for r in good] + [(r.tokens[-1], -1) for r in good])
    area, level, peak, before = 0.0, 0, 0, 0.0
    for time, change in marks:
        area += level * (time - before)
        before, level = time, level + change
        peak = max(peak, level)
    return ratio(area, total), peak


def busiest_second(good: list[Request], start: float) -> Value:
    buckets = Counter(math.floor(t - start) for r in good for t in r.tokens)
    return max(buckets.values(), default=None)


def goodput(requests: list[Request], slo: dict | None) -> dict[str, Value]:
    names = ("request_goodput", "goodput_attainment_percent", "goodput_null_misses")
    bounds = {k.removesuffix("_ms"): v for k, v in (slo or {}).items() if v is not None}
    if not bounds:
        return dict.fromkeys(names)
    good = successful(requests)
    met = nulls = 0
    for r in good:
        observed = {k: getattr(r, k) for k in bounds}
        nulls += None in observed.values()
        met += all(v is not None and v * MS <= bounds[k] for k, v in observed.items())
    values = (ratio(met, duration(requests)), ratio(100 * met, len(judged(requests))), nulls)
    return dict(zip(names, values, strict=True))


def overlap(requests: list[Request], start: float, end: float) -> float:
    """Seconds of [start, end] that lie between the first arrival and the last token."""
    first, length = min(r.arrival for r in requests), duration(requests) or 0
    return max(min(end, first + length) - max(start, first), 0)


def steady(requests: list[Request], steps: list[dict], target: int | None) -> dict[str, Value]:
    """From the first to the last step with 95 % of the target running; `target` None: no such window."""
    names = ("steady_start", "steady_end", "steady_share_percent", "steady_output_throughput")
    full = [s for s in steps if target and s["running"] >= STEADY_SHARE * target]
    if not full:
        return dict.fromkeys(names)
    start, end = full[0]["start"], full[-1]["end"]
    # A token that came as the window opens is the work of the step before it.
    tokens = sum(start < t <= end for r in successful(requests) for t in r.tokens)
    share = ratio(100 * overlap(requests, start, end), duration(requests))
    return dict(zip(names, (start, end, share, ratio(tokens, end - start)), strict=True))


def exchanges(steps: list[dict]) -> dict[str, Value]:
    """Shares of the ranks' time in the steps of which it is known how that divides."""
    timed = [s for s in steps if s.get("compute_seconds") is not None]
    communication = math.fsum(s["communication_seconds"] for s in timed)
    waited = [s for s in timed if s.get("wait_seconds") is not None]

    def whole(of: list[dict]) -> float:
        return math.fsum(s["compute_seconds"] + s["communication_seconds"] for s in of)

    share = ratio(100 * communication, whole(timed)) if communication else None
    wait = ratio(100 * math.fsum(s["wait_seconds"] for s in waited), whole(waited)) if communication else None
    return {
        "communication_share_percent": share,
        "wait_share_percent": wait,
        "timed_steps": len(timed),
    }


def of_steps(steps: list[dict]) -> dict[str, Value]:
    length = [s["end"] - s["start"] for s in steps]
    inside = math.fsum(s["exec_seconds"] for s in steps)
    host = [t - s["exec_seconds"] for t, s in zip(length, steps, strict=True)]
    kv = [100 * s["kv_blocks_used"] / s["kv_blocks_total"] for s in steps if s["kv_blocks_total"]]
    busy = math.fsum(k * t for k, t in zip(kv, length, strict=False))
    per_step = mean(host)
    return {
        "steps": len(steps),
        "mean_batch_size": mean([s["scheduled"] for s in steps]),
        "max_batch_size": max((s["scheduled"] for s in steps), default=None),
        "mean_tokens_per_step": mean([s["prefill_tokens"] + s["decode_tokens"] for s in steps]),
        "mean_kv_occupancy_percent": ratio(busy, math.fsum(length)) if kv else None,
        "max_kv_occupancy_percent": max(kv, default=None),
        "achieved_bytes_per_s": ratio(sum(s["bytes"] for s in steps) or None, inside),
        "achieved_flop_per_s": ratio(sum(s["flops"] for s in steps) or None, inside),
        **exchanges(steps),
        "mean_communication_bytes_per_step": mean([s["communication_bytes"] for s in steps])
        if any(s["communication_bytes"] for s in steps)
        else None,
        "mean_host_ms_per_step": None if per_step is None else per_step * MS,
        "host_share_percent": ratio(100 * math.fsum(host), math.fsum(length)),
    }


def each_gpu(figures: dict[str, Value], gpus: int) -> dict[str, Value]:
    """Of each GPU, the part of what all do together."""
    return {f"{name}_per_gpu": ratio(figures[name], gpus or None) for name in PER_GPU}


def of_roofs(figures: dict[str, Value], roofs: dict | None) -> dict[str, Value]:
    """What was achieved, in percent of what the device can do at best."""

    def share(name: str, roof: str) -> Value:
        achieved = figures[name]
        return None if roofs is None or achieved is None else ratio(100 * achieved, roofs[roof])

    return {
        "bandwidth_utilization_percent": share("achieved_bytes_per_s", "read_bytes_per_s"),
        "flop_utilization_percent": share("achieved_flop_per_s", "flop_per_s"),
    }


def imbalance(layers: list[dict]) -> dict[str, Value]:
    """Tokens of a layer's fullest expert over the mean of its experts."""
    each = known([ratio(max(layer["tokens"]), mean(layer["tokens"])) for layer in layers])
    return {"mean_expert_imbalance": mean(each), "max_expert_imbalance": max(each, default=None)}


def prefixes(good: list[Request], inputs: int, total: float | None) -> dict[str, Value]:
    """What of the prompts was found in the prefix cache, and what was computed."""
    cached = known([r.cached for r in good])
    found = sum(cached) if cached else None
    return {
        "total_cached_tokens": found,
        "prefix_cache_hit_percent": None if found is None else ratio(100 * found, inputs),
        "cached_input_throughput": None if found is None else ratio(found, total),
        "computed_input_throughput": ratio(inputs - (found or 0), total),
    }


def extended(
    requests: list[Request], steps: list[dict], telemetry: list[dict], scenario: dict, target: int | None
) -> dict[str, Value]:
    good, total = successful(requests), duration(requests)
    inputs, outputs = sum(r.prompt for r in good), sum(r.n for r in good)
    delays = [(r.submitted - r.arrival) * MS for r in requests if r.submitted is not None]
    flight_mean, flight_max = in_flight(requests)
    out: dict[str, Value] = {
        "duration": total,
        "completed": len(good),
        "failed": len(judged(requests)) - len(good),
        "cancelled": sum(r.given_up == "cancelled" for r in requests),
        "cut_off": sum(r.given_up == "cut" for r in requests),
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "failed_output_tokens": sum(r.n for r in judged(requests)) - outputs,
        "cancelled_output_tokens": sum(r.n for r in requests if r.given_up),
        "request_throughput": ratio(len(good), total),
        "input_throughput": ratio(inputs, total),
        "output_throughput": ratio(outputs, total),
        "total_token_throughput": ratio(inputs + outputs, total),
        **prefixes(good, inputs, total),
        "generated_throughput": ratio(sum(r.n for r in requests), total),
        "decode_speed_per_user": ratio(1, mean(known([r.tpot for r in good]))),
        "max_output_tokens_per_s": busiest_second(good, min((r.arrival for r in requests), default=0)),
        "mean_in_flight": flight_mean,
        "max_in_flight": flight_max,
        "preemptions": sum(r.preemptions for r in requests),
        "mean_submit_delay_ms": mean(delays),
        "max_submit_delay_ms": max(delays, default=None),
        "peak_rss_bytes": max((s["rss_bytes"] for s in telemetry), default=None),
        **goodput(requests, scenario.get("goodput")),
        **steady(requests, steps, target),
        **of_steps(steps),
    }
    usd = scenario.get("price_per_hour")
    usd = None if usd is None or total is None else usd * total / 3600
    for name, tokens in (("input_", inputs), ("output_", outputs), ("", inputs + outputs)):
        out[f"usd_per_million_{name}tokens"] = None if usd is None else ratio(1e6 * usd, tokens)
    for name, seconds in latencies(requests).items():
        out |= latency_set(name, seconds)
    return out


def spread(values: list[float]) -> dict[str, Value]:
    """Repeats: mean, sample standard deviation, and the 95 % interval of Student's t."""
    centre, n = mean(values), len(values)
    deviation = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (n - 1))
    reach = student_t(n - 1) * deviation / math.sqrt(n)
    return {
        "mean": centre,
        "std": deviation,
        "cv": ratio(deviation, centre),
        "ci95_low": centre - reach,
        "ci95_high": centre + reach,
    }


def student_t(freedom: int, level: float = 0.975) -> float:
    """Quantile of Student's t, from its density by Simpson's rule and bisection."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    scale /= math.sqrt(freedom * math.pi)

    def below(t: float, pieces: int = 2000) -> float:
        width = t / pieces
        total = 0.0
        for i in range(pieces + 1):
            weight = 1 if i in (0, pieces) else 4 if i % 2 else 2
            total += weight * (1 + (i * width) ** 2 / freedom) ** (-(freedom + 1) / 2)
        return 0.5 + scale * total * width / 3

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < level else (low, middle)
    return low

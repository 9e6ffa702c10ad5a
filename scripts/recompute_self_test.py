"""Does recompute-metrics.py catch what it is for? A made-up run, worked by hand, then spoilt.

Four requests, one of which times out after a token; figures that fit on a page. The
directory must pass; with any one number changed, any name left out, a null without a
reason or a reason too many, it must fail. So for the same run on two simulated cards.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import metric_definitions as define
from vllm_definitions import vllm as vllm_file

REQUESTS = [
    {"id": 0, "prompt_tokens": 10, "output_tokens": 3, "arrival": 0.0, "submitted": 0.0, "admitted": 0.1,
     "tokens": [0.5, 0.7, 0.9], "finish": "length", "preemptions": 0, "cached_tokens": 0},
    {"id": 1, "prompt_tokens": 20, "output_tokens": 5, "arrival": 0.0, "submitted": 0.1, "admitted": 0.5,
     "tokens": [1.0, 1.3, 1.6, 1.9, 2.2], "finish": "stop", "preemptions": 1, "cached_tokens": 16},
    {"id": 2, "prompt_tokens": 30, "output_tokens": 1, "arrival": 0.9, "submitted": 0.9, "admitted": 1.0,
     "tokens": [1.9], "finish": "length", "preemptions": 0, "cached_tokens": 8},
    {"id": 3, "prompt_tokens": 40, "output_tokens": 1, "arrival": 1.9, "submitted": 1.9, "admitted": 2.0,
     "tokens": [2.4], "finish": None, "preemptions": 0, "cached_tokens": 16, "error": "timed out"},
]  # fmt: skip
STEPS = [
    {"step": 0, "start": 0.1, "end": 0.5, "exec_seconds": 0.3, "running": 1, "waiting": 1, "scheduled": 1,
     "prefill_tokens": 10, "decode_tokens": 0, "output_tokens": 1, "preempted": 0,
     "kv_blocks_used": 1, "kv_blocks_total": 10, "bytes": 700, "flops": 1400,
     "communication_bytes": 10, "communication_seconds": 0.03, "compute_seconds": 0.27, "wait_seconds": None},
    {"step": 1, "start": 0.5, "end": 1.1, "exec_seconds": 0.5, "running": 2, "waiting": 0, "scheduled": 2,
     "prefill_tokens": 20, "decode_tokens": 2, "output_tokens": 3, "preempted": 0,
     "kv_blocks_used": 5, "kv_blocks_total": 10, "bytes": 900, "flops": 2600,
     "communication_bytes": 0, "communication_seconds": 0.0, "compute_seconds": 0.5, "wait_seconds": None},
    {"step": 2, "start": 1.1, "end": 2.1, "exec_seconds": 0.8, "running": 2, "waiting": 1, "scheduled": 3,
     "prefill_tokens": 30, "decode_tokens": 3, "output_tokens": 4, "preempted": 1,
     "kv_blocks_used": 8, "kv_blocks_total": 10, "bytes": 1600, "flops": 4000,
     "communication_bytes": 0, "communication_seconds": 0.06, "compute_seconds": 0.74, "wait_seconds": 0.04},
    {"step": 3, "start": 2.1, "end": 2.4, "exec_seconds": 0.2, "running": 1, "waiting": 0, "scheduled": 1,
     "prefill_tokens": 0, "decode_tokens": 1, "output_tokens": 2, "preempted": 0,
     "kv_blocks_used": 2, "kv_blocks_total": 10, "bytes": 400, "flops": 1000,
     "communication_bytes": 0, "communication_seconds": 0.0, "compute_seconds": 0.2, "wait_seconds": None},
]  # fmt: skip
EXPERTS = [{"layer": 0, "tokens": [3, 3, 3, 3]}, {"layer": 2, "tokens": [0, 5, 1, 2]}]
TELEMETRY = [  # the last sample lies after the last token
    {"time": 0.0, "cpu_percent": 50.0, "ram_percent": 10.0, "rss_bytes": 1000},
    {"time": 1.0, "cpu_percent": 150.0, "ram_percent": 20.0, "rss_bytes": 3000},
    {"time": 9.0, "cpu_percent": 900.0, "ram_percent": 90.0, "rss_bytes": 2000},
]
SLO = {"ttft_ms": 900.0, "tpot_ms": None, "e2el_ms": 2000.0}

# Worked by hand: latencies 0.9, 2.2, 1.0; first tokens 0.5, 1.0, 1.0; 2.4 s in all.
METRICS = {
    "total_requests": 4, "successful_requests": 3, "failed_requests": 1, "success_rate": 75.0,
    "requests_per_sec": 1.25, "avg_latency": 4.1 / 3, "min_latency": 0.9, "max_latency": 2.2,
    "p90_latency": 1.96, "p95_latency": 2.08, "p99_latency": 2.176, "avg_first_token_latency": 2.5 / 3,
    "avg_tpot": 0.25, "p95_tpot": 0.295, "min_tpot": 0.2, "max_tpot": 0.3, "total_tokens_generated": 9,
    "max_throughput": 10 / 3, "min_throughput": 1.0, "avg_throughput": (10 / 3 + 5 / 2.2 + 1) / 3,
    "overall_total_throughput": 3.75, "input_tokens_per_sec": 25.0, "output_tokens_per_sec": 3.75,
    "total_duration": 2.4, "model": "made-up", "prompt": "by hand", "timestamp": "2026-01-02T03:04:05Z",
    "avg_gpu_mem_percent": None, "avg_gpu_power_watts": None, "avg_gpu_temp_C": None,
    "avg_gpu_clock_gr_mhz": None, "avg_gpu_clock_mem_mhz": None,
    "cpu_percent": 100.0, "ram_percent": 15.0, "gpu_index": None,
}  # fmt: skip
BY_HAND = {
    "duration": 2.4, "completed": 3, "failed": 1, "cancelled": 0, "cut_off": 0, "total_input_tokens": 60, "total_output_tokens": 9,
    "failed_output_tokens": 1, "cancelled_output_tokens": 0, "generated_throughput": 10 / 2.4, "request_throughput": 1.25, "input_throughput": 25.0,
    "output_throughput": 3.75, "total_token_throughput": 28.75, "decode_speed_per_user": 4.0,
    "total_cached_tokens": 24, "prefix_cache_hit_percent": 40.0, "cached_input_throughput": 10.0,
    "computed_input_throughput": 15.0,
    "mean_ttft_ms": 2500 / 3, "median_ttft_ms": 1000.0, "std_ttft_ms": math.sqrt(1 / 18) * 1000,
    "p50_ttft_ms": 1000.0, "p90_ttft_ms": None, "max_ttft_ms": 1000.0, "mean_tpot_ms": 250.0,
    "mean_itl_ms": 1600 / 6, "mean_e2el_ms": 4100 / 3, "mean_queue_ms": 700 / 3, "max_queue_ms": 500.0,
    "mean_ttft_service_ms": 600.0, "mean_normalized_latency_ms": (300 + 440 + 1000) / 3,
    "max_output_tokens_per_s": 5, "mean_in_flight": 4.1 / 2.4, "max_in_flight": 2,
    "request_goodput": 1 / 2.4, "goodput_attainment_percent": 25.0, "goodput_null_misses": 0,
    "steady_start": 0.5, "steady_end": 2.1, "steady_share_percent": 160 / 2.4,
    "steady_output_throughput": 7 / 1.6, "preemptions": 1, "steps": 4, "mean_batch_size": 1.75,
    "max_batch_size": 3, "mean_tokens_per_step": 16.5, "mean_kv_occupancy_percent": 120 / 2.3,
    "max_kv_occupancy_percent": 80.0, "achieved_bytes_per_s": 2000.0, "achieved_flop_per_s": 5000.0,
    "mean_submit_delay_ms": 25.0, "max_submit_delay_ms": 100.0, "mean_host_ms_per_step": 125.0,
    "communication_share_percent": 5.0, "wait_share_percent": 5.0, "timed_steps": 4, "mean_communication_bytes_per_step": 2.5,
    "host_share_percent": 50 / 2.3, "peak_rss_bytes": 3000,
    "mean_expert_imbalance": 1.75, "max_expert_imbalance": 2.5,
    "usd_per_million_input_tokens": 40.0, "usd_per_million_output_tokens": 2400 / 9,
    "usd_per_million_tokens": 2400 / 69,
}  # fmt: skip
# Of a device that reads 8000 bytes and multiplies 10000 times a second.
HARDWARE = {"count": 1, "roofs": {"read_bytes_per_s": 8000.0, "flop_per_s": 10000.0}}
ROOFS_BY_HAND = {"bandwidth_utilization_percent": 25.0, "flop_utilization_percent": 50.0}
CARDS = 2  # simulated, at their raw capacity
CARDS_BY_HAND = {
    "output_throughput_per_gpu": 1.875, "achieved_bytes_per_s_per_gpu": 1000.0, "achieved_flop_per_s_per_gpu": 2500.0,
    "mean_host_ms_per_step": None, "host_share_percent": None,
}  # fmt: skip
VLLM_BY_HAND = {
    "start_times": [0.0, 0.0, 0.9, 1.9], "output_lens": [3, 5, 1, 0], "errors": ["", "", "", "timed out"],
    "itls": [[0.2, 0.2], [0.3] * 4, [], []], "mean_ttft_ms": 2500 / 3, "p99_e2el_ms": 2176.0,
    "max_output_tokens_per_s": 5, "max_concurrent_requests": 3, "request_goodput": 1 / 2.4,
    "queue_times": [0.0, 0.0, 0.0, 0.0],
}  # fmt: skip

SUMMARY_CELLS = 3  # values of 3.75 in the made-up run


def made_up(cards: int) -> tuple[dict, dict]:
    """results.json and vllm.json: by hand as above, the rest by the definitions. `cards`: simulated ones, or none."""
    requests = [define.Request.of(line) for line in REQUESTS]
    extended = define.extended(requests, STEPS, TELEMETRY, {"goodput": SLO, "price_per_hour": 3.6}, target=2)
    extended |= dict.fromkeys(define.GPU_EXTENDED) | BY_HAND | ROOFS_BY_HAND
    extended |= CARDS_BY_HAND if cards else {}
    metrics = METRICS | {"gpu_index": list(range(cards)) or None}
    extended["percentile_n"] = {
        "ttft": 3, "tpot": 2, "itl": 6, "e2el": 3, "queue": 3, "ttft_service": 3, "normalized_latency": 3,
    }  # fmt: skip
    extended["low_confidence"] = [f"p50_{name}_ms" for name in extended["percentile_n"]]
    extended["low_confidence"] += ["p90_latency", "p95_latency", "p99_latency", "p95_tpot"]
    values = {**metrics, **extended}
    run = {
        "scenario": {"name": "by-hand", "concurrency": 2, "requests": 4, "repeat": 0, "goodput": SLO, "price_per_hour": 3.6},
        "metrics": metrics,
        "extended": extended,
        "not_observed": {name: "not seen" for name, value in values.items() if value is None},
        "failures": [{"id": 3, "reason": "timed out"}],
    }
    vllm = vllm_file(requests, SLO)
    for name in ("ttfts", "itls", "latencies"):
        vllm[name] = [value if r.ok else None for value, r in zip(vllm[name], requests)]
    results = {
        "kind": "predicted" if cards else "measured",
        "partial": False,
        "environment": {"gpus": []},
        "hardware": HARDWARE | {"count": cards or 1},
        "model": {"name": "made-up"},
        "engine": {"max_num_seqs": 256, "num_kv_blocks": 10, "block_size": 16},
        "runs": [run],
    }
    return copy.deepcopy(results), vllm | VLLM_BY_HAND


def summary(results: dict) -> str:
    lines = ["run,set,metric,value,reason"]
    run = results["runs"][0]
    for part in ("metrics", "extended"):
        for name, value in run[part].items():
            if not isinstance(value, (list, dict)):
                shown = "" if value is None else value
                lines.append(f"0,{part},{name},{shown},{run['not_observed'].get(name, '')}")
    return "\n".join(lines) + "\n"


def write(
    folder: Path, results: dict, vllm: dict, requests: list[dict], steps: list[dict], table: str
) -> None:
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "vllm.json").write_text(json.dumps(vllm))
    (folder / "summary.csv").write_text(table)
    for name, records in (("requests", requests), ("steps", steps), ("experts", EXPERTS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    rows = [list(TELEMETRY[0]), *(list(sample.values()) for sample in TELEMETRY)]
    (folder / "telemetry.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


def spoilt(value: object) -> object:
    """Another value of the same kind, as near as a careless change would leave it."""
    if isinstance(value, bool) or value is None:
        return 1.5
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.0001 + 1e-4
    if isinstance(value, list):
        return value[:-1]
    if isinstance(value, dict):
        return {**value, "ttft": -1}
    return ""


def mutations(cards: int):
    """(what was done, results, vllm, requests, steps), each wrong in one place."""
    start = (*made_up(cards), REQUESTS, STEPS)

    def case(what: str, change: Callable) -> tuple:
        files = copy.deepcopy(start)
        change(*files)
        return what, *files

    for part in ("metrics", "extended"):
        for name, value in start[0]["runs"][0][part].items():

            def change(results: dict, *_, part: str = part, name: str = name, value: object = value) -> None:
                run = results["runs"][0]
                run[part][name] = spoilt(value)
                run["not_observed"].pop(name, None)

            yield case(f"{part}.{name} changed", change)
            yield case(f"{part}.{name} missing", lambda r, *_, p=part, n=name: r["runs"][0][p].pop(n))
            if value is None:
                yield case(f"{name} unexplained", lambda r, *_, n=name: r["runs"][0]["not_observed"].pop(n))
    for name, value in start[1].items():
        yield case(f"vllm {name} changed", lambda _, v, *__, n=name, x=value: v.update({n: spoilt(x)}))
        yield case(f"vllm {name} missing", lambda _, v, *__, n=name: v.pop(n))
    yield case("reason too many", lambda r, *_: r["runs"][0]["not_observed"].update(avg_latency="lost"))
    yield case("unknown reason", lambda r, *_: r["runs"][0]["not_observed"].update(nonsense="lost"))
    yield case("failure not listed", lambda r, *_: r["runs"][0]["failures"].clear())
    yield case("token later", lambda _r, _v, requests, _s: requests[1]["tokens"].__setitem__(2, 1.601))
    yield case("request lost", lambda _r, _v, requests, _s: requests.pop(2))
    yield case("request twice", lambda _r, _v, requests, _s: requests.append(requests[2]))
    yield case("token count", lambda _r, _v, requests, _s: requests[0].update(output_tokens=4))
    yield case("step lost", lambda _r, _v, _q, steps: steps.pop(1))
    yield case("steps overlap", lambda _r, _v, _q, steps: steps[1].update(start=0.4))


def main(run_check: Callable) -> int:
    passed = count = wrong = 0
    for cards in (0, CARDS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            results, vllm = made_up(cards)
            write(folder, results, vllm, REQUESTS, STEPS, summary(results))
            tally = run_check(folder)  # prints what it finds
            passed += tally.passed
            wrong += tally.failed
            with contextlib.redirect_stdout(io.StringIO()):
                write(folder, results, vllm, REQUESTS, STEPS, summary(results).replace("3.75", "3.76"))
                wrong += run_check(folder).failed != SUMMARY_CELLS
            for what, *files in mutations(cards):
                write(folder, *files, summary(files[0]))
                with contextlib.redirect_stdout(io.StringIO()):
                    caught = run_check(folder).failed > 0
                count += 1
                wrong += not caught
                if not caught:
                    print(f"NOT CAUGHT {what}, {cards} simulated cards")
    print(f"self-test: {passed} comparisons pass by hand, {count} mistakes made, {wrong} problems")
    return int(wrong > 0)

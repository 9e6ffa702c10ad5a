#!/usr/bin/env python3
"""Recompute every aggregate of a bench run from its raw files and compare.

    candlepower bench --out DIR
    scripts/recompute-metrics.py DIR
    scripts/recompute-metrics.py --self-test

An independent check (standard library only; the formulas are in metric_definitions.py
and vllm_definitions.py). Reads requests.jsonl, steps.jsonl, experts.jsonl (of a model that
has experts) and telemetry.csv of DIR, and
compares results.json, vllm.json (of several runs vllm-1.json and on), summary.csv and
manifest.json with what follows from them, to a relative 1e-6. Also fails on a missing metric, on a null without a reason in
`not_observed`, and on a reason for a value that is there. Prints each mismatch, then
`N passed, M failed`; exits 1 if any failed, 2 if DIR cannot be read.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import metric_definitions as define
from metric_definitions import Request
from vllm_definitions import ANY
from vllm_definitions import vllm as vllm_file

RELATIVE, ABSOLUTE = 1e-6, 1e-9
FEWEST_REPEATS = 3
MOST_FAILURES = 10_000  # that results.json lists


class Tally:
    """Counts comparisons and prints those that fail."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def expect(self, ok: bool, message: str) -> None:
        self.passed += ok
        self.failed += not ok
        if not ok:
            print(f"MISMATCH {message}")

    def equal(self, name: str, have: object, want: object) -> None:
        self.expect(same(have, want), f"{name}: the file says {shown(have)}, recomputed {shown(want)}")


def shown(value: object) -> str:
    text = "nothing" if value is MISSING else repr(value)
    return text if len(text) <= 160 else text[:157] + "..."


MISSING = object()


def same(have: object, want: object) -> bool:
    if want is ANY:
        return have is not MISSING
    if isinstance(want, (list, tuple)):
        return isinstance(have, list) and len(have) == len(want) and all(map(same, have, want))
    if isinstance(want, dict):
        both = isinstance(have, dict) and have.keys() == want.keys()
        return both and all(same(have[key], want[key]) for key in want)
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (have, want)):
        return math.isclose(have, want, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return have == want


def read_lines(path: Path) -> dict[int, list[dict]]:
    """Objects of a .jsonl file by run; a file of one run does not number it."""
    runs: dict[int, list[dict]] = defaultdict(list)
    for line in path.read_text().splitlines():
        record = json.loads(line)
        runs[record.get("run", 0)].append(record)
    return runs


def read_table(path: Path) -> dict[int, list[dict]]:
    """Rows of a .csv file of numbers by run."""
    runs: dict[int, list[dict]] = defaultdict(list)
    with path.open(newline="") as f:
        for row in csv.DictReader(f):
            record = {key: float(value) for key, value in row.items()}
            runs[int(record.get("run", 0))].append(record)
    return runs


def check_raw(tally: Tally, at: str, lines: list[dict], steps: list[dict], partial: bool) -> None:
    """What must hold inside the raw files, or nothing computed from them means anything."""
    for line in lines:
        r = Request.of(line)
        who = f"{at}request {line['id']}"
        tally.equal(f"{who}: output_tokens against token times", line["output_tokens"], r.n)
        stamps = [t for t in (r.arrival, r.submitted, r.admitted, *r.tokens) if t is not None]
        tally.expect(stamps == sorted(stamps), f"{who}: time stamps run backwards")
        ended = (line["finish"] is not None) + bool(line.get("error"))
        tally.expect(ended == 1 or (partial and not ended), f"{who}: neither finished nor failed, or both")
        tally.expect(bool(r.tokens) or not r.ok, f"{who}: finished without a token")
    tally.expect(len({line["id"] for line in lines}) == len(lines), f"{at}a request id occurs twice")
    sums = [sum(s["output_tokens"] for s in steps), sum(s["preempted"] for s in steps)]
    want = [sum(len(line["tokens"]) for line in lines), sum(line["preemptions"] for line in lines)]
    tally.equal(f"{at}steps.jsonl: output tokens and preemptions in all", sums, want)
    for before, after in zip(steps, steps[1:]):
        ordered = before["start"] <= before["end"] <= after["start"] and before["step"] < after["step"]
        tally.expect(ordered, f"{at}step {after['step']} overlaps the one before")
        idle, pause = after.get("idle_seconds", 0.0), after["start"] - before["end"]
        tally.expect(0 <= idle <= pause + ABSOLUTE, f"{at}step {after['step']}: idle for longer than the pause before it")


def steady_target(scenario: dict, engine: dict, requests: list[Request]) -> int | None:
    """Requests that a closed loop can keep running: the least of those asked for, those there
    are, the sequence limit, and those whose whole KV the cache holds."""
    if scenario["concurrency"] is None or not requests:
        return None
    longest = max(r.prompt + (scenario.get("output_len") or r.n) for r in requests)
    if scenario.get("input_len") and scenario.get("output_len"):  # as asked for, early ends or not
        longest = scenario["input_len"] + scenario["output_len"]
    in_cache = engine["num_kv_blocks"] // math.ceil((longest - 1) / engine["block_size"])
    return min(scenario["concurrency"], len(requests), engine["max_num_seqs"], in_cache)


def check_observed(tally: Tally, at: str, run: dict) -> None:
    """Each null has a reason, and each reason a null."""
    values = {**run["metrics"], **run["extended"]}
    reasons = run["not_observed"]
    for name in sorted({k for k, v in values.items() if v is None} | reasons.keys()):
        if name not in values:
            tally.expect(False, f"{at}not_observed.{name}: no metric has this name")
        elif values[name] is None:
            reason = reasons.get(name)
            tally.expect(bool(reason), f"{at}{name}: null without a reason in not_observed")
        else:
            tally.expect(False, f"{at}{name}: {shown(values[name])}, yet not_observed has a reason")


def check_run(tally: Tally, at: str, results: dict, run: dict, raw: tuple) -> None:
    lines, steps, telemetry, experts = raw
    requests = [Request.of(line) for line in lines]
    scenario, metrics, extended = run["scenario"], run["metrics"], run["extended"]
    most, seconds = scenario["requests"], scenario.get("duration_s")
    if most is not None:  # a run cut short, or bounded by time, leaves out those it never submitted
        bounded = results["partial"] or seconds is not None
        asked = len(requests) <= most if bounded else len(requests) == most
        tally.expect(asked, f"{at}scenario.requests: {most} asked for, {len(requests)} recorded")
    late = [r for r in requests if seconds is not None and r.arrival >= seconds]
    tally.equal(f"{at}requests that came after scenario.duration_s", len(late), 0)
    check_raw(tally, at, lines, steps, results["partial"])

    want = define.source(requests, telemetry)
    cards = simulated_cards(results)
    if not results["environment"]["gpus"]:
        want |= dict.fromkeys(define.GPU_METRICS) | {"gpu_index": list(range(cards)) or None}
    want["model"] = results["model"]["name"]
    for name, value in want.items():
        tally.equal(f"{at}metrics.{name}", metrics.get(name, MISSING), value)
    for name in define.GPU_METRICS + define.TEXT_METRICS:
        tally.expect(name in metrics, f"{at}metrics.{name} is missing")
    tally.expect(bool(metrics.get("prompt")), f"{at}metrics.prompt is empty")
    tally.expect(is_time(metrics.get("timestamp")), f"{at}metrics.timestamp is not an RFC 3339 time")

    target = steady_target(scenario, results["engine"], requests)
    want = define.extended(requests, steps, telemetry, scenario, target) | define.imbalance(experts)
    want |= define.of_roofs(want, results["hardware"]["roofs"])
    if not results["environment"]["gpus"]:
        want |= dict.fromkeys(define.GPU_EXTENDED) | define.each_gpu(want, cards)
    if cards and results["engine"].get("server") is None:  # raw capacity has no host
        want |= dict.fromkeys(define.HOST)
    for name, value in want.items():
        tally.equal(f"{at}extended.{name}", extended.get(name, MISSING), value)
    counts = {k: len(v) for k, v in define.latencies(requests).items()}
    tally.equal(f"{at}extended.percentile_n", extended.get("percentile_n", MISSING), counts)
    low = extended.get("low_confidence", MISSING)
    tally.equal(
        f"{at}extended.low_confidence",
        sorted(low) if isinstance(low, list) else low,
        sorted(define.low_confidence(requests)),
    )
    failed = sorted(line["id"] for line, r in zip(lines, requests) if not r.ok and not r.given_up)
    tally.equal(f"{at}failures", sorted(f["id"] for f in run["failures"]), failed[:MOST_FAILURES])
    check_observed(tally, at, run)


def simulated_cards(results: dict) -> int:
    """Cards whose time was predicted. Nothing watches them, so none stands in the environment."""
    return results["hardware"]["count"] if results["kind"] == "predicted" else 0


def is_time(text: object) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def check_vllm(tally: Tally, at: str, have: dict, lines: list[dict], slo: dict | None) -> None:
    for name, value in vllm_file([Request.of(line) for line in lines], slo).items():
        tally.equal(f"{at}vllm.json {name}", have.get(name, MISSING), value)


def check_summary(tally: Tally, path: Path, runs: list[dict]) -> None:
    """summary.csv: every plain value of results.json, or the reason why there is none."""
    with path.open(newline="") as f:
        rows = {(int(r["run"]), r["set"], r["metric"]): r for r in csv.DictReader(f)}
    for index, run in enumerate(runs):
        for part in ("metrics", "extended"):
            for name, value in run[part].items():
                if isinstance(value, (list, dict)):
                    continue
                row = rows.pop((index, part, name), None)
                at = f"summary.csv, run {index}, {part}.{name}"
                if row is None:
                    tally.expect(False, f"{at} is missing")
                elif isinstance(value, (int, float)):
                    tally.equal(at, float(row["value"] or "nan"), value)
                else:
                    have = [row["value"], row["reason"]]
                    tally.equal(at, have, [value or "", run["not_observed"].get(name, "")])
    tally.expect(not rows, f"summary.csv has lines that results.json lacks: {sorted(rows)[:3]}")


def check_manifest(tally: Tally, folder: Path) -> None:
    """manifest.json: every file but itself and report.html, and the SHA-256 of each."""
    path = folder / "manifest.json"
    if not path.exists():  # of a version that wrote none
        return
    listed = json.loads(path.read_text())["files"]
    files = {p.name for p in folder.iterdir() if p.is_file()} - {"manifest.json", "report.html"}
    tally.equal("manifest.json: names", sorted(listed), sorted(files))
    for name in sorted(files & listed.keys()):
        data = (folder / name).read_bytes()
        want = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        tally.equal(f"manifest.json: {name}", listed[name], want)


def check_repeats(tally: Tally, results: dict) -> None:
    """The spread of each scenario that was played three times or more."""
    plays: dict[str, list[dict]] = defaultdict(list)
    for run in results["runs"]:
        scenario = {k: v for k, v in run["scenario"].items() if k != "repeat"}
        plays[json.dumps(scenario, sort_keys=True)].append(run)
    groups = [runs for runs in plays.values() if len(runs) >= FEWEST_REPEATS]
    summaries = results.get("repeats", [])
    tally.equal("repeats: scenarios", len(summaries), len(groups))
    for have, runs in zip(summaries, groups):
        at = f"repeats of {have['scenario']}, concurrency {have['concurrency']}"
        key = [runs[0]["scenario"]["name"], runs[0]["scenario"]["concurrency"], len(runs)]
        tally.equal(f"{at}: runs", [have["scenario"], have["concurrency"], have["runs"]], key)
        for name, spread in have["metrics"].items():
            values = [{**run["metrics"], **run["extended"]}.get(name) for run in runs]
            want = MISSING if None in values else define.spread(values)
            tally.equal(f"{at}: {name}", spread, want)


def check(folder: Path) -> Tally:
    tally = Tally()
    results = json.loads((folder / "results.json").read_text())
    requests, steps = (read_lines(folder / f"{name}.jsonl") for name in ("requests", "steps"))
    telemetry = read_table(folder / "telemetry.csv")
    experts = read_lines(folder / "experts.jsonl") if (folder / "experts.jsonl").exists() else {}
    runs = results["runs"]
    names = ["vllm.json"] if len(runs) == 1 else [f"vllm-{i + 1}.json" for i in range(len(runs))]
    vllm = [json.loads((folder / name).read_text()) for name in names]
    found = sorted(path.name for path in folder.glob("vllm*.json"))
    tally.equal("files of vllm's format", found, sorted(names))
    check_manifest(tally, folder)
    tally.expect(requests.keys() <= set(range(len(runs))), "requests.jsonl numbers a run too many")
    for index, run in enumerate(runs):
        at = f"run {index}: " if len(runs) > 1 else ""
        raw = requests[index], steps[index], telemetry[index], experts.get(index, [])
        check_run(tally, at, results, run, raw)
        check_vllm(tally, at, vllm[index], requests[index], run["scenario"].get("goodput"))
    check_summary(tally, folder / "summary.csv", runs)
    check_repeats(tally, results)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="what bench --out wrote")
    parser.add_argument("--self-test", action="store_true", help="check this checker on a made-up run")
    args = parser.parse_args()
    if args.self_test:
        import recompute_self_test

        return recompute_self_test.main(check)
    if args.folder is None:
        parser.error("name the directory that bench --out wrote, or --self-test")
    try:
        tally = check(args.folder)
    except (OSError, ValueError, KeyError) as error:
        print(f"{args.folder} cannot be read as an output of bench: {error!r}", file=sys.stderr)
        return 2
    print(f"{tally.passed} passed, {tally.failed} failed")
    return int(tally.failed > 0)


if __name__ == "__main__":
    sys.exit(main())

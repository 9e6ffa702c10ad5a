"""From rounds of rates to one table: medians, ranges, ratios taken round by round, shares of the roofs."""

import statistics
from dataclasses import dataclass, field

OURS = "candlepower"
BF16_BYTES = 2
FLOPS_PER_MULTIPLY_ADD = 2
NOT_RUN = "–"
FORMULAS = (
    "Share of the roof, formula: decode x1 is tokens/s x 2 bytes x parameters of a step (head included) / read; "
    "decode of more is tokens/s x 2 x parameters of a step / multiply-add; prefill the same with the layers' "
    "parameters alone, as the head serves one token of a prompt. Counted: what candlepower's steps say they read "
    "or computed while they ran, attention included."
)


@dataclass
class Round:
    """Tokens a second by engine and load; of ours, by load, the roofs of the process and what its steps counted."""

    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    roofs: dict[str, dict[str, float]] = field(default_factory=dict)
    counted: dict[str, dict[str, float]] = field(default_factory=dict)

    def rate(self, engine: str, load: str) -> float | None:
        return self.rates.get(engine, {}).get(load)

    def ratio(self, load: str) -> float | None:
        """Ours to the best peer."""
        peers = [rates[load] for engine, rates in self.rates.items() if engine != OURS and load in rates]
        ours = self.rate(OURS, load)
        return ours / max(peers) if peers and ours else None

    def roof_share(self, load: str, sizes: dict[str, int]) -> float | None:
        rate, roofs = self.rate(OURS, load), self.roofs.get(load)
        if not rate or not roofs:
            return None
        if bound_by_reading(load):
            return rate * sizes["step"] * BF16_BYTES / roofs["read_bytes_per_s"]
        parameters = sizes["layers"] if load.startswith("prefill") else sizes["step"]
        return rate * parameters * FLOPS_PER_MULTIPLY_ADD / roofs["flop_per_s"]

    def counted_share(self, load: str) -> float | None:
        roofs, counted = self.roofs.get(load), self.counted.get(load)
        if not roofs or not counted:
            return None
        what, roof = ("bytes_per_s", "read_bytes_per_s") if bound_by_reading(load) else ("flop_per_s", "flop_per_s")
        return counted[what] / roofs[roof]


def bound_by_reading(load: str) -> bool:
    """One sequence reads every weight of a step for one token."""
    return load == "decode x1"


def known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def cell(values: list[float]) -> str:
    if not values:
        return NOT_RUN
    low, middle, high = min(values), statistics.median(values), max(values)
    digits = 1 if middle < 100 else 0
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def ratio_cell(values: list[float]) -> str:
    if not values:
        return NOT_RUN
    middle = f"{statistics.median(values):.2f}x"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f}-{max(values):.2f})"


def share_cell(values: list[float]) -> str:
    return f"{100 * statistics.median(values):.0f} %" if values else NOT_RUN


def markdown(rounds: list[Round], engines: list[str], loads: list[str], sizes: dict[str, int], reasons: dict[str, str]) -> str:
    """Every engine has a row: its medians and ranges, or why there are none."""
    def over_rounds(show, pick) -> list[str]:
        return [show(known([pick(played, load) for played in rounds])) for load in loads]

    rows = [["tokens/s", *loads]]
    for engine in engines:
        cells = over_rounds(cell, lambda played, load, engine=engine: played.rate(engine, load))
        rows.append([engine + (" *" if engine in reasons else ""), *cells])
    rows.append(["candlepower to the best peer", *over_rounds(ratio_cell, lambda played, load: played.ratio(load))])
    rows.append(["of its roof, formula", *over_rounds(share_cell, lambda played, load: played.roof_share(load, sizes))])
    rows.append(["of its roof, counted", *over_rounds(share_cell, lambda played, load: played.counted_share(load))])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---|" + "---:|" * len(loads))
    lines += [f"\n\\* {engine}: {reason}" for engine, reason in reasons.items()]
    return "\n".join(lines)


def roofs_line(rounds: list[Round]) -> str:
    """The roofs of all processes of all rounds."""
    measured = [roofs for played in rounds for roofs in played.roofs.values()]
    if not measured:
        return ""
    read = [roofs["read_bytes_per_s"] / 1e9 for roofs in measured]
    peak = [roofs["flop_per_s"] / 1e9 for roofs in measured]
    return f"Roofs, measured by candlepower in each of its processes: read {cell(read)} GB/s, multiply-add {cell(peak)} GFLOP/s."

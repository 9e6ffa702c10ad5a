"""From rounds of rates to one table: medians, ranges, ratios taken round by round, shares of the roofs."""

import statistics
from dataclasses import dataclass, field

OURS = "candlepower"
BF16_BYTES = 2
FLOPS_PER_MULTIPLY_ADD = 2
NOT_RUN = "–"


@dataclass
class Rounds:
    """`rates[round][engine][load]`; an engine that failed in a round has no entry in it."""

    loads: list[str]
    rates: list[dict[str, dict[str, float]]] = field(default_factory=list)
    roofs: list[dict[str, float]] = field(default_factory=list)

    def of(self, engine: str, load: str) -> list[float]:
        return [r[engine][load] for r in self.rates if load in r.get(engine, {})]

    def ratios(self, load: str) -> list[float]:
        """Ours to the best peer of the same round."""
        found = []
        for rates in self.rates:
            peers = [r[load] for engine, r in rates.items() if engine != OURS and load in r]
            ours = rates.get(OURS, {}).get(load)
            if peers and ours:
                found.append(ours / max(peers))
        return found

    def roof_shares(self, load: str, sizes: dict[str, int]) -> list[float]:
        """Ours to the roof of the same round.

        Decode of one sequence reads every weight of a step once a token. Everything else is held against
        multiply-adds: of a whole step a token in decode, of the layers alone in prefill, whose head serves
        one token of the prompt.
        """
        found = []
        for rates, roofs in zip(self.rates, self.roofs):
            rate = rates.get(OURS, {}).get(load)
            if not rate or not roofs:
                continue
            if load == "decode x1":
                found.append(rate * sizes["step"] * BF16_BYTES / roofs["read_bytes_per_s"])
            else:
                parameters = sizes["layers"] if load.startswith("prefill") else sizes["step"]
                found.append(rate * parameters * FLOPS_PER_MULTIPLY_ADD / roofs["flop_per_s"])
        return found


def cell(values: list[float]) -> str:
    if not values:
        return NOT_RUN
    low, middle, high = min(values), statistics.median(values), max(values)
    digits = 1 if middle < 100 else 0
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def ratio_cell(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}x ({min(values):.2f}-{max(values):.2f})" if values else NOT_RUN


def share_cell(values: list[float]) -> str:
    return f"{100 * statistics.median(values):.0f} %" if values else NOT_RUN


def markdown(rounds: Rounds, engines: list[str], sizes: dict[str, int], reasons: dict[str, str]) -> str:
    """Tokens a second: medians over the rounds and their range. A missing engine has its reason below."""
    rows = [["", *rounds.loads]]
    for engine in engines:
        if engine not in reasons:
            rows.append([engine, *(cell(rounds.of(engine, load)) for load in rounds.loads)])
    rows.append(["to the best peer", *(ratio_cell(rounds.ratios(load)) for load in rounds.loads)])
    rows.append(["of the roof", *(share_cell(rounds.roof_shares(load, sizes)) for load in rounds.loads)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    lines += [f"\n{engine} has no row: {reason}" for engine, reason in reasons.items()]
    return "\n".join(lines)

"""What every engine is asked to do, and how the answers are named."""

from dataclasses import dataclass

INPUT_LEN = 100
PREFILLS = (100, 512)
BATCHES = (1, 8, 32)
# Single requests whose median counts.
REPEATS = 3


@dataclass(frozen=True)
class Work:
    """One round of one engine."""

    prefills: tuple[int, ...] = PREFILLS
    batches: tuple[int, ...] = BATCHES
    output_len: int = 64
    threads: int = 2

    def names(self) -> list[str]:
        return [prefill(n) for n in self.prefills] + [decode(b) for b in self.batches]


def prefill(length: int) -> str:
    return f"prefill {length}"


def decode(batch: int) -> str:
    return f"decode x{batch}"

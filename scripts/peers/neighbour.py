"""A neighbour that takes part of one core, as another guest of the same host does."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A scheduler gives slices of some milliseconds; this one is taken away just as long.
SLICE_S = 0.02


def work_in_slices(core: int, share: float) -> None:
    os.sched_setaffinity(0, {core})
    while True:
        end = time.perf_counter() + SLICE_S * share
        while time.perf_counter() < end:
            pass
        time.sleep(SLICE_S * (1 - share))


@contextmanager
def neighbour(share: float) -> Iterator[None]:
    """While it lasts, `share` of this machine's first core is wanted by another process; 0 is nobody."""
    if share == 0:
        yield
        return
    core = min(os.sched_getaffinity(0))
    process = multiprocessing.Process(target=work_in_slices, args=(core, share), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()

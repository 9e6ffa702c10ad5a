"""What scripts say, and the machine that they run on."""

import platform
import sys
from pathlib import Path


def say(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

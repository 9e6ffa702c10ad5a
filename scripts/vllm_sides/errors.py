"""Why there is no result."""

from pathlib import Path

LINES = 12


class SideError(Exception):
    """A sentence for the user."""


def last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LINES:]
    return "\n".join(f"  | {line[:200]}" for line in lines)

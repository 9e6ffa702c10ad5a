"""What all engines share: installing once, running a command with a log, driving a Python runner."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import checkpoint
from .loads import INPUT_LEN, REPEATS, Work

ROOT = Path(__file__).resolve().parents[2]
RUNNERS = ROOT / "scripts" / "peers"
# Installing is nobody's hurry; measuring runs at the normal priority.
POLITE = ["nice", "-n", "10"]


class PeerError(Exception):
    """Why an engine has no numbers."""


def call(command: list, log: Path, **options) -> str:
    """Output of a command; its errors go to `log`, which is named when it fails."""
    words = [str(word) for word in command]
    with open(log, "a") as errors:
        print("$", *words, file=errors, flush=True)
        try:
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=errors, text=True, **options)
        except OSError as error:
            raise PeerError(f"{words[0]} does not start: {error}") from error
        errors.write(done.stdout)
    if done.returncode != 0:
        program = next(word for word in words if word not in POLITE)
        raise PeerError(f"{Path(program).name} ended with {done.returncode}; see {log}")
    return done.stdout


class Engine:
    """`run` gives tokens a second by load name; `version` and `settings` say of what, once it ran."""

    name = ""
    packages: tuple[str, ...] = ()

    def __init__(self, scratch: Path):
        self.folder = scratch / self.name
        self.log = scratch / f"{self.name}.log"
        self.version = ""
        self.settings = ""

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def pin(self) -> str:
        """What is installed; another version is another comparison."""
        return " ".join(self.packages)

    @property
    def stamp(self) -> Path:
        return self.folder / "installed"

    def installed(self) -> bool:
        return self.stamp.exists() and self.stamp.read_text() == self.pin

    def install(self) -> None:
        """Once a set of versions: the stamp holds what was installed."""
        if self.installed():
            return
        call([*POLITE, sys.executable, "-m", "venv", self.folder], self.log)
        call([*POLITE, self.python, "-m", "pip", "install", "-q", *self.packages], self.log)
        self.build()
        self.stamp.write_text(self.pin)

    def build(self) -> None:
        """What pip does not do."""

    def prepare(self, model: Path) -> None:
        """Turns the checkpoint into the engine's own format, once."""

    def run(self, model: Path, work: Work) -> dict[str, float]:
        raise NotImplementedError


def last_json(output: str) -> dict:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise PeerError("the runner printed no result")
    return json.loads(lines[-1])


class RunnerEngine(Engine):
    """An engine that a script in its own environment drives."""

    script = ""

    def job(self, model: Path, work: Work) -> dict:
        """What the script is told."""
        vocab = json.loads((model / "config.json").read_text())["vocab_size"]
        return {
            "model": str(model),
            "threads": work.threads,
            "prefills": work.prefills,
            "batches": work.batches,
            "output_len": work.output_len,
            "repeats": REPEATS,
            "decode_prompts": checkpoint.prompts(vocab, INPUT_LEN, max(work.batches, default=1)),
            "prefill_prompts": {n: checkpoint.prompts(vocab, n, REPEATS) for n in work.prefills},
        }

    def environment(self, work: Work) -> dict[str, str]:
        return os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(work.threads)}

    def run(self, model: Path, work: Work) -> dict[str, float]:
        # Through a file: long prompts pass the limit of an argument.
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.job(model, work), file)
            file.flush()
            command = [self.python, RUNNERS / self.script, file.name]
            result = last_json(call(command, self.log, env=self.environment(work)))
        self.version, self.settings = result["version"], result["settings"]
        return result["rates"]

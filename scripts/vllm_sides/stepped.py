"""vLLM in process: its engine in a Python of its own, which ends with the engine's memory, stepped by `stepper.py`."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from .errors import SideError, last_lines
from .loads import Job
from .record import Played, Streamed

STEPPER = Path(__file__).with_name("stepper.py")


def stepped(job: Job, log: Path, _timeout: float) -> Played:
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "job.json", Path(folder) / "played.json"
        asked.write_text(json.dumps(asdict(job)))
        # Without it the engine would run in a process behind a socket.
        environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        with open(log, "a") as words:
            command = [sys.executable, str(STEPPER), str(asked), str(answer)]
            code = subprocess.run(command, stdout=words, stderr=words, env=environment).returncode
        if code != 0 or not answer.exists():
            raise SideError(f"vLLM in process ended with {code}; the last lines of {log}:\n{last_lines(log)}")
        played = json.loads(answer.read_text())
    requests = [[Streamed.of_times(*request) for request in load] for load in played["requests"]]
    return Played(requests, played["version"], played["settings"])

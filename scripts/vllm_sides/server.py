"""vLLM's server on this machine's loopback."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import client
from .errors import SideError, last_lines
from .wire import HttpError, page
from .loads import WARM_TOKENS, Job
from .record import Played, settings

HOST = "127.0.0.1"
NAME = "model"
POLL_S = 0.5
# For its processes to end by themselves.
PATIENCE_S = 30


def served(job: Job, log: Path, timeout: float) -> Played:
    with running(job, log, timeout) as port:
        return asyncio.run(play_all((HOST, port), job))


@contextmanager
def running(job: Job, log: Path, timeout: float) -> Iterator[int]:
    """The port of a server that answers, for as long as it is needed."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *serve(job.model), "--served-model-name", NAME]
    command += ["--host", HOST, "--port", str(port), *job.flags]
    # In this mode it says what its settings are.
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1"}
    with open(log, "a") as words:
        process = subprocess.Popen(command, stdout=words, stderr=words, env=environment, start_new_session=True)
    try:
        asyncio.run(ready(port, process, log, timeout))
        yield port
    finally:
        end(process)


def serve(model: str) -> list[str]:
    """`vllm serve`; where a build for CPUs is not called vllm, which that command wants, what it runs."""
    try:
        version("vllm")
    except PackageNotFoundError:
        return ["vllm.entrypoints.openai.api_server", "--model", model]
    return ["vllm.entrypoints.cli.main", "serve", model]


def end(process: subprocess.Popen) -> None:
    """The server and what it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(PATIENCE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


async def ready(port: int, process: subprocess.Popen, log: Path, timeout: float) -> None:
    until = time.monotonic() + timeout
    while process.poll() is None:
        try:
            await page(HOST, port, "/version")
            return
        except (HttpError, OSError, ValueError):
            pass
        if time.monotonic() > until:
            late = f"vLLM's server did not answer within {timeout:.0f} s (--start-timeout)"
            raise SideError(f"{late}; the last lines of {log}:\n{last_lines(log)}")
        await asyncio.sleep(POLL_S)
    raise SideError(f"vLLM's server ended with {process.returncode}; the last lines of {log}:\n{last_lines(log)}")


async def play_all(server: client.Server, job: Job) -> Played:
    requests = []
    for load in job.loads:
        await client.play(server, NAME, job.warm_up(load), load.concurrency, min(WARM_TOKENS, load.output_len))
        requests.append(await client.play(server, NAME, job.prompts(load), load.concurrency, load.output_len))
    release = (await page(*server, "/version")).get("version", "unknown")
    try:
        config = (await page(*server, "/server_info?config_format=json")).get("vllm_config")
    except HttpError:
        # Of older releases.
        config = None
    return Played(requests, release, settings(lambda path: look_up(config, path)))


def look_up(config: object, path: str) -> object:
    return reduce(lambda value, name: value.get(name) if isinstance(value, dict) else None, path.split("."), config)

"""The client against a server that streams at times of its own, the figures against those times, flags and words against users."""

import argparse
import asyncio
import json
import time

from . import client, record
from .wire import page
from .loads import Job, Load, loads, vllm_flags
from .server import HOST, look_up

GAP_S = 0.02
# Tokens of each chunk after the first: a stream may hold back one and send two.
CHUNKS = (1, 1, 2, 1)
REFUSED, BROKEN = 3, 4


class MadeUpServer:
    """It streams `CHUNKS`, refuses prompts of `REFUSED` tokens and breaks off those of `BROKEN`."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].split()[0])
            body = json.loads(await reader.readexactly(length)) if length else {}
            await self.answer(writer, body)
        finally:
            self.now -= 1
            writer.close()

    async def answer(self, writer: asyncio.StreamWriter, body: dict) -> None:
        prompt = body.get("prompt", [])
        if len(prompt) == REFUSED:
            text = b'{"error": "too short"}'
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            return
        if not prompt:
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"version": "0.1"}')
            return
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for index, tokens in enumerate(CHUNKS):
            await asyncio.sleep(GAP_S)
            await self.event(writer, json.dumps({"choices": [{"text": "x" * tokens}]}))
            if len(prompt) == BROKEN and index == 1:
                return
        await self.event(writer, json.dumps({"choices": [], "usage": {"completion_tokens": sum(CHUNKS)}}))
        await self.event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")

    async def event(self, writer: asyncio.StreamWriter, text: str) -> None:
        """In two parts, the first of which ends within a line."""
        data = f"data: {text}\n\n".encode()
        for part in (data[:7], data[7:]):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()


async def played(prompts: list[list[int]], concurrency: int) -> tuple[list[record.Streamed], int]:
    made_up = MadeUpServer()
    async with await asyncio.start_server(made_up.handle, HOST, 0) as server:
        at = (HOST, server.sockets[0].getsockname()[1])
        assert await page(*at, "/version") == {"version": "0.1"}
        return await client.play(at, "model", prompts, concurrency, sum(CHUNKS)), made_up.most


def check_client() -> None:
    start = time.perf_counter()
    requests, most = asyncio.run(played([[1] * 8 for _ in range(6)], 2))
    assert most == 2 and len(requests) == 6
    # Three after each other.
    assert time.perf_counter() - start >= 3 * len(CHUNKS) * GAP_S
    for request in requests:
        assert request.ok and request.n == sum(CHUNKS) and len(request.tokens) == len(CHUNKS)
        assert request.ttft >= GAP_S and min(request.itl) >= GAP_S / 2, request
        # Of a token, not of a chunk.
        assert abs(request.tpot - sum(request.itl) / (sum(CHUNKS) - 1)) < 1e-9
    requests, _ = asyncio.run(played([[1] * REFUSED, [1] * BROKEN], 1))
    assert [request.ok for request in requests] == [False, False]
    assert "400: " in requests[0].error and "too short" in requests[0].error, requests[0].error
    assert "broke off" in requests[1].error, requests[1].error


def check_record() -> None:
    load = Load(1, 2, 10, 3)
    job = Job("a/model", [load], 100, 0, [])
    good = record.Streamed.of_times(10, 1.0, [2.0, 3.0], 3, "")
    bad = record.Streamed.of_times(10, 3.0, [], 0, "gone")
    used = {"tp": 1, "device": "cpu"}
    result = record.result("server", job, load, [good, bad], record.Played([], "1.2", used), False)
    assert (result["completed"], result["failed"], result["errors_seen"]) == (1, 1, ["gone"])
    assert (result["mean_ttft_ms"], result["mean_tpot_ms"], result["mean_itl_ms"]) == (1000.0, 500.0, 1000.0)
    assert (result["duration"], result["output_throughput"]) == (2.0, 1.5)
    assert result["hardware"]["gpus"] == 0 and "gpu" not in result["hardware"]
    assert "ttfts" not in result and "1 failed" in record.headline(result)
    assert record.result("server", job, load, [good], record.Played([], "1.2", used), True)["ttfts"] == [1.0]
    assert "no request succeeded: gone" in record.headline(record.result("server", job, load, [bad], record.Played([], "", used), False))


def check_settings() -> None:
    graphs = {"cudagraph_mode": [2, 1], "mode": 3}
    config = {"model_config": {"dtype": "torch.bfloat16"}, "scheduler_config": {"max_num_seqs": 8}, "compilation_config": graphs}
    expected = {"dtype": "bfloat16", "max_num_seqs": 8, "graphs": "full_and_piecewise", "compilation": "vllm_compile"}
    assert record.settings(lambda path: look_up(config, path)) == expected
    assert record.settings(lambda path: look_up(None, path)) == {}


def check_loads() -> None:
    flags = {"scenario": None, "concurrency": [1, 8], "requests": [4], "input_len": 10, "output_len": None}
    options = argparse.Namespace(**flags, max_num_seqs=2, max_num_batched_tokens=64, tp=1, prefix_cache=False, flags=["--x"])
    options.loads = loads(options)
    assert options.loads == [Load(1, 4, 10, 32), Load(8, 4, 10, 32)]
    assert vllm_flags(options)[0] == "--max-model-len=42" and vllm_flags(options)[-1] == "--x"
    for wrong in ({"scenario": "c2"}, {"requests": [1, 2, 3]}, {"input_len": 0}):
        try:
            loads(argparse.Namespace(**(flags | wrong)))
        except ValueError as error:
            assert f"--{next(iter(wrong)).replace('_', '-')}" in str(error), error
        else:
            raise AssertionError(wrong)
    job = Job("a/model", options.loads, 50, 0, [])
    first, second = job.prompts(options.loads[0]), job.prompts(options.loads[1])
    assert [len(prompt) for prompt in first] == [10] * 4 and first != second and first == job.prompts(options.loads[0])
    assert not set(map(tuple, first)) & set(map(tuple, job.warm_up(options.loads[0])))


def run() -> int:
    check_client()
    check_record()
    check_settings()
    check_loads()
    print("self test passed")
    return 0

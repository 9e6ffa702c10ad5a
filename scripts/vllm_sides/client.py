"""A closed loop against a server of OpenAI's kind, its answers streamed."""

import asyncio
import json
import time

from .wire import HttpError, lines, opened
from .record import Streamed

DONE = b"[DONE]"
Server = tuple[str, int]


async def play(server: Server, model: str, prompts: list[list[int]], concurrency: int, tokens: int) -> list[Streamed]:
    """Each client sends its next request when its last one ended."""
    waiting, requests = iter(prompts), []

    async def client() -> None:
        for prompt in waiting:
            requests.append(await stream(server, model, prompt, tokens))

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return requests


async def stream(server: Server, model: str, prompt: list[int], tokens: int) -> Streamed:
    body = {
        "model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0.0, "ignore_eos": True,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    chunks: list[float] = []
    count, error, is_done = 0, "", False
    sent = time.perf_counter()
    try:
        async with opened(*server, "/v1/completions", body) as answer:
            async for line in lines(answer):
                at = time.perf_counter()
                data = line.removeprefix(b"data:").strip()
                if not line.startswith(b"data:") or data == DONE:
                    is_done |= data == DONE
                    continue
                chunk = json.loads(data)
                if "error" in chunk:
                    raise HttpError(json.dumps(chunk["error"])[:200])
                if chunk.get("choices"):
                    chunks.append(at)
                # The last chunk has the count, and no choice.
                count = (chunk.get("usage") or {}).get("completion_tokens", count)
    except (HttpError, OSError) as cause:
        error = str(cause) or type(cause).__name__
    if not error and not is_done:
        error = "the stream ended before its end was announced"
    if not error and not count:
        error = "the server did not say how many tokens it made"
    return Streamed.of_times(len(prompt), sent, chunks, count, error)

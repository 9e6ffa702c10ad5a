"""As much of HTTP/1.1 as a client of one server on loopback needs: a request on a connection of its own, its answer as it comes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LINE = 1 << 24


class HttpError(Exception):
    """The server answered otherwise than with 200, or not by the protocol."""


@asynccontextmanager
async def opened(host: str, port: int, path: str, body: dict | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
    """The parts of the answer to a GET, or to a POST of `body`."""
    reader, writer = await asyncio.open_connection(host, port, limit=LINE)
    try:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        status, fields = await begin(reader)
        answer = parts(reader, fields)
        if status != 200:
            text = b"".join([part async for part in answer]).decode(errors="replace")
            raise HttpError(f"{status}: {text[:200]}")
        yield answer
    except (asyncio.IncompleteReadError, ValueError) as error:
        raise HttpError(f"the answer broke off: {error}") from error
    finally:
        writer.close()


async def begin(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first = (await reader.readuntil(b"\r\n")).split()
    if len(first) < 2 or not first[1].isdigit():
        raise HttpError(f"no answer of HTTP: {b' '.join(first)[:80]!r}")
    fields = {}
    while line := (await reader.readuntil(b"\r\n")).strip().decode("latin-1"):
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return int(first[1]), fields


async def parts(reader: asyncio.StreamReader, fields: dict[str, str]) -> AsyncIterator[bytes]:
    if fields.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
    elif length := int(fields.get("content-length", 0)):
        yield await reader.readexactly(length)


async def lines(answer: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A line may begin in one part and end in the next."""
    rest = b""
    async for part in answer:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line


async def page(host: str, port: int, path: str) -> dict:
    """A JSON object. Raises HttpError, OSError."""
    async with opened(host, port, path) as answer:
        found = json.loads(b"".join([part async for part in answer]))
    return found if isinstance(found, dict) else {}

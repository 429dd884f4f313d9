"""A load generator in a process of its own: the same requests, sent again and again over many connections.

`python -m bench.load HOST PORT CONNECTIONS SECONDS` reads the bytes of one request or several, between NUL bytes, from
standard input; they are sent in turn. It prints JSON: requests answered, those that were not 200 or 201, seconds, and
the latencies' median and 99th percentile in ms.

It must never be what is measured: a protocol without streams or tasks, about 8 us a request.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Final, cast

import uvloop

HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length: "


class Connection(asyncio.Protocol):
    """Asks, reads the answer, asks again until time is up."""

    transport: asyncio.Transport

    def __init__(self, requests: Iterator[bytes], latencies: list[float]) -> None:
        self._requests = requests  # without end
        self._latencies = latencies
        self._buffer = b""
        self._until = 0.0
        self._asked = 0.0
        self.failures = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask_until(self, until: float) -> None:
        self._until = until
        self._ask()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        head_end = buffer.find(HEAD_END)
        if head_end < 0:
            return
        start = buffer.index(LENGTH) + len(LENGTH)
        length = int(buffer[start : buffer.index(b"\r", start)])
        if len(buffer) < head_end + len(HEAD_END) + length:
            return
        self._buffer = b""
        now = time.perf_counter()
        self._latencies.append(now - self._asked)
        if buffer[9:12] not in (b"200", b"201"):
            self.failures += 1
        if now < self._until:
            self._ask()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self.failures += 1  # the server has hung up
        self.ended.set_result(None)

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self.transport.write(next(self._requests))


async def _main(host: str, port: int, connections: int, seconds: float, requests: list[bytes]) -> dict[str, float]:
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    in_turn = cycle(requests)
    opened = [
        (await loop.create_connection(lambda: Connection(in_turn, latencies), host, port))[1]
        for _ in range(connections)
    ]
    started = time.perf_counter()
    for connection in opened:
        connection.ask_until(started + seconds)
    await asyncio.gather(*(connection.ended for connection in opened))
    elapsed = time.perf_counter() - started
    latencies.sort()
    return {
        "answered": len(latencies),
        "failed": sum(connection.failures for connection in opened),
        "seconds": elapsed,
        "p50": latencies[len(latencies) // 2] * 1000,
        "p99": latencies[len(latencies) * 99 // 100] * 1000,
    }


if __name__ == "__main__":
    host, port, connections, seconds = sys.argv[1:5]
    requests = sys.stdin.buffer.read().split(b"\0")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(_main(host, int(port), int(connections), float(seconds), requests))
    print(json.dumps(figures))

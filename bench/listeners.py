"""Many listeners of the push stream in a process of its own, each as cheap as can be.

`python -m bench.listeners HOST PORT COUNT CHANGES` reads the subscription frame from standard input, says `ready` when
all are subscribed, then prints one line for each of CHANGES pushed messages: the monotonic time at which the last
listener had it.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Final, cast

import uvloop

HANDSHAKE: Final = (
    "GET /websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TEXT: Final = 0x81
PING: Final = 0x89


def client_frame(kind: int, payload: bytes) -> bytes:
    """A frame as clients send it, under a mask of zeros, so that the payload stays readable."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return bytes([kind]) + length + bytes(4) + payload


class Arrivals:
    """Counts who has what; prints when the last one has it."""

    def __init__(self, listeners: int, changes: int) -> None:
        self._listeners = listeners
        self._left = changes
        self._subscribed = 0
        self._arrived: Counter[int] = Counter()
        self.over = asyncio.get_running_loop().create_future()

    def confirmed(self) -> None:
        self._subscribed += 1
        if self._subscribed == self._listeners:
            print("ready", flush=True)

    def arrived(self, number: int) -> None:
        self._arrived[number] += 1
        if self._arrived[number] == self._listeners:
            print(time.perf_counter(), flush=True)
            self._left -= 1
            if not self._left:
                self.over.set_result(None)


class Listener(asyncio.Protocol):
    """One connection. The server's frames are looked at, not parsed."""

    transport: asyncio.Transport

    def __init__(self, subscription: bytes, arrivals: Arrivals) -> None:
        self._subscription = subscription
        self._arrivals = arrivals
        self._buffer = b""
        self._open = False
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(HANDSHAKE.encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                raise RuntimeError(self._buffer[:200])
            self._buffer, self._open = self._buffer[end + 4 :], True
            self.transport.write(client_frame(TEXT, self._subscription))
        while (frame := self._next()) is not None:
            self._take(*frame)

    def _next(self) -> tuple[int, bytes] | None:
        """Kind and payload of the next whole frame."""
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        start, size = 2, buffer[1]
        if size == 126:
            start, size = 4, int.from_bytes(buffer[2:4], "big")
        if len(buffer) < start + size:
            return None
        self._buffer = buffer[start + size :]
        return buffer[0], buffer[start : start + size]

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == PING:
            self.transport.write(client_frame(0x8A, payload))
        elif b'"message":{' in payload:
            self._number += 1
            self._arrivals.arrived(self._number)
        elif b"confirm_subscription" in payload:
            self._arrivals.confirmed()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._arrivals.over.done():
            self._arrivals.over.set_exception(RuntimeError("the server has hung up"))


async def _main(host: str, port: int, count: int, changes: int, subscription: bytes) -> None:
    loop, arrivals = asyncio.get_running_loop(), Arrivals(count, changes)
    for _ in range(count):
        await loop.create_connection(lambda: Listener(subscription, arrivals), host, port)
    await arrivals.over


def subscription(api_key: str, signature: str) -> bytes:
    """The frame that asks for all changes of a key's trades."""
    users = [{"api_key": api_key, "signature": signature}]
    identifier = json.dumps({"channel": "SmartTradesChannel", "users": users})
    return json.dumps({"identifier": identifier, "command": "subscribe"}).encode()


if __name__ == "__main__":
    host, port, count, changes = sys.argv[1:5]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(host, int(port), int(count), int(changes), sys.stdin.buffer.read()))

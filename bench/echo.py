"""An HTTP server that says back what it hears, in a process of its own: what an exchange would cost if it did nothing.

`python -m bench.echo` prints the port that it listens on, on loopback, and ends when its standard input does.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"Content-Length: "
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


def whole_message(buffer: bytes) -> tuple[bytes, bytes] | None:
    """Body of the first message in `buffer`, and what follows it; None: it is not whole yet."""
    head_end = buffer.find(HEAD_END)
    if head_end < 0:
        return None
    start = buffer.index(LENGTH) + len(LENGTH)
    body = head_end + len(HEAD_END)
    end = body + int(buffer[start : buffer.index(b"\r", start)])
    return None if len(buffer) < end else (buffer[body:end], buffer[end:])


class Echo(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (message := whole_message(self._buffer)) is not None:
            body, self._buffer = message
            self.transport.write(OK % (len(body), body))


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())

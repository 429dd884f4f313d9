"""A load generator in a process of its own: one request, sent again and again over many connections.

`python -m bench.load HOST PORT CONNECTIONS SECONDS` reads the request's bytes from standard input and prints JSON:
requests answered, those that were not 200 or 201, seconds, and the latencies' median and 99th percentile in ms.
"""

import asyncio
import json
import sys
import time


async def _connection(host: str, port: int, request: bytes, until: float, latencies: list[float]) -> int:
    """Ask until time is up; returns how many answers were failures."""
    reader, writer = await asyncio.open_connection(host, port)
    failures = 0
    while (started := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - started)
        failures += head[9:12] not in (b"200", b"201")
    writer.close()
    return failures


async def _main(host: str, port: int, connections: int, seconds: float, request: bytes) -> dict[str, float]:
    latencies: list[float] = []
    started = time.perf_counter()
    until = started + seconds
    failures = await asyncio.gather(*(_connection(host, port, request, until, latencies) for _ in range(connections)))
    latencies.sort()
    return {
        "answered": len(latencies),
        "failed": sum(failures),
        "seconds": time.perf_counter() - started,
        "p50": latencies[len(latencies) // 2] * 1000,
        "p99": latencies[len(latencies) * 99 // 100] * 1000,
    }


if __name__ == "__main__":
    host, port, connections, seconds = sys.argv[1:5]
    figures = asyncio.run(_main(host, int(port), int(connections), float(seconds), sys.stdin.buffer.read()))
    print(json.dumps(figures))

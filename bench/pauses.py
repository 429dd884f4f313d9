"""How long the slowest reads and creates take, by the number of stored trades, and what the collector does meanwhile.

The server runs in a process of its own, `python -m bench.pauses FILE ARGUMENTS...`, which counts its collections.
"""

import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench.api import TRADES, Load, answered
from bench.population import populate
from bench.table import Goal, Row
from smarttrade import app
from smarttrade.cli.main import run as command_line

SIZES: Final = (20_000, 200_000, 1_000_000)
CONNECTIONS: Final = 8
READ: Final = 1_000  # different trades
MOST: Final = 2.0
"""Times slower that the slowest of a hundred may be with the most trades than with the fewest."""


OLDEST: Final = 2
"""The collector's generation that a full collection is of."""


def run() -> list[Row]:
    """One trade in ten is open."""
    slowest: dict[str, list[float]] = {}
    rows: list[Row] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            first = populate(Path(name), open_trades=size // 10, closed_trades=size - size // 10)
            read = [f"{TRADES}/{number}" for number in range(size - READ + 1, size + 1)]
            loads = [Load("GET", "GET", read, CONNECTIONS), Load("POST", "POST", [TRADES], CONNECTIONS)]
            found, collected = _measured(Path(name), first, loads)
        for load, figures in zip(loads, found, strict=True):
            slowest.setdefault(load.name, []).append(figures["p99"])
            rows += [
                Row(f"{load.name}, {size:,} stored: half within", figures["p50"], "ms"),
                Row("  99 of 100 within", figures["p99"], "ms"),
            ]
        rows += [
            Row("  full collections meanwhile", collected["full"], "", Goal("steady", at_most=0)),
            Row("  longest collection of the others", collected["longest"] * 1000, "ms"),
        ]
    return rows + [
        Row(f"{name}: 99 of 100, {SIZES[-1]:,} against {SIZES[0]:,}", times[-1] / times[0], "times",
            Goal("pauses", at_most=MOST))
        for name, times in slowest.items()
    ]  # fmt: skip


def _measured(
    directory: Path, first: app.FirstStart, loads: list[Load]
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """What each load found, and what the server's collector did from its first answer to its end."""
    counted = directory / "collections.json"
    arguments = ["serve", "--port", "0", "--data-dir", str(directory), "--json"]
    command = [sys.executable, "-m", "bench.pauses", str(counted), *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        found = [answered(load, url, first.api_key, first.secret) for load in loads]
    finally:
        server.terminate()
        server.wait()
    collected: dict[str, float] = json.loads(counted.read_text())
    return found, collected


def _serve(counted: Path, arguments: list[str]) -> None:
    """The server, counting. What happens before it is ready does not count: it freezes what it has recovered then."""
    pauses: list[tuple[int, float]] = []
    began = 0.0

    def note(phase: str, info: dict[str, Any]) -> None:
        nonlocal began
        if not gc.get_freeze_count():
            return
        if phase == "start":
            began = time.perf_counter()
        else:
            pauses.append((info["generation"], time.perf_counter() - began))

    gc.callbacks.append(note)
    try:
        command_line(arguments)
    finally:
        others = [seconds for generation, seconds in pauses if generation < OLDEST]
        counted.write_text(json.dumps({"full": len(pauses) - len(others), "longest": max(others, default=0.0)}))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2:])

"""From a stored directory to exits armed again (PF-9), by the number of open trades."""

import asyncio
import gc
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.population import KEY, populate, settings
from bench.table import Goal, Row
from smarttrade import app
from smarttrade.adapters.storage.data_directory import open_database

GOALS: Final = {1_000: None, 10_000: None, 100_000: 0.1, 1_000_000: 1.0}
"""Seconds by open trades; first it was 1 s and 10 s."""


def run() -> list[Row]:
    """Trades that hold coins, each with a watched target and a trailing stop."""
    rows: list[Row] = []
    for size, at_most in GOALS.items():
        goal = None if at_most is None else Goal("PF-9", at_most=at_most)
        with tempfile.TemporaryDirectory() as name:
            populate(Path(name), open_trades=size - 1)
            starting, later, armed = min(asyncio.run(_restart(Path(name))) for _ in range(3))
        rows += [
            Row(f"restart, {size:,} open trades", starting, "s", goal),
            Row("  triggers armed", armed, ""),
            Row("  put off to idle turns after it", later, "s"),
        ]
    return rows


async def _restart(directory: Path) -> tuple[float, float, int]:
    """Seconds until all exits are watched again and commands taken, seconds of what is put off, number of triggers."""
    gc.collect()
    started = time.perf_counter()
    system = await app.open_system(settings(directory), open_database(directory))
    running = time.perf_counter()
    while system.engine.look_further():
        pass
    done = time.perf_counter()
    armed = len(system.engine.markets[KEY].book)
    await system.close()
    return running - started, done - running, armed

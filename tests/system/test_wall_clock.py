"""A wall clock that is set back by an hour, under a running server and under one that was killed (TR-62, TR-64, EX-36).

The server is a process of its own on demo prices, which move with the clock: what waits for the hour to come again
would wait longer than this test does. Only what the process reads as the time of day is the test's.
"""

import os
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from harness import COMMAND, Entity, Server

GUARD = 120
"""Seconds after which a trade that does not end is given up; a guard, not a wait."""

CLOSED = ("stop_loss_finished", "finished")

TIME_OF_DAY = """
import os
import time

_of_the_machine = time.time_ns


def _shown():
    with open(os.environ["TEST_CLOCK_SET_BACK"]) as file:
        return _of_the_machine() - int(file.read()) * 1_000_000_000


time.time_ns = _shown
time.time = lambda: _shown() / 1_000_000_000
"""
"""Imported by the interpreter before anything else."""


class DemoServer(Server):
    """On demo prices, with a clock that can be set back."""

    def __init__(self, directory: Path) -> None:
        interpreter = directory / "interpreter"
        interpreter.mkdir()
        (interpreter / "sitecustomize.py").write_text(TIME_OF_DAY)
        self._seconds_back = directory / "seconds_back"
        self.set_back(0)
        paths = os.pathsep.join(filter(None, (str(interpreter), os.environ.get("PYTHONPATH"))))
        environment = {"PYTHONPATH": paths, "TEST_CLOCK_SET_BACK": str(self._seconds_back)}
        super().__init__(directory / "data", "--market", "demo", environment=environment)

    def set_back(self, seconds: int) -> None:
        """Let the time of day be this much earlier than the machine's."""
        written = self._seconds_back.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self._seconds_back)

    def open_trade(self) -> int:
        """A position that ends soon wherever the price goes: by its target, or a second after its stop is reached."""
        stop = {
            "enabled": True, "order_type": "market", "timeout": {"enabled": True, "value": 1},
            "conditional": {"price": {"type": "bid", "percent": "0.001"}},
        }  # fmt: skip
        target = {"order_type": "limit", "volume": 100, "price": {"type": "bid", "percent": "0.001"}}
        plan = {
            "account_id": self.first_account_id, "pair": "USDT_BTC", "stop_loss": stop,
            "position": {"type": "buy", "order_type": "market", "units": {"value": "0.01"}},
            "take_profit": {"enabled": True, "steps": [target]},
        }  # fmt: skip
        trade = self.api.post("/v2/smart_trades", plan)
        return int(trade["id"])

    def end_of(self, trade_id: int) -> Entity:
        """The trade, once it is over."""
        command = [*COMMAND, "trades", "watch", str(trade_id), "--json", "--data-dir", str(self.directory)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=GUARD, env=self._environment)
        trade: Entity = self.api.get(f"/v2/smart_trades/{trade_id}")
        return trade


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoServer]:
    with DemoServer(tmp_path) as server:
        yield server


def instants(trade: Entity) -> list[datetime]:
    return [datetime.fromisoformat(trade["data"][name]) for name in ("created_at", "closed_at")]


def test_a_stop_fires_in_time_although_the_clock_of_the_running_server_was_set_back(demo: DemoServer) -> None:
    """TR-62, TR-64: its timer goes on, and what is stamped never runs backwards."""
    trade_id = demo.open_trade()
    demo.set_back(3600)
    trade = demo.end_of(trade_id)
    assert trade["status"]["type"] in CLOSED
    created, closed = instants(trade)
    assert created < closed


def test_a_stop_is_watched_although_the_clock_was_set_back_before_the_server_came_back(demo: DemoServer) -> None:
    """EX-36, TR-64: all that is stored is from an hour that is yet to come, and nothing waits for it."""
    trade_id = demo.open_trade()
    demo.kill()
    demo.set_back(3600)
    demo.start()
    assert demo.end_of(trade_id)["status"]["type"] in CLOSED
    second = demo.open_trade()
    assert demo.end_of(second)["status"]["type"] in CLOSED

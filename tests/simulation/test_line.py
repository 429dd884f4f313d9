"""The line to a simulated exchange: what goes wrong at its other end is for the server to find out."""

from typing import Any, cast

from smarttrade.domain.events import CancelRefused
from smarttrade.domain.order import OrderReport
from smarttrade.domain.quote import InstrumentKey
from smarttrade.ports.exchange import ExchangeUnavailable
from smarttrade.simulation.exchange import Line
from smarttrade.simulation.faults import CallFate
from smarttrade.simulation.loop import VirtualLoop, VirtualTime

KEY = InstrumentKey("binance", "USDT_XYZ")


class FullDisk:
    """An exchange that can store nothing."""

    def __init__(self) -> None:
        self.asked = 0

    async def cancel_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | CancelRefused:
        self.asked += 1
        raise ExchangeUnavailable("disk is full")


class Held:
    """Every cancellation is taken, and carried out after a second."""

    def of_call(self, account_id: int, what: str) -> CallFate:
        return CallFate(held=1.0)


def test_a_held_cancellation_that_the_exchange_cannot_store_is_forgotten() -> None:
    """EX-22: the server asks again when its time has come."""
    time = VirtualTime()
    loop = VirtualLoop(time)
    errors: list[object] = []
    loop.on_error = errors.append
    exchange = FullDisk()
    line = Line(
        1, cast(Any, exchange), time=time, faults=cast(Any, Held()), record=cast(Any, None),
        observer=cast(Any, None), now=lambda: 0, here=loop, there=loop, refuses_duplicate_ids=True,
    )  # fmt: skip
    answers: list[object] = []

    async def cancel() -> None:
        answers.append(await line.cancel_order(KEY, "a"))

    loop.create_task(cancel())
    loop.run_until_idle()
    while time.next_ns is not None:
        time.pop()()
        loop.run_until_idle()
    loop.abandon()
    assert answers == [None]
    assert exchange.asked == 1
    assert errors == []

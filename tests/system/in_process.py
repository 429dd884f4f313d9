"""A whole system inside the test, on demo prices whose time the test moves: nothing sleeps, everything is real."""

import asyncio
import hmac
import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from raw_http import BASE, Reply

from smarttrade.adapters.clock import ManualClock
from smarttrade.adapters.market_data.demo import FIRST_ROUND, DemoMarket
from smarttrade.adapters.market_data.recording import (
    PrintColumns,
    QuoteColumns,
    RecordedColumns,
    Recording,
    RecordingFile,
)
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.api.http import Api, Request, Response
from smarttrade.app import FirstStart, System, first_start, make_api
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.settings import Settings

PAIR = "USDT_BTC"
MARKET_TASK = "market"


def recording(bids: Sequence[str], seconds: int = 10) -> Recording:
    """Bitcoin on Binance: one quote a second, the ask a tick above the bid, and so long in all."""
    ticks = [int(Decimal(bid) * 100) for bid in bids]
    steps = [ticks[0], *(after - before for before, after in pairwise(ticks))]
    ones = [1] * len(bids)
    quotes = QuoteColumns(at_ms=[0, *(1000 * one for one in ones[1:])], bid=steps, spread=ones,
                          bid_size=[1000] * len(bids), ask_size=[1000] * len(bids))  # fmt: skip
    bitcoin = RecordedColumns(
        market="binance",
        pair=PAIR,
        price_step=Decimal("0.01"),
        quantity_step=Decimal("0.01"),
        last=ticks[0],
        quotes=quotes,
        prints=PrintColumns(at_ms=[], price=[], quantity=[]),
    )
    return Recording(RecordingFile(recorded_from_ms=0, length_ms=seconds * 1000, instruments=[bitcoin]))


class WatchedClock(ManualClock):
    """Knows whether the price source is asleep, so that everything due has been delivered."""

    def __init__(self, start: Instant) -> None:
        super().__init__(start)
        self.source_asleep = asyncio.Event()

    async def sleep_until(self, instant: Instant) -> None:
        task = asyncio.current_task()
        if task is None or task.get_name() != MARKET_TASK:
            await super().sleep_until(instant)
            return
        self.source_asleep.set()
        try:
            await super().sleep_until(instant)
        finally:
            self.source_asleep.clear()


class InProcessTransport(httpx.AsyncBaseTransport):
    """Requests of an httpx client straight into the API."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.partition(b"?")
        headers = {name.lower(): value for name, value in request.headers.raw}
        body = await request.aread()
        asked = Request(method=request.method, path=path, query=query, headers=headers, body=body, peer="127.0.0.1")
        answer = self._api.respond(asked)
        response = answer if isinstance(answer, Response) else await answer
        return httpx.Response(response.status, headers=response.headers, content=response.body)


class InProcess:
    """A system that has been started for the first time. Use it as `async with`."""

    system: System
    first: FirstStart
    http: httpx.AsyncClient

    def __init__(self, directory: Path, source: Recording) -> None:
        self._directory = directory
        self._source = source
        self.clock = WatchedClock(FIRST_ROUND)

    async def __aenter__(self) -> "InProcess":
        settings = Settings(data_dir=self._directory)
        market = DemoMarket(self.clock, self._source)
        self.system = System(settings, open_database(self._directory), market, self.clock)
        await self.system.start()
        made = await first_start(self.system)
        assert made is not None
        self.first = made
        self.http = httpx.AsyncClient(
            transport=InProcessTransport(make_api(self.system)),
            base_url="http://server",
        )
        await self._quiet()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await self.system.close()

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """A signed call below /public/api."""
        target, raw = BASE + path, b"" if body is None else json.dumps(body).encode()
        signature = hmac.new(self.first.secret.encode(), target.encode() + raw, "sha256").hexdigest()
        headers = {"Apikey": self.first.api_key, "Signature": signature, "Content-Type": "application/json"}
        answer = await self.http.request(method, target, content=raw, headers=headers)
        return Reply(answer.status_code, dict(answer.headers), answer.content)

    async def play(self, seconds: int) -> None:
        """Let time pass: every quote is delivered and every timer fires at its own instant."""
        end = self.clock.now() + seconds * SECOND
        while (due := self.clock.next_deadline()) is not None and due <= end:
            self.clock.advance_to(due)
            await self._quiet()
        self.clock.advance_to(end)

    async def _quiet(self) -> None:
        await asyncio.sleep(0)  # whoever has just been woken begins
        await self.clock.source_asleep.wait()
        await self.system.runner.settled()

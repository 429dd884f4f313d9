"""What every source does the same way: hand updates to the listeners in turn, and remember the newest quotes."""

import asyncio
from collections.abc import Awaitable, Callable

from smarttrade.domain.quote import InstrumentKey, Quote
from smarttrade.ports.market_data import MarketUpdate, UpdateListener

Settle = Callable[[], Awaitable[None]]
"""Returns when everything that can happen without new prices or time has happened."""


async def yield_once() -> None:
    """The `Settle` of a source that nobody has told how: tasks that are ready get their turn."""
    await asyncio.sleep(0)


class UpdateFeed:
    """The listeners of one source.

    An update is taken to its end before the next is handed out, so asking for a quote from inside a delivery cannot
    nest: the question is put aside and answered when that update is done.
    """

    def __init__(self) -> None:
        self._listeners: list[UpdateListener] = []
        self._latest: dict[InstrumentKey, Quote] = {}
        self._asked: dict[InstrumentKey, None] = {}  # a set that keeps its order
        self._busy = asyncio.Lock()

    def listen(self, listener: UpdateListener) -> None:
        self._listeners.append(listener)

    def latest(self, key: InstrumentKey) -> Quote | None:
        return self._latest.get(key)

    def stand(self, quote: Quote) -> None:
        """Make `quote` the newest without telling anybody."""
        self._latest[quote.key] = quote

    async def deliver(self, update: MarketUpdate) -> None:
        """Hand out `update`; returns when every listener is done with it and with what was asked for meanwhile."""
        async with self._busy:
            self.stand(update.quote)
            await self._hand_out(update)
            await self._answer_questions()

    async def repeat(self, *keys: InstrumentKey) -> None:
        """Hand out the newest quote of each of `keys` again: now, or right after the update under way.

        Nothing happens for one that has none.
        """
        self._asked.update(dict.fromkeys(keys))
        if not self._busy.locked():
            async with self._busy:
                await self._answer_questions()

    async def _answer_questions(self) -> None:
        while self._asked:
            key = next(iter(self._asked))
            del self._asked[key]
            quote = self._latest.get(key)
            if quote is not None:
                await self._hand_out(MarketUpdate(quote=quote))

    async def _hand_out(self, update: MarketUpdate) -> None:
        for listener in self._listeners:
            await listener(update)

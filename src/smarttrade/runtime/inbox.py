"""What waits for the engine, in two lanes that share every batch.

In one lane stands what is wanted (commands), in the other what has happened (prices, words of exchanges, deadlines).
Each keeps its order: a fill stands before the price that caused it is decided on, and behind the notice of that price
(TR-5). A batch takes what came first; only where more waits than it holds do the lanes share it alike, so that neither
a storm of commands keeps a stop from its price nor a storm of prices or fills a caller from an answer (faults F68).

Nothing waits without a limit. Commands beyond theirs are refused, and the caller hears it. Prices are not: where too
many of one pair wait, the oldest of them is skipped, so that decisions follow the market instead of falling behind it
for ever. What an exchange says is never dropped; there is no more of it than there are orders.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Final

import msgspec
import structlog

from smarttrade.domain.quote import InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.inputs import EngineInput, MarketMoved, QuoteReceived

log = structlog.get_logger("inbox")

MAX_WAITING_COMMANDS: Final = 10_000
"""More than the engine handles in a second: beyond it a caller is better told to come back."""

MAX_WAITING_PRICES: Final = 1_000
"""Of one pair, seconds of a busy one. So many wait only while the engine, or the disk under it, does not keep up."""


class QueueFull(Exception):
    """Too many commands wait; nothing was done."""


class Waiting(msgspec.Struct):
    """One input, its place in the order of arrival, and who waits for its outcome."""

    number: int
    given: EngineInput
    future: asyncio.Future[SmartTrade | None] | None = None


class _Price(msgspec.Struct):
    """One price of a pair."""

    notice: int | None  # number of the notice (MarketMoved) that came before it
    words: int  # that exchanges had said before that notice
    number: int = 0  # of the price itself


class _Prices(msgspec.Struct):
    """The prices of one pair that wait, oldest first, and the notice of the next one, which the exchange works in."""

    waiting: deque[_Price] = msgspec.field(default_factory=deque)
    noticed: _Price | None = None


class Inbox:
    """Filled by everybody, emptied by the runner."""

    def __init__(self) -> None:
        self._wanted: deque[Waiting] = deque()
        self._happened: OrderedDict[int, Waiting] = OrderedDict()  # by number
        self._prices: dict[InstrumentKey, _Prices] = {}
        self._number = 0
        self._commands = 0
        self._words = 0  # that ever came: what has happened and is not a price
        self._behind = False
        self.skipped_prices = 0  # since the start

    def __len__(self) -> int:
        return len(self._wanted) + len(self._happened)

    def want(self, command: EngineInput, future: "asyncio.Future[SmartTrade | None]") -> None:
        """A command, and who waits for its answer. Raises QueueFull."""
        if self._commands >= MAX_WAITING_COMMANDS:
            raise QueueFull
        self._commands += 1
        self._wanted.append(Waiting(self._next_number(), command, future))

    def prepare(self, given: EngineInput) -> None:
        """What the commands behind it need to know: it keeps its place before them."""
        self._wanted.append(Waiting(self._next_number(), given))

    def tell(self, given: EngineInput) -> None:
        """Something has happened."""
        number = self._next_number()
        if isinstance(given, MarketMoved):
            self._prices_of(given.quote.key).noticed = _Price(number, self._words)
        elif isinstance(given, QuoteReceived):
            prices = self._prices_of(given.quote.key)
            price, prices.noticed = prices.noticed or _Price(None, self._words), None
            price.number = number
            prices.waiting.append(price)
            if len(prices.waiting) > MAX_WAITING_PRICES:
                self._skip_oldest(prices.waiting, given.quote.key)
        else:
            self._words += 1
        self._happened[number] = Waiting(number, given)

    def take(self, at_most: int) -> list[Waiting]:
        """What comes next, in order of arrival. If there is more than that, half of it may be of either lane."""
        wanted = min(len(self._wanted), max(at_most // 2, at_most - len(self._happened)))
        happened = min(len(self._happened), at_most - wanted)
        batch = [self._wanted.popleft() for _ in range(wanted)]
        self._commands -= sum(each.future is not None for each in batch)
        for _ in range(happened):
            _, waiting = self._happened.popitem(last=False)
            if isinstance(waiting.given, QuoteReceived):
                self._prices[waiting.given.quote.key].waiting.popleft()
            batch.append(waiting)
        if self._behind and not self._happened:
            self._behind = False
            log.warning("caught up with the prices", skipped=self.skipped_prices)
        if wanted and happened:
            batch.sort(key=_number)
        return batch

    def abandon(self) -> list[Waiting]:
        """Everything, when nobody will work any more."""
        return self.take(len(self))

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _prices_of(self, key: InstrumentKey) -> _Prices:
        prices = self._prices.get(key)
        if prices is None:
            prices = self._prices[key] = _Prices()
        return prices

    def _skip_oldest(self, waiting: deque[_Price], key: InstrumentKey) -> None:
        """Its notice goes too, unless it says at what price something was filled."""
        oldest, following = waiting.popleft(), waiting[0]
        del self._happened[oldest.number]
        if oldest.notice is not None and following.notice is not None and oldest.words == following.words:
            self._happened.pop(oldest.notice, None)
        self.skipped_prices += 1
        if not self._behind:
            self._behind = True
            log.warning("prices come faster than they can be worked on", pair=str(key), waiting=len(self))


def _number(waiting: Waiting) -> int:
    return waiting.number

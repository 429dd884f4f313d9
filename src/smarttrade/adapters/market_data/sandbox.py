"""The sandbox: rules, prices and time come from callers only, and survive a kill (spec: sandbox).

It starts with the shipped rules of `binance` and `binance_futures` and no quotes at all. Whatever a caller defines or
posts is durable before anybody sees it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from smarttrade.adapters.clock import ManualClock
from smarttrade.adapters.market_data.feed import Settle, UpdateFeed
from smarttrade.adapters.market_data.rules import load_rules, middle_price, undescribed
from smarttrade.adapters.market_data.scripted_time import ScriptedTime
from smarttrade.domain.instrument import FeeAsset, Instrument, MarketKind
from smarttrade.domain.money import ONE, ZERO
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey, Quote
from smarttrade.ports.market_data import DayStatistics, MarketUpdate, UpdateListener

SANDBOX_START: Final[Instant] = 1_735_689_600 * SECOND
"""2025-01-01T00:00:00Z, where the clock of a new sandbox stands."""

LAST_INSTANT: Final[Instant] = 253_402_300_799 * SECOND
"""9999-12-31T23:59:59Z: later ones cannot be written as a date."""

FREE_DECIMALS: Final = 12
"""Decimals that a price or size may carry in any case; more only where the tick or the lot has more."""

RULE_DECIMALS: Final = 18
"""Decimals that a figure of the rules may carry, the finest tick and lot among them."""

LARGEST_NUMBER: Final = ONE.scaleb(15)
"""Bound of every price, size and limit, so that no product of them runs out of digits."""

LONGEST_NAME: Final = 60
"""Characters of a market code or a pair."""

_Result = TypeVar("_Result")

_metadata = sa.MetaData()
_clock = sa.Table(
    "sandbox_clock",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # the only row is 1
    sa.Column("now", sa.BigInteger, nullable=False),
)
_quotes, _instruments = (
    sa.Table(
        name,
        _metadata,
        sa.Column("market", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),  # JSON of the domain value
    )
    for name in ("sandbox_quotes", "sandbox_instruments")
)


class Write(Protocol):
    """Runs work in one transaction and returns its result once it is durable, as `Database.write` does."""

    def __call__(self, work: Callable[[sa.Connection], _Result], /) -> Awaitable[_Result]: ...


class SandboxRefusal(ValueError):
    """What a caller asked for cannot be; the text says why. Nothing of the call has been applied."""


class RulesChange(msgspec.Struct, frozen=True, kw_only=True):
    """Members of a pair's rules; None keeps the present value, or a default for a new pair."""

    kind: MarketKind | None = None
    tick: Decimal | None = None  # quote per base, > 0
    lot: Decimal | None = None  # base, > 0
    min_lot: Decimal | None = None
    min_total: Decimal | None = None
    min_market_total: Decimal | None = None
    max_leverage: Decimal | None = None  # >= 1
    maker_fee: Decimal | None = None  # fraction of the total, below 1
    taker_fee: Decimal | None = None
    fee_in: FeeAsset | None = None
    maintenance_rate: Decimal | None = None  # fraction of the position's value, below 1


class PostedQuote(msgspec.Struct, frozen=True, kw_only=True):
    """A quote as a caller posts it."""

    pair: str
    bid: Decimal
    ask: Decimal
    market: str | None = None  # may be left out when one market alone has the pair
    last: Decimal | None = None  # None: the middle, rounded down to the tick
    bid_size: Decimal | None = None  # base; None: unlimited
    ask_size: Decimal | None = None
    at: Instant | None = None  # None: now


class SandboxMarket:
    """Implements MarketData. Calls from outside take turns; each is carried through to its end."""

    standing_quotes_are_fresh = True

    def __init__(self, write: Write, clock: ManualClock, rules: Mapping[InstrumentKey, Instrument]) -> None:
        """Use `open`, which also loads what is durable."""
        self._write = write
        self._instruments = dict(rules)
        self._feed = UpdateFeed()
        self._time = ScriptedTime(clock, self._keep_now)
        self._turn = asyncio.Lock()

    @classmethod
    async def open(
        cls, write: Write, clock: ManualClock, rules: Mapping[InstrumentKey, Instrument] | None = None
    ) -> "SandboxMarket":
        """Load what earlier runs left, and move `clock` (at SANDBOX_START) to where it stood.

        rules  what exists before anybody defines anything; None: the shipped rules
        """
        market = cls(write, clock, load_rules() if rules is None else rules)
        stored = await write(_load)
        market._instruments.update((instrument.key, instrument) for instrument in stored.instruments)
        for quote in stored.quotes:
            market._feed.stand(quote)
        if stored.now is not None:
            clock.set_to(stored.now)
        return market

    def settle_with(self, settle: Settle) -> None:
        """Say how to let the engine finish all that it can do without new prices or time."""
        self._time.settle = settle

    def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        return self._instruments

    def listen(self, listener: UpdateListener) -> None:
        self._feed.listen(listener)

    def latest(self, key: InstrumentKey) -> Quote | None:
        return self._feed.latest(key)

    def statistics(self, key: InstrumentKey) -> DayStatistics:
        """Unknown: nobody traded."""
        return DayStatistics()

    async def request(self, *keys: InstrumentKey) -> None:
        await self._feed.repeat(*keys)

    async def run(self) -> None:
        """Wait to be cancelled: everything is delivered by the calls below."""
        await asyncio.get_running_loop().create_future()

    async def define(self, key: InstrumentKey, change: RulesChange) -> Instrument:
        """Define or change the rules of `key`; returns all of them. Raises SandboxRefusal.

        A pair that a caller has defined keeps none of the exchange's limits that this call cannot name (largest
        order, lowest and highest price): they would be traps.
        """
        async with self._turn:
            instrument = _changed(self._instruments.get(key), key, change)
            await self._write(lambda connection: _save(connection, _instruments, key, instrument))
            self._instruments[key] = instrument
            return instrument

    async def post(self, quotes: Sequence[PostedQuote]) -> Instant:
        """Apply `quotes` one after the other, each to its end; returns the instant at which the clock stands then.

        Timers due before a quote's instant fire first, those due at the same instant after it. Raises SandboxRefusal
        before anything is applied when one of them cannot be.
        """
        async with self._turn:
            for quote in self._checked(quotes):
                await self._apply(quote)
            return self._time.clock.now()

    async def advance(self, by: Instant) -> Instant:
        """Move the clock by so many microseconds, timers firing in order; returns the instant reached.

        Raises SandboxRefusal.
        """
        async with self._turn:
            now = self._time.clock.now()
            if by < 0:
                raise SandboxRefusal("the clock does not run backwards")
            if now + by > LAST_INSTANT:
                raise SandboxRefusal("the clock ends with the year 9999")
            await self._time.move_to(now + by)
            return self._time.clock.now()

    async def _keep_now(self, instant: Instant) -> None:
        await self._write(lambda connection: _save_now(connection, instant))

    async def _apply(self, quote: Quote) -> None:
        await self._time.pass_deadlines(quote.at - 1)  # strictly before: instants are whole microseconds

        def keep(connection: sa.Connection) -> None:
            _save(connection, _quotes, quote.key, quote)
            _save_now(connection, quote.at)

        await self._write(keep)
        await self._time.apply(quote.at, lambda: self._feed.deliver(MarketUpdate(quote=quote)))

    def _checked(self, quotes: Sequence[PostedQuote]) -> list[Quote]:
        """The quotes with everything that was left out. Raises SandboxRefusal, which names the quote by its index."""
        checked: list[Quote] = []
        now = self._time.clock.now()
        for index, posted in enumerate(quotes):
            try:
                quote = _quote(posted, self._instruments[self._key(posted)], now)
            except SandboxRefusal as refusal:
                raise SandboxRefusal(f"quotes[{index}]: {refusal}") from None
            checked.append(quote)
            now = quote.at
        return checked

    def _key(self, posted: PostedQuote) -> InstrumentKey:
        if posted.market is not None:
            key = InstrumentKey(posted.market, posted.pair)
            if key not in self._instruments:
                raise SandboxRefusal(f"{key} is not defined")
            return key
        keys = [key for key in self._instruments if key.pair == posted.pair]
        if not keys:
            raise SandboxRefusal(f"{posted.pair} is not defined")
        if len(keys) > 1:
            markets = ", ".join(sorted(key.market for key in keys))
            raise SandboxRefusal(f"{posted.pair} exists in several markets ({markets}): say which")
        return keys[0]


def _quote(posted: PostedQuote, instrument: Instrument, now: Instant) -> Quote:
    """`posted` as the market sees it. Raises SandboxRefusal."""
    bid = _price("bid", posted.bid, instrument.tick)
    ask = _price("ask", posted.ask, instrument.tick)
    if bid > ask:
        raise SandboxRefusal(f"bid {bid:f} is above ask {ask:f}")
    at = now if posted.at is None else posted.at
    if at < now:
        raise SandboxRefusal("at lies in the past: the clock does not run backwards")
    if at > LAST_INSTANT:
        raise SandboxRefusal("at lies after the year 9999")
    if posted.last is None:
        last = _plain(middle_price(bid, ask, instrument.tick))
    else:
        last = _price("last", posted.last, instrument.tick)
    return Quote(
        key=instrument.key,
        bid=bid,
        ask=ask,
        last=last,
        at=at,
        bid_size=_size("bid_size", posted.bid_size, instrument.lot),
        ask_size=_size("ask_size", posted.ask_size, instrument.lot),
    )


def _allowed(step: Decimal) -> int:
    """Decimals that a price or size with this tick or lot may carry."""
    return max(_places(step), FREE_DECIMALS)


def _price(name: str, value: Decimal, tick: Decimal) -> Decimal:
    price = _number(name, value, _allowed(tick))
    if price <= 0:
        raise SandboxRefusal(f"{name} must be above zero")
    return price


def _size(name: str, value: Decimal | None, lot: Decimal) -> Decimal | None:
    if value is None:
        return None
    size = _number(name, value, _allowed(lot))
    if size < 0:
        raise SandboxRefusal(f"{name} must not be below zero")
    return size


def _number(name: str, value: Decimal, places: int) -> Decimal:
    """`value` without trailing zeros, if it is of a size and precision that the sandbox takes."""
    if not value.is_finite() or abs(value) > LARGEST_NUMBER:
        raise SandboxRefusal(f"{name} must be a number up to {LARGEST_NUMBER:f}")
    if _places(value) > places:
        raise SandboxRefusal(f"{name} has more than {places} decimals")
    return _plain(value)


def _plain(value: Decimal) -> Decimal:
    return value.quantize(ONE.scaleb(-_places(value)))


def _places(value: Decimal) -> int:
    """Decimals that `value` needs."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _changed(present: Instrument | None, key: InstrumentKey, change: RulesChange) -> Instrument:
    """The rules of `key` after `change`. Raises SandboxRefusal."""
    if not 0 < len(key.market) <= LONGEST_NAME or len(key.pair) > LONGEST_NAME:
        raise SandboxRefusal(f"market and pair must have 1 to {LONGEST_NAME} characters")
    try:
        rules = undescribed(key, change.kind) if present is None else present
    except ValueError as error:
        raise SandboxRefusal(str(error)) from None
    if change.kind is not None and change.kind is not rules.kind:
        raise SandboxRefusal(f"{key} is {rules.kind.value} already and stays so")
    given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
    numbers = {name: _number(name, value, RULE_DECIMALS) for name, value in given.items() if isinstance(value, Decimal)}
    _check_limits(numbers)
    if present is None:  # what a new pair was given says more than a default
        numbers.setdefault("min_lot", numbers.get("lot", rules.lot))
        numbers.setdefault("min_market_total", numbers.get("min_total", rules.min_total))
    unnamed = dict.fromkeys(("max_lot", "max_market_lot", "max_total", "min_price", "max_price"))
    return msgspec.structs.replace(rules, **(given | numbers | unnamed))


def _check_limits(numbers: Mapping[str, Decimal]) -> None:
    """Raises SandboxRefusal for a figure with which nothing could be traded."""
    for name, value in numbers.items():
        if name in ("tick", "lot") and value <= 0:
            raise SandboxRefusal(f"{name} must be above zero")
        if name == "max_leverage" and value < ONE:
            raise SandboxRefusal("max_leverage must be at least 1")
        if name in ("maker_fee", "taker_fee", "maintenance_rate") and not ZERO <= value < ONE:
            raise SandboxRefusal(f"{name} must be a fraction from 0 to below 1")
        if value < 0:
            raise SandboxRefusal(f"{name} must not be below zero")


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Everything durable."""

    now: Instant | None
    instruments: list[Instrument]
    quotes: list[Quote]


def _load(connection: sa.Connection) -> _Stored:
    return _Stored(
        now=connection.scalar(sa.select(_clock.c.now)),
        instruments=[
            msgspec.json.decode(body, type=Instrument) for body in connection.scalars(sa.select(_instruments.c.body))
        ],
        quotes=[msgspec.json.decode(body, type=Quote) for body in connection.scalars(sa.select(_quotes.c.body))],
    )


def _save(connection: sa.Connection, table: sa.Table, key: InstrumentKey, value: Instrument | Quote) -> None:
    row = {"market": key.market, "pair": key.pair, "body": msgspec.json.encode(value)}
    _upsert(connection, table, row, ["market", "pair"])


def _save_now(connection: sa.Connection, now: Instant) -> None:
    _upsert(connection, _clock, {"id": 1, "now": now}, ["id"])


def _upsert(connection: sa.Connection, table: sa.Table, row: Mapping[str, object], identity: list[str]) -> None:
    """Insert `row`, or replace the one with the same identity."""
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    rest = {name: value for name, value in row.items() if name not in identity}
    connection.execute(insert.values(row).on_conflict_do_update(index_elements=identity, set_=rest))

"""Data directories with many trades, made from a few that the server itself has carried out.

A copy gets ids and prices of its own and is stored as the server stores it; what led to it (its journal, its orders at
the exchange) is left out. A million of them take a minute and a half, against a quarter of an hour by commands.
"""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from smarttrade import app
from smarttrade.adapters.market_data.sandbox import PostedQuote
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.domain.commands import CloseAtMarket, CreateTrade
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryPlan, EntryType, SmartTradePlan, StopPlan, TargetPlan, TradeKind
from smarttrade.domain.quote import SECOND, InstrumentKey, PriceType
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.engine.tallies import Tallies
from smarttrade.ports.storage import Batch, Sequences, TrailGroup
from smarttrade.settings import Settings

KEY: Final = InstrumentKey("binance", "USDT_BTC")
AT_ONCE: Final = 1_000
RARE: Final = 10_000  # one closed trade of so many is of another pair and kind, and failed
RARE_KEY: Final = InstrumentKey("binance", "BTC_ETH")
SOME: Final = 20  # of so many closed trades one is of yet another pair, and one failed; these are not the same
OTHER_KEY: Final = InstrumentKey("binance", "USDT_LTC")
OLDEST: Final = 4_000  # every second of these was of a kind that is no longer used
LEVELS: Final = 5_000  # different prices of targets, and of stops
STEPS: Final = 4  # ids that a copy takes: position, target, stop, trailing group


def settings(directory: Path) -> Settings:
    return Settings(data_dir=directory, market=app.SANDBOX, rate_limit=False)


def plan(number: int) -> SmartTradePlan:
    """A trade on its own coins with a watched target and a trailing stop."""
    return SmartTradePlan(
        kind=TradeKind.SMART_SELL,
        entry=EntryPlan(type=EntryType.MARKET, units=Decimal("0.01"), price=Decimal(59_000)),
        take_profit_enabled=True,
        targets=(
            TargetPlan(
                order_type=OrderType.MARKET,
                volume=Decimal(100),
                price_type=PriceType.BID,
                price=Decimal(61_000 + number % LEVELS),
            ),
        ),
        stop=StopPlan(
            order_type=OrderType.MARKET,
            price_type=PriceType.BID,
            price=Decimal(50_000 - number % LEVELS),
            trailing=True,
        ),
    )


def populate(directory: Path, *, open_trades: int, closed_trades: int = 0) -> app.FirstStart:
    """A data directory with so many trades, the closed ones first."""
    return asyncio.run(_populate(directory, open_trades, closed_trades))


async def _populate(directory: Path, open_trades: int, closed_trades: int) -> app.FirstStart:
    system = await app.open_system(settings(directory), open_database(directory))
    first = await app.first_start(system)
    assert first is not None
    assert system.services.sandbox is not None
    quote = PostedQuote(pair=KEY.pair, market=KEY.market, bid=Decimal(60_000), ask=Decimal(60_001))
    await system.services.sandbox.post([quote])
    await system.ensure_instrument(KEY)
    funds = Decimal("0.01") * (open_trades + 1)
    await system.paper.set_balance(first.account_id, "BTC", funds)
    closed, watched = [await _trade(system, first.account_id, number, close=number == 0) for number in range(2)]
    sums = Tallies()
    sums.restore(system.store.tallies())
    total = closed_trades + open_trades
    for start in range(0, total, AT_ONCE):
        numbers = range(start + 3, min(start + AT_ONCE, total) + 3)
        trades = [copy_of(closed if number - 3 < closed_trades else watched, number) for number in numbers]
        for trade in trades:
            sums.replace(None, trade)
        await system.store.commit(
            Batch(
                trades={trade.id: trade for trade in trades},
                trail_groups={group.id: group for group in _groups(trades, watched)},
                tallies=sums.take_changed(),
                sequences=Sequences(trade_id=numbers[-1] + 1, step_id=_first_id(numbers[-1] + 1)),
            )
        )
    await system.close()
    return first


async def _trade(system: app.System, account_id: int, number: int, *, close: bool) -> SmartTrade:
    """One trade, carried out; closed on request."""
    made = await system.runner.execute(CreateTrade(account_id=account_id, key=KEY, plan=plan(number)))
    await system.runner.settled()
    if close:
        await system.runner.execute(CloseAtMarket(trade_id=made.id))
        await system.runner.settled()
    stored = system.store.trade(made.id)
    assert stored is not None
    assert stored.status.is_final is close
    return stored


def copy_of(trade: SmartTrade, number: int) -> SmartTrade:
    """The same trade under the id `number`, a second younger than the one before it, with prices of its own."""
    first = _first_id(number)
    stop = trade.stop
    assert stop is not None
    assert stop.trail is not None or trade.status.is_final
    trail = stop.trail
    if trail is not None:
        trail = replace(trail, group=first + 3, numerator=Decimal(50_000 - number % LEVELS))
    at = trade.created_at + number * SECOND
    key, kind, status = _identity(trade, number) if trade.status.is_final else (trade.key, trade.kind, trade.status)
    return replace(
        trade,
        id=number,
        key=key,
        kind=kind,
        status=status,
        position=replace(trade.position, id=first),
        targets=(replace(trade.targets[0], id=first + 1, price=Decimal(61_000 + number % LEVELS)),),
        stop=replace(stop, id=first + 2, configured_price=Decimal(50_000 - number % LEVELS), trail=trail),
        created_at=at,
        updated_at=at,
        closed_at=None if trade.closed_at is None else at + SECOND,
        profit=None if trade.profit is None else replace(trade.profit, volume=Decimal(number % 1000)),
    )


def _identity(trade: SmartTrade, number: int) -> tuple[InstrumentKey, TradeKind, TradeStatus]:
    """What lists filter by, of a closed trade."""
    if number % RARE == 0:
        return RARE_KEY, TradeKind.SMART_BUY, TradeStatus.FAILED
    if number <= OLDEST and number % 2 == 0:
        return trade.key, TradeKind.SMART_COVER, trade.status
    if number % SOME == 1:
        return OTHER_KEY, trade.kind, trade.status
    return trade.key, trade.kind, TradeStatus.FAILED if number % SOME == 3 else trade.status


def _first_id(number: int) -> int:
    return 1_000 + STEPS * number


def _groups(trades: list[SmartTrade], watched: SmartTrade) -> Iterator[TrailGroup]:
    """Every copy has started at the extreme of the original, whose group has therefore taken it in."""
    assert watched.stop is not None
    assert watched.stop.trail is not None
    leader = watched.stop.trail
    for trade in trades:
        if trade.stop is not None and trade.stop.trail is not None and not trade.status.is_final:
            yield TrailGroup(
                id=trade.stop.trail.group,
                key=KEY,
                price_type=PriceType.BID,
                highest=True,
                extreme=leader.start,
                at=trade.created_at,
                merged_into=leader.group,
            )

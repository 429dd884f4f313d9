"""The JSON of SmartTrade entities, made from what was encoded before wherever that still holds.

An entity is encoded once per state of its trade, with holes where the live members belong; they are filled in when the
surroundings have changed. Nobody has to say that something has changed: what an answer was made from is kept beside it
and compared with what holds now, so an answer is never older than the question.
"""

from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from smarttrade.api.entities import Live, Surroundings, live_members, smart_trade_entity
from smarttrade.api.errors import unknown_error
from smarttrade.domain.account import Account
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import ZERO
from smarttrade.domain.position import Sums
from smarttrade.domain.quote import InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.ports.exchange import FuturesPosition
from smarttrade.ports.market_data import MarketData
from smarttrade.runtime.view import View

MAX_KEPT: Final = 4_096
"""Entities kept at once, some 8 kB each; the one kept first is forgotten first."""

_HOLE: Final = b"\0"
"""A byte that no JSON contains: in texts it is escaped."""

_HOLES: Final = Live(*(msgspec.Raw(_HOLE) for _ in Live._fields))

_encode: Final = msgspec.json.Encoder().encode


class _Kept(msgspec.Struct):
    """An answer and what it was made from."""

    trade: SmartTrade
    account: Account
    instrument: Instrument
    sums: Sums
    parts: list[bytes]  # the entity around its holes
    surroundings: Surroundings | None = None
    answer: bytes = b""


class EncodedTrades:
    """The entities of all trades, encoded.

    rules_of     trading rules of a pair, as the engine has them
    usd_rate     (market, currency) -> USD (M-42)
    balance_of   what an account has of a currency, free and locked, as last known
    position_of  what an account holds of a pair, as last known
    """

    def __init__(
        self,
        *,
        view: View,
        market: MarketData,
        rules_of: Callable[[InstrumentKey], Instrument | None],
        usd_rate: Callable[[str, str], Decimal | None],
        balance_of: Callable[[int, str], Decimal],
        position_of: Callable[[int, InstrumentKey], FuturesPosition | None],
    ) -> None:
        self._view = view
        self._market = market
        self._rules_of = rules_of
        self._usd_rate = usd_rate
        self._balance_of = balance_of
        self._position_of = position_of
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    def encode(self, trade: SmartTrade, account: Account) -> bytes:
        """The JSON that a read of `trade` answers now. Raises ApiError (500) for a pair without rules."""
        instrument = self._rules_of(trade.key)
        if instrument is None:
            raise unknown_error()
        surroundings = self._surroundings(trade, account, instrument)
        if trade.status is TradeStatus.CREATED:  # it is answered once, and left before anybody reads it
            return _encoded(trade, account, instrument, surroundings)
        kept = self._kept.get(trade.id)
        if (
            kept is None or kept.trade is not trade or kept.account is not account or kept.instrument is not instrument
        ):  # values never change: another state is another object
            kept = self._keep(trade, account, instrument)
        if kept.surroundings != surroundings:
            live = live_members(trade, kept.sums, instrument, surroundings)
            kept.answer = _filled(kept.parts, live)
            kept.surroundings = surroundings
        return kept.answer

    def _keep(self, trade: SmartTrade, account: Account, instrument: Instrument) -> _Kept:
        sums = Sums.of(trade)
        entity = smart_trade_entity(trade, sums, account, instrument, _HOLES)
        if trade.id not in self._kept and len(self._kept) >= MAX_KEPT:
            self._kept.popitem(last=False)
        kept = self._kept[trade.id] = _Kept(trade, account, instrument, sums, _encode(entity).split(_HOLE))
        return kept

    def _surroundings(self, trade: SmartTrade, account: Account, instrument: Instrument) -> Surroundings:
        key, linear = trade.key, instrument.is_linear
        return Surroundings(
            self._market.latest(key),
            self._market.statistics(key),
            self._usd_rate(key.market, instrument.quote),
            ZERO if linear else self._missing_funds(account, instrument.base),
            self._position_of(account.id, key) if linear else None,
        )

    def _missing_funds(self, account: Account, coin: str) -> Decimal:
        needed = self._view.needed(account.id, coin)
        return max(needed - self._balance_of(account.id, coin), ZERO) if needed else ZERO


def _encoded(trade: SmartTrade, account: Account, instrument: Instrument, surroundings: Surroundings) -> bytes:
    sums = Sums.of(trade)
    live = live_members(trade, sums, instrument, surroundings)
    return _encode(smart_trade_entity(trade, sums, account, instrument, live))


def _filled(parts: list[bytes], live: Live) -> bytes:
    pieces = [parts[0]]
    for member, part in zip(live, parts[1:], strict=True):
        pieces += (_encode(member), part)
    return b"".join(pieces)

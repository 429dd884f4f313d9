"""What enters the engine besides commands: prices, words of the exchange, time. One door, one at a time."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from smarttrade.domain.commands import Command
from smarttrade.domain.events import CancelRefused, OrderNotFound, QueryUnclear, SubmitUnclear, TradeEvent
from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.order import OrderRefused, OrderReport
from smarttrade.domain.quote import InstrumentKey, Quote


class QuoteReceived(msgspec.Struct, frozen=True):
    """The market moved, or says again where it stands."""

    quote: Quote


class MarketMoved(msgspec.Struct, frozen=True):
    """The market has moved: words of the exchange about the orders that this filled come next, then `QuoteReceived`.

    It makes the price known before those words, and decides nothing (TR-5): what they arm or move is tested against
    the price that filled them, not against the one before it (AR-3, TR-50).
    """

    quote: Quote


class TradeHappened(msgspec.Struct, frozen=True):
    """Something happened to one trade (leverage set, funds read, position gone)."""

    trade_id: int
    event: TradeEvent


class TimePassed(msgspec.Struct, frozen=True):
    """Deadlines may be due."""


class InstrumentChanged(msgspec.Struct, frozen=True):
    """Trading rules were read for the first time, or anew (EX-17). `version` is the stored one."""

    instrument: Instrument
    version: int


class PositionLost(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange reports a position as gone, not by our orders (S-32)."""

    account_id: int
    key: InstrumentKey
    liquidated: bool
    quantity: Decimal  # as it was; short is negative
    fills: tuple[Fill, ...] = ()


class StreamRestored(msgspec.Struct, frozen=True):
    """The account's order stream is back after a silence: reports may have been lost (EX-35)."""

    account_id: int


class AccountConnected(msgspec.Struct, frozen=True):
    """The account's exchange is served from now on: orders may be open there of which nobody here knows (fault F19)."""

    account_id: int


class AccountRemoved(msgspec.Struct, frozen=True):
    """Nothing is asked about the account any more."""

    account_id: int


class OrdersListed(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange lists as the account's open orders: client order id -> executed, base."""

    account_id: int
    orders: Mapping[str, Decimal]


OrderWord = OrderReport | OrderRefused | SubmitUnclear | QueryUnclear | OrderNotFound | CancelRefused
"""Names its order by client order id."""

EngineInput = (
    Command
    | QuoteReceived
    | MarketMoved
    | OrderWord
    | TradeHappened
    | TimePassed
    | InstrumentChanged
    | PositionLost
    | StreamRestored
    | AccountConnected
    | AccountRemoved
    | OrdersListed
)

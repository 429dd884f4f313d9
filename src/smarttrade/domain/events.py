"""What has happened: prices that crossed a level, words of the exchange, time that passed. Past facts, all frozen."""

import enum
from decimal import Decimal

import msgspec

from smarttrade.domain.fill import Fill
from smarttrade.domain.order import OrderRefused, OrderReport
from smarttrade.domain.plan import Leverage

__all__ = ["OrderRefused", "OrderReport"]


class WatchRole(enum.StrEnum):
    """Why a step watches a price."""

    LEVEL = "level"  # a fixed level: fires the step, or starts its trailing
    TRAIL = "trail"  # the price turned back from its extreme by the deviation
    RECOVERY = "recovery"  # the price came back to the good side while a stop's timeout runs (TR-61)


class Proceed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker takes the trade: carry out what the last command asked for (S-2 to S-6, S-19, S-23, S-27)."""


class PriceCrossed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A watched level is reached by the current price."""

    step_id: int
    role: WatchRole
    price: Decimal  # the followed price now
    extreme: Decimal | None = None  # of the step's trailing group, this price included


class FreshPrice(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A usable price for a trade that waits for one (TR-6, TR-63)."""


class TimeReached(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A deadline of the trade is due."""


class SubmitUnclear(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No answer to a send: the order may or may not exist (EX-31)."""

    client_order_id: str


class QueryUnclear(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No answer to a query: ask again later."""

    client_order_id: str


class OrderNotFound(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A query says that the exchange does not know the order."""

    client_order_id: str
    safe_to_resend: bool = False  # the exchange refuses a second order with the same id
    searched: bool = False  # neither the open orders nor the fills have it: the second source (faults F6)


class CancelRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The exchange refused a cancellation; only a query decides what became of the order (EX-21)."""

    client_order_id: str
    text: str


class LeverageSet(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Margin mode and leverage stand as asked (S-3). Says what was asked: an edit may have asked for more since."""

    leverage: Leverage


class LeverageRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The exchange refused margin mode or leverage (EX-28). `transient`: worth asking again."""

    leverage: Leverage
    text: str
    transient: bool = False


class FundsRead(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the account could close now (EX-10, EX-27).

    Spot: free balance of the coin an exit spends (base for a long; for a short, quote divided by the ask).
    Futures: size of the position on the trade's side.
    """

    available: Decimal
    total: Decimal  # with what other orders lock: while there is any, the exit goes on trying (EX-12)


class PositionGone(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The exchange reports the position as liquidated or closed, not by our orders (S-32)."""

    liquidated: bool
    fills: tuple[Fill, ...] = ()  # this trade's share of the liquidation (EX-29)


class Recovered(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The server has started again: re-ask about everything that may be alive, clear stop timers (EX-36, TR-64)."""


TradeEvent = (
    Proceed
    | PriceCrossed
    | FreshPrice
    | TimeReached
    | OrderReport
    | OrderRefused
    | SubmitUnclear
    | QueryUnclear
    | OrderNotFound
    | CancelRefused
    | LeverageSet
    | LeverageRefused
    | FundsRead
    | PositionGone
    | Recovered
)

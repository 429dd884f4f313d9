"""Orders and funds of one account at one exchange. The paper account is an exchange like any other."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Protocol

import msgspec

from smarttrade.domain.events import CancelRefused
from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderReport
from smarttrade.domain.plan import MarginMode
from smarttrade.domain.quote import Instant, InstrumentKey


class ExchangeUnavailable(Exception):
    """No answer. The order, if one was sent, may or may not exist: ask `find_order`, then decide."""


class Balance(msgspec.Struct, frozen=True):
    """One currency of an account."""

    free: Decimal
    locked: Decimal

    @property
    def total(self) -> Decimal:
        return self.free + self.locked


class FuturesPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Net position of a pair in one-way mode."""

    key: InstrumentKey
    quantity: Decimal  # base; short is negative
    entry_price: Decimal
    mode: MarginMode
    leverage: Decimal
    margin: Decimal  # quote; isolated margin, or the initial margin used under cross
    liquidation_price: Decimal | None


class PositionClosed(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange took a position away, or somebody else closed it (behaviour S-32)."""

    account_id: int
    key: InstrumentKey
    liquidated: bool
    quantity: Decimal  # signed as before it went
    fills: tuple[Fill, ...] = ()


class LeverageRejected(Exception):
    """The exchange refused margin mode or leverage; str() is its text."""


class StreamBack(msgspec.Struct, frozen=True):
    """The account's stream was silent and is back: what it would have said may be lost (behaviour EX-35)."""


StreamMessage = OrderReport | PositionClosed | StreamBack
ReportListener = Callable[[StreamMessage], None]


class Exchange(Protocol):
    """One account. Never repeat blindly: some exchanges take a client order id again once its order is over.

    Expected answers are values; only silence raises (ExchangeUnavailable).
    """

    refuses_duplicate_ids: bool
    """A second order with a known client id is refused, so sending the same id again is safe."""

    async def submit_order(self, intent: OrderIntent) -> OrderReport | OrderRefused:
        """Send an order. The answer only acknowledges; fills come through the stream (`listen`)."""

    async def cancel_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | CancelRefused | None:
        """Ask for a cancellation. None: taken, the stream will say when it is done."""

    async def find_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | None:
        """What the exchange knows of an order, with all its fills; None: it knows no such order."""

    async def search_order(self, key: InstrumentKey, client_order_id: str, since: Instant) -> OrderReport | None:
        """A second source for an order that `find_order` denies: the open orders, then all fills since `since`.

        With all its fills, as from `find_order`. None: it rests nowhere and has executed nothing (EX-31, faults F6).
        """

    async def open_orders(self) -> Mapping[str, Decimal]:
        """Every open order of the account: client order id -> what it has executed, base."""

    async def set_leverage(self, key: InstrumentKey, mode: MarginMode, value: Decimal) -> None:
        """Set margin mode and leverage of a pair. "Already so" is success. Raises LeverageRejected."""

    async def balances(self) -> Mapping[str, Balance]:
        """Free and locked amount by currency."""

    async def positions(self) -> Mapping[InstrumentKey, FuturesPosition]:
        """Open futures positions; empty on spot."""

    async def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        """Trading rules, re-read (EX-17)."""

    def listen(self, listener: ReportListener) -> None:
        """Deliver the account's stream to `listener`, in order."""

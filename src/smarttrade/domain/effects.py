"""What must be done outside, once the state that asks for it is stored (committed before sent, C-9)."""

from decimal import Decimal

import msgspec

from smarttrade.domain.order import OrderIntent
from smarttrade.domain.plan import MarginMode
from smarttrade.domain.quote import Instant, InstrumentKey


class SubmitOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    intent: OrderIntent
    is_way_out: bool = False  # a stop, or another exit at market: it waits for no entry or target (faults F60)


class CancelOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    account_id: int
    key: InstrumentKey
    client_order_id: str


class QueryOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ask what became of an order; the answer is an OrderReport or OrderNotFound."""

    account_id: int
    key: InstrumentKey
    client_order_id: str


class SearchOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Look for an order that queries do not know, before it counts as gone (EX-31, faults F6).

    The answer is an OrderReport, or OrderNotFound with `searched`.
    """

    account_id: int
    key: InstrumentKey
    client_order_id: str
    since: Instant  # when it was made


class ListOrders(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """List the open orders of an account: a report may be missing (faults F53, F55)."""

    account_id: int


class SetLeverage(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Set margin mode and leverage of a pair before the first order (S-3). Answer: LeverageSet or LeverageRefused."""

    account_id: int
    trade_id: int
    key: InstrumentKey
    mode: MarginMode
    value: Decimal


class ReadFunds(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Read what an exit could close; the answer is FundsRead."""

    account_id: int
    trade_id: int
    key: InstrumentKey
    long: bool


class RequestQuote(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ask the market for prices younger than the age limit (TR-6, EX-34)."""

    keys: tuple[InstrumentKey, ...]


class ReadLimits(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Read the trading rules of a pair again, after a filter refusal (EX-17)."""

    account_id: int
    key: InstrumentKey


class RaiseAlarm(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A person should know: an exit is blocked, a trade has no exit left (S-31, M-27)."""

    trade_id: int
    text: str


Call = (
    SubmitOrder
    | CancelOrder
    | QueryOrder
    | SearchOrder
    | ListOrders
    | SetLeverage
    | ReadFunds
    | RequestQuote
    | ReadLimits
)
"""What is asked of somebody outside, who takes his time."""

Effect = Call | RaiseAlarm

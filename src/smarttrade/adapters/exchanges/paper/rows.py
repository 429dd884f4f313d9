"""What the paper exchange remembers, one frozen value per stored row.

Amounts are exact decimals. A row is never changed, only replaced, so the value from before a piece of work is all that
undoing it takes (see ledger.py). `id` is the row's identity in memory and, column by column, in the database.
"""

import enum
from decimal import Decimal

import msgspec

from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import Side
from smarttrade.domain.money import ZERO, Money, half_up
from smarttrade.domain.order import OrderType, ReportedState
from smarttrade.domain.plan import MarginMode
from smarttrade.domain.quote import Instant, InstrumentKey
from smarttrade.ports.exchange import PositionClosed

RATIO_PLACES = 18
"""Decimals kept of a quotient that is stored or shown (margin, average price); sums and products are exact."""


class PaperAccount(msgspec.Struct, frozen=True, kw_only=True):
    account_id: int
    market: str  # the only market whose pairs this account trades

    @property
    def id(self) -> int:
        return self.account_id


class PaperBalance(msgspec.Struct, frozen=True, kw_only=True):
    """One currency. Under cross margin a loss may leave less than what is reserved; then nothing is free."""

    account_id: int
    currency: str
    total: Decimal = ZERO
    reserved: Decimal = ZERO  # by resting orders, and as margin of futures positions

    @property
    def id(self) -> tuple[int, str]:
        return (self.account_id, self.currency)

    @property
    def free(self) -> Decimal:
        return max(ZERO, self.total - self.reserved)

    @property
    def locked(self) -> Decimal:
        return self.total - self.free


class PaperOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that arrived: live, over, or refused. `sequence` counts arrivals over all accounts."""

    sequence: int
    client_order_id: str
    account_id: int
    market: str
    pair: str
    side: Side
    type: OrderType
    price: Decimal | None  # None for a market order
    quantity: Decimal
    reduce_only: bool
    status: ReportedState
    filled_quantity: Decimal = ZERO
    filled_total: Decimal = ZERO  # sum of quantity x price, commission not included
    lock_asset: str = ""
    lock_unit: Decimal = ZERO  # reserved per unit of base that still needs funds
    locked: Decimal = ZERO  # reserved now
    held: int | None = None  # number of the cancel that waits for a release (sandbox)
    text: str = ""  # why it was refused, or ended without us
    created_at: Instant
    updated_at: Instant

    @property
    def id(self) -> int:
        return self.sequence

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(self.market, self.pair)

    @property
    def exchange_order_id(self) -> str:
        return f"P{self.sequence}"

    @property
    def leaves_quantity(self) -> Decimal:
        return self.quantity - self.filled_quantity

    @property
    def is_open(self) -> bool:
        return self.status is ReportedState.OPEN

    @property
    def average_price(self) -> Decimal | None:
        """None until something is filled."""
        return half_up(self.filled_total / self.filled_quantity, RATIO_PLACES) if self.filled_quantity else None


class PaperFill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of one order."""

    number: int
    order_sequence: int
    price: Decimal
    quantity: Decimal
    fee_asset: str
    fee_amount: Decimal
    filled_at: Instant

    @property
    def id(self) -> int:
        return self.number

    @property
    def reported(self) -> Fill:
        """The fill as the account's owner is told."""
        return Fill(
            fill_id=fill_id(self.number),
            price=self.price,
            quantity=self.quantity,
            fee=Money(self.fee_asset, self.fee_amount),
            filled_at=self.filled_at,
        )


def fill_id(number: int) -> str:
    """The exchange's id of the fill with this number."""
    return f"F{number}"


class PaperPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Net futures position, never zero. What it cost is kept as a sum, so that nothing is lost to an average."""

    account_id: int
    market: str
    pair: str
    quantity: Decimal  # base; short is negative
    entry_total: Decimal  # quote; |quantity| x average entry price, > 0
    margin: Decimal  # quote reserved for it

    @property
    def id(self) -> tuple[int, str, str]:
        return (self.account_id, self.market, self.pair)

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(self.market, self.pair)

    @property
    def size(self) -> Decimal:
        return abs(self.quantity)

    @property
    def closing_side(self) -> Side:
        return Side.SELL if self.quantity > 0 else Side.BUY

    @property
    def entry_price(self) -> Decimal:
        return half_up(self.entry_total / self.size, RATIO_PLACES)

    def profit_at(self, price: Decimal) -> Decimal:
        """Quote that closing all of it at `price` would realise, commission not included."""
        gain = price * self.size - self.entry_total
        return gain if self.quantity > 0 else -gain


class PaperLeverage(msgspec.Struct, frozen=True, kw_only=True):
    """Margin mode and leverage of a pair; without a row, cross 1x."""

    account_id: int
    market: str
    pair: str
    mode: MarginMode
    value: Decimal

    @property
    def id(self) -> tuple[int, str, str]:
        return (self.account_id, self.market, self.pair)


class PaperDepth(msgspec.Struct, frozen=True, kw_only=True):
    """What orders have taken of the sizes of the standing quote (EX-5)."""

    market: str
    pair: str
    bid_used: Decimal = ZERO
    ask_used: Decimal = ZERO

    @property
    def id(self) -> tuple[str, str]:
        return (self.market, self.pair)


class PaperClosure(msgspec.Struct, frozen=True, kw_only=True):
    """A position that was taken away, kept until the account orders again on that pair.

    A kill between this commit and the listener's own would lose the news, so it is told again after a start.
    """

    account_id: int
    market: str
    pair: str
    report: PositionClosed

    @property
    def id(self) -> tuple[int, str, str]:
        return (self.account_id, self.market, self.pair)


class PaperSequence(msgspec.Struct, frozen=True, kw_only=True):
    """The last number taken of a sequence."""

    name: str
    last: int

    @property
    def id(self) -> str:
        return self.name


class FaultPoint(enum.StrEnum):
    """Which kind of call a fault waits for."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    QUERY = "query"
    STREAM = "stream"


class FaultKind(enum.StrEnum):
    """How the exchange misbehaves (sandbox.md)."""

    REJECT = "reject"
    TIMEOUT_BEFORE = "timeout_before"  # the call never arrives
    TIMEOUT_AFTER = "timeout_after"  # it arrives, the answer is lost
    DUPLICATE_ID = "duplicate_id"
    NOT_FOUND = "not_found"
    DROP = "drop"
    DUPLICATE = "duplicate"
    HOLD = "hold"


class FailureClass(enum.StrEnum):
    """Class of a scripted rejection (EX-6)."""

    TRANSIENT = "transient"
    RECOVERABLE = "recoverable"
    PERMANENT = "permanent"


class PaperFault(msgspec.Struct, frozen=True, kw_only=True):
    """A scripted fault that waits for its calls."""

    number: int  # queued earlier, used earlier
    account_id: int
    point: FaultPoint
    kind: FaultKind
    text: str = ""
    failure_class: FailureClass | None = None  # None: told by the text
    times: int = 1  # calls that it still spoils

    @property
    def id(self) -> int:
        return self.number

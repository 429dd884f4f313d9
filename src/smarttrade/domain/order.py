"""Orders: what we want to send, what became of it, and the table of an order's life (behaviour 5.1 to 5.4).

Only `OrderReport`s move an order to a state that the exchange vouches for. Silence never does: an order whose
answer was lost is UNCONFIRMED until a query settles it (EX-31), a cancellation is PENDING_CANCEL until the exchange
says where the order ended (EX-20 to EX-22).
"""

import enum
from decimal import Decimal

import msgspec

from smarttrade.domain.fill import NOTHING_FILLED, Execution, Fill
from smarttrade.domain.instrument import Side
from smarttrade.domain.quote import Instant, InstrumentKey


class OrderType(enum.StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class OrderStatus(enum.StrEnum):
    """Where one exchange order stands, as far as we know."""

    INTENDED = "intended"  # stored, on its way out
    UNCONFIRMED = "unconfirmed"  # the answer to the send was lost: it may or may not exist (EX-31)
    BACKING_OFF = "backing_off"  # refused for a passing reason: the same order is sent again (EX-7)
    WORKING = "working"  # the exchange knows it
    PENDING_CANCEL = "pending_cancel"  # we asked for its cancellation; ours until the exchange says otherwise
    FILLED = "filled"
    CANCELED = "canceled"  # ended without (complete) execution, whoever wanted it
    REJECTED = "rejected"

    @property
    def is_over(self) -> bool:
        return self in OVER


OVER = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED)


class OrderIntent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order that we want the exchange to have. The id is ours and derived, so a second send is recognised (C-8)."""

    client_order_id: str
    account_id: int
    key: InstrumentKey
    side: Side
    type: OrderType
    quantity: Decimal  # base, on the lot
    price: Decimal | None  # on the tick; None for a market order
    reduce_only: bool = False


class ReportedState(enum.StrEnum):
    """What an exchange says of an order."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"  # also expired
    REJECTED = "rejected"


class OrderReport(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The exchange's word on one order: its answer to a send, a cancel or a query, or a message of its stream.

    A query's answer carries every fill of the order; a stream message at least the new ones. `filled_quantity` is
    cumulative.
    """

    client_order_id: str
    venue_order_id: str
    state: ReportedState
    filled_quantity: Decimal
    fills: tuple[Fill, ...] = ()
    text: str = ""
    answers_query: bool = False  # set by the dispatcher: we asked, so an open order is open now


class RefusalKind(enum.StrEnum):
    """Classes of EX-6, assigned once, at the adapter."""

    TRANSIENT = "transient"  # time-out, rate limit, maintenance, network
    RECOVERABLE = "recoverable"  # below a minimum, filter, precision
    INSUFFICIENT_FUNDS = "insufficient_funds"  # recoverable
    REDUCE_ONLY = "reduce_only"  # recoverable: the order would not reduce
    TOO_MANY_ORDERS = "too_many_orders"  # recoverable: sent when there is room (EX-11)
    PRICE_BAND = "price_band"  # recoverable: price outside the allowed band (EX-11)
    DUPLICATE_ID = "duplicate_id"  # the exchange says that it has this order already: look (faults F14)
    PERMANENT = "permanent"


class OrderRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The exchange did not take the order."""

    client_order_id: str
    kind: RefusalKind
    text: str


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of one step at the exchange."""

    client_order_id: str
    attempt: int
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal | None
    reduce_only: bool
    status: OrderStatus = OrderStatus.INTENDED
    venue_order_id: str = ""
    execution: Execution = NOTHING_FILLED
    fill_ids: tuple[str, ...] = ()
    created_at: Instant
    due_at: Instant | None = None  # when to ask or send again
    tries: int = 0  # queries or sends since the last clear answer
    not_found: int = 0  # "unknown order" answers in a row
    doubted_at: Instant | None = None  # since when it is unconfirmed, or its first passing refusal
    silent_since: Instant | None = None  # the first of several sends that all got lost
    cancel_requested_at: Instant | None = None  # since when it is to leave the book, found there or not (EX-22)
    refusal: RefusalKind | None = None
    written_off: bool = False  # over for us, because it was not to be found for long enough; nobody has said so (EX-31)
    text: str = ""  # the exchange's words

    @property
    def leaves_quantity(self) -> Decimal:
        """Base that can still be executed."""
        return self.quantity - self.execution.gross_quantity

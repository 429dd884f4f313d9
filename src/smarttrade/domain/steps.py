"""The legs of a SmartTrade: what the API calls its trades (behaviour C-7). Shapes only."""

import enum
from decimal import Decimal

import msgspec

from smarttrade.domain.fill import NOTHING_FILLED, Execution
from smarttrade.domain.money import ZERO
from smarttrade.domain.order import Order, OrderType
from smarttrade.domain.plan import EntryPlan
from smarttrade.domain.quote import Instant, PriceType


class StepPurpose(enum.StrEnum):
    POSITION = "position"
    AVERAGING = "averaging"  # shown as `position` (behaviour A-1)
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    REDUCE_FUNDS = "reduce_funds"
    MARKET_CLOSE = "market_close"


class StepStatus(enum.StrEnum):
    """Status of a sub-trade (behaviour 1.3); the value is what the wire calls it."""

    IDLE = "idle"
    TO_PROCESS = "to_process"
    ORDER_PLACED = "order_placed"
    TRAILING_ACTIVATED = "trailing_activated"
    PANIC_SELL_PENDING = "panic_sell_pending"
    PANIC_SELL_ORDER_PLACED = "panic_sell_order_placed"
    PANIC_SOLD = "panic_sold"
    PENDING_CANCELLATION = "pending_cancellation"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    FAILED = "failed"
    OWN_FUNDS = "smart_sell"

    @property
    def is_over(self) -> bool:
        return self in OVER

    @property
    def is_executed(self) -> bool:
        """Ended by execution: its volume is spent (E-23)."""
        return self in (StepStatus.FINISHED, StepStatus.PANIC_SOLD)


OVER = frozenset(
    {StepStatus.PANIC_SOLD, StepStatus.CANCELLED, StepStatus.FINISHED, StepStatus.FAILED, StepStatus.OWN_FUNDS}
)


class Trail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Membership in a group of trades that share one extreme.

    The group holds the most favourable followed price since arming; the trail fires when the price has come back to
    extreme x numerator / denominator. The quotient is never stored (TR-50).
    """

    group: int
    start: Decimal  # the extreme when the group was opened
    numerator: Decimal
    denominator: Decimal


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all legs share."""

    id: int
    status: StepStatus
    error: str | None = None
    orders: tuple[Order, ...] = ()  # attempts, oldest first; at most the last one is alive (C-8)
    created_at: Instant
    updated_at: Instant
    closed_at: Instant | None = None
    retry_at: Instant | None = None  # no new attempt before this instant (EX-12)
    refusals: int = 0  # refused attempts since the last accepted one
    refused_since: Instant | None = None
    remainders: int = 0  # times the rest of a partly executed market order was sent again (EX-5)
    attempts: int = 0  # orders made so far, those that are not kept any more included
    cap: Decimal | None = None  # all that the account still had to close with (EX-10, EX-27)

    @property
    def execution(self) -> Execution:
        """All fills of all attempts."""
        total = NOTHING_FILLED
        for order in self.orders:
            if order.execution is not NOTHING_FILLED:  # of many attempts most have executed nothing
                total = total + order.execution
        return total

    @property
    def live_order(self) -> Order | None:
        """The attempt that is or may be alive at the exchange."""
        if self.orders and not self.orders[-1].status.is_over:
            return self.orders[-1]
        return None


class EntryStep(Step, frozen=True, kw_only=True, omit_defaults=True):
    """The position's own leg: the entry order, or own funds (behaviour 2.2)."""

    plan: EntryPlan  # as edited so far; units floored to the lot
    requested: EntryPlan  # as first asked for (E-10)
    rises: bool | None = None  # conditional: fires on >= (True) or <= (False); chosen once (TR-10)
    triggered: bool = False  # the condition has fired (TR-12)
    trail: Trail | None = None
    price_at_creation: Decimal  # shown before the entry (M-13)


class AveragingStep(Step, frozen=True, kw_only=True, omit_defaults=True):
    """An add-funds leg (behaviour 2.5)."""

    order_type: OrderType
    units: Decimal
    price: Decimal | None
    price_at_creation: Decimal
    market: bool = False  # its rest is executed at market on request


class TargetStep(Step, frozen=True, kw_only=True, omit_defaults=True):
    """A take-profit leg (behaviour 2.3)."""

    order_type: OrderType
    volume: Decimal
    price_type: PriceType
    price: Decimal | None  # None until a percent is resolved (TR-32)
    percent: Decimal | None = None
    trailing_percent: Decimal | None = None
    position: int  # 1-based order
    units: Decimal | None = None  # None until armed (M-20)
    trail: Trail | None = None
    triggered: bool = False  # target or follow line reached, or closed by hand: at market now
    retried: bool = False  # the one retry of EX-11 is spent
    watched: bool = False  # a refused limit order that waits for room (EX-11)
    reached: bool = False  # its target was reached while it waited: offered again with pauses, not by price
    uncovered: bool = False  # cancelled by sub-trade cancel or failed: its volume has no target (M-23)
    dropped: bool = False  # failed, and left out of an edit's list since: not shown among the steps (E-20, E-22)
    replaces: int | None = None  # the step that an edit changed into this one; it goes first (E-21, R-7)
    carried: Decimal = ZERO  # what the replaced steps had executed: part of this one's units (E-26)


class StopStep(Step, frozen=True, kw_only=True, omit_defaults=True):
    """The stop-loss leg (behaviour 2.4)."""

    order_type: OrderType
    price_type: PriceType
    configured_price: Decimal | None  # L0; None until a percent is resolved
    percent: Decimal | None = None
    limit_price: Decimal | None = None
    limit_percent: Decimal | None = None
    trailing: bool = False
    trailing_percent: Decimal | None = None
    timeout_seconds: int | None = None
    breakeven: bool = False
    breakeven_price: Decimal | None = None  # once applied (BE-1); the level is the better of the two
    moved_limit_price: Decimal | None = None  # BE-6
    reference_price: Decimal | None = None  # R0 of TR-50
    trail: Trail | None = None
    timer_started_at: Instant | None = None
    reached_extreme: Decimal | None = None  # extreme then: it cannot move while the timer runs (TR-67)
    awaits_price: bool = False  # a decision or the arming waits for a fresh price (TR-63)
    fired: bool = False


class ReduceStep(Step, frozen=True, kw_only=True, omit_defaults=True):
    """A reduce-funds leg (behaviour 2.7)."""

    order_type: OrderType
    units: Decimal
    price: Decimal  # limit price, or the market's at the request (RF-1)


class CloseStep(Step, frozen=True, kw_only=True, omit_defaults=True):
    """The market close of the whole trade (behaviour 2.8)."""

    units: Decimal
    price: Decimal  # the market's when it was made

"""The aggregate: a SmartTrade, its status, and the sums over its legs (behaviour 2.1)."""

import enum
from decimal import Decimal
from operator import attrgetter
from typing import Final

import msgspec

from smarttrade.domain.fill import NOTHING_FILLED, Execution
from smarttrade.domain.instrument import Side
from smarttrade.domain.money import ZERO
from smarttrade.domain.plan import Leverage, TradeKind
from smarttrade.domain.quote import Instant, InstrumentKey
from smarttrade.domain.steps import (
    AveragingStep,
    CloseStep,
    EntryStep,
    ReduceStep,
    Step,
    StepStatus,
    StopStep,
    TargetStep,
)

_ID: Final = attrgetter("id")


class TradeStatus(enum.StrEnum):
    """Status of a SmartTrade (behaviour 1.3); the value is what the wire calls it."""

    CREATED = "created"
    WAITING_POSITION = "waiting_position"
    WAITING_TARGETS = "waiting_targets"
    PENDING_REDUCE_FUNDS = "pending_reduce_funds"
    REDUCE_FUNDS_IN_PROGRESS = "reduce_funds_in_progress"
    STOP_LOSS_IN_PROGRESS = "stop_loss_in_progress"
    STOP_LOSS_FINISHED = "stop_loss_finished"
    PANIC_SELL_PENDING = "panic_sell_pending"
    PANIC_SELL_IN_PROGRESS = "panic_sell_in_progress"
    PANIC_SOLD = "panic_sold"
    CANCELLATION_PENDING = "cancellation_pending"
    CANCELLATION_IN_PROGRESS = "cancellation_in_progress"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset(
    {
        TradeStatus.STOP_LOSS_FINISHED,
        TradeStatus.PANIC_SOLD,
        TradeStatus.CANCELLED,
        TradeStatus.FINISHED,
        TradeStatus.FAILED,
    }
)


class Profit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Profit in quote, USD and percent (behaviour 4.5). None: nothing entered."""

    volume: Decimal | None = None
    usd: Decimal | None = None
    percent: Decimal = ZERO
    roe: Decimal | None = None


class SmartTrade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole plan and its progress. A value: every change makes a new one."""

    id: int
    revision: int = 1  # inputs worked in so far; the journal counts the same
    account_id: int
    key: InstrumentKey
    kind: TradeKind
    status: TradeStatus
    error: str | None = None
    leverage: Leverage | None = None
    leverage_asked: bool = False  # the exchange is being told (S-3)
    leverage_confirmed: bool = False
    note: str = ""
    position: EntryStep
    averaging: tuple[AveragingStep, ...] = ()
    take_profit_enabled: bool = False
    targets: tuple[TargetStep, ...] = ()  # all of them, executed and cancelled ones included
    stop: StopStep | None = None  # the one in force
    past_stops: tuple[StopStep, ...] = ()  # replaced or removed by edits; the trades list shows them
    reductions: tuple[ReduceStep, ...] = ()
    market_close: CloseStep | None = None
    liquidation: Execution = NOTHING_FILLED  # closed by the exchange itself (EX-29)
    failing: str | None = None  # will end as failed with this text once its orders are out (S-8, S-32)
    ending: TradeStatus | None = None  # the end that the sequence under way leads to
    closed_before: Decimal = ZERO  # closed amount when the sequence under way began (S-17, S-24, S-29)
    breakeven_done: bool = False  # it happens once (BE-9)
    room_for: int | None = None  # step at market for which the resting targets leave the book (EX-23)
    protect_partial_entry: bool = True  # setting at creation (P-18)
    breakeven_covers_exit_fee: bool = False  # setting at creation (BE-3)
    profit: Profit | None = None  # frozen at the end (M-45)
    created_at: Instant
    updated_at: Instant
    closed_at: Instant | None = None

    @property
    def is_long(self) -> bool:
        return self.kind.entry_side is Side.BUY

    @property
    def entry_side(self) -> Side:
        return self.kind.entry_side

    @property
    def exit_side(self) -> Side:
        return self.kind.entry_side.opposite

    @property
    def entered(self) -> Execution:
        """Everything entered so far: amount A_in, total T_in, gross G and Q (behaviour 4.1)."""
        if self.position.status is StepStatus.OWN_FUNDS:
            plan = self.position.plan
            own = plan.units * (plan.price or ZERO)
            total = Execution(plan.units, own, plan.units, own)
        else:
            total = self.position.execution
        for step in self.averaging:
            total = total + step.execution
        return total

    @property
    def closed(self) -> Execution:
        """Everything closed so far: amount A_out, total T_out (M-15)."""
        total = self.liquidation
        for step in self.exits:
            if step.orders:
                total = total + step.execution
        return total

    @property
    def exits(self) -> tuple[Step, ...]:
        """All legs that close, dead ones included."""
        stops = () if self.stop is None else (self.stop,)
        closes = () if self.market_close is None else (self.market_close,)
        return (*self.targets, *self.past_stops, *stops, *self.reductions, *closes)

    @property
    def legs(self) -> tuple[Step, ...]:
        """All legs, in no particular order."""
        return (self.position, *self.averaging, *self.exits)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All legs in the order of their ids, as the trades list shows them."""
        return tuple(sorted(self.legs, key=_ID))

    @property
    def open_amount(self) -> Decimal:
        """O of behaviour C-6: entered less closed, base."""
        return self.entered.amount - self.closed.amount

    @property
    def active_targets(self) -> tuple[TargetStep, ...]:
        """Targets that are not over, by position."""
        return tuple(sorted((t for t in self.targets if not t.status.is_over), key=lambda t: t.position))

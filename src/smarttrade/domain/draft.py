"""One input being worked into one trade: the next value of the trade, and what the outside must do.

The draft is the only mutable thing in the domain. It lives for one call of `machine.handle` and is thrown away whole
when a rule is broken, so a trade is never half changed.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from smarttrade.domain.effects import CancelOrder, Effect, QueryOrder, RaiseAlarm, SearchOrder, SubmitOrder
from smarttrade.domain.errors import IllegalTransition
from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.moves import STEP_TABLES, TRADE, Cause, TradeCause
from smarttrade.domain.order import Order, OrderIntent, OrderType
from smarttrade.domain.order_ids import client_order_id
from smarttrade.domain.quote import Instant, Quote
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.domain.steps import (
    AveragingStep,
    CloseStep,
    EntryStep,
    ReduceStep,
    Step,
    StepPurpose,
    StopStep,
    TargetStep,
)

AnyStep = TypeVar("AnyStep", bound=Step)

PURPOSES: Final[dict[type[Step], StepPurpose]] = {
    EntryStep: StepPurpose.POSITION,
    AveragingStep: StepPurpose.AVERAGING,
    TargetStep: StepPurpose.TAKE_PROFIT,
    StopStep: StepPurpose.STOP_LOSS,
    ReduceStep: StepPurpose.REDUCE_FUNDS,
    CloseStep: StepPurpose.MARKET_CLOSE,
}


REMEMBERED_ATTEMPTS: Final = 20
"""Attempts without a fill that a leg keeps; what is forgotten can no longer be named by a late report."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rule may look at besides the trade. It is journalled with the input, so replay sees the same."""

    now: Instant
    instrument: Instrument
    quote: Quote | None
    quote_is_fresh: bool  # young enough for a decision (TR-6)
    usd_rate: Decimal | None  # quote asset in USD (M-42)
    instance: str  # four letters in every client order id
    first_id: int  # next free step id
    protect_partial_entry: bool = True  # settings for a trade that is being created (P-18, BE-3)
    breakeven_covers_exit_fee: bool = False


class Draft:
    """The trade under way. Methods change `trade` and collect `effects`."""

    __slots__ = ("context", "effects", "instrument", "next_id", "now", "proceeds", "trade")

    def __init__(self, trade: SmartTrade, context: Context) -> None:
        self.trade = trade
        self.context = context
        self.instrument = context.instrument
        self.now = context.now
        self.next_id = context.first_id
        self.effects: list[Effect] = []
        self.proceeds = False  # the worker may take what a command left pending

    @property
    def quote(self) -> Quote | None:
        return self.context.quote

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def change(self, **members: Any) -> None:
        """Replace members of the trade."""
        self.trade = replace(self.trade, **members)

    def advance(self, cause: TradeCause, **members: Any) -> None:
        """Move the trade by its table. Raises IllegalTransition."""
        status = TRADE.get((self.trade.status, cause))
        if status is None:
            raise IllegalTransition(self.trade.id, self.trade.status, cause)
        self.change(status=status, **members)

    def put(self, step: Step) -> None:
        """Store a changed or new leg in its place."""
        trade = self.trade
        match step:
            case EntryStep():
                self.change(position=step)
            case AveragingStep():
                self.change(averaging=_placed(trade.averaging, step))
            case TargetStep():
                self.change(targets=_placed(trade.targets, step))
            case StopStep():
                if trade.stop is not None and trade.stop.id == step.id:
                    self.change(stop=step)
                elif any(past.id == step.id for past in trade.past_stops):
                    self.change(past_stops=_placed(trade.past_stops, step))
                else:  # a new one; the one before it stays in the trades list
                    past = trade.past_stops if trade.stop is None else (*trade.past_stops, trade.stop)
                    self.change(stop=step, past_stops=past)
            case ReduceStep():
                self.change(reductions=_placed(trade.reductions, step))
            case CloseStep():
                self.change(market_close=step)

    def edit(self, step: AnyStep, **members: Any) -> AnyStep:
        """Replace members of a leg."""
        changed = replace(step, updated_at=self.now, **members)
        self.put(changed)
        return changed

    def move(self, step: AnyStep, cause: Cause, **members: Any) -> AnyStep:
        """Move a leg by its table. Raises IllegalTransition."""
        status = STEP_TABLES[PURPOSES[type(step)]].get((step.status, cause))
        if status is None:
            raise IllegalTransition(self.trade.id, step.id, step.status, cause)
        if status.is_over and step.closed_at is None:
            members.setdefault("closed_at", self.now)
        return self.edit(step, status=status, **members)

    def step(self, step_id: int) -> Step | None:
        for step in self.trade.legs:
            if step.id == step_id:
                return step
        return None

    def legs(self, wanted: Callable[[Step], bool]) -> list[Step]:
        """Legs for which `wanted` holds, by id."""
        return [step for step in self.trade.steps if wanted(step)]

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def alarm(self, text: str) -> None:
        """Tell a person (S-31)."""
        self.emit(RaiseAlarm(trade_id=self.trade.id, text=text))

    # Orders

    def submit(
        self, step: AnyStep, side: Side, order_type: OrderType, quantity: Decimal, price: Decimal | None
    ) -> AnyStep:
        """A new attempt of `step`: stored as intended, and sent once that is durable."""
        attempt = step.attempts + 1
        is_exit = side is self.trade.exit_side
        order = Order(
            client_order_id=client_order_id(self.context.instance, self.trade.id, step.id, attempt),
            attempt=attempt,
            side=side,
            type=order_type,
            quantity=quantity,
            price=price,
            reduce_only=self.instrument.is_linear and is_exit,  # EX-26
            created_at=self.now,
        )
        self.send(step, order)
        return self.edit(step, orders=(*_remembered(step.orders), order), attempts=attempt)

    def send(self, step: Step, order: Order) -> None:
        """Ask the outside to send `order` of `step`, for the first time or again under the same id."""
        is_exit_at_market = order.side is self.trade.exit_side and order.type is OrderType.MARKET
        self.emit(
            SubmitOrder(
                intent=OrderIntent(
                    client_order_id=order.client_order_id,
                    account_id=self.trade.account_id,
                    key=self.trade.key,
                    side=order.side,
                    type=order.type,
                    quantity=order.quantity,
                    price=order.price,
                    reduce_only=order.reduce_only,
                ),
                is_way_out=is_exit_at_market or isinstance(step, StopStep),
            )
        )

    def ask_cancel(self, order: Order) -> None:
        self.emit(
            CancelOrder(account_id=self.trade.account_id, key=self.trade.key, client_order_id=order.client_order_id)
        )

    def query(self, order: Order) -> None:
        self.emit(
            QueryOrder(account_id=self.trade.account_id, key=self.trade.key, client_order_id=order.client_order_id)
        )

    def search(self, order: Order) -> None:
        """Ask a second source about an order that queries do not know."""
        self.emit(
            SearchOrder(
                account_id=self.trade.account_id,
                key=self.trade.key,
                client_order_id=order.client_order_id,
                since=order.created_at,
            )
        )


def with_order(step: Step, changed: Order) -> tuple[Order, ...]:
    """The attempts of `step` with `changed` in the place of the one with its id."""
    return tuple(changed if order.client_order_id == changed.client_order_id else order for order in step.orders)


def _remembered(orders: tuple[Order, ...]) -> tuple[Order, ...]:
    """Without the oldest attempts that came to nothing: a blocked exit is tried for days (EX-12)."""
    empty = [order for order in orders if order.status.is_over and order.execution.gross_quantity == 0]
    if len(empty) <= REMEMBERED_ATTEMPTS:
        return orders
    forgotten = {order.client_order_id for order in empty[:-REMEMBERED_ATTEMPTS]}
    return tuple(order for order in orders if order.client_order_id not in forgotten)


def _placed(steps: tuple[AnyStep, ...], step: AnyStep) -> tuple[AnyStep, ...]:
    """`steps` with `step` in the place of the one with its id, or appended."""
    for index, present in enumerate(steps):
        if present.id == step.id:
            return (*steps[:index], step, *steps[index + 1 :])
    return (*steps, step)

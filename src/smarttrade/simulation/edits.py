"""How the users of a simulated world change their trades: what they read comes back, mostly with one thing changed."""

import random
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from smarttrade.domain import permissions
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import HUNDRED, ZERO
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryType, PositionEdit, StopPlan, TargetPlan, TradeEdit
from smarttrade.domain.quote import Quote
from smarttrade.domain.rules import MAX_STEPS
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import StepStatus, StopStep, TargetStep
from smarttrade.simulation.chance import likely
from smarttrade.simulation.plans import PlanDrawer


class EditDrawer:
    """Draws edits from `chance`."""

    def __init__(self, chance: random.Random, plans: PlanDrawer) -> None:
        self._chance: Final = chance
        self._plans: Final = plans

    def edit(self, trade: SmartTrade, instrument: Instrument, quote: Quote) -> TradeEdit:
        """Everything as it was read, or one or two groups with a change."""
        if likely(self._chance, 0.15):
            return repeated(trade)
        groups = ["targets", "stop"]
        if permissions.position_price_editable(trade) or likely(self._chance, 0.05):
            groups += ["position"]
        if trade.leverage is not None and (permissions.leverage_editable(trade) or likely(self._chance, 0.05)):
            groups += ["leverage"]
        if trade.kind.is_simple and not likely(self._chance, 0.05):
            groups = groups[2:]
        whole = repeated(trade) if likely(self._chance, 0.3) else TradeEdit()
        for group in self._chance.sample(groups, min(len(groups), 2 if likely(self._chance, 0.25) else 1)):
            whole = self._with(whole, group, trade, instrument, quote)
        return replace(whole, note=f"edited {self._chance.randrange(1000)}") if likely(self._chance, 0.1) else whole

    def _with(self, whole: TradeEdit, group: str, trade: SmartTrade, instrument: Instrument, quote: Quote) -> TradeEdit:
        match group:
            case "targets":
                targets = self._targets(trade, instrument, quote)
                return replace(whole, take_profit_enabled=bool(targets), targets=targets)
            case "stop":
                stop = self._stop(trade, instrument, quote)
                return replace(whole, stop_enabled=stop is not None, stop=stop)
            case "position":
                return replace(whole, position=self._position(trade, instrument, quote))
            case _:
                return replace(whole, leverage=self._plans.leverage(instrument))

    # targets

    def _targets(self, trade: SmartTrade, instrument: Instrument, quote: Quote) -> tuple[TargetPlan, ...]:
        """The wanted set of unexecuted steps; empty: none at all."""
        present = repeated_targets(trade)
        spent = sum((step.volume for step in trade.targets if step.status.is_executed), ZERO)
        whole = HUNDRED if likely(self._chance, 0.3) else HUNDRED - spent  # E-24 takes both
        reference, units = expected_entry(trade, quote), expected_units(trade)
        if not present or whole <= ZERO or likely(self._chance, 0.15):
            drawn = self._plans.targets(instrument, reference, long=trade.is_long, units=units)
            return self._plans.rescaled(drawn[: self._room(trade)], whole if whole > ZERO else HUNDRED)
        match self._chance.choices(("move", "drop", "add", "shape", "order", "off"), (40, 14, 16, 14, 8, 8))[0]:
            case "move":
                return self._moved(present, trade, instrument, reference)
            case "drop" if len(present) > 1:
                left = self._chance.sample(present, len(present) - 1)
                return self._plans.rescaled(sorted(left, key=present.index), whole)
            case "add" if len(present) < min(self._room(trade), self._plans.most_targets(instrument, reference, units)):
                new = self._plans.target(instrument, reference, self._plans.distance(), whole, long=trade.is_long)
                return self._plans.rescaled((new, *present), whole)
            case "shape":
                return (*present[:-1], self._shaped(present[-1]))
            case "order":
                return self._reordered(present)
            case "off" | "drop":
                return ()
        return present

    @staticmethod
    def _room(trade: SmartTrade) -> int:
        return max(1, MAX_STEPS - sum(step.status.is_executed for step in trade.targets))

    def _moved(
        self, present: tuple[TargetPlan, ...], trade: SmartTrade, instrument: Instrument, reference: Decimal
    ) -> tuple[TargetPlan, ...]:
        """One step gets another price, or a percent."""
        which = self._chance.randrange(len(present))
        drawn = self._plans.target(instrument, reference, self._plans.distance(), HUNDRED, long=trade.is_long)
        moved = replace(present[which], price=drawn.price, percent=drawn.percent)
        return (*present[:which], moved, *present[which + 1 :])

    def _shaped(self, target: TargetPlan) -> TargetPlan:
        """Trailing on or off, or the other order type."""
        if target.trailing_percent is not None:
            return replace(target, trailing_percent=None)
        if likely(self._chance, 0.5):
            return self._plans.trailed(target)
        other = OrderType.MARKET if target.order_type is OrderType.LIMIT else OrderType.LIMIT
        return replace(target, order_type=other, price_type=self._plans.price_type(target.price_type))

    @staticmethod
    def _reordered(present: tuple[TargetPlan, ...]) -> tuple[TargetPlan, ...]:
        """The first ones in reverse, by their numbers (E-27); what trails stays last."""
        count = len(present)
        last = present[-1].trailing_percent is not None
        turned = range(count - 1, 0, -1) if last else range(count, 0, -1)
        numbers = (*turned, count) if last else tuple(turned)
        return tuple(replace(target, position=number) for target, number in zip(present, numbers, strict=True))

    # stop

    def _stop(self, trade: SmartTrade, instrument: Instrument, quote: Quote) -> StopPlan | None:
        long, steps = trade.is_long, len(repeated_targets(trade))
        present = None if trade.stop is None or trade.stop.status.is_over else repeated_stop(trade.stop)
        drawn = self._plans.stop(instrument, self._losing_side(trade, quote), long=long, steps=steps)
        if present is None:
            return drawn
        match self._chance.choices(
            ("new", "level", "timeout", "breakeven", "trailing", "off"), (15, 35, 15, 12, 13, 10)
        )[0]:
            case "new":
                return drawn
            case "level":
                return replace(present, price=drawn.price, percent=drawn.percent)
            case "timeout":
                return replace(present, timeout_seconds=None if present.timeout_seconds else self._plans.timeout())
            case "breakeven":
                return replace(present, breakeven=not present.breakeven and steps > 1)
            case "trailing":
                return self._trailing_turned(present)
            case _:
                return None

    @staticmethod
    def _losing_side(trade: SmartTrade, quote: Quote) -> Decimal:
        """A price beyond which the level is not reached at once: the worse of entry and market."""
        entered = expected_entry(trade, quote)
        return min(entered, quote.bid) if trade.is_long else max(entered, quote.ask)

    def _trailing_turned(self, present: StopPlan) -> StopPlan:
        if present.trailing:
            return replace(present, trailing=False, trailing_percent=None)
        deviation = self._plans.percent(0.1, 3) if likely(self._chance, 0.5) else None
        return replace(
            present,
            order_type=OrderType.MARKET,
            limit_price=None,
            limit_percent=None,
            trailing=True,
            trailing_percent=deviation,
        )

    # position

    def _position(self, trade: SmartTrade, instrument: Instrument, quote: Quote) -> PositionEdit:
        """Another price, other units, or another condition, as far as the entry has them."""
        edit, plan = repeated_position(trade), trade.position.plan
        market = quote.ask if trade.is_long else quote.bid
        priced = trade.kind.is_own_funds or plan.price is not None
        if plan.condition is None or (priced and likely(self._chance, 0.3)):
            better = likely(self._chance, 0.7)
            return replace(edit, price=self._plans.near(instrument, market, up=trade.is_long is not better))
        if likely(self._chance, 0.3):
            return replace(edit, units=instrument.floor_lot(plan.units * self._plans.share(60, 160)))
        condition = plan.condition
        if trade.position.status is StepStatus.TRAILING_ACTIVATED or (
            condition.trailing_percent is not None and likely(self._chance, 0.4)
        ):
            return replace(edit, condition=replace(condition, trailing_percent=self._plans.percent(0.1, 2)))
        drawn = self._plans.condition(instrument, quote, long=trade.is_long)
        return replace(
            edit,
            condition=replace(condition, trigger_price=drawn.trigger_price, price_type=drawn.price_type),
        )


# --- what a client reads and sends back ---------------------------------------------------------------------------


def repeated(trade: SmartTrade) -> TradeEdit:
    """The whole trade as it was read (E-10, E-21): changes nothing."""
    targets = repeated_targets(trade)
    stop = None if trade.stop is None or trade.stop.status.is_over else repeated_stop(trade.stop)
    return TradeEdit(
        position=repeated_position(trade),
        leverage=trade.leverage,
        take_profit_enabled=None if trade.kind.is_simple else bool(targets),
        targets=targets,
        stop_enabled=None if trade.kind.is_simple else stop is not None,
        stop=stop,
    )


def repeated_position(trade: SmartTrade) -> PositionEdit:
    plan = trade.position.plan
    return PositionEdit(
        side=trade.entry_side, type=plan.type, units=plan.units, price=plan.price, condition=plan.condition
    )


def repeated_targets(trade: SmartTrade) -> tuple[TargetPlan, ...]:
    """The steps that are not executed and not on their way out, in their order."""
    leaving = StepStatus.PENDING_CANCELLATION
    return tuple(_repeated_target(step) for step in trade.active_targets if step.status is not leaving)


def _repeated_target(step: TargetStep) -> TargetPlan:
    return TargetPlan(
        order_type=step.order_type,
        volume=step.volume,
        price_type=step.price_type,
        price=step.price if step.percent is None else None,
        percent=step.percent,
        trailing_percent=step.trailing_percent,
        step_id=step.id,
    )


def repeated_stop(stop: StopStep) -> StopPlan:
    """The configured level, not the one that breakeven has moved."""
    return StopPlan(
        order_type=stop.order_type,
        price_type=stop.price_type,
        price=stop.configured_price if stop.percent is None else None,
        percent=stop.percent,
        limit_price=stop.limit_price if stop.limit_percent is None else None,
        limit_percent=stop.limit_percent,
        trailing=stop.trailing,
        trailing_percent=stop.trailing_percent,
        timeout_seconds=stop.timeout_seconds,
        breakeven=stop.breakeven,
    )


def expected_entry(trade: SmartTrade, quote: Quote) -> Decimal:
    """What the position cost or is expected to cost, per unit."""
    plan = trade.position.plan
    entered = trade.entered
    if entered.amount > ZERO:
        return entered.total / entered.amount
    if plan.price is not None and plan.type is not EntryType.MARKET:
        return plan.price
    if plan.condition is not None:
        return plan.condition.trigger_price
    return quote.ask if trade.is_long else quote.bid


def expected_units(trade: SmartTrade) -> Decimal:
    """What targets have to share."""
    return trade.position.plan.units if trade.status is TradeStatus.WAITING_POSITION else trade.open_amount

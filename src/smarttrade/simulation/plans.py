"""What the users of a simulated world ask for: whole plans, and the parts of a plan that an edit replaces.

Plans are well-formed, as the border lets them in, and mostly keep the rules. Levels are near enough to the market for
trades to live from minutes to hours and to end in every way.
"""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import HUNDRED, ZERO, half_up_to
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import (
    EntryCondition,
    EntryPlan,
    EntryType,
    Leverage,
    MarginMode,
    SmartTradePlan,
    StopPlan,
    TargetPlan,
    TradeKind,
)
from smarttrade.domain.quote import PriceType, Quote
from smarttrade.domain.rules import MAX_STEPS
from smarttrade.simulation.chance import likely

TARGET_COUNTS: Final = (30, 26, 16, 9, 6, 4, 3, 6)
"""How often a plan has one to eight targets."""

SMALLEST_SHARE: Final = Decimal("0.4")
"""The smallest of n volumes is at least this part of 100 / n."""

HUNDREDTH: Final = Decimal("0.01")


class PlanDrawer:
    """Draws plans from `chance`."""

    def __init__(self, chance: random.Random) -> None:
        self._chance: Final = chance

    def plan(self, kind: TradeKind, instrument: Instrument, quote: Quote, held: Decimal) -> SmartTradePlan:
        """A plan of `kind`. `held`: net position of the account, which own-funds trades on contracts use."""
        long = kind.entry_side is Side.BUY
        units = self._units(instrument, quote.ask, abs(held) if kind.is_own_funds and instrument.is_linear else None)
        entry, reference = self._entry(kind, instrument, quote, units)
        plan = SmartTradePlan(kind=kind, entry=entry, leverage=self.leverage(instrument))
        if likely(self._chance, 0.1):
            plan = replace(plan, note=f"wish {self._chance.randrange(1000)}")
        if kind.is_simple:
            return plan
        if likely(self._chance, 0.85):
            targets = self.targets(instrument, reference, long=long, units=entry.units)
            plan = replace(plan, take_profit_enabled=True, targets=targets)
        if likely(self._chance, 0.75):
            plan = replace(plan, stop=self.stop(instrument, reference, long=long, steps=len(plan.targets)))
        return plan

    # the entry

    def _units(self, instrument: Instrument, price: Decimal, most: Decimal | None) -> Decimal:
        """Mostly some hundreds of dollars; at times near the minimum, beyond one market order, or beyond all funds."""
        smallest = max(instrument.min_total, instrument.min_market_total, instrument.min_lot * price)
        most_split = instrument.max_market_lot
        if most is not None:
            units = most * self.share(20, 100)
        elif likely(self._chance, 0.08):
            units = smallest * self.share(101, 250) / price
        elif most_split is not None and likely(self._chance, 0.12):
            units = most_split * self.share(105, 320)
        elif likely(self._chance, 0.04):
            units = self._usual_total(instrument) * self._chance.randint(100, 400) / price
        else:
            units = (smallest * 3 + self._usual_total(instrument) * self.share(1, 400)) / price
        units = instrument.floor_lot(units)
        return units + instrument.lot / 3 if likely(self._chance, 0.04) else units  # floored by the server

    @staticmethod
    def _usual_total(instrument: Instrument) -> Decimal:
        return Decimal("0.01") if instrument.quote == "BTC" else Decimal(500)

    def _entry(
        self, kind: TradeKind, instrument: Instrument, quote: Quote, units: Decimal
    ) -> tuple[EntryPlan, Decimal]:
        """The entry, and the price at which it is to be expected."""
        long = kind.entry_side is Side.BUY
        market = quote.ask if long else quote.bid
        if kind.is_own_funds:
            price = (
                self.near(instrument, quote.last, up=likely(self._chance, 0.5)) if likely(self._chance, 0.6) else None
            )
            type_ = EntryType.MARKET if likely(self._chance, 0.7) else EntryType.LIMIT
            return EntryPlan(type=type_, units=units, price=price), market
        kind_of_entry = self._chance.choices(list(EntryType), (35, 32, 33))[0]
        if kind_of_entry is EntryType.MARKET:
            echoed = market if likely(self._chance, 0.1) else None
            return EntryPlan(type=kind_of_entry, units=units, price=echoed), market
        if kind_of_entry is EntryType.LIMIT:
            better = likely(self._chance, 0.8)  # otherwise it can be executed at once
            price = self.near(instrument, market, up=long is not better)
            return EntryPlan(type=kind_of_entry, units=units, price=price), price
        condition = self.condition(instrument, quote, long=long)
        price = None
        if condition.order_type is OrderType.LIMIT:
            price = self.near(instrument, condition.trigger_price, up=likely(self._chance, 0.5))
        entry = EntryPlan(type=kind_of_entry, units=units, price=price, condition=condition)
        return entry, price or condition.trigger_price

    def condition(self, instrument: Instrument, quote: Quote, *, long: bool) -> EntryCondition:
        """What a conditional entry waits for: above the market or below it, at market, by limit, or trailed."""
        price_type = self.price_type(PriceType.ASK if long else PriceType.BID)
        trailing = self.percent(0.1, 1.5) if likely(self._chance, 0.3) else None
        if trailing is not None and likely(self._chance, 0.05):
            trailing = ZERO  # TR-23
        by_limit = trailing is None and likely(self._chance, 0.4)
        return EntryCondition(
            trigger_price=self.near(instrument, quote.price(price_type), up=likely(self._chance, 0.5)),
            price_type=price_type,
            order_type=OrderType.LIMIT if by_limit else OrderType.MARKET,
            trailing_percent=trailing,
        )

    def leverage(self, instrument: Instrument) -> Leverage | None:
        if likely(self._chance, 0.3 if instrument.is_linear else 0.95):
            return None
        most = int(instrument.max_leverage)
        value = most if likely(self._chance, 0.15) else self._chance.randint(1, max(1, min(most, 25)))
        return Leverage(self._chance.choice(list(MarginMode)), Decimal(value))

    # the exits

    def targets(
        self, instrument: Instrument, reference: Decimal, *, long: bool, units: Decimal
    ) -> tuple[TargetPlan, ...]:
        """One to eight targets beyond `reference` that can all be placed with `units`."""
        wanted = self._chance.choices(range(1, MAX_STEPS + 1), TARGET_COUNTS)[0]
        count = max(1, min(wanted, self.most_targets(instrument, reference, units)))
        away, targets = ZERO, []
        for volume in self.volumes(count):
            away += self.distance() / (2 if count > 2 else 1)
            targets.append(self.target(instrument, reference, away, volume, long=long))
        if likely(self._chance, 0.1):
            self._chance.shuffle(targets)
        if likely(self._chance, 0.25):
            targets[-1] = self.trailed(targets[-1])
        return tuple(targets)

    def target(
        self, instrument: Instrument, reference: Decimal, away: Decimal, volume: Decimal, *, long: bool
    ) -> TargetPlan:
        """One target `away` percent from `reference`; at times on its wrong side, so that it is reached at once."""
        up = long if likely(self._chance, 0.97) else not long
        by_percent = likely(self._chance, 0.4)
        return TargetPlan(
            order_type=OrderType.LIMIT if likely(self._chance, 0.6) else OrderType.MARKET,
            volume=volume,
            price_type=self.price_type(PriceType.BID if long else PriceType.ASK),
            price=None if by_percent else self.level(instrument, reference, away, up=up),
            percent=away if by_percent else None,
        )

    def trailed(self, target: TargetPlan) -> TargetPlan:
        return replace(target, order_type=OrderType.MARKET, trailing_percent=self.percent(0.05, 1.5))

    @staticmethod
    def most_targets(instrument: Instrument, price: Decimal, units: Decimal) -> int:
        """How many targets of `volumes` are all large enough for an order; a short's lie lower than the entry."""
        smallest = max(instrument.min_lot, instrument.lot)
        least_total = max(instrument.min_total, instrument.min_market_total)
        by_lot = units * SMALLEST_SHARE / smallest
        by_total = by_lot if not least_total else units * price * SMALLEST_SHARE / (least_total * Decimal("1.3"))
        return int(min(by_lot, by_total))

    def volumes(self, count: int, whole: Decimal = HUNDRED) -> list[Decimal]:
        """Percents that add up to `whole`, none of them tiny."""
        if count == 1:
            return [whole]
        weights = [self._chance.randint(6, 14) for _ in range(count)]
        step = HUNDREDTH if likely(self._chance, 0.3) else Decimal(1)
        volumes = [half_up_to(whole * weight / sum(weights), step) for weight in weights]
        volumes[-1] += whole - sum(volumes, ZERO)
        return volumes

    def stop(self, instrument: Instrument, reference: Decimal, *, long: bool, steps: int) -> StopPlan:
        """A stop on the losing side of `reference`, in any of its shapes; `steps`: number of targets."""
        away, by_percent = self.distance(), likely(self._chance, 0.4)
        trailing = likely(self._chance, 0.3)
        stop = StopPlan(
            order_type=OrderType.MARKET,
            price_type=self.price_type(PriceType.BID if long else PriceType.ASK),
            price=None if by_percent else self.level(instrument, reference, away, up=not long),
            percent=away if by_percent else None,
            trailing=trailing,
            trailing_percent=self.percent(0.1, 3) if trailing and likely(self._chance, 0.5) else None,
            timeout_seconds=self.timeout() if likely(self._chance, 0.25) else None,
            breakeven=steps > 1 and likely(self._chance, 0.5),
        )
        return (
            stop if trailing or likely(self._chance, 0.65) else self._limited(stop, instrument, reference, away, long)
        )

    def _limited(
        self, stop: StopPlan, instrument: Instrument, reference: Decimal, away: Decimal, long: bool
    ) -> StopPlan:
        """The order of the stop is a limit order, a little beyond the trigger or a little before it."""
        limit = max(away + self.percent(0.05, 0.8) * (1 if likely(self._chance, 0.8) else -1), HUNDREDTH)
        if likely(self._chance, 0.4):
            return replace(stop, order_type=OrderType.LIMIT, limit_percent=limit)
        price = self.level(instrument, reference, limit, up=not long)
        return replace(stop, order_type=OrderType.LIMIT, limit_price=price)

    def timeout(self) -> int:
        """Seconds: from the shortest to some minutes."""
        return self._chance.choice((1, 2, 10, 30, 90, 300, 900))

    # figures

    def near(self, instrument: Instrument, price: Decimal, *, up: bool) -> Decimal:
        """A price at some distance from `price`."""
        return self.level(instrument, price, self.distance(), up=up)

    def level(self, instrument: Instrument, price: Decimal, percent: Decimal, *, up: bool) -> Decimal:
        """`percent` away from `price`; on the tick, or finer now and then."""
        exact = price * (HUNDRED + (percent if up else -percent)) / HUNDRED
        step = instrument.tick if likely(self._chance, 0.9) else instrument.tick / 8
        return max(half_up_to(exact, step), instrument.tick)

    def distance(self) -> Decimal:
        """Percent of the price: a tenth to five."""
        return self._chance.choices(
            (self.percent(0.1, 0.5), self.percent(0.5, 1.5), self.percent(1.5, 5)), (40, 40, 20)
        )[0]

    def percent(self, low: float, high: float) -> Decimal:
        """Two decimals."""
        return self._chance.randint(round(low * 100), round(high * 100)) * HUNDREDTH

    def share(self, low: int, high: int) -> Decimal:
        """A fraction, `low` and `high` in percent."""
        return self._chance.randint(low, high) / HUNDRED

    def price_type(self, usual: PriceType) -> PriceType:
        return usual if likely(self._chance, 0.6) else self._chance.choice(list(PriceType))

    def rescaled(self, targets: Sequence[TargetPlan], whole: Decimal) -> tuple[TargetPlan, ...]:
        """The same targets with other volumes that add up to `whole`."""
        volumes = self.volumes(len(targets), whole)
        return tuple(replace(target, volume=volume) for target, volume in zip(targets, volumes, strict=True))

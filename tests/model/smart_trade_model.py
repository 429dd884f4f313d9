"""A second opinion on the rules: one SmartTrade on one well-behaved exchange, written from the rules alone.

It is slow, obvious, and shares nothing with the product, so that a misread rule is not misread twice. Everything is
exact (`Fraction`) and nothing is rounded unless a rule says so. An order is acknowledged, filled and cancelled in the
instant in which it is asked for, so no state that only waits for the exchange can ever be seen.

Where the page leaves a corner open the model raises `OffThePage` instead of guessing.

Read it from the top: the market, what was asked for, the exchange, the trade.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

ZERO, ONE, HUNDRED = Fraction(0), Fraction(1), Fraction(100)
Number = Fraction


class Refused(Exception):
    """The command is against the rules; nothing has changed."""


class OffThePage(Exception):
    """The rules do not say what happens now."""


def down(x: Number, step: Number) -> Number:
    """The largest multiple of `step` that is not above `x`."""
    return floor(x / step) * step


def up(x: Number, step: Number) -> Number:
    return ceil(x / step) * step


def half_up(x: Number, step: Number) -> Number:
    """The nearest multiple of `step`; a tie goes away from zero (C-5)."""
    nearest = floor(abs(x) / step + Fraction(1, 2)) * step
    return nearest if x >= 0 else -nearest


def is_whole(volumes: Number) -> bool:
    """Volumes make up 100 with a tolerance of 0.01: an uncovered share may be a number without end (E-24)."""
    return abs(volumes - HUNDRED) <= Fraction(1, 100)


def same_percent(one: Number | None, other: Number | None) -> bool:
    """The sign of a percent is ignored (TR-30, TR-46)."""
    return one == other if one is None or other is None else abs(one) == abs(other)


# --- the market -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """Trading rules and commissions of the pair (C-4)."""

    tick: Number
    lot: Number
    min_lot: Number
    min_total: Number
    min_market_total: Number
    maker_fee: Number
    taker_fee: Number
    fee_in_base: bool = False  # of a spot buy; every other commission is in quote
    futures: bool = False


@dataclass(frozen=True)
class Quote:
    bid: Number
    ask: Number
    last: Number
    bid_size: Number | None = None  # None: without end
    ask_size: Number | None = None

    def price(self, price_type: str) -> Number:
        return {"bid": self.bid, "ask": self.ask, "last": self.last}[price_type]


# --- what was asked for -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EntryPlan:
    order_type: str  # market, limit, conditional; own: the position is there already
    units: Number
    price: Number | None = None  # limit price, or what own funds once cost
    trigger: Number | None = None
    trigger_type: str = "ask"
    trailing: Number | None = None  # percent


@dataclass(frozen=True)
class TargetPlan:
    order_type: str
    volume: Number
    price: Number | None = None
    percent: Number | None = None
    price_type: str = "bid"
    trailing: Number | None = None
    keeps: int | None = None  # in an edit: the serial number of the step that this one repeats or replaces


@dataclass(frozen=True)
class StopPlan:
    order_type: str
    price: Number | None = None
    percent: Number | None = None
    price_type: str = "bid"
    limit_price: Number | None = None
    limit_percent: Number | None = None
    trailing: bool = False
    trailing_percent: Number | None = None
    timeout: int | None = None
    breakeven: bool = False


@dataclass(frozen=True)
class TradePlan:
    kind: str
    entry: EntryPlan
    targets: tuple[TargetPlan, ...] = ()
    stop: StopPlan | None = None
    leverage: Number | None = None

    @property
    def long(self) -> bool:
        return self.kind in ("simple_buy", "smart_trade", "smart_sell")

    @property
    def simple(self) -> bool:
        return self.kind.startswith("simple")

    @property
    def own_funds(self) -> bool:
        return self.kind in ("smart_sell", "smart_buy")


# --- the exchange -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fill:
    quantity: Number
    price: Number
    fee_in_base: Number
    fee_in_quote: Number


@dataclass
class Order:
    number: int
    side: str
    quantity: Number
    price: Number | None
    filled: Number = ZERO
    alive: bool = True
    edit: int | None = None  # the edit that sent it, together with others

    @property
    def left(self) -> Number:
        return self.quantity - self.filled


class Exchange:
    """Market orders and marketable limit orders trade at the touch as taker, waiting orders at their own price as maker
    when the touch reaches them; a size that came with a quote is used up until the next one (EX-5)."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.orders: list[Order] = []
        self.quote: Quote | None = None
        self.used = {"buy": ZERO, "sell": ZERO}

    @property
    def book(self) -> list[Order]:
        return [order for order in self.orders if order.alive]

    def touch(self, side: str) -> Number:
        assert self.quote is not None
        return self.quote.ask if side == "buy" else self.quote.bid

    def offered(self, side: str, wanted: Number) -> Number:
        assert self.quote is not None
        size = self.quote.ask_size if side == "buy" else self.quote.bid_size
        return wanted if size is None else min(wanted, max(ZERO, size - self.used[side]))

    def reached(self, order: Order) -> bool:
        if order.price is None:
            return True
        touch = self.touch(order.side)
        return touch <= order.price if order.side == "buy" else touch >= order.price

    def send(self, side: str, quantity: Number, price: Number | None) -> tuple[Order, list[Fill]]:
        smallest = self.rules.min_market_total if price is None else self.rules.min_total
        worth = quantity * (self.touch(side) if price is None else price)
        if quantity < self.rules.min_lot or worth < smallest:
            raise OffThePage("the exchange would refuse this order")
        order = Order(len(self.orders) + 1, side, quantity, price)
        self.orders.append(order)
        fills = self._trade(order, self.touch(side), self.rules.taker_fee) if self.reached(order) else []
        if price is None:
            order.alive = False  # what a market order does not find, it does not wait for
        return order, fills

    def _trade(self, order: Order, price: Number, rate: Number) -> list[Fill]:
        quantity = self.offered(order.side, order.left)
        if quantity == 0:
            return []
        self.used[order.side] += quantity
        order.filled += quantity
        order.alive = order.left > 0
        if order.side == "buy" and self.rules.fee_in_base and not self.rules.futures:
            return [Fill(quantity, price, quantity * rate, ZERO)]
        return [Fill(quantity, price, ZERO, quantity * price * rate)]

    def move(self, quote: Quote) -> list[tuple[Order, Fill]]:
        """The market moves. Better prices trade first, then older orders."""
        self.quote = quote
        self.used = {"buy": ZERO, "sell": ZERO}
        done = []
        for side in ("buy", "sell"):
            waiting = [order for order in self.book if order.side == side and self.reached(order)]
            waiting.sort(key=lambda order: ((-1 if side == "buy" else 1) * (order.price or ZERO), order.number))
            for order in waiting:
                assert order.price is not None
                rivals = [one for one in waiting if one.price == order.price and one.edit == order.edit is not None]
                wanted = sum((rival.left for rival in rivals), ZERO)
                if len(rivals) > 1 and self.offered(side, wanted) < wanted:
                    raise OffThePage("which of the orders that an edit sent came first")
                done += [(order, fill) for fill in self._trade(order, order.price, self.rules.maker_fee)]
        return done


# --- the legs of a trade ----------------------------------------------------------------------------------------


@dataclass
class Leg:
    """A sub-trade (C-7)."""

    serial: int
    purpose: str
    status: str
    order: Order | None = None  # the newest
    fills: list[Fill] = field(default_factory=list)
    retry_at: int | None = None  # an exit that did not find enough tries again (EX-12)
    misses: int = 0  # attempts in a row that found nothing
    missed_since: int | None = None

    @property
    def filled(self) -> Number:
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def done(self) -> Number:
        """What counts as part of its units."""
        return self.filled

    @property
    def live(self) -> bool:
        return self.order is not None and self.order.alive


@dataclass
class Target(Leg):
    plan: TargetPlan = field(kw_only=True)
    position: int = field(kw_only=True)
    price: Number | None = field(kw_only=True)
    volume: Number = field(kw_only=True)
    units: Number | None = None
    extreme: Number | None = None
    carried: Number = ZERO  # what the step that an edit changed into this one had executed (E-26)

    @property
    def done(self) -> Number:
        return self.carried + self.filled

    @property
    def active(self) -> bool:
        return self.status in ("idle", "to_process", "order_placed", "trailing_activated") or self.on_its_way

    @property
    def on_its_way(self) -> bool:
        """Its market order is sent; the level has done its work (TR-24)."""
        return self.status == "panic_sell_order_placed" or (self.watched and self.status == "order_placed")

    @property
    def executed(self) -> bool:
        return self.status in ("finished", "panic_sold")

    @property
    def watched(self) -> bool:
        """Executes at market when its price is seen; otherwise it rests in the book (AR-2, TP-18)."""
        return self.plan.order_type == "market" or self.plan.trailing is not None


@dataclass
class Stop(Leg):
    plan: StopPlan = field(kw_only=True)
    level: Number | None = field(kw_only=True)  # configured, resolved or moved to breakeven
    limit_price: Number | None = None
    start: Number | None = None  # R0 of TR-50
    start_level: Number | None = None  # L0 of TR-50
    extreme: Number | None = None
    moved: Number | None = None  # breakeven level (BE-5)
    reached_at: int | None = None  # the timer (TR-60)
    armed: bool = False

    @property
    def watched(self) -> bool:
        return self.armed and self.status in ("idle", "to_process", "trailing_activated")


@dataclass
class Averaging(Leg):
    units: Number = field(kw_only=True)
    price: Number | None = field(kw_only=True)

    @property
    def open(self) -> bool:
        return self.status == "order_placed"


@dataclass
class Reduction(Leg):
    units: Number = field(kw_only=True)
    price: Number | None = field(kw_only=True)

    @property
    def open(self) -> bool:
        return self.status == "order_placed"


FINAL = ("finished", "stop_loss_finished", "panic_sold", "cancelled", "failed")


class SmartTrade:
    """One trade, from its creation on. Methods in capital order: what happens, what is asked, what follows, what is
    seen."""

    def __init__(self, plan: TradePlan, rules: Rules, quote: Quote) -> None:
        self.plan, self.rules, self.long = plan, rules, plan.long
        self.exchange = Exchange(rules)
        self.exchange.move(quote)
        self.now = 0
        self.serial = 0
        self.entry_side = "buy" if self.long else "sell"
        self.exit_side = "sell" if self.long else "buy"
        self.entry_plan = replace(plan.entry, units=down(plan.entry.units, rules.lot))  # EX-14
        self.check_creation()
        self.leverage = plan.leverage if rules.futures and plan.leverage is not None else ONE
        self.status = "created"
        self.news: list[tuple[Order, Fill | None]] = []  # executions that the exchange has not told us yet
        self.is_moving = False  # executions at a new price are heard; nothing is tested against it yet
        self.uncovered = ZERO  # volume without a target (M-23)
        self.targets_enabled = bool(plan.targets)
        self.breakeven_done = False
        self.averagings: list[Averaging] = []
        self.reductions: list[Reduction] = []
        self.market_close: Leg | None = None
        self.closed_units: Number | None = None
        self.profit: tuple[Number | None, Number] | None = None  # frozen: volume, percent
        self.entry_extreme: Number | None = None
        self.at_creation = self.touch_in if self.limit_entry_price() is None else plan.entry.price  # M-13
        self.own_price = ZERO
        self.entry = Leg(self.next_serial(), "position", "idle" if plan.own_funds else "to_process")
        self.targets = [self.new_target(step, position) for position, step in enumerate(plan.targets, start=1)]
        self.past_targets: list[Target] = []
        self.stop = None if plan.stop is None else self.new_stop(plan.stop)
        self.past_stops: list[Stop] = []
        self.begin()

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def new_target(self, step: TargetPlan, position: int) -> Target:
        return Target(
            self.next_serial(),
            "take_profit",
            "idle",
            plan=step,
            position=position,
            price=step.price,
            volume=step.volume,
        )

    def new_stop(self, plan: StopPlan) -> Stop:
        return Stop(self.next_serial(), "stop_loss", "idle", plan=plan, level=plan.price, limit_price=plan.limit_price)

    # --- what may be asked for ------------------------------------------------------------------------------------

    def check_creation(self) -> None:
        entry, plan = self.entry_plan, self.plan
        limit = self.limit_entry_price()
        price = self.touch_in if limit is None else limit
        self.check_order(entry.units, price if entry.order_type != "own" else None, at_market=limit is None)
        self.check_targets(plan.targets, entry.units, (entry.price if entry.order_type == "own" else None) or price)
        self.check_stop_beyond_targets(plan.targets, plan.stop)

    def check_order(self, units: Number, price: Number | None, *, at_market: bool) -> None:
        """EX-15."""
        if units < self.rules.min_lot:
            raise Refused("units")
        smallest = self.rules.min_market_total if at_market else self.rules.min_total
        if price is not None and units * price < smallest:
            raise Refused("total")

    def check_targets(self, targets: tuple[TargetPlan, ...], units: Number, entry_price: Number) -> None:
        """M-26: every step must be placeable, with the requested units less one taker commission."""
        fee = ZERO if self.plan.own_funds else self.rules.taker_fee  # what is there already pays none
        n = down(units * (1 - fee), self.rules.lot)
        shares = [down(n * step.volume / 100, self.rules.lot) for step in targets]
        covered = down(n * sum((step.volume for step in targets), ZERO) / 100, self.rules.lot)
        for index, (step, share) in enumerate(zip(targets, shares, strict=True)):
            share += covered - sum(shares) if index == 0 else 0
            price = step.price
            if price is None:
                assert step.percent is not None
                price = entry_price * (1 + abs(step.percent) / 100 * (1 if self.long else -1))
            at_market = step.order_type == "market" or step.trailing is not None
            smallest = self.rules.min_market_total if at_market else self.rules.min_total
            if share < self.rules.min_lot or share * price < smallest:
                raise Refused("units")

    def check_stop_beyond_targets(self, targets: tuple[TargetPlan, ...], stop: StopPlan | None) -> None:
        """TR-74."""
        prices = [step.price for step in targets if step.price is not None]
        if stop is None or stop.price is None or not prices:
            return
        if stop.price >= min(prices) if self.long else stop.price <= max(prices):
            raise Refused("stop_loss.conditional.price")

    # --- prices and sums ------------------------------------------------------------------------------------------

    @property
    def quote(self) -> Quote:
        assert self.exchange.quote is not None
        return self.exchange.quote

    @property
    def touch_in(self) -> Number:
        """Price of a market order of the entry."""
        return self.exchange.touch(self.entry_side)

    @property
    def touch_out(self) -> Number:
        """Price at which the position could be closed (C-6, M-48)."""
        return self.exchange.touch(self.exit_side)

    def better(self, *prices: Number) -> Number:
        """The stop level that protects more."""
        return max(prices) if self.long else min(prices)

    @property
    def entry_fills(self) -> list[Fill]:
        return [fill for leg in (self.entry, *self.averagings) for fill in leg.fills]

    @property
    def exit_legs(self) -> list[Leg]:
        stops = [*self.past_stops, *([] if self.stop is None else [self.stop])]
        close = [] if self.market_close is None else [self.market_close]
        return [*self.past_targets, *self.targets, *stops, *self.reductions, *close]

    @property
    def exit_fills(self) -> list[Fill]:
        return [fill for leg in self.exit_legs for fill in leg.fills]

    @property
    def a_in(self) -> Number:
        own = self.entry_plan.units if self.plan.own_funds and self.entry.status == "smart_sell" else ZERO
        if not self.long:
            return own + sum((fill.quantity for fill in self.entry_fills), ZERO)  # M-4
        return own + sum((fill.quantity - fill.fee_in_base for fill in self.entry_fills), ZERO)  # M-2, M-3

    @property
    def t_in(self) -> Number:
        own = self.a_in and self.own_amount * self.own_price  # M-9
        if self.long:
            return own + sum((fill.quantity * fill.price + fill.fee_in_quote for fill in self.entry_fills), ZERO)
        return own + sum((fill.quantity * fill.price - fill.fee_in_quote for fill in self.entry_fills), ZERO)

    @property
    def own_amount(self) -> Number:
        return self.entry_plan.units if self.plan.own_funds else ZERO

    @property
    def a_out(self) -> Number:
        return sum((fill.quantity for fill in self.exit_fills), ZERO)  # M-15

    @property
    def t_out(self) -> Number:
        if self.long:
            return sum((fill.quantity * fill.price - fill.fee_in_quote for fill in self.exit_fills), ZERO)
        return sum(
            (
                fill.quantity * fill.price + fill.fee_in_quote + fill.fee_in_base * fill.price
                for fill in self.exit_fills
            ),
            ZERO,
        )

    @property
    def open_amount(self) -> Number:
        return self.a_in - self.a_out

    def closable(self, amount: Number) -> bool:
        """C-6."""
        lots = down(amount, self.rules.lot)
        return lots >= max(self.rules.lot, self.rules.min_lot) and lots * self.touch_out >= self.rules.min_market_total

    @property
    def enter_price(self) -> Number:
        """E of 3.4 and 3.8 (TR-30, TR-35)."""
        return self.position_price() if self.plan.own_funds else self.t_in / self.a_in

    def resolve(self, percent: Number, *, gain: bool) -> Number:
        """A price in percent of the enter price, half up to the tick (TR-30)."""
        up_or_down = abs(percent) / 100 if gain == self.long else -abs(percent) / 100
        return half_up(self.enter_price * (1 + up_or_down), self.rules.tick)

    def on_tick(self, price: Number, side: str) -> Number:
        """A limit price: a buy is rounded down, a sell up (TR-9)."""
        return down(price, self.rules.tick) if side == "buy" else up(price, self.rules.tick)

    # --- what happens ---------------------------------------------------------------------------------------------

    def move(self, quote: Quote) -> None:
        """The market moves: fills first, then the triggers (TR-5)."""
        if not 0 < quote.bid <= quote.ask or quote.last <= 0:
            return  # TR-6
        self.news += self.exchange.move(quote)
        self.is_moving = True
        for word in list(self.news):  # what orders execute that are sent meanwhile is heard after the test (AR-3)
            if any(word is waiting for waiting in self.news):
                self.news.remove(word)
                self.hear(*word)
        self.is_moving = False
        self.settle()

    def wait(self, seconds: int) -> None:
        """Time passes at the same price."""
        until = self.now + seconds
        while (due := self.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.test_stop()  # before a target that tries again in the same instant (TR-5, TR-73)
            for leg in list(self.legs()):
                if leg.retry_at is not None and leg.retry_at <= self.now:
                    self.retry(leg)  # all are sent before the exchange is heard (C-9)
            self.settle()
        self.now = until

    def next_deadline(self) -> int | None:
        """The next attempt of an exit, or the end of the stop's timeout."""
        due = [leg.retry_at for leg in self.legs() if leg.retry_at is not None]
        stop = self.stop
        if stop is not None and stop.reached_at is not None and stop.watched and stop.plan.timeout is not None:
            due.append(stop.reached_at + stop.plan.timeout)
        return min(due, default=None)

    # --- entry ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The worker takes the trade (S-2 to S-6)."""
        entry = self.plan.entry
        if self.plan.own_funds:
            self.own_price = self.quote.last if entry.price is None else entry.price  # M-9
            self.entry.status = "smart_sell"
            self.status = "waiting_targets"
            self.arm_exits()
        else:
            self.status = "waiting_position"
            if entry.order_type == "conditional":
                self.choose_condition()
            elif entry.order_type == "limit":
                self.send_entry(self.limit_entry_price())
            else:
                self.send_entry(None)
        self.settle()

    def choose_condition(self) -> None:
        """TR-10: the direction is chosen once."""
        assert self.entry_plan.trigger is not None
        followed = self.quote.price(self.entry_plan.trigger_type)
        self.entry_rises = self.entry_plan.trigger > followed

    def limit_entry_price(self) -> Number | None:
        entry = self.entry_plan
        if entry.order_type in ("market", "own") or entry.price is None or entry.trailing is not None:  # V-10
            return None
        return self.on_tick(entry.price, self.entry_side)

    def send_entry(self, price: Number | None) -> None:
        self.entry.status = "order_placed"
        self.send(self.entry, self.entry_side, self.entry_plan.units - self.entry.filled, price)

    def test_entry(self) -> None:
        """TR-5 (2)."""
        entry = self.entry_plan
        if entry.order_type != "conditional" or self.entry.status not in ("to_process", "trailing_activated"):
            return
        price = self.quote.price(entry.trigger_type)
        assert entry.trigger is not None
        if self.entry.status == "to_process":
            if price < entry.trigger if self.entry_rises else price > entry.trigger:
                return
            if entry.trailing is None:
                self.send_entry(self.limit_entry_price())
                return
            self.entry.status, self.entry_extreme = "trailing_activated", price
        assert entry.trailing is not None
        assert self.entry_extreme is not None
        if self.long:  # TR-21, TR-22
            self.entry_extreme = min(self.entry_extreme, price)
            fires = price >= self.entry_extreme * (1 + entry.trailing / 100)
        else:
            self.entry_extreme = max(self.entry_extreme, price)
            fires = price <= self.entry_extreme * (1 - entry.trailing / 100)
        if fires:
            self.send_entry(None)

    def entry_filled(self) -> None:
        """S-7, S-9."""
        self.entry.status = "finished"
        if self.status != "waiting_position":
            return  # a sequence that runs closes this too (EX-20 step 4)
        if self.plan.simple:
            self.end("finished")
            return
        self.status = "waiting_targets"
        self.arm_exits()

    # --- exits ----------------------------------------------------------------------------------------------------

    def arm_exits(self) -> None:
        """AR-1 to AR-3."""
        if self.stop is not None:
            self.arm_stop()
        self.resolve_targets()
        self.size_targets()
        self.place_targets()

    def arm_stop(self) -> None:
        """From the first fill on (P-18); a percent is resolved again when the entry completes."""
        stop = self.stop
        if stop is None:
            return
        if stop.plan.percent is not None:
            stop.level = self.resolve(stop.plan.percent, gain=False)
        if stop.plan.limit_percent is not None:
            stop.limit_price = self.resolve(stop.plan.limit_percent, gain=False)  # TR-34
        stop.start_level = stop.level
        if not stop.armed and stop.plan.trailing:
            stop.start = stop.extreme = self.quote.price(stop.plan.price_type)
        stop.armed = True
        stop.status = "trailing_activated" if stop.plan.trailing else "to_process"  # 1.3: watched by the server

    def resolve_targets(self) -> None:
        """TR-30, and again after averaging (TR-31)."""
        for target in self.active_targets:
            self.resolve_target(target)

    def resolve_target(self, target: Target) -> None:
        if target.plan.percent is not None and target.extreme is None and not target.on_its_way:
            target.price = self.resolve(target.plan.percent, gain=True)

    @property
    def active_targets(self) -> list[Target]:
        return [target for target in self.targets if target.active]

    @property
    def reserved(self) -> Number:
        """What reductions under way will take (RF-4)."""
        return sum((step.units - step.filled for step in self.reductions if step.open), ZERO)

    def size_targets(self) -> None:
        """M-20: lots in proportion to the volumes, what the rounding leaves to the first step.

        What a step has executed already counts as part of its share (M-24), so that the steps add up to what is open;
        one that has executed more than its share keeps that, one whose market order is sent keeps its units, and the
        others share the rest.
        """
        decided = [target for target in self.active_targets if target.on_its_way and not self.has_heard_all(target)]
        sharing = [target for target in self.active_targets if target not in decided]
        lot = self.rules.lot
        to_share = self.open_amount - self.reserved - self.rests(decided)
        while sharing:
            n = down(to_share + sum((target.done for target in sharing), ZERO), lot)
            covered = sum((target.volume for target in sharing), ZERO)
            units = [down(n * target.volume / (covered + self.uncovered), lot) for target in sharing]
            units[0] += down(n * covered / (covered + self.uncovered) - sum(units, ZERO), lot)
            full = [target for target, share in zip(sharing, units, strict=True) if target.done > share]
            if not full:
                break
            for target in full:
                target.units = target.done
            sharing = [target for target in sharing if target not in full]
        else:
            return
        for target, share in zip(sharing, units, strict=True):
            target.units = share
        for target in self.active_targets:
            if not target.on_its_way:
                self.fail_if_too_small(target)
        for target in sharing:
            if target.on_its_way and target.units == target.done:
                raise OffThePage("whether a target at market is over before what is left is shared again")
            if target.on_its_way and not self.closable((target.units or ZERO) - target.done):
                self.executed_but_for_dust(target)  # it waited to try again (EX-12)
                return

    def fail_if_too_small(self, target: Target) -> None:
        """M-27, also when exits are placed again for a smaller amount (S-20)."""
        if not self.is_too_small(target):
            return
        if target.live or not self.has_heard_all(target) or (self.is_moving and target.order is not None):
            return  # it has failed when its order is out, of which the exchange speaks after the test (AR-3)
        if target.done:
            raise OffThePage("a step becomes too small after it was partly executed")
        target.status, target.units = "failed", None
        self.uncovered += target.volume  # M-23

    def is_too_small(self, target: Target) -> bool:
        assert target.units is not None
        rest, price = target.units - target.done, self.target_price(target)
        if target.done and rest < self.rules.lot:
            return False  # it has executed all of its share
        assert price is not None
        smallest = self.rules.min_market_total if target.watched else self.rules.min_total
        return rest < self.rules.min_lot or rest * price < smallest

    def fail_what_is_out(self) -> None:
        """What left the book because too little was left for it."""
        for target in self.active_targets:
            if target.order is not None and not target.watched and not target.on_its_way:
                self.fail_if_too_small(target)

    def target_price(self, target: Target) -> Number | None:
        if target.price is None or target.watched:
            return target.price
        return self.on_tick(target.price, self.exit_side)

    def place_targets(self) -> None:
        """Limit steps rest in the book (TP-2), the others are watched (TP-3). What rests as it should stays (EX-25)."""
        closed_before = self.a_out
        for target in self.active_targets:
            if target.watched and target.status == "idle":
                target.status = "to_process"
        resting = [target for target in self.active_targets if not (target.watched or target.on_its_way)]
        ready = [target for target in resting if not self.rests_as_it_should(target)]
        self.take_out(*ready)
        if self.a_out > closed_before and self.offers_too_much():
            self.size_targets()  # one that was to leave the book has executed more than its new share
            self.place_targets()
            return
        for target in ready:
            wanted = target.units - target.done
            if not target.active or wanted == 0 or self.is_too_small(target):
                continue  # it has executed all of its new share, or that is too small to be ordered
            target.status = "order_placed"
            self.send(target, self.exit_side, wanted, self.target_price(target))
        self.finish_shrunk()

    def rests(self, targets: list[Target]) -> Number:
        return sum(((target.units or ZERO) - target.done for target in targets), ZERO)

    def has_heard_all(self, target: Target) -> bool:
        return not any(order is target.order for order, _ in self.news)

    def offers_too_much(self) -> bool:
        """More than is open, and not on its way to a limit reduction."""
        return self.rests(self.active_targets) > down(self.open_amount - self.reserved, self.rules.lot)

    def finish_shrunk(self) -> None:
        """EX-2: a step that has executed all of a share that has become smaller is done."""
        for target in self.active_targets:
            if self.has_heard_all(target) and target.done and (target.units or ZERO) - target.done < self.rules.lot:
                self.take_out(target)
                self.target_filled(target)

    def rests_as_it_should(self, target: Target) -> bool:
        order = target.order
        if order is None or order.price != self.target_price(target):
            return False
        unheard = sum((fill.quantity for word, fill in self.news if word is order and fill is not None), ZERO)
        return (order.alive or unheard > 0) and target.done + unheard + order.left == target.units

    def test_targets(self) -> None:
        """TR-5 (5): all that this price reaches are sent, then executed."""
        for target in self.active_targets:
            if target.watched and self.target_fires(target):
                assert target.units is not None
                target.status = "order_placed"
                self.send(target, self.exit_side, target.units - target.done, None)

    def target_fires(self, target: Target) -> bool:
        if target.status not in ("to_process", "trailing_activated"):
            return False
        price = self.quote.price(target.plan.price_type)
        assert target.price is not None
        if target.status == "to_process":
            if price < target.price if self.long else price > target.price:
                return False
            if target.plan.trailing is None:
                return True
            target.status, target.extreme = "trailing_activated", price  # TP-5
        assert target.plan.trailing is not None
        assert target.extreme is not None
        target.extreme = max(target.extreme, price) if self.long else min(target.extreme, price)  # TR-42
        d = abs(target.plan.trailing) / 100
        return price <= target.extreme * (1 - d) if self.long else price >= target.extreme * (1 + d)

    def target_filled(self, target: Target) -> None:
        """TP-8, TP-11; S-13, S-14."""
        target.status = "panic_sold" if target.status == "panic_sell_order_placed" else "finished"
        target.units = max(target.units or ZERO, target.done)  # it keeps what it has executed beyond its share
        if self.status in ("stop_loss_in_progress", "panic_sell_pending", "cancellation_pending"):
            return  # the sequence that runs decides (S-17, S-24, S-29)
        self.move_to_breakeven()  # BE-1 asks for nothing else, so it is seen on a stop that ends with the trade too
        if not self.closable(self.open_amount):
            self.finish()
            return
        if not self.active_targets and self.stop is None and self.status == "waiting_targets":
            self.end("finished")  # a limit reduction lasts until it is filled or cancelled (Q-15, S-21)

    def finish(self) -> None:
        """S-14: nothing is left, unless averaging turns out to be filled while it is taken out: what that has bought
        keeps the exits, the stop above all (A-8)."""
        for leg in (*self.averagings, *self.reductions):
            if leg.open:
                self.take_out(leg)
            if leg.open:
                leg.status = "cancelled"
        has_exit = self.stop is not None or bool(self.active_targets)
        if self.status in FINAL:
            return
        if not has_exit or not self.closable(self.open_amount):
            self.end("finished")
            return
        self.status = "waiting_targets"
        self.resolve_targets()
        self.size_targets()
        self.place_targets()

    # --- stop loss ------------------------------------------------------------------------------------------------

    def trail_level(self, stop: Stop) -> Number:
        """TR-50, TR-51."""
        assert stop.extreme is not None
        assert stop.start is not None
        assert stop.start_level is not None
        percent = stop.plan.trailing_percent
        if percent is None:
            return stop.extreme * stop.start_level / stop.start
        distance = -abs(percent) / 100 if self.long else abs(percent) / 100
        return self.better(stop.start_level, stop.extreme * (1 + distance))

    def stop_level(self, stop: Stop) -> Number | None:
        """The level that counts now."""
        if stop.level is None:
            return None
        if stop.extreme is None:
            return stop.level
        return self.trail_level(stop) if stop.moved is None else self.better(self.trail_level(stop), stop.moved)  # BE-5

    def is_beyond(self, price: Number, stop: Stop) -> bool:
        """TR-3."""
        level = self.stop_level(stop)
        assert level is not None
        return price <= level if self.long else price >= level

    def test_stop(self) -> bool:
        """TR-5 (3), (4). Says whether the stop fired."""
        stop = self.stop
        if stop is None or not stop.watched:
            return False
        price = self.quote.price(stop.plan.price_type)
        held = stop.reached_at is not None and self.is_beyond(price, stop)  # TR-67
        if stop.extreme is not None:
            better = max(stop.extreme, price) if self.long else min(stop.extreme, price)
            if held and better != stop.extreme:  # TR-50 moves it, TR-67 says that it cannot happen
                raise OffThePage("a better price beyond the level of a trail that began past it")
            stop.extreme = better
        if not self.is_beyond(price, stop):
            stop.reached_at = None  # TR-61
            return False
        if stop.plan.timeout is not None:
            if stop.reached_at is None:
                stop.reached_at = self.now
            if self.now < stop.reached_at + stop.plan.timeout:
                return False
        self.fire_stop(stop)
        return True

    def fire_stop(self, stop: Stop) -> None:
        """EX-20: everything is cancelled, then what is open is closed."""
        self.status, closed_before = "stop_loss_in_progress", self.a_out
        self.cancel_legs(but=stop)
        if not self.closable(self.open_amount):
            if self.a_out > closed_before:
                stop.status = "cancelled"
                self.end("finished")  # S-17: a target was filled while it was being cancelled
            else:
                stop.status = "finished"
                self.end("stop_loss_finished")  # EX-18
            return
        stop.status = "order_placed"
        price = None
        if stop.plan.order_type == "limit" and not stop.plan.trailing:  # V-10
            assert stop.limit_price is not None
            price = self.on_tick(stop.limit_price, self.exit_side)
        self.send(stop, self.exit_side, down(self.open_amount, self.rules.lot), price)

    def move_to_breakeven(self) -> None:
        """BE-1 to BE-9: once, when the first step has been executed."""
        stop = self.stop
        if stop is None or not stop.plan.breakeven or self.breakeven_done:
            return
        self.breakeven_done = True  # BE-9
        new = self.enter_price
        new = up(new, self.rules.tick) if self.long else down(new, self.rules.tick)  # BE-2
        before, old = self.stop_level(stop), stop.level
        assert before is not None
        assert old is not None
        stop.moved = new
        stop.level = self.better(old, new)  # BE-4
        if stop.level != old and stop.limit_price is not None:
            stop.limit_price = self.on_tick(stop.limit_price * stop.level / old, self.exit_side)  # BE-6
        if self.stop_level(stop) != before:
            stop.reached_at = None  # BE-7

    # --- orders of a leg ------------------------------------------------------------------------------------------

    def send(self, leg: Leg, side: str, quantity: Number, price: Number | None) -> None:
        leg.retry_at = None
        leg.order, fills = self.exchange.send(side, quantity, price)
        self.news += [(leg.order, fill) for fill in fills]
        if price is None and leg.order.left:
            self.news.append((leg.order, None))

    def falls_short(self, leg: Leg) -> None:
        """EX-5: a market order found too little. What a quote offered is used up, so that resending finds nothing: an
        entry goes on with what it has, an exit tries again after 1, 2, 4 ... 30 s (EX-12)."""
        assert leg.order is not None
        if leg is self.entry:
            if self.status != "waiting_position":
                return  # it was still open when the stop fired, and is cancelled (P-18)
            if not self.closable(self.open_amount):
                raise OffThePage("a market entry finds too little to be a position")
            self.entry_filled()
            return
        if leg.status == "cancelled":
            return
        if isinstance(leg, Averaging):  # as an entry does: it goes on with what it has, or has failed
            leg.status = "finished" if leg.filled else "failed"
            if leg.filled:
                self.averaging_over()
            return
        if isinstance(leg, Reduction):  # it ends without complete execution (1.3); what it has executed counts (S-20)
            leg.status = "cancelled"
            self.reduction_over()
            return
        if isinstance(leg, Target):
            if not self.closable((leg.units or ZERO) - leg.done):
                self.executed_but_for_dust(leg)
                return
        elif not self.closable(self.open_amount):
            self.closed_but_for_dust(leg)
            return
        if leg.order.filled:
            leg.misses, leg.missed_since = 0, None
        leg.missed_since = self.now if leg.missed_since is None else leg.missed_since
        leg.retry_at = self.now + min(2**leg.misses, 30)
        leg.misses += 1
        if leg.retry_at >= leg.missed_since + 120:
            raise OffThePage("an exit finds nothing for two minutes")

    def closed_but_for_dust(self, leg: Leg) -> None:
        """EX-18."""
        leg.status = "finished"
        self.end("stop_loss_finished" if leg is self.stop else "panic_sold")

    def executed_but_for_dust(self, target: Target) -> None:
        """What a target at market could not close goes to the others."""
        if not target.done:
            raise OffThePage("a target at market has executed nothing and is dust")
        target.retry_at, rest = None, (target.units or ZERO) - target.done
        self.target_filled(target)
        if rest >= self.rules.lot and self.status in ("waiting_targets", "reduce_funds_in_progress"):
            self.size_targets()
            self.place_targets()

    def retry(self, leg: Leg) -> None:
        quantity = self.open_amount
        if isinstance(leg, Target):
            quantity = (leg.units or ZERO) - leg.done
        if not self.closable(quantity):
            if isinstance(leg, Target):
                self.executed_but_for_dust(leg)
            else:
                self.closed_but_for_dust(leg)
            return
        self.send(leg, self.exit_side, down(quantity, self.rules.lot), None)

    def force_process(self) -> None:
        """2.9: waiting back-offs are cleared; it never changes a decision."""
        if self.status in FINAL:
            raise Refused("force process")
        for leg in list(self.legs()):
            if leg.retry_at is not None:
                self.retry(leg)
        self.settle()

    def take_out(self, *legs: Leg) -> None:
        """Cancel their orders; what those executed before is heard first, in the order in which it happened (EX-20
        step 3). A market order that ended short is not tried again."""
        orders = [leg.order for leg in legs if leg.order is not None]
        for leg in legs:
            leg.retry_at = None
        for order in orders:
            order.alive = False
        while (word := next((word for word in self.news if word[0] in orders), None)) is not None:
            self.news.remove(word)
            if word[1] is not None:
                self.hear(*word)

    def legs(self) -> Iterator[Leg]:
        yield from (self.entry, *self.averagings, *self.exit_legs)

    def hear(self, order: Order, fill: Fill | None) -> None:
        """EX-2: a fill counts at once; a leg that is complete moves on. None: a market order ended short."""
        leg = next(leg for leg in self.legs() if leg.order is order)
        if fill is None:
            self.falls_short(leg)
            return
        leg.fills.append(fill)
        self.executed(leg)

    def executed(self, leg: Leg) -> None:
        assert leg.order is not None
        complete = leg.order.left < self.rules.lot  # EX-2
        if isinstance(leg, Target) and leg.units is not None:
            complete = leg.units - leg.done < self.rules.lot  # its units may have grown meanwhile (EX-25)
        if complete:
            leg.order.alive = False
        if self.status in FINAL:
            return
        if isinstance(leg, Target):
            if complete:
                self.target_filled(leg)
        elif isinstance(leg, Averaging):
            if complete:
                leg.status = "finished"
                self.averaging_over()
            elif self.status == "waiting_position":
                self.arm_stop()
        elif isinstance(leg, Reduction):
            if complete:
                leg.status = "finished"
                self.reduction_over()
        elif leg is self.entry:
            if complete:
                self.entry_filled()
            elif self.status == "waiting_position":  # what fired stays where it fired (EX-20 step 3)
                self.arm_stop()
        elif complete:
            leg.status = "finished"
            self.end("stop_loss_finished" if leg is self.stop else "panic_sold")  # S-16, S-25

    def cancel_legs(self, but: Leg | None = None) -> None:
        """Everything that is still to come is cancelled (TP-12, SL-12, A-8, P-14)."""
        for leg in self.legs():
            if leg is but:
                continue
            self.take_out(leg)
            if leg.status in ("idle", "to_process", "order_placed", "trailing_activated", "panic_sell_order_placed"):
                leg.status = "cancelled"

    def end(self, status: str) -> None:
        for target in self.active_targets:
            if status == "finished" and target.done and not target.live and target.order and not target.order.left:
                target.status, target.units = "finished", target.done  # EX-2: others took what its share had grown by
        self.cancel_legs()
        self.status = status
        self.profit = self.final_profit()

    # --- hearing and testing --------------------------------------------------------------------------------------

    def settle(self) -> None:
        """All orders are sent, then levels are tested (AR-3); then the exchange is heard, one execution at a time."""
        self.test()
        self.fail_what_is_out()
        while self.news:
            self.hear(*self.news.pop(0))
            self.test()
            self.fail_what_is_out()

    def test(self) -> None:
        """TR-5: entry, stop, targets; if the stop fires the targets are not looked at."""
        self.test_entry()
        if not self.test_stop():
            self.test_targets()

    # --- averaging and reducing -----------------------------------------------------------------------------------

    def averaging_over(self) -> None:
        """A-4: targets given by percent and the units of all follow."""
        if self.status == "waiting_position":
            self.arm_stop()
            return
        if self.status in ("waiting_targets", "reduce_funds_in_progress"):
            self.resolve_targets()
            self.size_targets()
            self.place_targets()

    def reduction_over(self) -> None:
        """S-20."""
        if self.status != "reduce_funds_in_progress":
            return
        if not self.closable(self.open_amount):
            self.finish()
            return
        self.status = "waiting_targets"
        self.size_targets()
        self.place_targets()

    # --- commands -------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """S-10, S-26, S-28; once it is being closed it can no longer be cancelled."""
        if self.status in FINAL or self.status == "panic_sell_in_progress":
            raise Refused("cancel")
        self.status = "cancellation_pending"
        self.cancel_legs()
        self.end("cancelled")

    def close_at_market(self) -> None:
        """2.8."""
        if self.status not in ("waiting_targets", "stop_loss_in_progress", "reduce_funds_in_progress"):
            raise Refused("close")
        self.status = "panic_sell_pending"
        self.cancel_legs()
        if not self.closable(self.open_amount):
            self.end("finished" if self.a_out else "failed")  # MC-6
            return
        self.closed_units = down(self.open_amount, self.rules.lot)
        self.market_close = Leg(self.next_serial(), "market_close", "order_placed")
        self.status = "panic_sell_in_progress"
        self.send(self.market_close, self.exit_side, self.closed_units, None)
        self.settle()

    def force_start(self) -> None:
        """P-9 to P-13."""
        if self.entry.status not in ("to_process", "order_placed", "trailing_activated"):
            raise Refused("force start")
        self.take_out(self.entry)
        rest = self.entry_plan.units - self.entry.filled
        if self.entry.filled and (rest < self.rules.min_lot or rest * self.touch_in < self.rules.min_market_total):
            self.entry_filled()  # P-12
        else:
            self.entry.status = "panic_sell_order_placed"
            self.send(self.entry, self.entry_side, rest, None)
        self.settle()

    def add_funds(self, units: Number, price: Number | None) -> None:
        if self.status not in ("waiting_position", "waiting_targets") or self.plan.simple:
            raise Refused("add funds")
        trailing_entry = self.entry_plan.trailing is not None and self.entry.status != "finished"
        if trailing_entry or any(target.status == "trailing_activated" for target in self.targets):  # F-3
            raise Refused("add funds")
        units = down(units, self.rules.lot)
        limit = None if price is None else self.on_tick(price, self.entry_side)
        self.check_order(units, self.touch_in if limit is None else limit, at_market=limit is None)  # F-1
        leg = Averaging(self.next_serial(), "position", "order_placed", units=units, price=limit)
        self.averagings.append(leg)
        self.send(leg, self.entry_side, units, limit)
        self.settle()

    @property
    def most_to_reduce(self) -> Number:
        """M-30, M-31."""
        level = None if self.stop is None else self.stop_level(self.stop)
        prices = [price for target in self.active_targets if (price := self.target_price(target)) is not None]
        price = level if level is not None else min(prices, default=self.touch_out)
        return max(ZERO, self.open_amount - self.rules.min_market_total / price)

    def reduce_funds(self, units: Number, price: Number | None) -> None:
        if self.status != "waiting_targets" or self.plan.simple:
            raise Refused("reduce funds")
        limit = None if price is None else self.on_tick(price, self.exit_side)
        if units > self.most_to_reduce:
            raise Refused("entered_amount")  # M-32
        units = down(units, self.rules.lot)  # M-33
        self.check_order(units, self.touch_out if limit is None else limit, at_market=limit is None)
        leg = Reduction(self.next_serial(), "reduce_funds", "order_placed", units=units, price=limit)
        self.reductions.append(leg)
        self.status = "reduce_funds_in_progress"
        if not self.closable(self.open_amount - units):
            raise OffThePage("what a reduction would leave is dust")
        self.take_out(*(target for target in self.active_targets if not target.on_its_way))  # RF-2
        self.send(leg, self.exit_side, units, limit)
        if limit is not None:
            self.size_targets()  # RF-4
            self.place_targets()
        self.settle()

    def find(self, serial: int) -> Leg:
        return next(leg for leg in self.legs() if leg.serial == serial)

    def close_leg(self, serial: int) -> None:
        """TP-9 to TP-11, A-6."""
        leg = self.find(serial)
        can_be = ("to_process", "order_placed", "trailing_activated")
        if not isinstance(leg, Target | Averaging) or leg.status not in can_be:
            raise Refused("sub-trade close")
        self.take_out(leg)
        assert leg.units is not None
        rest = leg.units - leg.done
        side = self.exit_side if isinstance(leg, Target) else self.entry_side
        if rest < self.rules.min_lot or rest * self.exchange.touch(side) < self.rules.min_market_total:
            raise OffThePage("too little is left of a sub-trade to close it")
        if isinstance(leg, Target):
            leg.status = "panic_sell_order_placed"
        self.send(leg, side, rest, None)
        self.settle()

    def cancel_leg(self, serial: int) -> None:
        leg = self.find(serial)
        if self.status in FINAL:
            raise Refused("sub-trade cancel")
        if isinstance(leg, Target) and leg.active and leg.status != "panic_sell_order_placed":  # TP-10
            self.cancel_target(leg)
        elif isinstance(leg, Stop) and leg is self.stop and leg.status in ("idle", "to_process", "trailing_activated"):
            leg.status = "cancelled"
            self.past_stops.append(leg)
            self.stop = None
            if not self.active_targets:
                self.cancel()
        elif isinstance(leg, Averaging) and leg.open:
            self.cancel_order(leg)
            if leg.filled:
                self.averaging_over()
        elif isinstance(leg, Reduction) and leg.open:
            self.cancel_order(leg)
            self.reduction_over()  # RF-6
        else:
            raise Refused("sub-trade cancel")
        self.settle()

    def cancel_target(self, target: Target) -> None:
        """X-1 to X-3."""
        done = target.done / target.units if target.units else ZERO
        self.uncovered += target.volume * (1 - done)  # what it has executed needs no target any more
        self.cancel_order(target)
        if self.active_targets:
            return
        self.targets_enabled = False
        if self.stop is None:
            self.cancel()

    def cancel_order(self, leg: Leg) -> None:
        self.take_out(leg)
        leg.status = "cancelled"

    # --- edits ----------------------------------------------------------------------------------------------------

    def edit(
        self,
        *,
        targets: tuple[TargetPlan, ...] | None = None,
        stop: StopPlan | bool | None = None,
        units: Number | None = None,
        price: Number | None = None,
        condition: EntryPlan | None = None,
    ) -> None:
        """Section 6. A group that is None is absent; `targets` () and `stop` False turn a group off (E-3).

        condition   trigger, its price type and the trailing of a conditional entry
        """
        before = deepcopy(self.__dict__)
        try:
            self.try_edit(targets, stop, units, price, condition)
        except Refused:
            self.__dict__ = before  # all or nothing (E-2)
            raise

    def try_edit(
        self,
        targets: tuple[TargetPlan, ...] | None,
        stop: StopPlan | bool | None,
        units: Number | None,
        price: Number | None,
        condition: EntryPlan | None,
    ) -> None:
        if self.status not in ("waiting_position", "waiting_targets"):
            raise Refused("edit")
        if self.plan.simple and (targets or stop):
            raise Refused("simple")
        volumes = self.check_edit(targets, stop)
        replaced = self.edit_position(units, price, condition)
        resting = [target.order for target in self.active_targets if target.order is not None and target.live]
        if targets is not None:
            self.edit_targets(targets, volumes)
        if stop is False:
            self.replace_stop(None)
        elif isinstance(stop, StopPlan):
            self.edit_stop(stop)
        if targets is not None or isinstance(stop, StopPlan):
            self.check_sides()
        resized = any(target.live and not self.rests_as_it_should(target) for target in self.active_targets)
        waits = replaced or resized or any(not order.alive for order in resting)
        sent_before = len(self.exchange.orders)
        if not (waits and self.test_stop()):  # EX-25: the stop is watched in between
            if replaced:
                self.send_entry(self.limit_entry_price())  # E-14
            if targets is not None and self.status == "waiting_targets":
                self.place_targets()
                for order in self.exchange.orders[sent_before:]:
                    order.edit = sent_before
        self.settle()
        if targets is not None:
            self.check_rivals(self.exchange.orders[sent_before:])

    def check_rivals(self, sent: list[Order]) -> None:
        """An order that replaces another waits for it to be out (EX-25); no rule says which goes before which."""
        at_once = [order for order in sent if self.exchange.reached(order)]
        if len(at_once) > 1 and any(order.left for order in at_once):
            raise OffThePage("which of the orders that an edit sent came first")

    def check_edit(self, targets: tuple[TargetPlan, ...] | None, stop: StopPlan | bool | None) -> list[Number]:
        """E-2: all of it, against what will be. Returns the volumes to be stored."""
        volumes: list[Number] = []
        executed = [target for target in self.targets if target.executed]
        after = self.unexecuted(targets) if targets is not None else [target.plan for target in self.active_targets]
        if targets:
            volumes = self.edited_volumes(after, executed)
            if any(step.trailing is not None for step in after[:-1]) or len(executed) + len(after) > 8:  # E-28
                raise Refused("take_profit")
        if isinstance(stop, StopPlan):
            self.check_stop_beyond_targets(tuple(after), stop)
            if stop.breakeven and len(executed) + len(after) < 2:  # BE-0
                raise Refused("stop_loss[breakeven]")
        elif stop is None and self.stop is not None and targets and not self.is_provisional(self.stop):
            self.check_stop_beyond_targets(tuple(after), replace(self.stop.plan, price=self.stop.level))
        return volumes  # a stop that is not in the request stays, with its breakeven (E-3)

    def unexecuted(self, targets: tuple[TargetPlan, ...]) -> list[TargetPlan]:
        """E-23: executed steps may be repeated, and are ignored."""
        executed = {target.serial for target in self.targets if target.executed}
        return [step for step in targets if step.keeps not in executed]

    def edited_volumes(self, given: list[TargetPlan], executed: list[Target]) -> list[Number]:
        """E-24."""
        s = sum((step.volume for step in given), ZERO)
        f = sum((target.volume for target in executed), ZERO)
        if is_whole(s + f + self.uncovered) or is_whole(s + f):
            return [step.volume for step in given]
        if is_whole(s):
            return [step.volume * (HUNDRED - f) / HUNDRED for step in given]
        raise Refused("take_profit[steps]")

    def edit_targets(self, targets: tuple[TargetPlan, ...], volumes: list[Number]) -> None:
        """E-20 to E-27."""
        executed = [target for target in self.targets if target.executed]
        wanted: list[Target] = []
        f = sum((target.volume for target in executed), ZERO)
        for number, (step, volume) in enumerate(zip(self.unexecuted(targets), volumes, strict=True), 1):
            old = next((target for target in self.active_targets if target.serial == step.keeps), None)
            position = len(executed) + number
            if old is not None and self.same_target(old, step, volume):
                old.position = position
                wanted.append(old)
            else:
                new = self.new_target(replace(step, volume=volume), position)
                if old is not None and old.units:
                    if volume < old.volume * old.done / old.units:
                        raise Refused("take_profit[steps]")  # E-26
                    new.carried = old.done
                wanted.append(new)
        if targets and not is_whole(sum(volumes, ZERO) + f + self.uncovered):
            self.uncovered = ZERO
        for target in self.active_targets:
            if target not in wanted:
                self.cancel_order(target)
        gone = [target for target in self.targets if not target.executed and target not in wanted]
        self.past_targets += gone
        self.targets = [*executed, *wanted]
        self.targets_enabled = bool(targets)
        for number, target in enumerate(executed, start=1):
            target.position = number
        if self.status == "waiting_position" and wanted:
            limit = self.limit_entry_price()
            entry_price = self.touch_in if limit is None else limit
            self.check_targets(tuple(target.plan for target in wanted), self.entry_plan.units, entry_price)  # EX-15
        if self.status == "waiting_targets":
            for target in wanted:
                if target.status == "idle":
                    self.resolve_target(target)
            self.size_targets()
            waiting = [target for target in wanted if not target.on_its_way]
            if any(target.status == "failed" or self.is_too_small(target) for target in waiting):
                raise Refused("units")  # EX-15

    def check_sides(self) -> None:
        """TR-74 with what percents have become; before the position is there they have become nothing (TR-30)."""
        prices = [target.price for target in self.active_targets if target.price is not None]
        level = None if self.stop is None else self.stop.level
        if level is None or not prices or self.stop is None or self.is_provisional(self.stop):
            return
        if level >= min(prices) if self.long else level <= max(prices):
            raise Refused("stop_loss.conditional.price")

    def is_provisional(self, stop: Stop) -> bool:
        """A percent of what is filled so far (P-18)."""
        return stop.plan.percent is not None and self.status == "waiting_position"

    def same_target(self, old: Target, step: TargetPlan, volume: Number) -> bool:
        """E-21. Trailing forces a market order (TP-18), and its sign means nothing (TR-46)."""

        def essence(plan: TargetPlan) -> tuple[object, ...]:
            at_market = plan.order_type == "market" or plan.trailing is not None
            percents = [None if percent is None else abs(percent) for percent in (plan.percent, plan.trailing)]
            return at_market, plan.price, plan.price_type, *percents

        if step.price is not None and step.price == old.price:
            step = replace(step, price=old.plan.price, percent=old.plan.percent)  # the present value (E-10)
        return essence(old.plan) == essence(step) and old.volume == volume

    def edit_stop(self, plan: StopPlan) -> None:
        """E-30, E-31: any difference makes a new sub-trade; a level or a trailing that is the same goes on."""
        old = self.stop
        any_executed = any(target.executed for target in self.targets)
        if old is None:
            self.replace_stop(self.new_stop(plan))
            if plan.breakeven and any_executed:
                self.breakeven_done = False
                self.move_to_breakeven()
            return
        same_level = self.same_level(old, plan)
        market = plan.trailing or plan.order_type == "market"
        was_market = old.plan.trailing or old.plan.order_type == "market"
        same_limit = market == was_market and (
            market
            or (plan.limit_percent is not None and same_percent(plan.limit_percent, old.plan.limit_percent))
            or (plan.limit_price is not None and plan.limit_price in (old.plan.limit_price, old.limit_price))
        )
        same_trail = plan.trailing == old.plan.trailing and same_percent(
            plan.trailing_percent, old.plan.trailing_percent
        )
        same_type = plan.price_type == old.plan.price_type
        others = (plan.timeout, plan.breakeven) == (old.plan.timeout, old.plan.breakeven)
        if same_level and same_limit and same_trail and same_type and others:
            return
        new = self.new_stop(plan)
        if same_level:
            if plan.percent is not None or old.plan.percent is None:  # else the value takes the percent's place (E-3)
                new.plan = replace(plan, price=old.plan.price, percent=old.plan.percent)
            new.level, new.moved = old.level, old.moved
            if same_limit:
                new.limit_price = old.limit_price
        if new.moved is not None and new.plan.trailing and not (same_trail and same_type):
            raise OffThePage("the ratio of a trailing that begins anew from a level that was moved")
        if same_level and same_trail and same_type:
            new.start, new.start_level, new.extreme = old.start, old.start_level, old.extreme
        self.replace_stop(new)
        if plan.breakeven and not old.plan.breakeven and any_executed:
            self.breakeven_done = False
            self.move_to_breakeven()

    def same_level(self, old: Stop, plan: StopPlan) -> bool:
        """E-10: the present value, or the one that was asked for."""
        if plan.percent is not None:
            return same_percent(plan.percent, old.plan.percent)
        return plan.price in (old.level, old.plan.price)

    def replace_stop(self, new: Stop | None) -> None:
        if self.stop is not None:
            self.cancel_order(self.stop)
            self.past_stops.append(self.stop)
        self.stop = new
        if new is not None and self.a_in > 0 and (self.status == "waiting_targets" or self.entry_fills):
            self.arm_edited_stop(new)

    def arm_edited_stop(self, stop: Stop) -> None:
        """A level that an edit keeps is not resolved again; a trailing that it keeps goes on (TR-53)."""
        kept_level, kept_limit, kept_trail = stop.level, stop.limit_price, (stop.start, stop.start_level, stop.extreme)
        self.arm_stop()
        if kept_level is not None:
            stop.level = stop.start_level = kept_level
        if kept_limit is not None:
            stop.limit_price = kept_limit
        if kept_trail[0] is not None:
            stop.start, stop.start_level, stop.extreme = kept_trail

    def edit_position(self, units: Number | None, price: Number | None, condition: EntryPlan | None) -> bool:
        """6.1 and E-10 to E-14. Says whether its order was taken out for a new one."""
        waits = self.entry.status == "to_process"
        wanted = self.entry_plan
        if units is not None and down(units, self.rules.lot) != wanted.units:
            wanted = self.edited_units(wanted, units, open_=waits and wanted.order_type == "conditional")
        if condition is not None:
            wanted = self.edited_condition(wanted, condition, waits=waits)
        if price is not None:
            wanted = self.edited_price(wanted, price)
        if wanted == self.entry_plan:
            return False
        moved = (wanted.trigger, wanted.trigger_type) != (self.entry_plan.trigger, self.entry_plan.trigger_type)
        self.entry_plan = wanted
        if self.entry.status in ("to_process", "order_placed"):
            limit = self.limit_entry_price()
            at_market = limit is None
            self.check_order(wanted.units, self.touch_in if limit is None else limit, at_market=at_market)
        if moved:
            self.choose_condition()  # E-12
        order = self.entry.order
        if not self.entry.live or order is None or order.price == self.limit_entry_price():
            return False
        self.take_out(self.entry)
        return True

    def edited_units(self, wanted: EntryPlan, units: Number, *, open_: bool) -> EntryPlan:
        if open_:
            return replace(wanted, units=down(units, self.rules.lot))
        if units in (self.plan.entry.units, self.a_in) or down(units, self.rules.lot) in (
            down(self.plan.entry.units, self.rules.lot),
            self.a_in,
        ):
            return wanted  # E-10
        raise Refused("position[units]")

    def edited_condition(self, wanted: EntryPlan, condition: EntryPlan, *, waits: bool) -> EntryPlan:
        asked = (condition.trigger, condition.trigger_type, condition.trailing)
        is_now = (wanted.trigger, wanted.trigger_type, wanted.trailing)
        first = self.plan.entry
        if asked == is_now:
            return wanted
        only_deviation = asked[:2] == is_now[:2] and asked[2] is not None
        if waits or (only_deviation and self.entry.status == "trailing_activated"):
            return replace(
                wanted,
                trigger=condition.trigger,
                trigger_type=condition.trigger_type,
                trailing=condition.trailing,
            )
        if asked == (first.trigger, first.trigger_type, first.trailing):
            return wanted  # E-10
        raise Refused("position[conditional]")

    def edited_price(self, wanted: EntryPlan, price: Number) -> EntryPlan:
        if self.plan.own_funds:
            if price not in (self.own_price, self.position_price()):
                self.own_price = price
            return wanted
        waits_or_rests = self.entry.status in ("to_process", "order_placed", "trailing_activated")
        limit = self.limit_entry_price()
        if waits_or_rests and limit is not None:
            return wanted if price in (wanted.price, limit) else replace(wanted, price=price)
        if price in (wanted.price, self.plan.entry.price, self.seen_position()["price"]):
            return wanted  # E-10
        if price == self.at_creation or (self.entry.status == "finished" and price == self.bare_price()):
            raise OffThePage("a price of the position that was shown and may not change")
        raise Refused("position[price]")

    def bare_price(self) -> Number | None:
        """Average enter price without commission (M-10)."""
        gross = sum((fill.quantity for fill in self.entry_fills), ZERO)
        return self.average(sum((fill.quantity * fill.price for fill in self.entry_fills), ZERO), gross)

    # --- money ----------------------------------------------------------------------------------------------------

    def open_profit(self) -> tuple[Number | None, Number]:
        """M-40, M-41, M-44."""
        if self.plan.simple or self.a_in == 0:
            return None, ZERO
        c = self.rules.taker_fee
        if self.long:
            volume = self.t_out + self.open_amount * self.quote.bid * (1 - c) - self.t_in
        else:
            volume = self.t_in - self.t_out - self.open_amount * self.quote.ask * (1 + c)
        return volume, half_up(volume / self.t_in * 100, Fraction(1, 100))

    def final_profit(self) -> tuple[Number | None, Number]:
        """M-45 to M-47."""
        if self.plan.simple or self.a_out == 0:
            return None, ZERO
        cost = self.t_in * self.a_out / self.a_in
        volume = self.t_out - cost if self.long else cost - self.t_out
        return volume, half_up(volume / cost * 100, Fraction(1, 100))

    # --- what is seen ---------------------------------------------------------------------------------------------

    def average(self, total: Number, amount: Number) -> Number | None:
        return down(total / amount, self.rules.tick) if amount else None

    def seen(self) -> dict[str, Any]:
        """Everything that a trader sees, by name; figures are exact."""
        volume, percent = self.open_profit() if self.profit is None else self.profit
        entered = [(fill.quantity * fill.price, fill.quantity) for fill in self.entry_fills]
        closed = [(fill.quantity * fill.price, fill.quantity) for fill in self.exit_fills]
        shows_entry = self.a_in > 0 and not self.plan.own_funds  # M-9
        gross = [sum((part[i] for part in entered), ZERO) for i in (0, 1)]
        gross_out = [sum((part[i] for part in closed), ZERO) for i in (0, 1)]
        return {
            "status": self.status,
            "entered_amount": self.a_in,
            "entered_total": self.t_in,
            "closed_amount": self.a_out,
            "closed_total": self.t_out,
            "average_enter_price": self.average(self.t_in, self.a_in) if shows_entry else None,
            "average_enter_price_without_commission": self.average(gross[0], gross[1]) if shows_entry else None,
            "average_close_price": self.average(self.t_out, self.a_out),
            "average_close_price_without_commission": self.average(gross_out[0], gross_out[1]),
            "profit": volume,
            "percent": percent,
            "roe": percent * self.leverage if self.rules.futures else None,  # M-43
            "margin": self.margin(),
            "flags": self.flags(),
            "position": self.seen_position(),
            "take_profit_enabled": self.targets_enabled,
            "legs": sorted((leg.serial, leg.purpose, leg.status, leg.filled) for leg in self.legs()),
            "targets": [self.seen_target(target) for target in self.shown_targets()],
            "stop": None if self.stop is None else self.seen_stop(self.stop),
            "orders": sorted(
                (order.side, order.price, order.quantity, order.filled) for order in self.exchange.book if order.price
            ),
        }

    def margin(self) -> tuple[Number, Number] | None:
        """M-50."""
        if not self.rules.futures or self.a_in == 0:
            return None
        price = down(self.position_price(), self.rules.tick)
        return self.open_amount / self.leverage, self.open_amount * price / self.leverage

    def flags(self) -> dict[str, bool]:
        """The table of action flags in section 2.1."""
        status, entry = self.status, self.entry.status
        waits, open_ = status == "waiting_position", status == "waiting_targets"
        reducing, stopping = status == "reduce_funds_in_progress", status == "stop_loss_in_progress"
        trailing_entry = self.entry_plan.trailing is not None and entry not in ("finished", "smart_sell")
        trailing = any(target.status == "trailing_activated" for target in self.targets)
        return {
            "editable": waits or open_,
            "panic_sell_available": open_ or reducing or stopping,
            "add_funds_available": (waits or open_) and not self.plan.simple and not trailing_entry and not trailing,
            "reduce_funds_available": open_ and not self.plan.simple,
            "force_start_available": waits and entry in ("to_process", "order_placed", "trailing_activated"),
            "force_process_available": status not in FINAL,
            "cancel_available": waits or open_ or reducing or stopping,
        }

    def seen_position(self) -> dict[str, Any]:
        """M-11 after the entry, M-13 before it."""
        over = self.entry.status in ("finished", "smart_sell", "cancelled")
        if over and self.a_in:
            return {
                "status": self.entry.status,
                "units": self.a_in,
                "price": self.position_price(),
                "total": half_up(self.t_in, Fraction(1, 10**8)),
            }
        limit = self.limit_entry_price()
        price, fixed = (self.touch_in, self.at_creation) if limit is None else (limit, limit)
        units = self.entry_plan.units
        return {"status": self.entry.status, "units": units, "price": price, "total": units * fixed}

    def position_price(self) -> Number:
        if self.plan.own_funds and not self.entry_fills:
            return self.own_price
        return down(self.t_in / self.a_in, self.rules.tick)

    def shown_targets(self) -> list[Target]:
        """TP-12, TP-19."""
        if self.status in ("cancelled", "failed"):
            return []
        return [target for target in self.targets if target.status != "cancelled"]

    def seen_target(self, target: Target) -> dict[str, Any]:
        price, units = self.target_price(target), None if target.status == "failed" else target.units
        return {
            "serial": target.serial,
            "position": target.position,
            "status": target.status,
            "volume": target.volume,
            "units": units,
            "price": price,
            "total": None if units is None or price is None else units * price,  # M-21
            "filled": target.filled,
            "extreme": target.extreme if target.status == "trailing_activated" else None,
        }

    def seen_stop(self, stop: Stop) -> dict[str, Any]:
        market, limit = stop.plan.trailing or stop.plan.order_type == "market", stop.limit_price  # V-10
        units = None
        if stop.status in ("to_process", "trailing_activated", "order_placed"):
            units = stop.filled + down(max(self.open_amount, ZERO), self.rules.lot)  # SL-14
        elif stop.status != "idle":
            units = stop.filled
        return {
            "status": stop.status,
            "level": stop.level,
            "limit": None if market or limit is None else self.on_tick(limit, self.exit_side),  # TR-9
            "units": units,
            "extreme": stop.extreme if stop.status == "trailing_activated" else None,
            "trigger": self.stop_level(stop) if stop.status in ("to_process", "trailing_activated") else None,
        }

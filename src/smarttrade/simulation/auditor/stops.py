"""Rule 1: no position without its stop. Levels and extremes of the auditor's own, beside those of the server.

What the server may have missed is known as two bounds. The *sure* extreme is one that the server must know of: a
price that it was told after the commit that armed the trail, and not in the last moments before a death. The *possible*
one is the best that it may know of. A stop must fire when the sure level is reached, and may fire when the possible one
was.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from smarttrade.simulation.auditor.books import (
    HUNDRED,
    SECOND,
    ZERO,
    Leg,
    Pair,
    PairKey,
    Price,
    Row,
    Sums,
    Trade,
    amount,
    ceil_to,
    floor_to,
    half_up_to,
    stored_sums,
)
from smarttrade.simulation.auditor.known import Known
from smarttrade.simulation.auditor.tables import WATCHING
from smarttrade.simulation.observer import Instant

MARGIN: Final[Instant] = 2 * SECOND
"""A price that is younger than the limit of TR-6 by this has to be decided on."""

SURE_AGAIN: Final[Instant] = 60 * SECOND
"""After a silence no trigger acts before the trade's orders are known again: two long pauses (EX-35, EX-31)."""

WORKING: Final[Instant] = 5 * SECOND
"""Prices that were told so long before a commit may have been too old for a decision at the commit, not before it."""

MAY_BE_LOST: Final[Instant] = 5 * SECOND
"""An extreme that is younger when the process dies, or was so at its last rest, may not be stored."""

SLACK: Final[Instant] = 2 * SECOND
"""Between the instant of a price and the instant at which the server worked it in."""

WATCHED: Final = ("to_process", "trailing_activated")


class Level:
    """What a committed stop says of its level: a fixed part, a part behind an extreme, or the better of both."""

    __slots__ = ("fixed", "long", "part", "whole")

    def __init__(self, stop: Row, *, long: bool) -> None:
        self.long = long
        configured, breakeven = _price(stop, "configured_price"), _price(stop, "breakeven_price")
        self.part = self.whole = ZERO  # level behind the extreme: extreme x part / whole
        self.fixed = self._better(configured, breakeven)
        if stop.get("trailing"):
            percent, reference = _price(stop, "trailing_percent"), _price(stop, "reference_price")
            if percent is not None:  # TR-51
                self.part, self.whole = HUNDRED - percent if long else HUNDRED + percent, HUNDRED
            elif configured is not None and reference is not None:  # TR-50
                self.part, self.whole = configured, reference
                self.fixed = breakeven  # BE-5

    @property
    def trails(self) -> bool:
        return self.part > ZERO

    def at(self, extreme: Decimal | None) -> Decimal | None:
        """The level with this extreme. Exact: the quotient is carried further than any price."""
        if not self.trails or extreme is None:
            return self.fixed
        return self._better(self.fixed, extreme * self.part / self.whole)

    def reached(self, level: Decimal | None, price: Decimal) -> bool:
        return level is not None and (price <= level if self.long else price >= level)

    def _better(self, first: Decimal | None, second: Decimal | None) -> Decimal | None:
        if first is None or second is None:
            return second if first is None else first
        return max(first, second) if self.long else min(first, second)


class Watch:
    """A stop that has to be watched."""

    __slots__ = (
        "group", "held", "history", "level", "longest_run", "loose", "loose_since", "possible", "price_type", "row",
        "strict", "strict_since", "sure", "timeout", "touched", "trade",
    )  # fmt: skip

    def __init__(self, trade: Trade, stop: Row) -> None:
        self.trade = trade
        self.row = stop
        self.group: Any = None
        self.sure: Decimal | None = None
        self.possible: Decimal | None = None
        self.held: Decimal | None = None  # the sure extreme as it was when its level was reached (TR-67)
        self.history: list[tuple[Instant, Decimal]] = []  # when the sure extreme became what
        self.take(stop)

    def take(self, stop: Row) -> None:
        """The stop as it is committed now: level, price type and timeout; timers begin anew."""
        self.row = stop
        self.price_type: str = stop["price_type"]
        seconds = stop.get("timeout_seconds")
        self.timeout: Instant | None = None if seconds is None else seconds * SECOND
        self.level = Level(stop, long=self.trade.is_long)
        self.touched = False  # the possible level was reached since
        self.loose_since: Instant | None = None  # since when the possible level is reached
        self.strict_since: Instant | None = None  # since when the sure level is reached
        self.longest_run: Instant = -1
        self.fit()

    def follow(self, at: Instant, price: Decimal, stored_until: Instant, *, obliges: bool) -> None:
        """A new extreme? What was told until `stored_until` is surely stored."""
        if not self.level.trails or self.possible is None or self.sure is None:
            return
        long, changed = self.level.long, False
        if (price > self.possible) if long else (price < self.possible):
            self.possible, changed = price, True
        if obliges and ((price > self.sure) if long else (price < self.sure)):
            self.sure, changed = price, True
            while len(self.history) > 1 and self.history[1][0] <= stored_until:
                del self.history[0]
            self.history.append((at, price))
        if changed:
            self.fit()

    def fit(self) -> None:
        self.strict = self.level.at(self.sure)
        self.loose = self.level.at(self.possible)

    def forget_late(self, at: Instant, stored_until: Instant) -> None:
        """The process died: what it learnt at last may not have been stored, and timers are gone (EX-37, TR-64)."""
        while len(self.history) > 1 and self.history[-1][0] > stored_until:
            del self.history[-1]
        if self.history:
            self.sure = self.history[-1][1]
            self.fit()
        self.end_run(at)
        self.strict_since = None

    def end_run(self, at: Instant) -> None:
        if self.loose_since is not None:
            self.longest_run = max(self.longest_run, at - self.loose_since)
            self.loose_since = None


class Stops:
    """All stops that have to be watched, and what each owes."""

    def __init__(self, known: Known, max_price_age: Instant | None) -> None:
        self._known = known
        self._max_age = max_price_age
        self._watches: dict[int, Watch] = {}  # by trade
        self._of_pair: dict[PairKey, dict[int, Watch]] = {}
        self._owing: set[int] = set()  # trades to be looked at when the server rests

    # --- what is committed ----------------------------------------------------------------------------------------

    def committed(self, trade: Trade, before: Row | None) -> None:
        """Follow a commit of `trade`; `before` is its row until now."""
        stop = trade.row.get("stop")
        watch = self._watches.get(trade.id)
        old = None if before is None else before.get("stop")
        if stop is not None and stop is not old:
            if stop.get("fired") and not (old is not None and old["id"] == stop["id"] and old.get("fired")):
                self._check_fired(trade, stop, watch, before)
            self._check_percent(trade, stop, old, before)
            self._check_reference(trade, stop, old)
        self._check_breakeven(trade, stop, before)
        if stop is None or not self.is_wanted(trade, stop):
            if watch is not None:
                self._drop(trade)
            return
        if watch is None:
            watch = Watch(trade, stop)
            self._watches[trade.id] = watch
            self._of_pair.setdefault(trade.key, {})[trade.id] = watch
            self._open(watch, stop)
            self._test_recent(watch)
        elif stop != watch.row:
            self._changed(watch, stop, before)
        if stop["status"] not in WATCHED:
            self._owing.add(trade.id)

    def is_wanted(self, trade: Trade, stop: Row) -> bool:
        """Whether the stop of this committed state has to be watched (AR-1, P-18)."""
        row = trade.row
        if stop.get("fired") or stop["status"] in ("pending_cancellation", "cancelled", "finished", "order_placed"):
            return False
        if row.get("failing") is not None:
            return False
        if row["status"] in WATCHING:
            return True
        partial = row["status"] == "waiting_position" and row.get("protect_partial_entry", True)
        return partial and not trade.is_simple and trade.stored(entry=True).amount > ZERO

    def _drop(self, trade: Trade) -> None:
        del self._watches[trade.id]
        del self._of_pair[trade.key][trade.id]
        self._owing.discard(trade.id)

    def _changed(self, watch: Watch, stop: Row, trade_before: Row | None) -> None:
        """Another state of a stop that is watched: its timer starts anew only when its level has moved (BE-7).

        While the timer of a trail runs its extreme does not move (TR-67). That matters to one that began beyond its
        level and follows prices without leaving it: breakeven may be better than the level that its timer runs for.
        A percent of what is entered so far moves with every fill, and the timer runs on (P-18, TR-65).
        """
        before = watch.row
        if before["id"] == stop["id"] and _same_level(before, stop):
            watch.row = stop
            return
        since, strict_since, level, run = watch.loose_since, watch.strict_since, watch.strict, watch.longest_run
        watch.take(stop)
        self._open(watch, stop)
        if before["id"] == stop["id"]:
            if watch.strict == level:
                watch.loose_since = since
                if Level(before, long=watch.level.long).at(watch.held) == watch.level.at(watch.held):
                    watch.strict_since = strict_since
            elif _is_resolved_again(before, stop, trade_before):
                watch.loose_since, watch.strict_since, watch.longest_run = since, strict_since, run
                self._test_newest(watch)
        self._test_recent(watch)

    def _test_newest(self, watch: Watch) -> None:
        """End what the newest price ends at the level as it is now (TR-61)."""
        newest = self._known.pairs[watch.trade.key].newest
        if newest is None:
            return
        followed = newest.of(watch.price_type)
        if not watch.level.reached(watch.strict, followed):
            watch.strict_since = None
        if not watch.level.reached(watch.loose, followed) and self._is_fresh(watch.trade, newest, self._known.now):
            watch.end_run(self._known.now)

    def _open(self, watch: Watch, stop: Row) -> None:
        """The extreme of a trail that begins, or goes on under another stop (TR-53)."""
        group = _group(stop)
        if group == watch.group:
            return
        watch.group = group
        if group is None:
            watch.sure = watch.possible = None
            watch.history = []
        else:
            start = _price(stop, "reference_price")
            watch.sure = watch.possible = start
            watch.history = [] if start is None else [(self._known.now, start)]
            for price in self._recent(watch.trade):
                followed = price.of(watch.price_type)
                if watch.possible is not None:
                    better = max if watch.trade.is_long else min
                    watch.possible = better(watch.possible, followed)
        watch.fit()

    # --- prices ---------------------------------------------------------------------------------------------------

    def moved(self, key: PairKey, price: Price) -> None:
        """The server is told of a usable price."""
        for watch in self._of_pair.get(key, {}).values():
            followed = price.of(watch.price_type)
            if watch.level.trails:
                watch.follow(price.at, followed, self._stored_until, obliges=self._is_followed(price))
            if not price.decides:
                continue
            self._test(watch, price.at, followed, obliges=price.obliges)
            if watch.strict_since is not None or watch.row["status"] not in WATCHED:
                self._owing.add(watch.trade.id)

    @property
    def _stored_until(self) -> Instant:
        """Extremes that were told by then are surely stored: nothing rests while the disk is full."""
        return min(self._known.now, self._known.rested_at) - MAY_BE_LOST

    def _is_followed(self, price: Price) -> bool:
        """Whether extremes follow it however old it is when it is worked in (TR-6, TR-50); not from before a start."""
        began_at = self._known.began_at
        return self._max_age is None or (began_at is not None and price.stamp >= began_at)

    def _test(self, watch: Watch, at: Instant, followed: Decimal, *, obliges: bool) -> None:
        level = watch.level
        if level.reached(watch.loose, followed):
            watch.touched = True
            if watch.loose_since is None:
                watch.loose_since = at
        else:
            watch.end_run(at)
        if not level.reached(watch.strict, followed):
            watch.strict_since = None
        elif watch.strict_since is None and obliges:
            watch.strict_since, watch.held = at, watch.sure

    def _test_recent(self, watch: Watch) -> None:
        """A level that was set is tested at once against the newest price that is not too old (AR-3)."""
        for price in self._recent(watch.trade):
            followed = price.of(watch.price_type)
            if price.decides and watch.level.reached(watch.loose, followed):
                watch.touched = True
                watch.loose_since = watch.loose_since or price.at
        newest = self._known.pairs[watch.trade.key].newest
        if newest is not None and self._is_fresh(watch.trade, newest, self._known.now) and self._known.is_up:
            if watch.level.reached(watch.strict, newest.of(watch.price_type)):
                if watch.strict_since is None:
                    watch.strict_since, watch.held = self._known.now, watch.sure
                self._owing.add(watch.trade.id)

    def _recent(self, trade: Trade) -> Iterable[Price]:
        """Prices that may have been used for what is committed now; by some only extremes may have moved."""
        prices = self._known.pairs[trade.key].prices
        if self._max_age is None:  # the one that stood when all was stored, and what came since
            return list(prices)[-1 - sum(price.at >= self._known.rested_at for price in prices) :]
        since = min(self._known.now - self._max_age - WORKING, self._known.rested_at)
        return [price for price in prices if price.at >= since]

    def _is_fresh(self, trade: Trade, price: Price, at: Instant) -> bool:
        """At that instant so young, and told since our last fill, that a decision cannot be put off (TR-6, F39)."""
        if self._max_age is None:
            return True
        filled_at = self._known.pairs[trade.key].filled_at
        return price.obliges and at - price.stamp < self._max_age - MARGIN and price.stamp >= filled_at

    # --- deaths ---------------------------------------------------------------------------------------------------

    def died(self) -> None:
        self._owing.clear()
        for watch in self._watches.values():
            watch.forget_late(self._known.now, self._stored_until)
            watch.strict_since = None  # the next process knows of no price before its first

    def started(self) -> None:
        """Prices that were told during the start are decided on at its end (EX-36), if they may be by then (F39)."""
        for watch in self._watches.values():
            newest = self._known.pairs[watch.trade.key].newest
            if watch.strict_since is not None and newest is not None:
                decides = self._is_fresh(watch.trade, newest, self._known.now)
                watch.strict_since = self._known.now if decides else None

    def clock_was_set(self) -> None:
        """Timers go by the server's own time, which went on or leapt: nothing is owed at this instant."""
        for watch in self._watches.values():
            watch.strict_since = None

    # --- what is owed when the server rests -----------------------------------------------------------------------

    def at_rest(self) -> None:
        if not self._owing:
            return
        for trade_id in sorted(self._owing):
            watch = self._watches.get(trade_id)
            if watch is None or not self._owes(watch):
                self._owing.discard(trade_id)

    def _owes(self, watch: Watch) -> bool:
        """Whether the stop has to be looked at again at the next rest. Raises Violation."""
        known, trade, stop = self._known, watch.trade, watch.row
        pair = known.pairs[trade.key]
        newest = pair.newest
        if newest is None or not self._can_act(trade, pair):
            return False
        if stop["status"] not in WATCHED:
            if self._is_fresh(trade, newest, known.now) and newest.at >= trade.committed_at:
                known.violation("SL-2", f"an open position, and stop {stop['id']} is {stop['status']}", trade)
            return True
        if watch.strict_since is None:
            return False
        price = newest.of(watch.price_type)
        if not watch.level.reached(watch.strict, price):
            return False
        text = f"{watch.price_type} {price} is at or beyond the stop's level {watch.strict}"
        if watch.timeout is None:
            known.violation("TR-3", f"{text}, and it has not fired", trade)
        if stop.get("timer_started_at") is None:
            known.violation("TR-60", f"{text}, and no timer runs", trade)
        ends_at = watch.strict_since + watch.timeout
        decided = newest.at >= ends_at + SLACK or self._is_fresh(trade, newest, ends_at)  # TR-62, TR-63
        if known.now > ends_at + SLACK and decided:
            known.violation("TR-62", f"{text} since {watch.strict_since}, and it has not fired", trade)
        return True

    def _can_act(self, trade: Trade, pair: Pair) -> bool:
        """Something closable is open, and the server knows it and hears of the account's orders (C-6, EX-35)."""
        known = self._known
        if not known.hears(trade.account_id, SURE_AGAIN) or trade.lost:
            return False
        is_open = min(trade.open_amount(), trade.stored_open())
        return is_open > ZERO and pair.is_closable(is_open, long=trade.is_long)

    # --- checks of single commits ---------------------------------------------------------------------------------

    def _check_fired(self, trade: Trade, stop: Row, watch: Watch | None, before: Row | None) -> None:
        """A stop fires only after a price at its level, for the whole of its timeout (TR-3, TR-62)."""
        known = self._known
        if watch is None:
            watch = Watch(trade, stop)
            self._open(watch, stop)
            self._test_recent(watch)
        else:
            self._changed(watch, stop, before)
        if not watch.touched:
            for price in self._recent(trade):
                if price.decides:
                    self._test(watch, price.at, price.of(watch.price_type), obliges=False)
        if not watch.touched:
            text = f"stop {stop['id']} fired, and no price was at its level {watch.loose}"
            known.violation("TR-3", text, trade)
        if watch.timeout is None:
            return
        run = max(watch.longest_run, -1 if watch.loose_since is None else known.now - watch.loose_since)
        if run + SLACK < watch.timeout:
            text = f"stop {stop['id']} fired {run} us after its level was reached, timeout {watch.timeout}"
            known.violation("TR-62", text, trade)

    def _check_percent(self, trade: Trade, stop: Row, old: Row | None, before: Row | None) -> None:
        """A percent becomes a price at the average with commission (TR-30, P-18)."""
        percent, price = _price(stop, "percent"), _price(stop, "configured_price")
        if percent is None or price is None:
            return
        if old is not None and old.get("configured_price") == stop.get("configured_price"):
            return
        entry = enter_price(trade, self._known.pairs[trade.key], trade.stored(entry=True))
        if entry is None:
            self._known.violation("TR-30", "a percent stop has a price before anything was entered", trade)
        share = abs(percent) / HUNDRED
        tick = self._known.pairs[trade.key].rules.tick

        def at(average: Decimal) -> Decimal:
            return max(half_up_to(average * (1 - share if trade.is_long else 1 + share), tick), tick)

        if price != at(entry):
            earlier = _average_at_completion(trade, before)
            if earlier is None or price != at(earlier):
                self._known.violation("TR-30", f"{percent} % of {entry} is {at(entry)}, the stop has {price}", trade)

    def _check_reference(self, trade: Trade, stop: Row, old: Row | None) -> None:
        """A trail starts at a price that was told (TR-50)."""
        if _group(stop) is None or (old is not None and _group(old) == _group(stop)):
            return
        reference = _price(stop, "reference_price")
        prices = self._known.pairs[trade.key].prices
        told = [price.of(stop["price_type"]) for price in prices if price.decides]
        if reference not in told:
            text = f"the trail starts at {reference}, which was not a {stop['price_type']} of late"
            self._known.violation("TR-50", text, trade)

    def _check_breakeven(self, trade: Trade, stop: Row | None, before: Row | None) -> None:
        """BE-1 to BE-4: once a target is executed the stop is at the entry price or better.

        What averaging added in the same commit may have been heard of later, and moves it no more (BE-9, C-9).
        """
        old = None if before is None else before.get("stop")
        if stop is None or not stop.get("breakeven") or stop.get("fired"):
            return
        if trade.status in WATCHING and not trade.row.get("breakeven_done") and stop["status"] in WATCHED:
            done = [leg for leg in trade.legs.values() if _is_executed(leg)]
            if done and enter_price(trade, self._known.pairs[trade.key], trade.stored(entry=True)) is not None:
                self._known.violation("BE-1", f"target {done[0].id} is executed, and the stop has not moved", trade)
        moved = _price(stop, "breakeven_price")
        if moved is None or stop is old or (old is not None and old.get("breakeven_price") is not None):
            return
        pair, configured = self._known.pairs[trade.key], _price(stop, "configured_price")

        def expected(entered: Sums) -> Decimal | None:
            entry = breakeven(trade, pair, enter_price(trade, pair, entered))
            if entry is None or configured is None:
                return entry
            return max(entry, configured) if trade.is_long else min(entry, configured)

        now = expected(trade.stored(entry=True))
        if moved != now and (before is None or moved != expected(_entered_before_averaging(trade, before))):
            self._known.violation("BE-2", f"breakeven is {now}, the stop has {moved}", trade)


_LEVEL: Final = (
    "configured_price", "breakeven_price", "reference_price", "trailing", "trailing_percent", "timeout_seconds",
    "price_type",
)  # fmt: skip


def _same_level(first: Row, second: Row) -> bool:
    """Whether two states of a stop have the same level, timeout and trail."""
    return all(first.get(name) == second.get(name) for name in _LEVEL) and _group(first) == _group(second)


def _is_resolved_again(first: Row, second: Row, trade_before: Row | None) -> bool:
    """Whether a fill of the entry has moved a percent stop, and nothing else about it is new (P-18)."""
    if trade_before is None or trade_before["status"] != "waiting_position" or first.get("percent") is None:
        return False
    moved = {**first, "configured_price": second.get("configured_price")}
    return first["percent"] == second.get("percent") and _same_level(moved, second)


def _group(stop: Row) -> Any:
    """The group in which the stop trails."""
    trail = stop.get("trail")
    return None if trail is None else trail["group"]


def _price(stop: Row, name: str) -> Decimal | None:
    text = stop.get(name)
    return None if text is None else Decimal(text)


def _is_executed(leg: Leg) -> bool:
    return leg.purpose == "take_profit" and leg.status in ("finished", "panic_sold")


def enter_price(trade: Trade, pair: Pair, entered: Sums) -> Decimal | None:
    """E: the average with commission, uncut; own funds without averaging as given (TR-30, TR-35)."""
    if trade.is_own_funds:
        plan = trade.row["position"]["plan"]
        if entered.base == Decimal(plan["units"]):
            return amount(plan.get("price"))
        return None if entered.amount == ZERO else floor_to(entered.total / entered.amount, pair.rules.tick)
    return None if entered.amount == ZERO else entered.total / entered.amount


def _average_at_completion(trade: Trade, before: Row | None) -> Decimal | None:
    """The average without what averaging added in the commit that completed the entry: it came later, and moves no
    stop any more (TR-31)."""
    if before is None or before["position"]["status"] == "finished" or trade.row["position"]["status"] != "finished":
        return None
    entered = _entered_before_averaging(trade, before)
    return None if entered.amount == ZERO else entered.total / entered.amount


def _entered_before_averaging(trade: Trade, before: Row) -> Sums:
    """What is entered without what averaging has added since `before`."""
    entered = trade.stored(entry=True)
    entered.take(_averaged(trade.row))
    entered.add(_averaged(before))
    return entered


def _averaged(row: Row) -> Sums:
    """What averaging legs have entered."""
    sums = Sums()
    for leg in row.get("averaging", ()):
        for order in leg.get("orders", ()):
            sums.add(stored_sums(order.get("execution")))
    return sums


def breakeven(trade: Trade, pair: Pair, entry: Decimal | None) -> Decimal | None:
    """The entry price on the tick in the trader's favour (BE-2, BE-3)."""
    if entry is None:
        return None
    fee = pair.rules.taker_fee if trade.row.get("breakeven_covers_exit_fee") else ZERO
    if trade.is_long:
        return ceil_to(entry / (1 - fee), pair.rules.tick)
    return floor_to(entry / (1 + fee), pair.rules.tick)

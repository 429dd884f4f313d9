"""The trigger book of one instrument: which watched steps does this price wake?

A price update touches only what it moves.

* Prices are integers here, counted in the smallest price step; the rest of the product speaks `Decimal`. A level
  between two steps of the grid is rounded in the direction that changes no answer: comparisons are exact (TR-8).
* Per price type the book keeps the nearest prices below and above at which anything happens. An update between them
  costs one chained comparison, whatever the number of watches.
* Fixed levels lie in sorted lists. An entry is one integer with the level in its upper and the step in its lower bits.
* Trailing watches live in groups that share an extreme. A group opened earlier has seen every price that a later one
  has seen, so the groups of one direction form a stack ordered by extreme: a new extreme merges the groups at its top,
  small into large, which costs O(log N) per watch over its whole life. Within a group the watch nearest to the extreme
  fires first, wherever the extreme goes.
* A trailing line is extreme x numerator / denominator, never divided and never rounded (TR-50). Entries are sorted by
  the ratio cut to 56 bits, on the side that fires too early rather than too late; cross-multiplied integers decide
  where that is not enough.

Both directions share one code: a price is multiplied by a sign such that a watch fires when the signed price is at or
above a signed level. Signs are +1 for what fires on rising and -1 for what fires on falling prices; consequently the
signed extreme of a group is the lowest signed price that it has seen.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import compress
from math import floor
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from smarttrade.domain.events import WatchRole
from smarttrade.domain.quote import PriceType
from smarttrade.domain.watches import Watch
from smarttrade.engine.merged_ids import MergedIds
from smarttrade.engine.records import (
    CHOOSE,
    NOTES,
    STEPS,
    TAGS,
    TOPS,
    WATCHING,
    Kind,
    entries,
    float_below,
    rest_of_record,
    words,
)
from smarttrade.engine.sealed import SEGMENT_BYTES, Sealed, Segment
from smarttrade.engine.trail_groups import GroupInUse, Groups, GroupState, Trails, UnknownGroup
from smarttrade.engine.trigger_entries import (
    ID_BITS,
    ID_MASK,
    NEVER,
    Crossing,
    SortedEntries,
    check_id,
    price_of,
)

__all__ = ["Crossing", "GroupInUse", "GroupState", "PriceOffGrid", "TriggerBook", "UnknownGroup"]

# Level entry, from the top: signed level, list (3 bits), role (1 bit), step.
_LIST_SHIFT: Final = ID_BITS + 1
_LIST_MASK: Final = 7
_LEVEL_SHIFT: Final = _LIST_SHIFT + 3
_WATCH_MASK: Final = (1 << _LIST_SHIFT) - 1
_LEVEL_ROLES: Final = (WatchRole.LEVEL, WatchRole.RECOVERY)

_PRICE_TYPES: Final = tuple(PriceType)

_ROLE: Final = {Kind.LEVEL: WatchRole.LEVEL, Kind.TRAIL: WatchRole.TRAIL}

_step_id = attrgetter("step_id")


class PriceOffGrid(ValueError):
    """A market price that is not a multiple of the instrument's smallest price step."""


class TriggerBook:
    """All watches of one instrument, on its bid, ask and last price."""

    __slots__ = (
        "_decimals", "_feeds", "_groups", "_level_watches", "_levels", "_quiet", "_rounded", "_rounded_from", "_scale",
        "_sealed", "_steps_per_unit",
    )  # fmt: skip

    def __init__(self, price_decimals: int) -> None:
        """`price_decimals`: every market price is a multiple of 10^-price_decimals."""
        if price_decimals < 0:
            raise ValueError(f"price_decimals is negative: {price_decimals}")
        self._decimals = price_decimals
        self._scale: int = 10**price_decimals
        self._steps_per_unit = Decimal(self._scale)
        self._groups = Groups(price_decimals)
        self._level_watches: tuple[dict[int, int], dict[int, int]] = ({}, {})  # by role: step -> entry
        self._levels = [_Levels(number, self._level_watches, price_decimals) for number in range(2 * len(PriceType))]
        self._sealed = Sealed()
        self._quiet = [-NEVER, NEVER] * len(PriceType)  # nearest prices below and above, per price type
        self._rounded_from: list[int] = []  # the `_quiet` that `_rounded` was made from
        self._rounded: tuple[float, ...] = ()
        self._feeds = {
            price_type: _Feed(price_type, number, self._quiet, self._levels, self._groups)
            for number, price_type in enumerate(PriceType)  # in the order of the arguments of `update`
        }

    # -- watches

    def watch_level(
        self,
        step_id: int,
        role: WatchRole,
        price_type: PriceType,
        level: Decimal | Fraction,
        rises: bool,
        strict: bool = False,
    ) -> None:
        """Fire when the price is at or above `level` (`rises`), or at or below it; `strict` excludes equality.

        role   LEVEL or RECOVERY; a watch of this step in the same role is replaced
        level  quote asset per unit of base; needs not lie on the price grid (TR-8)

        A level that is already reached fires at the next update, whatever its price was before (TR-4).
        """
        check_id(step_id)
        threshold = _threshold(level, rises, strict, self._scale)
        self.unwatch(step_id, role)
        feed = self._feeds[price_type]
        levels = feed.rising if rises else feed.falling
        levels.add(step_id, _LEVEL_ROLES.index(role), threshold)
        feed.look_at(levels.sign, threshold)

    def watch_trail(self, step_id: int, group: int, numerator: Decimal, denominator: Decimal) -> None:
        """Fire when the price has come back to extreme x numerator / denominator of the group (TR-3, TR-50).

        group        as returned by `open_group`; it may have been merged since
        numerator    > 0, e.g. L0, or 100 - p
        denominator  > 0, e.g. R0, or 100

        A trailing watch of this step is replaced. Raises UnknownGroup.
        """
        check_id(step_id)
        if numerator <= 0 or denominator <= 0:
            raise ValueError(f"trailing ratio is not positive: {numerator} / {denominator}")
        self._open_for(step_id)
        root = self._groups.find(group)
        upper, upper_scale = numerator.as_integer_ratio()
        lower, lower_scale = denominator.as_integer_ratio()
        root.trails.watch(step_id, group, root, upper * lower_scale, upper_scale * lower)
        self._feeds[root.trails.price_type].look_at(root.trails.sign, root.line)

    def unwatch(self, step_id: int, role: WatchRole | None = None) -> None:
        """Forget the step's watch in this role, or all of its watches. Nothing happens if there is none."""
        self._open_for(step_id)
        for number, watches in enumerate(self._level_watches):
            if role is None or role is _LEVEL_ROLES[number]:
                entry = watches.pop(step_id, None)
                if entry is not None:
                    self._levels[entry >> _LIST_SHIFT & _LIST_MASK].entries.remove(entry)
        if role is None or role is WatchRole.TRAIL:
            self._groups.unwatch(step_id)

    def watches(self) -> Iterator[tuple[int, WatchRole]]:
        """Every live watch as (step, role)."""
        for records in self._sealed:
            for step_id, each in zip(words(records, "I")[STEPS], records[TAGS], strict=True):
                if each >> 3 in WATCHING:
                    yield step_id, _ROLE[Kind(each >> 3)]
        for role, watches in zip(_LEVEL_ROLES, self._level_watches, strict=True):
            yield from ((step_id, role) for step_id in watches)
        yield from ((step_id, WatchRole.TRAIL) for step_id in self._groups.watches)

    def __len__(self) -> int:
        """Number of live watches."""
        return self._sealed.watches + sum(map(len, self._level_watches)) + len(self._groups.watches)

    @property
    def stored_entries(self) -> int:
        """What the sorted lists and closed segments hold, and the ratios that fit into no entry."""
        lists = [levels.entries for levels in self._levels] + [root.entries for root in self._groups.roots.values()]
        return self._sealed.watches + sum(map(len, lists)) + len(self._groups.long_ratios)

    # -- prices

    def update(self, bid: Decimal, ask: Decimal, last: Decimal) -> list[Crossing]:
        """Take new prices; return the watches that are true at them, in the order of step ids, and forget these.

        Extremes move first, then levels are tested (TR-5). It is a test of the level, not of a crossing: the same
        prices again fire what was added since and is already true, and nothing else (TR-4).
        Raises PriceOffGrid; then nothing has changed.
        """
        return self.update_scaled(self._on_grid(bid), self._on_grid(ask), self._on_grid(last))

    def update_scaled(self, bid: int, ask: int, last: int) -> list[Crossing]:
        """`update` with prices counted in steps of 10^-price_decimals: the hot path."""
        bid_below, bid_above, ask_below, ask_above, last_below, last_above = self._quiet
        if bid_below < bid < bid_above and ask_below < ask < ask_above and last_below < last < last_above:
            return []
        crossings: list[Crossing] = []
        if self._sealed.watches:
            self._open_reached(bid, ask, last)
        for feed, price in zip(self._feeds.values(), (bid, ask, last), strict=True):
            feed.cross(price, crossings)
        if self._sealed.watches:
            self._look_at_sealed()
        crossings.sort(key=_step_id)
        return crossings

    def follow(self, bid: Decimal, ask: Decimal, last: Decimal) -> None:
        """Let extremes follow prices by which nothing may be decided: what is true at them fires at an update.

        Raises PriceOffGrid; then nothing has changed.
        """
        prices = self._on_grid(bid), self._on_grid(ask), self._on_grid(last)
        if self._sealed.watches:
            self._open_reached(*prices)
        for feed, price in zip(self._feeds.values(), prices, strict=True):
            feed.follow(price)
        if self._sealed.watches:
            self._look_at_sealed()

    def is_quiet(self, bid: float, ask: float, last: float) -> bool:
        """Whether `update` would surely return nothing and move nothing, for prices whose floats these are.

        Rounding to floats keeps the order of numbers: strictly between the floats of two levels is strictly between the
        levels. A price so close to a level that their floats are equal is not quiet, and has to be read exactly.
        """
        if self._rounded_from != self._quiet:
            self._rounded_from = self._quiet.copy()
            self._rounded = tuple(nearest / self._scale for nearest in self._quiet)
        bid_below, bid_above, ask_below, ask_above, last_below, last_above = self._rounded
        return bid_below < bid < bid_above and ask_below < ask < ask_above and last_below < last < last_above

    def _open_reached(self, *prices: int) -> None:
        """Look into the records in which something may be true at these prices."""
        for number, levels in enumerate(self._levels):
            for place in self._sealed.reached(number, levels.sign * prices[number // 2]):
                self._open(place)

    def _on_grid(self, price: Decimal) -> int:
        steps, rest = (price * self._steps_per_unit).as_integer_ratio()
        if rest != 1:
            raise PriceOffGrid(f"{price} has more than {self._decimals} decimals")
        return steps

    # -- trailing groups

    def open_group(self, group: int, price_type: PriceType, highest: bool, extreme: Decimal) -> int:
        """Start following the best price from `extreme` (> 0, on the grid) on, with one owner. Returns `group`.

        A group with the same extreme takes it in at once, as later a new extreme would; `group` stays a valid name.
        The extreme is expected to be the current price or a better one.
        Raises PriceOffGrid, ValueError if `group` is taken.
        """
        check_id(group)
        feed = self._feeds[price_type]
        trails = feed.highest if highest else feed.lowest
        start = self._on_grid(extreme)
        if start <= 0:
            raise ValueError(f"extreme is not positive: {extreme}")
        if group in self._groups:
            raise ValueError(f"group {group} is open already")
        root = trails.open(group, trails.sign * start)
        if root.id != group:
            self._groups.let_lead(group, root.id, root)
            self._groups.changed.add(group)
        feed.look_at(-trails.sign, -trails.edge)
        return group

    def hold_group(self, group: int) -> None:
        """Add an owner, e.g. for every trade that is loaded at start-up. Raises UnknownGroup."""
        self._groups.hold(group)

    def release_group(self, group: int) -> None:
        """Take one owner away. Without owners a group is dropped; ids merged away resolve until theirs are gone.

        Raises UnknownGroup, or GroupInUse if watches would be lost with the last owner.
        """
        self._groups.release(group)

    def extreme(self, group: int) -> Decimal | None:
        """Best price since the group was opened; None for a group that does not exist."""
        root = self._groups.resolve(group)
        return None if root is None else root.trails.price(root.signed_extreme)

    @property
    def has_changed_groups(self) -> bool:
        """Whether `take_changed_groups` would return any."""
        return self._groups.have_changed

    def take_changed_groups(self) -> list[GroupState]:
        """Groups that were opened, moved, merged or dropped since the last call, by id.

        A new extreme is one record, whatever the number of watches, and one for each group that was merged.
        """
        return self._groups.take_changed()

    def restore_groups(
        self,
        states: Iterable[GroupState],
        merged: MergedIds | None = None,
        counts: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        """Take all stored groups into a new book, merged ones too, in any order.

        merged  more of those that were merged
        counts  of those, how many lead directly to an id of this book

        Follow with `restore`, or with `hold_group` for every trade that has one, then `drop_unheld_groups`.
        Raises UnknownGroup if a merged group leads nowhere.
        """
        leading: dict[int, int] = {}
        for state in states:
            check_id(state.id)
            if state.merged_into is not None:
                leading[state.id] = state.merged_into
                continue
            feed = self._feeds[state.price_type]
            trails = feed.highest if state.highest else feed.lowest
            root = trails.open(state.id, trails.sign * self._on_grid(state.extreme))
            if root.id == state.id:
                self._groups.changed.discard(state.id)
            else:
                leading[state.id] = root.id
                self._groups.changed.add(state.id)
            feed.look_at(-trails.sign, -trails.edge)
        self._groups.restore_merged(MergedIds() if merged is None else merged, leading, counts)

    def restore(self, records: bytes) -> None:
        """Hold groups that have been restored, and watch what records say, in a book that has none of these steps' yet.

        They are looked into when their turn comes, see sealed.py. Raises UnknownGroup.
        """
        for start in range(0, len(records), SEGMENT_BYTES):
            self._seal(records[start : start + SEGMENT_BYTES])
        self._look_at_sealed()

    def _seal(self, records: bytes) -> None:
        """Hold the groups of a segment, and note where the first of its watches are."""
        tags, numbers = records[TAGS], words(records, "I")
        segment = Segment(records)
        for each in sorted(set(tags)):
            kind, number, chosen = Kind(each >> 3), each & 7, tags.translate(CHOOSE[each])
            if kind is Kind.LEVEL:
                segment.levels[number] = floor(min(compress(words(records, "f")[NOTES], chosen)))
            elif kind is Kind.TRAIL or kind is Kind.MEMBER:
                groups = self._groups.claim(array("I", compress(numbers[NOTES], chosen)))
                if kind is Kind.TRAIL:
                    lowest = min(compress(words(records, "q")[TOPS], chosen))
                    segment.trails[number] = lowest, min(group.signed_extreme for group in groups)
        self._sealed.add(segment)

    def _look_at_sealed(self) -> None:
        """Nothing in a closed segment fires at a price that lies nearer."""
        for number in range(len(self._levels)):
            feed = self._feeds[_PRICE_TYPES[number // 2]]
            feed.look_at(self._levels[number].sign, self._sealed.nearest(number))

    def open_some(self) -> bool:
        """Look into a few restored records, so that a price has less to do when it comes to them; False: no more.

        What fires at which price is the same with and without it.
        """
        place = self._sealed.any()
        if place is not None:
            self._open(place)
        return bool(self._sealed.watches)

    def _open(self, place: int) -> None:
        """Put what a segment watches where it belongs."""
        records = self._sealed.open(place)
        if not self._sealed.watches:
            self._sealed = Sealed()
        tags, numbers, all_entries = records[TAGS], words(records, "I"), entries(records)
        for each in sorted(set(tags)):
            kind, chosen = Kind(each >> 3), tags.translate(CHOOSE[each])
            if kind not in WATCHING:
                continue
            steps, found = list(compress(numbers[STEPS], chosen)), list(compress(all_entries, chosen))
            if kind is Kind.LEVEL:
                self._level_watches[0].update(zip(steps, found, strict=True))
                self._levels[each & 7].entries.extend(found)
            else:
                self._groups.extend(steps, list(compress(numbers[NOTES], chosen)), found)

    def _open_for(self, step_id: int) -> None:
        """Look into the records of a step that is about to change."""
        if self._sealed.watches:
            for place in self._sealed.holding(step_id):
                self._open(place)

    def drop_unheld_groups(self, merged: Iterable[int] = ()) -> None:
        """Drop what no trade holds any more, once all trades have been loaded. Raises GroupInUse.

        merged  ids that nobody has claimed, see `MergedIds`; some may belong to other books
        """
        self._groups.drop_unheld(merged)


def packed_level(watch: Watch, price_decimals: int) -> bytes:
    """The record of a fixed level, but for its run. Raises OverflowError for one that does not fit."""
    assert watch.level is not None
    number = 2 * _PRICE_TYPES.index(watch.price_type) + watch.rises
    threshold = _threshold(watch.level, watch.rises, watch.strict, 10**price_decimals)
    entry = _level_entry(threshold, number, _LEVEL_ROLES.index(watch.role), watch.step_id)
    return rest_of_record(Kind.LEVEL, watch.step_id, float_below(threshold), number, entry)


def _threshold(level: Decimal | Fraction, rises: bool, strict: bool, scale: int) -> int:
    """Lowest signed grid price that fires."""
    numerator, denominator = level.as_integer_ratio()
    floor, rest = divmod(numerator * scale if rises else -numerator * scale, denominator)
    return floor + 1 if strict or rest else floor


def _level_entry(threshold: int, number: int, role: int, step_id: int) -> int:
    return threshold << _LEVEL_SHIFT | number << _LIST_SHIFT | role << ID_BITS | step_id


class _Feed:
    """Everything that follows one price, and the nearest prices on both sides at which something happens."""

    __slots__ = ("_above", "_below", "_quiet", "falling", "highest", "lowest", "rising")

    def __init__(
        self, price_type: PriceType, number: int, quiet: list[int], levels: Sequence["_Levels"], groups: "Groups"
    ) -> None:
        """`quiet`: shared by all feeds; this one's are at 2 x number and 2 x number + 1, as are its `levels`."""
        self._quiet = quiet
        self._below, self._above = 2 * number, 2 * number + 1
        self.falling, self.rising = levels[self._below], levels[self._above]
        self.highest = Trails(price_type, -1, groups)
        self.lowest = Trails(price_type, 1, groups)

    def look_at(self, sign: int, signed_price: int) -> None:
        """Something happens once the price has risen (sign +1) or fallen (-1) to this signed price."""
        if sign > 0:
            self._quiet[self._above] = min(self._quiet[self._above], signed_price)
        else:
            self._quiet[self._below] = max(self._quiet[self._below], -signed_price)

    def cross(self, price: int, crossings: list[Crossing]) -> None:
        """Move extremes, then collect what is true at `price`, a number of grid steps."""
        quiet, highest, lowest = self._quiet, self.highest, self.lowest
        if quiet[self._below] < price < quiet[self._above]:
            return
        self.follow(price)
        if price >= quiet[self._above]:
            self.rising.take(price, crossings)
            lowest.take(price, crossings)
            quiet[self._above] = min(self.rising.nearest(), lowest.nearest(), -highest.edge)
        if price <= quiet[self._below]:
            self.falling.take(-price, crossings)
            highest.take(-price, crossings)
            quiet[self._below] = max(-self.falling.nearest(), -highest.nearest(), lowest.edge)

    def follow(self, price: int) -> None:
        """Move extremes only."""
        if -price <= self.highest.edge:
            self.look_at(-1, self.highest.follow(-price))
        if price <= self.lowest.edge:
            self.look_at(1, self.lowest.follow(price))


class _Levels:
    """Fixed levels of one price type that fire in one direction."""

    __slots__ = ("_decimals", "_number", "_watches", "entries", "sign")

    def __init__(self, number: int, watches: tuple[dict[int, int], dict[int, int]], decimals: int) -> None:
        """Odd numbers fire on rising prices. `watches`: by role, step -> entry, shared by all levels of the book."""
        self.sign = 1 if number & 1 else -1
        self.entries = SortedEntries()
        self._number = number
        self._watches = watches
        self._decimals = decimals

    def add(self, step_id: int, role: int, threshold: int) -> None:
        entry = _level_entry(threshold, self._number, role, step_id)
        self._watches[role][step_id] = entry
        self.entries.add(entry)

    def nearest(self) -> int:
        """Lowest signed price at which one fires."""
        lowest = self.entries.lowest()
        return NEVER if lowest is None else lowest >> _LEVEL_SHIFT

    def take(self, signed_price: int, crossings: list[Crossing]) -> None:
        """Move every watch that is true to `crossings`."""
        reached = self.entries.take_below((signed_price + 1) << _LEVEL_SHIFT)
        if not reached:
            return
        price = price_of(self.sign * signed_price, self._decimals)
        for watch in sorted([entry & _WATCH_MASK for entry in reached]):  # about the order in memory: half the time
            step_id, role = watch & ID_MASK, watch >> ID_BITS
            del self._watches[role][step_id]
            crossings.append(Crossing(step_id, _LEVEL_ROLES[role], price))

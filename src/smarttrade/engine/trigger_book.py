"""The trigger book of one instrument: which watched steps does this price wake?

A price update touches only what it moves.

* Prices are integers here, counted in the smallest price step; the rest of the product speaks `Decimal`. A level
  between two steps of the grid is rounded in the direction that changes no answer: comparisons are exact (TR-8).
* Per price type the book keeps the nearest prices below and above at which anything happens. An update between them
  costs one chained comparison, whatever the number of watches.
* Fixed levels are heaps. An entry is one integer with the level in its upper and the step in its lower bits.
* Trailing watches live in groups that share an extreme. A group opened earlier has seen every price that a later one
  has seen, so the groups of one direction form a stack ordered by extreme: a new extreme merges the groups at its top,
  small into large, which costs O(log N) per watch over its whole life. Within a group the watch nearest to the extreme
  fires first, wherever the extreme goes.
* A trailing line is extreme x numerator / denominator, never divided and never rounded (TR-50). Heap keys are the ratio
  cut to 56 bits on the side that fires too early rather than too late; cross-multiplied integers decide the ties.
* `unwatch` forgets the watch and leaves its heap entry behind. An entry is alive while the index of watches holds an
  equal one: an equal entry means the same watch, so one that comes back to life does no harm. Heaps are rebuilt before
  more than half of their entries (and 64) are dead.

Both directions share one code: a price is multiplied by a sign such that a watch fires when the signed price is at or
above a signed level. Signs are +1 for what fires on rising and -1 for what fires on falling prices; consequently the
signed extreme of a group is the lowest signed price that it has seen.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from heapq import heapify, heappop, heappush
from math import gcd
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from smarttrade.domain.events import WatchRole
from smarttrade.domain.money import ONE
from smarttrade.domain.quote import PriceType

_ID_BITS: Final = 31  # step and group ids stay below 2^31
_ID_MASK: Final = (1 << _ID_BITS) - 1

# Level entry, from the top: signed level, heap (3 bits), role (1 bit), step.
_HEAP_SHIFT: Final = _ID_BITS + 1
_LEVEL_SHIFT: Final = _HEAP_SHIFT + 3
_LEVEL_ROLES: Final = (WatchRole.LEVEL, WatchRole.RECOVERY)

# Trail entry, from the top: signed ratio x 2^56, denominator, group, step. With 56 bits an entry takes 48 bytes, and
# price, denominator and ratio together still tell numerator and line exactly.
_RATIO_BITS: Final = 56
_DENOMINATOR_MASK: Final = (1 << _RATIO_BITS) - 1
_DENOMINATOR_SHIFT: Final = 2 * _ID_BITS
_RATIO_SHIFT: Final = _DENOMINATOR_SHIFT + _RATIO_BITS

_NEVER: Final = 1 << 256  # a signed price beyond every market
_DEAD_ENTRIES_ALLOWED: Final = 64  # below this a rebuild is not worth its while
_SAMPLE: Final = 64  # entries that tell roughly which share of a heap is below a limit

_signed_extreme = attrgetter("signed_extreme")
_step_id = attrgetter("step_id")
_group_id = attrgetter("id")
_step_of_entry = _ID_MASK.__and__


class PriceOffGrid(ValueError):
    """A market price that is not a multiple of the instrument's smallest price step."""


class UnknownGroup(LookupError):
    """A trailing group that was never opened, or that all its owners have released."""


class GroupInUse(ValueError):
    """The last owner releases a group whose watches would be lost: unwatch first."""


class Crossing(msgspec.Struct, frozen=True, gc=False):
    """A watch that is true at the current prices; it has left the book.

    Out of sight of the garbage collector, because a crash makes them by the hundred thousand.
    """

    step_id: int
    role: WatchRole
    price: Decimal  # the followed price now
    extreme: Decimal | None = None  # TRAIL: of the step's group, this price included


class GroupState(NamedTuple):
    """What has to be stored of a trailing group."""

    id: int
    price_type: PriceType
    highest: bool  # True: follows the highest price, False: the lowest
    extreme: Decimal
    merged_into: int | None = None  # the group that has taken this one's members
    dropped: bool = False  # nobody needs it any more: forget it


class TriggerBook:
    """All watches of one instrument, on its bid, ask and last price."""

    __slots__ = ("_decimals", "_feeds", "_groups", "_level_watches", "_levels", "_quiet", "_scale", "_steps_per_unit")

    def __init__(self, price_decimals: int) -> None:
        """`price_decimals`: every market price is a multiple of 10^-price_decimals."""
        if price_decimals < 0:
            raise ValueError(f"price_decimals is negative: {price_decimals}")
        self._decimals = price_decimals
        self._scale: int = 10**price_decimals
        self._steps_per_unit = Decimal(self._scale)
        self._groups = _Groups(price_decimals)
        self._level_watches: tuple[dict[int, int], dict[int, int]] = ({}, {})  # by role: step -> heap entry
        self._levels = [_Levels(number, self._level_watches, price_decimals) for number in range(2 * len(PriceType))]
        self._quiet = [-_NEVER, _NEVER] * len(PriceType)  # nearest prices below and above, per price type
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
        _check_id(step_id)
        numerator, denominator = level.as_integer_ratio()
        floor, rest = divmod(numerator * self._scale if rises else -numerator * self._scale, denominator)
        threshold = floor + 1 if strict or rest else floor  # lowest signed grid price that fires
        self.unwatch(step_id, role)
        feed = self._feeds[price_type]
        levels = feed.rising if rises else feed.falling
        levels.add(step_id, _LEVEL_ROLES.index(role), threshold)
        feed.look_at(levels.sign, threshold)

    def watch_trail(self, step_id: int, group: int, numerator: Decimal, denominator: Decimal) -> None:
        """Fire when the price has come back to extreme x numerator / denominator of the group (TR-3, TR-50).

        group        as returned by `open_group`; it may have been merged since
        numerator    > 0; with the denominator any exact ratio: L0 and R0, or 100 - p and 100
        denominator  > 0

        A trailing watch of this step is replaced. Raises UnknownGroup.
        """
        _check_id(step_id)
        if numerator <= 0 or denominator <= 0:
            raise ValueError(f"trailing ratio is not positive: {numerator} / {denominator}")
        root = self._groups.find(group)
        upper, upper_scale = numerator.as_integer_ratio()
        lower, lower_scale = denominator.as_integer_ratio()
        root.trails.watch(step_id, group, root, upper * lower_scale, upper_scale * lower)
        self._feeds[root.trails.price_type].look_at(root.trails.sign, root.line)

    def unwatch(self, step_id: int, role: WatchRole | None = None) -> None:
        """Forget the step's watch in this role, or all of its watches. Nothing happens if there is none."""
        for number, watches in enumerate(self._level_watches):
            if role is None or role is _LEVEL_ROLES[number]:
                entry = watches.pop(step_id, None)
                if entry is not None:
                    self._levels[entry >> _HEAP_SHIFT & 7].forget_one()
        if role is None or role is WatchRole.TRAIL:
            self._groups.unwatch(step_id)

    def watches(self) -> Iterator[tuple[int, WatchRole]]:
        """Every live watch as (step, role)."""
        for role, watches in zip(_LEVEL_ROLES, self._level_watches, strict=True):
            yield from ((step_id, role) for step_id in watches)
        yield from ((step_id, WatchRole.TRAIL) for step_id in self._groups.watches)

    def __len__(self) -> int:
        """Number of live watches."""
        return sum(map(len, self._level_watches)) + len(self._groups.watches)

    @property
    def stored_entries(self) -> int:
        """Heap entries, dead ones included, and the ratios that do not fit into theirs."""
        return sum(len(levels.heap) for levels in self._levels) + self._groups.entries + len(self._groups.long_ratios)

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
        for feed, price in zip(self._feeds.values(), (bid, ask, last), strict=True):
            feed.cross(price, crossings)
        crossings.sort(key=_step_id)
        return crossings

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

    def take_changed_groups(self) -> list[GroupState]:
        """Groups that were opened, moved, merged or dropped since the last call, by id.

        A new extreme is one record, whatever the number of watches, and one for each group that was merged.
        """
        return self._groups.take_changed()

    def restore_groups(self, states: Iterable[GroupState]) -> None:
        """Take all stored groups into a new book, merged ones too, in any order.

        Follow with `hold_group` for every trade that has one, then `drop_unheld_groups`.
        Raises UnknownGroup if a merged group leads nowhere.
        """
        merged: list[tuple[int, int]] = []
        for state in states:
            if state.merged_into is not None:
                merged.append((state.id, state.merged_into))
                continue
            feed = self._feeds[state.price_type]
            trails = feed.highest if state.highest else feed.lowest
            root = trails.open(state.id, trails.sign * self._on_grid(state.extreme))
            if root.id == state.id:
                self._groups.changed.discard(state.id)
            else:
                merged.append((state.id, root.id))
                self._groups.changed.add(state.id)
            feed.look_at(-trails.sign, -trails.edge)
        self._groups.restore_merged(merged)

    def drop_unheld_groups(self) -> None:
        """Drop what no trade holds any more, once all trades have been loaded. Raises GroupInUse."""
        self._groups.drop_unheld()


class _Feed:
    """Everything that follows one price, and the nearest prices on both sides at which something happens."""

    __slots__ = ("_above", "_below", "_quiet", "falling", "highest", "lowest", "rising")

    def __init__(
        self, price_type: PriceType, number: int, quiet: list[int], levels: Sequence["_Levels"], groups: "_Groups"
    ) -> None:
        """`quiet`: shared by all feeds; this one's are at 2 x number and 2 x number + 1, as are its `levels`."""
        self._quiet = quiet
        self._below, self._above = 2 * number, 2 * number + 1
        self.falling, self.rising = levels[self._below], levels[self._above]
        self.highest = _Trails(price_type, -1, groups)
        self.lowest = _Trails(price_type, 1, groups)

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
        if -price <= highest.edge:
            self.look_at(-1, highest.follow(-price))
        if price <= lowest.edge:
            self.look_at(1, lowest.follow(price))
        if price >= quiet[self._above]:
            self.rising.take(price, crossings)
            lowest.take(price, crossings)
            quiet[self._above] = min(self.rising.nearest(), lowest.nearest(), -highest.edge)
        if price <= quiet[self._below]:
            self.falling.take(-price, crossings)
            highest.take(-price, crossings)
            quiet[self._below] = max(-self.falling.nearest(), -highest.nearest(), lowest.edge)


class _Levels:
    """Fixed levels of one price type that fire in one direction."""

    __slots__ = ("_decimals", "_live", "_number", "_watches", "heap", "sign")

    def __init__(self, number: int, watches: tuple[dict[int, int], dict[int, int]], decimals: int) -> None:
        """Odd numbers fire on rising prices. `watches`: by role, step -> entry, shared by all heaps of the book."""
        self.sign = 1 if number & 1 else -1
        self.heap: list[int] = []
        self._number = number
        self._watches = watches
        self._decimals = decimals
        self._live = 0

    def add(self, step_id: int, role: int, threshold: int) -> None:
        entry = threshold << _LEVEL_SHIFT | self._number << _HEAP_SHIFT | role << _ID_BITS | step_id
        heappush(self.heap, entry)
        self._watches[role][step_id] = entry
        self._live += 1

    def forget_one(self) -> None:
        """One of the watches has left the index; its entry is dead now."""
        self._live -= 1
        self._limit_dead_entries()

    def nearest(self) -> int:
        """Lowest signed price at which one fires."""
        heap = self.heap
        while heap and not self._is_live(heap[0]):
            heappop(heap)
        return heap[0] >> _LEVEL_SHIFT if heap else _NEVER

    def take(self, signed_price: int, crossings: list[Crossing]) -> None:
        """Move every watch that is true from the heap to `crossings`."""
        reached = _take_below(self.heap, (signed_price + 1) << _LEVEL_SHIFT)
        if not reached:
            return
        before = len(crossings)
        price = _decimal(self.sign * signed_price, self._decimals)
        for entry in reached:
            step_id, role = entry & _ID_MASK, entry >> _ID_BITS & 1
            watches = self._watches[role]
            if watches.get(step_id) == entry:
                del watches[step_id]
                crossings.append(Crossing(step_id, _LEVEL_ROLES[role], price))
        self._live -= len(crossings) - before
        self._limit_dead_entries()

    def _is_live(self, entry: int) -> bool:
        return self._watches[entry >> _ID_BITS & 1].get(entry & _ID_MASK) == entry

    def _limit_dead_entries(self) -> None:
        if len(self.heap) > 2 * self._live + _DEAD_ENTRIES_ALLOWED:
            watches = self._watches
            self.heap = list({e for e in self.heap if watches[e >> _ID_BITS & 1].get(e & _ID_MASK) == e})
            heapify(self.heap)


class _Group:
    """Trailing watches that share an extreme."""

    __slots__ = ("heap", "id", "ids", "line", "owners", "references", "signed_extreme", "trails")

    def __init__(self, group_id: int, trails: "_Trails", signed_extreme: int) -> None:
        self.id = group_id
        self.trails = trails
        self.signed_extreme = signed_extreme
        self.heap: list[int] = []
        self.line = _NEVER  # no watch fires at a signed price below
        self.references = 1  # owners of this id (whoever opens it is one), and ids merged directly into it
        self.owners = 1  # of this id and of all that lead to it
        self.ids = 1  # number of ids that lead here, its own included


class _Trails:
    """The trailing groups of one price type and direction: +1 follows the lowest price, -1 the highest."""

    __slots__ = ("_groups", "_lines", "_stack", "price_type", "sign")

    def __init__(self, price_type: PriceType, sign: int, groups: "_Groups") -> None:
        self.price_type = price_type
        self.sign = sign
        self._groups = groups
        self._stack: list[_Group] = []  # signed extremes rise from bottom to top: the top one is bettered first
        self._lines: list[int] = []  # heap of line and group id of all groups below the top; may hold outdated ones

    def price(self, signed_price: int) -> Decimal:
        return _decimal(self.sign * signed_price, self._groups.decimals)

    @property
    def edge(self) -> int:
        """Highest signed price that is better than an extreme."""
        return self._stack[-1].signed_extreme - 1 if self._stack else -_NEVER

    def open(self, group_id: int, signed_extreme: int) -> _Group:
        """The group with this extreme: an existing one, or a new one."""
        stack = self._stack
        place = bisect_left(stack, signed_extreme, key=_signed_extreme)
        if place < len(stack) and stack[place].signed_extreme == signed_extreme:
            return stack[place]
        _check_id(group_id)
        group = self._groups.add(_Group(group_id, self, signed_extreme))
        if stack and place == len(stack):
            self._note_line(stack[-1])
        stack.insert(place, group)
        return group

    def remove(self, group: _Group) -> None:
        del self._stack[bisect_left(self._stack, group.signed_extreme, key=_signed_extreme)]

    def watch(self, step_id: int, group_id: int, root: _Group, numerator: int, denominator: int) -> None:
        """Add a watch to `root`, to which `group_id` leads."""
        common = gcd(numerator, denominator)
        numerator, denominator = self.sign * numerator // common, denominator // common
        key = (numerator << _RATIO_BITS) // denominator
        watches = self._groups.watches
        self._groups.unwatch(step_id)
        if denominator > _DENOMINATOR_MASK:
            self._groups.long_ratios[step_id] = (numerator, denominator)
            denominator = 0
        entry = ((key << _RATIO_BITS | denominator) << _ID_BITS | group_id) << _ID_BITS | step_id
        watches[step_id] = entry
        heappush(root.heap, entry)
        self._groups.entries += 1
        line = _line(key, root.signed_extreme)
        if line < root.line:
            root.line = line
            if root is not self._stack[-1]:
                self._note_line(root)

    def follow(self, signed_price: int) -> int:
        """Move every extreme that this price betters; return the line of the group that they now form.

        There is at least one: the price is at or below `edge`.
        """
        stack = self._stack
        top = stack.pop()
        while stack and stack[-1].signed_extreme >= signed_price:
            top = self._merge(stack.pop(), top)
        top.signed_extreme = signed_price
        stack.append(top)
        self._groups.changed.add(top.id)
        self._measure_line(top)
        return top.line

    def nearest(self) -> int:
        """A signed price below which none of the watches fires."""
        lines, roots = self._lines, self._groups.roots
        if not self._stack:
            return _NEVER
        while lines:
            line, group = lines[0] >> _ID_BITS, roots.get(lines[0] & _ID_MASK)
            if group is not None and group.line == line:
                return min(line, self._stack[-1].line)
            heappop(lines)
        return self._stack[-1].line

    def take(self, signed_price: int, crossings: list[Crossing]) -> None:
        """Move every watch that is true from its group to `crossings`."""
        reached = self._reached(signed_price)
        if not reached:
            return
        price = self.price(signed_price)
        for group in reached:
            fired = self._fire(group, signed_price)
            if fired:
                extreme = self.price(group.signed_extreme)
                crossings += [Crossing(step_id, WatchRole.TRAIL, price, extreme) for step_id in fired]
            self._measure_line(group)
            if group is not self._stack[-1]:
                self._note_line(group)
        self._groups.limit_dead_entries()

    def _reached(self, signed_price: int) -> list[_Group]:
        """The groups with a line at or below this price, once each; their lines must be measured again."""
        reached: list[_Group] = []
        if self._stack and self._stack[-1].line <= signed_price:
            reached.append(self._stack[-1])
            self._stack[-1].line = _NEVER
        lines, roots = self._lines, self._groups.roots
        while lines and lines[0] >> _ID_BITS <= signed_price:
            entry = heappop(lines)
            group = roots.get(entry & _ID_MASK)
            if group is not None and group.line == entry >> _ID_BITS:
                reached.append(group)
                group.line = _NEVER
        return reached

    def _fire(self, group: _Group, signed_price: int) -> list[int]:
        """Take the watches that are true out of the group; return their steps."""
        # true: ratio x extreme <= price. Keys are ratios rounded down: below `key` surely true, above it surely not.
        key = (signed_price << _RATIO_BITS) // abs(group.signed_extreme)
        groups, watches = self._groups, self._groups.watches
        candidates = _take_below(group.heap, (key + 1) << _RATIO_SHIFT)
        groups.entries -= len(candidates)
        sure = key << _RATIO_SHIFT
        fired: list[int] = []
        for entry in candidates:
            step_id = entry & _ID_MASK
            if watches.get(step_id) != entry:
                continue
            if entry < sure or groups.is_reached(entry, signed_price, abs(group.signed_extreme)):
                del watches[step_id]
                groups.long_ratios.pop(step_id, None)
                fired.append(step_id)
            else:
                heappush(group.heap, entry)
                groups.entries += 1
        return fired

    def _merge(self, below: _Group, top: _Group) -> _Group:
        """One group with the watches of both. The id that more ids lead to stays, so that chains of ids stay short."""
        keep, gone = (top, below) if top.ids > below.ids else (below, top)
        keep.heap = _merged_heap(below.heap, top.heap)
        self._groups.redirect(gone, keep)
        return keep

    def _measure_line(self, group: _Group) -> None:
        heap, watches = group.heap, self._groups.watches
        while heap and watches.get(heap[0] & _ID_MASK) != heap[0]:
            heappop(heap)
            self._groups.entries -= 1
        group.line = _line(heap[0] >> _RATIO_SHIFT, group.signed_extreme) if heap else _NEVER

    def _note_line(self, group: _Group) -> None:
        """Let `nearest` see the line of a group that is not at the top."""
        if group.line == _NEVER:
            return
        if len(self._lines) > 2 * len(self._stack) + _DEAD_ENTRIES_ALLOWED:
            self._lines = [g.line << _ID_BITS | g.id for g in self._stack if g.line != _NEVER]
            heapify(self._lines)
        heappush(self._lines, group.line << _ID_BITS | group.id)


class _Groups:
    """All trailing groups of a book by id, and all trailing watches.

    An id leads to a group (`roots`), or to the id that it was merged into (`merged`). There may be as many ids as
    trades, hence a merged one costs a dict entry and, as long as it has one reference, no object.
    """

    __slots__ = (
        "_dropped",
        "_unclaimed",
        "changed",
        "decimals",
        "entries",
        "long_ratios",
        "merged",
        "roots",
        "watches",
    )

    def __init__(self, decimals: int) -> None:
        self.decimals = decimals
        self.roots: dict[int, _Group] = {}
        self.merged: dict[int, int] = {}  # id -> next id; in the bits above it, the number of references beyond one
        self._unclaimed: set[int] = set()  # restored ids; each is thought to have one owner that has not come yet
        self.watches: dict[int, int] = {}  # step -> heap entry
        self.long_ratios: dict[int, tuple[int, int]] = {}  # step -> signed ratio whose denominator fits in no entry
        self.entries = 0  # in the heaps of all groups, dead ones included
        self.changed: set[int] = set()
        self._dropped: list[GroupState] = []

    def __contains__(self, group_id: int) -> bool:
        return group_id in self.roots or group_id in self.merged

    def resolve(self, group_id: int) -> _Group | None:
        """The group that an id leads to."""
        step: int | None = group_id
        while step is not None:
            root = self.roots.get(step)
            if root is not None:
                return root
            step = self.parent(step)
        return None

    def parent(self, group_id: int) -> int | None:
        """The id that this one was merged into."""
        value = self.merged.get(group_id)
        return None if value is None else value & _ID_MASK

    def find(self, group_id: int) -> _Group:
        """The group that an id leads to. Raises UnknownGroup."""
        root = self.resolve(group_id)
        if root is None:
            raise UnknownGroup(group_id)
        return root

    def add(self, group: _Group) -> _Group:
        self.roots[group.id] = group
        self.changed.add(group.id)
        return group

    def redirect(self, gone: _Group, keep: _Group) -> None:
        """From now on the id of `gone` leads to `keep`."""
        del self.roots[gone.id]
        self.merged[gone.id] = keep.id if gone.references == 1 else (gone.references - 1) << _ID_BITS | keep.id
        keep.references += 1
        keep.owners += gone.owners
        keep.ids += gone.ids
        self.changed.add(gone.id)

    def let_lead(self, group_id: int, parent: int, root: _Group) -> None:
        """Add an id with one owner that leads to `root` by way of `parent`."""
        self.merged[group_id] = parent
        self._count(parent, 1)
        root.ids += 1
        root.owners += 1

    # -- owners

    def hold(self, group_id: int) -> None:
        root = self.find(group_id)
        if group_id in self._unclaimed:
            self._unclaimed.remove(group_id)
        else:
            root.owners += 1
            self._count(group_id, 1)

    def release(self, group_id: int) -> None:
        root = self.find(group_id)
        if root.owners == 1 and any(self.watches.get(entry & _ID_MASK) == entry for entry in root.heap):
            raise GroupInUse(group_id)
        root.owners -= 1
        if self._count(group_id, -1) == 0:
            self._drop(group_id)

    def _count(self, group_id: int, change: int) -> int:
        """Change and return the number of references to an id."""
        root = self.roots.get(group_id)
        if root is not None:
            root.references += change
            return root.references
        self.merged[group_id] += change << _ID_BITS
        return (self.merged[group_id] >> _ID_BITS) + 1

    def _drop(self, group_id: int) -> None:
        """Forget an id without references, and then every id on its way that was needed for it alone."""
        references = 0
        while references == 0:
            root = self.find(group_id)
            self._dropped.append(_state(root)._replace(id=group_id, dropped=True))
            self.changed.discard(group_id)
            if root.id == group_id:
                root.trails.remove(root)
                self.entries -= len(root.heap)
                del self.roots[group_id]
                return
            root.ids -= 1
            group_id = self.merged.pop(group_id) & _ID_MASK
            references = self._count(group_id, -1)

    def restore_merged(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Let each first id lead to the second one. Nobody has claimed anything yet."""
        children: dict[int, list[int]] = {}
        for group_id, parent in pairs:
            children.setdefault(parent, []).append(group_id)
        waiting = [(root, root.id) for root in self.roots.values()]
        while waiting:
            root, parent = waiting.pop()
            for group_id in children.pop(parent, ()):
                self.let_lead(group_id, parent, root)
                waiting.append((root, group_id))
        if children:
            raise UnknownGroup(*sorted(children))
        self._unclaimed = {*self.roots, *self.merged}

    def drop_unheld(self) -> None:
        unclaimed, self._unclaimed = self._unclaimed, set()
        for group_id in sorted(unclaimed):
            self.release(group_id)

    def take_changed(self) -> list[GroupState]:
        states = self._dropped
        for group_id in self.changed:
            state = _state(self.find(group_id))
            states.append(state._replace(id=group_id, merged_into=self.parent(group_id)))
        self.changed, self._dropped = set(), []
        return sorted(states, key=_group_id)

    # -- watches

    def unwatch(self, step_id: int) -> None:
        if self.watches.pop(step_id, None) is not None:
            self.long_ratios.pop(step_id, None)
            self.limit_dead_entries()

    def is_reached(self, entry: int, signed_price: int, extreme: int) -> bool:
        """Whether ratio x extreme <= price, exactly."""
        denominator = entry >> _DENOMINATOR_SHIFT & _DENOMINATOR_MASK
        if denominator:  # the key is numerator x 2^56 / denominator rounded down, and the denominator is below 2^56
            numerator = -(-(entry >> _RATIO_SHIFT) * denominator >> _RATIO_BITS)
        else:
            numerator, denominator = self.long_ratios[entry & _ID_MASK]
        return numerator * extreme <= signed_price * denominator

    def limit_dead_entries(self) -> None:
        if self.entries > 2 * len(self.watches) + _DEAD_ENTRIES_ALLOWED:
            self.entries = 0
            live = set(self.watches.values())
            for root in self.roots.values():
                root.heap = list(live.intersection(root.heap))
                heapify(root.heap)
                self.entries += len(root.heap)


def _check_id(number: int) -> None:
    if not 0 < number <= _ID_MASK:
        raise ValueError(f"id does not fit in 31 bits: {number}")


def _decimal(steps: int, decimals: int) -> Decimal:
    """A number of grid steps as a price, without the zeros of a grid that is finer than the market's."""
    price = Decimal(steps).scaleb(-decimals)
    return price.quantize(ONE) if price == price.to_integral_value() else price.normalize()


def _line(key: int, signed_extreme: int) -> int:
    """Lowest signed grid price at which a watch with this key may fire; it surely does not fire below."""
    return -(-key * abs(signed_extreme) >> _RATIO_BITS)


def _state(group: _Group) -> GroupState:
    trails = group.trails
    return GroupState(group.id, trails.price_type, trails.sign < 0, trails.price(group.signed_extreme))


def _take_below(heap: list[int], limit: int) -> list[int]:
    """Remove and return all entries below `limit`, sorted by step: about their order in memory, which saves time."""
    taken: list[int] = []
    while heap and heap[0] < limit:
        if len(taken) == _SAMPLE:
            sample = heap[:: len(heap) // _SAMPLE + 1]
            if 8 * sum(entry < limit for entry in sample) > len(sample):  # then two passes are cheaper than pops
                taken += [entry for entry in heap if entry < limit]
                heap[:] = [entry for entry in heap if entry >= limit]
                heapify(heap)
                break
        taken.append(heappop(heap))
    taken.sort(key=_step_of_entry)
    return taken


def _merged_heap(one: list[int], other: list[int]) -> list[int]:
    """The entries of both; the smaller heap goes into the larger one."""
    large, small = (one, other) if len(one) >= len(other) else (other, one)
    if 4 * len(small) > len(large):
        large += small
        heapify(large)
    else:
        for entry in small:
            heappush(large, entry)
    return large

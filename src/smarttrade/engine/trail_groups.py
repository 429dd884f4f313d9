"""Trailing watches that share an extreme, and the groups and ids that they share it under.

Every trade that trails brings a group id of its own. Trades that start at one extreme form a group at once, others
when a new extreme has passed both of theirs. An id then leads to another id, and at the end of that way is the group.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from heapq import heapify, heappop, heappush
from math import gcd
from operator import attrgetter
from typing import Final, NamedTuple

from smarttrade.domain.events import WatchRole
from smarttrade.domain.quote import PriceType
from smarttrade.domain.watches import Watch
from smarttrade.engine.merged_ids import MergedIds
from smarttrade.engine.records import ENTRY_BITS, TOP_BITS, Kind, rest_of_record
from smarttrade.engine.trigger_entries import (
    ID_BITS,
    ID_MASK,
    NEVER,
    Crossing,
    SortedEntries,
    price_of,
)

# Trail entry, from the top: signed ratio x 2^56, denominator, group, step. With 56 bits an entry takes 48 bytes, and
# price, denominator and ratio together still tell numerator and line exactly.
_RATIO_BITS: Final = 56
_DENOMINATOR_MASK: Final = (1 << _RATIO_BITS) - 1
_DENOMINATOR_SHIFT: Final = 2 * ID_BITS
_RATIO_SHIFT: Final = _DENOMINATOR_SHIFT + _RATIO_BITS

_TOP_SHIFT: Final = _RATIO_BITS + _RATIO_SHIFT - (ENTRY_BITS - TOP_BITS)  # the top of an entry is a ratio x 2^this

_PRICE_TYPES: Final = tuple(PriceType)

_OUTDATED_LINES_ALLOWED: Final = 64  # below this a rebuild is not worth its while

_signed_extreme = attrgetter("signed_extreme")
_group_id = attrgetter("id")


class UnknownGroup(LookupError):
    """A trailing group that was never opened, or that all its owners have released."""


class GroupInUse(ValueError):
    """The last owner releases a group whose watches would be lost: unwatch first."""


class GroupState(NamedTuple):
    """What has to be stored of a trailing group."""

    id: int
    price_type: PriceType
    highest: bool  # True: follows the highest price, False: the lowest
    extreme: Decimal
    merged_into: int | None = None  # the group that has taken this one's members
    dropped: bool = False  # nobody needs it any more: forget it


class Group:
    """Trailing watches that share an extreme."""

    __slots__ = ("entries", "id", "ids", "line", "owners", "references", "signed_extreme", "trails")

    def __init__(self, group_id: int, trails: "Trails", signed_extreme: int) -> None:
        self.id = group_id
        self.trails = trails
        self.signed_extreme = signed_extreme
        self.entries = SortedEntries()
        self.line = NEVER  # no watch fires at a signed price below
        self.references = 1  # owners of this id (whoever opens it is one), and ids merged directly into it
        self.owners = 1  # of this id and of all that lead to it
        self.ids = 1  # number of ids that lead here, its own included


class Trails:
    """The trailing groups of one price type and direction: +1 follows the lowest price, -1 the highest."""

    __slots__ = ("_groups", "_lines", "_stack", "price_type", "sign")

    def __init__(self, price_type: PriceType, sign: int, groups: "Groups") -> None:
        self.price_type = price_type
        self.sign = sign
        self._groups = groups
        self._stack: list[Group] = []  # signed extremes rise from bottom to top: the top one is bettered first
        self._lines: list[int] = []  # heap of line and group id of all groups below the top; may hold outdated ones

    def price(self, signed_price: int) -> Decimal:
        return price_of(self.sign * signed_price, self._groups.decimals)

    @property
    def edge(self) -> int:
        """Highest signed price that is better than an extreme."""
        return self._stack[-1].signed_extreme - 1 if self._stack else -NEVER

    def open(self, group_id: int, signed_extreme: int) -> Group:
        """The group with this extreme: an existing one, or a new one."""
        stack = self._stack
        place = bisect_left(stack, signed_extreme, key=_signed_extreme)
        if place < len(stack) and stack[place].signed_extreme == signed_extreme:
            return stack[place]
        group = self._groups.add(Group(group_id, self, signed_extreme))
        if stack and place == len(stack):
            self._note_line(stack[-1])
        stack.insert(place, group)
        return group

    def remove(self, group: Group) -> None:
        del self._stack[bisect_left(self._stack, group.signed_extreme, key=_signed_extreme)]

    def watch(self, step_id: int, group_id: int, root: Group, numerator: int, denominator: int) -> None:
        """Add a watch to `root`, to which `group_id` leads."""
        numerator, denominator = _signed_ratio(self.sign, numerator, denominator)
        key = (numerator << _RATIO_BITS) // denominator
        self._groups.unwatch(step_id)
        if denominator > _DENOMINATOR_MASK:
            self._groups.long_ratios[step_id] = (numerator, denominator)
            denominator = 0
        entry = _trail_entry(key, denominator, group_id, step_id)
        self._groups.watches[step_id] = entry
        root.entries.add(entry)
        line = _line(key, root.signed_extreme)
        if line < root.line:
            root.line = line
            if root is not self._stack[-1]:
                self._note_line(root)

    def extend(self, root: Group, entries: Sequence[int]) -> None:
        """Add many watches to `root`, as `watch` does with one."""
        root.entries.extend(entries)
        line = _line(min(entries) >> _RATIO_SHIFT, root.signed_extreme)
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
            return NEVER
        while lines:
            line, group = lines[0] >> ID_BITS, roots.get(lines[0] & ID_MASK)
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

    def _reached(self, signed_price: int) -> list[Group]:
        """The groups with a line at or below this price, once each; their lines must be measured again."""
        reached: list[Group] = []
        if self._stack and self._stack[-1].line <= signed_price:
            reached.append(self._stack[-1])
            self._stack[-1].line = NEVER
        lines, roots = self._lines, self._groups.roots
        while lines and lines[0] >> ID_BITS <= signed_price:
            entry = heappop(lines)
            group = roots.get(entry & ID_MASK)
            if group is not None and group.line == entry >> ID_BITS:
                reached.append(group)
                group.line = NEVER
        return reached

    def _fire(self, group: Group, signed_price: int) -> list[int]:
        """Take the watches that are true out of the group; return their steps."""
        # true: ratio x extreme <= price. Keys are ratios rounded down: below `key` surely true, above it surely not.
        key = (signed_price << _RATIO_BITS) // abs(group.signed_extreme)
        candidates = group.entries.take_below((key + 1) << _RATIO_SHIFT)
        ties = bisect_left(candidates, key << _RATIO_SHIFT)
        fired = [entry & ID_MASK for entry in candidates[:ties]]
        for entry in candidates[ties:]:
            if self._groups.is_reached(entry, signed_price, abs(group.signed_extreme)):
                fired.append(entry & ID_MASK)
            else:
                group.entries.add(entry)
        fired.sort()  # about the order in memory: half the time
        self._groups.forget(fired)
        return fired

    def _merge(self, below: Group, top: Group) -> Group:
        """One group with the watches of both. The id that more ids lead to stays, so that chains of ids stay short."""
        keep, gone = (top, below) if top.ids > below.ids else (below, top)
        keep.entries = below.entries.absorb(top.entries)
        self._groups.redirect(gone, keep)
        return keep

    def _measure_line(self, group: Group) -> None:
        lowest = group.entries.lowest()
        group.line = NEVER if lowest is None else _line(lowest >> _RATIO_SHIFT, group.signed_extreme)

    def _note_line(self, group: Group) -> None:
        """Let `nearest` see the line of a group that is not at the top."""
        if group.line == NEVER:
            return
        if len(self._lines) > 2 * len(self._stack) + _OUTDATED_LINES_ALLOWED:
            self._lines = [g.line << ID_BITS | g.id for g in self._stack if g.line != NEVER]
            heapify(self._lines)
        heappush(self._lines, group.line << ID_BITS | group.id)


class Groups:
    """All trailing groups of a book by id, and all trailing watches.

    An id leads to a group (`roots`), or to the id that it was merged into (`merged`). There may be as many ids as
    trades, hence a merged one has no object of its own.
    """

    __slots__ = (
        "_dropped",
        "_unclaimed",
        "changed",
        "decimals",
        "long_ratios",
        "merged",
        "roots",
        "watches",
    )

    def __init__(self, decimals: int) -> None:
        self.decimals = decimals
        self.roots: dict[int, Group] = {}
        self.merged = MergedIds()
        self._unclaimed: set[int] = set()  # restored ids; each is thought to have one owner that has not come yet
        self.watches: dict[int, int] = {}  # step -> entry
        self.long_ratios: dict[int, tuple[int, int]] = {}  # step -> signed ratio whose denominator fits in no entry
        self.changed: set[int] = set()
        self._dropped: list[GroupState] = []

    def __contains__(self, group_id: int) -> bool:
        return group_id in self.roots or group_id in self.merged

    def resolve(self, group_id: int) -> Group | None:
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
        return None if value is None else value & ID_MASK

    def find(self, group_id: int) -> Group:
        """The group that an id leads to. Raises UnknownGroup."""
        root = self.resolve(group_id)
        if root is None:
            raise UnknownGroup(group_id)
        return root

    def add(self, group: Group) -> Group:
        self.roots[group.id] = group
        self.changed.add(group.id)
        return group

    def redirect(self, gone: Group, keep: Group) -> None:
        """From now on the id of `gone` leads to `keep`."""
        del self.roots[gone.id]
        self.merged[gone.id] = keep.id if gone.references == 1 else (gone.references - 1) << ID_BITS | keep.id
        keep.references += 1
        keep.owners += gone.owners
        keep.ids += gone.ids
        self.changed.add(gone.id)

    def let_lead(self, group_id: int, parent: int, root: Group) -> None:
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
        elif not self.merged.claim_one(group_id):
            root.owners += 1
            self._count(group_id, 1)

    def release(self, group_id: int) -> None:
        root = self.find(group_id)
        if root.owners == 1 and len(root.entries):
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
        self.merged[group_id] += change << ID_BITS
        return (self.merged[group_id] >> ID_BITS) + 1

    def _drop(self, group_id: int) -> None:
        """Forget an id without references, and then every id on its way that was needed for it alone."""
        references = 0
        while references == 0:
            root = self.find(group_id)
            self._dropped.append(_state(root)._replace(id=group_id, dropped=True))
            self.changed.discard(group_id)
            if root.id == group_id:
                root.trails.remove(root)
                del self.roots[group_id]
                return
            root.ids -= 1
            group_id = self.merged.pop(group_id) & ID_MASK
            references = self._count(group_id, -1)

    def restore_merged(self, merged: MergedIds, leading: Mapping[int, int], counts: Mapping[int, int]) -> None:
        """Let each id lead to another one. Nobody has claimed anything yet. Raises UnknownGroup.

        counts  ids that restored ones in `merged` lead to directly -> how many
        """
        self.merged = merged
        for group_id, parent in leading.items():
            merged[group_id] = parent
        roots: dict[int, Group | None] = {}  # of the ids that others lead to
        for parent, count in (Counter(counts) + Counter(leading.values())).items():
            root = self._root_of(parent, roots)
            if root is None:
                raise UnknownGroup(parent)
            self._count(parent, count)
            root.ids += count
            root.owners += count
        self._unclaimed = {*self.roots, *leading}

    def _root_of(self, group_id: int, known: "dict[int, Group | None]") -> "Group | None":
        """The group at the end of an id's way; None if the way ends elsewhere, or nowhere."""
        way: list[int] = []
        step: int | None = group_id
        while step is not None and step not in known:
            known[step] = self.roots.get(step)  # None while on the way: a circle ends here
            if known[step] is not None:
                break
            way.append(step)
            step = self.parent(step)
        root = None if step is None else known[step]
        for passed in way:
            known[passed] = root
        return root

    def claim(self, group_ids: "array[int]") -> set[Group]:
        """`hold` for many that have just been restored; returns their groups. Raises UnknownGroup."""
        ways, others = self.merged.claim(group_ids)
        for group_id in others:
            self.hold(group_id)
        return {self.find(each) for each in ways.union(others)}

    def extend(self, steps: Sequence[int], group_ids: Sequence[int], entries: Sequence[int]) -> None:
        """Watch much at once, in groups that are held."""
        self.watches.update(zip(steps, entries, strict=True))
        ways = self.merged.ways(group_ids)
        roots = {way: self.find(way) for way in set(ways)}
        by_root: dict[Group, list[int]] = {root: [] for root in roots.values()}
        for way, entry in zip(ways, entries, strict=True):
            by_root[roots[way]].append(entry)
        for root, members in by_root.items():
            root.trails.extend(root, members)

    def drop_unheld(self, merged: Iterable[int]) -> None:
        unclaimed, self._unclaimed = self._unclaimed, set()
        unclaimed.update(group_id for group_id in merged if self.resolve(group_id) is not None)
        for group_id in sorted(unclaimed):
            self.release(group_id)

    @property
    def have_changed(self) -> bool:
        return bool(self.changed or self._dropped)

    def take_changed(self) -> list[GroupState]:
        states = self._dropped
        for group_id in self.changed:
            state = _state(self.find(group_id))
            states.append(state._replace(id=group_id, merged_into=self.parent(group_id)))
        self.changed, self._dropped = set(), []
        return sorted(states, key=_group_id)

    # -- watches

    def unwatch(self, step_id: int) -> None:
        entry = self.watches.get(step_id)
        if entry is None:
            return
        root = self.resolve(entry >> ID_BITS & ID_MASK)
        if root is None:  # its owner has released the id too early, but others still hold the group
            root = next(root for root in self.roots.values() if entry in root.entries)
        root.entries.remove(entry)
        self.forget([step_id])

    def forget(self, step_ids: Sequence[int]) -> None:
        """Their entries have left the groups."""
        for step_id in step_ids:
            del self.watches[step_id]
        if self.long_ratios:  # rarely
            for step_id in step_ids:
                self.long_ratios.pop(step_id, None)

    def is_reached(self, entry: int, signed_price: int, extreme: int) -> bool:
        """Whether ratio x extreme <= price, exactly."""
        denominator = entry >> _DENOMINATOR_SHIFT & _DENOMINATOR_MASK
        if denominator:  # the key is numerator x 2^56 / denominator rounded down, and the denominator is below 2^56
            numerator = -(-(entry >> _RATIO_SHIFT) * denominator >> _RATIO_BITS)
        else:
            numerator, denominator = self.long_ratios[entry & ID_MASK]
        return numerator * extreme <= signed_price * denominator


def packed_trail(watch: Watch) -> bytes:
    """The record of a trailing watch, but for its run. Raises OverflowError for one that does not fit."""
    trail = watch.trail
    assert trail is not None
    upper, upper_scale = trail.numerator.as_integer_ratio()
    lower, lower_scale = trail.denominator.as_integer_ratio()
    sign = -1 if watch.highest else 1
    numerator, denominator = _signed_ratio(sign, upper * lower_scale, upper_scale * lower)
    if denominator > _DENOMINATOR_MASK:
        raise OverflowError("the denominator fits in no entry")
    entry = _trail_entry((numerator << _RATIO_BITS) // denominator, denominator, trail.group, watch.step_id)
    number = 2 * _PRICE_TYPES.index(watch.price_type) + (not watch.highest)
    return rest_of_record(Kind.TRAIL, watch.step_id, trail.group, number, entry)


def packed_member(step_id: int, group_id: int) -> bytes:
    """The record of a step that belongs to a group and watches nothing in it now, but for its run."""
    return rest_of_record(Kind.MEMBER, step_id, group_id)


def line_above(top: int, signed_extreme: int) -> int:
    """A signed price below which no watch fires whose entry has this top or a higher one."""
    return top * abs(signed_extreme) >> _TOP_SHIFT


def _signed_ratio(sign: int, numerator: int, denominator: int) -> tuple[int, int]:
    common = gcd(numerator, denominator)
    return sign * numerator // common, denominator // common


def _trail_entry(key: int, denominator: int, group_id: int, step_id: int) -> int:
    rest = denominator << _DENOMINATOR_SHIFT | group_id << ID_BITS | step_id
    return -((-key << _RATIO_SHIFT) - rest)  # negation copies: a sum or shift keeps a spare digit, here 16 bytes


def _line(key: int, signed_extreme: int) -> int:
    """Lowest signed grid price at which a watch with this key may fire; it surely does not fire below."""
    return -(-key * abs(signed_extreme) >> _RATIO_BITS)


def _state(group: Group) -> GroupState:
    trails = group.trails
    return GroupState(group.id, trails.price_type, trails.sign < 0, trails.price(group.signed_extreme))

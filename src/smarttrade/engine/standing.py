"""What a restart needs of the open trades before it reads a single one (EX-36).

A trade's standing is a pure function of the trade: its watches, its trailing groups, its deadline and the ids of its
steps, as records of fixed size. The store keeps it beside the trade, written in the same commit; joined end to end the
records of a million trades are read in one go and handed to the trigger books in bulk. The trade stays the truth: what
does not fit into a record says so, and is armed from the trade itself.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from smarttrade.domain.events import WatchRole
from smarttrade.domain.machine import next_deadline
from smarttrade.domain.quote import Instant, InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.watches import Watch, awaits_price, trails, watches
from smarttrade.engine.owners import packed_runs
from smarttrade.engine.trail_groups import packed_member, packed_trail
from smarttrade.engine.trigger_book import packed_level

STANDING_FORMAT: Final = "1"
"""Changes with the meaning of a record; then every standing is made again from its trade."""

_DUE: Final = struct.Struct("<IIq")  # trade, flags, deadline
_RECOVER: Final = 1
_AWAITS_PRICE: Final = 2
_HAS_DEADLINE: Final = 4
_UNPACKED: Final = 8


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one open trade, or of many on one instrument."""

    key: InstrumentKey
    owners: bytes  # runs of step ids, see owners.packed_runs
    levels: bytes = b""  # fixed levels, see trigger_book.packed_level
    trails: bytes = b""  # trailing groups and what is watched in them, see trail_groups.packed_trail
    due: bytes = b""  # what is to be done for a trade besides watching; most have nothing


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart has to do for one trade besides watching its prices."""

    trade_id: int
    recover: bool  # orders alive, interrupted sequences, timers
    awaits_price: bool
    deadline: Instant | None
    unpacked: bool  # its watches are not among the records: arm them from the trade


def standing(trade: SmartTrade, price_decimals: int) -> Standing:
    """The standing of an open trade whose prices are compared on a grid of 10^-price_decimals."""
    levels, trailing, whole = b"", b"", True
    try:
        levels, trailing = _packed_watches(trade, price_decimals)
    except OverflowError:
        whole = False
    deadline = next_deadline(trade)
    flags = (
        _RECOVER * needs_recovery(trade)
        | _AWAITS_PRICE * awaits_price(trade)
        | _HAS_DEADLINE * (deadline is not None)
        | _UNPACKED * (not whole)
    )
    return Standing(
        key=trade.key,
        owners=packed_runs(trade.id, step_ids(trade)),
        levels=levels,
        trails=trailing,
        due=_DUE.pack(trade.id, flags, deadline or 0) if flags else b"",
    )


def needs_recovery(trade: SmartTrade) -> bool:
    """Whether a restart has anything to do for a trade besides watching: orders alive, sequences, timers."""
    watching = (TradeStatus.WAITING_POSITION, TradeStatus.WAITING_TARGETS)
    if trade.status not in watching or trade.ending is not None or trade.failing is not None:
        return True
    if trade.stop is not None and trade.stop.timer_started_at is not None:
        return True
    if trade.leverage_asked and not trade.leverage_confirmed:
        return True
    return any(step.live_order is not None or step.retry_at is not None for step in trade.legs)


def joined(standings: Iterable[Standing]) -> list[Standing]:
    """One standing for each instrument."""
    by_key: dict[InstrumentKey, list[Standing]] = {}
    for each in standings:
        by_key.setdefault(each.key, []).append(each)
    return [
        Standing(
            key=key,
            owners=b"".join(each.owners for each in group),
            levels=b"".join(each.levels for each in group),
            trails=b"".join(each.trails for each in group),
            due=b"".join(each.due for each in group),
        )
        for key, group in by_key.items()
    ]


def step_ids(trade: SmartTrade) -> list[int]:
    """Ids of all legs, in no particular order."""
    return [step.id for step in trade.legs]


def all_due(records: bytes) -> Iterator[Due]:
    """The records of `Standing.due`, read."""
    for trade_id, flags, deadline in _DUE.iter_unpack(records):
        yield Due(
            trade_id=trade_id,
            recover=bool(flags & _RECOVER),
            awaits_price=bool(flags & _AWAITS_PRICE),
            deadline=deadline if flags & _HAS_DEADLINE else None,
            unpacked=bool(flags & _UNPACKED),
        )


def _packed_watches(trade: SmartTrade, price_decimals: int) -> tuple[bytes, bytes]:
    """Level and trail records. Raises OverflowError when a watch fits into none."""
    levels: list[bytes] = []
    trailing: dict[int, Watch] = {}
    for watch in watches(trade):
        if watch.trail is not None:
            trailing[watch.trail.group] = watch
        elif watch.role is not WatchRole.LEVEL or watch.level is None:
            raise OverflowError("only plain levels have records")
        else:
            levels.append(packed_level(watch, price_decimals))
    members = trails(trade)
    if not members.keys() >= trailing.keys():
        raise OverflowError("a watched group is not held")
    records = [
        packed_trail(trailing[group]) if group in trailing else packed_member(step.id, group)
        for group, step in members.items()
    ]
    return b"".join(levels), b"".join(records)

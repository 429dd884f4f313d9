"""What a restart needs of the open trades before it reads a single one (EX-36).

A trade's standing is a pure function of the trade: its watches, its trailing groups, its deadline and the ids of its
steps, as records of fixed size. The store keeps it beside the trade, written in the same commit; joined end to end the
records of a million trades are read in one go and handed to the trigger books as they are. The trade stays the truth:
what does not fit into a record says so, and is armed from the trade itself.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Final

import msgspec

from smarttrade.domain.events import WatchRole
from smarttrade.domain.machine import next_deadline
from smarttrade.domain.quote import Instant, InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.watches import Watch, awaits_price, trails, watches
from smarttrade.engine.owners import runs
from smarttrade.engine.records import (
    NOTES,
    OWNER_REST,
    RECORD_BYTES,
    STEPS,
    TAGS,
    Kind,
    entries,
    record,
    rest_of_record,
    tag,
    words,
)
from smarttrade.engine.trail_groups import packed_member, packed_trail
from smarttrade.engine.trigger_book import packed_level

STANDING_FORMAT: Final = "2"
"""Changes with the meaning of a record; then every standing is made again from its trade."""

_RECOVER: Final = 1
_AWAITS_PRICE: Final = 2
_HAS_DEADLINE: Final = 4
_UNPACKED: Final = 8


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One open trade, or many on one instrument."""

    key: InstrumentKey
    records: bytes  # see records.py


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart has to do for one trade besides watching its prices."""

    trade_id: int
    recover: bool  # orders alive, interrupted sequences, timers
    awaits_price: bool
    deadline: Instant | None
    unpacked: bool  # its watches are not among the records: arm them from the trade


def standing(trade: SmartTrade, price_decimals: int) -> Standing:
    """The standing of an open trade whose prices are compared on a grid of 10^-price_decimals."""
    rests: list[bytes] = []
    whole = True
    try:
        rests += _packed_watches(trade, price_decimals)
    except OverflowError:
        whole = False
    deadline = next_deadline(trade)
    flags = (
        _RECOVER * needs_recovery(trade)
        | _AWAITS_PRICE * awaits_price(trade)
        | _HAS_DEADLINE * (deadline is not None)
        | _UNPACKED * (not whole)
    )
    if flags:
        rests.append(rest_of_record(Kind.DUE, trade.id, flags, entry=deadline or 0))
    together = zip_longest(runs(trade.id, step_ids(trade)), rests)
    return Standing(key=trade.key, records=b"".join(record(run or 0, rest or OWNER_REST) for run, rest in together))


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
    by_key: dict[InstrumentKey, list[bytes]] = {}
    for each in standings:
        by_key.setdefault(each.key, []).append(each.records)
    return [Standing(key=key, records=b"".join(group)) for key, group in by_key.items()]


def step_ids(trade: SmartTrade) -> list[int]:
    """Ids of all legs, in no particular order."""
    return [step.id for step in trade.legs]


def all_due(records: bytes) -> Iterator[Due]:
    """What is to be done besides watching; for most trades nothing."""
    tags, due = records[TAGS], bytes([tag(Kind.DUE)])
    place = tags.find(due)
    while place >= 0:
        one = records[place * RECORD_BYTES : (place + 1) * RECORD_BYTES]
        numbers = words(one, "I")
        trade_id, flags = numbers[STEPS][0], numbers[NOTES][0]
        yield Due(
            trade_id=trade_id,
            recover=bool(flags & _RECOVER),
            awaits_price=bool(flags & _AWAITS_PRICE),
            deadline=entries(one)[0] if flags & _HAS_DEADLINE else None,
            unpacked=bool(flags & _UNPACKED),
        )
        place = tags.find(due, place + 1)


def _packed_watches(trade: SmartTrade, price_decimals: int) -> list[bytes]:
    """Records of levels and trailing groups. Raises OverflowError when a watch fits into none."""
    rests: list[bytes] = []
    trailing: dict[int, Watch] = {}
    for watch in watches(trade):
        if watch.trail is not None:
            trailing[watch.trail.group] = watch
        elif watch.role is not WatchRole.LEVEL or watch.level is None:
            raise OverflowError("only plain levels have records")
        else:
            rests.append(packed_level(watch, price_decimals))
    members = trails(trade)
    if not members.keys() >= trailing.keys():
        raise OverflowError("a watched group is not held")
    rests += [
        packed_trail(trailing[group]) if group in trailing else packed_member(step.id, group)
        for group, step in members.items()
    ]
    return rests

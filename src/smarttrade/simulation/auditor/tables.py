"""The tables of a trade and of its legs, written once more from the rules (behaviour section 2).

A commit may hold several moves, so what is asked of two statuses seen one after the other is whether moves lead from
one to the other.
"""

from collections.abc import Iterable, Mapping
from typing import Final

Moves = Mapping[str, tuple[str, ...]]
Reach = Mapping[str, frozenset[str]]

WATCHING: Final = frozenset({"waiting_targets", "pending_reduce_funds", "reduce_funds_in_progress"})
"""The position is there and its exits work."""

FINAL: Final = frozenset({"stop_loss_finished", "panic_sold", "cancelled", "finished", "failed"})
OVER: Final = frozenset({"finished", "panic_sold", "cancelled", "failed", "smart_sell"})
"""Statuses of a leg that ended."""

_LEAVES: Final = ("panic_sell_pending", "cancellation_pending", "failed")  # S-22, S-26, S-32

TRADE: Final[Moves] = {
    "created": ("waiting_targets", "waiting_position", "finished", "failed"),  # S-2, S-4 to S-9
    "waiting_position": (
        "waiting_targets",  # S-7, S-12
        "finished",  # S-9
        "failed",  # S-8
        "cancellation_pending",  # S-10
        "cancelled",  # S-11
        "stop_loss_in_progress",  # P-18
    ),
    "waiting_targets": ("finished", "stop_loss_in_progress", "pending_reduce_funds", *_LEAVES),  # S-14, S-15, S-18
    "pending_reduce_funds": ("reduce_funds_in_progress", "finished", "stop_loss_in_progress", *_LEAVES),  # S-19, S-21
    "reduce_funds_in_progress": ("waiting_targets", "finished", "stop_loss_in_progress", *_LEAVES),  # S-20, S-21
    "stop_loss_in_progress": ("stop_loss_finished", "finished", *_LEAVES),  # S-16, S-17
    "panic_sell_pending": ("panic_sell_in_progress", "finished", "stop_loss_finished", "failed"),  # S-23, S-24, S-34
    "panic_sell_in_progress": ("panic_sold", "failed"),  # S-25, EX-10
    "cancellation_pending": ("cancellation_in_progress", "cancelled", "finished", "failed"),  # S-27 to S-29
    "cancellation_in_progress": ("cancelled", "finished", "failed"),
}

_ENDING: Final[Moves] = {"pending_cancellation": ("cancelled", "finished", "failed")}  # TP-12, TP-13, R-5, R-8

_POSITION: Final[Moves] = {
    **_ENDING,
    "idle": ("smart_sell", "pending_cancellation", "failed"),  # P-1
    "to_process": ("order_placed", "trailing_activated", "panic_sell_pending", "pending_cancellation", "failed"),
    "trailing_activated": ("order_placed", "panic_sell_pending", "pending_cancellation", "failed"),  # P-6, P-9
    "order_placed": ("finished", "panic_sell_pending", "pending_cancellation", "failed"),  # P-8, P-9, P-14, P-15
    "panic_sell_pending": ("panic_sell_order_placed", "finished", "pending_cancellation", "failed"),  # P-10 to P-12
    "panic_sell_order_placed": ("finished", "pending_cancellation", "failed"),  # P-13
}

_AVERAGING: Final[Moves] = {
    **_ENDING,
    "to_process": ("order_placed", "panic_sell_pending", "pending_cancellation", "failed", "cancelled"),
    "order_placed": ("finished", "panic_sell_pending", "pending_cancellation", "failed", "cancelled"),
    "panic_sell_pending": ("panic_sell_order_placed", "finished", "pending_cancellation", "failed", "cancelled"),
    "panic_sell_order_placed": ("finished", "pending_cancellation", "failed", "cancelled"),  # A-6, EX-30
}

_TAKE_PROFIT: Final[Moves] = {
    **_ENDING,
    "idle": ("to_process", "pending_cancellation", "failed"),  # TP-2, TP-3, M-27
    "to_process": (
        "order_placed",  # TP-2, TP-4
        "trailing_activated",  # TP-5
        "panic_sell_pending",  # TP-9
        "pending_cancellation",  # TP-12
        "failed",  # TP-14
        "finished",  # executed by the step that it replaces (E-26)
        "cancelled",  # EX-30
    ),
    "trailing_activated": ("order_placed", "panic_sell_pending", "pending_cancellation", "failed", "finished"),  # TP-6
    "order_placed": (
        "finished",  # TP-8
        "to_process",  # out of the book, to be placed again (RF-2, EX-23, EX-25)
        "panic_sell_pending",
        "pending_cancellation",
        "cancelled",  # EX-30
        "failed",
    ),
    "panic_sell_pending": ("panic_sell_order_placed", "finished", "pending_cancellation", "failed"),  # TP-10
    "panic_sell_order_placed": ("panic_sold", "pending_cancellation", "failed"),  # TP-11
}

_STOP_LOSS: Final[Moves] = {
    **_ENDING,
    "idle": ("to_process", "trailing_activated", "pending_cancellation"),  # SL-2, SL-3, SL-12
    "to_process": ("order_placed", "finished", "pending_cancellation"),  # SL-4, EX-18, SL-12
    "trailing_activated": ("order_placed", "finished", "pending_cancellation"),
    "order_placed": ("finished", "pending_cancellation"),  # SL-8
}

_REDUCE_FUNDS: Final[Moves] = {
    **_ENDING,
    "idle": ("to_process", "pending_cancellation"),  # RF-2
    "to_process": ("order_placed", "finished", "pending_cancellation", "failed", "cancelled"),  # RF-3, RF-7, RF-8
    "order_placed": ("finished", "pending_cancellation", "failed", "cancelled"),  # RF-5, RF-6, EX-30
}

_MARKET_CLOSE: Final[Moves] = {
    **_ENDING,
    "to_process": ("order_placed", "finished", "pending_cancellation"),  # MC-2
    "order_placed": ("finished", "pending_cancellation"),  # MC-4
}


def reach(moves: Moves, all_of: Iterable[str]) -> Reach:
    """For each status all that moves lead to from it, itself included."""
    found: dict[str, frozenset[str]] = {}
    for status in all_of:
        seen, todo = {status}, [status]
        while todo:
            for target in moves.get(todo.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        found[status] = frozenset(seen)
    return found


def _all_of(moves: Moves) -> set[str]:
    return {*moves, *(target for targets in moves.values() for target in targets)}


TRADE_REACH: Final = reach(TRADE, _all_of(TRADE))

LEG_REACH: Final[Mapping[str, Reach]] = {
    purpose: reach(moves, _all_of(moves))
    for purpose, moves in (
        ("position", _POSITION),
        ("averaging", _AVERAGING),
        ("take_profit", _TAKE_PROFIT),
        ("stop_loss", _STOP_LOSS),
        ("reduce_funds", _REDUCE_FUNDS),
        ("market_close", _MARKET_CLOSE),
    )
}

FIRST: Final[Mapping[str, tuple[str, ...]]] = {
    "position": ("idle", "to_process"),  # P-1, P-2
    "averaging": ("to_process",),
    "take_profit": ("idle",),  # TP-1
    "stop_loss": ("idle",),  # SL-1
    "reduce_funds": ("idle",),  # RF-1
    "market_close": ("to_process",),  # MC-2
}
"""Statuses that a leg begins in."""

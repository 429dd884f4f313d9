"""Rule 6: trades and legs move along their tables only, ids are what they must be, and the end is the end."""

from typing import Final

from smarttrade.simulation.auditor.books import Leg, Row, Trade
from smarttrade.simulation.auditor.known import Known
from smarttrade.simulation.auditor.tables import FINAL, FIRST, LEG_REACH, TRADE_REACH

FIRST_ID_TOO_LARGE: Final = 2**31
"""Clients keep ids in 32 signed bits."""

_STAYS: Final = ("closed_at", "status", "ending", "failing", "account_id", "key", "kind", "created_at")


def check_trade(known: Known, trade: Trade, row: Row, *, is_new: bool) -> None:
    """The status of the trade as it was and as it is now."""
    status = row["status"]
    if is_new:
        if not 0 < trade.id < FIRST_ID_TOO_LARGE:
            known.violation("ids", f"the trade id {trade.id} does not fit 31 bits", trade)
        if status not in TRADE_REACH["created"]:
            known.violation("S-1", f"a new trade is {status}", trade)
    else:
        if row.get("revision", 1) < trade.row.get("revision", 1):
            known.violation("C-9", "an older state was stored over a newer one", trade)
        if trade.is_final:
            _check_final(known, trade, row)
        elif status not in TRADE_REACH[trade.status]:
            known.violation("S-table", f"no row leads from {trade.status} to {status}", trade)
    if (row.get("closed_at") is not None) != (status in FINAL):
        known.violation("S-36", f"closed_at is {row.get('closed_at')} in {status}", trade)


def _check_final(known: Known, trade: Trade, row: Row) -> None:
    """S-33: only EX-33 and a note change a trade that is over."""
    for name in _STAYS:
        if row.get(name) != trade.row.get(name):
            text = f"{name} changed from {trade.row.get(name)} to {row.get(name)} after the end"
            known.violation("S-33", text, trade)


def check_leg(known: Known, trade: Trade, before: Leg | None, leg: Leg) -> None:
    """The status of one leg, and that its id is its own for ever."""
    reach = LEG_REACH[leg.purpose]
    if before is None:
        _check_new_leg(known, trade, leg)
        if not any(leg.status in reach[first] for first in FIRST[leg.purpose]):
            known.violation(f"{leg.purpose}-table", f"a new leg {leg.id} is {leg.status}", trade)
        return
    if before.purpose != leg.purpose:
        known.violation("ids", f"leg {leg.id} was a {before.purpose} and is a {leg.purpose}", trade)
    if leg.status not in reach.get(before.status, frozenset((before.status,))):
        known.violation(
            f"{leg.purpose}-table", f"leg {leg.id}: no row leads from {before.status} to {leg.status}", trade
        )
    if trade.is_final and leg.status != before.status:
        known.violation("S-33", f"leg {leg.id} went from {before.status} to {leg.status} after the end", trade)


def _check_new_leg(known: Known, trade: Trade, leg: Leg) -> None:
    if not 0 < leg.id < FIRST_ID_TOO_LARGE:
        known.violation("ids", f"the step id {leg.id} does not fit 31 bits", trade)
    owner = known.owner_of_step.get(leg.id)
    if owner is not None:
        known.violation("ids", f"step id {leg.id} belonged to trade {owner[0]} before", trade)
    if trade.is_final:
        known.violation("S-33", f"leg {leg.id} was added after the end", trade)
    known.owner_of_step[leg.id] = (trade.id, leg.purpose)


def check_whole(known: Known, trade: Trade) -> None:
    """A trade that is over has legs that are over, named after what ended it (S-34)."""
    if not trade.is_final:
        return
    for leg in trade.legs.values():
        if not leg.is_over:
            known.violation("S-33", f"{trade.status} with leg {leg.id} {leg.status}", trade)
    ended_by = {"stop_loss_finished": "stop_loss", "panic_sold": "market_close"}.get(trade.status)
    if ended_by is not None and not any(
        leg.purpose == ended_by and leg.status == "finished" for leg in trade.legs.values()
    ):
        known.violation("S-34", f"{trade.status} without a {ended_by} that finished", trade)

"""Looks at a trade that had time to settle: what is booked, what is live, what covers it, and how it goes on.

Rules 2 (from below), 5 (nothing is missing), 7 (every commanded end is reached), and that a fired exit is at work.
"""

from decimal import Decimal
from typing import Final

from smarttrade.simulation.auditor.books import (
    SECOND,
    ZERO,
    ExchangeOrder,
    Leg,
    Pair,
    Trade,
    amount,
    ceil_to,
    floor_to,
    stored_sums,
)
from smarttrade.simulation.auditor.known import GRACE, Known
from smarttrade.simulation.auditor.tables import WATCHING
from smarttrade.simulation.observer import Instant

LONGEST_PAUSE: Final[Instant] = 60 * SECOND  # EX-12
CLOSING: Final = frozenset({"stop_loss_in_progress", "panic_sell_pending", "panic_sell_in_progress"})
CANCELLING: Final = frozenset({"cancellation_pending", "cancellation_in_progress"})
RESTING: Final = ("to_process", "order_placed")


def review(known: Known, trade: Trade) -> bool:
    """Look at `trade`; whether it has to be looked at again later. Raises Violation."""
    if not known.is_calm(trade.account_id):
        return True
    waits = False
    for order in trade.orders.values():
        if known.now - order.changed_at < GRACE:
            waits = True
        else:
            _check_known(known, trade, order)
    if known.now - trade.committed_at < GRACE or waits:
        return True
    _check_sent(known, trade)
    if trade.is_final:
        return False
    _check_progress(known, trade)
    _check_targets(known, trade)
    return trade.status in CLOSING or trade.status in CANCELLING


def _check_known(known: Known, trade: Trade, order: ExchangeOrder) -> None:
    """Nothing that happened to an order at the exchange is missing in the committed state (EX-1, EX-35, F24, F26)."""
    name = order.seen.client_order_id
    stored = next((o for o in trade.legs[order.step_id].row.get("orders", ()) if o["client_order_id"] == name), None)
    if stored is None:
        if order.alive or order.fills:
            known.violation("EX-32", f"{name} is forgotten, alive or filled as it is", trade)
        return
    booked = stored_sums(stored.get("execution"))
    if booked != order.sums:
        known.violation("EX-1", f"{name} filled {order.sums}, booked is {booked}", trade)
    is_over = stored.get("status", "intended") in ("filled", "canceled", "rejected")
    if order.alive and is_over:
        known.violation("faults F26", f"{name} is alive at the exchange and {stored['status']} here", trade)
    if not order.alive and not is_over:
        text = f"{name} ended as {order.ended_as} and is {stored.get('status', 'intended')} here"
        known.violation("EX-35", text, trade)
    if order.alive and trade.is_final:
        known.violation("faults F29", f"{name} is alive after the end of its trade", trade)


def _check_sent(known: Known, trade: Trade) -> None:
    """An order that is meant is at the exchange, or is asked about in known pauses (C-9, EX-7, EX-31, EX-36)."""
    for leg in trade.legs.values():
        live = leg.live
        if live is None or live["client_order_id"] in trade.orders:
            continue
        due = live.get("due_at")
        if due is None or known.now > due + GRACE:
            text = f"{live['client_order_id']} is {live.get('status', 'intended')} and nobody sees to it"
            known.violation("EX-31", text, trade)


def _is_retried(known: Known, leg: Leg) -> bool:
    """The next attempt has its time, and not too far away (EX-12)."""
    retry_at = leg.row.get("retry_at")
    return retry_at is not None and known.now - GRACE < retry_at <= known.now + LONGEST_PAUSE + SECOND


def _check_progress(known: Known, trade: Trade) -> None:
    """What was decided goes on: an exit is at work or retried, an end is reached (EX-12, S-23, S-28, S-19)."""
    pair = known.pairs[trade.key]
    if trade.lost or trade.row.get("failing") is not None:
        if not any(leg.live is not None for leg in trade.legs.values()) and trade.row.get("failing") is not None:
            known.violation("S-32", "the trade is to fail, has no order left and goes on", trade)
        return
    if any(leg.live is not None for leg in trade.legs.values()):
        return
    status = trade.status
    if status in CANCELLING:
        known.violation("S-28", f"{status} with no order left", trade)
    if status in CLOSING:
        working = [leg for leg in trade.legs.values() if leg.purpose in ("stop_loss", "market_close")]
        if any(_is_retried(known, leg) for leg in working):
            return
        if pair.is_closable(trade.open_amount(), long=trade.is_long):
            known.violation("EX-20", f"{status} with {trade.open_amount()} open, and nothing closes it", trade)
        known.violation("S-16", f"{status} with nothing left to close", trade)
    if status == "pending_reduce_funds":
        known.violation("S-19", "the reduction is not taken up", trade)
    if status == "reduce_funds_in_progress" and not _has_retry(known, trade):
        known.violation("S-20", "the reduction has no order and goes on", trade)
    if status == "created" and trade.row.get("leverage") is None:
        known.violation("S-6", "nobody takes the trade", trade)


def _has_retry(known: Known, trade: Trade) -> bool:
    return any(_is_retried(known, leg) for leg in trade.legs.values())


def _check_targets(known: Known, trade: Trade) -> None:
    """Targets together cover what is open, each at its own price (M-20, M-24, F32 from below)."""
    if trade.status != "waiting_targets" or trade.lost:
        return
    row = trade.row
    if any(row.get(name) is not None for name in ("ending", "failing", "room_for")):
        return
    pair = known.pairs[trade.key]
    targets = [leg for leg in trade.legs.values() if leg.purpose == "take_profit"]
    active = [leg for leg in targets if not leg.is_over]
    others = [leg for leg in trade.legs.values() if leg.purpose not in ("take_profit", "stop_loss")]
    if not active or any(not leg.is_over for leg in others):
        return
    if any(not _is_at_ease(leg) for leg in active) or any(leg.row.get("cap") for leg in targets):
        return
    rests = [_rest(known, trade, leg, pair) for leg in active]
    open_lots = floor_to(trade.open_amount(), pair.rules.lot)
    covered = sum(rests, ZERO)
    is_whole = not any(leg.row.get("uncovered") for leg in targets)
    if covered > open_lots or (is_whole and covered != open_lots):
        known.violation("M-24", f"targets cover {covered} of {open_lots}", trade)
    if len(active) == len(targets) and not any(leg.sums.base or leg.row.get("carried") for leg in active):
        _check_shares(known, trade, active, open_lots, pair)


def _is_at_ease(leg: Leg) -> bool:
    """Resting or watched with its share, neither executed nor refused right now."""
    row = leg.row
    if leg.status == "pending_cancellation" or leg.status.startswith("panic") or row.get("units") is None:
        return False
    return not (row.get("triggered") or row.get("watched") or row.get("reached") or row.get("retry_at"))


def _rest(known: Known, trade: Trade, leg: Leg, pair: Pair) -> Decimal:
    """What a target has still to close; one that rests does so at the exchange, at its price and with that size."""
    row = leg.row
    rest = max(amount(row["units"]) - amount(row.get("carried")) - leg.sums.base, ZERO)
    if row["order_type"] != "limit" or row.get("trailing_percent") is not None or leg.status not in RESTING:
        return rest
    order = None if leg.live is None else trade.orders.get(leg.live["client_order_id"])
    if order is None or not order.alive:
        if floor_to(rest, pair.rules.lot) > ZERO:
            known.violation("TP-2", f"target {leg.id} of {rest} has no order in the book", trade)
        return rest
    step = ceil_to if trade.is_long else floor_to
    price = step(amount(row["price"]), pair.rules.tick)
    if order.seen.price != price:
        known.violation("TR-9", f"target {leg.id} at {price} rests at {order.seen.price}", trade)
    if order.leaves != floor_to(rest, pair.rules.lot):
        known.violation("M-24", f"target {leg.id} of {rest} rests with {order.leaves}", trade)
    return rest


def _check_shares(known: Known, trade: Trade, active: list[Leg], open_lots: Decimal, pair: Pair) -> None:
    """M-20: each its volume's share in whole lots, and one of them, the first then, what rounding leaves."""
    volumes = [amount(leg.row["volume"]) for leg in active]
    shares = [floor_to(open_lots * volume / sum(volumes, ZERO), pair.rules.lot) for volume in volumes]
    stored = [amount(leg.row["units"]) for leg in active]
    more = [units - share for units, share in zip(stored, shares, strict=True) if units != share]
    if more not in ([], [open_lots - sum(shares, ZERO)]):
        known.violation("M-20", f"{open_lots} by {volumes} are {shares}, the targets have {stored}", trade)


def check_end(known: Known, trade: Trade) -> None:
    """Some time after peace every end that was commanded is reached (rule 7)."""
    if trade.status in CANCELLING or trade.status in ("panic_sell_pending", "pending_reduce_funds", "created"):
        known.violation("rule 7", f"peace has been for long, and the trade is {trade.status}", trade)
    stop = trade.row.get("stop") or {}
    is_market = trade.status == "panic_sell_in_progress" or (
        trade.status == "stop_loss_in_progress" and stop.get("limit_price") is None
    )
    if is_market and not trade.lost:
        blocked = any(leg.row.get("refusals") for leg in trade.legs.values())
        pair = known.pairs[trade.key]
        if not blocked and pair.is_closable(trade.open_amount(), long=trade.is_long):
            known.violation("rule 7", f"peace has been for long, and {trade.open_amount()} is not closed", trade)
    for order in trade.alive():
        if trade.is_final:
            known.violation("faults F29", f"{order.seen.client_order_id} outlives its trade", trade)


UNTOUCHED_BY_CANCEL: Final = frozenset({"created", "waiting_position", "pending_reduce_funds"}) | WATCHING
UNTOUCHED_BY_CLOSE: Final = UNTOUCHED_BY_CANCEL | {"stop_loss_in_progress"}

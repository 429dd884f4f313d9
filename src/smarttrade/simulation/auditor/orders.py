"""Rules 3, 4 and 8: which orders may be meant, reach the exchange, and follow each other."""

from collections import deque
from decimal import Decimal
from typing import Final

from smarttrade.simulation.auditor.books import (
    LIVE,
    SECOND,
    ZERO,
    ExchangeOrder,
    Leg,
    Pair,
    Row,
    Trade,
    floor_to,
    stored_sums,
)
from smarttrade.simulation.auditor.known import Known, order_name
from smarttrade.simulation.observer import Instant, SeenOrder

CANCEL_TIMEOUT: Final[Instant] = 5 * SECOND
"""After so long a closing order on futures does not wait for a cancellation any more (EX-22)."""

MANY_REFUSALS: Final = 20
"""More refusals of one leg within a minute than the pauses of EX-7 and EX-12 allow, some extra attempts included."""

MANY_REPLACEMENTS: Final = 3
"""So often an order may leave the book and come back the same without a reason that is seen (faults F30)."""

CLOSING: Final = frozenset({"stop_loss", "market_close"})


# --- what is committed ------------------------------------------------------------------------------------------


def check_orders(known: Known, trade: Trade, pair: Pair, before: Leg | None, leg: Leg) -> None:
    """The attempts of a leg that has changed: new ones are fit to be sent, old ones count what the exchange filled."""
    old = {} if before is None else {order["client_order_id"]: order for order in before.row.get("orders", ())}
    orders = leg.row.get("orders", ())
    for index, order in enumerate(orders):
        name = order["client_order_id"]
        if order.get("status", "intended") in LIVE and index != len(orders) - 1:
            known.violation("C-8", f"{name} is alive behind a newer attempt", trade)
        seen_before = old.get(name)
        if seen_before is None and name not in trade.intents:
            _check_intent(known, trade, pair, leg, order)
            trade.intents[name] = order
        if seen_before is None or order.get("fill_ids") != seen_before.get("fill_ids"):
            check_booked(known, trade, order)
    if len(orders) < len(old):
        _check_forgotten(known, trade, leg, old)


def _check_forgotten(known: Known, trade: Trade, leg: Leg, old: dict[str, Row]) -> None:
    kept = {order["client_order_id"] for order in leg.row.get("orders", ())}
    for name, order in old.items():
        if name not in kept and (order.get("fill_ids") or order.get("status", "intended") in LIVE):
            known.violation("EX-32", f"{name} was forgotten with what it filled", trade)


def _check_intent(known: Known, trade: Trade, pair: Pair, leg: Leg, order: Row) -> None:
    """An order that is meant: its name, side, size and price (C-8, EX-14, EX-16, EX-26, TR-9)."""
    name, rules = order["client_order_id"], pair.rules
    if order_name(name) != (trade.id, leg.id, order["attempt"]):
        known.violation("C-8", f"{name} does not name attempt {order['attempt']} of leg {leg.id}", trade)
    if trade.is_final:
        known.violation("S-33", f"{name} is meant after the end", trade)
    if (order["side"] == trade.entry_side) is not leg.is_entry:
        known.violation("C-2", f"{name} of a {leg.purpose} would {order['side']}", trade)
    if order["reduce_only"] is not (rules.linear and not leg.is_entry):
        known.violation("EX-26", f"{name} of a {leg.purpose}: reduce-only is {order['reduce_only']}", trade)
    quantity, price = Decimal(order["quantity"]), order.get("price")
    is_rest = leg.sums.base > ZERO  # what is left of a market order may be too little: the exchange says so (EX-5)
    if quantity <= ZERO or quantity % rules.lot or (quantity < rules.min_lot and not is_rest):
        known.violation("EX-14", f"{name} is for {quantity}, lot {rules.lot}, at least {rules.min_lot}", trade)
    if price is not None and (Decimal(price) <= ZERO or Decimal(price) % rules.tick):
        known.violation("TR-9", f"{name} is at {price}, tick {rules.tick}", trade)
    if price is None and rules.max_market_lot is not None and quantity > rules.max_market_lot:
        known.violation("EX-16", f"{name} is for {quantity}, at most {rules.max_market_lot} go at market", trade)
    if leg.is_entry:
        units = leg.row["plan"]["units"] if leg.purpose == "position" else leg.row["units"]
        others = sum((stored_sums(o.get("execution")).base for o in leg.row["orders"] if o is not order), ZERO)
        if quantity + others > Decimal(units):
            known.violation("P-8", f"{name} is for {quantity}, {others} of {units} are entered already", trade)


def check_booked(known: Known, trade: Trade, order: Row) -> None:
    """Rule 5 for one order: every fill that is booked happened, and counts to the last digit (EX-1)."""
    ids = order.get("fill_ids", ())
    booked = stored_sums(order.get("execution"))
    at_exchange = trade.orders.get(order["client_order_id"])
    if not ids and booked.base == ZERO:
        return
    if at_exchange is None:
        known.violation("EX-4", f"{order['client_order_id']} counts fills and never reached the exchange", trade)
    if len(set(ids)) != len(ids):
        known.violation("EX-1", f"{order['client_order_id']} counts a fill twice: {ids}", trade)
    expected = at_exchange.sums
    if len(ids) != len(at_exchange.fills):
        expected = type(expected)()
        for fill_id in ids:
            if fill_id in at_exchange.fills:
                expected.add(at_exchange.fills[fill_id])
    if any(fill_id not in at_exchange.fills for fill_id in ids):
        known.violation("EX-1", f"{order['client_order_id']} counts a fill that never happened", trade)
    if booked != expected:
        known.violation("M-2", f"{order['client_order_id']} has {booked}, its fills make {expected}", trade)


# --- what reaches the exchange ----------------------------------------------------------------------------------


class Traffic:
    """Orders on their way to the exchange."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._refusals: dict[int, deque[Instant]] = {}  # by leg
        self._replaced: dict[int, tuple[int, int]] = {}  # by leg: how often for nothing, since which cause

        self._causes: dict[int, int] = {}  # by trade: reasons to send orders anew so far

    def reason(self, trade: Trade) -> None:
        """Something happened that may make the trade send its orders anew."""
        self._causes[trade.id] = self._causes.get(trade.id, 0) + 1

    def taken(self, order: SeenOrder) -> ExchangeOrder:
        known = self._known
        trade, leg = self._meant(order)
        if order.client_order_id in known.orders:
            known.violation("C-8", f"{order.client_order_id} names a second order", trade)
        if trade.is_final:
            known.violation("S-33", f"{order.client_order_id} was sent after the end", trade)
        alive = [other for other in trade.alive() if other.step_id == leg.id]
        if alive:
            names = ", ".join(other.seen.client_order_id for other in alive)
            known.violation("faults F13", f"{order.client_order_id} joins {names}, which is alive", trade)
        if leg.purpose in CLOSING:
            self._check_sequence(trade, leg, order)
        if not leg.is_entry:
            self._check_cover(trade, leg, order)
        self._check_thrashing(trade, leg, order)
        taken = ExchangeOrder(order, trade, leg.id, known.now, is_entry=leg.is_entry)
        known.orders[order.client_order_id] = trade.orders[order.client_order_id] = taken
        return taken

    def refused(self, order: SeenOrder) -> None:
        trade, leg = self._meant(order)
        times = self._refusals.setdefault(leg.id, deque(maxlen=MANY_REFUSALS))
        if len(times) == MANY_REFUSALS and self._known.now - times[0] < 60 * SECOND:
            self._known.violation("EX-12", f"leg {leg.id} was refused {len(times)} times within a minute", trade)
        times.append(self._known.now)

    def filled(self, order: ExchangeOrder) -> None:
        """An attempt was accepted: the pauses of its leg begin anew (EX-12), also between parts of a split (EX-16)."""
        self._refusals.pop(order.step_id, None)

    def clock_was_set(self) -> None:
        """Refusals from before say nothing about pauses."""
        self._refusals.clear()

    def _meant(self, order: SeenOrder) -> tuple[Trade, Leg]:
        """Rule 4: what reaches the exchange was committed before, exactly so (C-9)."""
        known, name = self._known, order_name(order.client_order_id)
        trade = None if name is None else known.trades.get(name.trade_id)
        if name is None or trade is None:
            known.violation("EX-4", f"{order.client_order_id} belongs to no trade")
        intent = trade.intents.get(order.client_order_id)
        if intent is None:
            known.violation("C-9", f"{order.client_order_id} was sent before it was committed", trade)
        price = intent.get("price")
        meant = (
            trade.account_id, *trade.key, intent["side"], intent["type"], Decimal(intent["quantity"]),
            None if price is None else Decimal(price), intent["reduce_only"],
        )  # fmt: skip
        sent = (
            order.account_id, order.market, order.pair, order.side, order.type, order.quantity, order.price,
            order.reduce_only,
        )  # fmt: skip
        if meant != sent:
            known.violation("C-9", f"{order.client_order_id} was committed as {meant} and sent as {sent}", trade)
        return trade, trade.legs[name.step_id]

    def _check_sequence(self, trade: Trade, leg: Leg, order: SeenOrder) -> None:
        """EX-20: everything else is out of the book before the closing order; on futures after 5 s (EX-22)."""
        linear = self._known.pairs[trade.key].rules.linear
        for name, row in _perhaps_alive(trade, leg).items():
            if not linear:
                self._known.violation("EX-20", f"{order.client_order_id} closes while {name} is in the book", trade)
            asked = row.get("cancel_requested_at")
            if asked is None or self._known.now < asked + CANCEL_TIMEOUT:
                text = f"{order.client_order_id} closes before {name} had 5 s to leave"
                self._known.violation("EX-22", text, trade)

    def _check_cover(self, trade: Trade, leg: Leg, order: SeenOrder) -> None:
        """Rule 2: exits never offer more than is open (faults F32)."""
        rules = self._known.pairs[trade.key].rules
        if trade.lost:
            return
        others = [other for other in trade.alive() if not other.is_entry]
        open_amount = trade.open_amount()
        if rules.linear and leg.purpose in CLOSING:
            others = []  # EX-22: reduce-only, beside cancellations that are in doubt, and what they filled meanwhile
            open_amount += sum((_unheard(other) for other in trade.orders.values()), ZERO)
        elif rules.linear and _stored(trade, leg.id, order.client_order_id).get("cancel_requested_at") is not None:
            # It took its time on the way, and its cancellation was in doubt when it was closed without it (EX-22).
            closing = [other for other in trade.orders.values() if trade.purpose_of(other) in CLOSING]
            others = [other for other in others if other not in closing]
            open_amount += sum((other.sums.base for other in closing), ZERO)
        offered = order.quantity + sum((other.leaves for other in others), ZERO)
        most = floor_to(open_amount, rules.lot)
        if offered > most:
            text = f"with {order.client_order_id} its exits offer {offered} of {most} open"
            self._known.violation("faults F32", text, trade)

    def _check_thrashing(self, trade: Trade, leg: Leg, order: SeenOrder) -> None:
        """Rule 8: an order that we took out of the book comes back as it was, and nothing had happened (faults F30).

        One that somebody else cancels is put back as often as that (EX-30).
        """
        cause = self._causes.get(trade.id, 0)
        count, since = self._replaced.get(leg.id, (0, cause))
        before = max(
            (other for other in trade.orders.values() if other.step_id == leg.id),
            key=lambda other: other.taken_at,
            default=None,
        )
        if before is None or since != cause:
            self._replaced[leg.id] = (0, cause)
            return
        same = before.seen.price is not None and before.seen.price == order.price and before.leaves == order.quantity
        ours = _stored(trade, leg.id, before.seen.client_order_id).get("cancel_requested_at") is not None
        if same and ours and before.ended_as == "canceled":
            count += 1
            if count > MANY_REPLACEMENTS and self._known.is_calm(trade.account_id):
                text = f"leg {leg.id} was taken out and put back unchanged {count} times"
                self._known.violation("faults F30", text, trade)
        self._replaced[leg.id] = (count, cause)


def _perhaps_alive(trade: Trade, leg: Leg) -> dict[str, Row]:
    """Orders of other legs that are in the book, or on their way there for all the server knows; as it has them."""
    found = {}
    for other in trade.legs.values():
        if other.live is not None and other.id != leg.id:
            name = other.live["client_order_id"]
            at_exchange = trade.orders.get(name)
            if at_exchange is None or at_exchange.alive:
                found[name] = other.live
    for order in trade.alive():
        name = order.seen.client_order_id
        if order.step_id != leg.id:
            found.setdefault(name, _stored(trade, order.step_id, name))
    return found


def _stored(trade: Trade, step_id: int, client_order_id: str) -> Row:
    """An order as it was committed last."""
    rows: list[Row] = trade.legs[step_id].row.get("orders", [])
    return next((row for row in rows if row["client_order_id"] == client_order_id), trade.intents[client_order_id])


def _unheard(order: ExchangeOrder) -> Decimal:
    """What an order that was to be cancelled has filled, and the server has not been told."""
    row = _stored(order.trade, order.step_id, order.seen.client_order_id)
    if order.is_entry or row.get("cancel_requested_at") is None:
        return ZERO
    execution = row.get("execution") or {}
    return order.sums.base - Decimal(execution.get("gross_quantity", 0))


def check_minimum(known: Known, trade: Trade, order: SeenOrder, pair: Pair) -> None:
    """An order is worth at least the exchange's minimum at one of the latest prices (C-4)."""
    if order.price is not None:
        if order.quantity * order.price < pair.rules.min_total:
            text = f"{order.client_order_id} is worth less than {pair.rules.min_total}"
            known.violation("EX-15", text, trade)
        return
    best = max((price.ask for price in pair.prices), default=None)
    if best is not None and order.quantity * best < pair.rules.min_market_total:
        text = f"{order.client_order_id} is worth less than {pair.rules.min_market_total} at any late price"
        known.violation("EX-15", text, trade)

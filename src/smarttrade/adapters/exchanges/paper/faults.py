"""Scripted faults: the line between an account and the books, on which calls and reports get lost, late or refused.

A fault waits for calls of one account and one kind, oldest first, and spoils `times` of them. Faults and held cancels
are rows of the books, so they survive a kill (sandbox.md).
"""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from smarttrade.adapters.exchanges.paper.books import Books, Report
from smarttrade.adapters.exchanges.paper.rows import FailureClass, FaultKind, FaultPoint, PaperFault
from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.domain.events import CancelRefused
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderReport, RefusalKind
from smarttrade.ports.exchange import ExchangeUnavailable

POSSIBLE: Final[Mapping[FaultPoint, frozenset[FaultKind]]] = {
    FaultPoint.SUBMIT: frozenset(
        {FaultKind.REJECT, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.DUPLICATE_ID}
    ),
    FaultPoint.CANCEL: frozenset({FaultKind.REJECT, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.HOLD}),
    FaultPoint.QUERY: frozenset(
        {FaultKind.REJECT, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.NOT_FOUND}
    ),
    FaultPoint.STREAM: frozenset({FaultKind.DROP, FaultKind.DUPLICATE}),
}
"""Which fault can strike which kind of call."""

TELLING_WORDS: Final = (
    (("insufficient",), RefusalKind.INSUFFICIENT_FUNDS),
    (("reduce",), RefusalKind.REDUCE_ONLY),
    (("too many",), RefusalKind.TOO_MANY_ORDERS),
    (("price", "band"), RefusalKind.PRICE_BAND),
    (("price", "percent"), RefusalKind.PRICE_BAND),
)
"""Words of a rejection's text, all in one row, and what they mean (EX-6, EX-11)."""

UNKNOWN_ORDER: Final = "Unknown order sent."


def refusal_kind(text: str, failure_class: FailureClass | None) -> RefusalKind:
    """The class of a scripted rejection (EX-6). Without a given class the text decides; unrecognised is permanent."""
    if failure_class is FailureClass.TRANSIENT:
        return RefusalKind.TRANSIENT
    if failure_class is FailureClass.PERMANENT:
        return RefusalKind.PERMANENT
    lowered = text.lower()
    for words, kind in TELLING_WORDS:
        if all(word in lowered for word in words):
            return kind
    return RefusalKind.PERMANENT if failure_class is None else RefusalKind.RECOVERABLE


class Line:
    """Calls to the books as the accounts make them, faults included. A lost answer is returned as the exception."""

    def __init__(self, state: State, books: Books) -> None:
        self._state = state
        self._books = books

    # the script

    def add(
        self,
        account_id: int,
        point: FaultPoint,
        kind: FaultKind,
        *,
        text: str = "",
        failure_class: FailureClass | None = None,
        times: int = 1,
    ) -> None:
        """Queue a fault. Raises ValueError for one that cannot happen there, or `times` below 1."""
        if kind not in POSSIBLE[point]:
            raise ValueError(f"fault {kind} is not possible on {point}")
        if times < 1:
            raise ValueError("times must be at least 1")
        self._state.faults.put(
            PaperFault(
                number=self._state.next_number("fault"),
                account_id=account_id,
                point=point,
                kind=kind,
                text=text,
                failure_class=failure_class,
                times=times,
            )
        )

    def release(self, account_id: int) -> None:
        """Let held cancels proceed, in the order in which they were asked for."""
        held = [order for order in self._state.live_orders(account_id) if order.held is not None]
        for order in sorted(held, key=lambda order: order.held or 0):
            self._books.release(order)

    def clear(self, account_id: int) -> bool:
        """Forget queued faults and held cancels; an order whose cancel was held stays in the book.

        True when the stream had been losing reports: it is back now.
        """
        was_losing = False
        for fault in self._state.faults:
            if fault.account_id == account_id:
                was_losing = was_losing or fault.kind is FaultKind.DROP
                self._state.faults.remove(fault.id)
        for order in self._state.live_orders(account_id):
            if order.held is not None:
                self._state.orders.put(replace(order, held=None))
        return was_losing

    # calls

    def submit(self, intent: OrderIntent) -> OrderReport | OrderRefused | ExchangeUnavailable:
        fault = self._strike(intent.account_id, FaultPoint.SUBMIT)
        if fault is None:
            return self._books.submit(intent)
        if fault.kind is FaultKind.REJECT:
            text = fault.text or "Order was rejected by the exchange."
            return self._books.refuse(intent, refusal_kind(fault.text, fault.failure_class), text)
        if fault.kind is FaultKind.DUPLICATE_ID:
            return OrderRefused(
                client_order_id=intent.client_order_id,
                kind=RefusalKind.DUPLICATE_ID,
                text=fault.text or "Client order id exists.",
            )
        if fault.kind is FaultKind.TIMEOUT_AFTER:
            self._books.submit(intent)
        return silence(fault)

    def cancel(self, account_id: int, client_order_id: str) -> OrderReport | CancelRefused | ExchangeUnavailable | None:
        """A further cancel of a held order is swallowed and uses up no fault; a hold waits for an order to hold."""
        order = self._books.live_order(account_id, client_order_id)
        if order is not None and order.held is not None:
            return None
        fault = self._strike(account_id, FaultPoint.CANCEL, unless=FaultKind.HOLD if order is None else None)
        if fault is not None and fault.kind is FaultKind.REJECT:
            return CancelRefused(client_order_id=client_order_id, text=fault.text or "Cancel was rejected.")
        if fault is not None and fault.kind is FaultKind.HOLD and order is not None:
            self._state.orders.put(replace(order, held=self._state.next_number("hold")))
            return None
        if fault is not None and fault.kind is FaultKind.TIMEOUT_BEFORE:
            return silence(fault)
        answer: OrderReport | CancelRefused
        if order is None:
            answer = CancelRefused(client_order_id=client_order_id, text=UNKNOWN_ORDER)
        else:
            answer = self._books.cancel(order)
        return answer if fault is None else silence(fault)

    def find(self, account_id: int, client_order_id: str) -> OrderReport | ExchangeUnavailable | None:
        fault = self._strike(account_id, FaultPoint.QUERY)
        if fault is None:
            return self._books.find(account_id, client_order_id)
        return None if fault.kind is FaultKind.NOT_FOUND else silence(fault)

    def search(self, account_id: int, client_order_id: str) -> OrderReport | ExchangeUnavailable | None:
        """Open orders and fills are another source than the query of one order: they do not lag behind with it."""
        fault = self._strike(account_id, FaultPoint.QUERY, unless=FaultKind.NOT_FOUND)
        return self._books.find(account_id, client_order_id) if fault is None else silence(fault)

    def deliveries(self, account_id: int, report: Report) -> tuple[Report, ...]:
        """What of a report the account gets to hear: it, nothing, or it twice. Only order reports suffer."""
        if not isinstance(report, OrderReport):
            return (report,)
        fault = self._strike(account_id, FaultPoint.STREAM)
        if fault is None:
            return (report,)
        return () if fault.kind is FaultKind.DROP else (report, report)

    def _strike(self, account_id: int, point: FaultPoint, unless: FaultKind | None = None) -> PaperFault | None:
        """The fault that spoils this call, used up by one."""
        for fault in self._state.faults:
            if fault.account_id != account_id or fault.point is not point:
                continue
            if fault.kind is unless:
                return None
            if fault.times > 1:
                self._state.faults.put(replace(fault, times=fault.times - 1))
            else:
                self._state.faults.remove(fault.id)
            return fault
        return None


def silence(fault: PaperFault) -> ExchangeUnavailable:
    return ExchangeUnavailable(fault.text or "The exchange did not answer in time.")

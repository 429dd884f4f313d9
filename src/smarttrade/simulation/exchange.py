"""The line between a server and its account at the exchange: calls and reports are delayed, lost, doubled and refused.

A call that is under way goes on by itself. It may arrive long after the server has given it up, or has died.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from smarttrade.domain.events import CancelRefused
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderReport, RefusalKind
from smarttrade.domain.plan import MarginMode
from smarttrade.domain.quote import Instant, InstrumentKey
from smarttrade.ports.exchange import (
    Balance,
    Exchange,
    ExchangeUnavailable,
    FuturesPosition,
    LeverageRejected,
    ReportListener,
    StreamBack,
    StreamMessage,
)
from smarttrade.simulation.faults import CallFate, FaultKind, Faults
from smarttrade.simulation.loop import NANOSECONDS, VirtualLoop, VirtualTime
from smarttrade.simulation.observer import Observer, SeenOrder
from smarttrade.simulation.record import ExchangeRecord

Answer = TypeVar("Answer")


class Line:
    """Implements Exchange for one account of one process, over the true exchange."""

    def __init__(
        self,
        account_id: int,
        exchange: Exchange,
        *,
        time: VirtualTime,
        faults: Faults,
        record: ExchangeRecord,
        observer: Observer,
        now: Callable[[], Instant],
        here: VirtualLoop,
        there: VirtualLoop,
        refuses_duplicate_ids: bool,
    ) -> None:
        """here, there  event loops of the server's process and of the exchange; the same one if they are one process"""
        self.refuses_duplicate_ids = refuses_duplicate_ids
        self.under_way = 0  # calls without an answer, and reports that are not late for a reason
        self._account_id = account_id
        self._exchange = exchange
        self._time = time
        self._faults = faults
        self._record = record
        self._observer = observer
        self._now = now
        self._here = here
        self._there = there
        self._listener: ReportListener | None = None
        self._delivered_ns = 0  # when the last report in order arrives
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut = False

    def cut(self) -> None:
        """The process at this end is no more."""
        self._cut = True

    # calls

    async def submit_order(self, intent: OrderIntent) -> OrderReport | OrderRefused:
        """See the port."""
        fate = self._faults.of_call(self._account_id, "submit")

        async def submit() -> OrderReport | OrderRefused:
            answer: OrderReport | OrderRefused
            if fate.refusal is None:
                answer = await self._exchange.submit_order(intent)
            else:
                kind, text = fate.refusal
                answer = OrderRefused(client_order_id=intent.client_order_id, kind=kind, text=text)
            if isinstance(answer, OrderRefused):
                self._observer.order_refused(self._now(), seen(intent), answer.kind.value, answer.text)
            return answer

        return await self._carry(fate, submit)

    async def cancel_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | CancelRefused | None:
        """See the port."""
        fate = self._faults.of_call(self._account_id, "cancel")

        async def cancel() -> OrderReport | CancelRefused | None:
            if fate.refusal is not None:
                return CancelRefused(client_order_id=client_order_id, text=fate.refusal[1])
            if fate.held is None:
                return await self._exchange.cancel_order(key, client_order_id)
            if fate.held >= 0:
                self._time.after(fate.held, lambda: self._perform(self._cancel_late(key, client_order_id)))
            return None

        return await self._carry(fate, cancel)

    async def find_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | None:
        """See the port."""
        return await self._carry(
            self._faults.of_call(self._account_id, "query"), lambda: self._find(key, client_order_id)
        )

    async def search_order(self, key: InstrumentKey, client_order_id: str, since: Instant) -> OrderReport | None:
        """See the port. Another source: it does not lag."""
        fate = self._faults.of_call(self._account_id, "query")
        return await self._carry(fate, lambda: self._exchange.search_order(key, client_order_id, since))

    async def open_orders(self) -> Mapping[str, Decimal]:
        return await self._carry(self._faults.of_call(self._account_id, "read"), self._exchange.open_orders)

    async def set_leverage(self, key: InstrumentKey, mode: MarginMode, value: Decimal) -> None:
        """See the port."""
        fate = self._faults.of_call(self._account_id, "leverage")

        async def set_leverage() -> None:
            if fate.refusal is not None and fate.refusal[0] is not RefusalKind.TRANSIENT:
                raise LeverageRejected(fate.refusal[1])
            await self._exchange.set_leverage(key, mode, value)

        await self._carry(fate, set_leverage)

    async def balances(self) -> Mapping[str, Balance]:
        return await self._carry(self._faults.of_call(self._account_id, "read"), self._exchange.balances)

    async def positions(self) -> Mapping[InstrumentKey, FuturesPosition]:
        return await self._carry(self._faults.of_call(self._account_id, "read"), self._exchange.positions)

    async def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        return await self._carry(self._faults.of_call(self._account_id, "read"), self._exchange.instruments)

    async def _find(self, key: InstrumentKey, client_order_id: str) -> OrderReport | None:
        order = self._record.order(client_order_id)
        if order is not None:
            age = (self._time.now_ns - order.taken_ns) / NANOSECONDS
            if not self._faults.finds(self._account_id, age):
                return None
        return await self._exchange.find_order(key, client_order_id)

    async def _cancel_late(self, key: InstrumentKey, client_order_id: str) -> None:
        """A held cancellation is carried out; nobody waits for its answer any more, so the stream tells."""
        try:
            answer = await self._exchange.cancel_order(key, client_order_id)
        except ExchangeUnavailable:
            return  # it could not store it, and has forgotten it
        if isinstance(answer, OrderReport):
            self.heard(answer)

    # the way there and back

    async def _carry(self, fate: CallFate, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """A call with its fate. Raises ExchangeUnavailable; waits for ever where nobody answers."""
        if fate.fails is not None:
            raise ExchangeUnavailable(fate.fails)
        self.under_way += 1
        try:
            if self._there is self._here and fate.is_immediate:
                return await work()
            answer: asyncio.Future[Answer] = self._here.create_future()
            if fate.arrives:
                self._time.after(fate.there, lambda: self._perform(self._answered(fate, work, answer)))
            return await answer
        finally:
            self.under_way -= 1

    def _perform(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the exchange do its part, unless it was in the process that died."""
        if self._cut and self._there is self._here:
            work.close()
            return
        task = self._there.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answered(
        self, fate: CallFate, work: Callable[[], Awaitable[Answer]], answer: "asyncio.Future[Answer]"
    ) -> None:
        outcome: Answer | Exception
        try:
            outcome = await work()
        except (ExchangeUnavailable, LeverageRejected) as error:
            outcome = error
        if fate.breaks_off:
            outcome = ExchangeUnavailable("connection reset by peer")
        if fate.answered:
            self._time.after(fate.back, lambda: self._settle(answer, outcome))

    def _settle(self, answer: "asyncio.Future[Answer]", outcome: Answer | Exception) -> None:
        if self._cut or answer.done():
            return
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    # the stream

    def listen(self, listener: ReportListener) -> None:
        """See the port. Faults reorder what they strike; all else comes in order."""
        self._listener = listener
        if self._there is self._here:
            self._exchange.listen(self.heard)

    def heard(self, report: StreamMessage) -> None:
        """The exchange says something."""
        if self._cut:
            return
        if not isinstance(report, OrderReport):
            self._deliver(report)
            return
        delays = self._faults.of_report(self._account_id)
        if delays == (0.0,) and self._delivered_ns <= self._time.now_ns and self._there is self._here:
            self._deliver(report)
            return
        in_order = len(delays) == 1 and not self._faults.rages(FaultKind.REPORTS, self._account_id)
        for delay in delays:
            due = self._time.now_ns + int(delay * NANOSECONDS)
            if in_order:
                due = self._delivered_ns = max(due, self._delivered_ns)
                self.under_way += 1
            self._time.at(due, lambda: self._arrive(report, in_order=in_order))

    def _arrive(self, report: OrderReport, *, in_order: bool) -> None:
        self.under_way -= in_order
        self._deliver(report)

    def say_back(self) -> None:
        """The stream was silent and is back."""
        self._deliver(StreamBack())

    def _deliver(self, report: StreamMessage) -> None:
        if not self._cut and self._listener is not None:
            self._listener(report)


def seen(intent: OrderIntent) -> SeenOrder:
    """An order as an observer hears of it."""
    return SeenOrder(
        account_id=intent.account_id,
        market=intent.key.market,
        pair=intent.key.pair,
        client_order_id=intent.client_order_id,
        side=intent.side.value,
        type=intent.type.value,
        quantity=intent.quantity,
        price=intent.price,
        reduce_only=intent.reduce_only,
    )

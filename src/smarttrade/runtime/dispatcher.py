"""Carries effects out after their commit, and turns what the outside answers into inputs.

It decides nothing about trades: every answer, refusal and silence goes back into the queue. Retries and pauses are
the engine's, as data; here is only the translation of a call into its outcome.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog
from msgspec.structs import replace

from smarttrade.domain.effects import (
    Call,
    CancelOrder,
    Effect,
    ListOrders,
    QueryOrder,
    RaiseAlarm,
    ReadFunds,
    ReadLimits,
    RequestQuote,
    SearchOrder,
    SetLeverage,
    SubmitOrder,
)
from smarttrade.domain.events import (
    CancelRefused,
    FundsRead,
    LeverageRefused,
    LeverageSet,
    OrderNotFound,
    QueryUnclear,
    SubmitUnclear,
)
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import ONE, ZERO
from smarttrade.domain.order import OrderRefused, OrderReport
from smarttrade.domain.plan import Leverage
from smarttrade.domain.quote import Instant, InstrumentKey, Quote
from smarttrade.engine.inputs import EngineInput, OrdersListed, PositionLost, StreamRestored, TradeHappened
from smarttrade.ports.clock import Clock
from smarttrade.ports.exchange import (
    Balance,
    Exchange,
    ExchangeUnavailable,
    LeverageRejected,
    PositionClosed,
    StreamBack,
    StreamMessage,
)
from smarttrade.ports.market_data import MarketData
from smarttrade.runtime.call_line import CallLine

log = structlog.get_logger("dispatcher")

NOTHING = Balance(ZERO, ZERO)

DEADLINE: Final = 10.0
"""Seconds that an exchange has to answer a call; then it counts as silent (faults F21)."""

Tell = Callable[[EngineInput], None]

Answer = TypeVar("Answer", bound=OrderReport | OrderRefused | CancelRefused)


def about(answer: Answer, client_order_id: str) -> Answer:
    """`answer`, if it speaks of the order that was asked about (faults F18). Raises ExchangeUnavailable."""
    if answer.client_order_id != client_order_id:
        raise ExchangeUnavailable(f"asked about order {client_order_id}, answered about {answer.client_order_id}")
    return answer


def _account_of(call: Call) -> int | None:
    match call:
        case SubmitOrder():
            return call.intent.account_id
        case RequestQuote():
            return None
        case _:
            return call.account_id


class Dispatcher:
    """Exchanges by account, the market, and the way back into the queue."""

    def __init__(
        self, *, market: MarketData, instrument: Callable[[InstrumentKey], Instrument | None], clock: Clock,
        max_quote_age: Instant | None = None,
    ) -> None:  # fmt: skip
        """max_quote_age: of the oldest price that funds are converted at (TR-6); None: it stands until the next one."""
        self._market = market
        self._instrument = instrument
        self._clock = clock
        self._max_quote_age = max_quote_age
        self._exchanges: dict[int, Exchange] = {}
        self._tell: Tell | None = None
        self._limits_read: Callable[[Instrument], Awaitable[None]] | None = None
        self._lines: dict[int | None, CallLine] = {}  # by account; calls that are no account's have one too
        self._under_way: set[asyncio.Task[None]] = set()
        self._on_idle: list[Callable[[], None]] = []

    def connect(self, tell: Tell, limits_read: Callable[[Instrument], Awaitable[None]]) -> None:
        """Say where answers go."""
        self._tell = tell
        self._limits_read = limits_read

    def add_exchange(self, account_id: int, exchange: Exchange) -> None:
        """Serve an account; its stream is heard from now on."""
        self._exchanges[account_id] = exchange
        exchange.listen(lambda report: self._heard(account_id, report))

    def remove_exchange(self, account_id: int) -> None:
        self._exchanges.pop(account_id, None)

    def exchange(self, account_id: int) -> Exchange | None:
        return self._exchanges.get(account_id)

    @property
    def pending(self) -> int:
        """Effects that are under way, or wait to be."""
        return len(self._under_way) + sum(map(len, self._lines.values()))

    def on_idle(self, listener: Callable[[], None]) -> None:
        """Hear of every effect that ends."""
        self._on_idle.append(listener)

    async def idle(self) -> None:
        """Return when no effect is under way; then none waits either."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def carry_out(self, effects: Sequence[Effect]) -> None:
        """Begin all effects, in order; they go on side by side (EX-20 step 2), so many of an account at once."""
        joined: dict[int | None, CallLine] = {}
        for effect in effects:
            if isinstance(effect, RaiseAlarm):
                log.critical("ALARM", trade_id=effect.trade_id, reason=effect.text)
                continue
            account_id = _account_of(effect)
            line = self._lines.get(account_id)
            if line is None:
                line = self._lines[account_id] = CallLine(account_id)
            line.join(effect)
            joined[account_id] = line
        for line in joined.values():
            self._begin(line)

    def _begin(self, line: CallLine) -> None:
        """Begin what may begin now."""
        while (effect := line.begin()) is not None:
            task = asyncio.get_running_loop().create_task(self._guarded(effect))
            self._under_way.add(task)
            task.add_done_callback(partial(self._ended, line))

    def _ended(self, line: CallLine, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        line.ended()
        self._begin(line)
        for listener in self._on_idle:
            listener()

    def _heard(self, account_id: int, report: StreamMessage) -> None:
        if isinstance(report, PositionClosed):
            self._say(
                PositionLost(
                    account_id=account_id,
                    key=report.key,
                    liquidated=report.liquidated,
                    quantity=report.quantity,
                    fills=report.fills,
                )
            )
        elif isinstance(report, StreamBack):
            self._say(StreamRestored(account_id))
        else:
            self._say(report)

    def _say(self, given: EngineInput) -> None:
        assert self._tell is not None
        self._tell(given)

    async def _work(self, effect: Call) -> None:
        match effect:
            case RequestQuote():
                await self._market.request(*effect.keys)
            case SubmitOrder():
                await self._submit(effect)
            case CancelOrder():
                await self._cancel(effect)
            case QueryOrder():
                await self._query(effect)
            case SearchOrder():
                await self._search(effect)
            case ListOrders():
                await self._list(effect)
            case SetLeverage():
                await self._set_leverage(effect)
            case ReadFunds():
                await self._read_funds(effect)
            case ReadLimits():
                await self._read_limits(effect)

    async def _guarded(self, effect: Call) -> None:
        """An adapter that breaks is an exchange that did not answer; it never stops the others (faults F61)."""
        try:
            async with asyncio.timeout(DEADLINE):  # without a task of its own: an order leaves a turn earlier (PF-4)
                await self._work(effect)
        except (ExchangeUnavailable, TimeoutError) as error:
            log.warning("no answer from the exchange", effect=type(effect).__name__, error=str(error))
            self._unanswered(effect)
        except Exception:
            log.exception("an adapter failed", effect=type(effect).__name__)
            self._unanswered(effect)

    def _unanswered(self, effect: Call) -> None:
        match effect:
            case SubmitOrder():
                self._say(SubmitUnclear(client_order_id=effect.intent.client_order_id))
            case QueryOrder() | SearchOrder():
                self._say(QueryUnclear(client_order_id=effect.client_order_id))
            case SetLeverage():
                leverage = Leverage(effect.mode, effect.value)
                refused = LeverageRefused(leverage=leverage, text="no answer from the exchange", transient=True)
                self._say(TradeHappened(effect.trade_id, refused))
            # A cancellation is repeated by its own deadline (EX-22), a refused exit by its retry (EX-12), a list by
            # its period.

    def _of(self, account_id: int) -> Exchange:
        exchange = self._exchanges.get(account_id)
        if exchange is None:
            raise ExchangeUnavailable(f"account {account_id} is not connected")
        return exchange

    async def _submit(self, effect: SubmitOrder) -> None:
        answer = await self._of(effect.intent.account_id).submit_order(effect.intent)
        self._say(about(answer, effect.intent.client_order_id))

    async def _cancel(self, effect: CancelOrder) -> None:
        answer = await self._of(effect.account_id).cancel_order(effect.key, effect.client_order_id)
        if answer is not None:
            self._say(about(answer, effect.client_order_id))

    async def _query(self, effect: QueryOrder) -> None:
        exchange = self._of(effect.account_id)
        report = await exchange.find_order(effect.key, effect.client_order_id)
        if report is None:
            safe = exchange.refuses_duplicate_ids
            self._say(OrderNotFound(client_order_id=effect.client_order_id, safe_to_resend=safe))
        else:
            self._say(replace(about(report, effect.client_order_id), answers_query=True))

    async def _search(self, effect: SearchOrder) -> None:
        exchange = self._of(effect.account_id)
        report = await exchange.search_order(effect.key, effect.client_order_id, effect.since)
        if report is None:
            safe = exchange.refuses_duplicate_ids
            absent = OrderNotFound(client_order_id=effect.client_order_id, safe_to_resend=safe, searched=True)
            self._say(absent)
        else:
            self._say(replace(about(report, effect.client_order_id), answers_query=True))

    async def _list(self, effect: ListOrders) -> None:
        orders = await self._of(effect.account_id).open_orders()
        self._say(OrdersListed(account_id=effect.account_id, orders=orders))

    async def _set_leverage(self, effect: SetLeverage) -> None:
        leverage = Leverage(effect.mode, effect.value)
        try:
            await self._of(effect.account_id).set_leverage(effect.key, effect.mode, effect.value)
        except LeverageRejected as error:
            self._say(TradeHappened(effect.trade_id, LeverageRefused(leverage=leverage, text=str(error))))
        else:
            self._say(TradeHappened(effect.trade_id, LeverageSet(leverage=leverage)))

    async def _read_funds(self, effect: ReadFunds) -> None:
        instrument = self._instrument(effect.key)
        if instrument is None:
            raise ExchangeUnavailable(f"no rules for {effect.key}")
        funds = await self._funds(self._of(effect.account_id), instrument, long=effect.long)
        self._say(TradeHappened(effect.trade_id, funds))

    async def _funds(self, exchange: Exchange, instrument: Instrument, *, long: bool) -> FundsRead:
        """What an exit could close, base."""
        if instrument.is_linear:
            position = (await exchange.positions()).get(instrument.key)
            quantity = ZERO if position is None else position.quantity
            size = max(quantity if long else -quantity, ZERO)
            return FundsRead(available=size, total=size)
        balance = (await exchange.balances()).get(instrument.base if long else instrument.quote, NOTHING)
        if long:
            return FundsRead(available=balance.free, total=balance.total)
        quote = self._usable_quote(instrument.key)
        if quote is None:
            await self._market.request(instrument.key)
            quote = self._usable_quote(instrument.key)
        if quote is None:  # it may come later: the exit's next refusal reads the funds again (EX-12)
            raise ExchangeUnavailable(f"no price for {instrument.key} that is young enough")
        unit = quote.ask * (ONE + instrument.taker_fee)
        return FundsRead(available=balance.free / unit, total=balance.total / unit)

    def _usable_quote(self, key: InstrumentKey) -> Quote | None:
        """The newest price, unless funds converted at it would prove anything: nonsense, or too old (TR-6)."""
        quote = self._market.latest(key)
        if quote is None or not quote.is_usable:
            return None
        is_old = self._max_quote_age is not None and self._clock.now() - quote.at > self._max_quote_age
        return None if is_old else quote

    async def _read_limits(self, effect: ReadLimits) -> None:
        rules = (await self._of(effect.account_id).instruments()).get(effect.key)
        if rules is not None and self._limits_read is not None:
            await self._limits_read(rules)

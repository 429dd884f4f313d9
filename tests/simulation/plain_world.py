"""A simulated world without trouble: engine, books of the paper exchange, markets and users, in one call stack.

Nothing is stored and nothing fails, so a day takes a second. It shows what the users do, and that what they do is
worth simulating.
"""

import random
from collections import Counter, deque
from collections.abc import Iterator
from decimal import Decimal

from driver import StoredTrades
from msgspec.structs import replace

from smarttrade.adapters.exchanges.paper.books import Books
from smarttrade.adapters.exchanges.paper.rows import PaperAccount
from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.domain.commands import Command
from smarttrade.domain.effects import (
    CancelOrder,
    Effect,
    QueryOrder,
    RaiseAlarm,
    ReadFunds,
    RequestQuote,
    SearchOrder,
    SetLeverage,
    SubmitOrder,
)
from smarttrade.domain.errors import Denied
from smarttrade.domain.events import CancelRefused, FundsRead, LeverageRefused, LeverageSet, OrderNotFound
from smarttrade.domain.money import ZERO
from smarttrade.domain.order import OrderReport
from smarttrade.domain.plan import Leverage
from smarttrade.domain.quote import SECOND, InstrumentKey, Quote
from smarttrade.engine.engine import Engine, EngineSettings
from smarttrade.engine.inputs import (
    EngineInput,
    InstrumentChanged,
    MarketMoved,
    PositionLost,
    QuoteReceived,
    TimePassed,
    TradeHappened,
)
from smarttrade.ports.exchange import LeverageRejected
from smarttrade.ports.market_data import MarketUpdate
from smarttrade.simulation.market import LINEAR_MARKET, SPOT_MARKET, PricePaths, list_pairs, opening_balances
from smarttrade.simulation.workload import Workload

START = 1_735_689_600 * SECOND
HOUR = 3600 * SECOND
ACCOUNTS = ((1, SPOT_MARKET), (2, LINEAR_MARKET), (3, LINEAR_MARKET))


class PlainWorld:
    """All from one seed. `granted` and `denied` hold what the users asked for; `trades` every trade there was."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(f"{seed}/pairs")
        self.instruments = list_pairs(chance)
        self.now = START
        self.state = State()
        self.books = Books(self.state, self.instruments.get, lambda: self.now)
        self._stored = StoredTrades()
        self.trades = self._stored.trades
        self.engine = Engine(EngineSettings(instance="test"), self._stored)
        self.granted: list[Command] = []
        self.denied: list[tuple[Command, Denied]] = []
        self.at_once: list[tuple[Command, Command]] = []  # wishes of the same moment
        self.alarms: Counter[str] = Counter()
        self.updates = 0
        self._prices = PricePaths(random.Random(f"{seed}/prices"), self.instruments, START)
        self.users = Workload(random.Random(f"{seed}/users"), ACCOUNTS, self.instruments)
        for account_id, market in ACCOUNTS:
            self.state.accounts.put(PaperAccount(account_id=account_id, market=market))
            for currency, amount in opening_balances(market, self.instruments).items():
                self.state.receive(account_id, currency, amount)
        for version, instrument in enumerate(self.instruments.values(), start=1):
            self._tell(InstrumentChanged(instrument, version))

    def run(self, hours: int) -> "PlainWorld":
        end, wish_at = START + hours * HOUR, START
        first: Command | None = None
        for update in self._prices.updates():
            while wish_at <= min(update.quote.at, end):
                self._time_passes(wish_at)
                wish = self._wish()
                if first is not None and wish is not None:
                    self.at_once.append((first, wish))
                pause = self.users.pause()
                first = wish if pause == 0 else None
                wish_at += pause
            if update.quote.at > end:
                return self
            self._time_passes(update.quote.at)
            self._move(update)
        return self

    def _time_passes(self, until: int) -> None:
        while (due := self.engine.next_deadline) is not None and due <= until:
            self.now = max(self.now, due)
            self._tell(TimePassed())
        self.now = max(self.now, until)

    def _move(self, update: MarketUpdate) -> None:
        self.updates += 1
        self._tell(MarketMoved(update.quote))
        self.books.apply(update)
        self._tell(*self._news(), QuoteReceived(update.quote))

    def _wish(self) -> Command | None:
        wish = self.next_wish()
        if wish is None:
            return None
        try:
            self._tell(wish)
        except Denied as denial:
            self.denied.append((wish, denial))
        else:
            self.granted.append(wish)
        return wish

    def next_wish(self) -> Command | None:
        return self.users.next_wish(self.trades, lambda key: self.engine.markets[key].quote, self._position)

    def _position(self, account_id: int, key: object) -> Decimal:
        position = self.state.position(account_id, key)  # type: ignore[arg-type]
        return ZERO if position is None else position.quantity

    # the engine, and what it wants done

    def _tell(self, *given: EngineInput) -> None:
        waiting = deque(given)
        while waiting:
            self.engine.handle(waiting.popleft(), self.now)
            changes = self.engine.take()
            assert not changes.faults, changes.faults
            self.trades.update(changes.trades)
            for effect in changes.effects:
                waiting.extend(self._carried_out(effect))
                waiting.extend(self._news())

    def _news(self) -> list[EngineInput]:
        news, self.books.news = self.books.news, []
        return [
            report
            if isinstance(report, OrderReport)
            else PositionLost(
                account_id=report.account_id,
                key=report.key,
                liquidated=report.liquidated,
                quantity=report.quantity,
                fills=report.fills,
            )
            for _, report in news
        ]

    def _carried_out(self, effect: Effect) -> Iterator[EngineInput]:
        match effect:
            case SubmitOrder():
                yield self.books.submit(effect.intent)
            case CancelOrder():
                order = self.books.live_order(effect.account_id, effect.client_order_id)
                if order is None:
                    yield CancelRefused(client_order_id=effect.client_order_id, text="unknown order")
                else:
                    yield self.books.cancel(order)
            case QueryOrder() | SearchOrder():
                found = self.books.find(effect.account_id, effect.client_order_id)
                if found is not None:
                    yield replace(found, answers_query=True)
                else:
                    yield OrderNotFound(client_order_id=effect.client_order_id, safe_to_resend=True)
            case SetLeverage():
                yield TradeHappened(effect.trade_id, self._leveraged(effect))
            case ReadFunds():
                yield TradeHappened(effect.trade_id, self._funds(effect))
            case RequestQuote():
                for key in effect.keys:
                    yield QuoteReceived(self._standing(key))
            case RaiseAlarm():
                self.alarms[effect.text] += 1

    def _leveraged(self, effect: SetLeverage) -> LeverageSet | LeverageRefused:
        leverage, rules = Leverage(effect.mode, effect.value), self.instruments[effect.key]
        try:
            self.books.futures.set_leverage(effect.account_id, rules, effect.mode, effect.value)
        except LeverageRejected as error:
            return LeverageRefused(leverage=leverage, text=str(error))
        return LeverageSet(leverage=leverage)

    def _funds(self, effect: ReadFunds) -> FundsRead:
        rules = self.instruments[effect.key]
        if rules.is_linear:
            held = self._position(effect.account_id, effect.key)
            size = max(held if effect.long else -held, ZERO)
            return FundsRead(available=size, total=size)
        balance = self.state.balance(effect.account_id, rules.base if effect.long else rules.quote)
        quote = self._standing(effect.key)
        price = Decimal(1) if effect.long else quote.ask * (1 + rules.taker_fee)
        return FundsRead(available=balance.free / price, total=balance.total / price)

    def _standing(self, key: InstrumentKey) -> Quote:
        quote = self.engine.markets[key].quote
        assert quote is not None
        return quote

"""A paper exchange on its own database, driven step by step; it can be killed and started again at any point."""

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import sqlalchemy as sa
from msgspec.structs import replace

from smarttrade.adapters.exchanges.paper import store, tables
from smarttrade.adapters.exchanges.paper.exchange import PaperMarket
from smarttrade.adapters.exchanges.paper.state import KEPT_ORDERS, State
from smarttrade.domain.events import CancelRefused
from smarttrade.domain.instrument import Instrument, MarketKind, Side
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderReport, OrderType
from smarttrade.domain.quote import InstrumentKey, Quote
from smarttrade.ports.exchange import Balance, PositionClosed
from smarttrade.ports.market_data import MarketUpdate, Print

D = Decimal
T = TypeVar("T")

SPOT = Instrument(
    key=InstrumentKey("binance", "USDT_BTC"),
    kind=MarketKind.SPOT,
    base="BTC",
    quote="USDT",
    tick=D("0.01"),
    lot=D("0.1"),
    min_lot=D("0.1"),
    min_total=D(5),
    min_market_total=D(5),
    maker_fee=D("0.001"),
    taker_fee=D("0.002"),
)
LINEAR = replace(
    SPOT,
    key=InstrumentKey("binance_futures", "USDT_BTCUSDT"),
    kind=MarketKind.LINEAR,
    base="BTC",
    max_leverage=D(20),
    maintenance_rate=D("0.005"),
    maker_fee=D("0.001"),
    taker_fee=D("0.001"),
)


class StorageBroken(OSError):
    """What the database says when a test wants it to."""


class PaperWorld:
    """One account (1) unless more are added. Every call runs to its end before it returns."""

    def __init__(
        self, rules: Instrument = SPOT, balances: Mapping[str, str] | None = None, keep: int = KEPT_ORDERS
    ) -> None:
        """keep: orders that are over and stay in memory"""
        self.keep = keep
        self.rules = {rules.key: rules}
        self.key = rules.key
        self.now = 0
        self.engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
        tables.metadata.create_all(self.engine)
        self.broken = False
        self.commits = 0
        self.heard: list[tuple[int, OrderReport | PositionClosed]] = []
        self.market = self._start()
        self.listening: set[int] = set()
        self.add_account(1, balances if balances is not None else {"USDT": "10000", "BTC": "100"})

    @property
    def instrument(self) -> Instrument:
        return self.rules[self.key]

    def _start(self) -> PaperMarket:
        market = PaperMarket(
            write=self.write,
            instrument=self.rules.get,
            instruments=lambda: self.rules,
            now=lambda: self.now,
            read=self.engine.connect,
            keep=self.keep,
        )
        with self.engine.connect() as connection:
            market.load(connection)
        return market

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        await asyncio.sleep(0)
        if self.broken:
            raise StorageBroken("disk full")
        with self.engine.begin() as connection:
            self.commits += 1
            return work(connection)

    def kill_and_restart(self) -> None:
        """Forget all that is in memory. The price source, which is another part, still knows its quotes."""
        quotes = self.market._state.quotes
        self.market = self._start()
        for quote in quotes.values():
            self.market.restore_quote(quote)
        for account_id in self.listening:
            self.listen(account_id)

    def everything(self) -> dict[str, dict[Any, Any]]:
        """All rows, by table and id: those in memory, and of orders and fills also what has left it."""
        stored = State()
        with self.engine.connect() as connection:
            store.load(connection, stored, with_old_orders=True)
        everything = {name: {row.id: row for row in table} for name, table in self.market._state.tables.items()}
        for name in ("orders", "fills"):
            everything[name] = {row.id: row for row in stored.tables[name]} | everything[name]
        return everything

    # accounts

    def add_account(self, account_id: int, balances: Mapping[str, str]) -> None:
        amounts = {currency: D(amount) for currency, amount in balances.items()}
        asyncio.run(self.market.add_account(account_id, self.key.market, amounts))
        self.listen(account_id)

    def listen(self, account_id: int) -> None:
        self.listening.add(account_id)
        self.market.exchange(account_id).listen(lambda report: self.heard.append((account_id, report)))

    def news(self, account_id: int = 1) -> list[Any]:
        """What the account heard since this was last asked."""
        mine = [report for owner, report in self.heard if owner == account_id]
        self.heard = [(owner, report) for owner, report in self.heard if owner != account_id]
        return mine

    def balance(self, currency: str, account_id: int = 1) -> Balance:
        return self.market.balances(account_id)[currency]

    # the market

    def quote(
        self,
        bid: str,
        ask: str,
        *,
        last: str | None = None,
        sizes: tuple[str | None, str | None] = (None, None),
        prints: tuple[tuple[str, str], ...] = (),
        key: InstrumentKey | None = None,
    ) -> list[Any]:
        """`prints`: (price, quantity) of trades before the quote. What passes by may do nothing when it is applied."""
        key = key or self.key
        bid_size, ask_size = (None if size is None else D(size) for size in sizes)
        quote = Quote(
            key=key, bid=D(bid), ask=D(ask), last=D(last or bid), at=self.now, bid_size=bid_size, ask_size=ask_size
        )
        printed = tuple(Print(key=key, price=D(price), quantity=D(quantity)) for price, quantity in prints)
        update = MarketUpdate(quote=quote, prints=printed)
        commits, passes = self.commits, self.market.passes_by(update)
        told = asyncio.run(self.market.apply(update))
        assert not passes or (told == [] and self.commits == commits)
        return told

    # calls

    def intent(
        self,
        order_id: str,
        side: Side,
        quantity: str,
        price: str | None = None,
        *,
        account_id: int = 1,
        reduce_only: bool = False,
        key: InstrumentKey | None = None,
    ) -> OrderIntent:
        return OrderIntent(
            client_order_id=order_id,
            account_id=account_id,
            key=key or self.key,
            side=side,
            type=OrderType.MARKET if price is None else OrderType.LIMIT,
            quantity=D(quantity),
            price=None if price is None else D(price),
            reduce_only=reduce_only,
        )

    def submit(self, *args: Any, **kwargs: Any) -> OrderReport | OrderRefused:
        intent = self.intent(*args, **kwargs)
        return asyncio.run(self.market.exchange(intent.account_id).submit_order(intent))

    def buy(self, order_id: str, quantity: str, price: str | None = None, **kwargs: Any) -> OrderReport | OrderRefused:
        return self.submit(order_id, Side.BUY, quantity, price, **kwargs)

    def sell(self, order_id: str, quantity: str, price: str | None = None, **kwargs: Any) -> OrderReport | OrderRefused:
        return self.submit(order_id, Side.SELL, quantity, price, **kwargs)

    def cancel(self, order_id: str, account_id: int = 1) -> OrderReport | CancelRefused | None:
        return asyncio.run(self.market.exchange(account_id).cancel_order(self.key, order_id))

    def find(self, order_id: str, account_id: int = 1) -> OrderReport | None:
        return asyncio.run(self.market.exchange(account_id).find_order(self.key, order_id))

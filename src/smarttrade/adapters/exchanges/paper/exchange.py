"""The paper exchange: one market place for all paper accounts of the process, and the `Exchange` port of each account.

It is an exchange like any other. It keeps its own books, commits them on its own before it answers, and knows nothing
of SmartTrades: a client order id is opaque to it. When a call returns, everything that it caused has been delivered to
the listeners; a kill at any moment loses only what nobody was told.
"""

import enum
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

import sqlalchemy as sa
from msgspec.structs import replace

from smarttrade.adapters.exchanges.paper import store
from smarttrade.adapters.exchanges.paper.books import Books, Report
from smarttrade.adapters.exchanges.paper.commits import Commits, Told, Write
from smarttrade.adapters.exchanges.paper.faults import Line
from smarttrade.adapters.exchanges.paper.rows import (
    FailureClass,
    FaultKind,
    FaultPoint,
    PaperAccount,
    PaperOrder,
)
from smarttrade.adapters.exchanges.paper.state import KEPT_ORDERS, State
from smarttrade.adapters.exchanges.paper.store import Read, StoredOrders
from smarttrade.domain.events import CancelRefused
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderReport
from smarttrade.domain.plan import MarginMode
from smarttrade.domain.quote import Instant, InstrumentKey, Quote
from smarttrade.ports.exchange import (
    Balance,
    ExchangeUnavailable,
    FuturesPosition,
    LeverageRejected,
    PositionClosed,
    ReportListener,
    StreamBack,
)
from smarttrade.ports.market_data import MarketUpdate

T = TypeVar("T")


class UnknownOrder(LookupError):
    """No order took this client order id."""


class ScriptError(ValueError):
    """A scripted event that cannot happen; str() says why. Nothing has changed."""


class CloseReason(enum.StrEnum):
    """Why a scripted position goes away."""

    LIQUIDATION = "liquidation"
    OUTSIDE = "outside"  # its owner closed it by other means


class PaperMarket:
    """Books of all paper accounts, what scripts do to them, and the accounts' ports."""

    def __init__(
        self,
        *,
        write: Write,
        instrument: Callable[[InstrumentKey], Instrument | None],
        instruments: Callable[[], Mapping[InstrumentKey, Instrument]],
        now: Callable[[], Instant],
        read: Read | None = None,
        keep: int = KEPT_ORDERS,
    ) -> None:
        """write        makes rows durable (Database.write)
        instrument   today's trading rules of a pair, as `instruments` has those of all
        read         reads what is durable (Database.read); None: it cannot be read, and nothing leaves the memory
        keep         orders that are over and stay in memory
        """
        self._stored = None if read is None else StoredOrders(read)
        self._state = State(self._stored, keep)
        self._books = Books(self._state, instrument, now)
        self._line = Line(self._state, self._books)
        self._commits = Commits(self._state, write, self._deliver)
        self._listeners: dict[int, list[ReportListener]] = {}
        self._perhaps_unheard: dict[int, list[PositionClosed]] = {}
        self._instrument = instrument
        self.instruments = instruments

    # start

    def load(self, connection: sa.Connection) -> None:
        """Read the books. To be called once, before anything else."""
        store.load(connection, self._state, with_old_orders=self._stored is None)
        for closure in self._state.closures:
            self._perhaps_unheard.setdefault(closure.account_id, []).append(closure.report)

    def restore_quote(self, quote: Quote) -> None:
        """The market as it stood before the restart: prices for market orders. Fills nothing."""
        if quote.is_usable:
            self._state.quotes[quote.key] = quote

    async def resume(self, quote: Quote) -> None:
        """Stand at the quote of before the restart, and finish what the process died before matching."""
        await self.commit(lambda: self._books.resume(quote))

    # accounts

    def exchange(self, account_id: int) -> "PaperExchange":
        """The port of one account."""
        return PaperExchange(self, account_id)

    async def add_account(self, account_id: int, market: str, balances: Mapping[str, Decimal]) -> None:
        """Open an account that trades pairs of `market`. One that is there stays as it is: safe to repeat."""

        def work() -> None:
            if self._state.accounts.get(account_id) is None:
                self._state.accounts.put(PaperAccount(account_id=account_id, market=market))
                for currency, amount in balances.items():
                    self._state.receive(account_id, currency, amount)

        await self.commit(work)

    async def remove_account(self, account_id: int) -> None:
        """Close an account: its orders, fills, balances, positions and faults are gone."""
        await self.commit(lambda: self._state.forget(account_id))
        self._listeners.pop(account_id, None)

    # the market

    def passes_by(self, update: MarketUpdate) -> bool:
        """Whether a step fills and liquidates nothing, and nothing has to be stored; then it is known now."""
        return self._books.passes_by(update)

    async def apply(self, update: MarketUpdate) -> list[Report]:
        """Take one step of the market to its end: fills and liquidations are durable and told. Returns what was told.

        Raises ExchangeUnavailable when it could not be stored; the step may be applied again.
        """
        _, told = await self._run(lambda: self._books.apply(update))
        return [report for _, report in told]

    # what a user of the sandbox sees

    def orders(
        self, *, account_id: int | None = None, pair: str | None = None, open_only: bool = False
    ) -> list[PaperOrder]:
        """Orders that arrived, refused ones included, oldest first. All but the open ones are read one by one."""
        old = [] if self._stored is None or open_only else self._stored.all(account_id, pair)
        found = {order.sequence: order for order in (*old, *self._state.orders)}
        return [
            order
            for _, order in sorted(found.items())
            if (account_id is None or order.account_id == account_id)
            and (pair is None or order.pair == pair)
            and (order.is_open or not open_only)
        ]

    def live_orders(self, account_id: int) -> list[PaperOrder]:
        """Live orders of an account, oldest first."""
        return self._state.live_orders(account_id)

    def order(self, client_order_id: str) -> PaperOrder:
        """The order that took this client id. Raises UnknownOrder."""
        return self._known(client_order_id)

    def balances(self, account_id: int) -> dict[str, Balance]:
        """Every currency that the account has had, by name."""
        return {row.currency: Balance(row.free, row.locked) for row in self._state.balances_of(account_id)}

    def balance(self, account_id: int, currency: str) -> Decimal:
        """What the account has of one currency, free and locked."""
        return self._state.balance(account_id, currency).total

    def open_orders(self, account_id: int) -> dict[str, Decimal]:
        """What each live order of the account has executed, by client order id."""
        return {row.client_order_id: row.filled_quantity for row in self._state.live_orders(account_id)}

    def positions(self, account_id: int) -> dict[InstrumentKey, FuturesPosition]:
        """Open futures positions, by pair."""
        return {row.key: self._books.futures.view(row) for row in self._state.positions_of(account_id)}

    def position(self, account_id: int, key: InstrumentKey) -> FuturesPosition | None:
        """The open futures position in one pair."""
        row = self._state.position(account_id, key)
        return None if row is None else self._books.futures.view(row)

    # what a script does

    async def set_balance(self, account_id: int, currency: str, free: Decimal) -> None:
        """Make `free` the free balance; what is locked stays locked. Raises ScriptError."""

        def work() -> None:
            if free < 0:
                raise ScriptError("a balance cannot be negative")
            if self._state.accounts.get(account_id) is None:
                raise ScriptError(f"there is no paper account {account_id}")
            balance = self._state.balance(account_id, currency)
            self._state.balances.put(replace(balance, total=balance.reserved + free))

        await self.commit(work)

    async def fill_order(
        self,
        client_order_id: str,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        *,
        late: bool = False,
    ) -> None:
        """Somebody else trades with an order, as taker.

        quantity  base; None: all that is left
        price     None: the order's own, or for a market order the average of its fills
        late      the order is over, and reports a further fill (EX-33); on a live order it means nothing

        Raises UnknownOrder, ScriptError.
        """
        await self.commit(lambda: self._fill(self._known(client_order_id), quantity, price, late))

    def _fill(self, order: PaperOrder, quantity: Decimal | None, price: Decimal | None, late: bool) -> None:
        instrument = self._instrument(order.key)
        if instrument is None:
            raise ScriptError(f"no trading rules for {order.key}")
        if not order.is_open and not late:
            raise ScriptError(f"the order is {order.status.value}")
        quantity = order.leaves_quantity if quantity is None else quantity
        if quantity <= 0 or (order.is_open and quantity > order.leaves_quantity):
            raise ScriptError(f"quantity must be above 0 and at most {order.leaves_quantity}")
        price = order.price if price is None else price
        price = order.average_price if price is None else price
        if price is None or price <= 0:
            raise ScriptError("this order has no price of its own: give one above 0")
        if not order.is_open:
            self._books.fill_late(order, instrument, quantity, price)
            return
        try:
            self._books.fill(order, instrument, quantity, price)
        except ValueError as error:
            raise ScriptError(str(error)) from None

    async def cancel_outside(self, client_order_id: str) -> None:
        """Somebody else cancels an order on the exchange (EX-30). Raises UnknownOrder, ScriptError."""

        def work() -> None:
            order = self._known(client_order_id)
            if not order.is_open:
                raise ScriptError(f"the order is {order.status.value}")
            self._books.cancel_outside(order)

        await self.commit(work)

    async def close_position(self, account_id: int, key: InstrumentKey, reason: CloseReason) -> None:
        """Take a whole position away at the market's price (S-32). Raises ScriptError if there is none."""

        def work() -> None:
            position = self._state.position(account_id, key)
            if position is None:
                raise ScriptError(f"account {account_id} has no position in {key}")
            self._books.close_position(position, liquidated=reason is CloseReason.LIQUIDATION)

        await self.commit(work)

    async def add_fault(
        self,
        account_id: int,
        point: FaultPoint,
        kind: FaultKind,
        *,
        text: str = "",
        failure_class: FailureClass | None = None,
        times: int = 1,
    ) -> None:
        """Queue a fault for the account's next calls of a kind (faults.py). Raises ScriptError."""

        def work() -> None:
            try:
                self._line.add(account_id, point, kind, text=text, failure_class=failure_class, times=times)
            except ValueError as error:
                raise ScriptError(str(error)) from None

        await self.commit(work)

    async def release_faults(self, account_id: int) -> None:
        """Let held cancels proceed, in order."""
        await self.commit(lambda: self._line.release(account_id))

    async def clear_faults(self, account_id: int) -> None:
        """Forget queued faults and held cancels. A stream that was losing reports is back, and says so (EX-35)."""
        if await self.commit(lambda: self._line.clear(account_id)):
            for listener in self._listeners.get(account_id, ()):
                listener(StreamBack())

    def _known(self, client_order_id: str) -> PaperOrder:
        order = self._state.order(client_order_id)
        if order is None:
            raise UnknownOrder(client_order_id)
        return order

    # for the accounts' ports

    @property
    def line(self) -> Line:
        return self._line

    def market_of(self, account_id: int) -> str | None:
        account = self._state.accounts.get(account_id)
        return None if account is None else account.market

    async def set_leverage(self, account_id: int, key: InstrumentKey, mode: MarginMode, value: Decimal) -> None:
        """See `Exchange.set_leverage`."""
        instrument = self._instrument(key)
        if instrument is None or key.market != self.market_of(account_id):
            raise LeverageRejected("Invalid symbol.")
        await self.commit(lambda: self._books.futures.set_leverage(account_id, instrument, mode, value))

    def listen(self, account_id: int, listener: ReportListener) -> None:
        """Add a listener. The first one after a start hears again of positions that went away (see PaperClosure)."""
        self._listeners.setdefault(account_id, []).append(listener)
        for report in self._perhaps_unheard.pop(account_id, ()):
            listener(report)

    async def commit(self, work: Callable[[], T]) -> T:
        """Do work on the books, store it, tell the listeners. Raises ExchangeUnavailable, or what `work` raises."""
        result, _ = await self._run(work)
        return result

    async def _run(self, work: Callable[[], T]) -> tuple[T, list[Told]]:
        """The same, with what was told. Stream faults are used up in the same commit."""

        def heard() -> tuple[T, list[Told]]:
            try:
                result = work()
            finally:
                news, self._books.news = self._books.news, []
            return result, [
                (account_id, each) for account_id, report in news for each in self._line.deliveries(account_id, report)
            ]

        return await self._commits.run(heard)

    def _deliver(self, account_id: int, report: Report) -> None:
        for listener in self._listeners.get(account_id, ()):
            listener(report)


class PaperExchange:
    """One paper account as an `Exchange`."""

    refuses_duplicate_ids = True

    def __init__(self, market: PaperMarket, account_id: int) -> None:
        self._market = market
        self._account_id = account_id

    async def submit_order(self, intent: OrderIntent) -> OrderReport | OrderRefused:
        """See the port. Fills, and the end of an order that did not find enough, come through the stream."""
        return await self._call(lambda: self._market.line.submit(intent))

    async def cancel_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | CancelRefused | None:
        """See the port. The answer is the only report of the cancellation, unless that is held (None)."""
        return await self._call(lambda: self._market.line.cancel(self._account_id, client_order_id))

    async def find_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | None:
        """See the port. An order that was refused is not known."""
        return await self._call(lambda: self._market.line.find(self._account_id, client_order_id))

    async def search_order(self, key: InstrumentKey, client_order_id: str, since: Instant) -> OrderReport | None:
        """See the port. A scripted lag of queries does not blind it; a scripted silence does."""
        return await self._call(lambda: self._market.line.search(self._account_id, client_order_id))

    async def open_orders(self) -> Mapping[str, Decimal]:
        """See the port. No scripted fault strikes it."""
        return await self._market.commit(lambda: self._market.open_orders(self._account_id))

    async def set_leverage(self, key: InstrumentKey, mode: MarginMode, value: Decimal) -> None:
        """See the port."""
        await self._market.set_leverage(self._account_id, key, mode, value)

    async def balances(self) -> Mapping[str, Balance]:
        return await self._market.commit(lambda: self._market.balances(self._account_id))

    async def positions(self) -> Mapping[InstrumentKey, FuturesPosition]:
        return await self._market.commit(lambda: self._market.positions(self._account_id))

    async def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        market = self._market.market_of(self._account_id)
        return {key: rules for key, rules in self._market.instruments().items() if key.market == market}

    def listen(self, listener: ReportListener) -> None:
        """See the port. A listener is called in the event loop and must return at once."""
        self._market.listen(self._account_id, listener)

    async def _call(self, call: Callable[[], T | ExchangeUnavailable]) -> T:
        """A call through the line; the answer may be lost on it."""
        answer = await self._market.commit(call)
        if isinstance(answer, ExchangeUnavailable):
            raise answer
        return answer

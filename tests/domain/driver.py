"""Plays one SmartTrade against the real engine and an exchange that does what the test tells it.

A test reads as a story: `Story(...)` creates the trade, `quote`, `fill`, `wait` and the like are what happens, `log`
is what the exchange was asked since the last look, in words. Legs are called `entry`, `avg1`, `tp1`, `sl`, `reduce1`,
`close`; targets are counted in the order in which they were made. Time is in seconds since the start of the story.

After every input the story checks what must hold always: a leg has at most one order alive at the exchange, and exits
never offer more than is open. At its end `assert_replays` works the journal in again and compares.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from smarttrade.domain.commands import (
    AddFunds,
    CancelStep,
    CancelTrade,
    CloseAtMarket,
    CloseStepAtMarket,
    CreateTrade,
    EditTrade,
    ForceProcess,
    ForceStart,
    ReduceFunds,
    SetNote,
    TradeWish,
)
from smarttrade.domain.draft import Context
from smarttrade.domain.effects import (
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
from smarttrade.domain.errors import DenialCode, Denied
from smarttrade.domain.events import (
    CancelRefused,
    FundsRead,
    LeverageRefused,
    LeverageSet,
    OrderNotFound,
    QueryUnclear,
    SubmitUnclear,
)
from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import FeeAsset, Instrument, MarketKind, Side
from smarttrade.domain.money import ZERO, Money
from smarttrade.domain.order import (
    OrderIntent,
    OrderRefused,
    OrderReport,
    OrderStatus,
    OrderType,
    RefusalKind,
    ReportedState,
)
from smarttrade.domain.order_ids import parse
from smarttrade.domain.plan import (
    EntryCondition,
    EntryPlan,
    EntryType,
    Leverage,
    PositionEdit,
    SmartTradePlan,
    StopPlan,
    TargetPlan,
    TradeEdit,
    TradeKind,
)
from smarttrade.domain.quote import SECOND, InstrumentKey, PriceType, Quote
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.domain.steps import Step, StopStep, TargetStep
from smarttrade.engine.engine import Engine, EngineSettings
from smarttrade.engine.inputs import (
    AccountConnected,
    EngineInput,
    InstrumentChanged,
    OrdersListed,
    QuoteReceived,
    TimePassed,
    TradeHappened,
)
from smarttrade.engine.journal import JournalledInput
from smarttrade.engine.market import PRICE_DECIMALS
from smarttrade.engine.replay import digest, replay
from smarttrade.engine.standing import joined, standing
from smarttrade.engine.tallies import Coin, Tally

D = Decimal
Number = Decimal | int | str
START: Final = 1_735_689_600 * SECOND

SPOT: Final = Instrument(
    key=InstrumentKey("binance", "USDT_XYZ"),
    kind=MarketKind.SPOT,
    base="XYZ",
    quote="USDT",
    tick=D("0.01"),
    lot=D("0.1"),
    min_lot=D("0.1"),
    min_total=D(5),
    min_market_total=D(5),
    maker_fee=ZERO,
    taker_fee=ZERO,
)
"""Without commission, so that the figures of a story are round; tests about commission set it."""
LINEAR: Final = replace(
    SPOT, key=InstrumentKey("binance_futures", "USDT_XYZUSDT"), kind=MarketKind.LINEAR, max_leverage=D(20)
)
FEE: Final[dict[str, Any]] = {"maker_fee": D("0.001"), "taker_fee": D("0.001")}
FEE_IN_BASE: Final[dict[str, Any]] = {**FEE, "fee_in": FeeAsset.BASE}


# --- plans in few words -----------------------------------------------------------------------------------------


def number(value: Number) -> Decimal:
    return value if isinstance(value, Decimal) else D(value)


def maybe(value: Number | None) -> Decimal | None:
    return None if value is None else number(value)


def market(units: Number = 10) -> EntryPlan:
    return EntryPlan(type=EntryType.MARKET, units=number(units))


def limit(price: Number, units: Number = 10) -> EntryPlan:
    return EntryPlan(type=EntryType.LIMIT, units=number(units), price=number(price))


def own(price: Number | None = 100, units: Number = 10) -> EntryPlan:
    return EntryPlan(type=EntryType.MARKET, units=number(units), price=maybe(price))


def when(
    trigger: Number,
    *,
    units: Number = 10,
    price: Number | None = None,
    trailing: Number | None = None,
    by: PriceType = PriceType.ASK,
) -> EntryPlan:
    """A conditional entry; `price` makes it a limit order, `trailing` follows the price first."""
    condition = EntryCondition(
        trigger_price=number(trigger),
        price_type=by,
        order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
        trailing_percent=maybe(trailing),
    )
    return EntryPlan(type=EntryType.CONDITIONAL, units=number(units), price=maybe(price), condition=condition)


def tp(
    price: Number | None = None,
    volume: Number = 100,
    *,
    percent: Number | None = None,
    at_market: bool = False,
    trailing: Number | None = None,
    by: PriceType = PriceType.BID,
    step_id: int | None = None,
    position: int | None = None,
) -> TargetPlan:
    return TargetPlan(
        order_type=OrderType.MARKET if at_market or trailing is not None else OrderType.LIMIT,
        volume=number(volume),
        price_type=by,
        price=maybe(price),
        percent=maybe(percent),
        trailing_percent=maybe(trailing),
        step_id=step_id,
        position=position,
    )


def sl(
    price: Number | None = None,
    *,
    percent: Number | None = None,
    at: Number | None = None,
    at_percent: Number | None = None,
    trailing: bool = False,
    trailing_percent: Number | None = None,
    timeout: int | None = None,
    breakeven: bool = False,
    by: PriceType = PriceType.BID,
) -> StopPlan:
    """A stop loss; `at` makes it a limit order at that price."""
    return StopPlan(
        order_type=OrderType.MARKET if at is None and at_percent is None else OrderType.LIMIT,
        price_type=by,
        price=maybe(price),
        percent=maybe(percent),
        limit_price=maybe(at),
        limit_percent=maybe(at_percent),
        trailing=trailing,
        trailing_percent=maybe(trailing_percent),
        timeout_seconds=timeout,
        breakeven=breakeven,
    )


def plan(
    kind: TradeKind, entry: EntryPlan, targets: tuple[TargetPlan, ...] | list[TargetPlan] = (),
    stop: StopPlan | None = None, leverage: Leverage | None = None,
) -> SmartTradePlan:  # fmt: skip
    return SmartTradePlan(
        kind=kind,
        entry=entry,
        take_profit_enabled=bool(targets),
        targets=tuple(targets),
        stop=stop,
        leverage=leverage,
    )


# --- the exchange -----------------------------------------------------------------------------------------------


@dataclass
class VenueOrder:
    """An order as the exchange has it."""

    intent: OrderIntent
    taken_at: int
    state: ReportedState = ReportedState.OPEN
    fills: list[Fill] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def leaves(self) -> Decimal:
        return self.intent.quantity - self.filled if self.state is ReportedState.OPEN else ZERO

    def report(self, *fills: Fill, text: str = "", query: bool = False) -> OrderReport:
        return OrderReport(
            client_order_id=self.intent.client_order_id,
            venue_order_id="v" + self.intent.client_order_id,
            state=self.state,
            filled_quantity=self.filled,
            fills=fills,
            text=text,
            answers_query=query,
        )


def refused(kind: RefusalKind, text: str = "no") -> tuple[str, RefusalKind, str]:
    """An answer to a send, for `Story.answer`."""
    return ("refuse", kind, text)


Answer = str | tuple[str, RefusalKind, str]


class StoredTrades:
    """What the engine reads back: every trade as it was stored last."""

    def __init__(self) -> None:
        self.trades: dict[int, SmartTrade] = {}

    def trade(self, trade_id: int) -> SmartTrade | None:
        return self.trades.get(trade_id)

    def open_trades(self) -> list[SmartTrade]:
        return [trade for _, trade in sorted(self.trades.items()) if not trade.status.is_final]

    def open_trade_ids(self, account_id: int, key: InstrumentKey) -> list[int]:
        return [trade.id for trade in self.open_trades() if (trade.account_id, trade.key) == (account_id, key)]


class Story:
    """One trade, from its creation on."""

    def __init__(
        self,
        entry: EntryPlan | None = None,
        targets: tuple[TargetPlan, ...] | list[TargetPlan] = (),
        stop: StopPlan | None = None,
        *,
        kind: TradeKind = TradeKind.SMART_TRADE,
        on: Instrument = SPOT,
        bid: Number = 100,
        ask: Number | None = None,
        leverage: Leverage | None = None,
        max_quote_age: int | None = None,
        start: bool = True,
        audit: bool = True,
        **rules: Any,
    ) -> None:
        """`rules` change the instrument; `audit` False: the story makes the exchange break its own word."""
        self.instrument = replace(on, **rules)
        known = {"protect_partial_entry", "breakeven_covers_exit_fee"}
        assert not known & rules.keys()
        self.settings = EngineSettings(
            instance="test", max_quote_age=None if max_quote_age is None else max_quote_age * SECOND
        )
        self.now = START
        self.audit = audit
        self.log: list[str] = []
        self.answers: deque[Answer] = deque()  # to the next sends; when empty: taken
        self.fill_at_market = True  # a market order is executed as soon as it is taken
        self.on_cancel = "confirm"  # or: hold, refuse, silence
        self.on_query = "tell"  # or: silence, unknown, lag (an order is unknown for its first eight seconds)
        self.on_search = "tell"  # the second source about an order; or: silence
        self.on_quote = "tell"  # or: silence
        self.on_list = "tell"  # or: silence
        self.on_leverage = "take"  # or: silence, or the text of a lasting refusal
        self.available: Decimal | None = None  # what a reading of the funds shows as free; None: all that is open
        self.total: Decimal | None = None  # the same with what orders lock; None: no more than what is free
        self.new_limits: Instrument | None = None
        self.safe_to_resend = True  # False: the exchange would take a second order with the same id
        self.orders: dict[str, VenueOrder] = {}
        self.journal: list[JournalledInput] = []
        self.faults: list[Exception] = []
        self.faults_expected = False  # a test that breaks a rule on purpose
        self.groups: dict[int, Any] = {}
        self._tallies: dict[Coin, Tally] = {}
        self._store = StoredTrades()
        self._versions: list[Instrument] = []
        self._fill_count = 0
        self._sent: set[str] = set()
        self._forgotten: list[tuple[Side, Fill]] = []
        self.engine = Engine(self.settings, self._store)
        self.trade_id = 0
        self.bid = self.ask = self.last = ZERO
        self._tell_rules(self.instrument)
        self.quote(bid, ask)
        self.log.clear()
        self.plan = None if entry is None else plan(kind, entry, targets, stop, leverage)
        if self.plan is not None and start:
            self.create(self.plan)

    # --- what the trade is ----------------------------------------------------------------------------------------

    @property
    def trade(self) -> SmartTrade:
        """The trade that was created last."""
        return self.look(self.trade_id)

    def look(self, trade_id: int) -> SmartTrade:
        found = self.engine.trades.find(trade_id)
        assert found is not None
        return found

    def mine(self) -> list[VenueOrder]:
        """Orders of the trade that was created last."""
        return [order for order in self.orders.values() if _trade_of(order.intent.client_order_id) == self.trade_id]

    @property
    def status(self) -> str:
        return self.trade.status.value

    def leg(self, name: str) -> Step:
        """A leg by its name in stories."""
        trade = self.trade
        kind, count = name.rstrip("0123456789"), name.lstrip("abcdefghijklmnopqrstuvwxyz_")
        index = int(count or 1) - 1
        found: Step | None = {
            "entry": lambda: trade.position,
            "avg": lambda: trade.averaging[index],
            "tp": lambda: sorted(trade.targets, key=lambda step: step.id)[index],
            "sl": lambda: [*trade.past_stops, *([] if trade.stop is None else [trade.stop])][index if count else -1],
            "reduce": lambda: trade.reductions[index],
            "close": lambda: trade.market_close,
        }[kind]()
        assert found is not None, name
        return found

    def name_of(self, step_id: int, trade_id: int | None = None) -> str:
        """The story's name of a leg."""
        trade = self.trade if trade_id is None else self.look(trade_id)
        if step_id == trade.position.id:
            return "entry"
        if trade.market_close is not None and trade.market_close.id == step_id:
            return "close"
        if any(step_id == stop.id for stop in (*trade.past_stops, trade.stop) if stop is not None):
            return "sl"
        for name, steps in (("avg", trade.averaging), ("tp", trade.targets), ("reduce", trade.reductions)):
            for count, step in enumerate(sorted(steps, key=lambda step: step.id), start=1):
                if step.id == step_id:
                    return f"{name}{count}"
        raise AssertionError(step_id)

    def legs(self, *names: str) -> str:
        """Statuses of legs in one line."""
        return " ".join(self.leg(name).status.value for name in names)

    def target(self, name: str) -> TargetStep:
        found = self.leg(name)
        assert isinstance(found, TargetStep)
        return found

    @property
    def stop(self) -> StopStep:
        found = self.leg("sl")
        assert isinstance(found, StopStep)
        return found

    @property
    def open(self) -> Decimal:
        return self.trade.open_amount

    @property
    def seconds(self) -> int:
        return (self.now - START) // SECOND

    @property
    def book(self) -> dict[str, str]:
        """What rests at the exchange, by leg."""
        found = {}
        for order in self.mine():
            if order.leaves > 0:
                price = "market" if order.intent.price is None else f"@ {order.intent.price.normalize():f}"
                name = self._name_of_order(order.intent.client_order_id)
                assert name not in found, f"two orders of {name} are alive"
                found[name] = f"{order.intent.side.value} {order.leaves.normalize():f} {price}"
        return found

    @property
    def held(self) -> Decimal:
        """What the position really is at the exchange, known to the trade or not."""
        return self._held_by(self.trade_id)

    def _held_by(self, trade_id: int) -> Decimal:
        trade, held = self.look(trade_id), ZERO
        orders = [order for order in self.orders.values() if _trade_of(order.intent.client_order_id) == trade_id]
        fills = [(order.intent.side, fill) for order in orders for fill in order.fills]
        for side, fill in (*fills, *self._forgotten):
            held += -fill.quantity if side is trade.exit_side else fill.quantity
            if side is Side.BUY and trade.is_long and fill.fee is not None and fill.fee.asset == self.instrument.base:
                held -= fill.fee.amount
        return held + trade.position.plan.units if trade.kind.is_own_funds else held

    def heard(self) -> list[str]:
        """What the outside was asked since the last look."""
        found, self.log = self.log, []
        return found

    # --- what happens ---------------------------------------------------------------------------------------------

    def create(self, wanted: SmartTradePlan, held: Number | None = None) -> "Story":
        command = CreateTrade(account_id=1, key=self.instrument.key, plan=wanted, held_position=maybe(held))
        self.trade_id = self.engine.next_trade_id
        self._tell(command)
        return self

    def quote(self, bid: Number, ask: Number | None = None, last: Number | None = None, age: int = 0) -> "Story":
        """The market moves; `age` seconds ago, by its own stamp."""
        self.bid = number(bid)
        self.ask = self.bid if ask is None else number(ask)
        self.last = self.bid if last is None else number(last)
        self._tell(self._standing_quote(age))
        return self

    def wait(self, seconds: Number) -> "Story":
        """Time passes; every deadline is met at its instant."""
        until = self.now + int(number(seconds) * SECOND)
        while (due := self.engine.next_deadline) is not None and due <= until:
            self.now = max(self.now, due)
            self._tell(TimePassed())
            assert self.engine.next_deadline is None or self.engine.next_deadline > self.now, "a deadline stands still"
        self.now = until
        return self

    def fill(self, leg: str, quantity: Number | None = None, price: Number | None = None) -> "Story":
        """Somebody trades with an order of the leg that is alive; all of it unless said otherwise."""
        order = self._alive(leg)
        self._tell(self._executed(order, maybe(quantity), maybe(price)))
        return self

    def fill_unheard(self, leg: str, quantity: Number | None = None) -> "Story":
        """Somebody trades with the order of the leg, and the report gets lost."""
        self._executed(self._alive(leg), maybe(quantity), None)
        return self

    def cancelled(self, leg: str, text: str = "") -> "Story":
        """The order of the leg is cancelled: by somebody else, or after a held cancellation of ours."""
        order = self._alive(leg)
        order.state = ReportedState.CANCELED
        self._tell(order.report(*order.fills, text=text))
        return self

    def late_fill(self, leg: str, quantity: Number, price: Number = 100, told: bool = True) -> "Story":
        """An order that is over reports a further execution; `told` False: only its cumulative quantity."""
        order = self.orders[self.id_of(leg)]
        fill = self._new_fill(order, number(quantity), number(price))
        order.fills.append(fill)
        self._tell(order.report(fill) if told else order.report())
        return self

    def forgotten(self, leg: str) -> "Story":
        """The exchange does not know the leg's order any more; what it executed stays executed."""
        order = self.orders.pop(self.id_of(leg))
        self._forgotten.extend((order.intent.side, fill) for fill in order.fills)
        return self

    def report_of(self, leg: str) -> OrderReport:
        """What the exchange would say now of the leg's last order."""
        order = self.orders[self.id_of(leg)]
        return order.report(*order.fills)

    def venue_has(self, leg: str) -> OrderReport:
        """The exchange takes an order whose send has not been answered yet."""
        sent = self.leg(leg).orders[-1]
        intent = OrderIntent(
            client_order_id=sent.client_order_id,
            account_id=1,
            key=self.instrument.key,
            side=sent.side,
            type=sent.type,
            quantity=sent.quantity,
            price=sent.price,
            reduce_only=sent.reduce_only,
        )
        self.orders[intent.client_order_id] = VenueOrder(intent, self.now)
        return self.orders[intent.client_order_id].report()

    def tell(self, word: EngineInput) -> "Story":
        """Any word of the outside."""
        self._tell(word)
        return self

    def happens(self, event: Any) -> "Story":
        self._tell(TradeHappened(self.trade_id, event))
        return self

    def id_of(self, leg: str, attempt: int = -1) -> str:
        return self.leg(leg).orders[attempt].client_order_id

    def rules(self, **changes: Any) -> "Story":
        """The exchange changes its trading rules (EX-17)."""
        self._tell_rules(replace(self.instrument, **changes))
        return self

    def restart(self) -> "Story":
        """The process ends and starts again: values from the store, questions to the exchange (EX-36)."""
        old = self.engine
        self.engine = Engine(
            self.settings, self._store, next_trade_id=old.next_trade_id, next_step_id=self._next_step_id
        )
        for version, rules in enumerate(self._versions, start=1):
            self.engine.handle(InstrumentChanged(rules, version), self.now)
        trades = self._store.open_trades()
        self.engine.restore(
            joined(standing(trade, PRICE_DECIMALS) for trade in trades),
            self.groups.values(),
            tallies=self._tallies,
        )
        self.engine.handle(AccountConnected(1), self.now)
        self.engine.recover(self.now)
        self._pump()
        return self

    # --- commands -------------------------------------------------------------------------------------------------

    def command(self, wish: TradeWish) -> "Story":
        self._tell(wish)
        return self

    def close(self) -> "Story":
        return self.command(CloseAtMarket(trade_id=self.trade_id))

    def cancel(self) -> "Story":
        return self.command(CancelTrade(trade_id=self.trade_id))

    def force_start(self) -> "Story":
        return self.command(ForceStart(trade_id=self.trade_id))

    def force_process(self) -> "Story":
        return self.command(ForceProcess(trade_id=self.trade_id))

    def note(self, text: str) -> "Story":
        return self.command(SetNote(trade_id=self.trade_id, note=text))

    def add(self, units: Number, price: Number | None = None) -> "Story":
        order_type = OrderType.MARKET if price is None else OrderType.LIMIT
        wish = AddFunds(trade_id=self.trade_id, order_type=order_type, units=number(units), price=maybe(price))
        return self.command(wish)

    def reduce(self, units: Number, price: Number | None = None) -> "Story":
        order_type = OrderType.MARKET if price is None else OrderType.LIMIT
        wish = ReduceFunds(trade_id=self.trade_id, order_type=order_type, units=number(units), price=maybe(price))
        return self.command(wish)

    def close_leg(self, leg: str) -> "Story":
        return self.command(CloseStepAtMarket(trade_id=self.trade_id, step_id=self.leg(leg).id))

    def cancel_leg(self, leg: str) -> "Story":
        return self.command(CancelStep(trade_id=self.trade_id, step_id=self.leg(leg).id))

    def edit(self, **groups: Any) -> "Story":
        """`targets=[...]`, `stop=...` or None, `position=PositionEdit(...)`, `leverage=...`; absent groups stay."""
        members: dict[str, Any] = {}
        if "targets" in groups:
            targets = tuple(groups["targets"])
            members |= {"take_profit_enabled": bool(targets), "targets": targets}
        if "stop" in groups:
            members |= {"stop_enabled": groups["stop"] is not None, "stop": groups["stop"]}
        for name in ("position", "leverage", "note"):
            if name in groups:
                members[name] = groups[name]
        return self.command(EditTrade(trade_id=self.trade_id, edit=TradeEdit(**members)))

    def edit_position(self, **members: Any) -> "Story":
        return self.edit(position=PositionEdit(**members))

    def kept(self, leg: str, **changes: Any) -> TargetPlan:
        """A target as an edit would repeat it, with its id."""
        step = self.target(leg)
        repeated = TargetPlan(
            order_type=step.order_type,
            volume=step.volume,
            price_type=step.price_type,
            price=step.price if step.percent is None else None,
            percent=step.percent,
            trailing_percent=step.trailing_percent,
            step_id=step.id,
        )
        return replace(repeated, **changes)

    def denied(self, wish: TradeWish) -> list[DenialCode]:
        """The reasons for which a command is refused; the trade must be the same value after it."""
        before = self.trade
        try:
            self._tell(wish)
        except Denied as denial:
            assert self.trade is before
            return [problem.code for problem in denial.problems]
        raise AssertionError(f"{wish} was granted")

    # --- proof ----------------------------------------------------------------------------------------------------

    def assert_replays(self) -> None:
        """The journal, worked in again, gives the same trade."""
        mine = [given for given in self.journal if given.trade_id == self.trade_id]
        again = replay(mine, lambda version: self._versions[version - 1], self.settings.instance)
        assert again is not None
        assert digest(again) == digest(self.trade)

    def context(self) -> Context:
        """What a rule may look at now, for `machine.handle` without the engine."""
        return Context(
            now=self.now,
            instrument=self.instrument,
            quote=self._market.quote,
            quote_is_fresh=True,
            usd_rate=D(1),
            instance=self.settings.instance,
            first_id=self._next_step_id,
        )

    # --- inside ---------------------------------------------------------------------------------------------------

    @property
    def _market(self) -> Any:
        return self.engine.markets[self.instrument.key]

    def _tell_rules(self, rules: Instrument) -> None:
        self.instrument = rules
        self._versions.append(rules)
        self._tell(InstrumentChanged(rules, len(self._versions)))

    def _tell(self, given: EngineInput) -> None:
        self.engine.handle(given, self.now)
        self._pump()

    def _pump(self) -> None:
        """Store, then do what must be done outside, until it is quiet."""
        for effect in self._effects():
            for answer in self._carried_out(effect):
                self.engine.handle(answer, self.now)
        if self.audit and self.trade_id:
            self._check_offers()

    def _effects(self) -> Iterator[Effect]:
        waiting: deque[Effect] = deque()
        for _ in range(10_000):
            changes = self.engine.take()
            self._next_step_id = changes.next_step_id
            self.journal.extend(changes.inputs)
            self._store.trades.update(changes.trades)
            self._tallies.update(changes.tallies)
            self.engine.stored(changes.trades.values())
            self.faults.extend(error for _, error in changes.faults)
            if changes.faults and not self.faults_expected:
                raise changes.faults[0][1]
            for change in changes.groups:
                if change.state.dropped:
                    self.groups.pop(change.state.id, None)
                else:
                    self.groups[change.state.id] = (change.key, change.state)
            waiting.extend(changes.effects)
            if not waiting:
                return
            yield waiting.popleft()
        raise AssertionError("the trade and the exchange do not come to rest")

    def _carried_out(self, effect: Effect) -> Iterator[EngineInput]:
        match effect:
            case SubmitOrder():
                yield from self._submit(effect.intent)
            case CancelOrder():
                self.log.append(f"cancel {self._name_of_order(effect.client_order_id)}")
                yield from self._cancel(effect.client_order_id)
            case QueryOrder():
                self.log.append(f"query {self._name_of_order(effect.client_order_id)}")
                yield from self._query(effect.client_order_id)
            case SearchOrder():
                self.log.append(f"search {self._name_of_order(effect.client_order_id)}")
                yield from self._search(effect.client_order_id)
            case ListOrders():  # not logged: every minute, whatever the story is about
                if self.on_list == "tell":
                    yield OrdersListed(account_id=1, orders=self._listed())
            case SetLeverage():
                self.log.append(f"leverage {effect.mode.value} {effect.value}")
                asked = Leverage(effect.mode, effect.value)
                if self.on_leverage == "take":
                    yield TradeHappened(effect.trade_id, LeverageSet(leverage=asked))
                elif self.on_leverage != "silence":
                    yield TradeHappened(effect.trade_id, LeverageRefused(leverage=asked, text=self.on_leverage))
            case ReadFunds():
                self.log.append("read funds")
                available = self.look(effect.trade_id).open_amount if self.available is None else self.available
                total = available if self.total is None else self.total
                yield TradeHappened(effect.trade_id, FundsRead(available=available, total=total))
            case ReadLimits():
                self.log.append("read limits")
                if self.new_limits is not None:
                    self.instrument = self.new_limits
                    self._versions.append(self.new_limits)
                    yield InstrumentChanged(self.new_limits, len(self._versions))
            case RequestQuote():
                self.log.append("ask price")
                if self.on_quote == "tell":
                    yield self._standing_quote(0)
            case RaiseAlarm():
                self.log.append(f"alarm {effect.text}")

    def _listed(self) -> dict[str, Decimal]:
        return {id_: order.filled for id_, order in self.orders.items() if order.state is ReportedState.OPEN}

    def _submit(self, intent: OrderIntent) -> Iterator[EngineInput]:
        price = "market" if intent.price is None else f"@ {intent.price.normalize():f}"
        once_more = " again" if intent.client_order_id in self._sent else ""
        only = " reduce-only" if intent.reduce_only else ""
        name = self._name_of_order(intent.client_order_id)
        self.log.append(f"{intent.side.value} {name} {intent.quantity.normalize():f} {price}{only}{once_more}")
        self._sent.add(intent.client_order_id)
        answer = self.answers.popleft() if self.answers else "take"
        order_id = intent.client_order_id
        if isinstance(answer, tuple):
            yield OrderRefused(client_order_id=order_id, kind=answer[1], text=answer[2])
            return
        if answer in ("never arrives", "silence"):
            if answer == "never arrives":
                yield SubmitUnclear(client_order_id=order_id)
            return
        if order_id in self.orders:
            assert self.safe_to_resend, f"{name} is sent a second time"
            yield OrderRefused(client_order_id=order_id, kind=RefusalKind.DUPLICATE_ID, text="duplicate")
            return
        order = self.orders[order_id] = VenueOrder(intent, self.now)
        if answer == "answer is lost":
            yield SubmitUnclear(client_order_id=order_id)
            return
        if answer == "answer is late":
            return
        yield order.report()
        if intent.type is OrderType.MARKET and self.fill_at_market:
            yield self._executed(order, None, None)

    def _standing_quote(self, age: int) -> QuoteReceived:
        """The market as it stands, with the stamp of `age` seconds ago."""
        at = self.now - age * SECOND
        return QuoteReceived(Quote(key=self.instrument.key, bid=self.bid, ask=self.ask, last=self.last, at=at))

    def _cancel(self, order_id: str) -> Iterator[EngineInput]:
        order = self.orders.get(order_id)
        if self.on_cancel == "refuse" or order is None or order.state is not ReportedState.OPEN:
            yield CancelRefused(client_order_id=order_id, text="unknown order")
        elif self.on_cancel == "confirm":
            order.state = ReportedState.CANCELED
            yield order.report(*order.fills)

    def _query(self, order_id: str) -> Iterator[EngineInput]:
        order = self.orders.get(order_id)
        if self.on_query == "silence":
            yield QueryUnclear(client_order_id=order_id)
        elif self.on_query == "unknown" or order is None or self._lags(order):
            yield OrderNotFound(client_order_id=order_id, safe_to_resend=self.safe_to_resend)
        else:
            yield order.report(*order.fills, query=True)

    def _search(self, order_id: str) -> Iterator[EngineInput]:
        order = self.orders.get(order_id)
        if self.on_search == "silence":
            yield QueryUnclear(client_order_id=order_id)
        elif order is None:
            yield OrderNotFound(client_order_id=order_id, safe_to_resend=self.safe_to_resend, searched=True)
        else:
            yield order.report(*order.fills, query=True)

    def _lags(self, order: VenueOrder) -> bool:
        return self.on_query == "lag" and self.now < order.taken_at + 8 * SECOND

    def _executed(self, order: VenueOrder, quantity: Decimal | None, price: Decimal | None) -> OrderReport:
        quantity = order.leaves if quantity is None else quantity
        if order.intent.reduce_only:
            quantity = min(quantity, self._held_by(_trade_of(order.intent.client_order_id)))
            if quantity <= ZERO:  # it would not reduce any more: the exchange takes it out
                order.state = ReportedState.CANCELED
                return order.report(*order.fills)
        fill = self._new_fill(order, quantity, self._price_of(order) if price is None else price)
        order.fills.append(fill)
        if order.filled >= order.intent.quantity:
            order.state = ReportedState.FILLED
        return order.report(fill)

    def _price_of(self, order: VenueOrder) -> Decimal:
        if order.intent.price is not None:
            return order.intent.price
        return self.ask if order.intent.side is Side.BUY else self.bid

    def _new_fill(self, order: VenueOrder, quantity: Decimal, price: Decimal) -> Fill:
        self._fill_count += 1
        rules = self.instrument
        fee = Money(rules.quote, quantity * price * rules.taker_fee)
        if order.intent.side is Side.BUY and rules.fee_in is FeeAsset.BASE and not rules.is_linear:
            fee = Money(rules.base, quantity * rules.taker_fee)
        return Fill(fill_id=f"f{self._fill_count}", price=price, quantity=quantity, fee=fee, filled_at=self.now)

    def cancel_is_held(self, order: VenueOrder) -> bool:
        """We have asked for its cancellation, and the exchange has not said a word."""
        ref = parse(order.intent.client_order_id)
        assert ref is not None
        for step in self.trade.steps:
            if step.id == ref.step_id:
                return step.orders[ref.attempt - 1].status is OrderStatus.PENDING_CANCEL
        return False

    def _alive(self, leg: str) -> VenueOrder:
        for order in self.mine():
            if order.leaves > 0 and self._name_of_order(order.intent.client_order_id) == leg:
                return order
        raise AssertionError(f"no order of {leg} is alive: {self.book}")

    def _name_of_order(self, client_order_id: str) -> str:
        ref = parse(client_order_id)
        assert ref is not None
        if ref.trade_id == self.trade_id:
            return self.name_of(ref.step_id)
        return f"{self.name_of(ref.step_id, ref.trade_id)} of {ref.trade_id}"

    def _check_offers(self) -> None:
        trade = self.trade
        offered = sum((o.leaves for o in self.mine() if o.intent.side is trade.exit_side and o.leaves > 0), ZERO)
        _ = self.book  # building it checks that no leg has two orders alive
        if not self.instrument.is_linear and not trade.kind.is_simple:
            known = max(trade.open_amount, ZERO)
            assert offered <= min(known, max(self.held, ZERO)), f"{self.book} offered, {known} open, {self.held} held"


def _trade_of(client_order_id: str) -> int:
    ref = parse(client_order_id)
    assert ref is not None
    return ref.trade_id

"""The engine: every input of every trade enters through `Engine.handle`, one at a time. The only writer of state.

It finds the trades that an input concerns, lets the domain work it in, keeps triggers and timers in step with the
result, and collects what has to be stored and done. It knows no clock and does no I/O.
"""

from collections.abc import Container, Iterable, Mapping, Sequence, Set
from decimal import Decimal
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from smarttrade.domain.closing import LONGEST_BLOCKED_PAUSE
from smarttrade.domain.commands import Command, CreateTrade, EditTrade, TradeCommand, TradeWish
from smarttrade.domain.draft import Context
from smarttrade.domain.effects import Effect, ListOrders, QueryOrder, RaiseAlarm, RequestQuote
from smarttrade.domain.errors import DenialCode, deny
from smarttrade.domain.events import (
    FreshPrice,
    OrderNotFound,
    PositionGone,
    PriceCrossed,
    Proceed,
    Recovered,
    TimeReached,
    TradeEvent,
    WatchRole,
)
from smarttrade.domain.fill import Fill, split
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.machine import handle, next_deadline
from smarttrade.domain.order import OrderReport, OrderStatus
from smarttrade.domain.order_ids import parse
from smarttrade.domain.order_life import pause
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey, Quote, QuoteText
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.domain.watches import Watch, awaits_price, is_stop_watched, trails, watches
from smarttrade.engine.inputs import (
    AccountConnected,
    AccountRemoved,
    EngineInput,
    InstrumentChanged,
    MarketMoved,
    OrdersListed,
    OrderWord,
    PositionLost,
    QuoteReceived,
    StreamRestored,
    TimePassed,
    TradeHappened,
)
from smarttrade.engine.journal import JournalledInput
from smarttrade.engine.live_orders import LiveOrders
from smarttrade.engine.market import Market, Rates, counts_as_of, is_on_grid
from smarttrade.engine.merged_ids import MergedIds
from smarttrade.engine.owners import Owners
from smarttrade.engine.silence import Silence
from smarttrade.engine.standing import Due, Standing, all_due, step_ids
from smarttrade.engine.tallies import Coin, Tallies, Tally
from smarttrade.engine.timers import Timers
from smarttrade.engine.trades import Trades
from smarttrade.engine.trigger_book import Crossing, GroupState, PriceOffGrid, UnknownGroup

MAX_OPEN_TRADES: Final = 2_000_000
UNATTENDED: Final[Instant] = 60 * SECOND
"""A trade whose stop waits for news of its orders for so long needs a person (faults F8)."""
BROKEN_TIMES: Final = 6
"""Events in a row that break on a rule, over half a minute, before a person is called; attempts go on (faults F8)."""
UNSURE: Final = "Prices are not acted on: the exchange does not answer about the orders of this trade"
NOBODYS: Final = "Open at the exchange under a name of ours, and no trade knows it"
BROKEN: Final = "This trade cannot be worked on: its events break on a rule"
LARGEST_ID: Final = 2**31 - 1
"""Clients keep ids in 32 signed bits."""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine is told at its start."""

    instance: str  # four letters in every client order id
    max_quote_age: Instant | None = None  # oldest price for a decision (TR-6); None: quotes stand until the next
    protect_partial_entry: bool = True
    breakeven_covers_exit_fee: bool = False


class GroupChange(msgspec.Struct, frozen=True):
    """A trailing group of one instrument that has to be stored or forgotten."""

    key: InstrumentKey
    state: GroupState
    at: Instant


class _Worked(NamedTuple):
    """What one input has led to, before anything follows from it."""

    before: SmartTrade | None
    given: Command | TradeEvent
    context: Context
    after: SmartTrade
    effects: tuple[Effect, ...]


class Changes(msgspec.Struct):
    """What the inputs since the last `take` lead to: to be stored first, then done."""

    trades: dict[int, SmartTrade] = msgspec.field(default_factory=dict)
    inputs: list[JournalledInput] = msgspec.field(default_factory=list)
    groups: list[GroupChange] = msgspec.field(default_factory=list)
    effects: list[Effect] = msgspec.field(default_factory=list)
    tallies: dict[Coin, Tally] = msgspec.field(default_factory=dict)
    faults: list[tuple[int, Exception]] = msgspec.field(default_factory=list)  # trades that an input broke
    next_step_id: int = 1


class Stored(Protocol):
    """What the engine reads of what was stored."""

    def trade(self, trade_id: int) -> SmartTrade | None:
        """The trade as stored last, open or over."""

    def open_trade_ids(self, account_id: int, key: InstrumentKey) -> Iterable[int]:
        """Open trades of an account on an instrument."""


class Engine:
    """All open trades of one partition."""

    def __init__(
        self,
        settings: EngineSettings,
        stored: Stored,
        *,
        next_trade_id: int = 1,
        next_step_id: int = 1,
    ) -> None:
        """`stored` reads what has been stored; a change is pending until `stored` of this object says otherwise."""
        self.settings = settings
        self.trades = Trades(stored.trade)
        self.tallies = Tallies()
        self.markets: dict[InstrumentKey, Market] = {}
        self.rates = Rates(self.markets)
        self._stored = stored
        self._owners = Owners()
        self._live_orders = LiveOrders()
        self._to_recover: list[int] = []  # open trades that a restart has something to do for
        self._put_off: list[Market] = []  # whose books may have records that nobody has looked into
        self._unsure: dict[int, set[str]] = {}  # trades with orders whose reports may be lost -> those orders (EX-35)
        self._unsure_since: dict[int, Instant] = {}  # of those, trades for which nobody was called yet
        self._troubled: dict[int, tuple[type, int]] = {}  # trades whose events broke on a rule -> last kind, how many
        self._timers = Timers()
        self._silence = Silence(settings.max_quote_age)
        self._next_trade_id = next_trade_id
        self._next_step_id = next_step_id
        self._changes = Changes()
        self._moved_groups: dict[InstrumentKey, None] = {}  # a set in order: pairs whose trailing groups have changed
        self._recheck: set[InstrumentKey] = set()
        self._moving: set[InstrumentKey] = set()  # markets whose quote follows the words about orders that it filled
        self._now: Instant = 0
        self._began: Instant = 0  # this process: what a price reached before is unknown (EX-37)

    # --- the door -------------------------------------------------------------------------------------------------

    def handle(self, given: EngineInput, now: Instant) -> SmartTrade | None:
        """Work one input in. A command's answer is the trade right after it (C-10). Raises Denied, nothing changed."""
        self._now = max(now, self._now)
        answer: SmartTrade | None = None
        match given:
            case QuoteReceived():
                self._quote(given.quote)
            case MarketMoved():
                self._moved(given.quote)
            case TimePassed():
                self._time_passed()
            case TradeHappened():
                self._event(given.trade_id, given.event)
            case InstrumentChanged():
                self._instrument(given)
            case PositionLost():
                self._position_lost(given)
            case StreamRestored():
                self._stream_restored(given.account_id)
            case OrdersListed():
                self._orders_listed(given)
            case AccountConnected():
                self._live_orders.watch(given.account_id, self._now)
            case AccountRemoved():
                self._live_orders.forget(given.account_id)
            case CreateTrade():
                answer = self._create(given)
            case TradeCommand():
                answer = self._command(given)
            case _:
                self._order_word(given)
        self._settle_triggers()
        return answer

    def passes_by(self, key: InstrumentKey, quote: Quote | QuoteText, now: Instant) -> bool:
        """Whether a price changes nothing but what is known of the market; then that is done. Else `handle` it.

        The way of nearly every price: `handle` would come to the same state, slower. Nothing of this pair may wait to
        be handled.
        """
        if (self._moving and key in self._moving) or (self._recheck and key in self._recheck):
            return False
        market = self.markets.get(key)
        if market is None:  # nobody trades the pair
            return isinstance(quote, Quote) and self.rates.note(quote)
        return market.passes_by(quote, now, self.settings.max_quote_age)

    def questions_due(self, now: Instant) -> Sequence[Effect] | None:
        """What to ask now, if no trade's time has come, else None: then `handle(TimePassed())`, which asks too.

        Nothing may wait to be handled. A question changes no trade, so there is nothing to store.
        """
        due = self._timers.next()
        if due is not None and due <= now:
            return None
        self._now = max(now, self._now)
        return self._questions()

    def pairs_without_price(self, now: Instant) -> list[InstrumentKey]:
        """Pairs that somebody watches while no price of them may decide anything (TR-6): their stops cannot fire."""
        oldest = self.settings.max_quote_age
        return [key for key, each in self.markets.items() if each.is_watched and not each.is_fresh(now, oldest)]

    def take(self) -> Changes:
        """Everything since the last call; the caller stores it, then carries the effects out."""
        moved, self._moved_groups = self._moved_groups, {}
        for key in moved:
            for state in self.markets[key].book.take_changed_groups():
                self._changes.groups.append(GroupChange(key, state, self._now))
        changes, self._changes = self._changes, Changes()
        changes.next_step_id = self._next_step_id
        changes.tallies = self.tallies.take_changed()
        return changes

    def stored(self, trades: Iterable[SmartTrade]) -> None:
        """These values, taken before, are durable now: the engine may forget them and read them again."""
        self.trades.stored(trades)

    @property
    def next_trade_id(self) -> int:
        """The id that the next trade gets."""
        return self._next_trade_id

    @property
    def next_deadline(self) -> Instant | None:
        """When `TimePassed` is wanted next."""
        dues = (self._timers.next(), self._silence.due, self._live_orders.due)
        return min((due for due in dues if due is not None), default=None)

    # --- commands -------------------------------------------------------------------------------------------------

    def _create(self, command: CreateTrade) -> SmartTrade:
        market = self.markets.get(command.key)
        if market is None:
            raise deny(DenialCode.NO_MARKET_DATA, command.key.pair)
        if self._next_step_id > LARGEST_ID - 1000 or self.tallies.open_trades >= MAX_OPEN_TRADES:
            raise OverflowError("no ids or room left for another trade")
        trade_id = self._next_trade_id
        created = self._grant(None, command, market, trade_id)
        self._next_trade_id += 1
        return created

    def _command(self, command: TradeWish) -> SmartTrade:
        """A command to an existing trade."""
        trade = self._find(command.trade_id)
        if trade is None:
            raise deny(DenialCode.TRADE_NOT_FOUND)
        if isinstance(command, EditTrade):
            self._refuse_foreign_steps(trade, command)
        return self._grant(trade, command, self.markets[trade.key], trade.id)

    def _grant(self, trade: SmartTrade | None, command: Command, market: Market, trade_id: int) -> SmartTrade:
        """Grant a command, then let its work begin; what is watched follows once, after both.

        The answer is the trade right after the command. That is also where it stays if its work breaks on a rule.
        """
        granted = self._worked(trade, command, self._context(market), trade_id)
        answer = granted.after
        if answer.status.is_final:
            self._accept(trade, [granted], market)
            return answer
        try:
            context = replace(granted.context, first_id=self._next_step_id)
            self._accept(trade, [granted, self._worked(answer, Proceed(), context, trade_id)], market)
        except Exception as error:  # noqa: BLE001 - as in `_event`
            self._accept(trade, [granted], market)
            self._broken(answer, Proceed, error)
        else:
            self._went_well(trade_id, Proceed)
        return answer

    def _refuse_foreign_steps(self, trade: SmartTrade, command: EditTrade) -> None:
        """The id of another trade's step is a mistake, not a new step (E-23)."""
        own = set(step_ids(trade))
        for index, target in enumerate(command.edit.targets):
            if target.step_id is None or target.step_id in own:
                continue
            owner = self._owners.of(target.step_id)
            other = None if owner is None else self.trades.get(owner)
            if other is not None and target.step_id in step_ids(other):
                raise deny(DenialCode.FOREIGN_STEP, index=index)

    def _find(self, trade_id: int) -> SmartTrade | None:
        """An open trade, or one that is over and may still get a note or a late fill."""
        trade = self.trades.find(trade_id)
        if trade is not None and trade.key not in self.markets:
            return None
        return trade

    # --- time -----------------------------------------------------------------------------------------------------

    def _time_passed(self) -> None:
        """Deadlines of trades, prices that are overdue (EX-34), and reports that may be (faults F53, F55)."""
        for trade_id in self._timers.pop_due(self._now):
            self._event(trade_id, TimeReached())
        self._changes.effects += self._questions()

    def _questions(self) -> list[Effect]:
        """Prices that are overdue, and reports that may be."""
        silent = self._silence.look(self.markets.values(), self._now)
        effects: list[Effect] = [RequestQuote(keys=tuple(silent))] if silent else []
        effects += [ListOrders(account_id=account_id) for account_id in self._live_orders.accounts_to_ask(self._now)]
        return effects

    # --- events ---------------------------------------------------------------------------------------------------

    def _order_word(self, word: OrderWord) -> None:
        """An order names its trade by its id; one that is not ours is nobody's (EX-4)."""
        ref = parse(word.client_order_id)
        if ref is None or ref.instance != self.settings.instance:
            return
        trade = self._find(ref.trade_id)
        if trade is None:
            return
        if isinstance(word, OrderReport):
            market = self.markets[trade.key]
            word = self._with_fee_prices(word, market.instrument)
            for fill in word.fills:  # the exchange's clock may be ahead of ours, by which prices are old or young
                market.filled_at = max(market.filled_at, min(fill.filled_at, self._now))
        self._event(ref.trade_id, word)
        if ref.trade_id in self._unsure:
            self._sure(ref.trade_id, word)

    def _stream_restored(self, account_id: int) -> None:
        """Reports may have been lost: ask about every live order before the trade's next trigger decision (EX-35)."""
        for trade_id in self._live_orders.trades(account_id):
            trade = self.trades[trade_id]
            live = [step.live_order.client_order_id for step in trade.steps if step.live_order is not None]
            for client_order_id in live:
                self._ask_about(trade, client_order_id)
            if live:
                self._unsure[trade.id] = set(live)
                self._unsure_since.setdefault(trade.id, self._now)

    def _orders_listed(self, listed: OrdersListed) -> None:
        """Ask about every order on which the exchange's list and ours differ: a report was lost (faults F53, F55).

        An order that the exchange has not vouched for is asked about by its own deadlines.
        """
        strange: dict[str, int] = {}
        lives_on = False  # an order that is over for us: its account is listed until it is out (fault F19)
        for client_order_id in self._live_orders.differing(listed.account_id, listed.orders):
            ref = parse(client_order_id)
            if ref is None or ref.instance != self.settings.instance:
                continue
            trade = self._find(ref.trade_id)
            orders = () if trade is None else (order for step in trade.legs for order in step.orders)
            order = next((order for order in orders if order.client_order_id == client_order_id), None)
            if trade is None or order is None:
                strange[client_order_id] = ref.trade_id
            elif order.status is OrderStatus.WORKING or order.status.is_over:
                self._ask_about(trade, client_order_id)
                lives_on = lives_on or client_order_id in listed.orders
        for client_order_id in self._live_orders.note_strange(listed.account_id, strange):
            reason = f"{NOBODYS}: {client_order_id}"
            self._changes.effects.append(RaiseAlarm(trade_id=strange[client_order_id], text=reason))
        if not lives_on:
            self._live_orders.answered(listed.account_id)

    def _sure(self, trade_id: int, word: OrderWord) -> None:
        """An order is known again, or over; after the last one the trade decides by the price that stands now."""
        trade = self.trades.get(trade_id)
        waiting = self._unsure.get(trade_id)
        if trade is None or waiting is None:
            return
        if isinstance(word, OrderNotFound) or (isinstance(word, OrderReport) and word.answers_query):
            waiting.discard(word.client_order_id)
        waiting &= {step.live_order.client_order_id for step in trade.steps if step.live_order is not None}
        if not waiting:
            del self._unsure[trade_id]
            self._unsure_since.pop(trade_id, None)
            self._recheck.add(trade.key)
            market = self.markets[trade.key]
            if awaits_price(trade) and trade.key not in self._moving and self._is_fresh(market):
                self._event(trade_id, FreshPrice())
        elif self._now >= self._unsure_since.get(trade_id, self._now) + UNATTENDED:
            del self._unsure_since[trade_id]  # said once
            self._changes.effects.append(RaiseAlarm(trade_id=trade_id, text=UNSURE))

    def _position_lost(self, lost: PositionLost) -> None:
        """Every trade on that side of the position loses its part of it (S-32, EX-27, EX-29)."""
        fills, long = lost.fills, lost.quantity > 0
        candidates = {*self._stored.open_trade_ids(lost.account_id, lost.key), *self.trades.unstored()}
        for trade_id in sorted(candidates):
            trade = self.trades.get(trade_id)
            if trade is None or trade.is_long is not long:
                continue
            if (trade.account_id, trade.key) != (lost.account_id, lost.key):
                continue
            if trade.open_amount > 0:
                share, fills = split(fills, trade.open_amount)
                self._event(trade_id, PositionGone(liquidated=lost.liquidated, fills=share))

    def _with_fee_prices(self, report: OrderReport, instrument: Instrument) -> OrderReport:
        """Value commissions that were paid in a third coin, at its last price now (M-5)."""
        known = (instrument.base, instrument.quote)
        if all(fill.fee is None or fill.fee.asset in known for fill in report.fills):
            return report
        return replace(report, fills=tuple(self._valued(fill, instrument) for fill in report.fills))

    def _valued(self, fill: Fill, instrument: Instrument) -> Fill:
        if fill.fee is None or fill.fee.asset in (instrument.base, instrument.quote):
            return fill
        price = self.rates.between(instrument.key.market, fill.fee.asset, instrument.quote)
        return replace(fill, fee_price=price)

    def _event(self, trade_id: int, event: TradeEvent) -> bool:
        """Work an event into its trade.

        An event cannot be refused: a rule that breaks on it is our fault. Then the trade stays as it was, with its
        triggers armed again so that it is still watched, and the answer is False.
        """
        trade = self._find(trade_id)
        if trade is None:
            return True
        fired = {(event.step_id, event.role)} if isinstance(event, PriceCrossed) else set()
        market = self.markets[trade.key]
        try:
            self._accept(trade, [self._worked(trade, event, self._context(market), trade_id)], market, fired)
        except Exception as error:  # noqa: BLE001 - isolated: one trade's fault is not the others'
            self._arm_again(trade, fired)
            self._broken(trade, type(event), error)
            return False
        self._went_well(trade_id, type(event))
        return True

    def _went_well(self, trade_id: int, event: type) -> None:
        """A trade has taken an event; that it takes others proves nothing about one that broke."""
        if self._troubled and self._troubled.get(trade_id, (None, 0))[0] is event:
            del self._troubled[trade_id]

    def _broken(self, trade: SmartTrade, event: type, error: Exception) -> None:
        self._changes.faults.append((trade.id, error))
        self._look_again(trade, event)

    def _look_again(self, trade: SmartTrade, broken: type) -> None:
        """What the lost event said has to be found out anew: ask about live orders, wake the trade soon (faults F8)."""
        before, times = self._troubled.get(trade.id, (None, 0))
        self._troubled[trade.id] = broken, times + 1
        if trade.status.is_final:
            return
        self._timers.set(trade.id, self._now + pause(times, LONGEST_BLOCKED_PAUSE))
        if times + 1 == BROKEN_TIMES:
            self._changes.effects.append(RaiseAlarm(trade_id=trade.id, text=BROKEN))
        if before is broken:
            return  # by its deadlines from now on; the first question goes out at once
        for step in trade.steps:
            if step.live_order is not None:
                self._ask_about(trade, step.live_order.client_order_id)

    def _ask_about(self, trade: SmartTrade, client_order_id: str) -> None:
        self._changes.effects.append(
            QueryOrder(account_id=trade.account_id, key=trade.key, client_order_id=client_order_id)
        )

    def _moved(self, quote: Quote) -> None:
        """Know a price before it may decide anything; see MarketMoved."""
        market = self.markets.get(quote.key)
        if market is not None and market.takes(quote) and is_on_grid(quote):
            self._stand(market, quote)
            self._moving.add(quote.key)

    def _stand(self, market: Market, quote: Quote) -> None:
        market.stands_at(quote, counts_as_of(quote.at, self._now, self.settings.max_quote_age))

    def _quote(self, quote: Quote) -> None:
        self._moving.discard(quote.key)
        market = self.markets.get(quote.key)
        if market is None:
            self.rates.note(quote)  # a pair that nobody trades prices its currency all the same (M-42, M-5)
            return
        if not market.takes(quote):
            return
        if market.is_late(quote.at, self._now, self.settings.max_quote_age):
            self._late(market, quote)
            return
        market.asked = False
        try:
            crossings = market.book.update(quote.bid, quote.ask, quote.last)
        except PriceOffGrid:
            return  # finer than the market's own steps: not a price of this market (TR-6)
        self._note_groups(market)
        self._stand(market, quote)
        if crossings:
            self._deliver(crossings)
        if market.awaiting:
            for trade_id in sorted(market.awaiting):
                if trade_id not in self._unsure or not self._is_stop_watched(trade_id):
                    self._event(trade_id, FreshPrice())

    def _is_stop_watched(self, trade_id: int) -> bool:
        """Whether its stop is armed: then a fresh price decides something, else it only arms it."""
        trade = self.trades.get(trade_id)
        return trade is not None and is_stop_watched(trade)

    def _late(self, market: Market, quote: Quote) -> None:
        """Nothing is decided by a price that arrives too old; a new one is asked for, once (TR-6).

        That the price was there is true however late we hear of it, so extremes follow it (TR-50).
        """
        if is_on_grid(quote):
            self._stand(market, quote)
            if quote.at >= self._began:
                market.book.follow(quote.bid, quote.ask, quote.last)
                self._note_groups(market)
        if not market.asked:
            market.asked = True
            self._changes.effects.append(RequestQuote(keys=(quote.key,)))

    def _deliver(self, crossings: Sequence[Crossing]) -> None:
        """By trade; within a trade entry, stop, targets by position (TR-5). What an earlier one ended is skipped."""
        by_trade: dict[int, dict[tuple[int, WatchRole], Crossing]] = {}
        for crossing in crossings:
            owner = self._owners.of(crossing.step_id)
            if owner is not None:
                by_trade.setdefault(owner, {})[crossing.step_id, crossing.role] = crossing
        for trade_id in sorted(by_trade):
            self._deliver_to(trade_id, by_trade[trade_id])

    def _deliver_to(self, trade_id: int, crossed: dict[tuple[int, WatchRole], Crossing]) -> None:
        if trade_id in self._unsure:  # decided once its orders are known again (EX-35)
            self._arm_again(self.trades[trade_id], crossed)
            return
        for watch in watches(self.trades[trade_id]):
            crossing = crossed.pop((watch.step_id, watch.role), None)
            trade = self.trades.get(trade_id)
            if crossing is None or trade is None:
                continue
            if watch not in watches(trade):
                continue
            extreme = crossing.extreme
            if extreme is None:
                extreme = self._extreme_of_step(trade, watch)
            event = PriceCrossed(step_id=watch.step_id, role=watch.role, price=crossing.price, extreme=extreme)
            if not self._event(trade_id, event):
                self._arm_again(trade, crossed)
                return

    def _extreme_of_step(self, trade: SmartTrade, watch: Watch) -> Decimal | None:
        """Extreme of the group that the step belongs to besides its fixed level (TR-67)."""
        for group, step in trails(trade).items():
            if step.id == watch.step_id:
                return self.markets[trade.key].book.extreme(group)
        return None

    def extreme_of(self, key: InstrumentKey, group: int) -> Decimal | None:
        """The present extreme of a trade's trailing group, for display (TR-52)."""
        market = self.markets.get(key)
        return None if market is None else market.book.extreme(group)

    # --- working an input in --------------------------------------------------------------------------------------

    def _worked(
        self, trade: SmartTrade | None, given: Command | TradeEvent, context: Context, trade_id: int
    ) -> _Worked:
        """What an input leads to. Nothing but ids is taken yet. Raises Denied."""
        if isinstance(given, TimeReached) and trade_id in self._unsure:
            context = replace(context, quote_is_fresh=False)  # a stop's timeout ends by a price, as triggers do (EX-35)
        outcome = handle(trade, given, context, trade_id)
        self._next_step_id = outcome.next_id
        return _Worked(trade, given, context, outcome.trade, outcome.effects)

    def _accept(
        self,
        before: SmartTrade | None,
        inputs: Sequence[_Worked],
        market: Market,
        fired: Set[tuple[int, WatchRole]] = frozenset(),
    ) -> None:
        """Keep what consecutive inputs of one trade lead to, and note what has to be stored and done."""
        after = inputs[-1].after
        if after is not before or fired:
            try:
                self._keep(before, after, market, fired)
            except Exception:
                self._repair(before, after, market)
                raise
        for each in inputs:
            if each.after is not each.before:  # else questions at most: nothing to store
                self._journal(each, market.version)
                self._changes.trades[after.id] = after
            self._changes.effects.extend(each.effects)

    def _context(self, market: Market) -> Context:
        return Context(
            now=self._now,
            instrument=market.instrument,
            quote=market.quote,
            quote_is_fresh=self._is_fresh(market),
            usd_rate=self.rates.usd(market.instrument.key.market, market.instrument.quote),
            instance=self.settings.instance,
            first_id=self._next_step_id,
            protect_partial_entry=self.settings.protect_partial_entry,
            breakeven_covers_exit_fee=self.settings.breakeven_covers_exit_fee,
        )

    def _is_fresh(self, market: Market) -> bool:
        return market.is_fresh(self._now, self.settings.max_quote_age)

    def _journal(self, worked: _Worked, version: int) -> None:
        context = worked.context
        self._changes.inputs.append(
            JournalledInput(
                trade_id=worked.after.id,
                number=worked.after.revision,
                at=context.now,
                input=worked.given,
                quote=context.quote,
                instrument_version=version,
                first_id=context.first_id,
                quote_is_fresh=context.quote_is_fresh,
                usd_rate=context.usd_rate,
                protect_partial_entry=context.protect_partial_entry,
                breakeven_covers_exit_fee=context.breakeven_covers_exit_fee,
            )
        )

    def _keep(
        self, before: SmartTrade | None, after: SmartTrade, market: Market, fired: Set[tuple[int, WatchRole]]
    ) -> None:
        """Bring triggers, timers and indexes in step with the trade."""
        self._sync_triggers(before, after, market, fired)
        self._timers.set(after.id, next_deadline(after))
        self._silence.watch(self._now)
        if awaits_price(after):
            market.awaiting.add(after.id)
        else:
            market.awaiting.discard(after.id)
        self.tallies.replace(before, after)
        if after.status.is_final:
            self._unsure.pop(after.id, None)
            self._unsure_since.pop(after.id, None)
            self._troubled.pop(after.id, None)
            self._owners.forget(after.id, step_ids(after))
        else:
            known = () if before is None else step_ids(before)
            self._owners.add(after.id, set(step_ids(after)).difference(known))
        self._live_orders.replace(before, after, self._now)  # here nothing breaks any more: `_repair` knows not of it
        self.trades.put(after)

    # --- triggers -------------------------------------------------------------------------------------------------

    def _sync_triggers(
        self, before: SmartTrade | None, after: SmartTrade, market: Market, fired: Set[tuple[int, WatchRole]]
    ) -> None:
        """Arm what is new in the trade's watches, disarm what is gone (AR-3, faults F41)."""
        old = () if before is None else watches(before)
        new = watches(after)
        groups_before = {} if before is None else trails(before)
        groups_after = trails(after)
        if old == new and not fired and groups_before.keys() == groups_after.keys():
            return
        kept = {(w.step_id, w.role): w for w in old if (w.step_id, w.role) not in fired}
        wanted = {(w.step_id, w.role): w for w in new}
        for place, watch in kept.items():
            if wanted.get(place) != watch:
                market.book.unwatch(*place)
        for watch in new:
            if watch.trail is not None and watch.trail.group not in groups_before:
                self._open_group(market, watch)
        self._arm(market, [watch for place, watch in wanted.items() if kept.get(place) != watch])
        for group in groups_before.keys() - groups_after.keys():
            market.book.release_group(group)
        self._note_groups(market)

    def _note_groups(self, market: Market) -> None:
        """Call after all that may open, move, merge or drop trailing groups: `take` looks at no other market's."""
        if market.book.has_changed_groups:
            self._moved_groups[market.instrument.key] = None

    def _repair(self, before: SmartTrade | None, after: SmartTrade, market: Market) -> None:
        """Keeping the new state broke half way: watch the old one again, whole."""
        for step in after.steps:
            market.book.unwatch(step.id)
        self._note_groups(market)  # what was begun before it broke
        if before is None:
            self._timers.set(after.id, None)
            return
        for step in before.steps:
            market.book.unwatch(step.id)
        for watch in watches(before):
            if watch.trail is not None and market.book.extreme(watch.trail.group) is None:
                self._open_group(market, watch)
        self._arm(market, watches(before))
        self._note_groups(market)
        self._timers.set(before.id, next_deadline(before))

    def _open_group(self, market: Market, watch: Watch) -> None:
        """Follow an extreme from now on; trades that start at the same one share it, each under its own id."""
        assert watch.trail is not None
        market.book.open_group(watch.trail.group, watch.price_type, watch.highest, watch.trail.start)

    def _arm(self, market: Market, added: Sequence[Watch]) -> None:
        for watch in added:
            if watch.trail is not None:
                trail = watch.trail
                market.book.watch_trail(watch.step_id, trail.group, trail.numerator, trail.denominator)
            elif watch.level is not None:
                market.book.watch_level(
                    watch.step_id, watch.role, watch.price_type, watch.level, watch.rises, watch.strict
                )
        if added:
            self._recheck.add(market.instrument.key)

    def _arm_again(self, trade: SmartTrade, places: Container[tuple[int, WatchRole]]) -> None:
        """Put fired watches back that nobody acted on: the next update, or what they wait for, tries again."""
        market = self.markets[trade.key]
        rechecked = market.instrument.key in self._recheck
        self._arm(market, [watch for watch in watches(trade) if (watch.step_id, watch.role) in places])
        if not rechecked:
            self._recheck.discard(market.instrument.key)

    def _settle_triggers(self) -> None:
        """What was armed now and is true already fires at once, against a price that is not too old (AR-3, TR-4)."""
        while due := self._recheck - self._moving:
            key = min(due)
            self._recheck.discard(key)
            market = self.markets[key]
            if not self._is_fresh(market):
                if market.quote is not None or len(market.book):
                    self._changes.effects.append(RequestQuote(keys=(market.instrument.key,)))
                continue
            assert market.quote is not None
            crossings = market.book.update(market.quote.bid, market.quote.ask, market.quote.last)
            self._note_groups(market)
            self._deliver(crossings)

    # --- rules and recovery ---------------------------------------------------------------------------------------

    def _instrument(self, changed: InstrumentChanged) -> None:
        key = changed.instrument.key
        market = self.markets.get(key)
        if market is None:
            self.markets[key] = Market(changed.instrument, changed.version)
            return
        market.instrument, market.version = changed.instrument, changed.version

    def restore(
        self,
        standings: Iterable[Standing],
        groups: Iterable[tuple[InstrumentKey, GroupState]],
        merged: bytes = b"",
        tallies: Mapping[Coin, Tally] = MappingProxyType({}),
    ) -> None:
        """Take what is stored of the open trades into a new engine (EX-36). Nothing is read that is not needed yet.

        groups  trailing groups; those that were merged into another one may be in `merged` instead, see `MergedIds`
        """
        standings = list(standings)
        self._began = self._now
        self.tallies.restore(tallies)
        self._owners.restore(each.records for each in standings)
        restored = MergedIds(merged)
        self._restore_groups(groups, restored)
        for each in standings:
            self.markets[each.key].book.restore(each.records)
        self._put_off = [self.markets[each.key] for each in standings]
        for each in standings:
            for due in all_due(each.records):
                self._restore_due(self.markets[each.key], due)
        unclaimed = restored.take_unclaimed()
        for market in self.markets.values():
            market.book.drop_unheld_groups(unclaimed)
            self._note_groups(market)
        self._to_recover.sort()
        self._recheck.clear()  # decisions wait for the first fresh price (EX-36 step 5)
        self._silence.watch(self._now)

    def _restore_groups(self, groups: Iterable[tuple[InstrumentKey, GroupState]], merged: MergedIds) -> None:
        """Each group to the book of its instrument."""
        by_market: dict[InstrumentKey, list[GroupState]] = {}
        for key, state in groups:
            by_market.setdefault(key, []).append(state)
        for key, counts in by_instrument(merged, by_market).items():
            self.markets[key].book.restore_groups(by_market[key], merged, counts)

    def look_further(self) -> bool:
        """Do a little of what a restart has put off, so that later inputs are quicker; False: that is all."""
        self._owners.sort_in()
        if self._put_off and not self._put_off[-1].book.open_some():
            self._put_off.pop()
        return bool(self._put_off)

    def _restore_due(self, market: Market, due: Due) -> None:
        """What one trade needs besides being watched."""
        if due.recover:
            self._to_recover.append(due.trade_id)
        if due.awaits_price:
            market.awaiting.add(due.trade_id)
        self._timers.set(due.trade_id, due.deadline)
        if not due.unpacked:
            return
        trade = self.trades[due.trade_id]
        for group in trails(trade):
            market.book.hold_group(group)
        self._arm(market, watches(trade))

    def recover(self, now: Instant, at_most: int | None = None) -> bool:
        """Ask about everything that may be alive at the exchange, and finish interrupted sequences.

        at_most  trades to do this for now; returns whether there are more of them
        """
        self._now = max(now, self._now)
        taken = self._to_recover[:at_most]
        del self._to_recover[: len(taken)]
        for trade_id in taken:
            trade = self.trades[trade_id]
            self._live_orders.replace(None, trade, self._now)
            self._event(trade_id, Recovered())
        return bool(self._to_recover)


def by_instrument(
    merged: MergedIds, groups: Mapping[InstrumentKey, Sequence[GroupState]]
) -> dict[InstrumentKey, Mapping[int, int]]:
    """How many merged ids lead directly to an id, for all ids of each instrument.

    Raises UnknownGroup for one that leads nowhere.
    """
    places: dict[InstrumentKey, dict[int, int]] = {key: {} for key in groups}
    known: dict[int, dict[int, int] | None] = {state.id: places[key] for key in groups for state in groups[key]}
    for parent, count in merged.counts().items():
        way: list[int] = []
        step: int | None = parent
        while step is not None and step not in known:
            known[step] = None  # while on the way: a circle ends here
            way.append(step)
            step = merged.get(step)
        place = None if step is None else known[step]
        if place is None:
            raise UnknownGroup(parent)
        known.update(dict.fromkeys(way, place))
        place[parent] = count
    return {**places}

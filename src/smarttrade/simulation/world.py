"""A world: markets, users, an exchange and one server, grown from a seed, run in virtual time.

Outside of the server's process everything happens as an entry of the agenda; each entry is a step. After it the process
works until nothing is left to do, then the next entry is due. The same seed gives the same history to the last byte.
"""

import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import structlog

from smarttrade.adapters.exchanges.paper.exchange import CloseReason, PaperExchange, PaperMarket, ScriptError
from smarttrade.app import MAX_QUOTE_AGE
from smarttrade.domain.account import Account
from smarttrade.domain.commands import CancelTrade, CloseAtMarket
from smarttrade.domain.instrument import FeeAsset, Instrument
from smarttrade.domain.order import OrderStatus
from smarttrade.domain.permissions import cancel_available, close_available
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey, Quote
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.replay import digest, replay
from smarttrade.ports.exchange import ExchangeUnavailable, PositionClosed, StreamMessage
from smarttrade.ports.market_data import MarketUpdate
from smarttrade.settings import Settings
from smarttrade.simulation.auditor import Auditor
from smarttrade.simulation.chance import Chance, between, likely
from smarttrade.simulation.exchange import Line
from smarttrade.simulation.faults import HOUR, MINUTE, SPELLS, FaultKind, Faults
from smarttrade.simulation.feed import PriceFeed, stamped
from smarttrade.simulation.history import START, History
from smarttrade.simulation.life import Life
from smarttrade.simulation.loop import NANOSECONDS, VirtualLoop, VirtualTime
from smarttrade.simulation.market import LINEAR_MARKET, SPOT_MARKET, PricePaths, list_pairs, opening_balances
from smarttrade.simulation.observer import Observer, PairRules, Violation
from smarttrade.simulation.record import ExchangeRecord
from smarttrade.simulation.storage import INSTANCE_TAG, Death, Disk, RowsOnly, Written
from smarttrade.simulation.workload import Workload

CLOSED_REMEMBERED: Final = 20
"""Trades that are over and still wished at."""

RECONNECT: Final = 5.0
"""Seconds after which users look again whether the server is there."""

SETTLING: Final = 5 * MINUTE
"""After the last fault: longer than any pause between two attempts (EX-12, EX-31)."""

ROUNDS_OF_CLOSING: Final = 12
SECONDS_TO_REST: Final = 30

QUIET: Final = 15 * MINUTE
"""From the last command of a user to the end: everything that was asked for has to be done by then."""

OUR_MISTAKES: Final = frozenset(
    {
        "a trade could not take an event and stays as it was",
        "an input broke a rule; nothing was changed",
        "an adapter failed",
        "a listener failed",
        "the engine has stopped",
    }
)
"""What the server logs when it notices a mistake of its own."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of world a seed makes, besides its faults."""

    instruments: Mapping[InstrumentKey, Instrument]
    markets: Sequence[str]  # of the accounts
    exchange_is_remote: bool  # it lives on when the server dies; else it is the paper exchange in its process
    quotes_stand: bool  # until the next one; else they age (TR-6)
    answer_pause: float  # where they age: seconds in which their source answers one question about a pair, not a second
    refuses_duplicate_ids: bool
    protect_partial_entry: bool
    breakeven_covers_exit_fee: bool

    @classmethod
    def drawn(cls, chance: Chance) -> "Shape":
        drawn = chance.stream("shape")
        instruments = list_pairs(drawn)
        markets = drawn.choice(([SPOT_MARKET, LINEAR_MARKET], [SPOT_MARKET], [LINEAR_MARKET], None))
        return cls(
            instruments=instruments,
            markets=markets or [drawn.choice((SPOT_MARKET, LINEAR_MARKET)) for _ in range(drawn.randint(3, 4))],
            exchange_is_remote=likely(drawn, 0.4),
            quotes_stand=likely(drawn, 0.5),
            answer_pause=_answer_pause(chance.stream("source")),
            refuses_duplicate_ids=likely(drawn, 0.7),
            protect_partial_entry=likely(drawn, 0.8),
            breakeven_covers_exit_fee=likely(drawn, 0.2),
        )


def _answer_pause(drawn: random.Random) -> float:
    """Prices come to an end of age in most worlds, although they are asked for (EX-34, TR-63)."""
    return 0 if likely(drawn, 0.2) else between(drawn, 30, 4 * MINUTE)


class World:
    """Made by `from_seed`; `run` lives it to its end, and raises Violation where a rule is broken."""

    def __init__(self, seed: int, directory: Path, hours: float, without: Collection[FaultKind] = ()) -> None:
        """directory  where the server keeps its data; empty"""
        chance = Chance(seed)
        self.shape: Final = Shape.drawn(chance)
        self.faults: Final = Faults(chance, without)
        self.time: Final = VirtualTime()
        self.history: Final = History(Auditor(None if self.shape.quotes_stand else MAX_QUOTE_AGE))
        self.observer: Final = cast(Observer, self.history)
        self.hours: Final = hours
        self.lives = 0
        self._record: Final = ExchangeRecord(self.observer, self.now, lambda: self.time.now_ns)
        self._settings: Final = Settings(
            data_dir=directory,
            protect_partial_entry=self.shape.protect_partial_entry,
            breakeven_covers_exit_fee=self.shape.breakeven_covers_exit_fee,
        )
        self._accounts: Final = [(m, opening_balances(m, self.shape.instruments)) for m in self.shape.markets]
        self._wall_offset: Instant = 0  # what the wall clock was set by, in all
        self._updates = PricePaths(chance.stream("market"), self.shape.instruments, START).updates()
        self._standing: dict[InstrumentKey, Quote] = {}
        self._workload: Workload = Workload(
            chance.stream("users"), list(enumerate(self.shape.markets, 1)), self.shape.instruments
        )
        self._trades: dict[int, SmartTrade] = {}  # as users see them
        self._life: Life | None = None
        self._remote = _RemoteExchange(self) if self.shape.exchange_is_remote else None
        self._troubles: dict[tuple[int | None, str], int] = {}
        self._prices_silent = False
        self._answers_after: dict[InstrumentKey, int] = {}  # when the source of prices answers again, ns
        self._users_wish = True
        self._told_at_rest = -1
        self.disk: Final = Disk(directory)

    # --- time -----------------------------------------------------------------------------------------------------

    def wall_ns(self) -> int:
        """What the wall clock of the server's machine shows."""
        return (START + self._wall_offset) * 1000 + self.time.now_ns

    def now(self) -> Instant:
        """The server's own time; the wall clock's while there is none."""
        return self.wall_ns() // 1000 if self._life is None else self._life.now()

    def run(self, steps: int | None = None) -> None:
        """Live on until the hours are over, or after `steps` steps, and come to an end in peace. Raises Violation."""
        with _listening_to_the_log(self._log_line):
            try:
                self._begin()
                end_ns = int(self.hours * HOUR * NANOSECONDS)
                while (self.time.next_ns or 0) <= end_ns and (steps is None or self.history.step < steps):
                    self._next()
                self._finish()
            finally:
                if self._life is not None:
                    self._life.end()

    def _next(self) -> None:
        """Take one step: the next thing that happens outside, and all that follows from it."""
        action = self.time.pop()
        self.history.step += 1
        action()
        self._settle()

    def _settle(self) -> None:
        """Let everybody do what can be done now."""
        if self._remote is not None:
            self._remote.loop.run_until_idle()
        life = self._life
        if life is not None:
            try:
                life.loop.run_until_idle()
            except Death:
                self.faults.strike(FaultKind.DEATHS)
                self._bury()
        if self.history.violation is not None:
            raise self.history.violation

    def _pass(self, seconds: float) -> None:
        """Let time go by."""
        end_ns = self.time.now_ns + int(seconds * NANOSECONDS)
        self.time.at(end_ns, _nothing)
        while (next_ns := self.time.next_ns) is not None and next_ns <= end_ns:
            self._next()

    def _at_rest(self) -> None:
        life = self._life
        if self.history.told == self._told_at_rest or life is None or not life.is_at_rest:
            return
        self._record.tell_funds()
        self.observer.at_rest(self.now())
        self._told_at_rest = self.history.told

    # --- beginning ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        for instrument in self.shape.instruments.values():
            self.observer.pair_listed(self.now(), rules_of(instrument))
        for number, (market, balances) in enumerate(self._accounts, 1):
            self.observer.account_opened(self.now(), number, market, balances)
        for _ in self.shape.instruments:  # every pair has a first price at the start
            self._market_moves(next(self._updates))
        self._start_process()
        self._settle()
        self._schedule_update()
        self.time.after(self._workload.pause() / SECOND, self._user_acts)
        self._schedule_faults()

    # --- the process ----------------------------------------------------------------------------------------------

    def _start_process(self) -> None:
        assert self._life is None
        self.lives += 1
        self.faults.draw_life()
        life = self._life = Life(
            self._settings,
            time=self.time,
            wall_ns=self.wall_ns,
            observer=self.observer,
            object_to=self.history.object_to,
            fate=self.faults.of_commit,
            durable=self._durable,
        )
        life.loop.on_idle = self._at_rest
        standing = {} if self._prices_silent else self._standing
        standing = {key: msgspec.structs.replace(quote, at=life.now()) for key, quote in standing.items()}
        feed = PriceFeed(
            self.shape.instruments,
            standing,
            standing_quotes_are_fresh=self.shape.quotes_stand,
            told=self._price_told,
            asked=self._asked,
        )
        for quote in standing.values():
            self._price_told(quote)
        life.begin(feed, self._connect, self._accounts, self._started)

    def _started(self) -> None:
        life = self._life
        assert life is not None
        life.system.runner.listen(self._changed)
        open_now = {trade.id: trade for trade in life.system.store.open_trades()}
        for trade_id, trade in list(self._trades.items()):
            if not trade.status.is_final and trade_id not in open_now:
                stored = life.system.store.trade(trade_id)
                self._trades[trade_id] = trade if stored is None else stored
        self._trades.update(open_now)
        self.observer.process_started(self.now())

    def _connect(self, account: Account, paper: PaperExchange) -> Line:
        assert self._life is not None
        remote, here = self._remote, self._life.loop
        return Line(
            account.id,
            paper if remote is None else remote.account(account),
            time=self.time,
            faults=self.faults,
            record=self._record,
            observer=self.observer,
            now=self.now,
            here=here,
            there=here if remote is None else remote.loop,
            refuses_duplicate_ids=self.shape.refuses_duplicate_ids,
        )

    def _bury(self) -> None:
        """The process has died. After a while somebody starts it again."""
        life, self._life = self._life, None
        assert life is not None
        life.end()
        self.observer.process_died(self.now())
        self.time.after(0.0 if self.faults.is_peace else self._downtime(), self._start_again)

    def _start_again(self) -> None:
        if self._life is None:  # peace may have come first
            self._start_process()

    def _downtime(self) -> float:
        chance = self.faults.chance(FaultKind.DEATHS)
        longest = chance.choices((2.0, MINUTE, 20 * MINUTE, 3 * HOUR), (40, 35, 20, 5))[0]
        return between(chance, longest / 50, longest)

    def _durable(self, written: Sequence[Written]) -> None:
        """Something is durable now, on the server's disk."""
        if self._remote is None:
            self._record.take(written)
        for part in written:
            if part.table == "smart_trades":
                for row in part.rows:
                    self.observer.trade_committed(self.now(), msgspec.json.decode(row["body"]))

    def _changed(self, trades: Sequence[SmartTrade]) -> None:
        """Users see changes; a few trades that are over stay in their sight."""
        self._trades.update({trade.id: trade for trade in trades})
        closed = [trade_id for trade_id, trade in self._trades.items() if trade.status.is_final]
        for trade_id in closed[:-CLOSED_REMEMBERED]:
            del self._trades[trade_id]

    # --- markets and users ----------------------------------------------------------------------------------------

    def _schedule_update(self) -> None:
        update = next(self._updates)

        def moves() -> None:
            self._market_moves(update)
            self._schedule_update()

        self.time.at((update.quote.at - START) * 1000, moves)

    def _market_moves(self, update: MarketUpdate) -> None:
        self._standing[update.quote.key] = update.quote
        if self._remote is not None:
            self._remote.apply(update)
        if not self._prices_silent:
            self._push(update)

    def _push(self, update: MarketUpdate) -> None:
        """A price arrives at the server, which stamps it with its own time; now and then it was long under way."""
        life = self._life
        if life is None:
            return
        age = 0.0
        if self.faults.on(FaultKind.PRICES) and likely(self.faults.chance(FaultKind.PRICES), 0.01):
            age = between(self.faults.chance(FaultKind.PRICES), 0, 25)
            self.faults.strike(FaultKind.PRICES)
        life.feed.push(stamped(update, life.now() - int(age * SECOND)))

    def _price_told(self, quote: Quote) -> None:
        key, now = quote.key, self.now()
        self.observer.price_moved(now, key.market, key.pair, quote.bid, quote.ask, quote.last, now - quote.at)

    def _asked(self, keys: Sequence[InstrumentKey]) -> None:
        """The server wants fresh quotes: they come together, of those pairs that the source says something about."""
        life = self._life
        assert life is not None
        answered = [
            key for key in keys if self.shape.quotes_stand or self.time.now_ns >= self._answers_after.get(key, 0)
        ]
        pause_ns = int(self.shape.answer_pause * NANOSECONDS)
        self._answers_after.update((key, self.time.now_ns + pause_ns) for key in answered)
        if not answered:
            return
        life.asked += 1

        def answer() -> None:
            life.asked -= 1
            if self._life is life and not self._prices_silent:
                for key in answered:
                    self._answer(life, key)

        self.time.after(0.05, answer)

    def _answer(self, life: Life, key: InstrumentKey) -> None:
        standing = life.feed.latest(key)
        if self.shape.quotes_stand and standing is not None:
            life.feed.push(MarketUpdate(quote=standing))
        elif key in self._standing:
            life.feed.push(stamped(MarketUpdate(quote=self._standing[key]), life.now()))

    def _user_acts(self) -> None:
        if not self._users_wish:
            return
        life = self._life
        if life is None or not life.up:
            self.time.after(RECONNECT, self._user_acts)
            return
        wish = self._workload.next_wish(self._trades, self._standing.get, self._record.position)
        if wish is not None:
            life.command(wish)
        self.time.after(self._workload.pause() / SECOND, self._user_acts)

    # --- faults ---------------------------------------------------------------------------------------------------

    def _schedule_faults(self) -> None:
        for kind in SPELLS:
            for account_id in range(1, len(self.shape.markets) + 1):
                self._schedule_spell(kind, account_id)
        self._schedule(FaultKind.PRICES, self._prices_fail)
        self._schedule(FaultKind.STORAGE, self._storage_fails)
        self._schedule(FaultKind.DEATHS, self._killed)
        self._schedule(FaultKind.RESTARTS, self._stopped)
        self._schedule(FaultKind.CLOCK, self._clock_set)
        self._schedule(FaultKind.OTHERS, self._others_act)

    def _schedule(self, kind: FaultKind, action: Callable[[], None]) -> None:
        """Let it happen again and again."""
        if not self.faults.on(kind):
            return

        def strike() -> None:
            if self.faults.on(kind):
                action()
                self._schedule(kind, action)

        self.time.after(self.faults.pause(kind), strike)

    def _schedule_spell(self, kind: FaultKind, account_id: int) -> None:
        def begin() -> None:
            if self.faults.rages(kind, account_id):
                return
            self.faults.begin(kind, account_id)
            self._trouble_begins(account_id, SPELLS[kind])
            self.time.after(self.faults.lasts(kind), end)

        def end() -> None:
            if not self.faults.rages(kind, account_id):
                return  # peace has ended it
            self.faults.end(kind, account_id)
            self._spell_ended(kind, account_id)

        self._schedule(kind, begin)

    def _spell_ended(self, kind: FaultKind, account_id: int) -> None:
        life = self._life
        if kind is FaultKind.STREAM and life is not None and account_id in life.lines:
            life.lines[account_id].say_back()
        longest = 65.0 if kind is FaultKind.REPORTS else 0.0  # what is late has arrived by then
        self.time.after(longest, lambda: self._trouble_ends(account_id, SPELLS[kind]))

    def _trouble_begins(self, account_id: int | None, what: str) -> None:
        count = self._troubles.get((account_id, what), 0)
        self._troubles[account_id, what] = count + 1
        if count == 0:
            self.observer.trouble_began(self.now(), account_id, what)

    def _trouble_ends(self, account_id: int | None, what: str) -> None:
        count = self._troubles[account_id, what] - 1
        self._troubles[account_id, what] = count
        if count == 0:
            self.observer.trouble_ended(self.now(), account_id, what)

    def _prices_fail(self) -> None:
        """The source breaks, or nothing is heard of it for a while."""
        if self._prices_silent:
            return
        self.faults.strike(FaultKind.PRICES)
        self._prices_silent = True
        self._trouble_begins(None, "prices")
        if self._life is not None and likely(self.faults.chance(FaultKind.PRICES), 0.5):
            self._life.feed.breaks()
        self.time.after(self.faults.lasts(FaultKind.PRICES), self._prices_back)

    def _prices_back(self) -> None:
        if not self._prices_silent:
            return
        self._prices_silent = False
        for quote in self._standing.values():
            self._push(MarketUpdate(quote=quote))
        self._trouble_ends(None, "prices")

    def _storage_fails(self) -> None:
        self.faults.begin_storage()
        self._trouble_begins(None, "calls")

        def end() -> None:
            self.faults.end_storage()
            self._trouble_ends(None, "calls")

        self.time.after(min(self.faults.lasts(FaultKind.STORAGE), 30.0), end)

    def _killed(self) -> None:
        if self._life is not None:
            self.faults.strike(FaultKind.DEATHS)
            self._bury()

    def _stopped(self) -> None:
        life = self._life
        if life is not None and life.up:
            self.faults.strike(FaultKind.RESTARTS)
            life.stop(lambda: self.time.after(0, lambda: self._bury_stopped(life)))

    def _bury_stopped(self, life: Life) -> None:
        if self._life is life:
            self._bury()

    def _clock_set(self) -> None:
        chance = self.faults.chance(FaultKind.CLOCK)
        reach = chance.choice((0.9, 5.0, MINUTE, HOUR, 30 * HOUR))
        seconds = round(between(chance, -reach, reach), 3)
        if self._life is not None:
            self._life.clock.wall_is_set()
        self._wall_offset += int(seconds * SECOND)
        self.faults.strike(FaultKind.CLOCK)
        self.observer.clock_jumped(self.now(), seconds)

    def _others_act(self) -> None:
        """Somebody cancels an order, closes a position, or an order that is over fills late (EX-30, S-32, EX-33)."""
        chance, paper = self.faults.chance(FaultKind.OTHERS), self._paper()
        if paper is None:
            return
        self.faults.strike(FaultKind.OTHERS)
        live = list(self._record.open_orders())
        held = [(a, key) for a, keys in sorted(self._record.positions.items()) for key in keys]
        if held and likely(chance, 0.3):
            account_id, key = chance.choice(held)
            self._at_exchange(paper.close_position(account_id, key, CloseReason.OUTSIDE))
        elif live:
            self._at_exchange(paper.cancel_outside(chance.choice(live).client_order_id))

    def _paper(self) -> PaperMarket | None:
        """The true exchange, while it can be reached."""
        if self._remote is not None:
            return self._remote.paper
        return self._life.system.paper if self._life is not None and self._life.up else None

    def _at_exchange(self, work: Any) -> None:
        async def act() -> None:
            try:
                await work
            except (ScriptError, ExchangeUnavailable):
                return  # it has just gone by itself

        if self._remote is not None:
            self._remote.spawn(act())
        elif self._life is not None:
            self._life.spawn(act())

    # --- the end --------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """No fault any more; users leave what they are in; then everything has to be where it was told to go."""
        self._make_peace()
        self._pass(SETTLING)
        self._check_recovery()
        for _ in range(ROUNDS_OF_CLOSING):
            if not self._close_all():
                break
            self._pass(2 * MINUTE)
        self.observer.peace(self.now())
        self._pass(QUIET)
        self._record.tell_funds()
        self.observer.at_rest(self.now())
        if self.history.violation is not None:
            raise self.history.violation
        self._check_journals()

    def _make_peace(self) -> None:
        raging = [
            (kind, a) for kind in SPELLS for a in range(1, len(self.shape.markets) + 1) if self.faults.rages(kind, a)
        ]
        self.faults.make_peace()
        self._users_wish = False
        for kind, account_id in raging:
            self._spell_ended(kind, account_id)
        self._prices_back()
        self._start_again()

    def _close_all(self) -> bool:
        """Close or cancel what is open; whether there was anything."""
        life = self._life
        if life is None or not life.up:
            return True
        open_now = list(life.system.store.open_trades())
        for trade in open_now:
            if close_available(trade):
                life.command(CloseAtMarket(trade_id=trade.id))
            elif cancel_available(trade):
                life.command(CancelTrade(trade_id=trade.id))
        return bool(open_now)

    def _check_recovery(self) -> None:
        """Starting twice at one moment at which nothing is under way changes nothing at the exchange (F3, F4)."""
        for _ in range(SECONDS_TO_REST):
            if not self._is_under_way():
                break
            self._pass(1)
        before = self._order_set()
        for start in ("first", "second"):
            self._bury_now()
            self._pass(0)
            after = self._order_set()
            if after != before:
                gone, new = sorted(before - after), sorted(after - before)
                raise Violation("F3", f"the {start} start changed the order set: gone {gone}, new {new}", at=self.now())

    def _is_under_way(self) -> bool:
        """Whether the server waits for word of an order: a start goes on with that, and should."""
        life = self._life
        if life is None or not life.up:
            return False
        orders = (step.live_order for trade in life.system.store.open_trades() for step in trade.steps)
        return any(order is not None and order.status is not OrderStatus.WORKING for order in orders)

    def _order_set(self) -> set[str]:
        return {order.client_order_id for order in self._record.open_orders()}

    def _bury_now(self) -> None:
        if self._life is not None:
            self._bury()
        self._settle()

    def _check_journals(self) -> None:
        """Every trade is what its journal, worked in again, leads to (architecture 3)."""
        life = self._life
        assert life is not None
        store = life.system.store
        for trade_id in store.trade_ids():
            trade, events = store.trade_with_events(trade_id)
            again = replay(events, store.instrument, INSTANCE_TAG)
            if trade is None or again is None or digest(again) != digest(trade):
                raise Violation("replay", "it is not what its journal leads to", at=self.now(), trade_id=trade_id)

    def _log_line(self, event: Mapping[str, Any]) -> None:
        if event.get("event") in OUR_MISTAKES:
            error = sys.exception() if event.get("exc_info") is True else event.get("exc_info")
            words = [event["event"], event.get("effect"), None if error is None else repr(error)]
            text = ": ".join(word for word in words if word)
            self.history.object_to(Violation("engine", text, at=self.now(), trade_id=event.get("trade_id")))


class _RemoteExchange:
    """The paper exchange as a process of its own, somewhere else: it outlives the server."""

    def __init__(self, world: World) -> None:
        self.loop = VirtualLoop(world.time)
        self.loop.on_error = self._failed
        self._world = world
        self._tasks: set[Any] = set()
        self._unheard: dict[tuple[int, InstrumentKey], PositionClosed] = {}
        self._accounts: dict[int, PaperExchange] = {}
        rules = world.shape.instruments
        self.paper = PaperMarket(
            write=self._write,
            instrument=rules.get,
            instruments=lambda: rules,
            now=lambda: START + world.time.now_ns // 1000,
        )

    async def _write(self, work: Callable[[Any], Any]) -> Any:
        written: list[Written] = []
        result = work(RowsOnly(written))
        self._world._record.take(written)
        return result

    def account(self, account: Account) -> PaperExchange:
        """The port of an account; opened when it is asked for the first time."""
        if account.id not in self._accounts:
            self._accounts[account.id] = self.paper.exchange(account.id)
            self.spawn(self.paper.add_account(account.id, account.market, account.opening_balances))
            self._accounts[account.id].listen(lambda report: self._heard(account.id, report))
        return self._accounts[account.id]

    def apply(self, update: MarketUpdate) -> None:
        if self._tasks or not self.paper.passes_by(update):
            self.spawn(self.paper.apply(update))

    def spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _heard(self, account_id: int, report: StreamMessage) -> None:
        life = self._world._life
        if life is not None and account_id in life.lines:
            life.lines[account_id].heard(report)

    def _failed(self, context: Mapping[str, Any]) -> None:
        raise AssertionError(f"the exchange broke: {context}")


def rules_of(instrument: Instrument) -> PairRules:
    """Trading rules as an observer hears of them."""
    return PairRules(
        market=instrument.key.market,
        pair=instrument.key.pair,
        base=instrument.base,
        quote=instrument.quote,
        linear=instrument.is_linear,
        tick=instrument.tick,
        lot=instrument.lot,
        min_lot=instrument.min_lot,
        min_total=instrument.min_total,
        min_market_total=instrument.min_market_total,
        max_market_lot=instrument.max_market_lot,
        taker_fee=instrument.taker_fee,
        fee_in_base=instrument.fee_in is FeeAsset.BASE,
    )


def _nothing() -> None:
    """An entry of the agenda that only lets time pass."""


@contextmanager
def _listening_to_the_log(hear: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
    """Hear errors that the server logs; nothing is written anywhere."""

    def take(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        hear(event)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[take], wrapper_class=structlog.make_filtering_bound_logger(40))
    try:
        yield
    finally:
        structlog.configure(**before)

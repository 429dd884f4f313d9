"""One queue, one writer. Drain what waits, handle each, ONE commit, then answer, send, publish (architecture 1 and 2).

Everything that changes a trade passes here. A reply leaves and an order goes out only after the commit that holds
their cause; what waits while a commit is under way shares the next one.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import structlog

from smarttrade.domain.commands import Command
from smarttrade.domain.errors import Denied
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.engine import Changes, Engine
from smarttrade.engine.inputs import EngineInput, TimePassed
from smarttrade.ports.clock import Clock
from smarttrade.ports.storage import Batch, Sequences, StorageUnavailable, TradeStore, TrailGroup
from smarttrade.runtime.dispatcher import Dispatcher
from smarttrade.runtime.inbox import Inbox, Waiting
from smarttrade.runtime.view import View

log = structlog.get_logger("runner")

MAX_BATCH: Final = 1_000
"""Inputs that share one commit, so that no caller waits for a storm of prices to end."""

EXTREMES_DELAY: Final[Instant] = SECOND // 20
"""How long a new trailing extreme may wait for a commit to share (architecture 3)."""

LONGEST_STORAGE_PAUSE: Final = 5.0

ChangeListener = Callable[[Sequence[SmartTrade]], None]


Answer = SmartTrade | Exception | None
"""What becomes of an input: the trade right after a command, or why there is none."""


class EngineFault(Exception):
    """A rule broke on a command: our fault, nothing was changed."""


class _Handled(NamedTuple):
    """A batch that is worked into memory."""

    batch: Sequence[Waiting]
    answers: Sequence[Answer]
    changes: Changes
    stored: Batch | None  # what to commit before anything leaves


class Runner:
    """Feeds the engine. Created per partition; one per process today."""

    def __init__(
        self, *, engine: Engine, store: TradeStore, view: View, clock: Clock, dispatcher: Dispatcher,
        extremes_delay: Instant = EXTREMES_DELAY,
    ) -> None:  # fmt: skip
        """extremes_delay: 0 commits a new extreme with the quote that made it (sandbox)."""
        self._engine = engine
        self._store = store
        self._view = view
        self._clock = clock
        self._dispatcher = dispatcher
        self._extremes_delay = extremes_delay
        self._inbox = Inbox()
        self._wake = asyncio.Event()
        self._progress: asyncio.Future[None] | None = None
        self._working = False
        self._sleeper: asyncio.Task[None] | None = None
        self._sleeper_due: Instant | None = None
        self._sleeping_until: Instant | None = None  # the same, once it has lain down
        self._held: Batch | None = None  # new extremes that wait for a commit to share
        self._held_since: Instant = 0
        self._listeners: list[ChangeListener] = []
        self._stopped = False
        self.healthy = True  # False while nothing can be stored
        dispatcher.on_idle(self._progressed)

    # --- ways in --------------------------------------------------------------------------------------------------

    async def execute(self, command: Command) -> SmartTrade:
        """Carry out a command; returns the trade right after it, once that is durable (C-10).

        Raises Denied, QueueFull, EngineFault, StorageUnavailable (nothing can be stored just now); then nothing has
        changed. A command that was taken before the storage failed waits for it.
        """
        if not self.healthy and not self._stopped:
            raise StorageUnavailable("nothing can be stored at present")
        if self._stopped:
            raise EngineFault("the engine has stopped")
        future: asyncio.Future[SmartTrade | None] = asyncio.get_running_loop().create_future()
        self._inbox.want(command, future)
        self._wake.set()
        answer = await future
        assert answer is not None
        return answer

    def tell(self, given: EngineInput) -> None:
        """Something happened. Never refused; of too many prices of a pair the oldest is skipped."""
        self._inbox.tell(given)
        self._wake.set()

    def prepare(self, given: EngineInput) -> None:
        """Something that a command which follows depends on: rules of a new pair, its first price."""
        self._inbox.prepare(given)
        self._wake.set()

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits to be handled: what comes now stands behind it."""
        return bool(self._inbox)

    @property
    def is_behind(self) -> bool:
        """More waits than the next commit takes: whoever tells more had better let others have a turn."""
        return len(self._inbox) >= MAX_BATCH

    def listen(self, listener: ChangeListener) -> None:
        """Hear of every committed change (the stream of clients, `trades watch`)."""
        self._listeners.append(listener)

    # --- the loop -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled; what was taken up is finished first."""
        try:
            while True:
                self._rearm_timer()
                while not self._inbox and self._engine.look_further():
                    await asyncio.sleep(0)
                await self._wake.wait()
                self._wake.clear()
                while self._inbox:
                    if self.is_behind:  # in a task, so that whoever is ready has a turn between two batches
                        await asyncio.shield(asyncio.ensure_future(self._work()))
                    elif (handled := self._handle_batch()) is not None:
                        await asyncio.shield(asyncio.ensure_future(self._finish(handled)))
        finally:
            self._stopped = True
            if self._sleeper is not None:
                self._sleeper.cancel()
            for waiting in self._inbox.abandon():
                if waiting.future is not None and not waiting.future.done():
                    waiting.future.set_exception(EngineFault("the engine has stopped"))

    async def drain(self) -> None:
        """Finish what waits, at the end of the process."""
        while self._inbox or self._working:
            if self._working:
                await self._next_progress()
            else:
                await self._work()
        held, self._held, self._extremes_delay = self._held, None, 0
        if held is not None:
            await self._commit(held)

    async def recover(self) -> None:
        """Finish what the last run left: the only start-up path (EX-36). Commands are taken after it."""
        more = True
        while more:
            more = self._engine.recover(self._clock.now(), MAX_BATCH)
            handled = self._handled([], [])
            if handled.stored is None:
                self._committed(handled)
            else:
                await self._finish(handled)
            await self._dispatcher.idle()
        while self._inbox:
            await self._work()
            await self._dispatcher.idle()

    async def _work(self) -> None:
        """One batch: handle, commit, answer, send."""
        handled = self._handle_batch()
        if handled is not None:
            await self._finish(handled)

    def _handle_batch(self) -> _Handled | None:
        """Handle one batch. Without anything to store it is over then, answered and sent: None. Else `_finish` it."""
        batch = self._inbox.take(MAX_BATCH)
        with self._or_broken(batch):
            handled = self._handled(batch, [self._handle(waiting) for waiting in batch])
            if handled.stored is None:
                self._committed(handled)
        if handled.stored is not None:
            self._working = True
            return handled
        self._rearm_timer()
        self._progressed()
        return None

    async def _finish(self, handled: _Handled) -> None:
        """Commit, answer, send."""
        assert handled.stored is not None
        self._working = True
        try:
            with self._or_broken(handled.batch):
                await self._commit(handled.stored)
                self._committed(handled)
        finally:
            self._working = False
            self._rearm_timer()
            self._progressed()

    @contextmanager
    def _or_broken(self, batch: Sequence[Waiting]) -> Iterator[None]:
        """What is in memory may not be what is stored after an exception: only a restart, which recovers, may go on."""
        try:
            yield
        except Exception:
            self.healthy = False
            for waiting in batch:
                if waiting.future is not None and not waiting.future.done():
                    waiting.future.set_exception(EngineFault("the engine has stopped"))
            raise

    def _handle(self, waiting: Waiting) -> Answer:
        if waiting.future is not None and waiting.future.cancelled():
            return None  # the caller has left before its command was begun
        try:
            return self._engine.handle(waiting.given, self._clock.now())
        except Denied as denied:
            return denied
        except StorageUnavailable:
            raise  # a trade could not be read, so the input is half worked in: only a restart may go on from here
        except Exception as error:
            log.exception("an input broke a rule; nothing was changed", input=type(waiting.given).__name__)
            return EngineFault(repr(error))

    def _handled(self, batch: Sequence[Waiting], answers: Sequence[Answer]) -> _Handled:
        """All that has come of a batch, and of what it is that nothing may leave before it is durable."""
        changes = self._engine.take()
        for trade_id, error in changes.faults:
            log.error("a trade could not take an event and stays as it was", trade_id=trade_id, exc_info=error)
        return _Handled(batch, answers, changes, self._to_store(changes))

    def _committed(self, handled: _Handled) -> None:
        """Everything of it is durable, if it has to be: answer and send."""
        changes = handled.changes
        self._engine.stored(changes.trades.values())
        self._view.put(changes.trades.values(), changes.tallies)
        for waiting, answer in zip(handled.batch, handled.answers, strict=True):
            if waiting.future is not None and not waiting.future.done():
                if isinstance(answer, Exception):
                    waiting.future.set_exception(answer)
                else:
                    waiting.future.set_result(answer)
        self._dispatcher.carry_out(changes.effects)
        if changes.trades:
            self._publish(list(changes.trades.values()))

    def _publish(self, changed: Sequence[SmartTrade]) -> None:
        """Tell whoever listens; one that breaks harms nobody else."""
        for listener in self._listeners:
            try:
                listener(changed)
            except Exception:
                log.exception("a listener failed")

    # --- storing --------------------------------------------------------------------------------------------------

    def _to_store(self, changes: Changes) -> Batch | None:
        """What must be durable before anything of it leaves; None: nothing, or extremes that may wait for company."""
        batch = self._batch(changes)
        if batch.is_empty or self._may_wait(batch):
            return None
        self._held = None
        return batch

    def _batch(self, changes: Changes) -> Batch:
        batch = self._held if self._held is not None else Batch()
        batch.trades.update(changes.trades)
        batch.tallies.update(changes.tallies)
        batch.events.extend(changes.inputs)
        for change in changes.groups:
            state = change.state
            if state.dropped:
                batch.trail_groups.pop(state.id, None)
                batch.dropped_trail_groups.add(state.id)
            else:
                batch.dropped_trail_groups.discard(state.id)
                batch.trail_groups[state.id] = TrailGroup(
                    id=state.id, key=change.key, price_type=state.price_type, highest=state.highest,
                    extreme=state.extreme, at=change.at, merged_into=state.merged_into,
                )  # fmt: skip
        if changes.inputs:
            batch.sequences = Sequences(trade_id=self._engine.next_trade_id, step_id=changes.next_step_id)
        return batch

    async def _commit(self, batch: Batch) -> None:
        """Make `batch` durable, however long the storage takes: nothing goes out before (fault: disk full)."""
        pause = 0.05
        while True:
            try:
                await self._store.commit(batch)
            except StorageUnavailable as error:
                self.healthy = False
                self._progressed()  # whoever waits for rest need not wait for the disk
                log.error("cannot store; nothing is answered or sent until this works", error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_STORAGE_PAUSE)
            else:
                self.healthy = True
                break

    def _may_wait(self, batch: Batch) -> bool:
        """New extremes alone wait a moment for another commit; the timer sees to it that they do not wait longer."""
        if self._extremes_delay == 0 or batch.trades or batch.events:
            return False
        now = self._clock.now()
        if self._held is None:
            self._held, self._held_since = batch, now
        return now < self._held_since + self._extremes_delay

    # --- time -----------------------------------------------------------------------------------------------------

    def _next_deadline(self) -> Instant | None:
        due = self._engine.next_deadline
        if self._held is not None:
            flush = self._held_since + self._extremes_delay
            due = flush if due is None else min(due, flush)
        return due

    def _rearm_timer(self) -> None:
        due = self._next_deadline()
        if due == self._sleeper_due and (due is None or (self._sleeper is not None and not self._sleeper.done())):
            return
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._sleeper_due, self._sleeping_until = due, None
        self._sleeper = None if due is None else asyncio.get_running_loop().create_task(self._sleep(due))

    async def _sleep(self, due: Instant | None) -> None:
        """Until a deadline; then it is the engine's turn, unless all that is due is a question."""
        while due is not None:
            self._sleeper_due = self._sleeping_until = due
            await self._clock.sleep_until(due)
            if not self._has_asked():
                self._sleeping_until = self._sleeper = None
                self.tell(TimePassed())
                return
            due = self._next_deadline()
        self._sleeper_due = self._sleeping_until = self._sleeper = None

    def _has_asked(self) -> bool:
        """Whether all that was due were questions, which change no trade: most deadlines are looks at silent pairs."""
        if self._inbox or self._working or self._held is not None:
            return False
        questions = self._engine.questions_due(self._clock.now())
        if questions is None:
            return False
        self._dispatcher.carry_out(questions)
        return True

    # --- quiet ----------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Inputs that wait and effects that are under way."""
        return len(self._inbox) + self._dispatcher.pending + int(self._working)

    async def settled(self) -> None:
        """Return when all is done that can be done without new prices, time, or room on the disk."""
        while self.healthy:
            if self.pending:
                await self._next_progress()
            elif self._sleeping_until != self._next_deadline():
                await asyncio.sleep(0)  # the timer has not lain down yet
            else:
                return

    def _next_progress(self) -> asyncio.Future[None]:
        if self._progress is None or self._progress.done():
            self._progress = asyncio.get_running_loop().create_future()
        return self._progress

    def _progressed(self) -> None:
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

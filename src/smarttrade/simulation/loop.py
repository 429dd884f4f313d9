"""Virtual time. It moves only when nobody has anything left to do, straight to the next thing that will happen.

Two kinds of things wait for their time: what happens in the world outside (an `Agenda`: prices, users, messages under
way) and the timers of the processes in it, each with an event loop of its own (`VirtualLoop`). A process that dies is a
loop that is never run again: nothing of it goes on, however it had meant to clean up.
"""

import asyncio
import heapq
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from types import CoroutineType
from typing import Any, Final, TypeVarTuple, Unpack

NANOSECONDS: Final = 1_000_000_000

MOST_AT_ONCE: Final = 50_000
"""Turns of a loop, or entries of the agenda, at one moment: more means that they go round in circles."""

Action = Callable[[], None]

Args = TypeVarTuple("Args")


class Stuck(Exception):
    """Time cannot go on: nothing will ever happen again, or the same things happen at one moment without an end."""


class VirtualTime:
    """The time of a world, and what will happen in it."""

    def __init__(self) -> None:
        self.now_ns = 0  # since the world began
        self._agenda: list[tuple[int, int, Action]] = []
        self._number = 0
        self._at_once = 0

    @property
    def next_ns(self) -> int | None:
        """When the first thing on the agenda is due."""
        return self._agenda[0][0] if self._agenda else None

    def at(self, when_ns: int, action: Action) -> None:
        """Let `action` happen then, after what was put there before for the same moment."""
        self._number += 1
        heapq.heappush(self._agenda, (max(when_ns, self.now_ns), self._number, action))

    def after(self, seconds: float, action: Action) -> None:
        self.at(self.now_ns + int(seconds * NANOSECONDS), action)

    def advance(self, when_ns: int) -> None:
        """Move on. Time never runs back."""
        assert when_ns >= self.now_ns
        if when_ns > self.now_ns:
            self.now_ns, self._at_once = when_ns, 0

    def count(self) -> None:
        """Something happens at this moment. Raises Stuck."""
        self._at_once += 1
        if self._at_once > MOST_AT_ONCE:
            raise Stuck("time stands still")

    def pop(self) -> Action:
        """Go to the first thing on the agenda, and return it. Raises Stuck."""
        if not self._agenda:
            raise Stuck("nothing will ever happen again")
        when_ns, _, action = heapq.heappop(self._agenda)
        self.advance(when_ns)
        self.count()
        return action


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without sockets, threads or a clock of its own.

    `run_until_idle` does all that can be done now, and lets timers pass that are due before the agenda's next entry.
    It takes its turns itself: what the base class does in each of them for a real loop took 5 % of a world.
    """

    _ready: deque[asyncio.Handle]

    def __init__(self, time: VirtualTime) -> None:
        super().__init__()
        self._virtual = time
        self._clock_resolution = 1 / NANOSECONDS
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []  # a heap, by when they are due and as they came
        self._timer_number = 0
        self.on_idle: Action | None = None  # called whenever nothing is left to do at this moment
        self.on_error: Callable[[dict[str, Any]], None] | None = None
        self.set_exception_handler(_handle_exception)

    def time(self) -> float:
        return self._virtual.now_ns / NANOSECONDS

    def call_soon(
        self, callback: Callable[[Unpack[Args]], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[Unpack[Args]], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, handle))
        return handle

    def run_until_idle(self) -> None:
        """Work until nothing is left to do before the agenda's next entry, which comes first of what is due with it."""
        asyncio._set_running_loop(self)
        try:
            is_more = True
            while is_more:
                self._virtual.count()
                is_more = bool(self._ready) or self._wait()
                if self._timers:
                    self._wake_timers()
                self._take_turn()
        finally:
            asyncio._set_running_loop(None)

    def _take_turn(self) -> None:
        """Run what is ready; what that begins has its turn after it. As `Handle._run` does, without a call for each."""
        ready = self._ready
        for _ in range(len(ready)):
            handle: Any = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - whatever breaks in a callback is for the handler
                self.call_exception_handler({"message": "a callback broke", "exception": error, "handle": handle})

    def _wait(self) -> bool:
        """Nothing is ready: let time pass up to the first timer. False: the agenda's next entry comes first."""
        first = self._first_timer()
        timeout = None if first is None else first - self.time()
        if timeout is not None and timeout <= 0:
            return True
        if self.on_idle is not None:
            self.on_idle()
            if self._ready:
                return True
        if timeout is None:
            return False
        when_ns = self._virtual.now_ns + max(1, round(timeout * NANOSECONDS))
        next_ns = self._virtual.next_ns
        if next_ns is None or when_ns >= next_ns:
            return False
        self._virtual.advance(when_ns)
        return True

    def _wake_timers(self) -> None:
        """What is due is ready."""
        end = self.time() + self._clock_resolution
        while self._timers and self._timers[0][0] < end:
            _, _, handle = heapq.heappop(self._timers)
            if not handle._cancelled:
                self._ready.append(handle)

    def _first_timer(self) -> float | None:
        """When the next one that is not cancelled is due."""
        while self._timers and self._timers[0][2]._cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def abandon(self) -> None:
        """The process of this loop is no more. Nobody hears of what it leaves unfinished."""
        self.on_idle = self.on_error = None
        self.set_task_factory(_refuse)
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(self)  # what ends here has no other loop: it must not begin anything in the next one
        try:
            self._close_tasks()
        finally:
            asyncio._set_running_loop(running)
        self._ready.clear()
        self._timers.clear()

    def _close_tasks(self) -> None:
        """End all tasks where they are. Left to the collector, their cleaning up would happen at any time."""
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of calls that were yet to begin
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                if isinstance(coroutine, CoroutineType):
                    with suppress(Exception):
                        coroutine.close()

    def __del__(self) -> None:
        """A loop without descriptors needs no closing."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a system call here."""


def _refuse(loop: asyncio.AbstractEventLoop, coroutine: Any, **_options: Any) -> "asyncio.Future[Any]":
    """What a dead process begins while its remains are cleared away does not happen."""
    coroutine.close()
    return loop.create_future()


def _handle_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    if loop.on_error is not None:
        loop.on_error(context)

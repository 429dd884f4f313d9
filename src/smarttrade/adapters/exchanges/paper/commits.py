"""Work on the books that is durable before anybody hears of it.

Work changes the state at once; its rows are stored with the next commit, together with those of all other work that
came while the last commit was under way. Then, in order of arrival: the reports go to the listeners, the callers get
their answers. A commit that fails takes back its work and all that was built on it, as if those calls had not arrived.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import sqlalchemy as sa

from smarttrade.adapters.exchanges.paper.books import Report
from smarttrade.adapters.exchanges.paper.ledger import Changes
from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.adapters.exchanges.paper.store import saving
from smarttrade.ports.exchange import ExchangeUnavailable
from smarttrade.ports.storage import StorageUnavailable

T = TypeVar("T")

Told = tuple[int, Report]
"""A report, and the account whose listeners get it."""


class Write(Protocol):
    """Runs a work in a transaction of its own or a shared one; returns when it is durable."""

    def __call__(self, work: Callable[[sa.Connection], T], /) -> Awaitable[T]: ...


class Commits:
    """The only way to change the state of the paper exchange."""

    def __init__(self, state: State, write: Write, deliver: Callable[[int, Report], None]) -> None:
        self._state = state
        self._write = write
        self._deliver = deliver
        self._waiting: list[_Done] = []
        self._flushing: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[], tuple[T, list[Told]]]) -> tuple[T, list[Told]]:
        """Do `work`, store what it changed, deliver what it tells, and return both.

        Whatever `work` raises leaves nothing behind. Raises ExchangeUnavailable when the commit, or an earlier one that
        this work built on, fails. Work that only looks waits for the commits of what it may have seen.
        """
        self._state.begin()
        try:
            result, told = work()
        except BaseException:
            self._state.undo(self._state.end())
            raise
        done = _Done(self._state.end(), told)
        if self._flushing is None and not done.changes:
            return result, told
        self._waiting.append(done)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="paper-commit")
        await done.answered
        return result, told

    async def _flush(self) -> None:
        """Commit until nothing waits."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit(group)
        finally:
            self._flushing = None

    async def _commit(self, group: "list[_Done]") -> None:
        try:
            if any(done.changes for done in group):
                await self._write(saving(self._state, (done.changes for done in group)))
        except (StorageUnavailable, sa.exc.SQLAlchemyError, OSError) as error:
            self._take_back(group, str(error))
        except BaseException as error:
            self._take_back(group, repr(error))
            raise
        else:
            changed = (done.changes for done in group)
            self._state.stored(changed, (done.changes for done in self._waiting))
            loop = asyncio.get_running_loop()
            for done in group:
                for account_id, report in done.told:
                    loop.call_soon(
                        self._deliver, account_id, report
                    )  # before the callers wake, and a listener's mistake is only its own
            for done in group:
                if not done.answered.done():
                    done.answered.set_result(None)

    def _take_back(self, group: "list[_Done]", reason: str) -> None:
        """Undo the group and what came after it, newest first."""
        undone, self._waiting = group + self._waiting, []
        for done in reversed(undone):
            self._state.undo(done.changes)
        for done in undone:
            if not done.answered.done():
                done.answered.set_exception(
                    ExchangeUnavailable(f"The paper exchange could not store its books: {reason}")
                )


class _Done:
    """Work that was done and waits for its commit."""

    __slots__ = ("answered", "changes", "told")

    def __init__(self, changes: Changes, told: list[Told]) -> None:
        self.changes = changes
        self.told = told
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

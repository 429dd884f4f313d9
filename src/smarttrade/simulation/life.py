"""One process of a simulated world: the real system from its start to its death, in an event loop of its own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from smarttrade.adapters.exchanges.paper.exchange import PaperExchange
from smarttrade.adapters.storage.data_directory import DATABASE_NAME
from smarttrade.app import System
from smarttrade.domain.account import Account
from smarttrade.domain.commands import Command, CreateTrade
from smarttrade.domain.errors import DenialCode, Denied, deny
from smarttrade.domain.quote import Instant
from smarttrade.ports.exchange import Exchange, ExchangeUnavailable
from smarttrade.ports.storage import StorageUnavailable
from smarttrade.runtime.runner import EngineFault
from smarttrade.settings import Settings
from smarttrade.simulation.clock import VirtualClock
from smarttrade.simulation.exchange import Line
from smarttrade.simulation.feed import PriceFeed
from smarttrade.simulation.loop import VirtualLoop, VirtualTime
from smarttrade.simulation.observer import Observer, Violation
from smarttrade.simulation.storage import Durable, Fate, InlineDatabase

USER: Final = "default"


class Life:
    """A process. It is `up` once it has recovered, until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        *,
        time: VirtualTime,
        wall_ns: Callable[[], int],
        observer: Observer,
        object_to: Callable[[Violation], None],
        fate: Callable[[], Fate],
        durable: Durable,
    ) -> None:
        """object_to  hears of mistakes of the server that it has noticed itself"""
        self.settings: Final = settings
        self.loop: Final = VirtualLoop(time)
        self.loop.on_error = self._failed
        self.clock: Final = VirtualClock(wall_ns, lambda: time.now_ns)
        self.up = False
        self.alive = True
        self.asked = 0  # requests for a price that are not answered yet
        self.lines: dict[int, Line] = {}
        self._database = InlineDatabase(settings.data_dir / DATABASE_NAME, fate=fate, durable=durable)
        self._observer = observer
        self._object_to = object_to
        self._tasks: set[asyncio.Task[Any]] = set()
        self.system: System
        self.feed: PriceFeed

    def begin(
        self,
        feed: PriceFeed,
        connect: Callable[[Account, PaperExchange], Line],
        accounts: Sequence[tuple[str, Mapping[str, Decimal]]],
        started: Callable[[], None],
    ) -> None:
        """Start the system. accounts: market and balances of those that are opened while they are missing."""

        def connected(account: Account, paper: Exchange) -> Exchange:
            assert isinstance(paper, PaperExchange)
            line = self.lines[account.id] = connect(account, paper)
            return line

        self.feed = feed
        self.system = System(self.settings, self._database, feed, self.clock, connected)
        self.spawn(self._start(accounts, started))

    async def _start(self, accounts: Sequence[tuple[str, Mapping[str, Decimal]]], started: Callable[[], None]) -> None:
        await self.system.start()
        missing = accounts[len(self.system.directory.all_accounts()) :]
        if missing:
            user = await self.system.directory.ensure_user(USER)
            for market, balances in missing:
                await self.system.open_paper_account(user.id, None, market, balances)
        self.up = True
        started()

    def stop(self, stopped: Callable[[], None]) -> None:
        """End it in good order."""
        self.up = False

        async def close() -> None:
            await self.system.close()
            stopped()

        self.spawn(close())

    def end(self) -> None:
        """It is no more."""
        self.up = self.alive = False
        for line in self.lines.values():
            line.cut()
        self.loop.abandon()
        self._database.close()

    def command(self, command: Command) -> None:
        """A user sends a command, and waits for its answer."""
        self.spawn(self._command(command))

    async def _command(self, command: Command) -> None:
        name, trade_id = type(command).__name__, getattr(command, "trade_id", None)
        denied = None
        try:
            if isinstance(command, CreateTrade) and await self.system.ensure_instrument(command.key) is None:
                raise deny(DenialCode.NO_MARKET_DATA, command.key.pair)
            trade_id = (await self.system.runner.execute(command)).id
        except Denied as error:
            denied = error.problems[0].code.value
        except (StorageUnavailable, ExchangeUnavailable):
            return  # an error page, and nothing has changed
        except EngineFault as error:
            if self.up:
                self._object_to(Violation("engine", f"{name} broke a rule: {error}", at=self.now(), trade_id=trade_id))
            return
        self._observer.command_answered(self.now(), trade_id, name, denied)

    def now(self) -> Instant:
        """The process's own time."""
        return self.clock.now()

    @property
    def is_at_rest(self) -> bool:
        """Whether it has worked in all that it was told, and has sent all that it wanted to."""
        return (
            self.up
            and not self.feed.pending
            and not self.asked
            and not self.system.runner.pending
            and not any(line.under_way for line in self.lines.values())
        )

    def spawn(self, work: Any) -> None:
        """Run a coroutine in this process."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed({"message": "a task broke", "exception": error})

    def _failed(self, context: Mapping[str, Any]) -> None:
        """Something broke where nobody looks."""
        error = context.get("exception")
        self._object_to(Violation("engine", f"{context.get('message')}: {error!r}", at=self.now()))

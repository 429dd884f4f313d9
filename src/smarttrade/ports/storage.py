"""What must survive: trades, the events that made them, trailing extremes, and the sequences that ids come from."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from smarttrade.domain.instrument import Instrument
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import Instant, InstrumentKey, PriceType
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.journal import JournalledInput
from smarttrade.engine.standing import Standing
from smarttrade.engine.tallies import Coin, Tally


class TrailGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Trailing triggers of one instrument that share an extreme; a new extreme is one small row (architecture 3)."""

    id: int
    key: InstrumentKey
    price_type: PriceType
    highest: bool  # True: follows the highest price, False: the lowest
    extreme: Decimal
    at: Instant  # when the extreme was reached
    merged_into: int | None = None  # the group that has taken this one's members


class Sequences(msgspec.Struct, frozen=True, kw_only=True):
    """Next free ids; all stay below 2^31."""

    trade_id: int = 1
    step_id: int = 1  # also names trailing groups


class Batch(msgspec.Struct, kw_only=True):
    """Everything that one commit makes durable."""

    trades: dict[int, SmartTrade] = msgspec.field(default_factory=dict)
    events: list[JournalledInput] = msgspec.field(default_factory=list)
    trail_groups: dict[int, TrailGroup] = msgspec.field(default_factory=dict)
    dropped_trail_groups: set[int] = msgspec.field(default_factory=set)  # no trade names them any more
    tallies: dict[Coin, Tally] = msgspec.field(default_factory=dict)
    sequences: Sequences | None = None  # only when ids were taken

    @property
    def is_empty(self) -> bool:
        rows = self.trades or self.events or self.trail_groups or self.dropped_trail_groups
        return not rows and not self.tallies and self.sequences is None


class StatusFilter(enum.StrEnum):
    ALL = "all"
    ACTIVE = "active"
    FINISHED = "finished"  # finished, panic_sold, stop_loss_finished
    SUCCESSFULLY_FINISHED = "successfully_finished"  # finished only
    CANCELLED = "cancelled"
    FAILED = "failed"


class OrderBy(enum.StrEnum):
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    CLOSED_AT = "closed_at"
    STATUS = "status"
    PROFIT = "profit"
    PROFIT_PERCENTAGE = "profit_percentage"


NEAR: Final = 1_000
"""Trades that a page may pass over while others wait for it."""


class TradeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the list of trades (api.md A1)."""

    account_ids: tuple[int, ...]  # accounts that the caller may see
    pair: str | None = None
    kind: TradeKind | None = None
    status: StatusFilter = StatusFilter.ALL
    base: str | None = None  # any case
    quote: str | None = None
    created_from: Instant | None = None  # inclusive
    created_to: Instant | None = None
    order_by: OrderBy = OrderBy.STATUS
    ascending: bool = False
    offset: int = 0
    limit: int = 10

    @property
    def takes_long(self) -> bool:
        """Whether its cost may grow with the trades that are stored: it is far from the first page, or looks for a
        time of creation in another order."""
        in_window = self.created_from is not None or self.created_to is not None
        return self.offset > NEAR or (in_window and self.order_by not in (OrderBy.STATUS, OrderBy.CREATED_AT))


class TradeStore(Protocol):
    """The engine's durable memory. `commit` is the only way in."""

    async def commit(self, batch: Batch) -> None:
        """Make the batch durable in one transaction, shared with whoever else waits. Raises StorageUnavailable."""

    def open_trades(self) -> Iterator[SmartTrade]:
        """All trades that are not final, by id."""

    def open_trade_ids(self, account_id: int, key: InstrumentKey) -> Sequence[int]:
        """Trades of an account on an instrument that are not final."""

    def standings(self) -> Sequence[Standing]:
        """The standings of all open trades, joined by instrument: what a restart begins with."""

    def tallies(self) -> Mapping[Coin, Tally]: ...

    def trade(self, trade_id: int) -> SmartTrade | None: ...

    def find_trades(self, query: TradeQuery) -> Sequence[SmartTrade]:
        """One page, by the orders of api.md A1. Profit of open trades counts as null here; see api/routes.

        May be called from any thread.
        """

    def events(self, trade_id: int) -> Sequence[JournalledInput]: ...

    def trail_groups(self) -> Sequence[TrailGroup]:
        """All groups that have not been merged into another, nor dropped."""

    def merged_trail_groups(self) -> bytes:
        """Groups that were merged, each with the one that it leads to: stored trades still name them."""

    def trail_group(self, group_id: int) -> TrailGroup | None:
        """The group that an id leads to now."""

    def sequences(self) -> Sequences: ...

    def instruments(self) -> Sequence[tuple[int, Instrument]]:
        """Newest stored version of each instrument that a trade has used: (version, rules)."""

    def instrument(self, version: int) -> Instrument: ...

    async def add_instrument(self, instrument: Instrument) -> int:
        """Store rules that differ from the newest version; returns the new version."""


class StorageUnavailable(Exception):
    """The commit did not happen (disk full, read-only, locked); nothing of the batch is durable."""

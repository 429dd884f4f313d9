"""The trades that the engine works on: read from the store when they are touched, and few of them kept.

What was changed stays here until it is durable: the store would give the value from before.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from smarttrade.domain.smart_trade import SmartTrade

KEPT_TRADES: Final = 8_192
"""Decoded trades, 4 kB each, that are kept after their last change: what a busy second touches."""


class Trades:
    """All trades by id, the ones that are over included."""

    __slots__ = ("_keep", "_kept", "_load", "_unstored")

    def __init__(self, load: Callable[[int], SmartTrade | None], keep: int = KEPT_TRADES) -> None:
        """`load` reads a trade as it was stored last."""
        self._load = load
        self._keep = keep
        self._unstored: dict[int, SmartTrade] = {}
        self._kept: OrderedDict[int, SmartTrade] = OrderedDict()  # the one touched last is at the end

    def find(self, trade_id: int) -> SmartTrade | None:
        """The trade as it is now."""
        trade = self._unstored.get(trade_id)
        if trade is not None:
            return trade
        trade = self._kept.get(trade_id)
        if trade is not None:
            self._kept.move_to_end(trade_id)
            return trade
        trade = self._load(trade_id)
        if trade is not None:
            self._note(trade)
        return trade

    def get(self, trade_id: int) -> SmartTrade | None:
        """The trade if it is open."""
        trade = self.find(trade_id)
        return None if trade is None or trade.status.is_final else trade

    def __contains__(self, trade_id: int) -> bool:
        """Whether there is such a trade and it is open."""
        return self.get(trade_id) is not None

    def __getitem__(self, trade_id: int) -> SmartTrade:
        """Raises LookupError for a trade that is not open."""
        trade = self.get(trade_id)
        if trade is None:
            raise LookupError(f"trade {trade_id} is not open")
        return trade

    def put(self, trade: SmartTrade) -> None:
        """The trade is new, or has changed."""
        self._kept.pop(trade.id, None)
        self._unstored[trade.id] = trade

    def stored(self, trades: Iterable[SmartTrade]) -> None:
        """These values are durable."""
        for trade in trades:
            if self._unstored.get(trade.id) is trade:
                del self._unstored[trade.id]
                self._note(trade)

    def unstored(self) -> Iterable[int]:
        """Ids of the trades that the store does not know as they are."""
        return self._unstored

    @property
    def decoded_count(self) -> int:
        """Trades that are in memory."""
        return len(self._kept) + len(self._unstored)

    def _note(self, trade: SmartTrade) -> None:
        self._kept[trade.id] = trade
        if len(self._kept) > self._keep:
            self._kept.popitem(last=False)

"""What readers see: the last committed state of every trade. Reads never wait for the writer (architecture 7)."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from smarttrade.domain.quote import Instant
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.tallies import NONE, Coin, Tally
from smarttrade.ports.storage import TradeStore

KEPT_TRADES: Final = 8_192
"""Decoded trades that are kept since they were changed or read last. Those that the engine keeps too are its own."""


class View:
    """Updated by the runner after each commit, read by whoever answers questions."""

    def __init__(self, store: TradeStore, *, keep: int = KEPT_TRADES) -> None:
        self._store = store
        self._keep = keep
        self._kept: OrderedDict[int, SmartTrade] = OrderedDict()  # the one touched last is at the end
        self._tallies: dict[Coin, Tally] = dict(store.tallies())

    def trade(self, trade_id: int) -> SmartTrade | None:
        """The trade, open or over. The same state is the same object, as long as it is kept."""
        trade = self._kept.get(trade_id)
        if trade is None:
            trade = self._store.trade(trade_id)
            if trade is not None:
                self._note(trade)
        else:
            self._kept.move_to_end(trade_id)
        return trade

    def put(self, trades: Iterable[SmartTrade], tallies: Mapping[Coin, Tally]) -> None:
        """Show what has been committed."""
        for trade in trades:
            kept = self._kept.get(trade.id)
            if kept is None or kept.revision <= trade.revision:  # a reader may have met a later state in the store
                self._note(trade)
        for coin, tally in tallies.items():
            if tally.trades:
                self._tallies[coin] = tally
            else:
                self._tallies.pop(coin, None)

    def extreme_of(self, group_id: int) -> tuple[Decimal, Instant] | None:
        """Extreme of a trailing group and when it was reached (TR-52)."""
        group = self._store.trail_group(group_id)
        return None if group is None else (group.extreme, group.at)

    def needed(self, account_id: int, coin: str) -> Decimal:
        """Open amount of all trades of an account that need `coin` to close (M-56)."""
        return self._tallies.get((account_id, coin), NONE).needed

    def open_trades(self, account_id: int | None = None) -> int:
        """Number of open trades, of one account or of all."""
        return sum(
            tally.trades for (owner, _), tally in self._tallies.items() if account_id is None or owner == account_id
        )

    def _note(self, trade: SmartTrade) -> None:
        self._kept[trade.id] = trade
        self._kept.move_to_end(trade.id)
        if len(self._kept) > self._keep:
            self._kept.popitem(last=False)

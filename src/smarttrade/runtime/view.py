"""What readers see: the last committed state of every open trade. Reads never wait for the writer (architecture 7)."""

from collections.abc import Iterable
from decimal import Decimal

from smarttrade.domain.money import ZERO
from smarttrade.domain.quote import Instant
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.ports.storage import TrailGroup


class View:
    """Updated by the runner after each commit, read by whoever answers questions."""

    def __init__(self, trades: Iterable[SmartTrade] = (), groups: Iterable[TrailGroup] = ()) -> None:
        self.trades: dict[int, SmartTrade] = {}
        self._needed: dict[tuple[int, str], Decimal] = {}
        self._groups: dict[int, TrailGroup] = {group.id: group for group in groups}
        for trade in trades:
            self.put(trade)

    def put(self, trade: SmartTrade) -> None:
        """Show `trade` from now on; one that is over leaves, the store has it."""
        before = self.trades.get(trade.id)
        if before is not None:
            self._count(before, -1)
        if trade.status.is_final:
            self.trades.pop(trade.id, None)
        else:
            self.trades[trade.id] = trade
            self._count(trade, 1)

    def put_groups(self, groups: Iterable[TrailGroup], dropped: Iterable[int]) -> None:
        """Trailing extremes as committed."""
        for group in groups:
            self._groups[group.id] = group
        for group_id in dropped:
            self._groups.pop(group_id, None)

    def extreme_of(self, group_id: int) -> tuple[Decimal, Instant] | None:
        """Extreme of a trailing group and when it was reached (TR-52)."""
        group = self._groups.get(group_id)
        while group is not None and group.merged_into is not None:
            group = self._groups.get(group.merged_into)
        return None if group is None else (group.extreme, group.at)

    def needed(self, account_id: int, coin: str) -> Decimal:
        """Open amount of all trades of an account that need `coin` to close (M-56)."""
        return self._needed.get((account_id, coin), ZERO)

    def _count(self, trade: SmartTrade, sign: int) -> None:
        """Only a long needs its base coin to be closed."""
        if not trade.is_long or trade.kind.is_simple:
            return
        amount = trade.open_amount
        if amount == ZERO:
            return
        place = (trade.account_id, trade.key.pair.partition("_")[2].upper())
        total = self._needed.get(place, ZERO) + sign * amount
        if total == ZERO:
            self._needed.pop(place, None)
        else:
            self._needed[place] = total

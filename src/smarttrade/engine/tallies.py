"""What the open trades of an account add up to, by coin: sums that follow every change, so that nobody counts."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from smarttrade.domain.money import ZERO
from smarttrade.domain.smart_trade import SmartTrade

Coin = tuple[int, str]
"""An account and a currency."""


class Tally(NamedTuple):
    """Open trades of an account whose pairs have this base coin."""

    trades: int
    needed: Decimal  # of the coin, so that they can close (M-56)


NONE: Tally = Tally(0, ZERO)


class Tallies:
    """Tallies by account and coin; one that is not there is NONE."""

    __slots__ = ("_changed", "_tallies", "open_trades")

    def __init__(self) -> None:
        self._tallies: dict[Coin, Tally] = {}
        self._changed: set[Coin] = set()
        self.open_trades = 0  # of all accounts

    def of(self, coin: Coin) -> Tally:
        return self._tallies.get(coin, NONE)

    def restore(self, tallies: Mapping[Coin, Tally]) -> None:
        """Take the stored ones."""
        self._tallies = dict(tallies)
        self.open_trades = sum(tally.trades for tally in tallies.values())

    def replace(self, before: SmartTrade | None, after: SmartTrade) -> None:
        """A trade has changed; `before` is None for a new one."""
        less, more = NONE if before is None else tally_of(before), tally_of(after)
        if less == more:
            return
        coin = coin_of(after)
        old = self.of(coin)
        self._tallies[coin] = Tally(old.trades + more.trades - less.trades, old.needed + more.needed - less.needed)
        self._changed.add(coin)
        self.open_trades += more.trades - less.trades

    def take_changed(self) -> dict[Coin, Tally]:
        """Tallies that have changed since the last call; one without trades is not kept."""
        changed = {coin: self.of(coin) for coin in sorted(self._changed)}
        for coin, tally in changed.items():
            if tally.trades == 0:
                self._tallies.pop(coin, None)
        self._changed = set()
        return changed


def coin_of(trade: SmartTrade) -> Coin:
    """Account and base coin."""
    return trade.account_id, trade.key.pair.partition("_")[2].upper()


def tally_of(trade: SmartTrade) -> Tally:
    """What one trade counts for. A long sells its base coin to close; a short buys it then."""
    if trade.status.is_final:
        return NONE
    return Tally(1, trade.open_amount if trade.is_long and not trade.kind.is_simple else ZERO)

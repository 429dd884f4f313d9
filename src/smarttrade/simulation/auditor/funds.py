"""Rule 5 for accounts: opening balances and all fills make what the exchange says that an account has."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from smarttrade.simulation.auditor.books import ZERO, PairKey
from smarttrade.simulation.auditor.known import Known
from smarttrade.simulation.observer import PairRules, SeenFill, SeenOrder

ONE: Final = Decimal(1)
ROUNDING: Final = Decimal("1e-9")
"""What an exchange may round away of the profit of a contract (its own bookkeeping, no rule of ours)."""


class Position:
    """A net futures position: signed quantity, and what it cost."""

    __slots__ = ("cost", "quantity")

    def __init__(self) -> None:
        self.quantity = ZERO
        self.cost = ZERO

    def trade(self, signed: Decimal, price: Decimal) -> Decimal:
        """Book a fill; returns the profit that it realises."""
        profit = ZERO
        if self.quantity * signed < ZERO:
            closing = min(abs(signed), abs(self.quantity))
            part = self.cost * closing / abs(self.quantity)
            profit = closing * price - part if self.quantity > ZERO else part - closing * price
            self.cost -= part
            closed = closing if signed > ZERO else -closing
            self.quantity += closed
            signed -= closed
        self.quantity += signed
        self.cost += abs(signed) * price
        return profit


class Account:
    """Coins and positions of one account."""

    __slots__ = ("approximate", "balances", "positions", "resync")

    def __init__(self, balances: Mapping[str, Decimal]) -> None:
        self.balances = dict(balances)
        self.positions: dict[str, Position] = {}
        self.approximate: set[str] = set()  # currencies in which contracts are settled
        self.resync: set[str] = set()  # currencies that a liquidation has changed: taken as read next

    def add(self, currency: str, value: Decimal) -> None:
        self.balances[currency] = self.balances.get(currency, ZERO) + value


class Funds:
    """All accounts."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._accounts: dict[int, Account] = {}

    def opened(self, account_id: int, balances: Mapping[str, Decimal]) -> None:
        self._accounts[account_id] = Account(balances)

    def filled(self, order: SeenOrder, fill: SeenFill, rules: PairRules) -> None:
        account = self._accounts.get(order.account_id)
        if account is None:
            return
        signed = fill.quantity if order.side == "buy" else -fill.quantity
        if rules.linear:
            position = account.positions.setdefault(order.pair, Position())
            account.add(rules.quote, position.trade(signed, fill.price))
            account.approximate.add(rules.quote)
        else:
            account.add(rules.base, signed)
            account.add(rules.quote, -signed * fill.price)
        account.add(fill.fee_asset, -fill.fee)

    def position_taken(self, account_id: int, key: PairKey, rules: PairRules) -> None:
        account = self._accounts.get(account_id)
        if account is not None:
            account.positions.pop(key[1], None)
            account.resync.add(rules.quote)

    def read(self, account_id: int, totals: Mapping[str, Decimal], positions: Mapping[str, Decimal]) -> None:
        """Compare with what the exchange says."""
        account = self._accounts.get(account_id)
        if account is None:
            self._accounts[account_id] = Account(totals)
            return
        for currency in sorted({*account.balances, *totals}):
            ours, theirs = account.balances.get(currency, ZERO), totals.get(currency, ZERO)
            most = ROUNDING * max(ONE, abs(theirs)) if currency in account.approximate else ZERO
            if currency in account.resync:
                account.balances[currency] = theirs
            elif abs(ours - theirs) > most:
                text = f"account {account_id} has {theirs} {currency}, its fills make {ours}"
                self._known.violation("M-balances", text)
        account.resync.clear()
        for pair in sorted({*account.positions, *positions}):
            held = account.positions.get(pair)
            ours, theirs = ZERO if held is None else held.quantity, positions.get(pair, ZERO)
            if ours != theirs:
                text = f"account {account_id} holds {theirs} {pair}, its fills make {ours}"
                self._known.violation("faults F52", text)

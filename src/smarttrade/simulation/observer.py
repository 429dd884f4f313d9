"""What somebody hears who watches a simulated world: the exchange's side of every order, and what the server commits.

Plain values only, so that an observer needs nothing of the engine: amounts and prices are `Decimal`, instants are
microseconds, a stored trade is a mapping of built-in values with amounts as text, as it stands in the database.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

import msgspec

Instant = int
"""Microseconds since 1970-01-01T00:00:00 UTC."""


class PairRules(msgspec.Struct, frozen=True, kw_only=True):
    """Trading rules of one pair."""

    market: str
    pair: str
    base: str
    quote: str
    linear: bool  # a perpetual contract; False: coins
    tick: Decimal
    lot: Decimal
    min_lot: Decimal
    min_total: Decimal
    min_market_total: Decimal
    max_market_lot: Decimal | None
    taker_fee: Decimal
    fee_in_base: bool  # a spot buy pays its commission in base


class SeenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the exchange took it."""

    account_id: int
    market: str
    pair: str
    client_order_id: str
    side: str  # buy, sell
    type: str  # market, limit
    quantity: Decimal
    price: Decimal | None
    reduce_only: bool


class SeenFill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution, at the moment when it happened at the exchange."""

    client_order_id: str
    fill_id: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str


class Violation(Exception):
    """Something happened that no rule allows."""

    def __init__(self, rule: str, text: str, *, at: Instant, trade_id: int | None = None) -> None:
        """rule  the rule that is broken, by its number where it has one"""
        super().__init__(rule, text)
        self.rule = rule
        self.text = text
        self.at = at
        self.trade_id = trade_id

    def __str__(self) -> str:
        trade = "" if self.trade_id is None else f"trade {self.trade_id}: "
        return f"{self.rule}: {trade}{self.text}"


class Observer(Protocol):
    """Everything arrives in the order in which it happens. Each method may raise Violation."""

    # the world

    def pair_listed(self, at: Instant, rules: PairRules) -> None:
        """A pair can be traded by these rules from now on."""

    def account_opened(self, at: Instant, account_id: int, market: str, balances: Mapping[str, Decimal]) -> None: ...

    def price_moved(
        self, at: Instant, market: str, pair: str, bid: Decimal, ask: Decimal, last: Decimal, age: Instant = 0
    ) -> None:
        """The server is being told of this price now. Prices that it does not get to hear are not reported here.

        age  how long it has been under way, by its own stamp and the server's time
        """

    def process_died(self, at: Instant) -> None:
        """All that was not committed is gone."""

    def process_started(self, at: Instant) -> None:
        """Recovered (EX-36): it takes commands and hears prices again."""

    def clock_jumped(self, at: Instant, seconds: float) -> None:
        """The wall clock was set; `at` is the server's own time after it."""

    def trouble_began(self, at: Instant, account_id: int | None, what: str) -> None:
        """From now on the server may not learn, in time, what this account's exchange does (None: any), or get prices.

        what  `stream`, `calls`, `prices`
        """

    def trouble_ended(self, at: Instant, account_id: int | None, what: str) -> None: ...

    def peace(self, at: Instant) -> None:
        """No fault, death or user action will come any more."""

    # the exchange's side, at the moment when it happens there

    def order_taken(self, at: Instant, order: SeenOrder) -> None:
        """The exchange has it now; it may fill at once."""

    def order_refused(self, at: Instant, order: SeenOrder, kind: str, text: str) -> None: ...

    def order_filled(self, at: Instant, fill: SeenFill) -> None: ...

    def order_ended(self, at: Instant, client_order_id: str, state: str) -> None:
        """state: filled, canceled; whoever wanted it"""

    def position_taken(
        self, at: Instant, account_id: int, market: str, pair: str, quantity: Decimal, liquidated: bool
    ) -> None:
        """A whole futures position went away, not by our orders (S-32); signed as before it went."""

    def balances_read(
        self, at: Instant, account_id: int, totals: Mapping[str, Decimal], positions: Mapping[str, Decimal]
    ) -> None:
        """What the exchange says the account has now: coins by currency, signed net positions by pair."""

    # the server's side

    def command_answered(self, at: Instant, trade_id: int | None, command: str, denied: str | None) -> None:
        """A user has got an answer. command: the name of its class; denied: the code of the refusal"""

    def trade_committed(self, at: Instant, trade: Mapping[str, Any]) -> None:
        """This state is durable now (a row of the table of trades)."""

    def at_rest(self, at: Instant) -> None:
        """The server has worked in all that it was told; what it wanted to send has been sent or has met a fault."""

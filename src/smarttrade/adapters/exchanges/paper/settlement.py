"""What a trade costs and changes: where coins and contracts differ. Here for coins; contracts are in futures.py."""

from decimal import Decimal
from typing import Protocol

from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.domain.instrument import FeeAsset, Instrument, Side
from smarttrade.domain.money import ONE, ZERO, Money


class Settlement(Protocol):
    """Funds that an order needs, and what an execution does to the account."""

    def uncovered(self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal) -> Decimal:
        """The part of `quantity` that needs funds; the rest only reduces a position."""

    def given_back(self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal) -> Decimal:
        """Quote that the covered part of `quantity` sets free for the uncovered one when it trades."""

    def unit_cost(self, account_id: int, instrument: Instrument, side: Side, price: Decimal, rate: Decimal) -> Money:
        """What one uncovered unit of base needs at `price` and this commission rate."""

    def settle(
        self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal, price: Decimal, rate: Decimal
    ) -> Money:
        """Book one execution; returns its commission."""


class Spot:
    """Coins change hands. Nothing is borrowed: a sell needs the coins, a buy the quote currency."""

    def __init__(self, state: State) -> None:
        self._state = state

    def uncovered(self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal) -> Decimal:
        return quantity

    def given_back(self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal) -> Decimal:
        return ZERO

    def unit_cost(self, account_id: int, instrument: Instrument, side: Side, price: Decimal, rate: Decimal) -> Money:
        if side is Side.SELL:
            return Money(instrument.base, ONE)
        if instrument.fee_in is FeeAsset.BASE:
            return Money(instrument.quote, price)
        return Money(instrument.quote, price * (ONE + max(rate, ZERO)))

    def settle(
        self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal, price: Decimal, rate: Decimal
    ) -> Money:
        """A buy pays its commission in `fee_in`, a sell in quote."""
        total = quantity * price
        if side is Side.SELL:
            fee = Money(instrument.quote, total * rate)
            self._state.pay(account_id, instrument.base, quantity)
            self._state.receive(account_id, instrument.quote, total - fee.amount)
        elif instrument.fee_in is FeeAsset.BASE:
            fee = Money(instrument.base, quantity * rate)
            self._state.pay(account_id, instrument.quote, total)
            self._state.receive(account_id, instrument.base, quantity - fee.amount)
        else:
            fee = Money(instrument.quote, total * rate)
            self._state.pay(account_id, instrument.quote, total + fee.amount)
            self._state.receive(account_id, instrument.base, quantity)
        return fee

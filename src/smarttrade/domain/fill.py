"""Executions of our orders and what they add to a position (behaviour 4.1, EX-1)."""

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import ZERO, Money
from smarttrade.domain.quote import Instant


class Fill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One execution, as the exchange reported it."""

    fill_id: str  # the exchange's; a second delivery is recognised by it
    price: Decimal  # quote asset per unit of base
    quantity: Decimal  # base asset, > 0
    fee: Money | None  # None: the exchange reports none (M-6)
    filled_at: Instant
    fee_price: Decimal | None = None  # last price of a third fee coin in quote; set by the engine (M-5)


class Execution(msgspec.Struct, frozen=True, omit_defaults=True):
    """Folded fills. `amount` and `total` are net of commission in the sense of M-2 to M-4 and M-15."""

    gross_quantity: Decimal = ZERO  # base that changed hands
    gross_total: Decimal = ZERO  # sum of quantity x price
    amount: Decimal = ZERO  # base entered (less base commission) or closed (gross)
    total: Decimal = ZERO  # quote paid or received, commission included

    def __add__(self, other: "Execution") -> "Execution":
        if other is NOTHING_FILLED:  # most legs have executed nothing
            return self
        if self is NOTHING_FILLED:
            return other
        return Execution(
            self.gross_quantity + other.gross_quantity,
            self.gross_total + other.gross_total,
            self.amount + other.amount,
            self.total + other.total,
        )


NOTHING_FILLED = Execution()


def commission_in_quote(fill: Fill, instrument: Instrument) -> Decimal:
    """The commission of `fill` valued in the quote asset (M-5, M-6, M-15)."""
    gross = fill.quantity * fill.price
    if fill.fee is None:
        return gross * instrument.taker_fee
    if fill.fee.asset == instrument.quote:
        return fill.fee.amount
    if fill.fee.asset == instrument.base:
        return fill.fee.amount * fill.price
    if fill.fee_price is None:
        return gross * instrument.taker_fee
    return fill.fee.amount * fill.fee_price


def entering(fill: Fill, side: Side, instrument: Instrument) -> Execution:
    """What a fill on the entry side adds (M-2 to M-6)."""
    gross = fill.quantity * fill.price
    if side is Side.SELL:
        return Execution(fill.quantity, gross, fill.quantity, gross - commission_in_quote(fill, instrument))
    if fill.fee is not None and fill.fee.asset == instrument.base:
        return Execution(fill.quantity, gross, fill.quantity - fill.fee.amount, gross)
    return Execution(fill.quantity, gross, fill.quantity, gross + commission_in_quote(fill, instrument))


def closing(fill: Fill, side: Side, instrument: Instrument) -> Execution:
    """What a fill on the exit side adds (M-15): the gross quantity counts, the commission is valued in quote."""
    gross = fill.quantity * fill.price
    fee = commission_in_quote(fill, instrument)
    return Execution(fill.quantity, gross, fill.quantity, gross - fee if side is Side.SELL else gross + fee)


def split(fills: tuple[Fill, ...], quantity: Decimal) -> tuple[tuple[Fill, ...], tuple[Fill, ...]]:
    """The first `quantity` of `fills`, and the rest; a fill on the border is divided with its commission."""
    taken: list[Fill] = []
    for index, fill in enumerate(fills):
        if quantity <= ZERO:
            return tuple(taken), fills[index:]
        if fill.quantity <= quantity:
            taken.append(fill)
            quantity -= fill.quantity
            continue
        first, rest = _divided(fill, quantity)
        return (*taken, first), (rest, *fills[index + 1 :])
    return tuple(taken), ()


def _divided(fill: Fill, quantity: Decimal) -> tuple[Fill, Fill]:
    fee = None if fill.fee is None else Money(fill.fee.asset, fill.fee.amount * quantity / fill.quantity)
    other = None if fill.fee is None or fee is None else Money(fee.asset, fill.fee.amount - fee.amount)
    return replace(fill, quantity=quantity, fee=fee), replace(fill, quantity=fill.quantity - quantity, fee=other)

"""Exact decimal arithmetic: the one place that sets precision and the rounding directions (behaviour C-1, C-5).

Every amount, price and percent in the product is a `Decimal`. Sums and products of wire values are exact at this
precision; only quotients are cut, far below any figure that is ever shown. A quotient that is worked on before it is
rounded is a `Fraction`: cut before, it could miss the half or the whole that it makes up.
"""

import decimal
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import floor
from typing import Final

import msgspec

PRECISION: Final = 96
"""Significant digits. 40 are required; 96 keeps a product of two 40-digit figures exact."""

ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)
HUNDRED: Final = Decimal(100)


def use_exact_decimals() -> None:
    """Give this thread, and every thread started later, the precision of the product."""
    decimal.DefaultContext.prec = PRECISION
    decimal.getcontext().prec = PRECISION


use_exact_decimals()


class Money(msgspec.Struct, frozen=True):
    """An amount that carries its asset, because a commission may be paid in a third coin."""

    asset: str
    amount: Decimal


def truncate(value: Decimal, step: Decimal) -> Decimal:
    """`value` rounded towards zero to a multiple of `step` (> 0)."""
    return (value / step).to_integral_value(ROUND_DOWN) * step


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """`value` rounded down to a multiple of `step` (> 0)."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """`value` rounded up to a multiple of `step` (> 0)."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def half_up_to(value: Decimal | Fraction, step: Decimal) -> Decimal:
    """`value` rounded to the nearest multiple of `step` (> 0), halves away from zero."""
    if isinstance(value, Decimal):  # a quotient of two written figures is a half, or not close to one
        return (value / step).to_integral_value(ROUND_HALF_UP) * step
    nearest = floor(abs(value) / Fraction(step) + Fraction(1, 2)) * step
    return nearest if value >= 0 else -nearest


def half_up(value: Decimal, places: int) -> Decimal:
    """`value` with at most `places` decimals, halves away from zero."""
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)

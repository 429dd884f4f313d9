"""What may be traded and in which steps: the only place where prices and quantities are rounded (C-4, C-5, TR-9)."""

import enum
from decimal import Decimal
from fractions import Fraction

import msgspec

from smarttrade.domain.money import ONE, ZERO, ceil_to, floor_to, half_up_to, truncate
from smarttrade.domain.quote import InstrumentKey


class MarketKind(enum.StrEnum):
    """What a position is made of: coins on the account, or a linear perpetual contract."""

    SPOT = "spot"
    LINEAR = "linear"


class Side(enum.StrEnum):
    """Side of an order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class FeeAsset(enum.StrEnum):
    """In which coin a spot buy pays its commission; every other fill pays in quote."""

    BASE = "base"
    QUOTE = "quote"


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """The trading rules of one pair on one market (behaviour C-4). Limits that a market lacks are None."""

    key: InstrumentKey
    kind: MarketKind
    base: str
    quote: str
    tick: Decimal  # smallest price step, > 0
    lot: Decimal  # smallest quantity step, > 0
    min_lot: Decimal  # smallest quantity of an order
    max_lot: Decimal | None = None
    max_market_lot: Decimal | None = None  # largest quantity of one market order (EX-16)
    min_total: Decimal  # smallest quantity x price of a limit order
    min_market_total: Decimal  # the same for a market order
    max_total: Decimal | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    maker_fee: Decimal = Decimal("0.001")  # fraction of the order's total
    taker_fee: Decimal = Decimal("0.001")
    fee_in: FeeAsset = FeeAsset.QUOTE
    max_leverage: Decimal = ONE
    maintenance_rate: Decimal = ZERO  # of the smallest risk tier (M-51)

    @property
    def is_linear(self) -> bool:
        return self.kind is MarketKind.LINEAR

    def floor_lot(self, quantity: Decimal) -> Decimal:
        """Largest quantity that can be ordered and is not above `quantity`."""
        return floor_to(quantity, self.lot)

    def order_price(self, price: Decimal, side: Side) -> Decimal:
        """A limit price on the tick: a buy is rounded down, a sell up (TR-9)."""
        return floor_to(price, self.tick) if side is Side.BUY else ceil_to(price, self.tick)

    def truncate_price(self, price: Decimal) -> Decimal:
        """A shown average, cut to the tick (M-10, M-16)."""
        return truncate(price, self.tick)

    def nearest_price(self, price: Decimal | Fraction) -> Decimal:
        """A resolved percent target, half up to the tick (TR-30)."""
        return half_up_to(price, self.tick)

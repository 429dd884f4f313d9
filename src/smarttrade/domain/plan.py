"""What the user asked for: a whole trade, described once (behaviour section 1). Values only; see `rules.py`."""

import enum
from decimal import Decimal

import msgspec

from smarttrade.domain.instrument import Side
from smarttrade.domain.order import OrderType
from smarttrade.domain.quote import PriceType


class TradeKind(enum.StrEnum):
    """The six kinds of trade (behaviour 1.1); the value is what the wire calls it."""

    SIMPLE_BUY = "simple_buy"
    SIMPLE_SELL = "simple_sell"
    SMART_TRADE = "smart_trade"
    SMART_COVER = "smart_cover"
    SMART_SELL = "smart_sell"
    SMART_BUY = "smart_buy"

    is_simple: bool  # one order, nothing after it
    is_own_funds: bool  # the position exists already; there is no entry order
    entry_side: Side  # on which the position is, was or would be entered: buy is long, sell is short (C-2)

    def __init__(self, word: str) -> None:
        """Told apart once: every rule asks."""
        self.is_simple = word in ("simple_buy", "simple_sell")
        self.is_own_funds = word in ("smart_sell", "smart_buy")
        self.entry_side = Side.BUY if word in ("simple_buy", "smart_trade", "smart_sell") else Side.SELL


class EntryType(enum.StrEnum):
    """How the position is entered (behaviour 1.2)."""

    MARKET = "market"
    LIMIT = "limit"
    CONDITIONAL = "conditional"


class MarginMode(enum.StrEnum):
    CROSS = "cross"
    ISOLATED = "isolated"


class Leverage(msgspec.Struct, frozen=True):
    """Margin mode and leverage that the exchange is told before the first order (S-3)."""

    mode: MarginMode
    value: Decimal  # 1 or more


class EntryCondition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a conditional entry waits for."""

    trigger_price: Decimal
    price_type: PriceType
    order_type: OrderType  # what is sent when it fires; trailing makes it market (V-10)
    trailing_percent: Decimal | None = None  # None: no trailing; 0 <= x <= 99 (TR-23)


class EntryPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: EntryType
    units: Decimal  # base
    price: Decimal | None = None  # limit price, or the reference price of an own-funds trade (M-9)
    condition: EntryCondition | None = None


class TargetPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One take-profit step. Exactly one of `price` and `percent` is given (TR-30)."""

    order_type: OrderType
    volume: Decimal  # percent of the position, > 0
    price_type: PriceType
    price: Decimal | None = None
    percent: Decimal | None = None  # sign ignored
    trailing_percent: Decimal | None = None  # None: no trailing; sign ignored (TR-46)
    step_id: int | None = None  # in an edit: the step this one keeps or replaces (E-21)
    position: int | None = None  # in an edit: wanted order (E-27)


class StopPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The stop loss. Exactly one of `price` and `percent` is given."""

    order_type: OrderType
    price_type: PriceType
    price: Decimal | None = None  # trigger
    percent: Decimal | None = None  # trigger, in percent of the entry price
    limit_price: Decimal | None = None
    limit_percent: Decimal | None = None  # TR-34
    trailing: bool = False
    trailing_percent: Decimal | None = None  # TR-51; may be None with trailing on (TR-50)
    timeout_seconds: int | None = None  # None: fires at once; >= 1 (SL-9)
    breakeven: bool = False


class SmartTradePlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole trade as requested."""

    kind: TradeKind
    entry: EntryPlan
    leverage: Leverage | None = None
    take_profit_enabled: bool = False
    targets: tuple[TargetPlan, ...] = ()
    stop: StopPlan | None = None
    note: str = ""


class PositionEdit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of `position` that an edit names; None: not named (E-3, E-10)."""

    side: Side | None = None
    type: EntryType | None = None
    units: Decimal | None = None
    price: Decimal | None = None
    condition: EntryCondition | None = None


class TradeEdit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A wanted change. A group that is None stays as it is; one that is present replaces the whole group (E-3)."""

    position: PositionEdit | None = None
    leverage: Leverage | None = None
    take_profit_enabled: bool | None = None  # None: group absent
    targets: tuple[TargetPlan, ...] = ()
    stop_enabled: bool | None = None  # None: group absent
    stop: StopPlan | None = None
    note: str | None = None

"""What may be asked of the engine. A command is a wish: it is carried out or denied as a whole (behaviour 2.9)."""

from decimal import Decimal

import msgspec

from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import SmartTradePlan, TradeEdit
from smarttrade.domain.quote import InstrumentKey


class CreateTrade(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Begin a SmartTrade."""

    account_id: int
    key: InstrumentKey
    plan: SmartTradePlan
    held_position: Decimal | None = None  # futures own-funds trades: net position, short negative (V-7)


class TradeCommand(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A command to an existing trade."""

    trade_id: int


class EditTrade(TradeCommand, frozen=True, kw_only=True):
    edit: TradeEdit


class AddFunds(TradeCommand, frozen=True, kw_only=True):
    order_type: OrderType
    units: Decimal
    price: Decimal | None = None


class ReduceFunds(TradeCommand, frozen=True, kw_only=True):
    order_type: OrderType
    units: Decimal
    price: Decimal | None = None


class CloseAtMarket(TradeCommand, frozen=True, kw_only=True):
    """Leave the whole position now."""


class ForceStart(TradeCommand, frozen=True, kw_only=True):
    """Enter at market now."""


class ForceProcess(TradeCommand, frozen=True, kw_only=True):
    """Re-read orders, balances and price from the exchange and evaluate once."""


class CancelTrade(TradeCommand, frozen=True, kw_only=True):
    """Stop; what was bought stays on the account."""


class SetNote(TradeCommand, frozen=True, kw_only=True):
    note: str


class CloseStepAtMarket(TradeCommand, frozen=True, kw_only=True):
    step_id: int


class CancelStep(TradeCommand, frozen=True, kw_only=True):
    step_id: int


TradeWish = (
    EditTrade
    | AddFunds
    | ReduceFunds
    | CloseAtMarket
    | ForceStart
    | ForceProcess
    | CancelTrade
    | SetNote
    | CloseStepAtMarket
    | CancelStep
)
"""A command to a trade that exists."""

Command = CreateTrade | TradeWish

"""Values for the tests of storage."""

from decimal import Decimal

from smarttrade.domain.events import FreshPrice
from smarttrade.domain.plan import EntryPlan, EntryType, TradeKind
from smarttrade.domain.quote import InstrumentKey, Quote
from smarttrade.domain.smart_trade import Profit, SmartTrade, TradeStatus
from smarttrade.domain.steps import EntryStep, StepStatus
from smarttrade.engine.journal import JournalledInput

UNITS = Decimal("0.1000000000000000055511151231257827")  # no binary float holds these digits
PLAN = EntryPlan(type=EntryType.MARKET, units=UNITS)


def stored_trade(
    trade_id: int,
    *,
    account_id: int = 1,
    pair: str = "USDT_BTC",
    kind: TradeKind = TradeKind.SMART_TRADE,
    status: TradeStatus = TradeStatus.WAITING_TARGETS,
    created_at: int = 1_000,
    updated_at: int = 2_000,
    closed_at: int | None = None,
    profit: Profit | None = None,
) -> SmartTrade:
    return SmartTrade(
        id=trade_id,
        account_id=account_id,
        key=InstrumentKey("binance", pair),
        kind=kind,
        status=status,
        position=EntryStep(
            id=trade_id,
            status=StepStatus.IDLE,
            created_at=created_at,
            updated_at=updated_at,
            plan=PLAN,
            requested=PLAN,
            price_at_creation=Decimal("64250.10"),
        ),
        created_at=created_at,
        updated_at=updated_at,
        closed_at=closed_at,
        profit=profit,
    )


def stored_event(trade_id: int, number: int) -> JournalledInput:
    quote = Quote(
        key=InstrumentKey("binance", "USDT_BTC"), bid=Decimal("1.10"), ask=Decimal("1.2"), last=Decimal("1.1"), at=7
    )
    return JournalledInput(
        trade_id=trade_id, number=number, at=8, input=FreshPrice(), quote=quote, instrument_version=1, first_id=3
    )

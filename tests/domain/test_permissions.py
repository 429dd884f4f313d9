"""The table of flags (behaviour 2.1) and the commands of single legs (2.9)."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from smarttrade.domain import permissions
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryCondition, EntryPlan, EntryType, TradeKind
from smarttrade.domain.quote import InstrumentKey, PriceType
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import AveragingStep, EntryStep, ReduceStep, StepStatus, StopStep, TargetStep

D = Decimal
S = StepStatus
STAMPS: dict[str, Any] = {"created_at": 0, "updated_at": 0}
PLAN = EntryPlan(type=EntryType.LIMIT, units=D(1), price=D(1))
ENTRY = EntryStep(id=1, status=S.FINISHED, plan=PLAN, requested=PLAN, price_at_creation=D(1), **STAMPS)
TARGET = TargetStep(
    id=2,
    status=S.ORDER_PLACED,
    order_type=OrderType.LIMIT,
    volume=D(100),
    price_type=PriceType.LAST,
    price=D(2),
    position=1,
    **STAMPS,
)
STOP = StopStep(
    id=3,
    status=S.TO_PROCESS,
    order_type=OrderType.MARKET,
    price_type=PriceType.BID,
    configured_price=D("0.5"),
    **STAMPS,
)
AVERAGING = AveragingStep(
    id=4,
    status=S.ORDER_PLACED,
    order_type=OrderType.LIMIT,
    units=D(1),
    price=D(1),
    price_at_creation=D(1),
    **STAMPS,
)
REDUCTION = ReduceStep(id=5, status=S.ORDER_PLACED, order_type=OrderType.LIMIT, units=D(1), price=D(2), **STAMPS)


def trade(status: TradeStatus = TradeStatus.WAITING_TARGETS, **more: Any) -> SmartTrade:
    return SmartTrade(
        **{
            "id": 1,
            "account_id": 1,
            "key": InstrumentKey("binance", "USDT_BTC"),
            "kind": TradeKind.SMART_TRADE,
            "status": status,
            "position": ENTRY,
            **STAMPS,
            **more,
        }
    )


def flags(made: SmartTrade) -> str:
    """One letter per flag that is set, in the order of the table."""
    shown = {
        "e": permissions.editable(made),
        "p": permissions.close_available(made),
        "a": permissions.add_funds_available(made),
        "r": permissions.reduce_funds_available(made),
        "s": permissions.force_start_available(made),
        "f": permissions.force_process_available(made),
        "c": permissions.cancel_available(made),
    }
    return "".join(letter for letter, is_set in shown.items() if is_set)


@pytest.mark.parametrize(
    ("status", "entry_status", "expected"),
    [
        (TradeStatus.CREATED, S.TO_PROCESS, "sf"),
        (TradeStatus.CREATED, S.IDLE, "f"),
        (TradeStatus.WAITING_POSITION, S.ORDER_PLACED, "easfc"),
        (TradeStatus.WAITING_POSITION, S.PANIC_SELL_PENDING, "eafc"),
        (TradeStatus.WAITING_TARGETS, S.FINISHED, "eparfc"),
        (TradeStatus.WAITING_TARGETS, S.OWN_FUNDS, "eparfc"),
        (TradeStatus.PENDING_REDUCE_FUNDS, S.FINISHED, "pfc"),
        (TradeStatus.REDUCE_FUNDS_IN_PROGRESS, S.FINISHED, "pfc"),
        (TradeStatus.STOP_LOSS_IN_PROGRESS, S.FINISHED, "pfc"),
        (TradeStatus.PANIC_SELL_PENDING, S.FINISHED, "f"),
        (TradeStatus.PANIC_SELL_IN_PROGRESS, S.FINISHED, "f"),
        (TradeStatus.CANCELLATION_PENDING, S.ORDER_PLACED, "f"),
        (TradeStatus.CANCELLATION_IN_PROGRESS, S.ORDER_PLACED, "f"),
        (TradeStatus.FINISHED, S.FINISHED, ""),
        (TradeStatus.STOP_LOSS_FINISHED, S.FINISHED, ""),
        (TradeStatus.PANIC_SOLD, S.FINISHED, ""),
        (TradeStatus.CANCELLED, S.CANCELLED, ""),
        (TradeStatus.FAILED, S.FAILED, ""),
    ],
)
def test_the_flags_of_every_status(status: TradeStatus, entry_status: StepStatus, expected: str) -> None:
    assert flags(trade(status, position=replace(ENTRY, status=entry_status))) == expected


def test_the_table_has_a_row_for_every_status() -> None:
    assert set(permissions.ALLOWED) == set(TradeStatus)


def test_simple_trades_take_no_funds() -> None:
    made = trade(kind=TradeKind.SIMPLE_BUY)
    assert not permissions.add_funds_available(made)
    assert not permissions.reduce_funds_available(made)


def test_only_a_trailing_that_may_fire_blocks_add_funds() -> None:
    """F-3."""
    condition = EntryCondition(
        trigger_price=D(1), price_type=PriceType.ASK, order_type=OrderType.MARKET, trailing_percent=D(0)
    )
    plan = EntryPlan(type=EntryType.CONDITIONAL, units=D(1), condition=condition)
    entry = replace(ENTRY, plan=plan, status=S.TO_PROCESS)
    waiting = TradeStatus.WAITING_POSITION
    assert not permissions.add_funds_available(trade(waiting, position=entry))
    assert permissions.add_funds_available(trade(position=replace(entry, status=S.FINISHED)))
    untrailed = replace(entry, plan=replace(plan, condition=replace(condition, trailing_percent=None)))
    assert permissions.add_funds_available(trade(waiting, position=untrailed))

    trailed = replace(TARGET, trailing_percent=D(1))
    assert permissions.add_funds_available(trade(targets=(replace(trailed, status=S.TO_PROCESS),)))
    assert not permissions.add_funds_available(trade(targets=(replace(trailed, status=S.TRAILING_ACTIVATED),)))
    trailing_stop = replace(STOP, trailing=True, status=S.TRAILING_ACTIVATED)
    assert permissions.add_funds_available(trade(stop=trailing_stop))


@pytest.mark.parametrize(
    ("step", "cancelable", "closable"),
    [
        (replace(TARGET, status=S.IDLE), True, False),
        (replace(TARGET, status=S.TO_PROCESS), True, True),
        (TARGET, True, True),
        (replace(TARGET, status=S.TRAILING_ACTIVATED), True, True),
        (replace(TARGET, status=S.PANIC_SELL_PENDING), True, False),
        (replace(TARGET, status=S.PANIC_SELL_ORDER_PLACED), False, False),
        (replace(TARGET, status=S.FINISHED), False, False),
        (STOP, True, False),
        (replace(STOP, status=S.TRAILING_ACTIVATED), True, False),
        (replace(STOP, fired=True), False, False),
        (replace(STOP, status=S.ORDER_PLACED), False, False),
        (AVERAGING, True, True),
        (replace(AVERAGING, status=S.FINISHED), False, False),
        (REDUCTION, True, False),
        (replace(REDUCTION, order_type=OrderType.MARKET), False, False),
        (replace(REDUCTION, status=S.IDLE), False, False),
        (ENTRY, False, False),
        (replace(ENTRY, status=S.ORDER_PLACED), False, False),
    ],
)
def test_what_a_leg_allows(step: Any, cancelable: bool, closable: bool) -> None:
    """TP-1 to TP-10, SL-12, A-5, A-6, RF-1, RF-3, X-4, X-5."""
    assert permissions.step_cancelable(trade(), step) is cancelable
    assert permissions.step_closable(trade(), step) is closable


@pytest.mark.parametrize(
    "status",
    [TradeStatus.PANIC_SELL_PENDING, TradeStatus.CANCELLATION_PENDING, TradeStatus.FINISHED, TradeStatus.CANCELLED],
)
def test_a_trade_on_its_way_out_takes_no_commands_for_its_legs(status: TradeStatus) -> None:
    """The published answer of a cancel still shows the flags of the leg."""
    assert permissions.shows_cancelable(TARGET)
    assert not permissions.step_cancelable(trade(status), TARGET)
    assert not permissions.step_closable(trade(status), TARGET)


def test_a_watched_stop_is_force_processable_in_the_trades_list() -> None:
    """X-5: the flag is as published, the command is refused for the stop."""
    assert permissions.shows_force_processable(STOP)
    assert not permissions.step_closable(trade(), STOP)

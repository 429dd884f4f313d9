"""The tables of domain/moves.py against every row of behaviour 2.1 to 2.8."""

from collections.abc import Mapping
from itertools import product

import pytest
from driver import Story, limit, sl, tp

from smarttrade.domain.draft import Draft
from smarttrade.domain.errors import IllegalTransition
from smarttrade.domain.moves import (
    AVERAGING,
    ENTRY,
    MARKET_CLOSE,
    REDUCE_FUNDS,
    STEP_TABLES,
    STOP_LOSS,
    TAKE_PROFIT,
    TRADE,
    Cause,
    Table,
    TradeCause,
)
from smarttrade.domain.smart_trade import FINAL, TradeStatus
from smarttrade.domain.steps import OVER, StepPurpose, StepStatus

T, TC = TradeStatus, TradeCause
S, C = StepStatus, Cause
ACTIVE = (S.TO_PROCESS, S.ORDER_PLACED, S.TRAILING_ACTIVATED)
OPEN = (T.WAITING_TARGETS, T.PENDING_REDUCE_FUNDS, T.REDUCE_FUNDS_IN_PROGRESS)
CLOSABLE = (*OPEN, T.STOP_LOSS_IN_PROGRESS)
CANCELLING = (T.CANCELLATION_PENDING, T.CANCELLATION_IN_PROGRESS)


@pytest.mark.parametrize(
    ("rule", "before", "cause", "after"),
    [
        ("S-2", T.CREATED, TC.ENTER, T.WAITING_TARGETS),
        ("S-4 S-5 S-6", T.CREATED, TC.TAKE, T.WAITING_POSITION),
        ("S-7 S-12", T.WAITING_POSITION, TC.ENTER, T.WAITING_TARGETS),
        ("S-8", T.WAITING_POSITION, TC.FAIL, T.FAILED),
        ("S-8 EX-28", T.CREATED, TC.FAIL, T.FAILED),
        ("S-9", T.WAITING_POSITION, TC.DONE, T.FINISHED),
        ("S-10", T.WAITING_POSITION, TC.CANCEL, T.CANCELLATION_PENDING),
        ("S-11", T.WAITING_POSITION, TC.OUT, T.CANCELLED),
        ("S-14", T.WAITING_TARGETS, TC.DONE, T.FINISHED),
        *(("S-15", state, TC.STOP, T.STOP_LOSS_IN_PROGRESS) for state in OPEN),
        ("P-18", T.WAITING_POSITION, TC.STOP, T.STOP_LOSS_IN_PROGRESS),
        ("S-16", T.STOP_LOSS_IN_PROGRESS, TC.STOPPED, T.STOP_LOSS_FINISHED),
        ("S-17", T.STOP_LOSS_IN_PROGRESS, TC.DONE, T.FINISHED),
        ("S-18", T.WAITING_TARGETS, TC.REDUCE, T.PENDING_REDUCE_FUNDS),
        ("S-19", T.PENDING_REDUCE_FUNDS, TC.REDUCE_START, T.REDUCE_FUNDS_IN_PROGRESS),
        ("S-20", T.REDUCE_FUNDS_IN_PROGRESS, TC.REDUCE_END, T.WAITING_TARGETS),
        ("S-21", T.PENDING_REDUCE_FUNDS, TC.DONE, T.FINISHED),
        ("S-21", T.REDUCE_FUNDS_IN_PROGRESS, TC.DONE, T.FINISHED),
        *(("S-22", state, TC.CLOSE, T.PANIC_SELL_PENDING) for state in CLOSABLE),
        ("S-23", T.PANIC_SELL_PENDING, TC.CLOSE_START, T.PANIC_SELL_IN_PROGRESS),
        ("S-24", T.PANIC_SELL_PENDING, TC.DONE, T.FINISHED),
        ("S-25", T.PANIC_SELL_IN_PROGRESS, TC.SOLD, T.PANIC_SOLD),
        *(("S-26 S-30", state, TC.CANCEL, T.CANCELLATION_PENDING) for state in CLOSABLE),
        ("S-27", T.CANCELLATION_PENDING, TC.CANCEL_START, T.CANCELLATION_IN_PROGRESS),
        *(("S-28", state, TC.OUT, T.CANCELLED) for state in CANCELLING),
        *(("S-29", state, TC.DONE, T.FINISHED) for state in CANCELLING),
        *(("S-32", state, TC.FAIL, T.FAILED) for state in T if not state.is_final),
        ("MC-6", T.PANIC_SELL_PENDING, TC.FAIL, T.FAILED),
    ],
)
def test_a_row_of_the_trade(rule: str, before: TradeStatus, cause: TradeCause, after: TradeStatus) -> None:
    assert TRADE[before, cause] is after, rule


def cancelled_from(table: Table, rule: str, states: tuple[StepStatus, ...]) -> list[object]:
    """Rows of a leg that is taken out: asked for, then confirmed, or overtaken by a fill."""
    return [
        *((rule, table, state, C.CANCEL, S.PENDING_CANCELLATION) for state in states),
        (rule, table, S.PENDING_CANCELLATION, C.OUT, S.CANCELLED),
        (f"{rule} TP-13", table, S.PENDING_CANCELLATION, C.FILL, S.FINISHED),
    ]


@pytest.mark.parametrize(
    ("rule", "table", "before", "cause", "after"),
    [
        ("P-1", ENTRY, S.IDLE, C.OWNED, S.OWN_FUNDS),
        ("P-3 P-4", ENTRY, S.TO_PROCESS, C.PLACE, S.ORDER_PLACED),
        ("P-5", ENTRY, S.TO_PROCESS, C.TRAIL, S.TRAILING_ACTIVATED),
        ("P-6", ENTRY, S.TRAILING_ACTIVATED, C.PLACE, S.ORDER_PLACED),
        ("P-7 EX-5", ENTRY, S.ORDER_PLACED, C.PLACE, S.ORDER_PLACED),
        ("P-8", ENTRY, S.ORDER_PLACED, C.FILL, S.FINISHED),
        *(("P-9", ENTRY, state, C.PANIC, S.PANIC_SELL_PENDING) for state in ACTIVE),
        ("P-10", ENTRY, S.PANIC_SELL_PENDING, C.PLACE, S.PANIC_SELL_ORDER_PLACED),
        ("P-11 P-12", ENTRY, S.PANIC_SELL_PENDING, C.FILL, S.FINISHED),
        ("P-13", ENTRY, S.PANIC_SELL_ORDER_PLACED, C.FILL, S.FINISHED),
        *cancelled_from(ENTRY, "P-14", (*ACTIVE, S.PANIC_SELL_PENDING, S.PANIC_SELL_ORDER_PLACED)),
        *(("P-15", ENTRY, state, C.REFUSE, S.FAILED) for state in (*ACTIVE, S.PANIC_SELL_ORDER_PLACED)),
        ("TP-2 TP-3", TAKE_PROFIT, S.IDLE, C.ARM, S.TO_PROCESS),
        ("TP-2 TP-4", TAKE_PROFIT, S.TO_PROCESS, C.PLACE, S.ORDER_PLACED),
        ("TP-5", TAKE_PROFIT, S.TO_PROCESS, C.TRAIL, S.TRAILING_ACTIVATED),
        ("TP-6", TAKE_PROFIT, S.TRAILING_ACTIVATED, C.PLACE, S.ORDER_PLACED),
        ("TP-8", TAKE_PROFIT, S.ORDER_PLACED, C.FILL, S.FINISHED),
        *(("TP-9", TAKE_PROFIT, state, C.PANIC, S.PANIC_SELL_PENDING) for state in ACTIVE),
        ("TP-10", TAKE_PROFIT, S.PANIC_SELL_PENDING, C.PLACE, S.PANIC_SELL_ORDER_PLACED),
        ("TP-11", TAKE_PROFIT, S.PANIC_SELL_ORDER_PLACED, C.FILL, S.PANIC_SOLD),
        *cancelled_from(TAKE_PROFIT, "TP-12", (*ACTIVE, S.IDLE, S.PANIC_SELL_PENDING)),
        ("TP-14", TAKE_PROFIT, S.TO_PROCESS, C.REFUSE, S.FAILED),
        ("RF-2 EX-25", TAKE_PROFIT, S.ORDER_PLACED, C.PULL, S.TO_PROCESS),
        ("EX-30", TAKE_PROFIT, S.ORDER_PLACED, C.OUT, S.CANCELLED),
        ("M-27", TAKE_PROFIT, S.IDLE, C.REFUSE, S.FAILED),
        ("SL-2", STOP_LOSS, S.IDLE, C.ARM, S.TO_PROCESS),
        ("SL-3", STOP_LOSS, S.IDLE, C.TRAIL, S.TRAILING_ACTIVATED),
        ("SL-4 SL-7", STOP_LOSS, S.TO_PROCESS, C.PLACE, S.ORDER_PLACED),
        ("SL-4 SL-7", STOP_LOSS, S.TRAILING_ACTIVATED, C.PLACE, S.ORDER_PLACED),
        ("SL-8", STOP_LOSS, S.ORDER_PLACED, C.FILL, S.FINISHED),
        ("SL-13", STOP_LOSS, S.ORDER_PLACED, C.PLACE, S.ORDER_PLACED),
        *cancelled_from(STOP_LOSS, "SL-12", (S.IDLE, *ACTIVE)),
        ("A-2", AVERAGING, S.TO_PROCESS, C.PLACE, S.ORDER_PLACED),
        ("A-4", AVERAGING, S.ORDER_PLACED, C.FILL, S.FINISHED),
        *cancelled_from(AVERAGING, "A-5 A-8", (S.TO_PROCESS, S.ORDER_PLACED)),
        ("A-6", AVERAGING, S.ORDER_PLACED, C.PANIC, S.PANIC_SELL_PENDING),
        ("A-6", AVERAGING, S.PANIC_SELL_PENDING, C.PLACE, S.PANIC_SELL_ORDER_PLACED),
        ("A-6", AVERAGING, S.PANIC_SELL_ORDER_PLACED, C.FILL, S.FINISHED),
        ("A-7", AVERAGING, S.TO_PROCESS, C.REFUSE, S.FAILED),
        ("EX-30", AVERAGING, S.ORDER_PLACED, C.OUT, S.CANCELLED),
        ("RF-2", REDUCE_FUNDS, S.IDLE, C.ARM, S.TO_PROCESS),
        ("RF-3", REDUCE_FUNDS, S.TO_PROCESS, C.PLACE, S.ORDER_PLACED),
        ("RF-5", REDUCE_FUNDS, S.ORDER_PLACED, C.FILL, S.FINISHED),
        *cancelled_from(REDUCE_FUNDS, "RF-6", (S.IDLE, S.TO_PROCESS, S.ORDER_PLACED)),
        ("RF-7", REDUCE_FUNDS, S.TO_PROCESS, C.OUT, S.CANCELLED),
        ("RF-8", REDUCE_FUNDS, S.TO_PROCESS, C.REFUSE, S.FAILED),
        ("EX-30", REDUCE_FUNDS, S.ORDER_PLACED, C.OUT, S.CANCELLED),
        ("MC-2", MARKET_CLOSE, S.TO_PROCESS, C.PLACE, S.ORDER_PLACED),
        ("MC-4", MARKET_CLOSE, S.ORDER_PLACED, C.FILL, S.FINISHED),
        ("MC-5", MARKET_CLOSE, S.ORDER_PLACED, C.PLACE, S.ORDER_PLACED),
    ],
)
def test_a_row_of_a_leg(rule: str, table: Table, before: StepStatus, cause: Cause, after: StepStatus) -> None:
    assert table[before, cause] is after, rule


def test_nothing_leads_out_of_a_final_status() -> None:
    assert not {before for before, _ in TRADE} & FINAL  # S-33
    for table in STEP_TABLES.values():
        assert not {before for before, _ in table} & OVER


def reachable(table: Mapping[tuple[object, object], object], start: set[object]) -> set[object]:
    found = set(start)
    while more := {after for (before, _), after in table.items() if before in found} - found:
        found |= more
    return found


def test_every_status_of_a_trade_is_reachable() -> None:
    assert reachable(TRADE, {T.CREATED}) == set(T)


@pytest.mark.parametrize(
    ("purpose", "start", "never"),
    [
        (StepPurpose.POSITION, {S.IDLE, S.TO_PROCESS}, {S.PANIC_SOLD}),  # P-13
        (StepPurpose.AVERAGING, {S.TO_PROCESS}, {S.IDLE, S.TRAILING_ACTIVATED, S.PANIC_SOLD, S.OWN_FUNDS}),
        (StepPurpose.TAKE_PROFIT, {S.IDLE}, {S.OWN_FUNDS}),
        (StepPurpose.STOP_LOSS, {S.IDLE}, {S.OWN_FUNDS, S.FAILED, S.PANIC_SOLD}),  # a stop is never given up (EX-12)
        (StepPurpose.REDUCE_FUNDS, {S.IDLE}, {S.TRAILING_ACTIVATED, S.OWN_FUNDS, S.PANIC_SOLD}),
        (StepPurpose.MARKET_CLOSE, {S.TO_PROCESS}, {S.TRAILING_ACTIVATED, S.OWN_FUNDS, S.PANIC_SOLD}),
    ],
)
def test_a_leg_reaches_its_ends_and_nothing_foreign(
    purpose: StepPurpose, start: set[StepStatus], never: set[StepStatus]
) -> None:
    without_refusal = {row: after for row, after in STEP_TABLES[purpose].items() if row != (
        S.PENDING_CANCELLATION, C.REFUSE)}  # fmt: skip
    found = reachable(without_refusal, set(start))  # type: ignore[arg-type]
    assert {S.FINISHED, S.CANCELLED} <= found
    assert not found & never


def test_every_status_that_is_not_final_can_be_left() -> None:
    assert {before for before, _ in TRADE} == set(T) - FINAL
    for table in STEP_TABLES.values():
        entered = {after for after in table.values() if after not in OVER}
        assert entered <= {before for before, _ in table}


@pytest.mark.parametrize(("status", "cause"), [row for row in product(T, TC) if row not in TRADE])
def test_an_illegal_move_of_a_trade_raises_and_changes_nothing(status: TradeStatus, cause: TradeCause) -> None:
    story = Story(limit(90), [tp(110)], sl(80))
    draft = Draft(story.trade, story.context())
    draft.change(status=status)
    before = draft.trade
    with pytest.raises(IllegalTransition):
        draft.advance(cause, error="must not be stored")
    assert draft.trade is before
    assert draft.effects == []


def test_an_illegal_move_of_a_leg_raises_and_changes_nothing() -> None:
    story = Story(limit(90), [tp(110)], sl(80))
    draft = Draft(story.trade, story.context())
    for step in draft.trade.steps:
        with pytest.raises(IllegalTransition):
            draft.move(step, Cause.OUT, error="must not be stored")
    assert draft.trade is story.trade

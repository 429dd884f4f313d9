"""The state machines of a trade and its legs: every legal move, one table each (behaviour 2.1 to 2.8).

A cause names why a move is made; the rule number stands beside the row. A move that is not in its table raises
`IllegalTransition` and changes nothing. The reference page of the tables is generated from here.
"""

import enum
from collections.abc import Mapping
from typing import Final

from smarttrade.domain.smart_trade import TradeStatus
from smarttrade.domain.steps import StepPurpose, StepStatus


class Cause(enum.StrEnum):
    """Why a leg moves."""

    OWNED = "own funds are the position"
    ARM = "exits are armed, or the worker takes the leg"
    TRAIL = "trailing follows the price"
    PLACE = "its order is acknowledged"
    PULL = "its order leaves the book, to be placed again"
    PANIC = "execution at market is requested"
    FILL = "its order is executed"
    CANCEL = "it is to end"
    OUT = "no order of it is left at the exchange"
    REFUSE = "it cannot be executed"


_S = StepStatus
_ACTIVE = (_S.TO_PROCESS, _S.ORDER_PLACED, _S.TRAILING_ACTIVATED)
_PANIC = (_S.PANIC_SELL_PENDING, _S.PANIC_SELL_ORDER_PLACED)
_ENDING = (*_ACTIVE, *_PANIC, _S.IDLE)

Table = Mapping[tuple[StepStatus, Cause], StepStatus]


def _rows(
    states: tuple[StepStatus, ...], cause: Cause, target: StepStatus
) -> dict[tuple[StepStatus, Cause], StepStatus]:
    return {(state, cause): target for state in states}


_CANCELLING: Final[Table] = {
    **_rows(_ENDING, Cause.CANCEL, _S.PENDING_CANCELLATION),
    (_S.PENDING_CANCELLATION, Cause.CANCEL): _S.PENDING_CANCELLATION,  # a second reason to end
    (_S.PENDING_CANCELLATION, Cause.PLACE): _S.PENDING_CANCELLATION,  # acknowledged after it was to end
    (_S.PENDING_CANCELLATION, Cause.OUT): _S.CANCELLED,
    (_S.PENDING_CANCELLATION, Cause.FILL): _S.FINISHED,  # the fill won the race (TP-13, R-5, R-8)
    (_S.PENDING_CANCELLATION, Cause.REFUSE): _S.FAILED,
}

ENTRY: Final[Table] = {
    **_CANCELLING,
    (_S.IDLE, Cause.OWNED): _S.OWN_FUNDS,  # P-1
    (_S.TO_PROCESS, Cause.PLACE): _S.ORDER_PLACED,  # P-3, P-4
    (_S.TO_PROCESS, Cause.TRAIL): _S.TRAILING_ACTIVATED,  # P-5
    (_S.TRAILING_ACTIVATED, Cause.PLACE): _S.ORDER_PLACED,  # P-6
    (_S.ORDER_PLACED, Cause.PLACE): _S.ORDER_PLACED,  # replaced by an edit, or the rest of a market order
    **_rows(_ACTIVE, Cause.PANIC, _S.PANIC_SELL_PENDING),  # P-9
    (_S.PANIC_SELL_PENDING, Cause.PLACE): _S.PANIC_SELL_ORDER_PLACED,  # P-10
    (_S.PANIC_SELL_ORDER_PLACED, Cause.PLACE): _S.PANIC_SELL_ORDER_PLACED,
    **_rows((*_ACTIVE, *_PANIC), Cause.FILL, _S.FINISHED),  # P-8, P-11 to P-13
    **_rows((*_ACTIVE, *_PANIC), Cause.REFUSE, _S.FAILED),  # P-15
    (_S.IDLE, Cause.REFUSE): _S.FAILED,
}

AVERAGING: Final[Table] = {
    **_CANCELLING,
    (_S.TO_PROCESS, Cause.PLACE): _S.ORDER_PLACED,
    (_S.ORDER_PLACED, Cause.PLACE): _S.ORDER_PLACED,
    **_rows((_S.TO_PROCESS, _S.ORDER_PLACED), Cause.PANIC, _S.PANIC_SELL_PENDING),
    (_S.PANIC_SELL_PENDING, Cause.PLACE): _S.PANIC_SELL_ORDER_PLACED,
    (_S.PANIC_SELL_ORDER_PLACED, Cause.PLACE): _S.PANIC_SELL_ORDER_PLACED,
    **_rows((_S.TO_PROCESS, _S.ORDER_PLACED, *_PANIC), Cause.FILL, _S.FINISHED),
    **_rows((_S.TO_PROCESS, _S.ORDER_PLACED, *_PANIC), Cause.REFUSE, _S.FAILED),
    **_rows((_S.TO_PROCESS, _S.ORDER_PLACED, *_PANIC), Cause.OUT, _S.CANCELLED),  # EX-30
}

TAKE_PROFIT: Final[Table] = {
    **_CANCELLING,
    (_S.IDLE, Cause.ARM): _S.TO_PROCESS,  # TP-2, TP-3
    (_S.TO_PROCESS, Cause.PLACE): _S.ORDER_PLACED,  # TP-2, TP-4
    (_S.TO_PROCESS, Cause.TRAIL): _S.TRAILING_ACTIVATED,  # TP-5
    (_S.TRAILING_ACTIVATED, Cause.PLACE): _S.ORDER_PLACED,  # TP-6
    (_S.ORDER_PLACED, Cause.PLACE): _S.ORDER_PLACED,
    (_S.ORDER_PLACED, Cause.PULL): _S.TO_PROCESS,  # RF-2, EX-23, EX-25
    **_rows(_ACTIVE, Cause.PANIC, _S.PANIC_SELL_PENDING),  # TP-9
    (_S.PANIC_SELL_PENDING, Cause.PLACE): _S.PANIC_SELL_ORDER_PLACED,  # TP-10
    (_S.PANIC_SELL_ORDER_PLACED, Cause.PLACE): _S.PANIC_SELL_ORDER_PLACED,
    **_rows(_ACTIVE, Cause.FILL, _S.FINISHED),  # TP-8
    (_S.PANIC_SELL_PENDING, Cause.FILL): _S.FINISHED,  # the resting order was executed before its cancellation
    (_S.PANIC_SELL_ORDER_PLACED, Cause.FILL): _S.PANIC_SOLD,  # TP-11
    **_rows(_ACTIVE, Cause.OUT, _S.CANCELLED),  # cancelled on the exchange (EX-30)
    **_rows((*_ACTIVE, *_PANIC, _S.IDLE), Cause.REFUSE, _S.FAILED),  # TP-14, M-27
}

STOP_LOSS: Final[Table] = {
    **_CANCELLING,
    (_S.IDLE, Cause.ARM): _S.TO_PROCESS,  # SL-2
    (_S.IDLE, Cause.TRAIL): _S.TRAILING_ACTIVATED,  # SL-3
    (_S.TO_PROCESS, Cause.PLACE): _S.ORDER_PLACED,  # SL-4, SL-7
    (_S.TRAILING_ACTIVATED, Cause.PLACE): _S.ORDER_PLACED,
    (_S.ORDER_PLACED, Cause.PLACE): _S.ORDER_PLACED,  # sent again after a refusal (SL-13), or its next part (EX-16)
    **_rows(_ACTIVE, Cause.FILL, _S.FINISHED),  # SL-8; without an order when only dust was left (EX-18)
}

REDUCE_FUNDS: Final[Table] = {
    **_CANCELLING,
    (_S.IDLE, Cause.ARM): _S.TO_PROCESS,  # RF-2
    (_S.TO_PROCESS, Cause.PLACE): _S.ORDER_PLACED,  # RF-3
    (_S.ORDER_PLACED, Cause.PLACE): _S.ORDER_PLACED,
    **_rows((_S.TO_PROCESS, _S.ORDER_PLACED), Cause.FILL, _S.FINISHED),  # RF-5
    **_rows((_S.TO_PROCESS, _S.ORDER_PLACED), Cause.OUT, _S.CANCELLED),  # RF-7, EX-30
    **_rows((_S.TO_PROCESS, _S.ORDER_PLACED), Cause.REFUSE, _S.FAILED),  # RF-8
}

MARKET_CLOSE: Final[Table] = {
    **_CANCELLING,
    (_S.TO_PROCESS, Cause.PLACE): _S.ORDER_PLACED,  # MC-2
    (_S.ORDER_PLACED, Cause.PLACE): _S.ORDER_PLACED,  # MC-5, EX-16
    **_rows((_S.TO_PROCESS, _S.ORDER_PLACED), Cause.FILL, _S.FINISHED),  # MC-4
}

STEP_TABLES: Final[Mapping[StepPurpose, Table]] = {
    StepPurpose.POSITION: ENTRY,
    StepPurpose.AVERAGING: AVERAGING,
    StepPurpose.TAKE_PROFIT: TAKE_PROFIT,
    StepPurpose.STOP_LOSS: STOP_LOSS,
    StepPurpose.REDUCE_FUNDS: REDUCE_FUNDS,
    StepPurpose.MARKET_CLOSE: MARKET_CLOSE,
}


class TradeCause(enum.StrEnum):
    """Why the whole trade moves."""

    TAKE = "the worker takes the trade"
    ENTER = "the position is there"
    STOP = "the stop loss fires"
    REDUCE = "reduce funds is asked for"
    REDUCE_START = "the worker takes the reduction"
    REDUCE_END = "the reduction is over"
    CLOSE = "the market close is asked for"
    CLOSE_START = "every other order is out of the book"
    CANCEL = "the cancellation is asked for"
    CANCEL_START = "the first cancellation is sent"
    DONE = "the last units left by a target, or a simple trade is executed"
    STOPPED = "the last units left by the stop loss"
    SOLD = "the last units left by the market close"
    OUT = "every order is out of the book"
    FAIL = "it cannot be carried out"


_T = TradeStatus
_OPEN = (_T.WAITING_TARGETS, _T.PENDING_REDUCE_FUNDS, _T.REDUCE_FUNDS_IN_PROGRESS)
_LEAVING = (_T.CANCELLATION_PENDING, _T.CANCELLATION_IN_PROGRESS)
_RUNNING = (
    _T.CREATED, _T.WAITING_POSITION, *_OPEN, _T.STOP_LOSS_IN_PROGRESS, _T.PANIC_SELL_PENDING,
    _T.PANIC_SELL_IN_PROGRESS, *_LEAVING,
)  # fmt: skip

TRADE: Final[Mapping[tuple[TradeStatus, TradeCause], TradeStatus]] = {
    (_T.CREATED, TradeCause.TAKE): _T.WAITING_POSITION,  # S-4, S-5, S-6
    (_T.CREATED, TradeCause.ENTER): _T.WAITING_TARGETS,  # S-2
    (_T.WAITING_POSITION, TradeCause.ENTER): _T.WAITING_TARGETS,  # S-7, S-12
    (_T.WAITING_POSITION, TradeCause.DONE): _T.FINISHED,  # S-9
    (_T.WAITING_POSITION, TradeCause.STOP): _T.STOP_LOSS_IN_PROGRESS,  # P-18
    (_T.WAITING_POSITION, TradeCause.CANCEL): _T.CANCELLATION_PENDING,  # S-10
    (_T.WAITING_POSITION, TradeCause.OUT): _T.CANCELLED,  # S-11
    **{(state, TradeCause.STOP): _T.STOP_LOSS_IN_PROGRESS for state in _OPEN},  # S-15
    **{(state, TradeCause.DONE): _T.FINISHED for state in _OPEN},  # S-14, S-21
    **{(state, TradeCause.CLOSE): _T.PANIC_SELL_PENDING for state in (*_OPEN, _T.STOP_LOSS_IN_PROGRESS)},  # S-22
    **{
        (state, TradeCause.CANCEL): _T.CANCELLATION_PENDING for state in (*_OPEN, _T.STOP_LOSS_IN_PROGRESS)
    },  # S-26, S-30
    (_T.WAITING_TARGETS, TradeCause.REDUCE): _T.PENDING_REDUCE_FUNDS,  # S-18
    (_T.PENDING_REDUCE_FUNDS, TradeCause.REDUCE_START): _T.REDUCE_FUNDS_IN_PROGRESS,  # S-19
    (_T.REDUCE_FUNDS_IN_PROGRESS, TradeCause.REDUCE_END): _T.WAITING_TARGETS,  # S-20
    (_T.STOP_LOSS_IN_PROGRESS, TradeCause.STOPPED): _T.STOP_LOSS_FINISHED,  # S-16
    (_T.STOP_LOSS_IN_PROGRESS, TradeCause.DONE): _T.FINISHED,  # S-17
    (_T.PANIC_SELL_PENDING, TradeCause.CLOSE_START): _T.PANIC_SELL_IN_PROGRESS,  # S-23
    (_T.PANIC_SELL_PENDING, TradeCause.DONE): _T.FINISHED,  # S-24
    (_T.PANIC_SELL_PENDING, TradeCause.STOPPED): _T.STOP_LOSS_FINISHED,  # a limit stop closed the rest (S-34)
    (_T.PANIC_SELL_IN_PROGRESS, TradeCause.SOLD): _T.PANIC_SOLD,  # S-25
    (_T.CANCELLATION_PENDING, TradeCause.CANCEL_START): _T.CANCELLATION_IN_PROGRESS,  # S-27
    **{(state, TradeCause.OUT): _T.CANCELLED for state in _LEAVING},  # S-28
    **{(state, TradeCause.DONE): _T.FINISHED for state in _LEAVING},  # S-29
    **{(state, TradeCause.FAIL): _T.FAILED for state in _RUNNING},  # S-8, S-32, MC-6, EX-10
}

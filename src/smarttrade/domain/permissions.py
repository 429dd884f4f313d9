"""Which command is allowed when: one table by status, and what single legs allow (behaviour 2.1 "Action flags", 2.9).

The flags of the entity and the refusals of the engine come from the same functions, so a command is refused exactly
when its flag is false.
"""

import enum
from collections.abc import Mapping
from typing import Final

from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryType
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import AveragingStep, ReduceStep, Step, StepStatus, StopStep, TargetStep


class Action(enum.Enum):
    """A command to a whole trade whose permission depends on the trade's status."""

    EDIT = enum.auto()
    CLOSE = enum.auto()
    ADD_FUNDS = enum.auto()
    REDUCE_FUNDS = enum.auto()
    FORCE_START = enum.auto()
    FORCE_PROCESS = enum.auto()
    CANCEL = enum.auto()


_EXITING: Final = frozenset({Action.CLOSE, Action.FORCE_PROCESS, Action.CANCEL})
_LEAVING: Final = frozenset({Action.FORCE_PROCESS})
_NOTHING: Final[frozenset[Action]] = frozenset()

ALLOWED: Final[Mapping[TradeStatus, frozenset[Action]]] = {
    TradeStatus.CREATED: frozenset({Action.FORCE_START, Action.FORCE_PROCESS}),
    TradeStatus.WAITING_POSITION: frozenset(
        {Action.EDIT, Action.ADD_FUNDS, Action.FORCE_START, Action.FORCE_PROCESS, Action.CANCEL}
    ),
    TradeStatus.WAITING_TARGETS: frozenset(
        {Action.EDIT, Action.CLOSE, Action.ADD_FUNDS, Action.REDUCE_FUNDS, Action.FORCE_PROCESS, Action.CANCEL}
    ),
    TradeStatus.PENDING_REDUCE_FUNDS: _EXITING,
    TradeStatus.REDUCE_FUNDS_IN_PROGRESS: _EXITING,
    TradeStatus.STOP_LOSS_IN_PROGRESS: _EXITING,
    TradeStatus.PANIC_SELL_PENDING: _LEAVING,
    TradeStatus.PANIC_SELL_IN_PROGRESS: _LEAVING,
    TradeStatus.CANCELLATION_PENDING: _LEAVING,
    TradeStatus.CANCELLATION_IN_PROGRESS: _LEAVING,
    TradeStatus.FINISHED: _NOTHING,
    TradeStatus.STOP_LOSS_FINISHED: _NOTHING,
    TradeStatus.PANIC_SOLD: _NOTHING,
    TradeStatus.CANCELLED: _NOTHING,
    TradeStatus.FAILED: _NOTHING,
}
"""The table of flags; `add_funds`, `reduce_funds` and `force_start` have a further condition below."""

AT_WORK: Final = frozenset({StepStatus.TO_PROCESS, StepStatus.ORDER_PLACED, StepStatus.TRAILING_ACTIVATED})
"""A leg that is armed, watched or at the exchange, and not yet on its way out."""

_TARGET_CANCELABLE: Final = AT_WORK | {StepStatus.IDLE, StepStatus.PANIC_SELL_PENDING}
_STOP_CANCELABLE: Final = frozenset({StepStatus.IDLE, StepStatus.TO_PROCESS, StepStatus.TRAILING_ACTIVATED})
_AVERAGING_AT_WORK: Final = frozenset({StepStatus.TO_PROCESS, StepStatus.ORDER_PLACED})


def editable(trade: SmartTrade) -> bool:
    """E-1."""
    return Action.EDIT in ALLOWED[trade.status]


def close_available(trade: SmartTrade) -> bool:
    """Close the whole position at market (the flag `panic_sell_available`)."""
    return Action.CLOSE in ALLOWED[trade.status]


def add_funds_available(trade: SmartTrade) -> bool:
    """Flag A: never for simple types, nor while a trailing may send its order at any moment (F-3)."""
    return (
        Action.ADD_FUNDS in ALLOWED[trade.status] and not trade.kind.is_simple and not _trailing_blocks_averaging(trade)
    )


def reduce_funds_available(trade: SmartTrade) -> bool:
    """Also the permission of the question for the maximum."""
    return Action.REDUCE_FUNDS in ALLOWED[trade.status] and not trade.kind.is_simple


def force_start_available(trade: SmartTrade) -> bool:
    """Flag P: while the entry is at work, and not once it was forced."""
    return Action.FORCE_START in ALLOWED[trade.status] and trade.position.status in AT_WORK


def force_process_available(trade: SmartTrade) -> bool:
    """In every state that is not final."""
    return Action.FORCE_PROCESS in ALLOWED[trade.status]


def cancel_available(trade: SmartTrade) -> bool:
    """Not in `created`, which lasts only until the first worker step (F-7)."""
    return Action.CANCEL in ALLOWED[trade.status]


def step_cancelable(trade: SmartTrade, step: Step) -> bool:
    """Whether the sub-trade command cancel is carried out (2.9); refused once the whole trade is on its way out."""
    return shows_cancelable(step) and not _is_leaving(trade)


def step_closable(trade: SmartTrade, step: Step) -> bool:
    """Whether the sub-trade command close_by_market is carried out: targets and averaging only (2.9, X-5)."""
    return shows_closable(step) and not _is_leaving(trade)


def shows_cancelable(step: Step) -> bool:
    """The flag `cancelable` of a leg (X-4, X-5); it looks at the leg alone, as the published entities do."""
    match step:
        case TargetStep():
            return step.status in _TARGET_CANCELABLE
        case StopStep():
            return step.status in _STOP_CANCELABLE and not step.fired
        case AveragingStep():
            return step.status in _AVERAGING_AT_WORK or step.status is StepStatus.PANIC_SELL_PENDING
        case ReduceStep():
            return step.order_type is OrderType.LIMIT and step.status is StepStatus.ORDER_PLACED
        case _:
            return False


def shows_closable(step: Step) -> bool:
    """The flag `panic_sell_available` of a leg (TP-1 to TP-9)."""
    match step:
        case TargetStep():
            return step.status in AT_WORK
        case AveragingStep():
            return step.status in _AVERAGING_AT_WORK
        case _:
            return False


def shows_force_processable(step: Step) -> bool:
    """The flag of the trades list, the stop included (X-5)."""
    return step.status in AT_WORK


def condition_editable(trade: SmartTrade) -> bool:
    """A conditional entry that has not been triggered: units, price and condition may change (P-17, 6.1)."""
    position = trade.position
    return (
        position.plan.type is EntryType.CONDITIONAL
        and not position.triggered
        and position.status in (StepStatus.IDLE, StepStatus.TO_PROCESS)
    )


def position_editable(trade: SmartTrade) -> bool:
    """The flag `position.editable`: own funds always, a condition until it fires (P-1, P-17)."""
    return trade.kind.is_own_funds or condition_editable(trade)


def position_price_editable(trade: SmartTrade) -> bool:
    """The flag `position.price.editable`: until the entry is filled, and for own funds (entities 1.12)."""
    return trade.kind.is_own_funds or trade.position.status is not StepStatus.FINISHED


def leverage_editable(trade: SmartTrade) -> bool:
    """Margin mode and leverage may change while no order was sent (6.1)."""
    return not (trade.position.status.is_over or trade.position.orders or any(step.orders for step in trade.averaging))


def target_editable(step: TargetStep) -> bool:
    """A target may change until it is over (TP-8)."""
    return not step.status.is_over


def stop_editable(step: StopStep) -> bool:
    """A stop may change until it has fired or is over."""
    return not (step.fired or step.status.is_over)


def _is_leaving(trade: SmartTrade) -> bool:
    """The whole trade is being closed or cancelled, or is over: its legs take no commands of their own."""
    return ALLOWED[trade.status] <= _LEAVING


def _trailing_blocks_averaging(trade: SmartTrade) -> bool:
    condition = trade.position.plan.condition
    entry_trails = condition is not None and condition.trailing_percent is not None
    return (entry_trails and not trade.position.status.is_over) or any(
        step.status is StepStatus.TRAILING_ACTIVATED for step in trade.targets
    )

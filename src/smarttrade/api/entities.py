"""The SmartTrade entity in wire form, from domain values (entities.md 1).

Most of an entity stays as it is until its trade changes. What moves with the market or with the account is apart, in
`Live`, so that a reader need not pay for the rest again.

Figures are decimal strings, instants ISO 8601 strings; every key of the published entities is there, and a key that
the pages call optional is absent exactly when they say so. Nothing here decides anything: flags come from
`domain.permissions`, figures from `domain.position`.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from smarttrade.api.legs import (
    executed_as,
    given_price,
    instant_text,
    magnitude,
    stop_limit_price,
    stop_order_type,
    stop_units,
    target_order_type,
    target_price,
    text,
)
from smarttrade.api.markets import market_name
from smarttrade.api.notation import decimal_text, timestamp
from smarttrade.domain import permissions
from smarttrade.domain.account import Account
from smarttrade.domain.fill import Execution
from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import ZERO, half_up
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryType, MarginMode
from smarttrade.domain.position import (
    TOTAL_PLACES,
    Sums,
    average_price,
    average_price_without_commission,
    liquidation_estimate,
    margin,
    no_profit,
    open_profit,
    position_price,
    position_total_without_commission,
    realised,
    stop_level,
)
from smarttrade.domain.quote import Quote
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import CloseStep, ReduceStep, Step, StepStatus, StopStep, TargetStep
from smarttrade.ports.exchange import FuturesPosition
from smarttrade.ports.market_data import DayStatistics

Entity = dict[str, Any]

TRADE_TITLES: Final[Mapping[TradeStatus, str]] = {
    TradeStatus.CREATED: "Pending",
    TradeStatus.WAITING_POSITION: "Pending Position Opened",
    TradeStatus.WAITING_TARGETS: "Waiting Targets",
    TradeStatus.PENDING_REDUCE_FUNDS: "Pending reduce funds",
    TradeStatus.REDUCE_FUNDS_IN_PROGRESS: "Reducing funds",
    TradeStatus.STOP_LOSS_IN_PROGRESS: "Stop Loss in progress",
    TradeStatus.STOP_LOSS_FINISHED: "Stop Loss finished",
    TradeStatus.PANIC_SELL_PENDING: "Closing at Market Price",
    TradeStatus.PANIC_SELL_IN_PROGRESS: "Closing at Market Price",
    TradeStatus.PANIC_SOLD: "Closed at Market Price",
    TradeStatus.CANCELLATION_PENDING: "Cancelling",
    TradeStatus.CANCELLATION_IN_PROGRESS: "Cancelling",
    TradeStatus.CANCELLED: "Cancelled",
    TradeStatus.FINISHED: "Finished",
    TradeStatus.FAILED: "Failed",
}

STEP_TITLES: Final[Mapping[StepStatus, str]] = {
    StepStatus.IDLE: "Pending",
    StepStatus.TO_PROCESS: "Pending",
    StepStatus.ORDER_PLACED: "Placed",
    StepStatus.TRAILING_ACTIVATED: "Trailing Activated",
    StepStatus.PANIC_SELL_PENDING: "Panic closing",
    StepStatus.PANIC_SELL_ORDER_PLACED: "Panic closing",
    StepStatus.PANIC_SOLD: "Panic closed",
    StepStatus.PENDING_CANCELLATION: "Cancelling",
    StepStatus.CANCELLED: "Cancelled",
    StepStatus.FINISHED: "Finished",
    StepStatus.FAILED: "Failed",
    StepStatus.OWN_FUNDS: "Own funds",
}

_TRADE_STATUS: Final[Mapping[TradeStatus, Entity]] = {
    status: {"type": status, "basic_type": status, "title": title} for status, title in TRADE_TITLES.items()
}
_STEP_STATUS: Final[Mapping[StepStatus, Entity]] = {
    status: {"type": status, "basic_type": status, "title": title} for status, title in STEP_TITLES.items()
}
_SUCCESSFUL: Final = frozenset({TradeStatus.FINISHED, TradeStatus.PANIC_SOLD, TradeStatus.STOP_LOSS_FINISHED})
_WITHOUT_TARGETS: Final = frozenset({TradeStatus.CANCELLED, TradeStatus.FAILED})
_GONE: Final = frozenset({StepStatus.CANCELLED, StepStatus.PENDING_CANCELLATION})
"""A target that is being cancelled has disappeared already; it is shown again if it turns out filled (TP-12, TP-13)."""


class Surroundings(NamedTuple):
    """What an entity depends on besides its trade, the account and the trading rules."""

    quote: Quote | None
    statistics: DayStatistics | None
    usd_rate: Decimal | None  # USD per unit of quote asset; None when unknown
    missing_funds: Decimal  # base that the account lacks to close its trades (M-56)
    position: FuturesPosition | None  # what the exchange reports of the pair, for the liquidation price (M-51)


class Live(NamedTuple):
    """The members of an entity that its surroundings decide, in the order in which the entity has them."""

    position_price: Any
    current_price: Any
    missing_funds: Any
    liquidation_price: Any
    profit: Any


def live_members(trade: SmartTrade, sums: Sums, instrument: Instrument, surroundings: Surroundings) -> Live:
    """`sums`: those of the trade."""
    quote, statistics, usd_rate, missing_funds, position = surroundings
    return Live(
        _position_price(trade, sums.entered, instrument, quote),
        _current_price(quote, statistics),
        decimal_text(missing_funds),
        text(_liquidation_price(trade, sums.entered, instrument, position)),
        _profit(trade, sums, instrument, quote, usd_rate),
    )


def smart_trade_entity(trade: SmartTrade, sums: Sums, account: Account, instrument: Instrument, live: Live) -> Entity:
    """The SmartTrade entity (entities.md 1). `sums`: those of the trade."""
    return {
        "id": trade.id,
        "version": 2,
        "account": _account(account),
        "pair": trade.key.pair,
        "instant": trade.kind.is_simple,
        "status": _status(_TRADE_STATUS[trade.status], trade.error),
        "leverage": _leverage(trade, instrument),
        "position": _position(trade, sums.entered, instrument, live),
        "take_profit": _take_profit(trade, instrument),
        "stop_loss": _stop_loss(trade.stop, sums, instrument, long=trade.is_long),
        "reduce_funds": {"steps": [_reduction(step, instrument) for step in trade.reductions]},
        "market_close": _market_close(trade.market_close, instrument),
        "note": trade.note,
        "note_raw": trade.note or None,
        "skip_enter_step": trade.kind.is_own_funds,
        "data": _data(trade, sums, instrument, live),
        "profit": live.profit,
        "margin": _margin(trade, sums, instrument),
        "is_position_not_filled": not _is_position_filled(trade, sums.entered),
    }


# --- groups of the SmartTrade -----------------------------------------------------------------------------------


def _account(account: Account) -> Entity:
    return {
        "id": account.id,
        "type": account.type,
        "name": account.name,
        "market": market_name(account.type),
        "link": f"/accounts/{account.id}",
    }


def _leverage(trade: SmartTrade, instrument: Instrument) -> Entity:
    if trade.leverage is None or not instrument.is_linear:  # a group on a spot account is ignored (M-55)
        return {"enabled": False}
    return {
        "enabled": True,
        "type": trade.leverage.mode,
        "value": decimal_text(trade.leverage.value),
        "type_editable": permissions.leverage_editable(trade),
    }


def _position(trade: SmartTrade, entered: Execution, instrument: Instrument, live: Live) -> Entity:
    step = trade.position
    units, total = step.plan.units, step.plan.units * _price_at_creation(trade, instrument)  # M-13
    is_entered = _is_entered(trade, entered)
    if is_entered:
        units, total = entered.amount, half_up(entered.total, TOTAL_PLACES)  # M-11
    totals = {"value": decimal_text(total)}
    averaged = (
        trade.averaging and not trade.kind.is_own_funds and entered.gross_quantity != step.execution.gross_quantity
    )
    if averaged and is_entered:
        totals["value_without_commission"] = decimal_text(position_total_without_commission(entered) or ZERO)  # M-12
    condition_editable = permissions.condition_editable(trade)
    entity: Entity = {
        "type": trade.entry_side,
        "editable": permissions.position_editable(trade),
        "units": {"value": decimal_text(units), "editable": condition_editable},
        "price": live.position_price,
        "total": totals,
        "order_type": step.plan.type,
    }
    condition = step.plan.condition
    if condition is not None and step.plan.type is EntryType.CONDITIONAL:
        trailing = condition.trailing_percent
        entity["conditional"] = {
            "editable": condition_editable,
            "price": {"value": decimal_text(condition.trigger_price), "type": condition.price_type},
            "order_type": executed_as(condition.order_type, trailed=trailing is not None),
            "trailing": _trailing(trailing),
        }
    entity["status"] = _status(_STEP_STATUS[step.status], step.error)
    return entity


def _price_at_creation(trade: SmartTrade, instrument: Instrument) -> Decimal:
    given = given_price(trade, instrument)
    return trade.position.price_at_creation if given is None else given


def _position_price(trade: SmartTrade, entered: Execution, instrument: Instrument, quote: Quote | None) -> Entity:
    """Real after the entry (M-11), requested before it (M-13): the market's, where the market gives the price."""
    price: Decimal
    bare: Decimal | None
    if _is_entered(trade, entered):
        price = position_price(trade, entered, instrument) or ZERO
        bare = None if trade.kind.is_own_funds else average_price_without_commission(entered, instrument)
    elif quote is not None and given_price(trade, instrument) is None:
        price = bare = quote.ask if trade.is_long else quote.bid
    else:
        price = bare = _price_at_creation(trade, instrument)
    return {
        "value": decimal_text(price),
        "value_without_commission": text(bare),
        "editable": permissions.position_price_editable(trade),
    }


def _is_entered(trade: SmartTrade, entered: Execution) -> bool:
    """The entry is over and has brought something: from then on the position shows real figures (M-11)."""
    return trade.position.status.is_over and entered.amount > 0


def _is_position_filled(trade: SmartTrade, entered: Execution) -> bool:
    return _is_entered(trade, entered) or trade.position.execution.gross_quantity > 0


def _take_profit(trade: SmartTrade, instrument: Instrument) -> Entity:
    shown: list[TargetStep] = []
    if trade.status not in _WITHOUT_TARGETS:  # TP-19
        kept = (step for step in trade.targets if step.status not in _GONE and not step.dropped)
        shown = sorted(kept, key=lambda step: step.position)
    unresolved = any(step.price is None for step in shown)
    return {
        "enabled": trade.take_profit_enabled,
        "price_type": "percentage" if unresolved else "value",  # TR-32
        "steps": [_target(step, instrument, trade.exit_side) for step in shown],
    }


def _target(step: TargetStep, instrument: Instrument, exit_side: Side) -> Entity:
    price = target_price(step, instrument, exit_side)
    total = None if price is None or step.units is None else step.units * price
    entity = {
        "id": step.id,
        "order_type": target_order_type(step),
        "editable": permissions.target_editable(step),
        "units": {"value": text(step.units)},
        "price": {"type": step.price_type, "value": text(price), "percent": text(step.percent)},
        "volume": decimal_text(step.volume),
        "total": text(total),
        "trailing": _trailing(step.trailing_percent),
        "status": _status(_STEP_STATUS[step.status], step.error),
        "closed_at": instant_text(step.closed_at),
        "data": {
            "cancelable": permissions.shows_cancelable(step),
            "panic_sell_available": permissions.shows_closable(step),
        },
        "position": step.position,
    }
    _add_filled(entity, step, ZERO if step.units is None else step.units - step.carried, instrument)
    return entity


def _stop_loss(stop: StopStep | None, sums: Sums, instrument: Instrument, *, long: bool) -> Entity:
    if stop is None:
        return {"enabled": False}
    level = stop_level(stop, long=long)
    units = None if stop.status is StepStatus.IDLE else stop_units(stop, sums, instrument)
    total = None if level is None or units is None else units * level  # SL-14
    entity = {
        "enabled": True,
        "price_type": "percentage" if level is None else "value",  # TR-32
        "breakeven": stop.breakeven,
        "order_type": stop_order_type(stop),
        "editable": permissions.stop_editable(stop),
        "status": _status(_STEP_STATUS[stop.status], stop.error),
        "units": {"value": text(units)},
        "total": {"value": text(total)},
        "price": {"value": text(stop_limit_price(stop)), "percent": text(stop.limit_percent)},
        "closed_at": instant_text(stop.closed_at),
        "conditional": {
            "price": {"value": text(level), "type": stop.price_type, "percent": text(stop.percent)},
            "trailing": {"enabled": stop.trailing, "percent": magnitude(stop.trailing_percent)},
        },
        "timeout": {"enabled": stop.timeout_seconds is not None, "value": stop.timeout_seconds},
    }
    _add_filled(entity, stop, ZERO if units is None else units, instrument)
    return entity


def _reduction(step: ReduceStep, instrument: Instrument) -> Entity:
    entity = _order_leg(step, step.order_type, step.units, step.price, instrument)
    entity["data"] = {"cancelable": permissions.shows_cancelable(step), "panic_sell_available": False}  # RF-1
    return entity


def _market_close(step: CloseStep | None, instrument: Instrument) -> Entity:
    return {} if step is None else _order_leg(step, OrderType.MARKET, step.units, step.price, instrument)


def _order_leg(step: Step, order_type: OrderType, units: Decimal, price: Decimal, instrument: Instrument) -> Entity:
    """What `reduce_funds.steps` and `market_close` share; prices and total become real when the leg is over."""
    execution = step.execution
    bare, total = price, units * price
    if step.status.is_over and execution.amount > 0:
        price = average_price(execution, instrument) or price
        bare = average_price_without_commission(execution, instrument) or bare
        total = half_up(execution.total, TOTAL_PLACES)
    entity = {
        "id": step.id,
        "type": order_type,
        "status": _status(_STEP_STATUS[step.status], step.error),
        "units": {"value": decimal_text(units)},
        "price": {"value": decimal_text(price), "value_without_commission": decimal_text(bare)},
        "total": {"value": decimal_text(total)},
        "closed_at": instant_text(step.closed_at),
    }
    _add_filled(entity, step, units, instrument)
    return entity


def _add_filled(entity: Entity, step: Step, ordered: Decimal, instrument: Instrument) -> None:
    """The group `filled`, once there is something to show (entities.md 1.7, TP-8, SL-8)."""
    if not step.orders:
        return
    execution = step.execution
    if execution.amount == 0:
        return
    figures = realised(execution, ordered, instrument)
    entity["filled"] = {
        "units": decimal_text(execution.gross_quantity),
        "total": decimal_text(execution.total),
        "price": text(figures.price),
        "value": decimal_text(figures.percent),
    }


def _data(trade: SmartTrade, sums: Sums, instrument: Instrument, live: Live) -> Entity:
    entered, closed = sums.entered, sums.closed
    shows_entry = entered.amount > 0 and not trade.kind.is_own_funds  # M-9
    entity = {
        "editable": permissions.editable(trade),
        "current_price": live.current_price,
        "target_price_type": "price",
        "orderbook_price_currency": instrument.quote,
        "base_order_finished": True,  # S-37
        "missing_funds_to_close": live.missing_funds,
        "liquidation_price": live.liquidation_price,
        "average_enter_price": text(average_price(entered, instrument)) if shows_entry else None,
        "average_close_price": text(average_price(closed, instrument)),
        "average_enter_price_without_commission": (
            text(average_price_without_commission(entered, instrument)) if shows_entry else None
        ),
        "average_close_price_without_commission": text(average_price_without_commission(closed, instrument)),
        "panic_sell_available": permissions.close_available(trade),
        "add_funds_available": permissions.add_funds_available(trade),
        "reduce_funds_available": permissions.reduce_funds_available(trade),
        "force_start_available": permissions.force_start_available(trade),
        "force_process_available": permissions.force_process_available(trade),
        "cancel_available": permissions.cancel_available(trade),
        "finished": trade.status in _SUCCESSFUL,  # S-35
        "base_position_step_finished": trade.position.status.is_over,
        "entered_amount": decimal_text(entered.amount),
        "entered_total": decimal_text(entered.total),
        "closed_amount": decimal_text(closed.amount),
        "closed_total": decimal_text(closed.total),
        "commission": float(instrument.taker_fee),  # the one figure that is a JSON number; shown, never computed with
        "created_at": timestamp(trade.created_at),
        "updated_at": timestamp(trade.updated_at),
    }
    if trade.closed_at is not None:  # S-36: clients take the key itself as "closed"
        entity["closed_at"] = timestamp(trade.closed_at)
    entity["type"] = trade.kind
    return entity


def _current_price(quote: Quote | None, statistics: DayStatistics | None) -> Entity | None:
    """The ticker; day figures that the source does not know are zero, because typed clients read them as numbers."""
    if quote is None:
        return None
    volume = None if statistics is None else statistics.quote_volume
    change = None if statistics is None else statistics.day_change_percent
    return {
        "bid": decimal_text(quote.bid),
        "ask": decimal_text(quote.ask),
        "last": decimal_text(quote.last),
        "quote_volume": "0.0" if volume is None else decimal_text(volume),
        "day_change_percent": "0.0" if change is None else decimal_text(change),
    }


def _liquidation_price(
    trade: SmartTrade, entered: Execution, instrument: Instrument, position: FuturesPosition | None
) -> Decimal | None:
    """What the exchange reports; an estimate only where it reports none and the margin is isolated (M-51)."""
    if not instrument.is_linear or entered.amount == 0 or trade.status.is_final:
        return None
    if position is not None and position.liquidation_price is not None:
        return position.liquidation_price
    if trade.leverage is None or trade.leverage.mode is not MarginMode.ISOLATED:
        return None
    return liquidation_estimate(trade, entered, instrument)


def _profit(
    trade: SmartTrade, sums: Sums, instrument: Instrument, quote: Quote | None, usd_rate: Decimal | None
) -> Entity:
    if trade.status.is_final:
        profit = no_profit(instrument) if trade.profit is None else trade.profit
    else:
        profit = open_profit(trade, sums, instrument, quote, usd_rate)
    return {
        "volume": text(profit.volume),
        "usd": text(profit.usd),
        "percent": decimal_text(profit.percent),
        "roe": text(profit.roe),
    }


def _margin(trade: SmartTrade, sums: Sums, instrument: Instrument) -> Entity:
    figures = margin(trade, sums, instrument)
    if figures is None:
        return {"amount": None, "total": None}
    return {"amount": decimal_text(figures.amount), "total": decimal_text(figures.total)}


def _status(form: Entity, error: str | None) -> Entity:
    """A status object; `error` is there only when there is one."""
    return form if error is None else {**form, "error": error}


def _trailing(percent: Decimal | None) -> Entity:
    """A trailing group; the deviation is shown without its sign (TR-46)."""
    return {"enabled": percent is not None, "percent": magnitude(percent)}

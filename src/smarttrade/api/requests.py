"""Parameters of the SmartTrade endpoints -> plans, edits, commands and queries of the domain (api.md (a), (b)).

Only the shape is judged here (400): what is missing, of the wrong type, not one of the allowed values, or given twice
where one is wanted. Whether a well-formed plan makes sense is decided by the rules of the domain (422).

What is made uniform on the way in:

- trailing makes an order a market order (V-10, TP-18); deviations and percents lose their sign (TR-30, TR-46);
- a missing price type is that of the side: ask for a buy, bid for a sell (TR-2); a stop watches the other one;
- leverage type `custom` is isolated; a leverage group that is off is none (M-54); cross without a value is 1;
- a group whose `enabled` is false is off, whatever else it says.

The price of a market entry stays in the plan, because an edit may repeat what was first asked for (E-10); rules look
at the type of the entry before they use its price.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from smarttrade.api.errors import MAX_NOTE
from smarttrade.api.parameters import BAD_VALUE, EMPTY, EXCLUSIVE, MISSING, Parameters, positive
from smarttrade.domain.commands import AddFunds, ReduceFunds, SetNote
from smarttrade.domain.instrument import Side
from smarttrade.domain.money import HUNDRED, ONE, ZERO
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import (
    EntryCondition,
    EntryPlan,
    EntryType,
    Leverage,
    MarginMode,
    PositionEdit,
    SmartTradePlan,
    StopPlan,
    TargetPlan,
    TradeEdit,
    TradeKind,
)
from smarttrade.domain.quote import PriceType
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.domain.steps import StopStep, TargetStep
from smarttrade.ports.storage import OrderBy, StatusFilter, TradeQuery

SIDES: Final = {side.value: side for side in Side}
ORDER_TYPES: Final = {order_type.value: order_type for order_type in OrderType}
ENTRY_TYPES: Final = {entry_type.value: entry_type for entry_type in EntryType}
PRICE_TYPES: Final = {price_type.value: price_type for price_type in PriceType}
KINDS: Final = {kind.value: kind for kind in TradeKind}
ORDER_BYS: Final = {order_by.value: order_by for order_by in OrderBy}
STATUSES: Final = {status.value: status for status in StatusFilter} | {
    "successfully_finish": StatusFilter.SUCCESSFULLY_FINISHED  # as one page prints it (api.md A1)
}
MARGIN_MODES: Final = {
    "cross": MarginMode.CROSS,
    "isolated": MarginMode.ISOLATED,
    "custom": MarginMode.ISOLATED,
}
DIRECTIONS: Final = {"asc": True, "desc": False}

MAX_PER_PAGE: Final = 100
MAX_PAGE: Final = 2**31 - 1
MAX_TIMEOUT_SECONDS: Final = 2**31 - 1
MIN_DEVIATION: Final = Decimal("0.01")
MAX_ENTRY_DEVIATION: Final = Decimal(99)


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A wished-for trade. The account, still to be looked up, names the market of the pair."""

    account_id: int
    pair: str
    plan: SmartTradePlan


class ListRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A wished-for page. `query.account_ids` is empty: which accounts count is the caller's to say."""

    account_id: int | None
    query: TradeQuery


# -- create -----------------------------------------------------------------------------------------------------------


def parse_create(given: Mapping[str, Any]) -> CreateRequest:
    """api.md A2. Raises InvalidParameters."""
    params = Parameters(given)
    account_id = params.required_integer("account_id")
    pair = params.required_text("pair")
    instant = params.boolean("instant")
    own_funds = params.boolean("skip_enter_step")
    if instant and own_funds:
        params.refuse_pair("instant", "skip_enter_step", EXCLUSIVE)
    note = params.text("note", longest=MAX_NOTE) or ""
    leverage = _leverage(params)
    position = params.group("position", required=True)
    side = position.required_choice("type", SIDES)
    entry = _entry(position, side, own_funds=own_funds)
    targets = _targets(params, required=not instant)
    stop = _stop(params, side, required=not instant)
    params.finish()
    plan = SmartTradePlan(
        kind=_kind(side, instant=instant, own_funds=own_funds),
        entry=entry,
        leverage=leverage,
        take_profit_enabled=targets is not None,
        targets=targets or (),
        stop=stop,
        note=note,
    )
    return CreateRequest(account_id=account_id, pair=pair, plan=plan)


def _kind(side: Side, *, instant: bool, own_funds: bool) -> TradeKind:
    if instant:
        return TradeKind.SIMPLE_BUY if side is Side.BUY else TradeKind.SIMPLE_SELL
    if own_funds:
        return TradeKind.SMART_SELL if side is Side.BUY else TradeKind.SMART_BUY
    return TradeKind.SMART_TRADE if side is Side.BUY else TradeKind.SMART_COVER


def _entry(position: Parameters, side: Side, *, own_funds: bool) -> EntryPlan:
    entry_type = position.required_choice("order_type", ENTRY_TYPES)
    if own_funds and entry_type is EntryType.CONDITIONAL:
        position.refuse("order_type", BAD_VALUE)
        entry_type = EntryType.MARKET
    units = position.group("units", required=True).required_number("value", positive)
    condition = None
    if entry_type is EntryType.CONDITIONAL:
        condition = _condition(position.group("conditional", required=True), side, None)
    if own_funds:  # no order is sent: the price is the reference for profit, by default the market's (M-9)
        price = position.group("price").number("value", positive)
    else:
        by_limit = entry_type is EntryType.LIMIT or (condition is not None and condition.order_type is OrderType.LIMIT)
        price = _price(position, required=by_limit)
    return EntryPlan(type=entry_type, units=units, price=price, condition=condition)


def _condition(conditional: Parameters, side: Side, present: EntryCondition | None) -> EntryCondition:
    """What a conditional entry waits for; members that are not named come from `present` (an edit merges them)."""
    price = conditional.group("price", required=present is None)
    if present is None:
        trigger_price = price.required_number("value", positive)
        price_type = PriceType.ASK if side is Side.BUY else PriceType.BID
        order_type = conditional.required_choice("order_type", ORDER_TYPES, always=False)
    else:
        trigger_price = price.number("value", positive) or present.trigger_price
        price_type = present.price_type
        order_type = conditional.choice("order_type", ORDER_TYPES) or present.order_type
    deviation = _entry_deviation(conditional.group("trailing"), present)
    return EntryCondition(
        trigger_price=trigger_price,
        price_type=price.choice("type", PRICE_TYPES) or price_type,
        order_type=order_type if deviation is None else OrderType.MARKET,
        trailing_percent=deviation,
    )


def _entry_deviation(trailing: Parameters, present: EntryCondition | None) -> Decimal | None:
    standing = None if present is None else present.trailing_percent
    if not trailing.boolean("enabled", default=standing is not None):
        return None
    if standing is not None and not trailing.has("percent"):
        return standing
    return abs(trailing.required_number("percent", _is_entry_deviation))


def _price(owner: Parameters, *, required: bool) -> Decimal | None:
    """`price[value]` of an order. Where none is needed, zero counts as none: some clients send it so."""
    price = owner.group("price", required=required)
    if required:
        return price.required_number("value", positive)
    value = price.number("value", _is_not_negative)
    return None if value == ZERO else value


def _leverage(params: Parameters) -> Leverage | None:
    leverage = params.group("leverage")
    if not _is_enabled(leverage):
        return None
    mode = leverage.required_choice("type", MARGIN_MODES, always=False)
    if mode is MarginMode.CROSS and not leverage.has("value"):
        return Leverage(mode, ONE)
    return Leverage(mode, Decimal(leverage.required_integer("value")))


def _is_enabled(group: Parameters) -> bool:
    """Whether a group is on. One that says anything must say this too: a stop loss is never dropped in silence."""
    return False if group.is_blank else group.required_boolean("enabled")


# -- exits, shared by create and edit ---------------------------------------------------------------------------------


def _targets(
    params: Parameters, *, required: bool, present: Mapping[int, TargetStep] | None = None
) -> tuple[TargetPlan, ...] | None:
    """The take-profit steps; None if the group is off. `present`: the trade's steps by id, in an edit."""
    group = params.group("take_profit", required=required)
    if not _is_enabled(group):
        return None
    return tuple(_target(step, present) for step in group.groups("steps"))


def _target(step: Parameters, present: Mapping[int, TargetStep] | None) -> TargetPlan:
    order_type = step.required_choice("order_type", ORDER_TYPES, always=False)
    volume = step.required_number("volume", positive)
    step_id = place = None
    if present is not None:
        step_id = step.integer("id") or None  # 0 is what some clients send for none (E-23)
        place = step.integer("position")
    old = present.get(step_id) if present is not None and step_id is not None else None
    group = step.group("price", required=True)
    price_type = group.required_choice("type", PRICE_TYPES, always=False)
    price, percent = _price_or_percent(group, old.percent if old else None, (old.price,) if old else ())
    trailing = step.group("trailing")
    deviation = None
    if trailing.boolean("enabled"):
        deviation = abs(trailing.required_number("percent", _is_deviation))
    return TargetPlan(
        order_type=order_type if deviation is None else OrderType.MARKET,
        volume=volume,
        price_type=price_type,
        price=price,
        percent=percent,
        trailing_percent=deviation,
        step_id=step_id,
        position=place,
    )


def _price_or_percent(
    price: Parameters, old_percent: Decimal | None, old_prices: tuple[Decimal | None, ...]
) -> tuple[Decimal | None, Decimal | None]:
    """Exactly one of `value` and `percent`.

    Once a percent is resolved the entity shows both (TR-32). A client that sends back what it has read means the
    percent, so a pair that repeats the present one is no contradiction.
    """
    value = price.number("value", positive)
    percent = price.number("percent")
    if percent is not None:
        percent = abs(percent)
        if value is not None and old_percent is not None and percent == abs(old_percent) and value in old_prices:
            return None, percent
    price.exactly_one("value", "percent")
    return value, percent


def _stop(params: Parameters, entry_side: Side, *, required: bool, present: StopStep | None = None) -> StopPlan | None:
    """The stop loss; None if it is off. `present`: the stop in force, in an edit."""
    stop = params.group("stop_loss", required=required)
    if not _is_enabled(stop):
        return None
    order_type = stop.required_choice("order_type", ORDER_TYPES, always=False)
    conditional = stop.group("conditional", required=True)
    trigger = conditional.group("price", required=True)
    default = PriceType.BID if entry_side is Side.BUY else PriceType.ASK
    old_prices = (present.configured_price, present.breakeven_price) if present else ()
    price, percent = _price_or_percent(trigger, present.percent if present else None, old_prices)
    trailing_group = conditional.group("trailing")
    trailing = trailing_group.boolean("enabled")
    deviation = trailing_group.number("percent", _is_deviation) if trailing else None
    limit_price = limit_percent = None
    if trailing:
        order_type = OrderType.MARKET
    elif order_type is OrderType.LIMIT:
        limit_price, limit_percent = _stop_limit(stop, present)
    return StopPlan(
        order_type=order_type,
        price_type=trigger.choice("type", PRICE_TYPES) or default,
        price=price,
        percent=percent,
        limit_price=limit_price,
        limit_percent=limit_percent,
        trailing=trailing,
        trailing_percent=None if deviation is None else abs(deviation),
        timeout_seconds=_timeout(stop.group("timeout")),
        breakeven=stop.boolean("breakeven"),
    )


def _stop_limit(stop: Parameters, present: StopStep | None) -> tuple[Decimal | None, Decimal | None]:
    """The order price of a limit stop, or its percent (TR-34)."""
    price = stop.group("price", required=True)
    if not price.has("percent"):
        return price.required_number("value", positive), None
    old_prices = (present.limit_price, present.moved_limit_price) if present else ()
    return _price_or_percent(price, present.limit_percent if present else None, old_prices)


def _timeout(timeout: Parameters) -> int | None:
    """Seconds that the trigger must stay reached (SL-9)."""
    if not timeout.boolean("enabled"):
        return None
    return timeout.required_integer("value", least=1, most=MAX_TIMEOUT_SECONDS)


def _is_not_negative(value: Decimal) -> bool:
    return value >= 0


def _is_deviation(percent: Decimal) -> bool:
    return MIN_DEVIATION <= abs(percent) <= HUNDRED


def _is_entry_deviation(percent: Decimal) -> bool:
    return abs(percent) <= MAX_ENTRY_DEVIATION


# -- edit -------------------------------------------------------------------------------------------------------------


def parse_edit(given: Mapping[str, Any], current: SmartTrade) -> TradeEdit:
    """What a PATCH wants changed in `current` (api.md A4). Raises InvalidParameters.

    A group that is absent stays, one that is present replaces the old one as a whole; `position` is merged. Whatever
    the client read in the entity may come back.
    """
    params = Parameters(given)
    note = params.text("note", longest=MAX_NOTE)
    leverage = _leverage(params)
    position = _position_edit(params, current) if params.has("position") else None
    take_profit_enabled = stop_enabled = None
    targets: tuple[TargetPlan, ...] | None = None
    stop = None
    if params.has("take_profit"):
        _must_say_whether_on(params.group("take_profit"))
        targets = _targets(params, required=False, present={step.id: step for step in current.targets})
        take_profit_enabled = targets is not None
    if params.has("stop_loss"):
        _must_say_whether_on(params.group("stop_loss"))
        stop = _stop(params, current.entry_side, required=False, present=current.stop)
        stop_enabled = stop is not None
    params.finish()
    return TradeEdit(
        position=position,
        leverage=leverage,
        take_profit_enabled=take_profit_enabled,
        targets=targets or (),
        stop_enabled=stop_enabled,
        stop=stop,
        note=note,
    )


def _must_say_whether_on(group: Parameters) -> None:
    # In an edit an empty group would remove exits that are at work.
    if group.is_blank:
        group.refuse("enabled", MISSING)


def _position_edit(params: Parameters, current: SmartTrade) -> PositionEdit:
    position = params.group("position")
    side = position.choice("type", SIDES)
    entry_type = position.choice("order_type", ENTRY_TYPES)
    units = position.group("units").number("value", positive)
    price = position.group("price").number("value", positive)
    conditional, plan = position.group("conditional"), current.position.plan
    condition = None
    if plan.condition is not None and not conditional.is_blank:  # means nothing for other entries, as in create
        condition = _condition(conditional, current.entry_side, plan.condition)
        if condition.order_type is OrderType.LIMIT and price is None and plan.price is None:
            _price(position, required=True)
    return PositionEdit(side=side, type=entry_type, units=units, price=price, condition=condition)


# -- the other commands -----------------------------------------------------------------------------------------------


def parse_add_funds(trade_id: int, given: Mapping[str, Any]) -> AddFunds:
    """api.md A7. Raises InvalidParameters."""
    order_type, units, price = _funds_order(given)
    return AddFunds(trade_id=trade_id, order_type=order_type, units=units, price=price)


def parse_reduce_funds(trade_id: int, given: Mapping[str, Any]) -> ReduceFunds:
    """api.md A6. Raises InvalidParameters."""
    order_type, units, price = _funds_order(given)
    return ReduceFunds(trade_id=trade_id, order_type=order_type, units=units, price=price)


def _funds_order(given: Mapping[str, Any]) -> tuple[OrderType, Decimal, Decimal | None]:
    params = Parameters(given)
    order_type = params.required_choice("order_type", ORDER_TYPES)
    units = params.group("units", required=True).required_number("value", positive)
    by_limit = order_type is OrderType.LIMIT
    price = _price(params, required=by_limit)
    params.finish()
    return order_type, units, price if by_limit else None


def parse_set_note(trade_id: int, given: Mapping[str, Any]) -> SetNote:
    """api.md A11. Raises InvalidParameters."""
    params = Parameters(given)
    if params.is_empty_text("note"):
        params.refuse("note", EMPTY)
        params.finish()
    note = params.required_text("note", longest=MAX_NOTE)
    params.finish()
    return SetNote(trade_id=trade_id, note=note)


# -- list -------------------------------------------------------------------------------------------------------------


def parse_list(given: Mapping[str, Any]) -> ListRequest:
    """api.md A1. Raises InvalidParameters."""
    params = Parameters(given)
    account_id = params.integer("account_id")
    pair = params.text("pair")
    kind = params.choice("type", KINDS)
    page = params.integer("page", least=1, most=MAX_PAGE) or 1
    per_page = params.integer("per_page", least=1, most=MAX_PER_PAGE) or 10
    query = TradeQuery(
        account_ids=(),
        pair=pair,
        kind=kind,
        status=params.choice("status", STATUSES) or StatusFilter.ALL,
        base=params.text("base"),
        quote=params.text("quote"),
        created_from=params.instant("from"),
        created_to=params.instant("to"),
        order_by=params.choice("order_by", ORDER_BYS) or OrderBy.STATUS,
        ascending=params.choice("order_direction", DIRECTIONS, any_case=True) or False,
        offset=(page - 1) * per_page,
        limit=per_page,
    )
    params.finish()
    return ListRequest(account_id=account_id, query=query)

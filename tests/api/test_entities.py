"""The SmartTrade and Trade entities against the published ones (entities.md 1 and 2), and what no example shows."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from published import (
    DOGE,
    EXAMPLES,
    account,
    entry,
    example,
    execution,
    filled,
    instant,
    instrument,
    order,
    published,
    quote,
    stop,
    target,
)

from smarttrade.api.entities import STEP_TITLES, TRADE_TITLES, Surroundings, live_members, smart_trade_entity
from smarttrade.api.markets import market_name
from smarttrade.api.sub_trade_entities import sub_trade_entities
from smarttrade.domain.fill import Execution
from smarttrade.domain.instrument import MarketKind, Side
from smarttrade.domain.order import OrderStatus, OrderType
from smarttrade.domain.plan import EntryCondition, EntryPlan, EntryType, Leverage, MarginMode, TradeKind
from smarttrade.domain.position import Sums
from smarttrade.domain.quote import PriceType
from smarttrade.domain.smart_trade import Profit, SmartTrade, TradeStatus
from smarttrade.domain.steps import AveragingStep, CloseStep, EntryStep, ReduceStep, StepStatus, Trail
from smarttrade.ports.exchange import FuturesPosition
from smarttrade.ports.market_data import DayStatistics

D = Decimal
USD_RATES = {"reduce_funds": D("106239.29"), "edit": D("95534.01")}


def entity_of(name: str, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """A published body, and what this server answers for the same trade."""
    body, made, rules = example(name)
    ticker = body["data"]["current_price"]
    ticker_of_day = DayStatistics(
        quote_volume=D(ticker["quote_volume"]), day_change_percent=D(ticker["day_change_percent"])
    )
    answer = shown(
        replace(made, **changes) if changes else made,
        rules,
        account=account(body),
        quote=quote(body),
        statistics=ticker_of_day,
        usd_rate=USD_RATES.get(name, D(1)),
    )
    return body, answer


def shown(made: SmartTrade, rules: Any = DOGE, **changes: Any) -> dict[str, Any]:
    """The entity of a trade, with no market unless given."""
    owner = changes.pop("account", account(published("waiting_position")))
    nothing = {"quote": None, "statistics": None, "usd_rate": None, "missing_funds": D(0), "position": None}
    sums = Sums.of(made)
    live = live_members(made, sums, rules, Surroundings(**{**nothing, **changes}))
    return smart_trade_entity(made, sums, owner, rules, live)


def as_decided(body: Any, answer: Any) -> Any:
    """A published body with what entities.md decides differently, or where its own pages disagree."""
    body["version"] = 2
    body["account"]["market"] = market_name(body["account"]["type"])
    body["data"]["commission"] = float(body["data"]["commission"])
    for step in body["take_profit"]["steps"]:
        step.setdefault("closed_at", None)
    stop_loss = body["stop_loss"]
    if stop_loss["enabled"]:
        for newer in ("units", "total"):
            stop_loss.setdefault(newer, answer["stop_loss"][newer])
        stop_loss.setdefault("closed_at", None)
    return body


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"entity_2021"}))
def test_a_published_entity_comes_back_to_the_last_digit(name: str) -> None:
    body, answer = entity_of(name)
    assert answer == as_decided(body, answer)


def test_the_older_entity_differs_only_where_decided() -> None:
    """The shape of 2021 lacks keys, and shows the deviation with a sign."""
    body, answer = entity_of("entity_2021")
    step = answer["take_profit"]["steps"][0]
    assert step["trailing"] == {"enabled": True, "percent": "0.15"}
    assert {**step, "trailing": None, "closed_at": None} == {
        **body["take_profit"]["steps"][0],
        "trailing": None,
        "closed_at": None,
    }
    assert answer["position"] == body["position"]
    assert answer["profit"]["volume"] == body["profit"]["volume"]
    assert answer["profit"]["percent"] == body["profit"]["percent"]
    assert set(body["data"]) <= set(answer["data"])


def test_the_published_sub_trades_come_back_to_the_last_digit() -> None:
    position, watched = published("trades")
    fill = Execution(D(15), D("1.5996"), D("14.94"), D("1.5996"))
    limit = filled(fill, type_=OrderType.LIMIT)[0]
    made = SmartTrade(
        id=1,
        account_id=1,
        key=DOGE.key,
        kind=TradeKind.SMART_TRADE,
        status=TradeStatus.WAITING_TARGETS,
        position=replace(
            entry(EntryType.LIMIT, "15", "0.10664", **times(position)), orders=(replace(limit, price=D("0.10664")),)
        ),
        stop=stop("0.1013", StepStatus.TO_PROCESS, **times(watched)),
        created_at=0,
        updated_at=0,
    )
    assert sub_trade_entities(made, instrument=DOGE, extreme_of=unknown) == [position, watched]


def times(body: Any) -> dict[str, int]:
    return {key: instant(body[key]) for key in ("created_at", "updated_at")}


def unknown(group: int) -> None:
    return None


def own_trade(status: TradeStatus = TradeStatus.WAITING_TARGETS, **more: Any) -> SmartTrade:
    """10 bought at 100 with 0.1 % in quote, unless told otherwise."""
    fill = execution("10", "100", "10", "1001")
    return SmartTrade(
        **{
            "id": 7,
            "account_id": 1,
            "key": FUTURE.key,
            "kind": TradeKind.SMART_TRADE,
            "status": status,
            "position": entry(EntryType.MARKET, "10", None, execution=fill),
            "take_profit_enabled": True,
            "created_at": 0,
            "updated_at": 0,
            **more,
        }
    )


SPOT = instrument("USDT_BTC", "0.01", "0.1")
FUTURE = instrument("USDT_BTCUSDT", "0.01", "0.1", kind=MarketKind.LINEAR, maintenance_rate=D("0.005"))


# --- titles, errors, absent keys --------------------------------------------------------------------------------


def test_every_status_has_a_title() -> None:
    assert set(TRADE_TITLES) == set(TradeStatus)
    assert set(STEP_TITLES) == set(StepStatus)


def test_an_error_is_shown_only_where_there_is_one() -> None:
    answer = shown(own_trade(error="Too small", targets=(target(1, "110", "100", "9", StepStatus.FAILED, error="No"),)))
    assert answer["status"]["error"] == "Too small"
    assert answer["take_profit"]["steps"][0]["status"]["error"] == "No"
    assert "error" not in answer["position"]["status"]
    assert "error" not in shown(own_trade())["status"]


def test_closed_at_is_absent_until_the_trade_has_ended() -> None:
    """S-36: clients take the key itself as "closed"."""
    assert "closed_at" not in shown(own_trade())["data"]
    ended = own_trade(TradeStatus.FINISHED, closed_at=1_500_000, profit=Profit())
    assert shown(ended)["data"]["closed_at"] == "1970-01-01T00:00:01.500Z"


@pytest.mark.parametrize("status", list(TradeStatus))
def test_only_successful_ends_are_finished(status: TradeStatus) -> None:
    """S-35."""
    successful = {TradeStatus.FINISHED, TradeStatus.PANIC_SOLD, TradeStatus.STOP_LOSS_FINISHED}
    assert shown(own_trade(status))["data"]["finished"] is (status in successful)


def test_without_a_ticker_the_price_is_null_and_nothing_is_valued() -> None:
    answer = shown(own_trade(), SPOT)
    assert answer["data"]["current_price"] is None
    assert answer["profit"] == {"volume": None, "usd": None, "percent": "0.0", "roe": None}


def test_an_entity_can_be_written_as_json_at_once() -> None:
    _, answer = entity_of("reduce_funds")
    assert msgspec.json.decode(msgspec.json.encode(answer)) == answer


# --- position ---------------------------------------------------------------------------------------------------


def conditional(status: StepStatus, *, triggered: bool = False, trailing: str | None = None) -> EntryStep:
    condition = EntryCondition(
        trigger_price=D(100),
        price_type=PriceType.ASK,
        order_type=OrderType.LIMIT,
        trailing_percent=None if trailing is None else D(trailing),
    )
    return entry(EntryType.CONDITIONAL, "10", "99.999", status, condition=condition, triggered=triggered, rises=False)


def test_a_condition_is_editable_until_it_fires() -> None:
    """P-17: units, price and condition."""
    waiting = shown(own_trade(TradeStatus.WAITING_POSITION, position=conditional(StepStatus.TO_PROCESS)), SPOT)
    position = waiting["position"]
    assert position["editable"] is True
    assert position["units"]["editable"] is True
    assert position["price"]["editable"] is True
    assert position["conditional"]["editable"] is True

    fired = conditional(StepStatus.ORDER_PLACED, triggered=True)
    position = shown(own_trade(TradeStatus.WAITING_POSITION, position=fired), SPOT)["position"]
    assert position["editable"] is False
    assert position["units"]["editable"] is False
    assert position["price"]["editable"] is True
    assert position["conditional"]["editable"] is False


def test_a_limit_price_is_shown_on_the_tick() -> None:
    """TR-9: a buy is rounded down."""
    waiting = own_trade(TradeStatus.WAITING_POSITION, position=conditional(StepStatus.TO_PROCESS))
    assert shown(waiting, SPOT)["position"]["price"]["value"] == "99.99"
    assert shown(waiting, SPOT)["position"]["total"] == {"value": "999.9"}


def test_trailing_shows_a_limit_entry_as_market() -> None:
    """V-10; the price is then the market's (M-13)."""
    waiting = own_trade(
        TradeStatus.WAITING_POSITION,
        position=replace(conditional(StepStatus.TO_PROCESS, trailing="10"), price_at_creation=D(105)),
    )
    position = shown(waiting, SPOT)["position"]
    assert position["conditional"]["order_type"] == "market"
    assert position["conditional"]["trailing"] == {"enabled": True, "percent": "10.0"}
    assert position["price"]["value"] == "105.0"


def test_a_partly_filled_entry_still_shows_what_was_requested() -> None:
    """P-16: what was filled is in `entered_*`."""
    part = Execution(D(4), D(400), D(4), D("400.4"))
    live = replace(order(Side.BUY, OrderType.LIMIT, D(10), D(100)), execution=part)
    position = replace(entry(EntryType.LIMIT, "10", "100", StepStatus.ORDER_PLACED), orders=(live,))
    answer = shown(own_trade(TradeStatus.WAITING_POSITION, position=position), SPOT)
    assert answer["position"]["units"]["value"] == "10.0"
    assert answer["position"]["price"]["value"] == "100.0"
    assert answer["data"]["entered_amount"] == "4.0"
    assert answer["data"]["average_enter_price"] == "100.1"
    assert answer["data"]["base_position_step_finished"] is False
    assert answer["is_position_not_filled"] is False


def test_a_cancelled_entry_shows_the_part_that_was_filled() -> None:
    """R-4."""
    part = Execution(D(4), D(400), D(4), D("400.4"))
    ended = replace(order(Side.BUY, OrderType.LIMIT, D(10), D(100), OrderStatus.CANCELED), execution=part)
    position = replace(entry(EntryType.LIMIT, "10", "100", StepStatus.CANCELLED), orders=(ended,))
    answer = shown(own_trade(TradeStatus.CANCELLED, position=position), SPOT)
    assert answer["position"]["units"]["value"] == "4.0"
    assert answer["position"]["price"]["value"] == "100.1"
    assert answer["position"]["total"] == {"value": "400.4"}


def test_averaged_own_funds_show_the_average() -> None:
    """F-4, M-9: the given price until more was bought."""
    more = AveragingStep(
        id=9,
        status=StepStatus.FINISHED,
        orders=filled(execution("10", "90", "10", "900.9")),
        order_type=OrderType.MARKET,
        units=D(10),
        price=None,
        price_at_creation=D(90),
        created_at=0,
        updated_at=0,
    )
    own = entry(EntryType.MARKET, "10", "100.005", StepStatus.OWN_FUNDS)
    held = own_trade(kind=TradeKind.SMART_SELL, position=own)
    assert shown(held, SPOT)["position"]["price"]["value"] == "100.005"
    averaged = shown(replace(held, averaging=(more,)), SPOT)
    assert averaged["position"]["price"] == {"value": "95.04", "value_without_commission": None, "editable": True}
    assert averaged["data"]["average_enter_price"] is None
    assert averaged["position"]["total"] == {"value": "1900.95"}


# --- exits ------------------------------------------------------------------------------------------------------


def test_unresolved_percents_show_no_price() -> None:
    """TR-32."""
    step = replace(target(1, "1", "100", None, StepStatus.IDLE), price=None, percent=D(5))
    watch = replace(stop("1", StepStatus.IDLE), configured_price=None, percent=D(6))
    answer = shown(own_trade(TradeStatus.WAITING_POSITION, targets=(step,), stop=watch))
    assert answer["take_profit"]["price_type"] == "percentage"
    assert answer["take_profit"]["steps"][0]["price"] == {"type": "last", "value": None, "percent": "5.0"}
    assert answer["stop_loss"]["price_type"] == "percentage"
    assert answer["stop_loss"]["conditional"]["price"] == {"value": None, "type": "last", "percent": "6.0"}
    resolved = own_trade(targets=(replace(step, price=D("105.1")),), stop=replace(watch, configured_price=D("94.1")))
    assert shown(resolved)["take_profit"]["price_type"] == "value"
    assert shown(resolved)["stop_loss"]["price_type"] == "value"


@pytest.mark.parametrize(
    ("status", "steps"),
    [
        (TradeStatus.FINISHED, [1]),
        (TradeStatus.STOP_LOSS_FINISHED, [1]),
        (TradeStatus.CANCELLED, []),
        (TradeStatus.FAILED, []),
    ],
)
def test_which_targets_an_ended_trade_shows(status: TradeStatus, steps: list[int]) -> None:
    """TP-12, TP-19: cancelled ones never, executed ones unless the trade was cancelled or failed."""
    done = replace(target(1, "110", "50", "5", StepStatus.FINISHED), closed_at=0)
    dropped = target(2, "120", "50", "5", StepStatus.CANCELLED, 2)
    answer = shown(own_trade(status, targets=(done, dropped)))
    assert [step["id"] for step in answer["take_profit"]["steps"]] == steps
    assert answer["take_profit"]["enabled"] is True


def test_an_executed_target_shows_what_it_filled() -> None:
    """TP-8."""
    fill = Execution(D(5), D(550), D(5), D("549.45"))
    done = replace(target(1, "110", "50", "5", StepStatus.FINISHED), orders=filled(fill, Side.SELL), closed_at=0)
    answer = shown(own_trade(targets=(done,)), SPOT)
    step = answer["take_profit"]["steps"][0]
    assert step["filled"] == {"units": "5.0", "total": "549.45", "price": "109.89", "value": "100.0"}
    assert step["editable"] is False
    assert step["data"] == {"cancelable": False, "panic_sell_available": False}
    assert step["closed_at"] == "1970-01-01T00:00:00.000Z"
    assert answer["data"]["closed_amount"] == "5.0"
    assert answer["data"]["average_close_price"] == "109.89"
    assert answer["data"]["average_close_price_without_commission"] == "110.0"


def test_a_trailed_limit_target_is_shown_as_market() -> None:
    """TP-18."""
    trailed = target(1, "110", "100", "9", StepStatus.TRAILING_ACTIVATED, trailing_percent=D(2))
    step = shown(own_trade(targets=(trailed,)))["take_profit"]["steps"][0]
    assert step["order_type"] == "market"
    assert step["status"]["title"] == "Trailing Activated"


def test_a_removed_stop_is_disabled_and_a_superseded_one_stays() -> None:
    """SL-12."""
    assert shown(own_trade(stop=None))["stop_loss"] == {"enabled": False}
    kept = shown(own_trade(TradeStatus.FINISHED, stop=stop("90", StepStatus.CANCELLED)))["stop_loss"]
    assert kept["enabled"] is True
    assert kept["editable"] is False
    assert kept["status"]["type"] == "cancelled"


def test_a_stop_shows_the_breakeven_level_and_its_moved_limit() -> None:
    """BE-6, BE-9."""
    moved = stop(
        "90",
        StepStatus.TO_PROCESS,
        order_type=OrderType.LIMIT,
        limit_price=D("89.5"),
        breakeven=True,
        breakeven_price=D("100.10"),
        moved_limit_price=D("99.55"),
        timeout_seconds=60,
    )
    answer = shown(own_trade(stop=moved), SPOT)["stop_loss"]
    assert answer["conditional"]["price"]["value"] == "100.1"
    assert answer["price"]["value"] == "99.55"
    assert answer["units"] == {"value": "10.0"}
    assert answer["total"] == {"value": "1001.0"}
    assert answer["timeout"] == {"enabled": True, "value": 60}


def test_a_limit_stop_with_trailing_is_shown_as_market() -> None:
    """V-10."""
    trailed = stop("90", StepStatus.TO_PROCESS, order_type=OrderType.LIMIT, limit_price=D(89), trailing=True)
    answer = shown(own_trade(stop=trailed))["stop_loss"]
    assert answer["order_type"] == "market"
    assert answer["price"]["value"] is None
    assert answer["conditional"]["trailing"] == {"enabled": True, "percent": None}


def test_the_market_close_has_the_shape_of_a_reduction_without_data() -> None:
    """entities.md 1.8; empty until its order exists."""
    fill = Execution(D(10), D(990), D(10), D("989.01"))
    close = CloseStep(
        id=5, status=StepStatus.FINISHED, orders=filled(fill), units=D(10), price=D(98), created_at=0, updated_at=0
    )
    assert shown(own_trade())["market_close"] == {}
    assert shown(own_trade(TradeStatus.PANIC_SOLD, market_close=close), SPOT)["market_close"] == {
        "id": 5,
        "type": "market",
        "status": {"type": "finished", "basic_type": "finished", "title": "Finished"},
        "units": {"value": "10.0"},
        "price": {"value": "98.9", "value_without_commission": "99.0"},
        "total": {"value": "989.01"},
        "closed_at": None,
        "filled": {"units": "10.0", "total": "989.01", "price": "98.9", "value": "100.0"},
    }


def test_only_an_open_limit_reduction_is_cancelable() -> None:
    """RF-1, RF-3."""

    def step(order_type: OrderType, status: StepStatus) -> dict[str, Any]:
        made = ReduceStep(
            id=5, status=status, order_type=order_type, units=D(1), price=D(99), created_at=0, updated_at=0
        )
        answer = shown(own_trade(reductions=(made,)))
        return answer["reduce_funds"]["steps"][0]["data"]

    assert step(OrderType.LIMIT, StepStatus.ORDER_PLACED) == {"cancelable": True, "panic_sell_available": False}
    assert step(OrderType.LIMIT, StepStatus.IDLE)["cancelable"] is False
    assert step(OrderType.MARKET, StepStatus.ORDER_PLACED)["cancelable"] is False


# --- futures ----------------------------------------------------------------------------------------------------


def test_a_futures_trade_shows_leverage_margin_and_return() -> None:
    """M-43, M-50; behaviour 8.4 before averaging."""
    made = own_trade(leverage=Leverage(MarginMode.ISOLATED, D(4)))
    market = replace(quote(published("create")), bid=D(92), ask=D(93))
    answer = shown(made, FUTURE, quote=market, usd_rate=D(1))
    assert answer["leverage"] == {"enabled": True, "type": "isolated", "value": "4.0", "type_editable": False}
    assert answer["margin"] == {"amount": "2.5", "total": "250.25"}
    assert answer["profit"] == {"volume": "-81.92", "usd": "-81.92", "percent": "-8.18", "roe": "-32.72"}
    assert answer["data"]["liquidation_price"] == "75.5"


def test_a_reported_liquidation_price_comes_before_the_estimate() -> None:
    """M-51; cross margin has no estimate."""
    reported = FuturesPosition(
        key=FUTURE.key,
        quantity=D(10),
        entry_price=D(100),
        mode=MarginMode.ISOLATED,
        leverage=D(4),
        margin=D(250),
        liquidation_price=D("76.31"),
    )
    isolated = own_trade(leverage=Leverage(MarginMode.ISOLATED, D(4)))
    assert shown(isolated, FUTURE, position=reported)["data"]["liquidation_price"] == "76.31"
    silent = replace(reported, liquidation_price=None)
    assert shown(isolated, FUTURE, position=silent)["data"]["liquidation_price"] == "75.5"
    cross = own_trade(leverage=Leverage(MarginMode.CROSS, D(4)))
    assert shown(cross, FUTURE, position=silent)["data"]["liquidation_price"] is None


def test_leverage_is_shown_disabled_on_spot_and_editable_before_an_order() -> None:
    """M-55, 6.1."""
    leverage = Leverage(MarginMode.CROSS, D(2))
    assert shown(own_trade(leverage=leverage), SPOT)["leverage"] == {"enabled": False}
    waiting = own_trade(TradeStatus.WAITING_POSITION, position=conditional(StepStatus.TO_PROCESS), leverage=leverage)
    assert shown(waiting, FUTURE)["leverage"]["type_editable"] is True
    assert shown(waiting, FUTURE)["profit"]["roe"] == "0.0"


# --- trades list ------------------------------------------------------------------------------------------------


def test_a_trailing_stop_shows_level_extreme_and_distance() -> None:
    """TR-52: k = 0.9, highest 112; published table of TR-50."""
    trailed = stop(
        "90",
        StepStatus.TRAILING_ACTIVATED,
        trailing=True,
        trail=Trail(group=3, start=D(100), numerator=D(90), denominator=D(100)),
    )
    made = own_trade(stop=trailed)
    (_, leg) = sub_trade_entities(made, instrument=SPOT, extreme_of={3: (D(112), 5_900_000)}.get)
    assert leg["trigger_price"] == "100.8"
    assert leg["trailing_enabled"] is True
    assert leg["trailing_last_price"] == "112.0"
    assert leg["trailing_last_price_updated_at"] == 5
    assert leg["trail_value"] == "11.2"
    assert leg["trail_percentage"] == "10.0"
    assert leg["initial_price"] == "90.0"
    assert shown(made, SPOT)["stop_loss"]["conditional"]["price"]["value"] == "90.0"


def test_a_trailing_stop_shows_the_better_of_its_levels() -> None:
    """BE-5: the trailing level 94.50 is worse than breakeven; TR-50: at most 10 decimals."""
    trail = Trail(group=3, start=D("384.90"), numerator=D("362.26"), denominator=D("384.90"))
    trailed = stop("362.26", StepStatus.TRAILING_ACTIVATED, trailing=True, trail=trail)
    (_, leg) = sub_trade_entities(own_trade(stop=trailed), instrument=SPOT, extreme_of={3: (D(400), 0)}.get)
    assert leg["trigger_price"] == "376.47181086"
    even = replace(trailed, breakeven_price=D(380))
    (_, leg) = sub_trade_entities(own_trade(stop=even), instrument=SPOT, extreme_of={3: (D(400), 0)}.get)
    assert leg["trigger_price"] == "380.0"
    assert leg["trail_value"] == "20.0"


def test_a_trailing_target_shows_its_follow_line_once_activated() -> None:
    """TR-52, TR-42: 107 and 1 %."""
    step = target(
        1006258047, "105", "100", "9", StepStatus.TO_PROCESS, trailing_percent=D(1), order_type=OrderType.MARKET
    )
    (_, leg) = sub_trade_entities(own_trade(targets=(step,)), instrument=SPOT, extreme_of=unknown)
    assert leg["trigger_price"] == "105.0"
    assert leg["trigger_condition"] == "greater_or_equal"
    assert leg["trigger_type"] == "conditional"
    assert leg["trail_percentage"] == "1.0"
    assert leg["trailing_last_price"] is None

    active = replace(
        step,
        status=StepStatus.TRAILING_ACTIVATED,
        trail=Trail(group=1, start=D(105), numerator=D(99), denominator=D(100)),
    )
    (_, leg) = sub_trade_entities(own_trade(targets=(active,)), instrument=SPOT, extreme_of={1: (D(107), 0)}.get)
    assert leg["trigger_price"] == "105.93"
    assert leg["trail_value"] == "1.07"

    sent = replace(active, status=StepStatus.ORDER_PLACED, trail=replace(active.trail, start=D(108)))
    (_, leg) = sub_trade_entities(own_trade(targets=(sent,)), instrument=SPOT, extreme_of={1: (D(150), 0)}.get)
    assert leg["trailing_last_price"] == "108.0"  # the group has gone on without it


def test_a_conditional_entry_shows_its_stored_condition() -> None:
    """TR-10."""
    waiting = own_trade(TradeStatus.WAITING_POSITION, position=conditional(StepStatus.TO_PROCESS))
    (leg,) = sub_trade_entities(waiting, instrument=SPOT, extreme_of=unknown)
    assert (leg["trigger_type"], leg["trigger_condition"], leg["trigger_price"]) == (
        "conditional",
        "less_or_equal",
        "100.0",
    )
    assert (leg["order_type"], leg["order_price"]) == ("limit", "99.99")
    assert (leg["cancelable"], leg["force_processable"]) == (False, True)


def test_legs_come_in_the_order_in_which_they_were_made_with_their_purposes() -> None:
    """5.4, A-1, C-7, Q-11: averaging is shown as position; replaced stops and cancelled targets stay in the list."""
    base: dict[str, Any] = {"created_at": 0, "updated_at": 0}
    averaging = AveragingStep(
        id=1006258060,
        status=StepStatus.ORDER_PLACED,
        order_type=OrderType.LIMIT,
        units=D(10),
        price=D(90),
        price_at_creation=D(99),
        **base,
    )
    reduction = ReduceStep(
        id=1006258061, status=StepStatus.ORDER_PLACED, order_type=OrderType.LIMIT, units=D(1), price=D(99), **base
    )
    close = CloseStep(id=1006258062, status=StepStatus.TO_PROCESS, units=D(9), price=D(98), **base)
    made = own_trade(
        averaging=(averaging,),
        targets=(target(1006258047, "110", "100", "9", StepStatus.CANCELLED),),
        past_stops=(stop("80", StepStatus.CANCELLED),),
        reductions=(reduction,),
        market_close=close,
    )
    legs = sub_trade_entities(made, instrument=SPOT, extreme_of=unknown)
    assert [(leg["trade_purpose"], leg["order_side"], leg["cancelable"]) for leg in legs] == [
        ("position", "buy", False),
        ("take_profit", "sell", False),
        ("stop_loss", "sell", False),
        ("position", "buy", True),
        ("reduce_funds", "sell", True),
        ("market_close", "sell", False),
    ]
    keys = set(published("trades")[0])
    assert all(set(leg) == keys for leg in legs)
    assert legs[3]["order_price"] == "90.0"
    assert legs[3]["initial_total"] == "900.0"


def test_an_unarmed_leg_shows_its_share_of_what_was_asked_for() -> None:
    plan = EntryPlan(type=EntryType.LIMIT, units=D(15), price=D(100))
    position = replace(entry(EntryType.LIMIT, "15", "100", StepStatus.ORDER_PLACED), plan=plan)
    made = own_trade(
        TradeStatus.WAITING_POSITION,
        position=position,
        targets=(target(1006258047, "110", "50", None, StepStatus.IDLE),),
        stop=stop("80", StepStatus.IDLE),
    )
    _, first, watch = sub_trade_entities(made, instrument=SPOT, extreme_of=unknown)
    assert (first["initial_amount"], first["initial_total"]) == ("7.5", "825.0")
    assert (first["trigger_type"], first["trigger_price"]) == ("none", None)  # a limit target rests in the book
    assert (watch["initial_amount"], watch["trigger_condition"]) == ("15.0", "less_or_equal")


def test_a_target_closed_by_hand_shows_the_market_order_it_became() -> None:
    """TP-10."""
    sent = order(Side.SELL, OrderType.MARKET, D(9))
    step = replace(target(1006258047, "110", "100", "9", StepStatus.PANIC_SELL_ORDER_PLACED), orders=(sent,))
    (_, leg) = sub_trade_entities(own_trade(targets=(step,)), instrument=SPOT, extreme_of=unknown)
    assert (leg["order_type"], leg["order_price"], leg["status"]) == ("market", None, "panic_sell_order_placed")

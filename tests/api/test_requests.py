"""Parameters -> plans, edits and commands (api.md (a)); the bodies are the published ones where there are any."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from smarttrade.api.form import parse_form
from smarttrade.api.notation import parse_instant
from smarttrade.api.parameters import InvalidParameters, parse_json
from smarttrade.api.requests import (
    parse_add_funds,
    parse_create,
    parse_edit,
    parse_list,
    parse_reduce_funds,
    parse_set_note,
)
from smarttrade.domain.commands import AddFunds, ReduceFunds, SetNote
from smarttrade.domain.instrument import Side
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
from smarttrade.domain.quote import InstrumentKey, PriceType
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import EntryStep, StepStatus, StopStep, TargetStep
from smarttrade.ports.storage import OrderBy, StatusFilter

D = Decimal
SEED_004 = sorted((Path(__file__).parents[1] / "data" / "seed_004").glob("*.json"))
LONG_TARGET = {"order_type": "limit", "volume": 100, "price": {"type": "bid", "value": "110"}}
OFF = {"enabled": False}


def body(**changes: Any) -> dict[str, Any]:
    """A minimal create request with `changes`."""
    return {
        "account_id": 1,
        "pair": "USDT_BTC",
        "position": {"type": "buy", "order_type": "market", "units": {"value": "1"}},
        "take_profit": OFF,
        "stop_loss": OFF,
        **changes,
    }


def position(**changes: Any) -> dict[str, Any]:
    return {"type": "buy", "order_type": "market", "units": {"value": "1"}, **changes}


def stop(**changes: Any) -> dict[str, Any]:
    return {
        "enabled": True,
        "order_type": "market",
        "conditional": {"price": {"type": "last", "value": "90"}},
        **changes,
    }


def take_profit(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"enabled": True, "steps": list(steps)}


def plan(**changes: Any) -> SmartTradePlan:
    return parse_create(body(**changes)).plan


def refused(parse: Callable[[Any], object], given: Any) -> dict[str, list[str]]:
    with pytest.raises(InvalidParameters) as error:
        parse(given)
    return dict(error.value.attributes)


# -- create -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SEED_004, ids=lambda path: path.stem)
def test_every_published_create_request_is_accepted(path: Path) -> None:
    request = parse_create(parse_json(path.read_bytes()))
    assert (request.account_id, request.pair) == (1, "USDT_BTC")


def test_all_24_published_create_requests_are_tried() -> None:
    assert len(SEED_004) == 24


def test_a_published_request_says_the_same_as_a_form() -> None:
    path = next(path for path in SEED_004 if path.name.startswith("22_"))
    given = json.loads(path.read_text())

    def flat(value: Any, key: str) -> list[str]:
        if isinstance(value, dict):
            return [pair for name in value for pair in flat(value[name], f"{key}[{name}]" if key else name)]
        if isinstance(value, list):
            return [pair for element in value for pair in flat(element, f"{key}[]")]
        return [f"{key}={str(value).lower() if isinstance(value, bool) else value}"]

    assert parse_create(parse_form("&".join(flat(given, "")).encode())) == parse_create(parse_json(path.read_bytes()))


def test_a_full_plan_carries_everything_that_was_asked() -> None:
    path = next(path for path in SEED_004 if path.name.startswith("22_"))
    assert parse_create(parse_json(path.read_bytes())).plan == SmartTradePlan(
        kind=TradeKind.SMART_TRADE,
        entry=EntryPlan(
            type=EntryType.CONDITIONAL,
            units=D("0.01"),
            condition=EntryCondition(
                trigger_price=D(10000),
                price_type=PriceType.ASK,
                order_type=OrderType.MARKET,
                trailing_percent=D("9.95"),
            ),
        ),
        take_profit_enabled=True,
        targets=(
            TargetPlan(order_type=OrderType.LIMIT, volume=D(40), price_type=PriceType.BID, percent=D(11)),
            TargetPlan(
                order_type=OrderType.MARKET,
                volume=D(60),
                price_type=PriceType.BID,
                percent=D(13),
                trailing_percent=D("10.5"),
            ),
        ),
        stop=StopPlan(
            order_type=OrderType.MARKET,
            price_type=PriceType.BID,
            percent=D(6),
            trailing=True,
            trailing_percent=D("8.5"),
        ),
    )


@pytest.mark.parametrize(
    ("instant", "skip", "side", "kind"),
    [
        ("true", False, "buy", TradeKind.SIMPLE_BUY),  # V-2: text counts
        (True, False, "sell", TradeKind.SIMPLE_SELL),
        (False, True, "buy", TradeKind.SMART_SELL),
        (False, "1", "sell", TradeKind.SMART_BUY),
        (False, False, "buy", TradeKind.SMART_TRADE),
        (None, None, "sell", TradeKind.SMART_COVER),
    ],
)
def test_the_kind_follows_from_two_flags_and_the_side(instant: Any, skip: Any, side: str, kind: TradeKind) -> None:
    assert plan(instant=instant, skip_enter_step=skip, position=position(type=side)).kind is kind


def test_an_empty_request_reports_all_that_is_missing_at_once() -> None:
    assert refused(parse_create, {}) == {
        "account_id": ["is missing"],
        "pair": ["is missing"],
        "position": ["is missing"],
        "position[type]": ["is missing", "does not have a valid value"],
        "position[order_type]": ["is missing", "does not have a valid value"],
        "position[units]": ["is missing"],
        "position[units][value]": ["is missing"],
        "take_profit": ["is missing"],
        "stop_loss": ["is missing"],
    }


def test_flat_bracket_keys_in_json_are_unknown_keys() -> None:
    given = body()
    del given["position"]
    assert "position" in refused(parse_create, {**given, "position[type]": "buy"})


def test_a_simple_trade_needs_no_exit_groups_but_keeps_those_that_are_on() -> None:
    given = body(instant=True, take_profit=None, stop_loss=None)
    assert parse_create(given).plan.stop is None
    # V-3: the rules refuse it, so that a stop is never dropped in silence
    assert plan(instant=True, take_profit=take_profit(LONG_TARGET), stop_loss=stop()).stop is not None
    assert plan(instant=True, take_profit=take_profit(LONG_TARGET), stop_loss=stop()).take_profit_enabled


def test_instant_and_own_funds_exclude_each_other() -> None:
    assert refused(parse_create, body(instant=True, skip_enter_step=True)) == {
        "instant,skip_enter_step": ["are mutually exclusive"]
    }


def test_own_funds_cannot_be_conditional() -> None:
    assert refused(parse_create, body(skip_enter_step=True, position=position(order_type="conditional"))) == {
        "position[order_type]": ["does not have a valid value"]
    }


def test_own_funds_need_no_price_but_a_given_one_must_be_one() -> None:
    assert plan(skip_enter_step=True).entry.price is None  # M-9: the market's
    assert plan(skip_enter_step=True, position=position(price={"value": 80})).entry.price == 80
    assert refused(parse_create, body(skip_enter_step=True, position=position(price={"value": 0}))) == {
        "position[price][value]": ["does not have a valid value"]
    }


@pytest.mark.parametrize("value", [0, "-1", "0.0"])
def test_units_prices_and_volumes_must_be_positive(value: Any) -> None:
    wrong = body(
        position=position(order_type="limit", units={"value": value}, price={"value": value}),
        take_profit=take_profit({**LONG_TARGET, "volume": value, "price": {"type": "bid", "value": value}}),
        stop_loss=stop(order_type="limit", price={"value": value}, conditional={"price": {"value": value}}),
    )
    keys = (
        "position[units][value]",
        "position[price][value]",
        "take_profit[steps][0][volume]",
        "take_profit[steps][0][price][value]",
        "stop_loss[conditional][price][value]",
        "stop_loss[price][value]",
    )
    assert refused(parse_create, wrong) == {key: ["does not have a valid value"] for key in keys}


def test_a_limit_entry_needs_its_price() -> None:
    assert refused(parse_create, body(position=position(order_type="limit"))) == {
        "position[price]": ["is missing"],
        "position[price][value]": ["is missing"],
    }
    assert plan(position=position(order_type="limit", price={"value": "99.5"})).entry.price == D("99.5")


def test_a_market_entry_keeps_a_price_that_nobody_needs_for_later_edits() -> None:
    assert plan(position=position(price={"value": "99.5"})).entry.price == D("99.5")  # E-10
    assert plan(position=position(price={"value": 0})).entry.price is None
    assert plan(position=position(price={"value": None})).entry.price is None


def test_a_conditional_entry_needs_trigger_and_order_type() -> None:
    assert refused(parse_create, body(position=position(order_type="conditional"))) == {
        "position[conditional]": ["is missing"],
        "position[conditional][price]": ["is missing"],
        "position[conditional][price][value]": ["is missing"],
        "position[conditional][order_type]": ["is missing"],
    }


@pytest.mark.parametrize(("side", "price_type"), [("buy", PriceType.ASK), ("sell", PriceType.BID)])
def test_a_condition_follows_the_price_of_its_side_unless_told_otherwise(side: str, price_type: PriceType) -> None:
    """TR-2."""
    conditional = {"price": {"value": 1}, "order_type": "market"}
    entry = plan(position=position(type=side, order_type="conditional", conditional=conditional)).entry
    assert entry.condition is not None
    assert entry.condition.price_type is price_type


def test_trailing_makes_a_conditional_limit_entry_a_market_order() -> None:  # V-10
    conditional = {
        "price": {"value": 1, "type": "last"},
        "order_type": "limit",
        "trailing": {"enabled": True, "percent": "-2"},
    }
    entry = plan(position=position(order_type="conditional", conditional=conditional)).entry
    assert entry.condition == EntryCondition(
        trigger_price=D(1), price_type=PriceType.LAST, order_type=OrderType.MARKET, trailing_percent=D(2)
    )


@pytest.mark.parametrize(("percent", "fine"), [(0, True), (99, True), ("99.01", False), (100, False)])
def test_an_entry_trails_by_0_to_99_percent(percent: Any, fine: bool) -> None:  # TR-23
    conditional = {
        "price": {"value": 1},
        "order_type": "market",
        "trailing": {"enabled": "true", "percent": percent},
    }
    given = body(position=position(order_type="conditional", conditional=conditional))
    if fine:
        parse_create(given)
    else:
        key = "position[conditional][trailing][percent]"
        assert refused(parse_create, given) == {key: ["does not have a valid value"]}


def test_a_step_with_nothing_in_it_reports_as_published() -> None:
    """TR-2: which price a target follows has to be said."""
    # issue thread of the original: type missing, neither value nor percent
    step = {"order_type": "market", "volume": 100, "price": {"foo": 1}}
    assert refused(parse_create, body(take_profit=take_profit(step))) == {
        "take_profit[steps][0][price][type]": ["is missing"],
        "take_profit[steps][0][price][value],take_profit[steps][0][price][percent]": [
            "are missing, exactly one parameter must be provided"
        ],
    }


@pytest.mark.parametrize("blank", [{}, {"enabled": {}}, {"enabled": {"value": ""}, "steps": None}])
def test_a_group_in_which_nothing_was_said_is_off(blank: Any) -> None:
    """Forms and echoes leave empty members behind; only a group that says anything must say whether it is on."""
    assert not plan(instant=True, take_profit=blank, stop_loss=blank).take_profit_enabled
    said = refused(parse_create, body(instant=True, take_profit={**blank, "price_type": "value"}))
    assert list(said) == ["take_profit[enabled]"]


def test_take_profit_that_is_on_needs_steps() -> None:
    assert refused(parse_create, body(take_profit={"enabled": True})) == {"take_profit[steps]": ["is missing"]}
    assert refused(parse_create, body(take_profit=take_profit())) == {"take_profit[steps]": ["is empty"]}


def test_trailing_makes_a_limit_step_a_market_order() -> None:  # TP-18
    step = {**LONG_TARGET, "trailing": {"enabled": True, "percent": "-0.15"}}
    target = plan(take_profit=take_profit(step)).targets[0]
    assert (target.order_type, target.trailing_percent) == (OrderType.MARKET, D("0.15"))  # TR-46: sign ignored


def test_ids_and_places_of_steps_mean_nothing_in_a_create_request() -> None:
    target = plan(take_profit=take_profit({**LONG_TARGET, "id": "x", "position": 7})).targets[0]
    assert (target.step_id, target.position) == (None, None)


@pytest.mark.parametrize(("percent", "fine"), [("0.01", True), (100, True), (0, False), ("100.1", False)])
def test_exits_trail_by_a_hundredth_to_100_percent(percent: Any, fine: bool) -> None:  # TR-46
    trailing = {"enabled": True, "percent": percent}
    conditional = {"price": {"value": 90, "type": "bid"}, "trailing": trailing}
    given = body(
        take_profit=take_profit({**LONG_TARGET, "trailing": trailing}), stop_loss=stop(conditional=conditional)
    )
    if fine:
        parse_create(given)
    else:
        assert refused(parse_create, given) == {
            "take_profit[steps][0][trailing][percent]": ["does not have a valid value"],
            "stop_loss[conditional][trailing][percent]": ["does not have a valid value"],
        }


def test_a_trailing_stop_is_a_market_order_and_needs_no_percent() -> None:  # V-10, TR-50
    conditional = {"price": {"value": 90, "type": "bid"}, "trailing": {"enabled": True}}
    wanted = plan(stop_loss=stop(order_type="limit", conditional=conditional)).stop
    assert wanted == StopPlan(order_type=OrderType.MARKET, price_type=PriceType.BID, price=D(90), trailing=True)


@pytest.mark.parametrize(("side", "price_type"), [("buy", PriceType.BID), ("sell", PriceType.ASK)])
def test_a_stop_follows_the_price_of_the_closing_side_unless_told_otherwise(side: str, price_type: PriceType) -> None:
    wanted = plan(position=position(type=side), stop_loss=stop(conditional={"price": {"percent": "-5"}})).stop
    assert wanted is not None
    assert (wanted.price_type, wanted.percent, wanted.price) == (price_type, D(5), None)  # TR-2, TR-30


def test_a_stop_that_is_on_reports_what_it_lacks() -> None:
    assert refused(parse_create, body(stop_loss={"enabled": True})) == {
        "stop_loss[order_type]": ["is missing"],
        "stop_loss[conditional]": ["is missing"],
        "stop_loss[conditional][price]": ["is missing"],
        "stop_loss[conditional][price][value],stop_loss[conditional][price][percent]": [
            "are missing, exactly one parameter must be provided"
        ],
    }


def test_a_limit_stop_needs_an_order_price_or_its_percent() -> None:  # TR-34
    assert refused(parse_create, body(stop_loss=stop(order_type="limit", price={}))) == {
        "stop_loss[price][value]": ["is missing"]
    }
    by_price = plan(stop_loss=stop(order_type="limit", price={"value": 89})).stop
    by_percent = plan(stop_loss=stop(order_type="limit", price={"percent": 6})).stop
    assert by_price is not None
    assert by_percent is not None
    assert (by_price.limit_price, by_percent.limit_percent) == (89, 6)
    assert refused(parse_create, body(stop_loss=stop(order_type="limit", price={"value": 89, "percent": 6}))) == {
        "stop_loss[price][value],stop_loss[price][percent]": ["are mutually exclusive"]
    }


@pytest.mark.parametrize(
    ("timeout", "message"),
    [
        ({"enabled": True}, "is missing"),
        ({"enabled": True, "value": 0}, "does not have a valid value"),
        ({"enabled": True, "value": "1.5"}, "is invalid"),
        ({"enabled": True, "value": 10**12}, "does not have a valid value"),
    ],
)
def test_a_timeout_that_is_on_needs_whole_seconds(timeout: Any, message: str) -> None:  # SL-9
    assert refused(parse_create, body(stop_loss=stop(timeout=timeout))) == {"stop_loss[timeout][value]": [message]}


def test_groups_that_are_off_may_say_anything() -> None:
    off = plan(
        leverage={"enabled": "false", "type": "no", "value": "no"},
        take_profit={"enabled": False, "steps": "no"},
        stop_loss={"enabled": False, "breakeven": False, "order_type": "market"},
    )
    assert (off.leverage, off.take_profit_enabled, off.stop) == (None, False, None)


def test_a_stop_loss_that_does_not_say_whether_it_is_on_is_not_dropped_in_silence() -> None:
    given = stop()
    del given["enabled"]
    assert refused(parse_create, body(stop_loss=given)) == {"stop_loss[enabled]": ["is missing"]}


@pytest.mark.parametrize(
    ("given", "leverage"),
    [
        ({"enabled": True, "type": "custom", "value": "12"}, Leverage(MarginMode.ISOLATED, D(12))),
        ({"enabled": "true", "type": "isolated", "value": "4.0"}, Leverage(MarginMode.ISOLATED, D(4))),
        ({"enabled": True, "type": "cross"}, Leverage(MarginMode.CROSS, D(1))),
        ({"enabled": True, "type": "cross", "value": 5}, Leverage(MarginMode.CROSS, D(5))),
        (None, None),
    ],
)
def test_leverage_is_cross_or_isolated(given: Any, leverage: Leverage | None) -> None:  # M-54
    assert plan(leverage=given).leverage == leverage


def test_leverage_that_is_on_needs_type_and_value() -> None:
    assert refused(parse_create, body(leverage={"enabled": True})) == {"leverage[type]": ["is missing"]}
    assert refused(parse_create, body(leverage={"enabled": True, "type": "isolated"})) == {
        "leverage[value]": ["is missing"]
    }


def test_a_note_may_have_300_characters() -> None:
    assert plan(note="ä" * 300).note == "ä" * 300
    assert plan(note="").note == ""
    assert refused(parse_create, body(note="x" * 301)) == {"note": ["too long. Max is 300 symbols"]}


def test_digits_beyond_the_market_are_kept() -> None:
    raw = json.dumps(body()).replace('"1"', "0.0024937655860349127").encode()
    assert parse_create(parse_json(raw)).plan.entry.units == D("0.0024937655860349127")


# -- edit -------------------------------------------------------------------------------------------------------------


def target(step_id: int, **changes: Any) -> TargetStep:
    values: dict[str, Any] = {
        "id": step_id,
        "status": StepStatus.TO_PROCESS,
        "created_at": 0,
        "updated_at": 0,
        "order_type": OrderType.MARKET,
        "volume": D(100),
        "price_type": PriceType.BID,
        "price": D(110),
        "position": 1,
    }
    return TargetStep(**{**values, **changes})


def trade(entry: EntryPlan | None = None, **changes: Any) -> SmartTrade:
    wanted = entry or EntryPlan(type=EntryType.MARKET, units=D(1))
    step = EntryStep(
        id=1,
        status=StepStatus.FINISHED,
        created_at=0,
        updated_at=0,
        plan=wanted,
        requested=wanted,
        price_at_creation=D(100),
    )
    values: dict[str, Any] = {
        "id": 7,
        "account_id": 1,
        "key": InstrumentKey("binance", "USDT_BTC"),
        "kind": TradeKind.SMART_TRADE,
        "status": TradeStatus.WAITING_TARGETS,
        "position": step,
        "created_at": 0,
        "updated_at": 0,
    }
    return SmartTrade(**{**values, **changes})


WAITING = EntryCondition(trigger_price=D(95), price_type=PriceType.LAST, order_type=OrderType.LIMIT)
TRAILING = EntryCondition(
    trigger_price=D(95), price_type=PriceType.LAST, order_type=OrderType.MARKET, trailing_percent=D(3)
)


def conditional_trade(condition: EntryCondition) -> SmartTrade:
    return trade(EntryPlan(type=EntryType.CONDITIONAL, units=D(1), price=D(96), condition=condition))


def test_groups_that_are_absent_or_null_stay_as_they_are() -> None:
    assert parse_edit({"position": None, "take_profit": None, "note": ""}, trade()) == TradeEdit()


def test_what_create_alone_may_say_is_ignored_in_an_edit() -> None:
    given = {"account_id": "x", "pair": 5, "instant": "maybe", "skip_enter_step": [], "id": 0, "secret": "s"}
    assert parse_edit(given, trade()) == TradeEdit()


def test_the_published_edit_request_is_understood() -> None:
    given = {
        "position": {"type": "buy", "units": {"value": "34.0"}, "price": {"value": "0.00000442"}},
        "take_profit": {
            "enabled": True,
            "steps": [
                {
                    "id": 1225026814,
                    "order_type": "limit",
                    "units": {"value": "34.0"},
                    "price": {"type": "last", "value": "0.00000508"},
                    "volume": "100.0",
                    "total": "0.00017272",
                    "trailing": {"enabled": False},
                }
            ],
        },
        "stop_loss": {
            "enabled": True,
            "order_type": "market",
            "conditional": {"price": {"type": "last", "value": "0.00000280"}, "trailing": {"enabled": False}},
        },
    }
    assert parse_edit(given, trade()) == TradeEdit(
        position=PositionEdit(side=Side.BUY, units=D(34), price=D("0.00000442")),
        take_profit_enabled=True,
        targets=(
            TargetPlan(
                order_type=OrderType.LIMIT,
                volume=D(100),
                price_type=PriceType.LAST,
                price=D("0.00000508"),
                step_id=1225026814,
            ),
        ),
        stop_enabled=True,
        stop=StopPlan(order_type=OrderType.MARKET, price_type=PriceType.LAST, price=D("0.00000280")),
    )


def test_the_published_edit_error_is_answered() -> None:
    step = {**LONG_TARGET, "price": {"type": "bid", "value": 1, "percent": 2}}
    given = {"take_profit": take_profit(step), "stop_loss": {**stop(), "order_type": None}}
    assert refused(lambda g: parse_edit(g, trade()), given) == {
        "take_profit[steps][0][price][value],take_profit[steps][0][price][percent]": ["are mutually exclusive"],
        "stop_loss[order_type]": ["is missing"],
    }


def test_a_group_that_is_off_removes_and_an_empty_one_is_refused() -> None:
    edit = parse_edit({"take_profit": OFF, "stop_loss": OFF}, trade())
    assert (edit.take_profit_enabled, edit.targets, edit.stop_enabled, edit.stop) == (False, (), False, None)
    assert refused(lambda g: parse_edit(g, trade()), {"take_profit": {}, "stop_loss": {"enabled": None}}) == {
        "take_profit[enabled]": ["is missing"],
        "stop_loss[enabled]": ["is missing"],
    }


def test_step_ids_may_be_text_and_zero_is_none() -> None:
    steps = [{**LONG_TARGET, "id": "12", "position": "2"}, {**LONG_TARGET, "id": 0}]
    edit = parse_edit({"take_profit": take_profit(*steps)}, trade())
    assert [(step.step_id, step.position) for step in edit.targets] == [(12, 2), (None, None)]
    assert refused(lambda g: parse_edit(g, trade()), {"take_profit": take_profit({**LONG_TARGET, "id": "abc"})}) == {
        "take_profit[steps][0][id]": ["is invalid"]
    }


def test_a_resolved_percent_step_may_come_back_as_it_was_read() -> None:  # TR-32
    current = trade(targets=(target(5, percent=D(10), price=D("110.0")),))
    echoed = {
        **LONG_TARGET,
        "id": 5,
        "order_type": "market",
        "price": {"type": "bid", "value": "110.00", "percent": "10.0"},
    }
    edit = parse_edit({"take_profit": take_profit(echoed)}, current)
    assert (edit.targets[0].price, edit.targets[0].percent) == (None, D(10))
    moved = {**echoed, "price": {"type": "bid", "value": "111", "percent": "10.0"}}
    key = "take_profit[steps][0][price][value],take_profit[steps][0][price][percent]"
    assert refused(lambda g: parse_edit(g, current), {"take_profit": take_profit(moved)}) == {
        key: ["are mutually exclusive"]
    }


def test_a_resolved_percent_stop_may_come_back_as_it_was_read() -> None:
    current = trade(
        stop=StopStep(
            id=9,
            status=StepStatus.TO_PROCESS,
            created_at=0,
            updated_at=0,
            order_type=OrderType.LIMIT,
            price_type=PriceType.BID,
            configured_price=D(94),
            percent=D(6),
            limit_price=D(93),
            limit_percent=D(7),
        )
    )
    echoed = stop(
        order_type="limit",
        price={"value": "93.0", "percent": "7.0"},
        conditional={"price": {"type": "bid", "value": "94.0", "percent": "6.0"}},
        timeout={"enabled": False, "value": None},
        units={"value": "1.0"},
        closed_at=None,
    )
    wanted = parse_edit({"stop_loss": echoed}, current).stop
    assert wanted == StopPlan(order_type=OrderType.LIMIT, price_type=PriceType.BID, percent=D(6), limit_percent=D(7))


def test_members_of_a_condition_that_are_not_named_stay() -> None:
    edit = parse_edit({"position": {"conditional": {"price": {"value": "94"}}}}, conditional_trade(WAITING))
    assert edit.position == PositionEdit(
        condition=EntryCondition(trigger_price=D(94), price_type=PriceType.LAST, order_type=OrderType.LIMIT)
    )


@pytest.mark.parametrize(
    ("trailing", "percent"),
    [({"percent": 5}, D(5)), ({"enabled": True}, D(3)), ({"enabled": False}, None), ({"percent": None}, D(3))],
)
def test_the_deviation_of_a_trailing_entry_is_merged(trailing: Any, percent: Decimal | None) -> None:
    given = {"position": {"conditional": {"price": {"type": "last"}, "trailing": trailing}}}
    edit = parse_edit(given, conditional_trade(TRAILING))
    assert edit.position is not None
    assert edit.position.condition is not None
    assert edit.position.condition.trailing_percent == percent


def test_trailing_switched_on_in_an_edit_needs_its_percent_and_makes_it_market() -> None:
    given: dict[str, Any] = {"position": {"conditional": {"trailing": {"enabled": True}}}}
    assert refused(lambda g: parse_edit(g, conditional_trade(WAITING)), given) == {
        "position[conditional][trailing][percent]": ["is missing"]
    }
    given["position"]["conditional"]["trailing"]["percent"] = 2
    edit = parse_edit(given, conditional_trade(WAITING))
    assert edit.position is not None
    assert edit.position.condition is not None
    assert edit.position.condition.order_type is OrderType.MARKET


def test_a_condition_means_nothing_for_an_entry_that_has_none() -> None:
    conditional = {"price": {"value": "94", "type": "bid"}, "order_type": "market"}
    assert plan(position=position(conditional=conditional)).entry.condition is None
    assert parse_edit({"position": {"conditional": conditional}}, trade()) == TradeEdit(position=PositionEdit())


def test_a_condition_that_becomes_a_limit_order_needs_a_price() -> None:
    market = EntryCondition(trigger_price=D(95), price_type=PriceType.LAST, order_type=OrderType.MARKET)
    current = trade(EntryPlan(type=EntryType.CONDITIONAL, units=D(1), condition=market))
    given = {"position": {"conditional": {"order_type": "limit"}}}
    assert refused(lambda g: parse_edit(g, current), given) == {
        "position[price]": ["is missing"],
        "position[price][value]": ["is missing"],
    }


def test_echoed_members_of_the_position_are_tolerated() -> None:
    echoed = {
        "type": "buy",
        "editable": False,
        "units": {"value": "1.0", "editable": False},
        "price": {"value": None, "editable": False},
        "total": {"value": None},
        "order_type": "market",
        "conditional": {"price": {"value": None}},
        "status": {"type": "finished"},
    }
    edit = parse_edit({"position": echoed, "leverage": OFF}, trade())
    assert edit == TradeEdit(position=PositionEdit(side=Side.BUY, type=EntryType.MARKET, units=D(1)))


# -- the other commands -----------------------------------------------------------------------------------------------


def test_funds_orders_are_read() -> None:
    given = {"order_type": "limit", "units": {"value": "5"}, "price": {"value": "0.1"}}
    assert parse_add_funds(3, given) == AddFunds(trade_id=3, order_type=OrderType.LIMIT, units=D(5), price=D("0.1"))
    market = {"order_type": "market", "units": {"value": 5}, "price": {"value": "0.1"}, "id": "3"}
    assert parse_reduce_funds(3, market) == ReduceFunds(trade_id=3, order_type=OrderType.MARKET, units=D(5))


@pytest.mark.parametrize("parse", [parse_add_funds, parse_reduce_funds])
def test_funds_orders_report_as_published(parse: Callable[[int, Any], object]) -> None:
    """F-2: a limit order needs its price."""
    assert refused(lambda g: parse(1, g), {}) == {
        "order_type": ["is missing", "does not have a valid value"],
        "units": ["is missing"],
        "units[value]": ["is missing"],
    }
    assert refused(lambda g: parse(1, g), {"order_type": "market", "units": [{"value": 1}, {"value": 2}]}) == {
        "units": ["is invalid"],
        "units[value]": ["is missing", "is invalid"],
    }
    assert refused(lambda g: parse(1, g), {"order_type": "limit", "units": {"value": 1}}) == {
        "price": ["is missing"],
        "price[value]": ["is missing"],
    }


def test_a_note_is_required_not_empty_and_not_long() -> None:
    assert parse_set_note(1, {"note": "x" * 300}) == SetNote(trade_id=1, note="x" * 300)
    for given, message in [
        ({}, "is missing"),
        ({"note": None}, "is missing"),
        ({"note": ""}, "is empty"),
        ({"note": "x" * 301}, "too long. Max is 300 symbols"),
    ]:
        assert refused(lambda g: parse_set_note(1, g), given) == {"note": [message]}


def test_a_list_has_the_documented_defaults() -> None:
    request = parse_list({})
    assert request.account_id is None
    assert (request.query.status, request.query.order_by, request.query.ascending) == (
        StatusFilter.ALL,
        OrderBy.STATUS,
        False,
    )
    assert (request.query.offset, request.query.limit) == (0, 10)


def test_all_filters_of_a_list_are_read() -> None:
    request = parse_list(
        parse_form(
            b"account_id=5&pair=USDT_BTC&type=smart_cover&page=3&per_page=100&status=successfully_finish"
            b"&order_by=profit_percentage&order_direction=ASC&from=2024-08-12&to=2024-08-13T01:02:03%2B02:00"
            b"&base=btc&quote=USDT&limit=5&forced_mode=paper"
        )
    )
    query = request.query
    assert (request.account_id, query.pair, query.kind) == (5, "USDT_BTC", TradeKind.SMART_COVER)
    assert (query.offset, query.limit, query.ascending) == (200, 100, True)
    assert (query.status, query.order_by) == (StatusFilter.SUCCESSFULLY_FINISHED, OrderBy.PROFIT_PERCENTAGE)
    assert query.created_from == parse_instant("2024-08-12T00:00:00Z")
    assert query.created_to == parse_instant("2024-08-12T23:02:03Z")
    assert (query.base, query.quote) == ("btc", "USDT")


def test_wrong_filters_are_reported_together() -> None:
    given = parse_form(
        b"account_id=x&type=dca&page=0&per_page=101&status=open&order_by=id&order_direction=up&from=1754327234000"
    )
    assert refused(parse_list, given) == {
        "account_id": ["is invalid"],
        "type": ["does not have a valid value"],
        "page": ["does not have a valid value"],
        "per_page": ["does not have a valid value"],
        "status": ["does not have a valid value"],
        "order_by": ["does not have a valid value"],
        "order_direction": ["does not have a valid value"],
        "from": ["is invalid"],
    }

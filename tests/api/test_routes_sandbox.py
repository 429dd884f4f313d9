"""The sandbox's surface (spec: sandbox): who may call, what a script can say, and that answers are settled."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from live import Got, Server, running
from msgspec.structs import replace

from smarttrade.api.parameters import BAD_VALUE
from smarttrade.api.routes import sandbox
from smarttrade.api.server import all_routes
from smarttrade.domain.instrument import Side
from smarttrade.domain.order import OrderIntent, OrderType
from smarttrade.domain.quote import InstrumentKey

NOT_FOUND = Got(404, {"error": "not_found", "error_description": "Not Found"})
RULES = {
    "market": "lab",
    "pair": "USDT_LAB",
    "kind": "spot",
    "tick": "0.01",
    "lot": "1",
    "min_lot": "1",
    "min_total": "1",
    "min_market_total": "1",
    "maker_fee": "0",
    "taker_fee": "0",
    "fee_in": "quote",
}
PERPETUAL = {"market": "lab_futures", "pair": "USDT_LABUSDT", "kind": "linear", "lot": 1, "min_lot": 1, "taker_fee": 0}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as started:
        assert started.sandbox("POST", "/markets", RULES).status == 201
        quote(started, 10, 10)
        yield started


def quote(server: Server, bid: Any, ask: Any, **more: Any) -> Got:
    return server.sandbox("POST", "/quotes", {"quotes": [{"pair": "USDT_LAB", "bid": bid, "ask": ask, **more}]})


def buy(server: Server, account: int, units: int = 10, price: str = "8", pair: str = "USDT_LAB", **more: Any) -> int:
    """A resting buy order, as a simple trade."""
    position = {"type": "buy", "order_type": "limit", "units": {"value": units}, "price": {"value": price}}
    params = {"account_id": account, "pair": pair, "instant": True, "position": position, **more}
    got = server.ask("POST", "/v2/smart_trades", params)
    assert got.status == 201, got
    return int(got.body["id"])


def status(server: Server, trade: int) -> str:
    return str(server.ask("GET", f"/v2/smart_trades/{trade}").body["status"]["type"])


def orders(server: Server, query: str = "") -> Any:
    got = server.sandbox("GET", f"/orders{query}")
    assert got.status == 200
    return got.body


def mistakes(got: Got) -> Any:
    assert (got.status, got.body["error"], got.body["error_description"]) == (
        400,
        "record_invalid",
        "Invalid parameters",
    )
    return got.body["error_attributes"]


def impossible(got: Got) -> str:
    assert (got.status, got.body["error"]) == (422, "unprocessable_entity")
    return str(got.body["error_description"])


# --- who may call -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["10.0.0.9", "192.168.1.2", "8.8.8.8", "2001:db8::1", "nonsense"])
def test_callers_elsewhere_are_refused_and_nothing_happens(server: Server, address: str) -> None:
    got = server.sandbox("POST", "/clock", {"advance_seconds": 8}, address=address)
    assert (got.status, got.body["error"]) == (403, "Forbidden")
    assert server.sandbox("GET", "/state").body["now"] == "2025-01-01T00:00:00.000Z"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", None])
def test_callers_on_this_machine_need_no_key(server: Server, address: str | None) -> None:
    assert server.sandbox("GET", "/state", address=address).status == 200


def test_another_market_has_no_sandbox(server: Server) -> None:
    services = replace(server.system.services, sandbox=None)
    assert all_routes(services).find("/sandbox/state") is None
    with pytest.raises(LookupError):
        sandbox.routes(services)


# --- rules, prices, time ----------------------------------------------------------------------------------------


def test_rules_are_defined_and_changed_member_by_member(server: Server) -> None:
    got = server.sandbox("POST", "/markets", {"market": "lab", "pair": "USDT_LAB", "lot": 5, "taker_fee": "0.002"})
    assert got.status == 201
    assert {name: got.body[name] for name in ("kind", "tick", "lot", "min_lot", "taker_fee", "fee_in")} == {
        "kind": "spot",
        "tick": "0.01",
        "lot": "5.0",
        "min_lot": "1.0",
        "taker_fee": "0.002",
        "fee_in": "quote",
    }


def test_changed_rules_hold_for_the_next_trade(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    buy(server, account, 13)
    server.sandbox("POST", "/markets", {"market": "lab", "pair": "USDT_LAB", "lot": 5})
    buy(server, account, 13)
    assert [order["quantity"] for order in orders(server)] == ["13.0", "10.0"]


def test_the_engine_has_changed_rules_before_the_answer(server: Server) -> None:  # EX-17
    buy(server, server.open_account(market="lab", USDT="1000"))
    server.sandbox("POST", "/markets", {"market": "lab", "pair": "USDT_LAB", "lot": 5})
    known = server.system.engine.markets[InstrumentKey("lab", "USDT_LAB")]
    assert known.instrument.lot == 5


def test_rules_with_which_nothing_could_be_traded_are_refused(server: Server) -> None:
    assert impossible(server.sandbox("POST", "/markets", {**RULES, "tick": 0})) == "tick must be above zero"
    assert "stays so" in impossible(server.sandbox("POST", "/markets", {**RULES, "kind": "linear"}))
    given = {"kind": "option", "fee_in": "gas", "tick": "one"}
    assert mistakes(server.sandbox("POST", "/markets", given)) == {
        "market": ["is missing"],
        "pair": ["is missing"],
        "kind": [BAD_VALUE],
        "fee_in": [BAD_VALUE],
        "tick": ["is invalid"],
    }


def test_quotes_are_applied_in_order_and_each_to_its_end(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    trade = buy(server, account, price="8")
    quotes = [{"pair": "USDT_LAB", "bid": bid, "ask": bid} for bid in ("9", 8, "12.00")]
    got = server.sandbox("POST", "/quotes", {"quotes": quotes})
    assert got == Got(201, {"applied": 3, "now": "2025-01-01T00:00:00.000Z"})
    assert status(server, trade) == "finished"  # by the second one, although the third is far away
    assert orders(server)[0]["average_price"] == "8.0"
    rates = server.unsigned("/ver1/accounts/currency_rates?market_code=lab&pair=USDT_LAB").body
    assert (rates["bid"], rates["last"]) == ("12.0", "12.0")


def test_no_quote_of_a_long_script_is_dropped(server: Server) -> None:
    quotes = [{"pair": "USDT_LAB", "bid": 10, "ask": 10 + number} for number in range(250)]
    assert server.sandbox("POST", "/quotes", {"quotes": quotes}).body["applied"] == 250
    rates = server.unsigned("/ver1/accounts/currency_rates?market_code=lab&pair=USDT_LAB").body
    assert rates["ask"] == "259.0"


def test_the_last_price_is_the_middle_unless_it_is_given(server: Server) -> None:
    path = "/ver1/accounts/currency_rates?market_code=lab&pair=USDT_LAB"
    quote(server, "10", "10.03")
    assert server.unsigned(path).body["last"] == "10.01"
    quote(server, "10", "10.03", last="11")
    assert server.unsigned(path).body["last"] == "11.0"


def test_a_quote_moves_the_clock_forward_only(server: Server) -> None:
    assert quote(server, 10, 10, at="2025-01-01T00:00:08.250Z").body["now"] == "2025-01-01T00:00:08.250Z"
    assert quote(server, 10, 10, at="2025-01-01T02:00:09+02:00").body["now"] == "2025-01-01T00:00:09.000Z"
    assert "backwards" in impossible(quote(server, 10, 10, at="2025-01-01T00:00:08.999Z"))
    assert mistakes(quote(server, 10, 10, at="soon")) == {"quotes[0][at]": ["is invalid"]}


def test_now_may_come_back_as_at(server: Server) -> None:
    now = quote(server, 10, 10, at="2025-01-01T00:00:08.000001Z").body["now"]
    assert now == "2025-01-01T00:00:08.000001Z"
    assert quote(server, 10, 10, at=now).status == 201


def test_a_quote_that_cannot_be_stops_all_of_its_request(server: Server) -> None:
    quotes = [{"pair": "USDT_LAB", "bid": 20, "ask": 20}, {"pair": "USDT_LAB", "bid": 20, "ask": 19}]
    said = impossible(server.sandbox("POST", "/quotes", {"quotes": quotes}))
    assert said.startswith("quotes[1]: ")
    rates = server.unsigned("/ver1/accounts/currency_rates?market_code=lab&pair=USDT_LAB").body
    assert rates["bid"] == "10.0"


def test_a_pair_of_several_markets_needs_its_market(server: Server) -> None:
    server.sandbox("POST", "/markets", {**RULES, "market": "other"})
    assert "several markets" in impossible(quote(server, 10, 10))
    assert quote(server, 10, 10, market="other").status == 201
    assert "not defined" in impossible(quote(server, 10, 10, market="nowhere"))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, {"quotes": ["is missing"]}),
        ({"quotes": []}, {"quotes": ["is empty"]}),
        ({"quotes": {"pair": "USDT_LAB"}}, {"quotes": ["is invalid"]}),
        ({"quotes": ["x"]}, {"quotes[0]": ["is invalid"]}),
        (
            {"quotes": [{"pair": "USDT_LAB", "bid": "x"}]},
            {"quotes[0][bid]": ["is invalid"], "quotes[0][ask]": ["is missing"]},
        ),
    ],
    ids=str,
)
def test_quotes_of_the_wrong_shape_are_told_apart(server: Server, params: Any, said: Any) -> None:
    assert mistakes(server.sandbox("POST", "/quotes", params)) == said


def test_the_list_of_mistakes_has_an_end(server: Server) -> None:
    got = server.sandbox("POST", "/quotes", {"quotes": [{}] * 5000})
    assert len(mistakes(got)) < 30


def test_time_passes_when_told_and_timers_fire_on_the_way(server: Server) -> None:
    account = server.open_account(market="lab", LAB="10")
    stop = {
        "enabled": True,
        "order_type": "market",
        "conditional": {"price": {"value": "9", "type": "bid"}},
        "timeout": {"enabled": True, "value": 5},
    }
    position = {"type": "buy", "order_type": "market", "units": {"value": 10}, "price": {"value": 10}}
    params = {"account_id": account, "pair": "USDT_LAB", "skip_enter_step": True, "position": position}
    made = server.ask("POST", "/v2/smart_trades", {**params, "take_profit": {"enabled": False}, "stop_loss": stop})
    quote(server, 8, 8)
    assert server.sandbox("POST", "/clock", {"advance_seconds": "4.9"}).body == {"now": "2025-01-01T00:00:04.900Z"}
    assert status(server, made.body["id"]) == "waiting_targets"
    assert server.sandbox("POST", "/clock", {"advance_seconds": 1}).status == 201
    assert status(server, made.body["id"]) == "stop_loss_finished"


def test_the_clock_needs_a_number_and_does_not_run_back(server: Server) -> None:
    assert mistakes(server.sandbox("POST", "/clock", {})) == {"advance_seconds": ["is missing"]}
    assert mistakes(server.sandbox("POST", "/clock", {"advance_seconds": "a while"})) == {
        "advance_seconds": ["is invalid"]
    }
    for seconds in (-1, "1e15"):
        impossible(server.sandbox("POST", "/clock", {"advance_seconds": seconds}))


# --- orders -----------------------------------------------------------------------------------------------------


def test_orders_show_what_the_exchange_knows_oldest_first(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    first, second = buy(server, account, price="8"), buy(server, account, price="7")
    shown = orders(server)
    assert [(order["smart_trade_id"], order["price"]) for order in shown] == [(first, "8.0"), (second, "7.0")]
    order = shown[0]
    assert order["trade_id"] == server.ask("GET", f"/v2/smart_trades/{first}/trades").body[0]["id"]
    assert {name: order[name] for name in ("pair", "side", "type", "quantity", "filled_quantity", "average_price")} == {
        "pair": "USDT_LAB",
        "side": "buy",
        "type": "limit",
        "quantity": "10.0",
        "filled_quantity": "0.0",
        "average_price": None,
    }
    assert (order["status"], order["reduce_only"], order["created_at"]) == ("open", False, "2025-01-01T00:00:00.000Z")
    assert shown[0]["sequence"] < shown[1]["sequence"]
    assert order["exchange_order_id"] != shown[1]["exchange_order_id"]


def test_orders_can_be_narrowed(server: Server) -> None:
    account, other = (server.open_account(market="lab", USDT="1000") for _ in range(2))
    trade = buy(server, account)
    buy(server, other)
    server.ask("DELETE", f"/v2/smart_trades/{trade}")
    assert [order["status"] for order in orders(server, f"?account_id={account}")] == ["cancelled"]
    assert [order["status"] for order in orders(server, "?status=open")] == ["open"]
    assert len(orders(server, "?status=all&pair=USDT_LAB")) == 2
    assert orders(server, "?pair=USDT_BTC") == orders(server, "?account_id=99") == []
    assert mistakes(server.sandbox("GET", "/orders?status=done&account_id=x")) == {
        "status": [BAD_VALUE],
        "account_id": ["is invalid"],
    }


def test_an_order_of_somebody_else_names_no_trade(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    server.sandbox("GET", f"/balances?account_id={account}")  # opens its books
    intent = OrderIntent(
        client_order_id="by-hand-1",
        account_id=account,
        key=InstrumentKey("lab", "USDT_LAB"),
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal(1),
        price=Decimal(5),
    )
    server.run(server.system.paper.exchange(account).submit_order(intent))
    (order,) = orders(server)
    assert (order["client_order_id"], order["smart_trade_id"], order["trade_id"]) == ("by-hand-1", None, None)


def test_refused_orders_are_listed(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1")
    trade = buy(server, account)
    assert status(server, trade) == "failed"
    assert [order["status"] for order in orders(server)] == ["rejected"]


def test_somebody_else_fills_a_resting_order_in_parts(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    trade = buy(server, account)
    place = f"/orders/{orders(server)[0]['client_order_id']}/fill"
    part = server.sandbox("POST", place, {"quantity": "4", "price": "7.5"})
    assert (part.status, part.body["filled_quantity"], part.body["average_price"]) == (201, "4.0", "7.5")
    assert status(server, trade) == "waiting_position"
    assert "at most 6" in impossible(server.sandbox("POST", place, {"quantity": 7}))
    assert server.sandbox("POST", place).body["status"] == "filled"
    assert status(server, trade) == "finished"
    assert impossible(server.sandbox("POST", place)) == "the order is filled"


def test_an_order_that_is_over_may_report_a_late_fill(server: Server) -> None:  # EX-33
    account = server.open_account(market="lab", USDT="1000")
    trade = buy(server, account)
    server.ask("DELETE", f"/v2/smart_trades/{trade}")
    place = f"/orders/{orders(server)[0]['client_order_id']}/fill"
    late = server.sandbox("POST", place, {"quantity": 3, "late": True})
    assert (late.status, late.body["filled_quantity"]) == (201, "3.0")
    assert server.ask("GET", f"/v2/smart_trades/{trade}").body["data"]["entered_amount"] == "3.0"


def test_an_order_cancelled_from_outside_ends_its_trade(server: Server) -> None:  # EX-30
    account = server.open_account(market="lab", USDT="1000")
    trade = buy(server, account)
    place = f"/orders/{orders(server)[0]['client_order_id']}/cancel"
    assert server.sandbox("POST", place).body["status"] == "cancelled"
    assert status(server, trade) in ("cancelled", "failed")
    assert impossible(server.sandbox("POST", place)).startswith("the order is cancel")


@pytest.mark.parametrize("what", ["fill", "cancel"])
def test_an_order_that_never_arrived_is_not_found(server: Server, what: str) -> None:
    assert server.sandbox("POST", f"/orders/st-nobody/{what}") == NOT_FOUND


# --- balances and positions -------------------------------------------------------------------------------------


def test_balances_of_a_spot_account_are_a_list(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    buy(server, account)
    assert server.sandbox("GET", f"/balances?account_id={account}") == Got(
        200, [{"currency": "USDT", "free": "920.0", "locked": "80.0"}]
    )


def test_a_balance_is_set_and_what_is_locked_stays_locked(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    buy(server, account)
    got = server.sandbox("POST", "/balances", {"account_id": account, "currency": "USDT", "free": "5"})
    assert got == Got(201, [{"currency": "USDT", "free": "5.0", "locked": "80.0"}])
    negative = {"account_id": account, "currency": "USDT", "free": "-5"}
    assert impossible(server.sandbox("POST", "/balances", negative)) == "a balance cannot be negative"
    assert set(mistakes(server.sandbox("POST", "/balances", {}))) == {"account_id", "currency", "free"}


def test_positions_of_a_futures_account_come_with_its_balances(server: Server) -> None:
    server.sandbox("POST", "/markets", PERPETUAL)
    quotes = [{"pair": "USDT_LABUSDT", "bid": 10, "ask": 10}]
    server.sandbox("POST", "/quotes", {"quotes": quotes})
    account = server.open_account(market="lab_futures", USDT="1000")
    empty = server.sandbox("GET", f"/balances?account_id={account}")
    assert empty.body == {"balances": [{"currency": "USDT", "free": "1000.0", "locked": "0.0"}], "positions": []}
    leverage = {"enabled": True, "type": "isolated", "value": 5}
    trade = buy(server, account, price="10", pair="USDT_LABUSDT", leverage=leverage)
    held = server.sandbox("GET", f"/balances?account_id={account}").body
    assert held["balances"][0]["locked"] == "20.0"
    (position,) = held["positions"]
    assert {name: position[name] for name in ("pair", "quantity", "entry_price", "leverage_type", "leverage")} == {
        "pair": "USDT_LABUSDT",
        "quantity": "10.0",
        "entry_price": "10.0",
        "leverage_type": "isolated",
        "leverage": "5.0",
    }
    assert status(server, trade) == "finished"


@pytest.mark.parametrize("reason", ["liquidation", "outside"])
def test_a_position_that_the_exchange_takes_away_ends_its_trade(server: Server, reason: str) -> None:  # S-32
    server.sandbox("POST", "/markets", PERPETUAL)
    server.sandbox("POST", "/quotes", {"quotes": [{"pair": "USDT_LABUSDT", "bid": 10, "ask": 10}]})
    account = server.open_account(market="lab_futures", USDT="1000")
    off = {"take_profit": {"enabled": False}, "stop_loss": {"enabled": False}}
    trade = buy(server, account, price="10", pair="USDT_LABUSDT", **off, instant=False)
    assert status(server, trade) == "waiting_targets"
    gone = {"account_id": account, "pair": "USDT_LABUSDT", "reason": reason}
    assert server.sandbox("POST", "/positions/close", gone).body["positions"] == []
    assert status(server, trade) in ("failed", "cancelled", "panic_sold", "finished")
    assert "no position" in impossible(server.sandbox("POST", "/positions/close", gone))
    assert mistakes(server.sandbox("POST", "/positions/close", {**gone, "reason": "luck"})) == {"reason": [BAD_VALUE]}


# --- faults -----------------------------------------------------------------------------------------------------


def fault(server: Server, account: int, on: str, kind: str, **more: Any) -> Got:
    return server.sandbox("POST", "/faults", {"account_id": account, "on": on, "fault": kind, **more})


def test_a_fault_strikes_as_often_as_it_is_told(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    assert fault(server, account, "submit", "reject", text="No luck.", times=2, **{"class": "permanent"}).status == 201
    trades = [buy(server, account) for _ in range(3)]
    assert [status(server, trade) for trade in trades] == ["failed", "failed", "waiting_position"]
    assert server.ask("GET", f"/v2/smart_trades/{trades[0]}").body["status"]["error"] == "No luck."


def test_a_held_cancel_waits_for_its_release(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    fault(server, account, "cancel", "hold")
    trade = buy(server, account)
    server.ask("DELETE", f"/v2/smart_trades/{trade}")
    assert orders(server)[0]["status"] == "open"
    assert status(server, trade).startswith("cancellation")
    assert server.sandbox("POST", "/faults/release", {"account_id": account}) == Got(201, True)
    assert (orders(server)[0]["status"], status(server, trade)) == ("cancelled", "cancelled")


def test_cleared_faults_strike_nobody(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    fault(server, account, "submit", "reject", times=5)
    assert server.sandbox("POST", "/faults/clear", {"account_id": account}) == Got(201, True)
    assert status(server, buy(server, account)) == "waiting_position"


def test_faults_that_cannot_happen_are_refused(server: Server) -> None:
    account = server.open_account(market="lab")
    assert "not possible" in impossible(fault(server, account, "stream", "hold"))
    assert mistakes(server.sandbox("POST", "/faults", {})) == {
        "account_id": ["is missing"],
        "on": ["is missing", BAD_VALUE],
        "fault": ["is missing", BAD_VALUE],
    }
    assert mistakes(fault(server, account, "submit", "reject", times=0)) == {"times": [BAD_VALUE]}


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/balances", {"currency": "USDT", "free": 1}),
        ("/positions/close", {"pair": "USDT_LAB", "reason": "outside"}),
        ("/faults", {"on": "submit", "fault": "reject"}),
        ("/faults/release", {}),
        ("/faults/clear", {}),
    ],
)
def test_an_account_that_does_not_exist_is_not_found(server: Server, path: str, params: dict[str, Any]) -> None:
    assert server.sandbox("POST", path, {**params, "account_id": 99}) == NOT_FOUND
    assert server.sandbox("GET", "/balances?account_id=99") == NOT_FOUND
    assert mistakes(server.sandbox("POST", path, params)) == {"account_id": ["is missing"]}


# --- quiet, and a kill ------------------------------------------------------------------------------------------


def test_every_answer_is_settled(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    trade = buy(server, account, price="10")
    state = server.sandbox("GET", "/state").body
    assert (state["open_smart_trades"], state["pending_effects"]) == (0, 0)
    assert status(server, trade) == "finished"


def test_what_a_call_causes_has_happened_before_it_answers(server: Server) -> None:
    account = server.open_account(market="lab", USDT="1000")
    filled, canceled = buy(server, account), buy(server, account)
    first, second = (order["client_order_id"] for order in orders(server))
    view = server.system.view  # asked without a call that would let the engine finish
    server.sandbox("POST", f"/orders/{first}/fill")
    assert [view.trade(filled).status.is_final, view.trade(canceled).status.is_final] == [True, False]
    server.sandbox("POST", f"/orders/{second}/cancel")
    assert view.open_trades() == 0


def test_a_killed_server_continues_as_if_nothing_had_happened(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.sandbox("POST", "/markets", RULES)
        quote(server, 10, 10, at="2025-01-01T00:01:00Z")
        account = server.open_account(market="lab", USDT="1000")
        trade = buy(server, account)
        fault(server, account, "cancel", "reject", text="Not today.")
        before = (
            server.sandbox("GET", "/state"),
            orders(server),
            server.sandbox("GET", f"/balances?account_id={account}"),
        )
        assert before[0].body["open_smart_trades"] == 1
    with running(tmp_path) as server:
        after = (
            server.sandbox("GET", "/state"),
            orders(server),
            server.sandbox("GET", f"/balances?account_id={account}"),
        )
        assert after == before
        quote(server, 8, 8)
        assert status(server, trade) == "finished"
        assert server.sandbox("GET", "/state").body["digest"] != before[0].body["digest"]

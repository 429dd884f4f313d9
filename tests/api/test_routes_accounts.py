"""Accounts: whose they are, what they hold, and how they begin and end (api.md D3, auth.md section 8)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Got, Server, running

from smarttrade.api.parameters import BAD_VALUE

NOT_FOUND = Got(404, {"error": "not_found", "error_description": "Not Found"})
LIMIT_BUY = {"type": "buy", "order_type": "limit", "units": {"value": "0.1"}, "price": {"value": "90"}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path, paper_balances={"USDT": 500}) as started:
        rules = {"market": "binance", "pair": "USDT_BTC", "min_total": 1, "min_market_total": 1}
        started.sandbox("POST", "/markets", rules)
        started.sandbox(
            "POST", "/quotes", {"quotes": [{"market": "binance", "pair": "USDT_BTC", "bid": 100, "ask": 100}]}
        )
        yield started


def refused(got: Got) -> Any:
    assert (got.status, got.body["error"]) == (400, "record_invalid")
    return got.body["error_attributes"]


def new(server: Server, **params: Any) -> Any:
    got = server.ask("POST", "/ver1/accounts/new", {"type": "paper_trading", **params})
    assert got.status == 201, got
    return got.body


def balances(server: Server, account_id: int) -> dict[str, str]:
    held = server.sandbox("GET", f"/balances?account_id={account_id}").body
    return {each["currency"]: each["free"] for each in held}


# --- opening ----------------------------------------------------------------------------------------------------


def test_a_paper_account_begins_with_the_configured_balances_and_a_name(server: Server) -> None:
    made = new(server)
    assert (made["name"], made["market_code"], made["usd_amount"]) == (
        f"Paper Account {made['id']}",
        "paper_trading",
        "500.0",
    )
    assert server.ask("GET", f"/ver1/accounts/{made['id']}") == Got(200, made)


def test_given_balances_are_complete(server: Server) -> None:
    made = new(server, name="Ann", paper_balances={"doge": "100", "BTC": 0.5}, api_key="x", secret="y")
    assert made["name"] == "Ann"
    assert balances(server, made["id"]) == {"BTC": "0.5", "DOGE": "100.0"}


def test_no_balances_at_all_is_an_empty_purse(server: Server) -> None:
    assert balances(server, new(server, paper_balances={})["id"]) in ({}, {"USDT": "0.0"})


def test_a_paper_account_simulates_the_market_that_is_asked_for(server: Server) -> None:
    made = new(server, paper_market="binance_futures")
    assert made["supported_market_types"] == ["futures"]
    assert server.system.directory.account(made["id"]).market == "binance_futures"  # type: ignore[union-attr]
    assert new(server)["supported_market_types"] == ["spot"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, {"type": ["is missing", "does not have a valid value"]}),
        ({"type": "binance", "api_key": "abcdef", "secret": "abcdef"}, {"type": [BAD_VALUE]}),
        ({"type": "paper_trading", "name": "x"}, {"name": ["is too short (minimum is 2 characters)"]}),
        ({"type": "paper_trading", "paper_market": "nowhere"}, {"paper_market": [BAD_VALUE]}),
        ({"type": "paper_trading", "paper_balances": "USDT"}, {"paper_balances": ["is invalid"]}),
        ({"type": "paper_trading", "paper_balances": {"USDT": "-1"}}, {"paper_balances[USDT]": [BAD_VALUE]}),
        ({"type": "paper_trading", "paper_balances": {"USDT": "lots"}}, {"paper_balances[USDT]": ["is invalid"]}),
        ({"type": "paper_trading", "paper_balances": {"US DT": 1}}, {"paper_balances[US DT]": ["is invalid"]}),
        ({"type": "paper_trading", "types_to_create": ["binance"]}, {"types_to_create": [BAD_VALUE]}),
    ],
    ids="-".join,
)
def test_an_account_that_cannot_be_opened_is_refused(server: Server, params: Any, said: Any) -> None:
    assert refused(server.ask("POST", "/ver1/accounts/new", params)) == said
    assert server.ask("GET", "/ver1/accounts").body == []


def test_too_many_opening_balances_are_refused(server: Server) -> None:
    given = {"type": "paper_trading", "paper_balances": {f"C{number}": 1 for number in range(101)}}
    said = {"paper_balances": ["is too long (maximum is 100)"]}
    assert refused(server.ask("POST", "/ver1/accounts/new", given)) == said


# --- whose it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("GET", "/ver1/accounts/{}", None),
        ("POST", "/ver1/accounts/{}/rename", {"name": "Mine"}),
        ("POST", "/ver1/accounts/{}/remove", None),
        ("POST", "/ver1/accounts/{}/load_balances", None),
        ("POST", "/ver1/accounts/{}/pie_chart_data", None),
        ("POST", "/ver1/accounts/{}/account_table_data", None),
        ("GET", "/ver1/accounts/{}/active_trading_entities", None),
        ("GET", "/ver1/accounts/{}/leverage_data", {"pair": "USDT_BTC"}),
        ("POST", "/ver1/accounts/{}/leverage_data", {"pair": "USDT_BTC"}),
    ],
)
def test_a_foreign_account_is_missing_and_a_word_is_no_id(server: Server, method: str, path: str, params: Any) -> None:
    foreign = server.open_account("somebody else")
    assert server.ask(method, path.format(foreign), params) == NOT_FOUND
    assert server.ask(method, path.format(999), params) == NOT_FOUND
    assert refused(server.ask(method, path.format("mine"), params)) == {"account_id": ["is invalid"]}
    assert server.system.directory.account(foreign) is not None


def test_a_foreign_account_cannot_be_changed(server: Server) -> None:
    foreign = server.open_account("somebody else")
    assert server.ask("POST", "/ver1/accounts/update", {"account_id": foreign, "name": "Mine"}) == NOT_FOUND


def test_the_list_shows_own_accounts_page_by_page(server: Server) -> None:
    server.open_account("somebody else")
    own = [new(server)["id"] for _ in range(3)]

    def shown(**params: Any) -> list[int]:
        return [account["id"] for account in server.ask("GET", "/ver1/accounts", params).body]

    assert shown() == own
    assert shown(per_page=2) == own[:2]
    assert shown(per_page=2, page=2) == own[2:]
    assert shown(page=9) == []
    assert shown(api_key="abcdef") == []
    wrong = {"page": [BAD_VALUE], "per_page": [BAD_VALUE]}
    assert refused(server.ask("GET", "/ver1/accounts", {"page": 0, "per_page": 101})) == wrong


def test_the_mode_hides_accounts_from_lists_only(server: Server) -> None:  # auth.md section 8
    made = new(server)
    real = {"Forced-Mode": "real"}
    assert len(server.ask("GET", "/ver1/accounts").body) == 1  # no mode: nothing is hidden
    assert server.ask("GET", "/ver1/accounts", headers=real).body == []
    assert server.ask("GET", "/ver1/accounts/summary", headers=real).body["usd_amount"] == "0.0"
    assert server.ask("GET", f"/ver1/accounts/{made['id']}", headers=real).body == made
    server.ask("POST", "/ver1/users/change_mode", {"mode": "real"})
    assert server.ask("GET", "/ver1/accounts").body == []
    assert len(server.ask("GET", "/ver1/accounts", headers={"Forced-Mode": "paper"}).body) == 1


# --- what it holds ----------------------------------------------------------------------------------------------


def test_an_account_is_worth_what_the_market_says_even_of_pairs_that_nobody_trades(server: Server) -> None:
    made = new(server, paper_balances={"USDT": 50, "BTC": 2, "XYZ": 7})
    assert (made["usd_amount"], made["btc_amount"]) == ("250.0", "2.5")
    server.sandbox("POST", "/quotes", {"quotes": [{"market": "binance", "pair": "USDT_BTC", "bid": 200, "ask": 200}]})
    again = server.ask("POST", f"/ver1/accounts/{made['id']}/load_balances")
    assert (again.status, again.body["usd_amount"], again.body["btc_amount"]) == (201, "450.0", "2.25")


def test_an_account_that_was_added_outside_is_served_at_once(server: Server) -> None:
    account = server.open_account(USDT="7")
    assert server.ask("GET", f"/ver1/accounts/{account}").body["usd_amount"] == "7.0"


def test_pie_and_table_list_what_is_held(server: Server) -> None:
    made = new(server, paper_balances={"USDT": 100, "BTC": 3})
    pie = server.ask("POST", f"/ver1/accounts/{made['id']}/pie_chart_data")
    assert pie.status == 201
    assert [(each["code"], each["percentage"], each["account_id"]) for each in pie.body] == [
        ("BTC", 75.0, made["id"]),
        ("USDT", 25.0, made["id"]),
    ]
    table = server.ask("POST", f"/ver1/accounts/{made['id']}/account_table_data")
    assert [(each["currency_code"], each["position"], each["usd_value"]) for each in table.body] == [
        ("BTC", 3.0, 300.0),
        ("USDT", 100.0, 100.0),
    ]


def test_the_summary_adds_up_accounts_that_belong_to_it(server: Server) -> None:
    new(server, paper_balances={"USDT": 100, "BTC": 1})
    new(server, paper_balances={"USDT": 50, "BTC": 2})
    left_out = new(server, paper_balances={"USDT": 1000})
    server.ask("POST", "/ver1/accounts/update", {"account_id": left_out["id"], "include_in_summary": False})
    summary = server.ask("GET", "/ver1/accounts/summary")
    assert summary.status == 200
    assert (summary.body["id"], summary.body["name"], summary.body["usd_amount"]) == (0, "Summary", "450.0")
    pie = server.ask("POST", "/ver1/accounts/summary/pie_chart_data").body
    assert [(each["code"], each["amount"], each["account_id"]) for each in pie] == [("BTC", 3.0, 0), ("USDT", 150.0, 0)]
    table = server.ask("POST", "/ver1/accounts/summary/account_table_data").body
    assert [(each["currency_code"], each["position"]) for each in table] == [("BTC", 3.0), ("USDT", 150.0)]


# --- changing and ending ----------------------------------------------------------------------------------------


def test_a_name_may_be_in_the_body_or_in_the_query(server: Server) -> None:  # api.md D3.5
    account = new(server)["id"]
    assert server.ask("POST", f"/ver1/accounts/{account}/rename", {"name": "Bo"}).body["name"] == "Bo"
    got = server.ask("POST", f"/ver1/accounts/{account}/rename?name=Cy+and+co")
    assert (got.status, got.body["name"]) == (201, "Cy and co")
    assert refused(server.ask("POST", f"/ver1/accounts/{account}/rename", {})) == {"name": ["is missing"]}
    said = {"name": ["is too short (minimum is 2 characters)"]}
    assert refused(server.ask("POST", f"/ver1/accounts/{account}/rename", {"name": "x"})) == said


def test_an_update_changes_only_what_it_names(server: Server) -> None:
    account = new(server, name="Before")["id"]
    left_out = server.ask("POST", "/ver1/accounts/update", {"account_id": str(account), "include_in_summary": "false"})
    assert (left_out.status, left_out.body["name"], left_out.body["include_in_summary"]) == (201, "Before", False)
    renamed = server.ask("POST", "/ver1/accounts/update", {"account_id": account, "name": "After"})
    assert (renamed.body["name"], renamed.body["include_in_summary"]) == ("After", False)
    assert refused(server.ask("POST", "/ver1/accounts/update", {})) == {"account_id": ["is missing"]}


def test_an_account_with_an_open_trade_stays(server: Server) -> None:  # EX-38; api.md D3.6, D3.10
    account, other = new(server)["id"], new(server)["id"]
    trade = {"account_id": account, "pair": "USDT_BTC", "instant": True, "position": LIMIT_BUY}
    made = server.ask("POST", "/v2/smart_trades", trade)
    assert made.status == 201, made

    def active(account_id: int) -> tuple[int, int]:
        counts = server.ask("GET", f"/ver1/accounts/{account_id}/active_trading_entities").body["data"]
        assert counts["active_bots_count"] == counts["active_deals_count"] == counts["active_grid_bots_count"] == 0
        return counts["active_smart_trades_count"], counts["active_orders_count"]

    assert (active(account), active(other)) == ((1, 1), (0, 0))
    got = server.ask("POST", f"/ver1/accounts/{account}/remove")
    assert (got.status, got.body["error"]) == (422, "account_not_deletable")
    assert server.ask("DELETE", f"/v2/smart_trades/{made.body['id']}").status == 200
    assert active(account) == (0, 0)
    assert server.ask("POST", f"/ver1/accounts/{account}/remove") == Got(201, True)
    assert server.ask("GET", f"/ver1/accounts/{account}") == NOT_FOUND
    assert [each["id"] for each in server.ask("GET", "/ver1/accounts").body] == [other]


# --- the rest ---------------------------------------------------------------------------------------------------


def test_related_types_are_the_paper_account_itself(server: Server) -> None:  # api.md D3.11
    asked = ("GET", "/ver1/accounts/types_to_connect", {"type": "paper_trading", "name": "x", "secret": "y"})
    shown = {"type": "paper_trading", "available": True, "unified": False}
    assert server.ask(*asked) == Got(200, [{**shown, "connected": False}])
    new(server)
    assert server.ask(*asked).body == [{**shown, "connected": True}]
    said = {"type": [BAD_VALUE]}
    assert refused(server.ask("GET", "/ver1/accounts/types_to_connect", {"type": "okex"})) == said


def test_leverage_is_told_for_contracts_and_is_empty_on_spot(server: Server) -> None:  # api.md D3.12
    spot, futures = new(server)["id"], new(server, paper_market="binance_futures")["id"]
    assert server.ask("GET", f"/ver1/accounts/{spot}/leverage_data", {"pair": "USDT_BTC"}) == Got(200, [])
    for method, status in (("GET", 200), ("POST", 201)):
        got = server.ask(method, f"/ver1/accounts/{futures}/leverage_data", {"pair": "USDT_BTCUSDT"})
        assert (got.status, [each["code"] for each in got.body]) == (status, ["none", "cross", "isolated"])
    unknown = server.ask("GET", f"/ver1/accounts/{futures}/leverage_data", {"pair": "USDT_BTC"})
    assert unknown == Got(404, {"error": "Unknown pair"})
    missing = server.ask("GET", f"/ver1/accounts/{futures}/leverage_data")
    assert refused(missing) == {"pair": ["is missing"]}

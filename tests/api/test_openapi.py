"""The OpenAPI document says what the server really does, and its page needs nothing but itself."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from live import Got, Server, running
from openapi_spec_validator import validate
from published import EXAMPLES, published
from schema_check import assert_matches
from test_entities import entity_of
from test_requests import SEED_004

from smarttrade.api.http import Request, Response
from smarttrade.api.openapi import document
from smarttrade.api.page import Documentation, render
from smarttrade.api.requests import parse_create
from smarttrade.api.routing import Answer, Call, Route, RouteTable, Security
from smarttrade.api.schemas import CREATE_EXAMPLE, SCHEMAS
from smarttrade.api.server import all_routes
from smarttrade.domain.account import Permission


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("data")) as started:
        yield started


@pytest.fixture(scope="module")
def routes(server: Server) -> RouteTable:
    return all_routes(server.system.services)


@pytest.fixture(scope="module")
def described(routes: RouteTable) -> dict[str, Any]:
    return document(routes)


async def nothing(_: Call) -> Answer:
    return Answer(True)


def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


# --- the document -----------------------------------------------------------------------------------------------


def test_the_document_is_valid_openapi(described: dict[str, Any]) -> None:
    validate(described)


def test_routes_and_document_name_the_same_operations(described: dict[str, Any], routes: RouteTable) -> None:
    offered = {(route.method, re.sub(r":([a-z_]+)", r"{\1}", route.path)) for route in routes}
    assert set(operations(described)) == offered
    assert len(offered) == len(list(routes))


def test_every_operation_says_what_it_does_and_has_a_name_of_its_own(described: dict[str, Any]) -> None:
    found = operations(described).values()
    assert all(operation["summary"] for operation in found)
    assert len({operation["operationId"] for operation in found}) == len(found)


def test_an_operation_names_the_permissions_that_the_server_asks_for(
    described: dict[str, Any], routes: RouteTable
) -> None:
    for route in routes:
        path = re.sub(r":([a-z_]+)", r"{\1}", route.path)
        security = operations(described)[route.method, path]["security"]
        assert bool(security) is (route.security is Security.SIGNED), path
        assert {name for way in security for name in way["Apikey"]} == route.permissions, path
        assert all("Signature" in way for way in security)


def test_either_permission_is_enough_where_two_are_named(described: dict[str, Any]) -> None:  # api.md A5
    info = operations(described)["GET", "/public/api/v2/smart_trades/{id}/reduce_funds_info"]
    assert info["security"] == [
        {"Apikey": ["SMART_TRADES_READ"], "Signature": []},
        {"Apikey": ["SMART_TRADES_WRITE"], "Signature": []},
    ]


def test_success_has_the_status_of_the_route_and_refusals_are_listed(described: dict[str, Any]) -> None:
    create = operations(described)["POST", "/public/api/v2/smart_trades"]["responses"]
    assert set(create) == {"201", "400", "401", "403", "422", "default"}
    ping = operations(described)["GET", "/public/api/ver1/ping"]["responses"]
    assert set(ping) == {"200", "default"}


def test_parameters_of_a_read_are_listed_one_by_one(described: dict[str, Any]) -> None:
    rates = operations(described)["GET", "/public/api/ver1/accounts/currency_rates"]["parameters"]
    assert {(each["name"], each["in"], each["required"]) for each in rates} == {
        ("market_code", "query", True),
        ("pair", "query", True),
        ("limit_type", "query", False),
    }


def test_the_list_of_trades_can_be_asked_for_as_the_specification_says(described: dict[str, Any]) -> None:  # api.md A1
    listed = operations(described)["GET", "/public/api/v2/smart_trades"]["parameters"]
    assert {each["name"] for each in listed if each.get("in") == "query"} == {
        "account_id", "pair", "type", "page", "per_page", "status", "order_by", "order_direction", "from", "to",
        "base", "quote",
    }  # fmt: skip


def test_every_path_parameter_is_described(described: dict[str, Any]) -> None:
    for (_, path), operation in operations(described).items():
        named = {each["name"] for each in operation.get("parameters", ()) if each.get("in") == "path"}
        assert named == set(re.findall(r"\{([a-z_]+)\}", path)), path


@pytest.mark.parametrize(
    "wrong",
    [
        {"response_schema": "NoSuchThing"},
        {"response_schema": None},
        {"request_schema": "NoSuchThing"},
        {"tag": "NoSuchTag"},
        {"path": "/x/:nobody"},
        {"error_statuses": (402,)},
    ],
    ids=str,
)
def test_a_route_that_names_what_nobody_described_is_refused(wrong: dict[str, Any]) -> None:
    right = {"method": "POST", "path": "/x", "handler": nothing, "tag": "System", "response_schema": "Done"}
    document([Route(**right)])
    with pytest.raises(KeyError):
        document([Route(**(right | wrong))])


def test_a_permission_of_the_domain_is_known_to_the_document() -> None:
    route = Route(
        method="GET",
        path="/x",
        handler=nothing,
        tag="System",
        response_schema="Done",
        permissions=frozenset({Permission.BOTS_READ}),
    )
    assert document([route])["paths"]["/x"]["get"]["security"] == [{"Apikey": ["BOTS_READ"], "Signature": []}]


# --- schemas ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_server_answers_for_every_published_trade_is_a_smart_trade(
    described: dict[str, Any], name: str
) -> None:
    _, answer = entity_of(name)
    assert_matches(described, "SmartTrade", json.loads(json.dumps(answer)))


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("AccountTable", "account_table"),
        ("PieChart", "pie_chart"),
        ("LeverageData", "leverage_data"),
        ("MarketList", "market_list"),
        ("TradeList", "trades"),
    ],
)
def test_published_entities_are_described(described: dict[str, Any], name: str, page: str) -> None:
    assert_matches(described, name, published(page))


def test_the_schema_of_the_account_has_the_published_keys() -> None:
    assert set(SCHEMAS["Account"]["properties"]) == set(published("account"))


def test_a_member_that_is_not_described_is_noticed(described: dict[str, Any]) -> None:
    assert_matches(described, "Ping", {"pong": "pong"})
    for wrong in ({"pong": "pong", "more": 1}, {"pong": "ping"}, {}):
        with pytest.raises(AssertionError):
            assert_matches(described, "Ping", wrong)


@pytest.mark.parametrize("path", SEED_004, ids=lambda path: path.stem)
def test_every_published_create_request_is_described(described: dict[str, Any], path: Path) -> None:
    accepts(described, "CreateSmartTrade", json.loads(path.read_text()))


def test_the_example_of_a_request_is_one_that_the_server_takes(described: dict[str, Any]) -> None:
    accepts(described, "CreateSmartTrade", CREATE_EXAMPLE)
    assert len(parse_create(CREATE_EXAMPLE).plan.targets) == 2


def accepts(described: dict[str, Any], name: str, body: Any) -> None:
    """Fails when a request is not as described. Members that nobody reads are fine."""
    schemas = described["components"]["schemas"]
    Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}).validate(body)


# --- real answers -----------------------------------------------------------------------------------------------


class Checked:
    """A server whose every answer is held against the document, and which operations have been seen."""

    def __init__(self, server: Server, routes: RouteTable, described: dict[str, Any]) -> None:
        self._server, self._routes, self._described = server, routes, described
        self.seen: set[tuple[str, str]] = set()

    def public(self, method: str, path: str, params: Any = None) -> Any:
        return self._check(method, f"/public/api{path}", params, self._server.ask(method, path, params))

    def plain(self, path: str) -> Any:
        return self._check("GET", path, None, self._server.plain(path))

    def sandbox(self, method: str, path: str, params: Any = None) -> Any:
        return self._check(
            method, f"/sandbox{path.partition('?')[0]}", params, self._server.sandbox(method, path, params)
        )

    def _check(self, method: str, path: str, params: Any, got: Got) -> Any:
        match = self._routes.find(path)
        assert match is not None
        route, _ = match.routes[method]
        assert got.status == route.status, got
        assert_matches(self._described, route.response_schema or "", got.body)
        asked = route.request_schema
        if method != "GET" and asked in SCHEMAS:
            accepts(self._described, asked, params or {})
        self.seen.add((method, route.path))
        return got.body


def test_every_route_answers_as_described(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        table = all_routes(server.system.services)
        checked = Checked(server, table, document(table))
        ask_for_surroundings(checked)
        spot, futures = open_accounts(checked)
        trade_on_spot(checked, spot)
        trade_on_futures(checked, futures)
        spoil_the_exchange(checked, spot)
        checked.public("POST", f"/ver1/accounts/{spot}/remove")
        assert checked.seen == {(route.method, route.path) for route in table}


def ask_for_surroundings(checked: Checked) -> None:
    checked.plain("/health")
    for path in ("ping", "time", "validate", "users/current_mode", "users/permissions_info", "accounts/market_list"):
        checked.public("GET", f"/ver1/{path}")
    checked.public("POST", "/ver1/users/change_mode", {"mode": "paper"})
    checked.public("PUT", "/ver1/users/locale", {"locale": "de"})
    quotes = [
        {"market": "binance", "pair": "USDT_BTC", "bid": "100", "ask": "100.1", "bid_size": 50, "ask_size": "50"},
        {"pair": "USDT_BTCUSDT", "bid": "100", "ask": "100", "last": "100"},
    ]
    rules = {"market": "binance", "pair": "USDT_BTC", "lot": "0.01", "min_total": "1", "fee_in": "quote"}
    checked.sandbox("POST", "/markets", rules)
    perpetual = {
        "market": "binance_futures",
        "pair": "USDT_BTCUSDT",
        "kind": "linear",
        "min_total": 1,
        "min_market_total": 1,
    }
    checked.sandbox("POST", "/markets", perpetual)
    checked.sandbox("POST", "/quotes", {"quotes": quotes})
    checked.sandbox("POST", "/clock", {"advance_seconds": "8"})
    for version in ("ver1", "v2"):
        checked.public("GET", f"/{version}/accounts/market_pairs", {"market_code": "binance_futures"})
    for suffix in ("", "_with_leverage_data"):
        for market, pair in (("binance", "USDT_BTC"), ("binance_futures", "USDT_BTCUSDT")):
            checked.public("GET", f"/ver1/accounts/currency_rates{suffix}", {"market_code": market, "pair": pair})


def open_accounts(checked: Checked) -> tuple[int, int]:
    new = {"type": "paper_trading", "paper_balances": {"USDT": "10000", "BTC": 5, "XYZ": "1"}}
    spot = checked.public("POST", "/ver1/accounts/new", new)["id"]
    futures = checked.public("POST", "/ver1/accounts/new", {**new, "paper_market": "binance_futures"})["id"]
    for method in ("GET", "POST"):
        checked.public(method, "/ver1/accounts/types_to_connect", {"type": "paper_trading"})
        checked.public(method, f"/ver1/accounts/{futures}/leverage_data", {"pair": "USDT_BTCUSDT"})
    checked.public("POST", "/ver1/accounts/update", {"account_id": spot, "include_in_summary": True})
    checked.public("POST", f"/ver1/accounts/{spot}/rename", {"name": "Mine"})
    checked.public("POST", f"/ver1/accounts/{spot}/load_balances")
    checked.public("GET", "/ver1/accounts")
    for account in (spot, "summary"):
        checked.public("GET", f"/ver1/accounts/{account}")
        for kind in ("pie_chart_data", "account_table_data"):
            checked.public("POST", f"/ver1/accounts/{account}/{kind}")
    return spot, futures


def smart_trade(account_id: int, pair: str, **changes: Any) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "pair": pair,
        "position": {"type": "buy", "order_type": "market", "units": {"value": "1"}},
        "take_profit": {
            "enabled": True,
            "steps": [
                {"order_type": "limit", "volume": 50, "price": {"type": "last", "value": "110"}},
                {"order_type": "market", "volume": 50, "price": {"type": "bid", "percent": "20"}},
            ],
        },
        "stop_loss": {
            "enabled": True,
            "order_type": "limit",
            "price": {"value": "80"},
            "conditional": {"price": {"type": "bid", "value": "81"}},
            "timeout": {"enabled": True, "value": 5},
        },
        **changes,
    }


def trade_on_spot(checked: Checked, account: int) -> None:
    trades = "/v2/smart_trades"
    entry = {
        "type": "buy",
        "order_type": "conditional",
        "units": {"value": "1"},
        "price": {"value": "90"},
        "conditional": {"price": {"value": "95", "type": "ask"}, "order_type": "limit"},
    }
    waiting = checked.public("POST", trades, smart_trade(account, "USDT_BTC", position=entry, note="first"))["id"]
    assert checked.public("GET", f"{trades}/{waiting}")["status"]["type"] == "waiting_position"
    checked.public("POST", f"{trades}/{waiting}/set_note", {"note": "later"})
    checked.public("POST", f"{trades}/{waiting}/force_start")
    assert checked.public("GET", f"{trades}/{waiting}")["status"]["type"] == "waiting_targets"
    checked.public("PATCH", f"{trades}/{waiting}", {"stop_loss": {"enabled": False}})
    for method in ("GET", "POST"):
        checked.public(method, f"{trades}/{waiting}/reduce_funds_info")
    checked.public("POST", f"{trades}/{waiting}/add_funds", {"order_type": "market", "units": {"value": "1"}})
    reduction = {"order_type": "limit", "units": {"value": "0.5"}, "price": {"value": "105"}}
    checked.public("POST", f"{trades}/{waiting}/reduce_funds", reduction)
    assert checked.public("GET", f"{trades}/{waiting}")["reduce_funds"]["steps"]
    legs = checked.public("GET", f"{trades}/{waiting}/trades")
    limit = next(leg for leg in legs if leg["trade_purpose"] == "reduce_funds")
    order = next(each for each in checked.sandbox("GET", "/orders?status=open") if each["trade_id"] == limit["id"])
    checked.sandbox("POST", f"/orders/{order['client_order_id']}/fill", {"quantity": "0.5"})
    targets = [leg["id"] for leg in checked.public("GET", f"{trades}/{waiting}/trades") if leg["cancelable"]]
    checked.public("DELETE", f"{trades}/{waiting}/trades/{targets[0]}")
    checked.public("POST", f"{trades}/{waiting}/trades/{targets[1]}/close_by_market")
    closing = checked.public("POST", trades, smart_trade(account, "USDT_BTC"))["id"]
    checked.public("POST", f"{trades}/{closing}/force_process")
    checked.public("POST", f"{trades}/{closing}/close_by_market")
    assert checked.public("GET", f"{trades}/{closing}")["market_close"]
    checked.public("GET", f"/ver1/accounts/{account}/active_trading_entities")
    open_ones = [
        each for each in checked.public("GET", trades, {"account_id": account}) if each["data"]["cancel_available"]
    ]
    leaving = checked.public("POST", trades, smart_trade(account, "USDT_BTC"))["id"]
    checked.public("DELETE", f"{trades}/{leaving}")
    for each in open_ones:
        checked.public("DELETE", f"{trades}/{each['id']}")
    checked.public("GET", trades, {"status": "all"})


def trade_on_futures(checked: Checked, account: int) -> None:
    leverage = {"enabled": True, "type": "isolated", "value": 5}
    made = checked.public("POST", "/v2/smart_trades", smart_trade(account, "USDT_BTCUSDT", leverage=leverage))
    assert checked.public("GET", f"/v2/smart_trades/{made['id']}")["leverage"]["enabled"]
    held = checked.sandbox("GET", f"/balances?account_id={account}")
    assert held["positions"]
    gone = {"account_id": account, "pair": "USDT_BTCUSDT", "reason": "liquidation"}
    assert not checked.sandbox("POST", "/positions/close", gone)["positions"]


def spoil_the_exchange(checked: Checked, account: int) -> None:
    checked.sandbox("POST", "/balances", {"account_id": account, "currency": "USDT", "free": "10000"})
    checked.sandbox("GET", f"/balances?account_id={account}")
    fault = {"account_id": account, "on": "submit", "fault": "reject", "text": "No.", "class": "permanent"}
    checked.sandbox("POST", "/faults", fault)
    failed = checked.public("POST", "/v2/smart_trades", smart_trade(account, "USDT_BTC"))["id"]
    assert checked.public("GET", f"/v2/smart_trades/{failed}")["status"]["error"] == "No."
    checked.sandbox("POST", "/faults/clear", {"account_id": account})
    checked.sandbox("POST", "/faults/release", {"account_id": account})
    simple = {"type": "buy", "order_type": "limit", "units": {"value": "1"}, "price": {"value": "50"}}
    checked.public(
        "POST", "/v2/smart_trades", {"account_id": account, "pair": "USDT_BTC", "instant": True, "position": simple}
    )
    (order,) = checked.sandbox("GET", f"/orders?status=open&account_id={account}")
    checked.sandbox("POST", f"/orders/{order['client_order_id']}/cancel")
    assert checked.sandbox("GET", "/state")["open_smart_trades"] == 0


# --- the page ---------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page names and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [named["href"] or ""] if tag == "a" else []
        self.loads += [named[key] or "" for key in ("src", "srcset", "action") if key in named]
        self.loads += [named["href"] or ""] if tag != "a" and "href" in named else []
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_every_operation_and_shape_and_every_link_leads_somewhere(described: dict[str, Any]) -> None:
    page = Page(render(described)[0])
    names = {operation["operationId"] for operation in operations(described).values()} | set(SCHEMAS)
    assert names <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {link for link in page.links if link != "openapi.json"} <= {f"#{name}" for name in page.ids}
    assert not page.open


def test_the_page_loads_nothing_and_its_policy_forbids_it(described: dict[str, Any]) -> None:
    text, policy = render(described)
    assert Page(text).loads == []
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_the_policy_names_exactly_the_style_and_the_script_of_the_page(described: dict[str, Any]) -> None:
    text, policy = render(described)
    for tag in ("style", "script"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_text_of_the_document_cannot_become_markup() -> None:
    route = Route(
        method="GET", path="/x", handler=nothing, tag="System", response_schema="Done", summary='<img src="x">&'
    )
    text, _ = render(document([route]))
    assert "<img" not in text
    assert "&lt;img src=&quot;x&quot;&gt;&amp;" in text


# --- its place on the server ------------------------------------------------------------------------------------


def fetch(routes: RouteTable, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    pages = Documentation(routes, lambda _: Response(status=404, headers=[], body=b"other"))
    response = pages.respond(Request(method=method, path=path.encode(), query=b"", headers={}, peer=None))
    assert isinstance(response, Response)
    return response.status, {name.decode(): value.decode() for name, value in response.headers}, response.body


def test_document_and_page_are_served_and_everything_else_is_left_alone(
    routes: RouteTable, described: dict[str, Any]
) -> None:
    status, headers, body = fetch(routes, "GET", "/openapi.json")
    assert (status, headers["content-type"], json.loads(body)) == (200, "application/json", described)
    status, headers, body = fetch(routes, "GET", "/docs/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-length"] == str(len(body))
    assert "default-src 'none'" in headers["content-security-policy"]
    assert fetch(routes, "HEAD", "/docs") == (200, headers, b"")
    for method, path in (("POST", "/docs"), ("GET", "/"), ("GET", "/public/api/ver1/ping")):
        assert fetch(routes, method, path) == (404, {}, b"other")

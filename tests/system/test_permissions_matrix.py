"""Every route against every kind of caller, and the rate limit (api.md, "Permission" of each endpoint; auth.md 2, 6).

The routes come from the server's own table, the permissions they must ask for from the list below: a route that is in
one of the two only fails the test.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Server
from raw_http import BASE, Header, Key, Wire, new_key, revoke

from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.api.routing import Route, Security
from smarttrade.api.server import all_routes
from smarttrade.app import open_system
from smarttrade.ports.directory import ALL_PERMISSIONS
from smarttrade.settings import Settings

UNSIGNED = None
ANY_KEY: tuple[str, ...] = ()
ACCOUNTS_R, ACCOUNTS_W = ("ACCOUNTS_READ",), ("ACCOUNTS_WRITE",)
READ, WRITE = ("SMART_TRADES_READ",), ("SMART_TRADES_WRITE",)
EITHER = READ + WRITE

ONE, STEPS = "/v2/smart_trades/:id", "/v2/smart_trades/:smart_trade_id/trades"
ACCOUNT, ALL_ACCOUNTS = "/ver1/accounts/:account_id", "/ver1/accounts/summary"
DOCUMENTED = {
    "GET /ver1/ping": UNSIGNED,
    "GET /ver1/time": UNSIGNED,
    "GET /ver1/validate": ANY_KEY,
    "POST /ver1/users/change_mode": ACCOUNTS_W,
    "GET /ver1/users/current_mode": ACCOUNTS_R,
    "GET /ver1/users/permissions_info": ANY_KEY,
    "PUT /ver1/users/locale": ANY_KEY,
    "GET /ver1/accounts": ACCOUNTS_R,
    "POST /ver1/accounts/new": ACCOUNTS_W,
    "POST /ver1/accounts/update": ACCOUNTS_W,
    "GET /ver1/accounts/types_to_connect": ANY_KEY,
    "POST /ver1/accounts/types_to_connect": ANY_KEY,
    f"GET {ACCOUNT}": ACCOUNTS_R,
    f"GET {ALL_ACCOUNTS}": ACCOUNTS_R,
    f"POST {ACCOUNT}/rename": ACCOUNTS_W,
    f"POST {ACCOUNT}/remove": ACCOUNTS_W,
    f"POST {ACCOUNT}/load_balances": ACCOUNTS_R,
    f"POST {ACCOUNT}/pie_chart_data": ACCOUNTS_R,
    f"POST {ALL_ACCOUNTS}/pie_chart_data": ACCOUNTS_R,
    f"POST {ACCOUNT}/account_table_data": ACCOUNTS_R,
    f"POST {ALL_ACCOUNTS}/account_table_data": ACCOUNTS_R,
    f"GET {ACCOUNT}/active_trading_entities": ACCOUNTS_R,
    f"GET {ACCOUNT}/leverage_data": ACCOUNTS_R,
    f"POST {ACCOUNT}/leverage_data": ACCOUNTS_R,
    "GET /ver1/accounts/market_list": UNSIGNED,
    "GET /ver1/accounts/market_pairs": UNSIGNED,
    "GET /v2/accounts/market_pairs": UNSIGNED,
    "GET /ver1/accounts/currency_rates": UNSIGNED,
    "GET /ver1/accounts/currency_rates_with_leverage_data": UNSIGNED,
    "GET /v2/smart_trades": READ,
    "POST /v2/smart_trades": WRITE,
    f"GET {ONE}": READ,
    f"PATCH {ONE}": WRITE,
    f"DELETE {ONE}": WRITE,
    f"GET {ONE}/reduce_funds_info": EITHER,
    f"POST {ONE}/reduce_funds_info": EITHER,
    f"POST {ONE}/reduce_funds": WRITE,
    f"POST {ONE}/add_funds": WRITE,
    f"POST {ONE}/close_by_market": WRITE,
    f"POST {ONE}/force_start": WRITE,
    f"POST {ONE}/force_process": WRITE,
    f"POST {ONE}/set_note": WRITE,
    f"GET {STEPS}": READ,
    f"POST {STEPS}/:id/close_by_market": WRITE,
    f"DELETE {STEPS}/:id": WRITE,
}
"""Permissions of which one is enough; the core of api.md (groups a, b and d)."""

NOBODYS = "987654321"
"""Stands for every id in a path, so that a request that is let through finds nothing to change."""

UNKNOWN_KEY = (401, {"error": "api_key_invalid_or_expired",
                     "error_description": "Unauthorized. Invalid or expired api key."})  # fmt: skip
BAD_SIGNATURE = (401, {"error": "signature_invalid", "error_description": "Provided signature is invalid"})
BAD_ADDRESS = (401, {"error": "ip_not_allowed", "error_description": "Request from a non-whitelisted IP address"})
NOT_ENOUGH = (403, {"error": "Forbidden", "error_description": "Api key not authorized for this action"})


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """The whole table of a server on the sandbox's market, which has all routes."""
    directory = tmp_path_factory.mktemp("routes")

    async def read() -> list[Route]:
        system = await open_system(Settings(data_dir=directory, market="sandbox"), open_database(directory))
        table = list(all_routes(system.services))
        await system.close()
        return table

    return asyncio.run(read())


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    wire = Wire(server)
    yield wire
    wire.close()


def of_the_api(routes: list[Route]) -> dict[str, Route]:
    """Routes below /public/api under the names of the list above."""
    return {
        f"{route.method} {route.path.removeprefix(BASE)}": route
        for route in routes
        if route.path.startswith(BASE + "/")
    }


def signed_ones(routes: list[Route]) -> list[Route]:
    return [route for route in of_the_api(routes).values() if route.security is Security.SIGNED]


def target(route: Route) -> str:
    return "/".join(NOBODYS if part.startswith(":") else part for part in route.path.split("/"))


def answers(wire: Wire, routes: list[Route], key: Key | None) -> dict[str, tuple[int, object]]:
    """What each route answers to a request without parameters."""
    found = {}
    for route in routes:
        name, path = f"{route.method} {route.path}", target(route)
        reply = wire.send(route.method, path) if key is None else wire.signed(route.method, path, key=key)
        found[name] = (reply.status, reply.body)
    return found


def assert_all(found: dict[str, tuple[int, object]], expected: tuple[int, object]) -> None:
    """Fail with the routes that answered otherwise, or when there are none."""
    assert found
    assert {name: answer for name, answer in found.items() if answer != expected} == {}


def test_every_route_is_documented_and_asks_for_the_documented_permission(routes: list[Route]) -> None:
    asked = {
        name: None if route.security is Security.NONE else tuple(sorted(route.permissions))
        for name, route in of_the_api(routes).items()
    }
    assert asked == DOCUMENTED


def test_what_is_not_below_the_base_path_is_the_sandbox_or_only_reads(routes: list[Route]) -> None:
    others = [route for route in routes if not route.path.startswith(BASE + "/")]
    assert all(route.security is Security.NONE for route in others)
    assert {route.method for route in others if not route.path.startswith("/sandbox/")} <= {"GET"}


def test_without_a_key_only_public_routes_answer(wire: Wire, routes: list[Route]) -> None:
    assert_all(answers(wire, signed_ones(routes), None), UNKNOWN_KEY)
    public = [route for route in of_the_api(routes).values() if route.security is Security.NONE]
    assert {status for status, _ in answers(wire, public, None).values()} <= {200, 400}


def test_public_routes_do_not_look_at_headers(wire: Wire, routes: list[Route]) -> None:
    headers: list[Header] = [("Apikey", b"\xff"), ("Signature", "none"), ("Forced-Mode", "")]
    for route in of_the_api(routes).values():
        if route.security is Security.NONE:
            assert wire.send("GET", target(route), headers=headers).status in (200, 400)


def test_every_route_that_needs_a_permission_refuses_a_key_with_all_others(
    server: Server, wire: Wire, routes: list[Route]
) -> None:
    needing = [route for route in signed_ones(routes) if route.permissions]
    for needed in {route.permissions for route in needing}:
        key = new_key(server, set(ALL_PERMISSIONS) - {str(permission) for permission in needed})
        assert_all(answers(wire, [route for route in needing if route.permissions == needed], key), NOT_ENOUGH)


def test_one_documented_permission_alone_is_enough(server: Server, wire: Wire, routes: list[Route]) -> None:
    for permission in ("ACCOUNTS_READ", "ACCOUNTS_WRITE", "SMART_TRADES_READ", "SMART_TRADES_WRITE"):
        key = new_key(server, [permission])
        open_to_it = [route for route in signed_ones(routes) if permission in route.permissions]
        refused = {name: got for name, got in answers(wire, open_to_it, key).items() if got[0] in (401, 403)}
        assert (refused, bool(open_to_it)) == ({}, True)


def test_a_key_without_any_permission_may_still_ask_about_itself(
    server: Server, wire: Wire, routes: list[Route]
) -> None:
    key = new_key(server, [])
    open_to_it = [route for route in signed_ones(routes) if not route.permissions]
    found = answers(wire, open_to_it, key)
    assert {name: got for name, got in found.items() if got[0] not in (200, 400)} == {}
    assert found[f"GET {BASE}/ver1/users/permissions_info"] == (200, {"permissions": []})


def test_the_singular_names_of_permissions_mean_the_plural_ones(server: Server, wire: Wire) -> None:
    key = new_key(server, ["SMART_TRADE_READ", "SMART_TRADE_WRITE"])
    assert wire.signed("GET", f"{BASE}/ver1/users/permissions_info", key=key).body == {
        "permissions": ["SMART_TRADES_READ", "SMART_TRADES_WRITE"]
    }


def test_a_key_bound_to_other_addresses_is_refused_everywhere(server: Server, wire: Wire, routes: list[Route]) -> None:
    key = new_key(server, networks=["10.0.0.0/8", "192.0.2.7"])
    assert_all(answers(wire, signed_ones(routes), key), BAD_ADDRESS)
    at_home = new_key(server, networks=["127.0.0.0/8"])
    assert wire.signed("GET", f"{BASE}/ver1/validate", key=at_home).body == {"valid": True}


def test_a_revoked_key_is_refused_everywhere_from_the_next_request_on(
    server: Server, wire: Wire, routes: list[Route]
) -> None:
    key = new_key(server)
    assert wire.signed("GET", f"{BASE}/ver1/validate", key=key).body == {"valid": True}
    revoke(server, key)
    assert_all(answers(wire, signed_ones(routes), key), UNKNOWN_KEY)


def test_a_wrong_signature_is_refused_before_a_missing_permission(
    server: Server, wire: Wire, routes: list[Route]
) -> None:
    key = new_key(server, [])
    wrong = key._replace(secret="another")
    assert_all(answers(wire, signed_ones(routes), wrong), BAD_SIGNATURE)


# --- rate limit (auth.md 7) -------------------------------------------------------------------------------------------

LIMIT = 100
LIMITED = {"error": "too_many_requests", "error_description": "Rate limit exceeded"}
VALIDATE = f"{BASE}/ver1/validate"


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, environment={"SMARTTRADE_RATE_LIMIT": "true"}) as server:
        yield server


def test_the_hundred_and_first_request_of_a_minute_waits_five_minutes(limited: Server) -> None:
    wire, other = Wire(limited), new_key(limited)
    admitted = [wire.signed("GET", VALIDATE).status for _ in range(LIMIT)]
    assert admitted == [200] * LIMIT

    refused = wire.signed("GET", VALIDATE)
    assert (refused.status, refused.body) == (429, LIMITED)
    assert 290 < int(refused.headers["retry-after"]) <= 300
    assert wire.signed("POST", f"{BASE}/v2/smart_trades", b"{}", "application/json").status == 429  # all routes
    forged = wire.key._replace(secret="another")
    assert wire.signed("GET", VALIDATE, key=forged).status == 429  # counted before the signature is looked at

    assert wire.signed("GET", VALIDATE, key=other).status == 200  # every key has its own budget
    assert wire.send("GET", f"{BASE}/ver1/ping").status == 200  # and so have unsigned requests, by address
    wire.close()


def test_unsigned_requests_and_invented_keys_share_the_budget_of_their_address(limited: Server) -> None:
    wire = Wire(limited)
    for number in range(LIMIT):
        if number % 2:
            assert wire.send("GET", f"{BASE}/ver1/ping").status == 200
        else:
            assert wire.signed("GET", VALIDATE, key=Key(0, f"invented{number}", "x")).status == 401
    for reply in (wire.send("GET", f"{BASE}/ver1/ping"), wire.signed("GET", VALIDATE, key=Key(0, "fresh", "x"))):
        assert (reply.status, reply.body) == (429, LIMITED)
    assert wire.signed("GET", VALIDATE).status == 200
    wire.close()


def test_an_unknown_route_or_method_costs_nothing(limited: Server) -> None:
    wire = Wire(limited)
    for _ in range(LIMIT):
        assert wire.send("GET", f"{BASE}/ver1/nothing").status == 404
        assert wire.send("DELETE", f"{BASE}/ver1/ping").status == 405
    assert wire.send("GET", f"{BASE}/ver1/ping").status == 200
    wire.close()

"""The plumbing: bodies, the order of checks, answers, the log line (auth.md sections 1, 5, 6; wire-quirks 2, 4)."""

import asyncio
import hmac
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from live import answered
from structlog.testing import capture_logs

from smarttrade.api.auth import Authenticator
from smarttrade.api.errors import Overloaded
from smarttrade.api.http import Api, Cors, Request, Response, encode
from smarttrade.api.rate_limit import RateLimiter, RateLimits
from smarttrade.api.requests import parse_set_note
from smarttrade.api.routing import Answer, Call, RouteTable, Security
from smarttrade.domain.account import ApiKey, KeyKind, Permission, User
from smarttrade.domain.errors import DenialCode, deny
from smarttrade.ports.exchange import ExchangeUnavailable
from smarttrade.ports.storage import StorageUnavailable

SECRET = b"secret"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
KEY = ApiKey(
    id=3,
    user_id=1,
    name="bot",
    api_key="public",
    kind=KeyKind.HMAC,
    secret=SECRET,
    permissions=frozenset({Permission.SMART_TRADES_READ}),
    created_at=0,
)
FAILURES: dict[str, Exception] = {
    "denied": deny(DenialCode.TRADE_NOT_FOUND),
    "full": Overloaded(),
    "disk": StorageUnavailable(),
    "exchange": ExchangeUnavailable(),
    "crash": ZeroDivisionError("hush-hush"),
}

routes = RouteTable("/public/api")


@routes.route("GET", "/echo", security=Security.NONE)
@routes.route("POST", "/echo", security=Security.NONE, status=200)
@routes.route("DELETE", "/echo", security=Security.NONE)
@routes.route("PATCH", "/echo", security=Security.NONE)
async def echo(call: Call) -> Answer:
    return Answer(call.params)


@routes.route("GET", "/at_once", security=Security.NONE)
def at_once(_: Call) -> Answer:
    return Answer("now")


@routes.route("GET", "/things/:id", security=Security.NONE)
async def thing(call: Call) -> Answer:
    return Answer({"id": call.id(), "raw": call.path_values["id"]})


@routes.route("GET", "/things/special", security=Security.NONE)
async def special(_: Call) -> Answer:
    return Answer(b'{"special":true}')


@routes.route("GET", "/things/special/:name/end", security=Security.NONE)
async def named(call: Call) -> Answer:
    return Answer(call.path_values)


@routes.route("GET", "/things/:id/end", security=Security.NONE)
async def end(call: Call) -> Answer:
    return Answer(call.path_values)


@routes.route("GET", "/read", permissions=[Permission.SMART_TRADES_READ, Permission.SMART_TRADES_WRITE])
async def read(call: Call) -> Answer:
    return Answer({"user": call.signer.user.name, "mode": call.signer.mode})


@routes.route("POST", "/write", permissions=[Permission.SMART_TRADES_WRITE])
async def write(_: Call) -> Answer:
    return Answer({})


@routes.route("POST", "/note", permissions=[Permission.SMART_TRADES_READ])
async def note(call: Call) -> Answer:
    return Answer({"note": parse_set_note(1, call.params).note})


@routes.route("GET", "/fail/:how", security=Security.NONE, missing_trade_status=400)
async def fail(call: Call) -> Answer:
    raise FAILURES[call.path_values["how"]]


class Got(msgspec.Struct):
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


def api(**settings: Any) -> Api:
    authenticator = Authenticator(
        find_key=lambda name: KEY if name == KEY.api_key else None, find_user=lambda _: User(id=1, name="ann")
    )
    return Api(routes, authenticator=authenticator, **{"now": lambda: 0, **settings})


def ask(
    method: str,
    target: str,
    body: bytes | None = b"",
    content_type: str | None = None,
    *,
    app: Api | None = None,
    headers: dict[str, str] | None = None,
    sign: bool = False,
) -> Got:
    """Send one request straight into the application."""
    path, _, query = target.encode().partition(b"?")
    sent = dict(headers or {})
    if content_type is not None:
        sent["content-type"] = content_type
    if sign:
        sent["apikey"] = KEY.api_key
        sent["signature"] = hmac.new(SECRET, target.encode() + (body or b""), "sha256").hexdigest()
    request = Request(
        method=method,
        path=path,
        query=query,
        headers={name.lower().encode(): value.encode("latin-1") for name, value in sent.items()},
        body=body,
        peer="10.0.0.9",
    )
    response = asyncio.run(answered((app or api()).respond, request))
    return Got(response.status, {name.decode(): value.decode() for name, value in response.headers}, response.body)


# -- routes -----------------------------------------------------------------------------------------------------------


def test_an_unknown_route_is_not_found() -> None:
    for path in ("/", "/public/api", "/public/api/ech", "/public/api//echo", "/public/api/echo//", "/echo"):
        got = ask("GET", path)
        assert (got.status, got.json) == (404, {"error": "not_found", "error_description": "Not Found"})


def test_a_wrong_method_is_told_the_right_ones() -> None:
    got = ask("POST", "/public/api/things/5")
    assert (got.status, got.json) == (
        405,
        {
            "error": "invalid_request_method",
            "error_description": "Your request method is not supported by this endpoint. "
            "Please use one of [OPTIONS, GET, HEAD].",
        },
    )
    assert got.headers["allow"] == "OPTIONS, GET, HEAD"


def test_one_trailing_slash_makes_no_difference_and_no_redirect() -> None:
    assert ask("GET", "/public/api/things/5/").json == ask("GET", "/public/api/things/5").json


def test_a_signature_over_the_path_with_its_slash_is_valid() -> None:
    assert ask("GET", "/public/api/read/", sign=True).status == 200


def test_a_literal_segment_is_preferred_and_given_up_when_it_leads_nowhere() -> None:
    assert ask("GET", "/public/api/things/special").json == {"special": True}
    assert ask("GET", "/public/api/things/special/x%2Fy/end").json == {"name": "x/y"}
    assert ask("GET", "/public/api/things/special/end").json == {"id": "special"}


@pytest.mark.parametrize("text", ["abc", "-1", "1.5", "%31x", "%D9%A3"])
def test_an_id_that_is_no_number_is_invalid(text: str) -> None:
    got = ask("GET", f"/public/api/things/{text}")
    assert (got.status, got.json["error_attributes"]) == (400, {"id": ["is invalid"]})


def test_an_id_longer_than_any_is_one_that_nothing_has() -> None:
    assert ask("GET", "/public/api/things/" + "9" * 5000).json["id"] == 2**63 - 1


def test_head_is_get_without_the_body() -> None:
    got, full = ask("HEAD", "/public/api/things/5"), ask("GET", "/public/api/things/5")
    assert (got.status, got.raw, got.headers["content-length"]) == (200, b"", str(len(full.raw)))


def test_two_handlers_for_one_place_are_refused_at_start() -> None:
    table = RouteTable()
    table.include(routes)
    with pytest.raises(ValueError, match="two handlers"):
        table.include(routes)


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b'{"a":{"b":"1"},"c":"2"}'),
        ("application/json; charset=utf-8", b'{"a":{"b":"1"},"c":"2"}'),
        ("Application/JSON", b'{"a":{"b":"1"},"c":"2"}'),
        (FORM, b"a%5Bb%5D=1&c=2"),
        (FORM + "; charset=utf-8", b"a[b]=1&c=2"),
        (None, b' {"a":{"b":"1"},"c":"2"}'),
        (None, b"a[b]=1&c=2"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_bodies_are_read_by_their_type_on_every_method_but_get(
    method: str, content_type: str | None, body: bytes
) -> None:
    assert ask(method, "/public/api/echo", body, content_type).json == {"a": {"b": "1"}, "c": "2"}


def test_the_query_wins_leaf_by_leaf_over_the_body() -> None:
    got = ask("POST", "/public/api/echo?a[b]=9", b'{"a":{"b":1,"c":2}}', JSON)
    assert got.json == {"a": {"b": "9", "c": 2}}


def test_get_ignores_its_body() -> None:
    assert ask("GET", "/public/api/echo?a=1", b"{broken", JSON).json == {"a": "1"}


@pytest.mark.parametrize("content_type", [JSON, FORM, "multipart/form-data", "text/plain", None])
def test_an_empty_body_of_any_type_is_no_parameters(content_type: str | None) -> None:
    assert ask("POST", "/public/api/echo?a=1", b"", content_type).json == {"a": "1"}


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "text/plain", "application/xml"])
def test_a_body_of_another_type_is_415(content_type: str) -> None:
    assert ask("POST", "/public/api/echo", b"x=1", content_type).status == 415


@pytest.mark.parametrize("body", [b"{", b"[1]", b"nonsense", b'"text"', b"\xff"])
def test_a_broken_json_body_is_400(body: bytes) -> None:
    got = ask("POST", "/public/api/echo", body, JSON)
    assert (got.status, got.json) == (
        400,
        {"error": "invalid_request", "error_description": "Request body is not valid JSON"},
    )


def test_a_query_that_contradicts_itself_is_invalid_by_name() -> None:
    got = ask("GET", "/public/api/echo?a=1&a[b]=2")
    assert (got.status, got.json["error_attributes"]) == (400, {"a": ["is invalid"]})


def test_a_body_that_was_too_large_to_read_is_413_and_ends_the_connection() -> None:
    got = ask("POST", "/public/api/echo", None, JSON)
    assert (got.status, got.json["error"], got.headers["connection"]) == (413, "payload_too_large", "close")


def test_a_handler_that_waits_for_nothing_is_answered_at_once() -> None:
    """PF-7: no task, no turn of the event loop."""
    request = Request(method="GET", path=b"/public/api/at_once", query=b"", headers={}, peer=None)
    response = api().respond(request)
    assert isinstance(response, Response)
    assert (response.status, response.body) == (200, b'"now"')


# -- the order of checks ----------------------------------------------------------------------------------------------


def test_checks_come_in_the_documented_order() -> None:
    app = api(limiter=RateLimiter(RateLimits(requests=3)))
    broken = b"{broken"
    assert ask("POST", "/public/api/none", broken, JSON, app=app).status == 404
    assert ask("PUT", "/public/api/write", broken, JSON, app=app).status == 405
    assert ask("POST", "/public/api/write", broken, JSON, app=app, headers={"apikey": "public"}).status == 401
    assert ask("POST", "/public/api/write", broken, JSON, app=app, sign=True).status == 403
    assert ask("POST", "/public/api/note", broken, JSON, app=app, sign=True).status == 400
    assert ask("POST", "/public/api/write", broken, JSON, app=app, headers={"apikey": "public"}).status == 429


def test_a_missing_signature_is_401_and_headers_are_not_looked_at_where_none_are_needed() -> None:
    assert ask("GET", "/public/api/read").json["error"] == "api_key_invalid_or_expired"
    assert ask("GET", "/public/api/read", headers={"APIKEY": "public"}).json["error"] == "signature_invalid"
    assert ask("GET", "/public/api/echo", headers={"Apikey": "bad", "Signature": "\xff"}).status == 200


def test_a_signed_caller_reaches_the_handler_with_the_forced_mode() -> None:
    got = ask("GET", "/public/api/read?x=%3A", sign=True, headers={"Forced-Mode": "paper"})
    assert (got.status, got.json) == (200, {"user": "ann", "mode": "paper"})
    assert ask("GET", "/public/api/read", sign=True, headers={"Forced-Mode": ""}).json["error"] == "forced_mode_invalid"


def test_a_limited_caller_is_told_when_to_come_back() -> None:
    now = [0]
    app = api(limiter=RateLimiter(RateLimits(requests=1, bans=True)), now=lambda: now[0])
    assert ask("GET", "/public/api/read", app=app, sign=True).status == 200
    got = ask("GET", "/public/api/read", app=app, sign=True)
    assert (got.status, got.headers["retry-after"], got.json["error"]) == (429, "300", "too_many_requests")
    assert ask("GET", "/public/api/echo", app=app).status == 200  # unsigned requests count by address
    now[0] = 300_000_000
    assert ask("GET", "/public/api/read", app=app, sign=True).status == 200
    got = ask("GET", "/public/api/read", app=app, sign=True)
    assert (got.status, got.headers["retry-after"], got.json["error"]) == (418, "120", "ip_banned")


def test_an_invented_key_opens_no_fresh_budget() -> None:
    app = api(limiter=RateLimiter(RateLimits(requests=1)))
    assert ask("GET", "/public/api/read", app=app, headers={"apikey": "a"}).status == 401
    assert ask("GET", "/public/api/read", app=app, headers={"apikey": "b"}).status == 429


def test_the_engine_may_come_to_rest_before_each_handler() -> None:
    calls: list[str] = []

    async def settle() -> None:
        calls.append("settled")

    app = api(before_handler=settle)
    assert ask("GET", "/public/api/echo", app=app).status == 200
    assert ask("GET", "/public/api/read", app=app).status == 401
    assert calls == ["settled"]


# -- answers ----------------------------------------------------------------------------------------------------------


def test_every_answer_is_json_with_its_headers() -> None:
    good, bad = ask("GET", "/public/api/echo"), ask("GET", "/public/api/none")
    for got in (good, bad):
        assert got.headers["content-type"] == "application/json"
        assert got.headers["content-length"] == str(len(got.raw))
        assert len(bytes.fromhex(got.headers["x-request-id"])) == 16
    assert good.headers["cache-control"] == "max-age=0, private, must-revalidate"
    assert bad.headers["cache-control"] == "no-cache"
    assert good.headers["x-request-id"] != bad.headers["x-request-id"]


def test_post_answers_201_unless_told_otherwise() -> None:
    by_path = {(route.method, route.path): route for route in routes}
    assert by_path["POST", "/public/api/write"].status == 201
    assert by_path["GET", "/public/api/read"].status == 200
    body = b"note=hello"
    assert ask("POST", "/public/api/note", body, FORM, sign=True).status == 201


def test_decimals_leave_in_the_documented_notation() -> None:
    class Row(msgspec.Struct):
        price: Decimal

    body = {"a": Decimal("1E-8"), "b": [Decimal(4), (Decimal("-0"),)], "c": Row(Decimal("2.50")), "d": None, "e": True}
    assert json.loads(encode(Answer(body))) == {
        "a": "0.00000001",
        "b": ["4.0", ["0.0"]],
        "c": {"price": "2.5"},
        "d": None,
        "e": True,
    }
    assert encode(Answer(True)) == b"true"
    assert encode(Answer(b'{"ready":1}')) == b'{"ready":1}'


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("denied", 400, "Not found"),
        ("full", 503, "service_unavailable"),
        ("disk", 503, "service_unavailable"),
        ("exchange", 504, "exchange_timeout"),
        ("crash", 500, "unknown_error"),
        ("unheard-of", 500, "unknown_error"),
    ],
)
def test_whatever_a_handler_ends_with_has_an_answer(how: str, status: int, error: str) -> None:
    with capture_logs() as lines:
        got = ask("GET", f"/public/api/fail/{how}")
    assert (got.status, got.json["error"]) == (status, error)
    assert ("retry-after" in got.headers) is (status == 503)
    assert b"hush-hush" not in got.raw
    assert any(line["event"] == "request failed" for line in lines) is (status == 500)


def test_one_log_line_per_request_says_nothing_of_query_body_or_secret() -> None:
    with capture_logs() as lines:
        ask("POST", "/public/api/note?secret=top-1", b'{"note":"top-2"}', JSON, sign=True)
        ask("GET", "/" + "x" * 9000)
    assert [line["status"] for line in lines] == [201, 404]
    assert lines[0]["path"] == "/public/api/note"
    assert lines[0]["caller"] == KEY.id
    assert len(lines[1]["path"]) <= 200
    assert "top-" not in repr(lines)


# -- other origins ----------------------------------------------------------------------------------------------------


def test_options_lists_the_methods_and_other_origins_are_off_by_default() -> None:
    got = ask("OPTIONS", "/public/api/echo", headers={"Origin": "https://a.example"})
    assert (got.status, got.json, got.headers["allow"]) == (200, {}, "OPTIONS, GET, HEAD, POST, PATCH, DELETE")
    assert not [name for name in got.headers if name.startswith("access-control")]
    assert ask("OPTIONS", "/public/api/none").status == 404


def test_a_listed_origin_is_allowed_and_another_is_not() -> None:
    app = api(cors=Cors(origins=frozenset({"https://a.example"})))
    got = ask("OPTIONS", "/public/api/echo", app=app, headers={"Origin": "https://a.example"})
    assert got.headers["access-control-allow-origin"] == "https://a.example"
    assert got.headers["access-control-allow-methods"] == "OPTIONS, GET, HEAD, POST, PATCH, DELETE"
    assert "Signature" in got.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in got.headers
    other = ask("GET", "/public/api/echo", app=app, headers={"Origin": "https://b.example"})
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["vary"] == "origin"


def test_all_origins_may_be_allowed() -> None:
    app = api(cors=Cors(origins=frozenset({"*"})))
    got = ask("GET", "/public/api/none", app=app, headers={"Origin": "https://a.example"})
    assert (got.status, got.headers["access-control-allow-origin"]) == (404, "*")

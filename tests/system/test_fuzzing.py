"""Strangers' input, drawn by the OpenAPI document and by spite: no 500, no hang, nothing changed by what is refused.

Every request is signed and goes over a socket to a server in a process of its own. `docs` says what a valid request
is: what the document promises, the answer keeps.
"""

import hashlib
import hmac
import json
import random
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import quote_from_bytes

import pytest
import requests
import schemathesis
from harness import Server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

PATIENCE: Final = 20.0
"""Seconds after which an answer counts as a hang; a guard, not a measurement."""

DOUBT: Final = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

Answer = requests.Response


class World(NamedTuple):
    """A server with trades in several states, and a session to it."""

    server: Server
    session: requests.Session
    ids: dict[str, list[int]]

    def sign(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign the request as it will be on the wire."""
        body = prepared.body or b""
        raw = body if isinstance(body, bytes) else body.encode()
        signed = prepared.path_url.encode() + raw
        prepared.headers["Apikey"] = self.server.api_key
        prepared.headers["Signature"] = hmac.new(self.server.secret.encode(), signed, hashlib.sha256).hexdigest()
        return prepared

    def send(self, request: requests.Request) -> Answer:
        return self.session.send(self.sign(self.session.prepare_request(request)), timeout=PATIENCE)

    def raw(self, method: str, target: str, body: bytes = b"", content_type: str = "application/json") -> Answer:
        """A request whose target is not tidied up on the way."""
        prepared = requests.Request(
            method, self.server.url, data=body, headers={"Content-Type": content_type}
        ).prepare()
        prepared.url = self.server.url + target
        return self.session.send(self.sign(prepared), timeout=PATIENCE)

    def mark(self) -> Any:
        """Changes with every change of a trade or of an order."""
        state = self.session.get(f"{self.server.url}/sandbox/state", timeout=PATIENCE).json()
        orders = self.session.get(f"{self.server.url}/sandbox/orders", timeout=PATIENCE).json()
        return state["digest"], state["now"], orders


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Server(tmp_path_factory.mktemp("fuzzed")) as server, requests.Session() as session:
        session.trust_env = False
        market = server.market(lot="0.001", min_total=1)
        account = server.account(market, USDT=1_000_000)
        market.quote(100)
        trades = [
            account.create(
                market,
                position={"type": "buy", "order_type": kind, "units": {"value": "1"}, "price": {"value": "99"}},
                stop_loss={
                    "enabled": True,
                    "order_type": "market",
                    "conditional": {"price": {"type": "bid", "value": "90"}},
                },
            )
            for kind in ("market", "limit", "market", "limit")
        ]
        trades[2].close_by_market()
        steps = [each["id"] for trade in trades for each in trade.trades()]
        yield World(server, session, {"account": [account.id], "trade": [trade.id for trade in trades], "step": steps})
        assert server.running, server.log()
        log = server.log()
        assert "Traceback" not in log
        assert "broke a rule" not in log


# --- what the document allows ---------------------------------------------------------------------------------------


MISCHIEF: Final = frozenset({"/sandbox/clock", "/sandbox/faults"})
"""Allowed, and obeyed: a clock moved by centuries, an exchange that never answers again."""


def operations(world: World) -> Iterator[Any]:
    """What the document describes, each with a strategy for valid requests."""
    generation = GenerationConfig(modes=[GenerationMode.POSITIVE])
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    document = world.session.get(f"{world.server.url}/openapi.json", timeout=PATIENCE).json()
    for result in schemathesis.openapi.from_dict(document, config=config).get_all_operations():
        operation = result.ok()
        if operation.path not in MISCHIEF:
            yield operation


def kind_of(case: schemathesis.Case, name: str) -> str:
    """What a parameter of the path identifies."""
    if "accounts" in case.path:
        return "account"
    return "step" if name == "id" and "/trades/" in case.path else "trade"


def test_whatever_the_document_allows_is_answered_as_it_says(world: World, subtests: pytest.Subtests) -> None:
    for operation in operations(world):

        @DOUBT
        @given(
            case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE), pick=st.randoms(use_true_random=False)
        )
        def answers_as_documented(case: schemathesis.Case, pick: random.Random) -> None:
            for name, drawn in case.path_parameters.items():
                case.path_parameters[name] = pick.choice([*world.ids[kind_of(case, name)], drawn])
            before = world.mark()
            answer = world.send(requests.Request(**case.as_transport_kwargs(base_url=world.server.url)))
            case.validate_response(
                answer, checks=[not_a_server_error, content_type_conformance, response_schema_conformance]
            )
            if answer.status_code >= 400:
                assert world.mark() == before

        with subtests.test(operation.label):
            answers_as_documented()


# --- what nobody allows ---------------------------------------------------------------------------------------------

NUMBERS: Final = [
    "", " ", "0", "-0", "-1", "1e400", "-1e400", "1e-400", "NaN", "Infinity", "0x10", "1_000", "１", "٣", "1,5",
    "9" * 400, "0." + "9" * 400, "1" + "0" * 60, "+1", ".5", "5.", "null", "true", "\0", "1\0", "--1", "1e",
]  # fmt: skip
ODD: Final = [
    None, True, False, [], {}, [[]], {"": ""}, {"value": {"value": {"value": 1}}}, 0, -1, 2**31, 2**63, 2**64, 10**400,
    0.1, -0.0, 1e308, "a" * 100_000, "\ud800", "'; DROP TABLE trades; --", "../../etc/passwd", "${jndi:ldap://x}",
    "<script>alert(1)</script>", "%00", "\r\nSet-Cookie: a=b", *NUMBERS,
]  # fmt: skip

CREATE: Final = {
    "account_id": 1,
    "pair": "USDT_BTC",
    "instant": False,
    "skip_enter_step": False,
    "leverage": {"enabled": False, "type": "isolated", "value": 5},
    "position": {
        "type": "buy",
        "order_type": "conditional",
        "units": {"value": "1"},
        "price": {"value": "99"},
        "total": {"value": "99"},
        "conditional": {
            "price": {"value": "120", "type": "ask"},
            "order_type": "limit",
            "trailing": {"enabled": True, "percent": "1"},
        },
    },
    "take_profit": {
        "enabled": True,
        "steps": [
            {
                "id": 1,
                "order_type": "limit",
                "position": 1,
                "volume": 100,
                "price": {"value": "130", "type": "bid", "percent": "5"},
                "trailing": {"enabled": True, "percent": "-1"},
            }
        ],
    },
    "stop_loss": {
        "enabled": True,
        "order_type": "limit",
        "breakeven": True,
        "price": {"value": "90", "percent": "1"},
        "conditional": {
            "price": {"value": "90", "type": "bid", "percent": "2"},
            "trailing": {"enabled": True, "percent": "1"},
        },
        "timeout": {"enabled": True, "value": 5},
    },
    "note": "x",
}


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where `document` has a value."""
    if path:
        yield path
    members = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, member in members:
        yield from places(member, (*path, name))


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return copy


def check(world: World, answer: Answer, before: Any) -> None:
    """No error of ours; a refusal is JSON in the documented form, and has changed nothing."""
    assert answer.status_code < 500, answer.text
    document = answer.json()
    if answer.status_code >= 400:
        assert isinstance(document["error"], str)
        assert world.mark() == before


ODD_VALUES: Final = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(DOUBT, max_examples=150)
@given(path=st.sampled_from(list(places(CREATE))), value=ODD_VALUES)
def test_any_value_at_any_place_of_a_create_or_an_edit_is_taken_or_refused_as_a_whole(
    world: World, path: tuple[Any, ...], value: Any
) -> None:
    valid = {**CREATE, "account_id": world.ids["account"][0]}
    body = json.dumps(with_value(valid, path, value)).encode()
    before = world.mark()
    check(world, world.raw("POST", "/public/api/v2/smart_trades", body), before)
    before = world.mark()
    check(world, world.raw("PATCH", f"/public/api/v2/smart_trades/{world.ids['trade'][0]}", body), before)


BRACKETS: Final = st.lists(
    st.sampled_from(["[", "]", "[]", "a", "position", "units", "value", "=", "&", "%5B", "%", "+", "1", "."])
)


@settings(DOUBT, max_examples=100)
@given(form=BRACKETS.map("".join).map(str.encode) | st.binary(max_size=200))
def test_any_form_is_taken_or_refused_as_a_whole(world: World, form: bytes) -> None:
    before = world.mark()
    answer = world.raw("POST", "/public/api/v2/smart_trades", form, "application/x-www-form-urlencoded")
    check(world, answer, before)


@settings(DOUBT, max_examples=100)
@given(
    name=st.sampled_from(
        [
            "page",
            "per_page",
            "account_id",
            "pair",
            "type",
            "status",
            "order_by",
            "order_direction",
            "from",
            "to",
            "base",
        ]
    ),
    value=st.sampled_from(NUMBERS) | st.text(max_size=30) | st.integers().map(str) | st.datetimes().map(str),
)
def test_any_filter_and_page_of_the_list_is_answered_or_refused(world: World, name: str, value: str) -> None:
    with suppress(UnicodeEncodeError):
        answer = world.raw("GET", f"/public/api/v2/smart_trades?{name}={quote_from_bytes(value.encode())}")
        assert answer.status_code < 500, answer.text
        assert isinstance(answer.json(), list) or answer.status_code >= 400


HOSTILE: Final[dict[str, Callable[[], bytes]]] = {
    "empty": lambda: b"",
    "a NUL": lambda: b"\0",
    "a byte order mark": lambda: b"\xef\xbb\xbf{}",
    "UTF-16": lambda: '{"note": "x"}'.encode("utf-16"),
    "broken UTF-8": lambda: b'{"note": "\xff\xfe"}',
    "nested arrays": lambda: b"[" * 100_000,
    "closed nested arrays": lambda: b"[" * 5_000 + b"]" * 5_000,
    "nested objects": lambda: b'{"position":' * 20_000 + b"1" + b"}" * 20_000,
    "a long number": lambda: b'{"account_id": ' + b"9" * 500_000 + b"}",
    "a long exponent": lambda: b'{"account_id": 1e' + b"9" * 1_000 + b"}",
    "many keys": lambda: json.dumps({f"k{number}": 1 for number in range(50_000)}).encode(),
    "the same key often": lambda: b"{" + b",".join([b'"note":"x"'] * 10_000) + b"}",
    "keys that might collide": lambda: json.dumps(dict.fromkeys(map(str, range(0, 2_000_000, 64)), 0)).encode(),
    "a thousand targets": lambda: json.dumps(with_value(CREATE, ("take_profit", "steps"), [{}] * 1_000)).encode(),
    "only spaces": lambda: b" " * 900_000,
    "a comment": lambda: b"{/* x */}",
    "a trailing comma": lambda: b'{"note": "x",}',
    "NaN": lambda: b'{"account_id": NaN}',
    "single quotes": lambda: b"{'note': 'x'}",
    "XML": lambda: b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
    "a prototype": lambda: b'{"__proto__": {"enabled": true}, "constructor": {"x": 1}}',
    "two documents": lambda: b'{"note": "x"}{"note": "y"}',
    "an array": lambda: b'[{"note": "x"}]',
    "a text": lambda: b'"note"',
    "null": lambda: b"null",
    "printable noise": string.printable.encode,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", ""])
def test_hostile_bodies_are_refused_or_mean_nothing(world: World, name: str, content_type: str) -> None:
    body = HOSTILE[name]()
    targets = ["", f"/{world.ids['trade'][0]}/add_funds", f"/{world.ids['trade'][1]}/reduce_funds"]
    for target in targets:
        before = world.mark()
        answer = world.raw("POST", f"/public/api/v2/smart_trades{target}", body, content_type)
        assert 400 <= answer.status_code < 500, (target, answer.status_code)
        check(world, answer, before)


@pytest.mark.parametrize(
    "target",
    [
        "/public/api/v2/smart_trades/0", "/public/api/v2/smart_trades/-1", f"/public/api/v2/smart_trades/{10**20}",
        "/public/api/v2/smart_trades/1e3", "/public/api/v2/smart_trades/%31", "/public/api/v2/smart_trades/1%00",
        "/public/api/v2/smart_trades/..%2f..%2fetc", "/public/api/v2/../../etc/passwd", "//public/api/v2/smart_trades",
        "/public/api/v2/smart_trades/" + "1" * 5_000, "/public/api/v2/smart_trades?" + "a[b]=1&" * 3_000,
        "/public/api/v2/smart_trades?" + "a" + "[x]" * 1_000 + "=1", "/%ff%fe", "/public/api/v2/smart_trades/\u0661",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "HEAD", "BREW"])
def test_hostile_targets_are_answered_in_json(world: World, method: str, target: str) -> None:
    before = world.mark()
    answer = world.raw(method, quote_from_bytes(target.encode(), safe=string.punctuation))
    assert answer.status_code < 500, answer.text
    if method != "HEAD":
        answer.json()
    if answer.status_code >= 400:
        assert world.mark() == before

"""What unmodified clients of other people put on the wire, byte for byte, and what they read in the answers.

The sections are those of the page on existing clients: signature, places of parameters, values, answers, fields, base
address. Whose client needs a rule is said beside it.
"""

import json
import re
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from harness import Account, Entity, Market, Server, Trade
from raw_http import BASE, FORM, JSON, TRADES, Header, Key, Wire, new_key, rsa_pair, sign

VALIDATE = f"{BASE}/ver1/validate"
CHANGE_MODE = f"{BASE}/ver1/users/change_mode"
BAD_SIGNATURE = {"error": "signature_invalid", "error_description": "Provided signature is invalid"}

POSITION = {"type": "buy", "order_type": "limit", "units": {"value": "1"}, "price": {"value": "90"}}
TAKE_PROFIT = {
    "enabled": True,
    "steps": [{"order_type": "limit", "volume": 100, "price": {"type": "bid", "value": 110}}],
}
STOP_LOSS = {
    "enabled": True,
    "order_type": "market",
    "conditional": {"price": {"type": "bid", "value": "80"}, "trailing": {"enabled": False, "percent": None}},
}
OFF = {"take_profit": {"enabled": False}, "stop_loss": {"enabled": False}}


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    wire = Wire(server)
    yield wire
    wire.close()


@pytest.fixture
def market(server: Server) -> Market:
    market = server.market()
    market.quote("99", "100")
    return market


@pytest.fixture
def account(server: Server, market: Market) -> Account:
    return server.account(market, USDT=10_000)


@pytest.fixture
def trade(account: Account, market: Market) -> Trade:
    """A long that waits for its limit entry, with a target and a stop."""
    return account.create(market, position=POSITION, take_profit=TAKE_PROFIT, stop_loss=STOP_LOSS)


def plan(account: Account, market: Market, **groups: Any) -> Entity:
    return {"account_id": account.id, "pair": market.pair, "position": POSITION, **OFF, **groups}


def compact(body: Any) -> bytes:
    """JSON as JavaScript writes it: no spaces, raw UTF-8."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


# --- 1. signature -----------------------------------------------------------------------------------------------------

NOTE_JSON, NOTE_FORM = b'{"note": "a"}', b"note=a"
SIGNED = {
    "S1 target as sent": ("GET", VALIDATE, b"", None, VALIDATE),
    "S1 with a query": ("GET", f"{TRADES}?per_page=1&status=all", b"", None, f"{TRADES}?per_page=1&status=all"),
    "S1 with a slash": ("GET", f"{VALIDATE}/", b"", None, f"{VALIDATE}/"),
    "S2 path? sent and signed": ("GET", f"{VALIDATE}?", b"", None, f"{VALIDATE}?"),
    "S2 path sent, path? signed": ("GET", VALIDATE, b"", None, f"{VALIDATE}?"),
    "S2 path? sent, path signed": ("GET", f"{VALIDATE}?", b"", None, VALIDATE),
    "S2 for POST": ("POST", "{trade}/force_process", b"", None, "{trade}/force_process?"),
    "S3 JSON": ("POST", "{trade}/set_note", NOTE_JSON, JSON, '{trade}/set_note{"note": "a"}'),
    "S4 JSON with ?": ("POST", "{trade}/set_note", NOTE_JSON, JSON, '{trade}/set_note?{"note": "a"}'),
    "S4 path? sent": ("POST", "{trade}/set_note?", NOTE_JSON, JSON, '{trade}/set_note?{"note": "a"}'),
    "S5 form with ?": ("POST", "{trade}/set_note", NOTE_FORM, FORM, "{trade}/set_note?note=a"),
    "S6 form": ("POST", "{trade}/set_note", NOTE_FORM, FORM, "{trade}/set_notenote=a"),
    "S7 query and body": ("POST", "{trade}/set_note?a=1", NOTE_JSON, JSON, '{trade}/set_note?a=1{"note": "a"}'),
    "S7 query and form": ("POST", "{trade}/set_note?a=1", NOTE_FORM, FORM, "{trade}/set_note?a=1note=a"),
    "query & body": ("POST", "{trade}/set_note?a=1", NOTE_FORM, FORM, "{trade}/set_note?a=1&note=a"),
}


@pytest.mark.parametrize("form", SIGNED.values(), ids=SIGNED.keys())
def test_every_string_that_real_clients_sign_is_accepted(wire: Wire, trade: Trade, form: tuple[Any, ...]) -> None:
    method, target, body, content_type, payload = form
    here = f"{BASE}{trade.path()}"
    reply = wire.signed(
        method, target.replace("{trade}", here), body, content_type, payload=payload.replace("{trade}", here).encode()
    )
    assert reply.status in (200, 201), reply.body


UNSIGNED_PARTS = {
    "JSON body left out": ("POST", "{trade}/set_note", NOTE_JSON, "{trade}/set_note"),
    "JSON body left out, with ?": ("POST", "{trade}/set_note", NOTE_JSON, "{trade}/set_note?"),
    "form body left out": ("POST", "{trade}/set_note", NOTE_FORM, "{trade}/set_note"),
    "body alone": ("POST", "{trade}/set_note", NOTE_FORM, "note=a"),
    "path below the base": ("POST", "{trade}/set_note", NOTE_FORM, "/v2/smart_trades/{id}/set_note?note=a"),
    "query left out": ("GET", f"{TRADES}?per_page=1", b"", TRADES),
    "query left out beside a body": ("POST", "{trade}/set_note?a=1", NOTE_JSON, '{trade}/set_note{"note": "a"}'),
    "body left out beside a query": ("POST", "{trade}/set_note?a=1", NOTE_JSON, "{trade}/set_note?a=1"),
    "literal {id}": ("GET", "{trade}", b"", f"{TRADES}/{{id}}"),
    "JSON printed again": ("POST", "{trade}/set_note", b'{"note":"a"}', '{trade}/set_note{"note": "a"}'),
    "trailing slash added": ("GET", "{trade}/", b"", "{trade}"),
    "query in another order": ("GET", f"{TRADES}?page=1&per_page=1", b"", f"{TRADES}?per_page=1&page=1"),
    "query encoded": ("GET", f"{TRADES}?from=2024-08-12T00:00:00Z", b"", f"{TRADES}?from=2024-08-12T00%3A00%3A00Z"),
    "percent sign lost": ("POST", "{trade}/set_note", b"note=a%26b%3Dc", "{trade}/set_note?note=a&b=c"),
    "percent sign lost in query": ("POST", "{trade}/set_note?note=a%26b%3Dc", b"", "{trade}/set_note?note=a&b=c"),
    "another trade": ("GET", "{trade}", b"", f"{TRADES}/1234567"),
}


@pytest.mark.parametrize("form", UNSIGNED_PARTS.values(), ids=UNSIGNED_PARTS.keys())
def test_a_signature_that_leaves_a_part_out_or_rewrites_it_is_refused(
    wire: Wire, trade: Trade, form: tuple[Any, ...]
) -> None:
    method, target, body, payload = form
    here, before = f"{BASE}{trade.path()}", trade.get()
    signed = payload.replace("{trade}", here).replace("/{id}/", f"/{trade.id}/").encode()
    content_type = JSON if body.startswith(b"{") else FORM
    reply = wire.signed(method, target.replace("{trade}", here), body, content_type, payload=signed)
    assert (reply.status, reply.body) == (401, BAD_SIGNATURE)
    assert trade.get() == before


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"note": "für 5 €, \U0001f680"}).encode(),  # py3cw: spaces, \u escapes
        compact({"note": "für 5 €, \U0001f680"}),  # JavaScript: none, raw UTF-8
        b'{ "note" :\t"f\\u00fcr 5 \xe2\x82\xac, \\ud83d\\ude80"\r\n}\n',
    ],
)
def test_a_json_body_is_signed_byte_for_byte_as_written(wire: Wire, trade: Trade, body: bytes) -> None:
    reply = wire.signed("POST", f"{BASE}{trade.path('/set_note')}", body, "application/json; charset=utf-8")
    assert (reply.status, reply.body["note"]) == (201, "für 5 €, \U0001f680")


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b" ",
        b"0",
        b"g" * 64,
        b"0" * 63,
        b"0" * 65,
        b"0" * 64,
        b"\xff" * 64,
        "ä".encode() * 32,
        "٣".encode() * 64,
        b"0x" + b"0" * 62,
        b"-" + b"0" * 63,
        b"_0" * 32,
        b"AA==",
        b"=" * 64,
        b"null",
        b"x" * 10_000,
    ],
)
def test_garbage_in_the_signature_is_401_and_never_500(server: Server, wire: Wire, garbage: bytes) -> None:
    for api_key in (server.api_key, new_key(server, rsa_public_key=rsa_pair().public_pem).api_key):
        reply = wire.send("GET", VALIDATE, headers=[("Apikey", api_key), ("Signature", garbage)])
        assert (reply.status, reply.body) == (401, BAD_SIGNATURE)


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 64, "ключ".encode(), b"x" * 10_000, b"' OR 1=1 --", b"null"])
def test_garbage_in_the_key_is_an_unknown_key(wire: Wire, garbage: bytes) -> None:
    reply = wire.send("GET", VALIDATE, headers=[("Apikey", garbage), ("Signature", "0" * 64)])
    assert (reply.status, reply.body["error"]) == (401, "api_key_invalid_or_expired")


def test_a_missing_signature_is_a_wrong_one(wire: Wire) -> None:
    reply = wire.send("GET", VALIDATE, headers=[("Apikey", wire.key.api_key)])
    assert (reply.status, reply.body) == (401, BAD_SIGNATURE)


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, str.swapcase])
def test_hex_digits_and_header_names_come_in_any_case_but_the_key_in_its_own(wire: Wire, spell: Any) -> None:
    def ask(api_key: str, signature: str) -> int:
        headers = [(spell("Apikey"), api_key), (spell("Signature"), signature)]
        return wire.send("GET", VALIDATE, headers=headers).status

    digits = sign(wire.key, VALIDATE.encode())
    mixed = "".join(digit.upper() if place % 2 else digit for place, digit in enumerate(digits))
    assert [ask(wire.key.api_key, each) for each in (digits, digits.upper(), mixed)] == [200, 200, 200]
    assert ask(wire.key.api_key.swapcase(), digits) == 401


@pytest.mark.parametrize("name", ["APIKEY", "apiKey", "ApiKey", "apikey"])
def test_the_names_of_the_key_header_that_clients_use_are_one(wire: Wire, name: str) -> None:
    headers = [(name, wire.key.api_key), ("SIGNATURE", sign(wire.key, VALIDATE.encode()))]
    assert wire.send("GET", VALIDATE, headers=headers).status == 200


def test_an_hmac_key_never_takes_an_rsa_signature_nor_the_secret_itself(server: Server, wire: Wire) -> None:
    registered = new_key(server, rsa_public_key=rsa_pair().public_pem)
    with_public_key = registered._replace(secret=rsa_pair().public_pem.decode())  # known to everybody
    assert wire.signed("GET", VALIDATE, key=with_public_key).body == BAD_SIGNATURE
    for signature in (wire.key.secret, b64encode(bytes(256)).decode()):
        reply = wire.send("GET", VALIDATE, headers=[("Apikey", wire.key.api_key), ("Signature", signature)])
        assert reply.body == BAD_SIGNATURE


def test_the_secret_is_never_echoed_and_never_logged(tmp_path: Path) -> None:
    # 3commas-api-client sends the secret as a parameter with every request.
    with Server(tmp_path, environment={"SMARTTRADE_LOG_LEVEL": "debug"}) as server:
        wire, secret = Wire(server), server.secret
        market = server.market()
        market.quote("99", "100")
        body = {**plan(server.first_account, market), "secret": secret, "note": "kept"}
        replies = [
            wire.signed("POST", TRADES, compact(body), JSON),
            wire.signed("GET", f"{TRADES}?secret={secret}&api_key={server.api_key}"),
            wire.signed("GET", f"{BASE}/ver1/accounts/types_to_connect?type=none&name=a&api_key=b&secret={secret}"),
            wire.signed("GET", f"{BASE}/ver1/nothing?secret={secret}"),
            wire.signed("POST", TRADES, compact({"secret": secret}), JSON),
            wire.signed("POST", TRADES, f"secret={secret}".encode(), "text/plain"),
            wire.signed("POST", TRADES, f'{{"secret":"{secret}"'.encode(), JSON),
            wire.send(
                "GET", f"{VALIDATE}?secret={secret}", headers=[("Apikey", server.api_key), ("Signature", secret)]
            ),
        ]
        assert [reply.status for reply in replies] == [201, 200, 400, 404, 400, 415, 400, 401]
        for reply in replies:
            assert secret not in reply.raw.decode() + str(reply.headers)
        wire.close()
        server.stop()
        log = server.log()
    assert log.count('"event": "request"') + log.count('"event":"request"') >= len(replies)  # there is a log at all
    for told in (secret, server.api_key, "kept", "secret="):
        assert told not in log


# --- 2. where parameters are ------------------------------------------------------------------------------------------


def flat(parameters: Entity, path: str = "") -> list[tuple[str, str]]:
    """Parameters as pairs with brackets and indices, as 3commas-api-node and PHP write them."""
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        place = f"{path}[{name}]" if path else name
        if isinstance(value, list):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            pairs += flat({str(key): each for key, each in value.items()}, place)
        elif value is not None:
            pairs.append((place, str(value)))
    return pairs


def encoded(parameters: Entity, *, indexed: bool, raw: bool) -> str:
    """A form or query; `indexed` false writes `[]`, `raw` leaves brackets unencoded."""
    text = urlencode(flat(parameters), safe="[]" if raw else "")
    if indexed:
        return text
    return re.sub(r"\[\d+\]", "[]", text) if raw else re.sub(r"%5B\d+%5D", "%5B%5D", text)


STEPS = {
    "enabled": True,
    "steps": [
        {"order_type": "limit", "volume": 30, "price": {"type": "bid", "value": "110"}},
        {"order_type": "limit", "volume": 30, "price": {"type": "bid", "value": "120"}},
        {"order_type": "market", "volume": 40, "price": {"type": "last", "value": "130"},
         "trailing": {"enabled": True, "percent": "0.5"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("raw", [True, False], ids=["raw brackets", "encoded brackets"])
@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "empty brackets"])
@pytest.mark.parametrize("place", ["query", "body"])
def test_nested_parameters_mean_the_same_in_every_notation_and_place(
    wire: Wire, account: Account, market: Market, place: str, indexed: bool, raw: bool
) -> None:
    text = encoded(plan(account, market, take_profit=STEPS, stop_loss=STOP_LOSS), indexed=indexed, raw=raw)
    if place == "query":  # 3commas-api-node: all in the query, Content-Length 0
        reply = wire.signed("POST", f"{TRADES}?{text}", b"", FORM)
    else:
        reply = wire.signed("POST", TRADES, text.encode(), FORM, payload=f"{TRADES}?{text}".encode())
    assert reply.status == 201, reply.body
    shown = [
        (step["order_type"], step["volume"], step["price"]["value"], step["trailing"]["percent"])
        for step in reply.body["take_profit"]["steps"]
    ]
    assert shown == [
        ("limit", "30.0", "110.0", None),
        ("limit", "30.0", "120.0", None),
        ("market", "40.0", "130.0", "0.5"),
    ]
    assert reply.body["stop_loss"]["conditional"]["price"]["value"] == "80.0"


def test_patch_and_delete_take_their_parameters_from_the_query(wire: Wire, trade: Trade) -> None:
    query = encoded({"position": {"price": {"value": "91"}}}, indexed=True, raw=False)
    edited = wire.signed("PATCH", f"{BASE}{trade.path()}?{query}", b"", JSON)
    assert (edited.status, edited.body["position"]["price"]["value"]) == (200, "91.0")
    assert wire.signed("DELETE", f"{BASE}{trade.path()}?id={trade.id}&forced_mode=paper").status == 200


def test_the_value_in_the_query_wins_over_the_one_in_the_body(wire: Wire, trade: Trade) -> None:
    target = f"{BASE}{trade.path('/set_note')}?note=query"
    assert wire.signed("POST", target, b'{"note": "body"}', JSON).body["note"] == "query"
    nested = f"{BASE}{trade.path()}?position[price][value]=92"
    body = b'{"position": {"price": {"value": 1}, "type": "buy"}}'
    assert wire.signed("PATCH", nested, body, JSON).body["position"]["price"]["value"] == "92.0"


@pytest.mark.parametrize("space", ["+", "%20"])
def test_plus_and_percent_twenty_are_both_a_space(wire: Wire, trade: Trade, space: str) -> None:
    target, text = f"{BASE}{trade.path('/set_note')}", f"note=a{space}b%2Bc%26d"
    assert wire.signed("POST", f"{target}?{text}").body["note"] == "a b+c&d"
    assert wire.signed("POST", target, text.encode(), FORM).body["note"] == "a b+c&d"


@pytest.mark.parametrize("content_type", [None, JSON, FORM, "application/json; charset=utf-8", "text/plain"])
def test_an_empty_body_of_any_type_is_fine_on_every_method(wire: Wire, trade: Trade, content_type: str | None) -> None:
    here = f"{BASE}{trade.path()}"
    for method, target, status in (
        ("GET", here, 200),
        ("GET", f"{here}/trades", 200),
        ("POST", f"{here}/force_process", 201),
        ("PATCH", here, 200),
        ("PUT", f"{BASE}/ver1/users/locale?locale=de", 200),
        ("DELETE", here, 200),
    ):
        assert wire.signed(method, target, b"", content_type).status == status


def test_delete_takes_a_body_and_repeated_ids_mean_nothing(wire: Wire, trade: Trade) -> None:
    body = json.dumps({"id": "1", "smart_trade_id": 5, "secret": "s"}).encode()
    reply = wire.signed("DELETE", f"{BASE}{trade.path()}", body, JSON)
    assert (reply.status, reply.body["id"]) == (200, trade.id)


def test_get_ignores_a_body(wire: Wire, trade: Trade) -> None:
    reply = wire.signed("GET", f"{TRADES}?account_id={trade.account.id}", b'{"account_id": 7, broken', JSON)
    assert [each["id"] for each in reply.body] == [trade.id]


def test_a_body_without_a_type_is_what_it_looks_like(wire: Wire, trade: Trade) -> None:
    target = f"{BASE}{trade.path('/set_note')}"
    assert wire.signed("POST", target, b' {"note": "json"}').body["note"] == "json"
    assert wire.signed("POST", target, b"note=form").body["note"] == "form"


# --- 3. values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("yes", [True, "true", "True", "TRUE", 1, "1"])
@pytest.mark.parametrize("no", [False, "false", "False", 0, "0", None, ""])
def test_booleans_come_in_the_spelling_of_every_language(account: Account, market: Market, yes: Any, no: Any) -> None:
    off = "False" if no in (None, "") else no  # a group that is there must say whether it is on
    asked = {
        "instant": no,
        "skip_enter_step": yes,
        "take_profit": {**TAKE_PROFIT, "enabled": yes},
        "stop_loss": {"enabled": off, "breakeven": no},
        "leverage": {"enabled": no},
    }
    created = account.request(market, position={**POSITION, "order_type": "market"}, **asked)
    assert created.status == 201, created.body
    assert (created.body["skip_enter_step"], created.body["instant"]) == (True, False)
    assert (created.body["take_profit"]["enabled"], created.body["stop_loss"]) == (True, {"enabled": False})


@pytest.mark.parametrize("digits", ["1.0024937655860349127", 1.0024937655860349, "1.09", "+1.0", "10e-1", "1.", 1])
def test_more_digits_than_the_market_has_are_brought_to_its_steps(
    account: Account, market: Market, digits: Any
) -> None:
    asked = {"position": {**POSITION, "units": {"value": digits}, "price": {"value": "90.00999999999999999"}}}
    shown = account.create(market, **asked).created["position"]
    assert (shown["units"]["value"], shown["price"]["value"]) == ("1.0", "90.0")


def test_ids_come_as_text_too(account: Account, market: Market, wire: Wire) -> None:
    body = {**plan(account, market), "account_id": str(account.id)}
    assert wire.signed("POST", TRADES, compact(body), JSON).status == 201
    assert len(wire.signed("GET", f"{TRADES}?account_id={account.id}").body) == 1


def test_null_and_unknown_keys_are_ignored_at_every_level(account: Account, market: Market) -> None:
    nothing = {"x": None, "unknown": {"deep": [1, None]}}
    trailing_off = {"enabled": False, "percent": None, **nothing}
    step = {**TAKE_PROFIT["steps"][0], "id": 0, "editable": True, "total": 5, "trailing": trailing_off, **nothing}  # type: ignore[index]
    asked = {
        "position": {**POSITION, "editable": True, "total": {"value": 1}, "conditional": None, **nothing},
        "take_profit": {"enabled": True, "steps": [step], **nothing},
        "stop_loss": {**STOP_LOSS, "breakeven": None, "timeout": None, "price": None, **nothing},
        "leverage": None,
        "note": None,
        "id": 0,
        "secret": "s",
        **nothing,
    }
    answer = account.request(market, **asked)
    assert answer.status == 201, answer.body


@pytest.mark.parametrize(
    "leverage",
    [
        {"enabled": False},
        {"enabled": "false"},
        {"enabled": False, "type": "custom", "value": "20"},
        {"enabled": False, "type": "nonsense", "value": "many"},
        {"enabled": True, "type": "isolated", "value": "999"},
    ],
)
def test_leverage_on_a_spot_account_is_no_error(account: Account, market: Market, leverage: Entity) -> None:
    assert account.create(market, position=POSITION, leverage=leverage).created["leverage"] == {"enabled": False}


def test_a_trade_of_xcommas_net_is_created_and_edited_with_the_same_body(
    wire: Wire, account: Account, market: Market
) -> None:
    step = {"id": 0, "order_type": "limit", "editable": False, "units": None, "volume": 100.0, "total": None,
            "price": {"value": 110.5, "type": "bid", "percent": None}, "trailing": {"enabled": False, "percent": None},
            "position": 0}  # fmt: skip
    body = compact(
        {
            "account_id": account.id,
            "pair": market.pair,
            "instant": False,
            "skip_enter_step": False,
            "leverage": {"enabled": False},
            "position": {"type": "buy", "units": {"value": 1.0}, "price": {"value": 90.0}, "order_type": "limit"},
            "take_profit": {"enabled": True, "steps": [{**step, "position": None}]},
            "stop_loss": {"enabled": False, "breakeven": False, "order_type": "market"},
        }
    )
    typed = "application/json; charset=utf-8"
    forced: list[Header] = [("Forced-Mode", "paper")]
    created = wire.signed("POST", TRADES, body, typed, payload=f"{TRADES}?".encode() + body, headers=forced)
    assert created.status == 201, created.body
    here = f"{TRADES}/{created.body['id']}"
    edited = wire.signed("PATCH", here, body, typed, payload=f"{here}?".encode() + body, headers=forced)
    assert edited.status == 200, edited.body
    assert edited.body["take_profit"]["steps"][0]["price"]["value"] == "110.5"


@pytest.mark.parametrize("quote", [None, "90", "110"], ids=["waiting", "entered", "finished"])
def test_an_entity_that_was_read_may_come_back_whole_in_a_patch(
    trade: Trade, market: Market, quote: str | None
) -> None:
    if quote is not None:
        market.quote("90")
        market.quote(quote)
    before, ids = trade.get(), [order["client_order_id"] for order in trade.orders()]
    answer = trade.account.server.api.call("PATCH", trade.path(), before)
    if quote == "110":  # over: no edit any more
        assert (answer.status, trade.get()) == (400, before)
        return
    assert answer.status == 200, answer.body
    after = trade.get()
    after["data"]["updated_at"] = before["data"]["updated_at"]
    assert (after, [order["client_order_id"] for order in trade.orders()]) == (before, ids)


def test_unknown_list_parameters_are_ignored(wire: Wire, trade: Trade) -> None:
    query = f"account_id={trade.account.id}&limit=5&order=asc&accountId=99&forced_mode=real&secret=s&x[y][]=1"
    assert [each["id"] for each in wire.signed("GET", f"{TRADES}?{query}").body] == [trade.id]


@pytest.mark.parametrize(
    "query",
    [
        "order_direction=asc",
        "order_direction=DESC",
        "order_direction=Asc&order_by=created_at",
        "status=successfully_finished",
        "status=successfully_finish",
        "status=active&type=smart_trade&per_page=100&page=1",
        "from=2024-08-12&to=2124-08-12T00:00:00.000Z",
        "page=&per_page=&status=",
    ],
)
def test_every_documented_spelling_of_a_list_parameter_is_accepted(wire: Wire, query: str) -> None:
    reply = wire.signed("GET", f"{TRADES}?{query}")
    assert (reply.status, type(reply.body)) == (200, list)


@pytest.mark.parametrize("mode", ["paper", "real"])
def test_what_is_addressed_by_id_answers_in_either_mode(wire: Wire, trade: Trade, mode: str) -> None:
    forced: list[Header] = [("Forced-Mode", mode)]
    here = f"{BASE}{trade.path()}"
    assert wire.signed("GET", here, headers=forced).body["id"] == trade.id
    assert wire.signed("GET", f"{here}/trades", headers=forced).status == 200
    assert wire.signed("GET", f"{BASE}/ver1/accounts/{trade.account.id}", headers=forced).status == 200
    assert len(wire.signed("GET", f"{TRADES}?account_id={trade.account.id}", headers=forced).body) == 1
    listed = wire.signed("GET", f"{TRADES}?pair={trade.created['pair']}", headers=forced).body
    assert len(listed) == (1 if mode == "paper" else 0)
    assert wire.signed("POST", f"{here}/set_note", NOTE_JSON, JSON, headers=forced).status == 201


def test_a_trailing_last_step_may_be_called_limit(account: Account, market: Market) -> None:
    step = {"order_type": "limit", "volume": 100, "price": {"type": "bid", "value": 110},
            "trailing": {"enabled": True, "percent": -0.5}}  # fmt: skip
    shown = account.create(market, position=POSITION, take_profit={"enabled": True, "steps": [step]}).created
    assert shown["take_profit"]["steps"][0]["trailing"] == {"enabled": True, "percent": "0.5"}


# --- 4. answers -------------------------------------------------------------------------------------------------------

CALLS: list[tuple[str, str, bytes]] = [
    ("GET", TRADES, b""),
    ("GET", "{trade}", b""),
    ("GET", "{trade}/trades", b""),
    ("POST", "{trade}/set_note", b'{"note": "n"}'),
    ("POST", "{trade}/force_process", b""),
    ("PATCH", "{trade}", b"{}"),
    ("POST", CHANGE_MODE, b'{"mode": "paper"}'),
    ("PUT", f"{BASE}/ver1/users/locale", b'{"locale": "en"}'),
    ("GET", f"{BASE}/ver1/accounts", b""),
    ("GET", f"{BASE}/ver1/ping", b""),
    ("DELETE", "{trade}", b""),
]
REFUSED_CALLS: list[tuple[str, str, bytes]] = [
    ("GET", f"{TRADES}/987654321", b""),
    ("DELETE", f"{TRADES}/987654321", b""),
    ("POST", f"{TRADES}/987654321/close_by_market", b""),
    ("GET", f"{TRADES}/one", b""),
    ("POST", TRADES, b"{}"),
    ("POST", TRADES, b"{"),
    ("PUT", TRADES, b"{}"),
    ("GET", f"{BASE}/ver1/bots", b""),
    ("GET", "/", b""),
    ("POST", "{trade}/close_by_market", b""),
    ("POST", "{trade}/add_funds", b'{"units": [1]}'),
    ("GET", f"{TRADES}?page=0", b""),
]


def test_every_success_is_json_without_the_key_error_at_its_top(wire: Wire, trade: Trade) -> None:
    # py3cw and ozum/3commas take the key itself for a failure; an empty body makes py3cw report one.
    for method, target, body in CALLS:
        reply = wire.signed(method, target.replace("{trade}", BASE + trade.path()), body, JSON)
        assert reply.status in (200, 201), (target, reply.body)
        assert reply.headers["content-type"] == "application/json"
        assert not (isinstance(reply.body, dict) and "error" in reply.body)


def test_every_refusal_is_a_status_and_a_text_under_error_and_leaves_the_connection_usable(
    wire: Wire, trade: Trade
) -> None:
    assert wire.send("GET", f"{BASE}/ver1/ping").status == 200
    connection = wire.socket
    for method, target, body in REFUSED_CALLS:
        reply = wire.signed(method, target.replace("{trade}", BASE + trade.path()), body, JSON)
        assert 400 <= reply.status < 500, (target, reply.body)
        assert reply.headers["content-type"] == "application/json"
        assert type(reply.body["error"]) is str
        assert set(reply.body) <= {"error", "error_description", "error_attributes"}
        for messages in reply.body.get("error_attributes", {}).values():
            assert (type(messages), {type(each) for each in messages}) == (list, {str})
        if reply.body["error"] == "record_invalid":  # three-commas finds the attributes by these words
            assert reply.body["error_description"] == "Invalid parameters"
    unsigned = wire.send("POST", TRADES, b"{" * 50_000)
    assert unsigned.status == 401
    assert wire.send("GET", f"{BASE}/ver1/ping").status == 200
    assert wire.socket is connection


def test_errors_use_the_words_that_clients_search_for(wire: Wire) -> None:
    unknown = wire.signed("GET", VALIDATE, key=Key(0, "nobody", "x"))
    assert unknown.body == {
        "error": "api_key_invalid_or_expired",
        "error_description": "Unauthorized. Invalid or expired api key.",
    }
    for method, target, status in (
        ("GET", f"{TRADES}/987654321", 400),
        ("DELETE", f"{TRADES}/987654321", 400),
        ("PATCH", f"{TRADES}/987654321", 404),
        ("GET", f"{TRADES}/987654321/trades", 404),
    ):
        reply = wire.signed(method, target)
        assert (reply.status, reply.body) == (
            status,
            {"error": "Not found", "error_description": "Smart Trade not found"},
        )


def test_lists_are_bare_arrays_and_empty_ones_too(wire: Wire, account: Account) -> None:
    assert wire.signed("GET", f"{TRADES}?account_id={account.id}").raw == b"[]"
    assert wire.signed("GET", f"{TRADES}?page=1000000").raw == b"[]"


def test_head_and_options_are_answered_on_a_kept_connection(wire: Wire) -> None:
    full = wire.signed("GET", VALIDATE)
    head = wire.signed("HEAD", VALIDATE)
    assert (head.status, head.raw, head.headers["content-length"]) == (200, b"", full.headers["content-length"])
    options = wire.send("OPTIONS", TRADES)
    assert (options.status, options.headers["allow"]) == (200, "OPTIONS, GET, HEAD, POST")


# --- 5. fields --------------------------------------------------------------------------------------------------------

DECIMAL = re.compile(r"-?\d+\.\d+")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_closed_at_is_absent_until_the_trade_has_ended(trade: Trade, market: Market) -> None:
    # A public bot takes the key itself for "closed".
    assert "closed_at" not in trade.created["data"]
    assert "closed_at" not in trade.get()["data"]
    market.quote("90")
    assert "closed_at" not in trade.get()["data"]
    market.quote("110")
    ended = trade.get()
    assert (ended["status"]["type"], bool(TIMESTAMP.fullmatch(ended["data"]["closed_at"]))) == ("finished", True)


def test_a_trade_without_exits_stays_in_waiting_targets(account: Account, market: Market) -> None:
    trade = account.create(market, position={**POSITION, "order_type": "market"})
    assert trade.status == "waiting_targets"


def test_ids_are_integers_of_32_bits_and_steps_have_the_ids_of_their_trades(trade: Trade) -> None:
    entity, trades = trade.get(), trade.trades()
    ids = [entity["id"], entity["account"]["id"], *(step["id"] for step in entity["take_profit"]["steps"])]
    ids += [each["id"] for each in trades]
    assert {type(each) for each in ids} == {int}
    assert 0 < min(ids) <= max(ids) < 2**31
    listed = [each["id"] for each in trades if each["trade_purpose"] == "take_profit"]
    assert listed == [step["id"] for step in entity["take_profit"]["steps"]]


def test_figures_that_programs_read_as_numbers_are_decimal_text_once_the_entry_is_filled(
    trade: Trade, market: Market
) -> None:
    market.quote("90")
    entity = trade.get()
    for figure in (
        entity["position"]["price"]["value"],
        entity["position"]["price"]["value_without_commission"],
        entity["position"]["units"]["value"],
        entity["position"]["total"]["value"],
        entity["data"]["entered_amount"],
        entity["data"]["entered_total"],
        entity["data"]["average_enter_price"],
        entity["take_profit"]["steps"][0]["price"]["value"],
        entity["take_profit"]["steps"][0]["units"]["value"],
        entity["take_profit"]["steps"][0]["volume"],
        entity["stop_loss"]["conditional"]["price"]["value"],
        entity["profit"]["percent"],
        entity["profit"]["volume"],
    ):
        assert isinstance(figure, str), figure
        assert DECIMAL.fullmatch(figure), figure


def test_notes_switches_and_times_have_the_types_that_clients_expect(trade: Trade, account: Account) -> None:
    entity = trade.get()
    assert (entity["note"], entity["note_raw"]) == ("", None)
    for name in ("created_at", "updated_at"):
        assert TIMESTAMP.fullmatch(entity["data"][name])
    assert "error" not in entity["status"]
    bare = account.create(Market(account.server, "binance", entity["pair"], ""), position=POSITION).get()
    assert bare["take_profit"]["steps"] == []
    assert bare["stop_loss"] == {"enabled": False}


def test_leverage_value_is_text(server: Server) -> None:
    market = server.market(kind="linear", max_leverage=20)
    market.quote("100")
    account = server.account(market, USDT=1000)
    leverage = {"enabled": True, "type": "custom", "value": 5}
    shown = account.create(market, position=POSITION, leverage=leverage).get()["leverage"]
    assert shown == {"enabled": True, "type": "isolated", "value": "5.0", "type_editable": shown["type_editable"]}


def test_trades_show_side_and_status_in_lower_case_and_a_resting_sell_as_placed(trade: Trade, market: Market) -> None:
    market.quote("90")
    shown = {each["trade_purpose"]: (each["order_side"], each["status"]) for each in trade.trades()}
    assert shown == {
        "position": ("buy", "finished"),
        "take_profit": ("sell", "order_placed"),
        "stop_loss": ("sell", "to_process"),
    }


def test_accounts_have_the_fields_that_clients_read(wire: Wire, account: Account) -> None:
    entity = wire.signed("GET", f"{BASE}/ver1/accounts/{account.id}").body
    assert (entity["id"], entity["market_code"]) == (account.id, "paper_trading")
    assert entity["smart_trading_supported"] is True
    assert type(entity["name"]) is type(entity["exchange_name"]) is str
    for amount in (entity["usd_amount"], entity["btc_amount"]):
        assert DECIMAL.fullmatch(amount)


# --- 7. base address --------------------------------------------------------------------------------------------------


def test_one_trailing_slash_answers_without_a_redirect(wire: Wire, trade: Trade) -> None:
    for target in (f"{TRADES}/", f"{BASE}{trade.path()}/", f"{BASE}/ver1/ping/"):
        assert wire.signed("GET", target).status == 200


def test_nothing_answers_below_another_base_or_is_redirected(wire: Wire) -> None:
    for target in ("/v2/smart_trades", "/public/api", "/public/api/", "//public/api/ver1/ping", f"{VALIDATE}.json"):
        reply = wire.signed("GET", target)
        assert (reply.status, reply.body) == (404, {"error": "not_found", "error_description": "Not Found"})


def test_a_percent_encoded_path_is_signed_as_it_is_sent(wire: Wire, trade: Trade) -> None:
    encoded_id = "".join(f"%3{digit}" for digit in str(trade.id))
    assert wire.signed("GET", f"{TRADES}/{encoded_id}").body["id"] == trade.id
    decoded = f"{TRADES}/{trade.id}".encode()
    assert wire.signed("GET", f"{TRADES}/{encoded_id}", payload=decoded).status == 401


# --- what is below HTTP's own words -----------------------------------------------------------------------------------


def spoken(server: Server, text: bytes) -> list[bytes]:
    """Send bytes over a connection of their own, and all that comes back until it is closed, by answers."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(text)
        received = b""
        while more := connection.recv(65536):
            received += more
    return [b"HTTP/1.1 " + answer for answer in received.split(b"HTTP/1.1 ")[1:]]


def head(method: str, target: str, *headers: str) -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: here", *headers, "", "")).encode()


CLOSE, CHUNKED = "Connection: close", "Transfer-Encoding: chunked"


def test_a_body_in_chunks_is_signed_as_it_is_after_transfer(server: Server, wire: Wire, trade: Trade) -> None:
    target = f"{BASE}{trade.path('/set_note')}"
    key = (f"Apikey: {wire.key.api_key}", f"Signature: {sign(wire.key, target.encode() + NOTE_JSON)}")
    chunks = b"5\r\n" + NOTE_JSON[:5] + b"\r\n8\r\n" + NOTE_JSON[5:] + b"\r\n0\r\n\r\n"
    (answer,) = spoken(server, head("POST", target, CLOSE, CHUNKED, f"Content-Type: {JSON}", *key) + chunks)
    assert answer.startswith(b"HTTP/1.1 201")
    assert trade.get()["note"] == "a"


def test_requests_sent_ahead_are_answered_in_their_order(server: Server) -> None:
    ping, last = head("GET", f"{BASE}/ver1/ping"), head("GET", f"{BASE}/ver1/nothing", CLOSE)
    answers = spoken(server, ping * 2 + last)
    assert [answer.split(b" ", 2)[1] for answer in answers] == [b"200", b"200", b"404"]


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(server: Server) -> None:
    # curl does so with a body of more than a mebibyte.
    asking = head("POST", TRADES, CLOSE, "Expect: 100-continue", "Content-Length: 2")
    go_on, answer = spoken(server, asking + b"{}")
    assert (go_on, answer[:12]) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS greeting
        b"garbage\r\n\r\n",
        b"GET \xff HTTP/1.1\r\nHost: here\r\n\r\n",
        head("GET", f"{BASE}/ver1/ping?{'x' * 100_000}"),
        head("POST", TRADES, "Content-Length: -5"),
        head("POST", TRADES, "Content-Length: 5", CHUNKED) + b"0\r\n\r\n",
    ],
    ids=lambda noise: repr(noise[:24]),
)
def test_what_is_not_http_is_400_and_disturbs_nobody(server: Server, wire: Wire, noise: bytes) -> None:
    before = server.state()
    (answer,) = spoken(server, noise)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'"error_description":"Request is not valid HTTP"}')
    assert wire.send("GET", f"{BASE}/ver1/ping").status == 200
    assert server.state() == before
    assert "Invalid HTTP request received." not in [line for line in server.log().splitlines() if line[:1] != "{"]


def test_a_head_without_end_is_refused_before_it_fills_the_memory(server: Server, wire: Wire) -> None:
    try:
        answers = spoken(server, head("GET", f"{BASE}/ver1/ping", f"Padding: {'x' * 20_000_000}"))
    except ConnectionError:  # closed before we had sent it all
        answers = []
    assert not answers or answers[0].startswith(b"HTTP/1.1 431 ")
    assert wire.send("GET", f"{BASE}/ver1/ping").status == 200

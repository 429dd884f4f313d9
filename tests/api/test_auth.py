"""Signatures and callers (auth.md sections 2 to 4). Vectors: published ones, and some computed with their keys."""

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrade.api.auth import (
    Authenticator,
    InvalidPublicKey,
    authorize,
    client_address,
    is_within,
    payloads,
    rsa_public_key,
    signature_matches,
)
from smarttrade.api.errors import ApiError
from smarttrade.domain.account import ApiKey, KeyKind, Mode, Permission, User

DATA = Path(__file__).parent / "data" / "auth"
HMAC: dict[str, Any] = json.loads((DATA / "hmac_vectors.json").read_text())
RSA: dict[str, Any] = json.loads((DATA / "rsa_vectors.json").read_text())
READ = frozenset({Permission.SMART_TRADES_READ})


def api_key(kind: KeyKind = KeyKind.HMAC, secret: str = HMAC["secret"], **changes: Any) -> ApiKey:
    values: dict[str, Any] = {
        "id": 3,
        "user_id": 1,
        "name": "bot",
        "api_key": HMAC["api_key"],
        "kind": kind,
        "secret": secret.encode(),
        "permissions": READ,
        "created_at": 0,
    }
    return ApiKey(**{**values, **changes})


RSA_KEY = api_key(KeyKind.RSA, RSA["public_key_pem"])


def candidates(vector: dict[str, Any]) -> tuple[bytes, ...]:
    if vector["method"] == "WEBSOCKET":
        return (vector["payload"].encode(),)
    path, _, query = vector["target"].partition("?")
    return payloads(path.encode(), query.encode(), (vector["body"] or "").encode())


@pytest.mark.parametrize("vector", HMAC["vectors"], ids=lambda vector: vector["name"])
def test_hmac_vectors_are_accepted_and_refused_as_documented(vector: dict[str, Any]) -> None:
    assert signature_matches(api_key(), candidates(vector), vector["signature"].encode()) is vector["server_accepts"]


@pytest.mark.parametrize("vector", RSA["vectors"], ids=lambda vector: vector["name"])
def test_rsa_vectors_are_accepted_and_refused_as_documented(vector: dict[str, Any]) -> None:
    assert signature_matches(RSA_KEY, candidates(vector), vector["signature"].encode()) is vector["server_accepts"]


def signed(payload: bytes) -> bytes:
    return hmac.new(HMAC["secret"].encode(), payload, "sha256").hexdigest().encode()


@pytest.mark.parametrize(
    ("payload", "accepted"),
    [
        (b"/p?a=1B", True),
        (b"/p?a=1&B", True),
        (b"/pB", False),
        (b"/p?B", False),
        (b"/p?a=1", False),
        (b"/p", False),
        (b"a=1B", False),
    ],
)
def test_a_payload_that_leaves_out_query_or_body_is_refused(payload: bytes, accepted: bool) -> None:
    assert signature_matches(api_key(), payloads(b"/p", b"a=1", b"B"), signed(payload)) is accepted


@pytest.mark.parametrize(
    ("payload", "accepted"), [(b"/pB", True), (b"/p?B", True), (b"/p", False), (b"/p?", False), (b"/p?&B", False)]
)
def test_a_body_alone_may_be_signed_with_and_without_the_question_mark(payload: bytes, accepted: bool) -> None:
    assert signature_matches(api_key(), payloads(b"/p", b"", b"B"), signed(payload)) is accepted


def test_an_escaped_separator_is_not_a_separator() -> None:  # wire-quirks 1
    assert not signature_matches(api_key(), payloads(b"/p", b"note=a&b=c", b""), signed(b"/p?note=a%26b%3Dc"))


@pytest.mark.parametrize(
    "garbage", [b"", b" ", b"xyz", b"\xff\xfe", b"0" * 63, b"0" * 65, b"g" * 64, " ١".encode() * 32, b"A" * 10_000]
)
@pytest.mark.parametrize("key", [api_key(), RSA_KEY], ids=["hmac", "rsa"])
def test_garbage_in_place_of_a_signature_is_refused_without_a_crash(key: ApiKey, garbage: bytes) -> None:
    assert not signature_matches(key, (b"/p",), garbage)


@settings(max_examples=150)
@given(st.binary(max_size=80), st.binary(max_size=40))
def test_no_bytes_crash_the_check_or_pass_it(signature: bytes, payload: bytes) -> None:
    assert not signature_matches(api_key(), (payload,), signature)
    assert not signature_matches(RSA_KEY, (payload,), signature)


@settings(max_examples=150)
@given(st.binary(max_size=30), st.binary(min_size=1, max_size=30), st.integers(0, 255), st.integers(1, 255))
def test_changing_one_byte_of_what_was_signed_breaks_the_signature(
    query: bytes, body: bytes, place: int, change: int
) -> None:
    given_signature = signed(b"/p?" + query + body)
    assert signature_matches(api_key(), payloads(b"/p", query, body), given_signature)
    changed = bytearray(body)
    changed[place % len(body)] ^= change
    assert not signature_matches(api_key(), payloads(b"/p", query, bytes(changed)), given_signature)


def test_the_kind_of_the_key_decides_the_algorithm() -> None:
    # an HMAC whose secret is the public key's text must not pass for a key registered as RSA
    forged = hmac.new(RSA["public_key_pem"].encode(), b"/p", "sha256").hexdigest().encode()
    assert not signature_matches(RSA_KEY, (b"/p",), forged)


def test_wrapped_base64_is_accepted_and_the_url_safe_alphabet_is_not() -> None:
    private = serialization.load_pem_private_key(RSA["private_key_pem"].encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    payload, raw = next(
        (payload, raw)
        for payload, raw in ((p, private.sign(p, PKCS1v15(), SHA256())) for p in (b"/%d" % n for n in range(50)))
        if b"+" in base64.b64encode(raw)
    )
    assert signature_matches(RSA_KEY, (payload,), base64.encodebytes(raw))
    assert not signature_matches(RSA_KEY, (payload,), base64.urlsafe_b64encode(raw))


def test_both_pem_forms_are_read_and_weak_or_other_keys_are_not() -> None:
    public = rsa_public_key(RSA["public_key_pem"].encode())
    assert rsa_public_key(public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)).key_size == 2048
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    for pem in (
        weak.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        b"secret",
        b"",
    ):
        with pytest.raises(InvalidPublicKey):
            rsa_public_key(pem)


# -- callers ----------------------------------------------------------------------------------------------------------

USER = User(id=1, name="ann", mode=Mode.PAPER)


def ask(key: ApiKey, headers: dict[bytes, bytes], address: str | None = "10.1.2.3", user: User | None = USER) -> Any:
    authenticator = Authenticator(find_key=lambda name: key if name == key.api_key else None, find_user=lambda _: user)
    return authenticator.authenticate(authenticator.key_of(headers), headers, (b"/p",), address)


def refusal(key: ApiKey, headers: dict[bytes, bytes], **more: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        ask(key, headers, **more)
    return refused.value.status, refused.value.error


GOOD = {b"apikey": HMAC["api_key"].encode(), b"signature": signed(b"/p")}


def test_a_signed_request_names_its_key_and_user() -> None:
    assert ask(api_key(), GOOD) == (api_key(), USER)


@pytest.mark.parametrize("name", [None, b"", b"unknown", b"\xff", HMAC["api_key"].lower().encode()])
def test_an_unknown_or_missing_key_is_told_so(name: bytes | None) -> None:
    headers = {b"signature": GOOD[b"signature"]} | ({} if name is None else {b"apikey": name})
    assert refusal(api_key(), headers) == (401, "api_key_invalid_or_expired")


def test_a_revoked_key_and_a_key_without_user_are_invalid() -> None:
    assert refusal(api_key(revoked_at=5), GOOD) == (401, "api_key_invalid_or_expired")
    assert refusal(api_key(), GOOD, user=None) == (401, "api_key_invalid_or_expired")


def test_a_missing_or_wrong_signature_is_invalid() -> None:
    assert refusal(api_key(), {b"apikey": GOOD[b"apikey"]}) == (401, "signature_invalid")
    assert refusal(api_key(), {**GOOD, b"signature": signed(b"/q")}) == (401, "signature_invalid")


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ((), None, True),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.1.2.3",), "10.1.2.3", True),
        (("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        (("10.0.0.0/8", "2001:db8::/32"), "2001:db8::1", True),
        (("10.0.0.0/8",), "11.1.2.3", False),
        (("0.0.0.0/0",), "2001:db8::1", False),
        (("0.0.0.0/0",), None, False),
        (("0.0.0.0/0",), "testclient", False),
    ],
)
def test_a_key_with_an_address_list_works_from_there_only(
    networks: tuple[str, ...], address: str | None, allowed: bool
) -> None:
    key = api_key(allowed_networks=networks)
    if allowed:
        assert ask(key, GOOD, address=address) == (key, USER)
    else:
        assert refusal(key, GOOD, address=address) == (401, "ip_not_allowed")


def test_a_wrong_signature_learns_nothing_about_the_address_list() -> None:
    key = api_key(allowed_networks=("10.0.0.0/8",))
    assert refusal(key, {**GOOD, b"signature": b"0" * 64}, address="9.9.9.9") == (401, "signature_invalid")


def test_one_of_the_permissions_is_enough_and_none_asks_for_none() -> None:
    either = frozenset({Permission.SMART_TRADES_READ, Permission.SMART_TRADES_WRITE})
    assert authorize(api_key(), USER, {}, either).key == api_key()
    assert authorize(api_key(permissions=frozenset()), USER, {}, frozenset()).user == USER
    with pytest.raises(ApiError) as refused:
        authorize(api_key(), USER, {}, frozenset({Permission.SMART_TRADES_WRITE}))
    assert (refused.value.status, refused.value.error) == (403, "Forbidden")


def test_write_does_not_imply_read() -> None:
    with pytest.raises(ApiError):
        authorize(api_key(permissions=frozenset({Permission.SMART_TRADES_WRITE})), USER, {}, READ)


def test_forced_mode_overrides_the_mode_of_the_user_for_one_request() -> None:
    assert authorize(api_key(), USER, {}, READ).mode is Mode.PAPER
    assert authorize(api_key(), USER, {b"forced-mode": b"real"}, READ).mode is Mode.REAL
    for bad in (b"", b"Real", b"demo"):
        with pytest.raises(ApiError) as refused:
            authorize(api_key(), USER, {b"forced-mode": bad}, READ)
        assert (refused.value.status, refused.value.error) == (400, "forced_mode_invalid")


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("1.1.1.1", [b"2.2.2.2"], (), "1.1.1.1"),
        ("1.1.1.1", [b"2.2.2.2"], ("10.0.0.0/8",), "1.1.1.1"),
        ("10.0.0.1", [b"6.6.6.6, 2.2.2.2"], ("10.0.0.0/8",), "2.2.2.2"),
        ("10.0.0.1", [b"6.6.6.6", b"2.2.2.2"], ("10.0.0.0/8",), "2.2.2.2"),
        ("10.0.0.1", [], ("10.0.0.0/8",), "10.0.0.1"),
        (None, [b"2.2.2.2"], ("10.0.0.0/8",), None),
    ],
)
def test_only_the_last_hop_of_a_trusted_proxy_is_believed(
    peer: str | None, forwarded: list[bytes], trusted: tuple[str, ...], address: str | None
) -> None:
    assert client_address(peer, forwarded, trusted) == address


def test_what_is_not_an_address_lies_nowhere() -> None:
    assert not is_within("not an address", ("0.0.0.0/0", "::/0"))

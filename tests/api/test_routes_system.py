"""System and user routes (api.md D1, D2; auth.md section 8)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Got, Server, running

INVALID = {"error": "record_invalid", "error_description": "Invalid parameters"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as started:
        yield started


def test_who_looks_after_the_server_needs_no_key(server: Server) -> None:
    """Fault F58."""
    assert server.plain("/health") == Got(200, {"status": "ok"})


def test_ping_and_time_need_no_key(server: Server) -> None:
    assert server.unsigned("/ver1/ping") == Got(200, {"pong": "pong"})
    assert server.unsigned("/ver1/time") == Got(200, {"server_time": 1_735_689_600})
    server.sandbox("POST", "/clock", {"advance_seconds": "8.5"})
    assert server.unsigned("/ver1/time").body == {"server_time": 1_735_689_608}


def test_a_key_is_valid_with_its_signature_only(server: Server) -> None:
    assert server.ask("GET", "/ver1/validate") == Got(200, {"valid": True})
    assert server.ask("GET", "/ver1/validate", headers={"signature": "00" * 32}).status == 401
    assert server.unsigned("/ver1/validate").body["error"] == "api_key_invalid_or_expired"


def test_any_key_may_ask_what_it_may_do(server: Server) -> None:
    key = server.new_key("SMART_TRADES_WRITE", "SMART_TRADES_READ")
    got = server.ask("GET", "/ver1/users/permissions_info", key=key)
    assert got == Got(200, {"permissions": ["SMART_TRADES_READ", "SMART_TRADES_WRITE"]})


def test_an_unset_mode_is_shown_as_real(server: Server) -> None:
    assert server.ask("GET", "/ver1/users/current_mode") == Got(200, {"mode": "real"})


def test_the_mode_can_be_changed_and_forced_for_one_request(server: Server) -> None:
    assert server.ask("POST", "/ver1/users/change_mode", {"mode": "paper"}) == Got(201, True)
    assert server.ask("GET", "/ver1/users/current_mode").body == {"mode": "paper"}
    forced = server.ask("GET", "/ver1/users/current_mode", headers={"Forced-Mode": "real"})
    assert forced.body == {"mode": "real"}
    assert server.ask("GET", "/ver1/users/current_mode").body == {"mode": "paper"}


def test_a_mode_must_be_paper_or_real(server: Server) -> None:
    missing = server.ask("POST", "/ver1/users/change_mode", {})
    said = {"mode": ["is missing", "does not have a valid value"]}
    assert missing == Got(400, {**INVALID, "error_attributes": said})
    wrong = server.ask("POST", "/ver1/users/change_mode", {"mode": "demo"})
    assert wrong == Got(400, {**INVALID, "error_attributes": {"mode": ["does not have a valid value"]}})


def test_a_language_is_stored_and_changes_no_text(server: Server) -> None:
    assert server.ask("PUT", "/ver1/users/locale", {"locale": "de"}) == Got(200, True)
    user = server.system.directory.user(server.key.key.user_id)
    assert user is not None
    assert user.locale == "de"
    wrong = server.ask("PUT", "/ver1/users/locale", {"locale": "xx"})
    assert wrong.body["error_attributes"] == {"locale": ["does not have a valid value"]}


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("POST", "/ver1/users/change_mode", "ACCOUNTS_WRITE"),
        ("GET", "/ver1/users/current_mode", "ACCOUNTS_READ"),
        ("GET", "/ver1/accounts", "ACCOUNTS_READ"),
        ("POST", "/ver1/accounts/new", "ACCOUNTS_WRITE"),
        ("POST", "/ver1/accounts/1/remove", "ACCOUNTS_WRITE"),
        ("POST", "/ver1/accounts/1/load_balances", "ACCOUNTS_READ"),
        ("POST", "/ver1/accounts/summary/pie_chart_data", "ACCOUNTS_READ"),
    ],
)
def test_a_key_needs_the_permission_of_the_route(server: Server, method: str, path: str, needs: str) -> None:
    without = [each for each in server.key.key.permissions if each != needs]
    got = server.ask(method, path, key=server.new_key(*without))
    assert got == Got(403, {"error": "Forbidden", "error_description": "Api key not authorized for this action"})
    assert server.ask(method, path, key=server.new_key(needs)).status != 403


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_related_types_can_be_asked_for_with_any_key(server: Server, method: str) -> None:  # api.md D3.11
    key = server.new_key("BOTS_READ")
    got = server.ask(method, "/ver1/accounts/types_to_connect", {"type": "paper_trading"}, key=key)
    assert got.status == (200 if method == "GET" else 201)

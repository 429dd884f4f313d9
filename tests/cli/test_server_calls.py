"""How commands find the server, call it, and say why it refused (auth.md 3 and 6)."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from commands import Shell

from smarttrade.cli.failures import CommandFailed, WrongUsage
from smarttrade.cli.server import ADDRESS_FILE, Credentials, NoAnswer, Refused, Server, announced, refusal

PUBLISHED_SECRET = (
    "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"  # documentation value (auth.md 4.1)
)


class Double(BaseHTTPRequestHandler):
    """Answers what it is told, and remembers what it was asked."""

    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")
    asked: list[Any] = []  # noqa: RUF012 - made anew by the fixture

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.command, self.path, body, self.headers))
        status, headers, content = self.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = respond  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def double() -> Iterator[tuple[type[Double], str]]:
    handler = type("Handler", (Double,), {"asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_target_and_body_are_signed_as_they_are_sent(double: tuple[type[Double], str]) -> None:
    handler, url = double
    server = Server(url, Credentials("key", PUBLISHED_SECRET))
    server.get("/ver1/users/change_mode", mode="paper", left_out=None)
    server.call("POST", "/ver1/users/change_mode", b'{"mode": "paper"}')

    (_, target, _, first), (_, _, body, second) = handler.asked
    assert (target, body) == ("/public/api/ver1/users/change_mode?mode=paper", b'{"mode": "paper"}')
    assert first["Signature"] == "bca8d8c10acfbe8e76c5335d3efbe0a550487170a8bb7aaea0a13efabab55316"
    assert second["Signature"] == "a04435bdb0e7fc06450833a1e26d385c56ad3495c10cf3a36d432787591f5edb"
    assert (first["Apikey"], second["Content-Type"]) == ("key", "application/json")


def test_a_refusal_is_one_line_with_every_attribute(double: tuple[type[Double], str]) -> None:
    handler, url = double
    body = {
        "error": "record_invalid",
        "error_description": "Invalid parameters",
        "error_attributes": {"position": ["is invalid"], "note": ["is missing", "is empty"]},
    }
    handler.answer = (422, {}, json.dumps(body).encode())

    with pytest.raises(Refused) as refused:
        Server(url).get("/v2/smart_trades")
    assert str(refused.value) == "Invalid parameters: position is invalid; note is missing and is empty"
    assert refusal({"error": "Forbidden. Unavailable for this account."}) == "Forbidden. Unavailable for this account."
    handler.answer = (429, {"Retry-After": "7"}, b'{"error": "too_many_requests"}')
    with pytest.raises(Refused) as refused:
        Server(url).get("/v2/smart_trades")
    assert refused.value.retry_after == 7


@pytest.mark.parametrize("answer", [(404, {}, b"<html>"), (200, {}, b""), (502, {}, b'"bad gateway"')])
def test_another_program_at_the_address_is_recognised(
    double: tuple[type[Double], str], answer: tuple[int, dict[str, str], bytes]
) -> None:
    handler, url = double
    handler.answer = answer

    with pytest.raises(CommandFailed, match="does not answer as a SmartTrade server"):
        Server(url).get("/ver1/ping")


def test_an_address_may_name_a_path_that_a_proxy_takes_away(double: tuple[type[Double], str]) -> None:
    handler, url = double
    for path in ("/trade", "/trade/", "/trade/public/api"):
        Server(url + path, Credentials("key", PUBLISHED_SECRET)).get("/ver1/users/change_mode", mode="paper")

    signatures = {(path, headers["Signature"][:8]) for _, path, _, headers in handler.asked}
    assert signatures == {("/trade/public/api/ver1/users/change_mode?mode=paper", "bca8d8c1")}


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://x:port", "http://x:99999"])
def test_what_is_no_address_is_wrong_usage(url: str) -> None:
    with pytest.raises(WrongUsage, match="is not an address"):
        Server(url)


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_nobody_at_the_address_is_one_line(closed_port: int) -> None:
    with pytest.raises(NoAnswer, match=f"no server answers at http://127.0.0.1:{closed_port}: Connection refused"):
        Server(f"http://127.0.0.1:{closed_port}").get("/ver1/ping")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": "x", "pid": "y"}', "\x00"])
def test_a_broken_address_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ADDRESS_FILE).write_text(text)

    assert announced(tmp_path) is None


def test_without_a_server_trades_say_how_to_start_one_and_make_no_key(shell: Shell, closed_port: int) -> None:
    start = f"start it with smarttrade serve --data-dir {shell.directory}"
    assert start in shell("trades", "list").failure()
    assert not shell.directory.exists()
    shell("keys", "create", "bot")
    (shell.directory / ADDRESS_FILE).write_text(f'{{"url": "http://127.0.0.1:{closed_port}", "pid": 1}}')  # killed
    assert start in shell("trades", "show", 1).failure()
    assert [key["name"] for key in shell("keys", "list", "--json").json] == ["bot"]


def test_a_script_around_the_program_has_its_name_in_hints(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTTRADE_COMMAND", "./run")
    assert "start it with ./run serve" in shell("trades", "list").failure()


def test_no_secret_shows_in_what_is_printed_by_mistake() -> None:
    assert "hush" not in repr(Credentials("key", "hush"))

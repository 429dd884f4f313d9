"""The push stream with a real WebSocket client over a socket (api.md e, wire-quirks 6)."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Account, Entity, Market, Server, Trade
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

STOP = {"enabled": True, "order_type": "market", "conditional": {"price": {"value": "90", "type": "bid"}}}


def signature(secret: str, name: str = "/smart_trades") -> str:
    return hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()


def identifier(*users: tuple[str, str], channel: str = "SmartTradesChannel", compact: bool = True) -> str:
    document = {"channel": channel, "users": [{"api_key": key, "signature": signed} for key, signed in users]}
    return json.dumps(document, separators=(",", ":") if compact else None)


class Listener:
    """One connection; pings are left out of what it hears."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def say(self, command: str, whom: str) -> None:
        self.connection.send(json.dumps({"identifier": whom, "command": command}))

    def hear(self) -> Entity:
        while True:
            frame: Entity = json.loads(self.connection.recv(timeout=30))
            if frame.get("type") != "ping":
                return frame

    def subscribe(self, whom: str) -> str:
        """Subscribe; returns the verdict, with whatever came before it left unread by no one."""
        self.say("subscribe", whom)
        frame = self.hear()
        assert frame["identifier"] == whom
        verdict: str = frame["type"]
        return verdict

    def statuses(self, last: str) -> list[str]:
        """Statuses told of, up to the first that is `last`."""
        told = []
        while not told or told[-1] != last:
            told.append(self.hear()["message"]["status"]["type"])
        return told


@contextmanager
def listening(server: Server, path: str = "/websocket", **options: Any) -> Iterator[Listener]:
    with connect(server.url.replace("http", "ws", 1) + path, proxy=None, **options) as connection:
        listener = Listener(connection)
        assert listener.hear() == {"type": "welcome"}
        yield listener


def own(server: Server, *, compact: bool = True) -> str:
    return identifier((server.api_key, signature(server.secret)), compact=compact)


def a_trade(server: Server) -> tuple[Market, Account, Trade]:
    market = server.market()
    account = server.account(market, USDT=10_000)
    market.quote(100)
    position = {"type": "buy", "order_type": "market", "units": {"value": "10"}}
    trade = account.create(market, position=position, stop_loss=STOP)
    server.state()  # the sandbox lets the engine finish before it answers
    return market, account, trade


def note(trade: Trade, text: str) -> None:
    trade.account.server.api.post(trade.path("/set_note"), {"note": text})


@pytest.mark.parametrize("path", ["/websocket", "/websocket/smart_trades", "/websocket/deals"])
def test_every_stored_change_arrives_as_a_whole_trade_without_a_type(server: Server, path: str) -> None:
    whom = own(server, compact=path.endswith("deals"))
    with listening(server, path) as listener:
        assert listener.subscribe(whom) == "confirm_subscription"
        market, _, trade = a_trade(server)
        first = listener.hear()
        assert set(first) == {"identifier", "message"}
        assert first["identifier"] == whom
        assert first["message"]["id"] == trade.id
        assert listener.statuses("waiting_targets")
        market.quote(89)
        assert listener.statuses("stop_loss_finished")[0] == "stop_loss_in_progress"


def test_a_message_is_the_trade_as_a_read_answers_it(server: Server) -> None:
    _, _, trade = a_trade(server)
    with listening(server) as listener:
        listener.subscribe(own(server))
        note(trade, "ünï")
        told = listener.hear()["message"]
    assert told == server.api.get(f"/v2/smart_trades/{trade.id}")


def test_a_mere_price_is_not_told(server: Server) -> None:
    market, _, trade = a_trade(server)
    with listening(server) as listener:
        listener.subscribe(own(server))
        market.quote(101)
        market.quote(99)
        note(trade, "after the prices")
        assert listener.hear()["message"]["note"] == "after the prices"


def test_a_subscription_may_come_before_the_welcome_and_the_past_is_not_replayed(server: Server) -> None:
    a_trade(server)
    with connect(server.url.replace("http", "ws", 1) + "/websocket", proxy=None) as connection:
        connection.send(json.dumps({"identifier": own(server), "command": "subscribe"}))
        listener = Listener(connection)
        assert [listener.hear()["type"] for _ in range(2)] == ["welcome", "confirm_subscription"]
        _, _, trade = a_trade(server)
        assert listener.hear()["message"]["id"] == trade.id


@pytest.mark.parametrize(
    "whom",
    [
        pytest.param(lambda s: identifier((s.api_key, "0" * 64)), id="wrong signature"),
        pytest.param(lambda s: identifier((s.api_key, signature(s.secret, "/deals"))), id="another channel's"),
        pytest.param(lambda s: identifier(("nobody", signature(s.secret))), id="unknown key"),
        pytest.param(lambda s: identifier(("nöbody", "sïgned")), id="not ascii"),
        pytest.param(lambda s: identifier(), id="no users"),
        pytest.param(lambda s: identifier(*[(s.api_key, signature(s.secret))] * 33), id="too many users"),
    ],
)
def test_what_cannot_be_believed_is_rejected_and_hears_nothing(server: Server, whom: Any) -> None:
    with listening(server) as listener:
        refused = whom(server)
        assert listener.subscribe(refused) == "reject_subscription"
        a_trade(server)
        assert listener.subscribe(own(server)) == "confirm_subscription"  # the very next frame


def test_one_good_key_among_several_is_enough_and_one_message_is_sent(server: Server) -> None:
    good = (server.api_key, signature(server.secret))
    with listening(server) as listener:
        assert listener.subscribe(identifier(("nobody", "x"), good, good)) == "confirm_subscription"
        _, _, trade = a_trade(server)
        listener.statuses("waiting_targets")
        note(trade, "once")
        assert listener.hear()["message"]["note"] == "once"
        assert listener.subscribe(own(server)) == "confirm_subscription"


def test_an_unsubscribed_channel_falls_silent(server: Server) -> None:
    with listening(server) as listener:
        listener.subscribe(own(server))
        listener.say("unsubscribe", own(server))
        a_trade(server)
        assert listener.subscribe(own(server)) == "confirm_subscription"


def test_the_channel_of_deals_is_confirmed_and_stays_silent(server: Server) -> None:
    deals = identifier((server.api_key, signature(server.secret, "/deals")), channel="DealsChannel")
    with listening(server) as listener:
        assert listener.subscribe(deals) == "confirm_subscription"
        a_trade(server)
        assert listener.subscribe(own(server)) == "confirm_subscription"


@pytest.mark.parametrize(
    "noise",
    [
        "ping", "", "{", "[]", '{"command":"subscribe"}', b"\x00\xff", '{"command":1,"identifier":"x"}',
        '{"identifier":{"channel":"x"},"command":"subscribe"}',
        '{"identifier":"\\ud800","command":"subscribe"}',
        '{"identifier":"{}","command":"subscribe"}',
        '{"identifier":"{\\"channel\\":\\"Other\\",\\"users\\":[]}","command":"subscribe"}',
    ],
)  # fmt: skip
def test_noise_is_ignored_and_disturbs_nobody(server: Server, noise: str | bytes) -> None:
    with listening(server) as other, listening(server) as listener:
        other.subscribe(own(server))
        listener.connection.send(noise)
        assert listener.subscribe(own(server)) == "confirm_subscription"
        _, _, trade = a_trade(server)
        assert listener.hear()["message"]["id"] == other.hear()["message"]["id"] == trade.id


def test_the_sub_protocol_is_echoed_if_offered_and_other_paths_are_refused(server: Server) -> None:
    with listening(server, subprotocols=["actioncable-v1-json", "actioncable-unsupported"]) as listener:  # type: ignore[list-item]
        assert listener.connection.subprotocol == "actioncable-v1-json"
    with pytest.raises(InvalidStatus) as refused, listening(server, "/elsewhere"):
        pass
    assert refused.value.response.status_code == 403


def test_a_revoked_key_and_one_without_permission_hear_nothing(server: Server) -> None:
    def command(*words: str) -> Entity:
        run = [sys.executable, "-m", "smarttrade.cli.main", *words, "--data-dir", str(server.directory), "--json"]
        made: Entity = json.loads(subprocess.run(run, capture_output=True, check=True).stdout)
        return made

    reader = command("keys", "create", "reader", "--permissions", "SMART_TRADES_READ")
    stranger = command("keys", "create", "stranger", "--permissions", "ACCOUNTS_READ")
    with listening(server) as listener:
        assert listener.subscribe(identifier((stranger["api_key"], signature(stranger["secret"])))) == (
            "reject_subscription"
        )
        assert listener.subscribe(identifier((reader["api_key"], signature(reader["secret"])))) == (
            "confirm_subscription"
        )
        a_trade(server)
        listener.statuses("waiting_targets")
        command("keys", "revoke", str(reader["id"]))
        a_trade(server)
        assert listener.subscribe(own(server)) == "confirm_subscription"


def test_a_ping_carries_the_time_as_an_integer(server: Server) -> None:
    with connect(server.url.replace("http", "ws", 1) + "/websocket", proxy=None) as connection:
        connection.recv(timeout=30)
        frame = json.loads(connection.recv(timeout=30))
    assert (frame["type"], type(frame["message"])) == ("ping", int)


def test_the_program_of_the_reference_page_prints_changes(server: Server) -> None:
    page = (Path(__file__).parents[2] / "docs" / "stream.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[1].split("```")[0]
    program = program.replace("ws://127.0.0.1:8080", server.url.replace("http", "ws", 1))
    program = program.replace("for frame in", "print('subscribing')\n    for frame in")
    environment = {**os.environ, "APIKEY": server.api_key, "SECRET": server.secret, "NO_PROXY": "*"}
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, env=environment) as running:
        guard = threading.Timer(60, running.kill)
        guard.start()
        assert running.stdout is not None
        assert running.stdout.readline() == b"subscribing\n"  # its frame is on the way, before ours
        with listening(server) as later:
            later.subscribe(own(server))
        _, _, trade = a_trade(server)
        assert running.stdout.readline().startswith(b"%d " % trade.id)
        guard.cancel()
        running.kill()

"""Limits of the push stream that a socket would hide (api.md e)."""

import asyncio
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from live import Server, running

from smarttrade.api import stream
from smarttrade.app import make_stream
from smarttrade.domain.smart_trade import SmartTrade


class Peer:
    """The other end of one connection, which reads only when told to."""

    def __init__(self, application: stream.TradeStream) -> None:
        self.said: list[Any] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self._frames: asyncio.Queue[Any] = asyncio.Queue()
        self._frames.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/websocket",
            "headers": [],
            "client": ("127.0.0.1", 1),
            "subprotocols": [],
        }
        self.task = asyncio.create_task(application(scope, self._frames.get, self._take))

    async def _take(self, message: Any) -> None:
        await self.reading.wait()
        self.said.append(message)

    def send(self, text: str) -> None:
        self._frames.put_nowait({"type": "websocket.receive", "text": text})

    async def leave(self) -> None:
        self._frames.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


async def rest() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def subscription(server: Server) -> str:
    assert server.key.secret is not None
    signed = hmac.new(server.key.secret.encode(), b"/smart_trades", "sha256").hexdigest()
    users = [{"api_key": server.key.key.api_key, "signature": signed}]
    identifier = json.dumps({"channel": "SmartTradesChannel", "users": users})
    return json.dumps({"identifier": identifier, "command": "subscribe"})


def stored_trade(server: Server) -> SmartTrade:
    account_id = server.open_account(USDT="10000")
    server.sandbox(
        "POST", "/quotes", {"quotes": [{"market": "binance", "pair": "USDT_BTC", "bid": "100", "ask": "100"}]}
    )
    position = {"type": "buy", "order_type": "limit", "units": {"value": "1"}, "price": {"value": "90"}}
    off = {"enabled": False}
    body = {"account_id": account_id, "pair": "USDT_BTC", "position": position, "take_profit": off, "stop_loss": off}
    made = server.ask("POST", "/v2/smart_trades", body)
    server.sandbox("GET", "/state")  # the sandbox comes to rest before it answers
    trade = server.system.store.trade(made.body["id"])
    assert trade is not None
    return trade


def test_a_listener_that_does_not_keep_up_is_sent_away_and_the_others_hear_everything(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        trade = stored_trade(server)

        async def story() -> None:
            application = make_stream(server.system)
            slow, quick = Peer(application), Peer(application)
            for peer in (slow, quick):
                peer.send(subscription(server))
            await rest()
            slow.reading.clear()
            for _ in range(stream.MAX_WAITING + 10):
                application.publish([trade])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            slow.reading.set()
            await rest()
            assert slow.said[-1] == {"type": "websocket.close", "code": 1013, "reason": "too slow: read the list"}
            assert len(slow.said) < 10  # what waited is let go, not pushed at somebody who is behind
            assert len(quick.said) == stream.MAX_WAITING + 10 + 3  # accept, welcome, confirmation
            for peer in (slow, quick):
                await peer.leave()
            assert application.listeners == 0
            application.publish([trade])  # nobody is left, and nothing is kept for them

        server.run(story())


def test_listeners_beyond_the_limit_are_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_LISTENERS", 1)
    with running(tmp_path) as server:

        async def story() -> None:
            application = make_stream(server.system)
            first, second = Peer(application), Peer(application)
            await rest()
            assert first.said[1] == {"type": "websocket.send", "text": '{"type":"welcome"}'}
            assert second.said[1]["code"] == 1013
            await first.leave()

        server.run(story())


def test_a_connection_subscribes_only_so_often(tmp_path: Path) -> None:
    with running(tmp_path) as server:

        async def story() -> None:
            peer = Peer(make_stream(server.system))
            frame = json.loads(subscription(server))
            for number in range(stream.MAX_SUBSCRIPTIONS + 1):
                peer.send(json.dumps({**frame, "identifier": frame["identifier"] + " " * number}))
            await rest()
            for _ in range(stream.MAX_SUBSCRIPTIONS):
                await rest()
            verdicts = [json.loads(each["text"])["type"] for each in peer.said[2:]]
            assert verdicts == ["confirm_subscription"] * stream.MAX_SUBSCRIPTIONS + ["reject_subscription"]
            await peer.leave()

        server.run(story())

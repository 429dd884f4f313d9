"""With demo prices a SmartTrade runs to its end by itself, and `trades watch` shows it happening (issue, point 5)."""

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from harness import COMMAND
from in_process import PAIR, InProcess, recording

from smarttrade.adapters.market_data.recording import Recording
from smarttrade.api.http import Api
from smarttrade.api.protocol import HttpProtocol
from smarttrade.app import make_api

Entity = dict[str, Any]

ROUND = 10
"""Seconds of a recording below: ten quotes, one a second."""

BOTH_TARGETS = ("60000", "60000", "60300", "60700", "60800", "61300", "61400", "61400", "61400", "61400")
"""Bids that reach 1 % and 2 % above an entry at about 60000."""

ONE_TARGET = ("60000", "60000", "60300", "60700", "61000", "60700", "60300", "60000", "60000", "60000")
"""Bids that reach 1 % only, rise to 61000 and fall by more than 1 % again: a stop that trails by 1 % is at 60390."""


def body(account_id: int, targets: tuple[str, str], stop: str) -> Entity:
    """A market entry with two limit targets and a stop that trails, all in percent of the entry."""
    steps = [{"order_type": "limit", "volume": 50, "price": {"type": "bid", "percent": percent}} for percent in targets]
    conditional = {"price": {"type": "bid", "percent": stop}, "trailing": {"enabled": True}}
    return {
        "account_id": account_id,
        "pair": PAIR,
        "position": {"type": "buy", "order_type": "market", "units": {"value": "0.01"}},
        "take_profit": {"enabled": True, "steps": steps},
        "stop_loss": {"enabled": True, "order_type": "market", "conditional": conditional},
    }


async def created(demo: InProcess, targets: tuple[str, str] = ("1", "2"), stop: str = "1") -> int:
    reply = await demo.ask("POST", "/v2/smart_trades", body(demo.first.account_id, targets, stop))
    assert reply.status == 201, reply.body
    trade_id: int = reply.body["id"]
    return trade_id


async def shown(demo: InProcess, trade_id: int) -> tuple[Entity, dict[str, list[str]]]:
    """The trade, and the statuses of its sub-trades by purpose."""
    trade = (await demo.ask("GET", f"/v2/smart_trades/{trade_id}")).body
    statuses: dict[str, list[str]] = {}
    for step in (await demo.ask("GET", f"/v2/smart_trades/{trade_id}/trades")).body:
        statuses.setdefault(step["trade_purpose"], []).append(step["status"])
    return trade, statuses


@pytest.mark.parametrize(
    ("bids", "status", "steps"),
    [
        (BOTH_TARGETS, "finished", {"take_profit": ["finished", "finished"], "stop_loss": ["cancelled"]}),
        (ONE_TARGET, "stop_loss_finished", {"take_profit": ["finished", "cancelled"], "stop_loss": ["finished"]}),
    ],
    ids=["both targets", "one target, then the stop that trailed"],
)
def test_a_trade_with_two_targets_and_a_trailing_stop_runs_to_its_end_by_itself(
    tmp_path: Path, bids: tuple[str, ...], status: str, steps: dict[str, list[str]]
) -> None:
    async def run() -> None:
        async with InProcess(tmp_path, recording(bids, ROUND)) as demo:
            trade_id = await created(demo)
            await demo.play(ROUND - 1)
            trade, statuses = await shown(demo, trade_id)
            assert (trade["status"]["type"], statuses) == (status, {"position": ["finished"], **steps})
            assert trade["data"]["closed_amount"] == trade["data"]["entered_amount"] != "0.0"
            assert not trade["profit"]["volume"].startswith("-")

    asyncio.run(run())


def test_each_quote_moves_the_trade_at_its_own_second(tmp_path: Path) -> None:
    async def run() -> None:
        async with InProcess(tmp_path, recording(ONE_TARGET, ROUND)) as demo:
            trade_id = await created(demo)
            seen = []
            for _ in range(ROUND - 1):
                await demo.play(1)
                trade, statuses = await shown(demo, trade_id)
                finished = statuses["take_profit"].count("finished")
                seen.append((trade["status"]["type"], finished, trade["data"]["current_price"]["bid"]))
            assert seen == [
                ("waiting_targets", 0, "60000.0"),
                ("waiting_targets", 0, "60300.0"),
                ("waiting_targets", 1, "60700.0"),
                ("waiting_targets", 1, "61000.0"),
                ("waiting_targets", 1, "60700.0"),
                ("stop_loss_finished", 1, "60300.0"),
                ("stop_loss_finished", 1, "60000.0"),
                ("stop_loss_finished", 1, "60000.0"),
                ("stop_loss_finished", 1, "60000.0"),
            ]

    asyncio.run(run())


def test_the_shipped_recording_brings_the_trade_of_the_readme_to_its_end_within_a_round(tmp_path: Path) -> None:
    shipped = Recording.shipped()

    async def run() -> None:
        async with InProcess(tmp_path, shipped) as demo:
            trade_id = await created(demo, ("0.05", "0.1"), "0.2")
            for _ in range(0, shipped.length // 1_000_000, 10):
                await demo.play(10)
                trade, _ = await shown(demo, trade_id)
                if "closed_at" in trade["data"]:
                    break
            assert trade["status"]["type"] in ("finished", "stop_loss_finished")
            assert trade["data"]["closed_amount"] == trade["data"]["entered_amount"]

    asyncio.run(run())


def test_the_rules_of_thousands_of_pairs_are_not_put_together_anew_for_every_price(tmp_path: Path) -> None:
    async def run() -> None:
        async with InProcess(tmp_path, recording(ONE_TARGET, ROUND)) as demo:
            assert demo.system.rules() is demo.system.rules()

    asyncio.run(run())


# --- watching -------------------------------------------------------------------------------------------------------

GUARD = 60
"""Seconds after which a `watch` that says nothing is given up; a guard, not a wait."""


@asynccontextmanager
async def listening(api: Api) -> AsyncIterator[str]:
    """The API on a port of this machine, until the end of the block; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http: Any = partial(HttpProtocol, api.respond)
        nothing_else: Any = api
        config = uvicorn.Config(nothing_else, http=http, ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def watching(
    demo: InProcess, url: str, trade_id: int, *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`smarttrade trades watch` in a process of its own, with the demo's key."""
    key = {"SMARTTRADE_API_KEY": demo.first.api_key, "SMARTTRADE_API_SECRET": demo.first.secret}
    watch = await asyncio.create_subprocess_exec(
        *COMMAND, "trades", "watch", str(trade_id), "--url", url, "--interval", "0.02", *options,
        stdout=asyncio.subprocess.PIPE, stderr=sys.stderr.fileno(), env={**os.environ, **key},
    )  # fmt: skip
    try:
        yield watch
    finally:
        with suppress(ProcessLookupError):
            watch.kill()
        await watch.communicate()


STATUSES = ("waiting_targets", "stop_loss_in_progress", "stop_loss_finished")


def said(line: str, *, as_json: bool) -> tuple[str, int]:
    """Status and number of finished targets in a line of `watch`."""
    if as_json:
        trade = json.loads(line)
        done = sum(step["status"]["type"] == "finished" for step in trade["take_profit"]["steps"])
        return trade["status"]["type"], done
    done_of_all = re.search(r"TP (\d)/\d", line)
    return next(status for status in STATUSES if status in line), int(done_of_all[1]) if done_of_all else 0


async def told(watch: asyncio.subprocess.Process, wanted: tuple[str, int], *, as_json: bool) -> bool:
    """Read on until `watch` says what is wanted; false when it has ended without."""
    assert watch.stdout is not None
    async with asyncio.timeout(GUARD):
        while line := await watch.stdout.readline():
            if said(line.decode(), as_json=as_json) == wanted:
                return True
    return False


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_trades_watch_shows_every_change_and_ends_with_the_trade(tmp_path: Path, as_json: bool) -> None:
    async def run() -> None:
        async with InProcess(tmp_path, recording(ONE_TARGET, ROUND)) as demo:
            trade_id = await created(demo)
            async with (
                listening(make_api(demo.system)) as url,
                watching(demo, url, trade_id, *(["--json"] if as_json else [])) as watch,
            ):
                assert await told(watch, ("waiting_targets", 0), as_json=as_json)  # no price has moved yet
                await demo.play(3)
                assert await told(watch, ("waiting_targets", 1), as_json=as_json)
                await demo.play(ROUND - 4)
                assert await told(watch, ("stop_loss_finished", 1), as_json=as_json)
                assert await watch.wait() == 0

    asyncio.run(run())

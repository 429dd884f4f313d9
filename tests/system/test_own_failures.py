"""When we are the ones who fail: a crash in a request, a rule that breaks, a full queue.

The caller gets the documented shape and never a word of what is inside; the log gets the cause, with the request's id;
the engine goes on as if nothing had been asked.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from in_process import PAIR, InProcess, recording
from structlog.testing import capture_logs

from smarttrade.api.http import Api, Request, Response
from smarttrade.api.routes import smart_trades
from smarttrade.domain.account import PAPER_TRADING
from smarttrade.domain.commands import SetNote
from smarttrade.engine.engine import Engine
from smarttrade.engine.replay import digest_of_all
from smarttrade.ports.storage import Batch, TradeQuery
from smarttrade.runtime import inbox

UNKNOWN_ERROR = {"error": "unknown_error", "error_description": "Unknown error occurred"}
BUSY = {"error": "service_unavailable", "error_description": "The server cannot take the request now"}
HUSH = "the inside of the server"
GUARD = 30
"""Seconds after which a test that waits for an answer is given up; a guard, not a wait."""

Test = Callable[[InProcess], Awaitable[None]]


def run(directory: Path, test: Test) -> None:
    """Carry out `test` in a system where nothing moves."""

    async def whole() -> None:
        async with asyncio.timeout(GUARD), InProcess(directory, recording(["60000"])) as demo:
            await test(demo)

    asyncio.run(whole())


def body(account_id: int, **more: Any) -> dict[str, Any]:
    position = {"type": "buy", "order_type": "limit", "units": {"value": "0.01"}, "price": {"value": "50000"}}
    off = {"enabled": False}
    return {
        "account_id": account_id, "pair": PAIR, "position": position, "take_profit": off, "stop_loss": off, **more
    }  # fmt: skip


async def created(demo: InProcess) -> int:
    reply = await demo.ask("POST", "/v2/smart_trades", body(demo.first.account_id))
    assert reply.status == 201, reply.body
    await demo.system.runner.settled()
    trade_id: int = reply.body["id"]
    return trade_id


def digest(demo: InProcess) -> str:
    return digest_of_all(demo.system.store.open_trades())


def break_the_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> SetNote:
        raise ZeroDivisionError(HUSH)

    monkeypatch.setattr(smart_trades, "parse_set_note", crash)


def break_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Engine.handle

    def crash(engine: Engine, given: Any, now: int) -> Any:
        if isinstance(given, SetNote):
            raise ZeroDivisionError(HUSH)
        return handle(engine, given, now)

    monkeypatch.setattr(Engine, "handle", crash)


@pytest.mark.parametrize("break_it", [break_the_parsing, break_the_rules])
def test_a_crash_inside_a_request_is_500_and_logged_with_its_id_and_the_engine_goes_on(
    tmp_path: Path, break_it: Callable[[pytest.MonkeyPatch], None]
) -> None:
    async def test(demo: InProcess) -> None:
        trade_id = await created(demo)
        before = digest(demo)
        with pytest.MonkeyPatch.context() as monkeypatch, capture_logs() as logged:
            break_it(monkeypatch)
            reply = await demo.ask("POST", f"/v2/smart_trades/{trade_id}/set_note", {"note": "n"})
        assert (reply.status, reply.body) == (500, UNKNOWN_ERROR)
        assert HUSH not in reply.raw.decode() + str(reply.headers)
        (entry,) = [entry for entry in logged if entry["event"] == "request failed"]
        assert (entry["log_level"], entry["request_id"]) == ("error", reply.headers["x-request-id"])
        assert HUSH in str(entry["exc_info"])

        assert digest(demo) == before
        noted = await demo.ask("POST", f"/v2/smart_trades/{trade_id}/set_note", {"note": "n"})
        assert (noted.status, noted.body["note"]) == (201, "n")
        cancelled = await demo.ask("DELETE", f"/v2/smart_trades/{trade_id}")
        await demo.system.runner.settled()
        ended = await demo.ask("GET", f"/v2/smart_trades/{trade_id}")
        assert (cancelled.status, ended.body["status"]["type"]) == (200, "cancelled")

    run(tmp_path, test)


def test_a_full_queue_is_503_with_retry_after_and_what_was_taken_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAX_WAITING_COMMANDS", 2)

    async def test(demo: InProcess) -> None:
        trade_id = await created(demo)
        commit, disk = demo.system.store.commit, asyncio.Event()
        at_disk = asyncio.Event()

        async def slow(batch: Batch) -> None:
            at_disk.set()
            await disk.wait()
            await commit(batch)

        async def note(text: str) -> Any:
            return await demo.ask("POST", f"/v2/smart_trades/{trade_id}/set_note", {"note": text})

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(demo.system.store, "commit", slow)
            first = asyncio.create_task(note("first"))
            await at_disk.wait()
            waiting = [asyncio.create_task(note(text)) for text in ("second", "third")]
            while demo.system.runner.pending < 3:  # one at the disk, two in the queue
                await asyncio.sleep(0)
            refused = await note("one too many")
            assert (refused.status, refused.body, refused.headers["retry-after"]) == (503, BUSY, "1")
            still_read = await demo.ask("GET", f"/v2/smart_trades/{trade_id}")
            assert (still_read.status, still_read.body["note"]) == (200, "")  # nothing before it is durable
            disk.set()
            answers = await asyncio.gather(first, *waiting)
        assert [(answer.status, answer.body["note"]) for answer in answers] == [
            (201, "first"),
            (201, "second"),
            (201, "third"),
        ]
        assert (await note("fourth")).status == 201

    run(tmp_path, test)


def test_an_account_that_cannot_be_traded_is_403_and_no_trade(tmp_path: Path) -> None:
    async def test(demo: InProcess) -> None:
        directory = demo.system.directory
        real = await directory.add_account(1, "real", type="binance", market="binance")
        assert real.type != PAPER_TRADING
        before = digest(demo)
        reply = await demo.ask("POST", "/v2/smart_trades", body(real.id))
        assert (reply.status, reply.body) == (403, {"error": "Forbidden. Unavailable for this account."})
        assert (digest(demo), (await demo.ask("GET", "/v2/smart_trades")).body) == (before, [])

    run(tmp_path, test)


@pytest.mark.parametrize("far", ["page=1000000000", "page=102", "from=2020-01-01T00:00:00Z&order_by=profit"])
def test_nobody_waits_for_a_page_that_takes_long_but_who_wants_another(tmp_path: Path, far: str) -> None:
    """Prices and calls go on meanwhile; a caller who asks for many such pages has one of them read at a time."""

    async def test(demo: InProcess) -> None:
        trade_id = await created(demo)
        go_on, at_once, most = threading.Event(), 0, 0
        begun = asyncio.Event()
        loop, find = asyncio.get_running_loop(), demo.system.store.find_trades

        def slowly(query: TradeQuery) -> Any:
            nonlocal at_once, most
            if query.takes_long:
                at_once += 1
                most = max(most, at_once)
                loop.call_soon_threadsafe(begun.set)
                assert go_on.wait(GUARD)
                at_once -= 1
            return find(query)

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(demo.system.store, "find_trades", slowly)
            long = [asyncio.create_task(demo.ask("GET", f"/v2/smart_trades?{far}")) for _ in range(3)]
            await begun.wait()
            assert (await demo.ask("GET", f"/v2/smart_trades/{trade_id}")).status == 200
            assert len((await demo.ask("GET", "/v2/smart_trades")).body) == 1
            await created(demo)
            assert not any(task.done() for task in long)
            go_on.set()
            replies = await asyncio.gather(*long)
        assert [reply.status for reply in replies] == [200] * 3
        assert most == 1

    run(tmp_path, test)


def test_an_ordinary_page_is_answered_in_the_turn_in_which_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Performance: only what has to wait costs a task and a turn of the event loop."""
    at_once: list[bool] = []
    respond = Api.respond

    def noted(api: Api, request: Request) -> Response | Coroutine[Any, Any, Response]:
        answer = respond(api, request)
        at_once.append(isinstance(answer, Response))
        return answer

    async def test(demo: InProcess) -> None:
        for query in ("", "?page=2&per_page=100", "?page=102"):
            assert (await demo.ask("GET", f"/v2/smart_trades{query}")).status == 200

    monkeypatch.setattr(Api, "respond", noted)
    run(tmp_path, test)
    assert at_once == [True, True, False]

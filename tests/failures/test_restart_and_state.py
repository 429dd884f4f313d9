"""Restart and state: F1 to F11 of the failure catalogue."""

import os
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from driver import Story, market, sl, tp
from harness import Server, ServerDied
from houses import House, breaks, pass_time, play_with
from scenes import FINAL, FUTURES, SPOT, STOPPED, begin, buy, die_and_return, everything, stop, targets

from smarttrade.domain import machine
from smarttrade.domain.events import TimeReached
from smarttrade.engine import engine as engine_module
from smarttrade.engine.inputs import StreamRestored

both_kinds = pytest.mark.parametrize("kind", [SPOT, FUTURES])


@both_kinds
def test_a_killed_server_takes_its_open_trade_up_again_before_the_first_command(mortal: Server, kind: str) -> None:
    """Fault F1, EX-36: no record is closed while the position is open, and its stop is watched at once."""
    scene = begin(mortal, kind)

    die_and_return(mortal)

    edited = scene.trade.edit(stop_loss=stop("95"))  # the very first call meets the recovered trade
    assert edited["status"]["type"] == "waiting_targets"
    scene.market.quote(95)
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


@both_kinds
def test_targets_and_stop_are_still_there_after_a_restart_and_nothing_is_orphaned(mortal: Server, kind: str) -> None:
    """Fault F2, EX-36: paper accounts are no exception."""
    scene = begin(mortal, kind, take_profit=targets(("limit", "110", 50), ("market", "120", 50)))
    waiting = mortal.market(kind=kind)
    waiting.quote(100)
    other = scene.account.create(waiting, position=buy("2", limit="90"), stop_loss=stop("80"))
    before = scene.resting()

    die_and_return(mortal)

    assert scene.resting() == before == [("sell", "5.0", "110.0")]
    scene.trade.expect({"stop_loss.status.type": "to_process", "take_profit.steps.*.units.value": ["5.0", "5.0"]})
    scene.market.quote(110)
    scene.market.quote(120)
    scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})
    waiting.quote(90)  # the buy that waited still has its trade
    other.expect({"status.type": "waiting_targets", "data.entered_amount": "2.0"})
    waiting.quote(80)
    other.expect(STOPPED)


@pytest.mark.parametrize("restarts", [1, 3])
def test_any_number_of_restarts_gives_the_same_orders_and_the_same_state(mortal: Server, restarts: int) -> None:
    """Faults F3, F4: recovery is a function of the journal and of what the exchange says, and of nothing else."""
    scene = begin(mortal, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))
    scene.trade.add_funds(2, price="95")
    scene.account.fill(scene.trade.orders("open")[0], 2)
    before = everything(scene)

    for _ in range(restarts):
        die_and_return(mortal)

    assert everything(scene) == before


def test_a_fill_told_before_and_after_a_restart_is_booked_once(mortal: Server) -> None:
    """Fault F5, EX-1, R-12: fills are known by the exchange's id."""
    scene = begin(mortal)
    scene.account.fault("stream", "duplicate", times=9)
    scene.account.fill(scene.trade.order(), 4)

    die_and_return(mortal)  # it asks about the order again, and hears of the same fill
    scene.trade.force_process()

    scene.trade.expect({"data.closed_amount": "4.0", "stop_loss.units.value": "6.0"})
    assert scene.is_settled()


@both_kinds
def test_an_order_that_queries_deny_is_not_out_of_the_book_before_open_orders_and_fills_say_so(
    mortal: Server, kind: str
) -> None:
    """Fault F6, EX-20, EX-31: after a restart too; else the stop would sell what the target still offers."""
    scene = begin(mortal, kind)
    scene.account.fault("cancel", "timeout_before", times=3)
    scene.account.fault("query", "not_found", times=99)

    scene.market.quote(90)
    die_and_return(mortal)
    sold_while_it_rested = False
    for _ in range(40):
        mortal.advance(1)
        resting = scene.resting()
        sold_while_it_rested |= bool(resting) and bool(scene.sold_at_market()) and kind == SPOT
    scene.account.clear_faults()
    mortal.advance(30)

    assert not sold_while_it_rested
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.resting() == []
    assert scene.is_settled()


def test_a_start_lists_what_is_open_in_every_account_once_whatever_it_expects_there(tmp_path: Path) -> None:
    """Faults F3, F19: an order that another life has written off may live, and nobody would watch what it buys."""
    listed: list[str] = []

    async def story(home: House) -> None:
        async def open_orders() -> dict[str, Decimal]:
            listed.append("again")
            answer: dict[str, Decimal] = await real.open_orders()
            return answer

        real = breaks(home, open_orders=open_orders)
        await pass_time(home, 60)

    async def and_no_more(home: House) -> None:
        await story(home)
        await pass_time(home, 600)

    play_with(tmp_path, story)
    assert len(listed) == 1
    play_with(tmp_path, and_no_more)
    assert len(listed) == 2


def test_a_stop_is_restored_from_stored_rules_when_the_source_no_longer_lists_its_pair(tmp_path: Path) -> None:
    """Fault F7: the rules that a trade was made under are the server's own."""
    with Server(tmp_path) as server:
        scene = begin(server)
        scene.trade.expect({"status.type": "waiting_targets"})
        server.kill()
        with sqlite3.connect(tmp_path / "smarttrade.db") as database:
            (body,) = database.execute(
                "SELECT body FROM sandbox_instruments WHERE pair = ?", [scene.market.pair]
            ).fetchone()
            database.execute("DELETE FROM sandbox_instruments WHERE pair = ?", [scene.market.pair])
        database.close()

        server.start()
        scene.trade.expect({"status.type": "waiting_targets", "stop_loss.status.type": "to_process"})

        server.kill()
        with sqlite3.connect(tmp_path / "smarttrade.db") as database:
            database.execute("INSERT INTO sandbox_instruments VALUES ('binance', ?, ?)", [scene.market.pair, body])
        database.close()
        server.start()
        scene.market.quote(90)
        scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


def test_a_trade_that_no_event_can_be_worked_into_calls_a_person_once_and_is_tried_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault F8: the guards are released each time, so the mended rule finds the stop waiting."""
    story = Story(market(), [tp(110)], sl(90, timeout=60))
    story.quote(89).heard()
    story.faults_expected = True
    handle = machine.handle

    def broken(trade: Any, given: Any, *rest: Any) -> machine.Outcome:
        if isinstance(given, TimeReached):
            raise RuntimeError("a mistake of ours")
        return handle(trade, given, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "handle", broken)
        story.wait(60)
        assert [word for word in story.heard() if word.startswith("alarm")] == []
        story.wait(3600)
        alarms = [word for word in story.heard() if word.startswith("alarm")]
        assert alarms == ["alarm This trade cannot be worked on: its events break on a rule"]
    story.wait(61)
    assert story.status == "stop_loss_finished"


def test_a_stop_that_waits_for_news_of_its_orders_calls_a_person_after_a_minute() -> None:
    """Fault F8, EX-35: the stream is back, but no question is answered; a stop that nobody decides calls."""
    story = Story(market(), [tp(110)], sl(90))
    story.on_query = "silence"
    story.tell(StreamRestored(account_id=1)).quote(90)
    story.wait(50)
    assert [word for word in story.heard() if word.startswith("alarm")] == []
    story.wait(3600)
    alarms = [word for word in story.heard() if word.startswith("alarm")]
    assert alarms == ["alarm Prices are not acted on: the exchange does not answer about the orders of this trade"]
    story.on_query = "tell"
    story.wait(30)
    assert story.status == "stop_loss_finished"


def test_a_position_closed_by_hand_just_before_the_server_died_ends_its_trade_as_closed_outside(mortal: Server) -> None:
    """Fault F10, S-32."""
    scene = begin(mortal, FUTURES)
    scene.account.close_position(scene.market, "outside")

    die_and_return(mortal)

    scene.trade.expect(
        {"status.type": "failed", "status.error": "Position was closed outside of this trade", "data.finished": False}
    )
    assert scene.resting() == []
    scene.market.quote(50)
    assert scene.sold_at_market() == []


def test_coins_sold_by_hand_before_a_restart_are_missed_at_the_next_exit_and_nothing_else_is_sold(
    mortal: Server,
) -> None:
    """Fault F10, EX-10, EX-39: a spot account has no position to be told about."""
    scene = begin(mortal, take_profit={"enabled": False})
    scene.account.set_balance(scene.market.base, 0)

    die_and_return(mortal)
    assert scene.trade.status not in FINAL
    scene.market.quote(90)

    scene.trade.expect({"status.type": "failed", "status.error": "Insufficient funds", "data.closed_amount": "0.0"})


def test_a_restart_asks_nobody_for_a_secret_and_goes_on_protecting(mortal: Server) -> None:
    """Fault F11: the master key lies beside the data, so nobody has to unlock anything."""
    scene = begin(mortal)

    mortal.stop()
    mortal.start()  # standard input is not read, no secret is in the environment

    assert "SMARTTRADE_MASTER_KEY" not in os.environ
    scene.market.quote(90)
    scene.trade.expect(STOPPED)


def test_a_server_whose_master_key_is_gone_says_so_and_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Fault F11: it refuses loudly, so that its supervisor knows; with the key back the stop is watched again."""
    with Server(tmp_path) as server:
        scene = begin(server)
        before = everything(scene)
        server.kill()
        (key,) = tmp_path.glob("*.key")
        hidden = key.rename(tmp_path / "elsewhere")

        with pytest.raises(ServerDied, match=r"master\.key is missing"):
            server.start()

        hidden.rename(key)
        server.start()
        assert everything(scene) == before
        scene.market.quote(90)
        scene.trade.expect(STOPPED)

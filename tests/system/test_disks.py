"""Disks that fill up, refuse, or hold half a write: nothing acknowledged is lost, nothing is half done (EX-36).

The limits are the system's own: the size that a process may give to a file stands in for a full disk, and permissions
of the data directory for one that may not be written to.
"""

import ctypes
import http.client
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from harness import COMMAND, Answer, Market, Server, Trade

PR_CAPBSET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2
"""Numbers of Linux' prctl(2) and capabilities(7)."""

STOP = {"enabled": True, "order_type": "market", "conditional": {"price": {"type": "bid", "value": "90"}}}
BUY = {"type": "buy", "order_type": "market", "units": {"value": "10"}}


def begin(server: Server) -> tuple[Market, Trade]:
    """A long of 10 units with a stop at 90."""
    market = server.market()
    account = server.account(market, USDT=100_000)
    market.quote(100)
    trade = account.create(market, position=BUY, stop_loss=STOP)
    trade.expect({"status.type": "waiting_targets"})
    return market, trade


def everything(trade: Trade) -> list[Any]:
    return [trade.get(), trade.trades(), trade.orders(), trade.account.balances()]


# --- a full disk ----------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(server: Server) -> Iterator[None]:
    """No file of the server's can grow, its log included."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))


def refused_for_want_of_room(trade: Trade) -> list[threading.Thread]:
    """Ask for changes until one is refused; returns those that were taken before, and wait for room."""
    waiting: list[threading.Thread] = []
    refused = threading.Event()

    def ask() -> None:
        with suppress(OSError, http.client.HTTPException):  # the server may die while we wait
            if note(trade, "wanted").status == 503:
                refused.set()

    while not refused.wait(0.2):
        waiting.append(threading.Thread(target=ask))
        waiting[-1].start()
    return [thread for thread in waiting if thread.is_alive()]


def note(trade: Trade, text: str) -> Answer:
    with closing(trade.account.server.client()) as client:
        return client.call("POST", trade.path("/set_note"), {"note": text})


def test_a_full_disk_refuses_new_wishes_keeps_what_was_taken_and_loses_no_stop(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        market, trade = begin(server)
        with full_disk(server):
            waiting = refused_for_want_of_room(trade)
            assert waiting
            assert trade.get()["note"] == ""  # readers see what is durable, and do not wait
            quote = {"market": market.code, "pair": market.pair, "bid": "89", "ask": "89"}
            assert server.api.call_sandbox("POST", "/quotes", {"quotes": [quote]}).status == 503
        for thread in waiting:
            thread.join()
        assert trade.get()["note"] == "wanted"
        market.quote(89)
        trade.expect({"status.type": "stop_loss_finished"})
        assert [order["filled_quantity"] for order in trade.orders() if order["side"] == "sell"] == ["10.0"]
        before = everything(trade)
        server.restart()
        assert everything(trade) == before


def test_a_server_killed_on_a_full_disk_comes_back_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        market, trade = begin(server)
        before = everything(trade)
        with full_disk(server):
            waiting = refused_for_want_of_room(trade)
            os.kill(server.pid, signal.SIGKILL)
            for thread in waiting:
                thread.join()
        server.kill()
        server.start()
        assert everything(trade) == before
        market.quote(89)
        trade.expect({"status.type": "stop_loss_finished"})


# --- half a write ---------------------------------------------------------------------------------------------------


def wal_of(directory: Path) -> Path:
    return directory / "smarttrade.db-wal"


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_torn_write_at_the_end_of_the_log_harms_nothing_that_was_acknowledged(tmp_path: Path, damage: str) -> None:
    """The power fails in the middle of a write: half of it is on the disk, and nobody was told of it."""
    with Server(tmp_path / "first") as server:
        market, trade = begin(server)
        acknowledged = everything(trade)
        before = wal_of(server.directory).stat().st_size
        note(trade, "nobody hears of this")
        server.state()
        server.kill()
        after = wal_of(server.directory).stat().st_size
        assert after > before, "the log was folded into the database meanwhile: the story needs another note"
        whole = server.directory
        for number, part in enumerate((1, 2, 3)):
            server.directory = tmp_path / str(number)
            shutil.copytree(whole, server.directory)
            torn = before + (after - before) * part // 4
            with wal_of(server.directory).open("r+b") as log:
                if damage == "cut off":
                    log.truncate(torn)
                else:
                    log.seek(torn)
                    log.write(b"\x5a" * (after - torn))
            server.start()
            assert everything(trade) == acknowledged
            market.quote(89)
            trade.expect({"status.type": "stop_loss_finished"})
            server.kill()
            command = [*COMMAND, "doctor", "--data-dir", str(server.directory)]
            checked = subprocess.run(command, capture_output=True, text=True)
            assert checked.returncode == 0, checked.stdout


# --- a directory that may not be written to -------------------------------------------------------------------------


def without_privileges() -> None:
    """Root would write to what nobody may write to: give that up, for this process and what it starts."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="permissions are given up in Linux' way")
@pytest.mark.parametrize("used_before", [False, True])
def test_a_directory_that_may_not_be_written_to_is_refused_in_one_line_and_left_alone(
    tmp_path: Path, used_before: bool
) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    if used_before:
        with Server(directory):
            pass
    files = sorted(directory.rglob("*"), reverse=True)
    contents = {file: file.read_bytes() for file in files if file.is_file()}
    for path in [*files, directory]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        command = [*COMMAND, "serve", "--market", "sandbox", "--port", "0", "--data-dir", str(directory)]
        refused = subprocess.run(command, capture_output=True, text=True, preexec_fn=without_privileges, timeout=60)
    finally:
        for path in [directory, *files]:
            path.chmod(0o700 if path.is_dir() else 0o600)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert str(directory) in refused.stderr
    assert {
        file: file.read_bytes() for file in sorted(directory.rglob("*"), reverse=True) if file.is_file()
    } == contents

"""`smarttrade doctor` names what is wrong, and touches nothing (cli.md, architecture 3)."""

import json
import os
import shutil
import socket
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from commands import Result, Shell, contents, execute, serving

from smarttrade.adapters.storage.data_directory import DATABASE_NAME, LOCK_NAME
from smarttrade.adapters.vault import KEY_NAME
from smarttrade.cli.doctor import clock
from smarttrade.cli.server import ADDRESS_FILE


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with trades, as a killed server leaves it."""
    directory = tmp_path_factory.mktemp("traded")
    with serving(directory, "--market", "demo") as server:
        plan = {
            "account_id": server.json["account"]["id"],
            "pair": "USDT_BTC",
            "position": {"type": "buy", "order_type": "market", "units": {"value": "0.01"}},
            "take_profit": {"enabled": False},
            "stop_loss": {"enabled": False},
        }
        for _ in range(2):
            created = execute("trades", "create", "-", "--data-dir", directory, input=json.dumps(plan))
            assert created.code == 0, created
        assert execute("trades", "close", 1, "--data-dir", directory).code == 0
        server.process.kill()
        server.process.wait()
    return directory


@pytest.fixture
def copy(traded: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    directory: Path = shutil.copytree(traded, tmp_path / "data")
    directory.chmod(0o700)
    return directory


def checks(result: Result) -> dict[str, Any]:
    """Findings by name, of a command that printed one document."""
    document = json.loads(result.out)
    assert document["ok"] is (result.code == 0)
    assert document["ok"] is all(check["ok"] for check in document["checks"])
    return {check["name"]: check for check in document["checks"]}


def wrong(shell: Shell) -> dict[str, Any]:
    """What doctor finds wrong; it touches nothing, says so in JSON and in one line, and every finding has advice."""
    before = contents(shell.directory) if shell.directory.is_dir() else {}
    result = shell("doctor", "--json")
    found = {name: check for name, check in checks(result).items() if not check["ok"]}
    assert result.failure() == (
        f"{len(found)} of {len(checks(result))} checks found something wrong: {', '.join(found)}"
    )
    assert all(check["advice"] for check in found.values())
    after = contents(shell.directory) if shell.directory.is_dir() else {}
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} <= {DATABASE_NAME + "-shm"}  # readers' notes
    return found


def test_a_sound_directory_passes_and_stays_as_it_is(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    before, times = contents(copy), {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    found = checks(Shell(capsys, copy)("doctor", "--json"))

    assert all(check["ok"] for check in found.values())
    assert found["trades"]["finding"] == "2, each as its journal says"
    assert "next start recovers" in found["server"]["finding"]
    after = contents(copy)
    assert set(after) == set(before)
    for name in set(before) - {DATABASE_NAME + "-shm"}:
        assert after[name] == before[name], name
        assert (copy / name).stat().st_mtime_ns == times[name], name
    assert "WRONG" not in Shell(capsys, copy)("doctor").out


def test_a_running_server_is_found_and_its_directory_examined(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        found = checks(execute("doctor", "--json", "--data-dir", tmp_path))
        assert all(check["ok"] for check in found.values())
        assert found["server"]["finding"] == f"answers at {server.json['url']} (process {server.process.pid})"


def test_a_missing_directory_is_not_made(shell: Shell) -> None:
    assert "does not exist" in wrong(shell)["data directory"]["finding"]
    assert not shell.directory.exists()


def test_a_directory_that_is_a_file_or_below_one_is_named(shell: Shell) -> None:
    shell.directory.write_text("a file")
    assert "Not a directory" in wrong(shell)["settings"]["finding"]
    shell.directory = shell.directory / "below"
    assert "Not a directory" in wrong(shell)["settings"]["finding"]


def test_an_empty_directory_is_ready_for_a_first_start(shell: Shell) -> None:
    shell.directory.mkdir()
    assert checks(shell("doctor", "--json"))["schema"]["finding"] == "no database yet: the first start makes it"
    assert list(shell.directory.iterdir()) == []


@pytest.mark.parametrize("name", [DATABASE_NAME, KEY_NAME, LOCK_NAME])
def test_a_file_that_others_may_read_is_named_with_the_command_that_ends_it(
    capsys: pytest.CaptureFixture[str], copy: Path, name: str
) -> None:
    (copy / name).chmod(0o640)
    found = wrong(Shell(capsys, copy))["permissions"]

    assert name in found["finding"]
    os.system(found["advice"])
    assert Shell(capsys, copy)("doctor").code == 0


def test_a_directory_that_others_may_write_to_is_named(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    copy.chmod(0o755)
    assert Shell(capsys, copy)("doctor").code == 0
    copy.chmod(0o777)
    assert "others may use data" in wrong(Shell(capsys, copy))["permissions"]["finding"]


def change(directory: Path, statement: str) -> None:
    """Change the database behind the program's back."""
    connection = sqlite3.connect(directory / DATABASE_NAME)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE open_trades SET records = x'00'",
        "DELETE FROM open_trades",
        "INSERT INTO open_trades SELECT market, pair, 1, records FROM open_trades",
    ],
    ids=["another record", "a missing one", "one of a trade that is over"],
)
def test_what_a_restart_would_watch_is_compared_with_the_trades(
    capsys: pytest.CaptureFixture[str], copy: Path, damage: str
) -> None:
    """EX-36: records that follow from the trades are never believed more than the trades."""
    shell = Shell(capsys, copy)
    assert checks(shell("doctor", "--json"))["watches"]["finding"] == "those of 1 open trades, as they say"
    change(copy, damage)
    assert wrong(shell)["watches"]["finding"].startswith("1 of 2 trades are not watched as they say: ")
    change(copy, "DELETE FROM meta WHERE key = 'standing_format'")
    assert checks(shell("doctor", "--json"))["watches"]["ok"]


def test_a_newer_schema_and_a_damaged_file_are_told_apart(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    change(copy, "UPDATE alembic_version SET version_num = '9999'")
    assert "version 9999, this program knows" in wrong(Shell(capsys, copy))["schema"]["finding"]
    for path in copy.glob(DATABASE_NAME + "*"):
        path.unlink()
    (copy / DATABASE_NAME).write_bytes(b"not a database " * 1000)
    (copy / DATABASE_NAME).chmod(0o600)
    assert "cannot be read" in wrong(Shell(capsys, copy))["schema"]["finding"]


def test_an_older_schema_is_no_fault_and_is_left_to_the_next_start(
    capsys: pytest.CaptureFixture[str], copy: Path
) -> None:
    change(copy, "UPDATE alembic_version SET version_num = '0001'")
    found = checks(Shell(capsys, copy)("doctor", "--json"))["schema"]

    assert found["ok"]
    assert "the next start brings it to" in found["finding"]


def test_a_wrong_or_missing_master_key_is_found_and_none_is_made(
    capsys: pytest.CaptureFixture[str], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMARTTRADE_MASTER_KEY", "ef" * 32)
    assert "is not the one" in wrong(Shell(capsys, copy))["master key"]["finding"]
    monkeypatch.delenv("SMARTTRADE_MASTER_KEY")
    (copy / KEY_NAME).unlink()
    assert "is missing" in wrong(Shell(capsys, copy))["master key"]["finding"]


@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE smart_trades SET body = replace(body, '"units":"0.01"', '"units":"0.02"') WHERE id = 2""",
        """UPDATE smart_trades SET body = replace(body, 'waiting_targets', 'panic_sold') WHERE id = 2""",
        "DELETE FROM events WHERE trade_id = 2",
        "DELETE FROM events WHERE trade_id = 2 AND number = 1",
        "UPDATE events SET body = 'garbage' WHERE trade_id = 2",
        "UPDATE smart_trades SET body = 'garbage' WHERE id = 2",
    ],
)
def test_a_trade_that_is_not_what_its_journal_says_is_named(
    capsys: pytest.CaptureFixture[str], copy: Path, damage: str
) -> None:
    change(copy, damage)
    found = wrong(Shell(capsys, copy))

    assert found["trades"]["finding"] == "1 of 2 are not what their journal leads to: 2"


def test_a_clock_that_was_never_set_is_found() -> None:
    assert clock(lambda: 1_000_000.0).finding == "it says 1970-01-12T13:46:40Z"
    assert not clock(lambda: 1_704_067_199.0).ok
    assert clock(lambda: 1_704_067_200.0).ok


def test_settings_that_cannot_be_used_are_found(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTTRADE_PORT", "web")
    assert "port" in wrong(shell)["settings"]["finding"]


def test_a_server_that_cannot_watch_every_stop_is_found(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    """Fault F58."""

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_health = self.path == "/health"
            body = {"error": "not_healthy", "error_description": "No", "error_attributes": {"prices": ["are missing"]}}
            self.send_response(503 if is_health else 200)
            self.end_headers()
            self.wfile.write(json.dumps(body if is_health else {"pong": "pong"}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        (copy / ADDRESS_FILE).write_text(json.dumps({"url": f"http://127.0.0.1:{server.server_port}", "pid": 1}))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found = wrong(Shell(capsys, copy))["server"]
        server.shutdown()
        thread.join()
    assert found["finding"] == "No: prices are missing"
    assert "watch the positions yourself" in found["advice"]


def test_a_server_that_does_not_answer_as_one_is_found(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        (copy / ADDRESS_FILE).write_text(json.dumps({"url": url, "pid": 1}))

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert f"no server answers at {url}" in wrong(Shell(capsys, copy))["server"]["finding"]
        thread.join()

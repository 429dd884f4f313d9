"""`smarttrade trades`, and accounts beside a running server, in the sandbox (cli.md, sandbox.md)."""

import itertools
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from commands import PROGRAM, Serving, Shell, environment, execute, serving

from smarttrade.cli.trades import Status, write_changes
from smarttrade.ports.storage import StatusFilter

PAIR = "USDT_TCMD"


class Sandbox:
    """A server whose prices we say."""

    def __init__(self, server: Serving, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.url: str = server.json["url"]
        self.key: dict[str, Any] = server.json["api_key"]
        self.account_id: int = server.json["account"]["id"]
        self._numbers = itertools.count(1)

    def post(self, path: str, body: object) -> None:
        request = urllib.request.Request(f"{self.url}/sandbox{path}", json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request):
            pass

    def quote(self, bid: str, ask: str) -> None:
        self.post("/quotes", {"quotes": [{"pair": PAIR, "bid": bid, "ask": ask}]})

    def plan(self, **changes: object) -> dict[str, Any]:
        """Buy 1 at market with a target at 110 and a stop at 90."""
        target = {"order_type": "limit", "volume": 100, "price": {"type": "bid", "value": 110}}
        stop = {"enabled": True, "order_type": "market", "conditional": {"price": {"type": "bid", "value": 90}}}
        return {
            "account_id": self.account_id,
            "pair": PAIR,
            "position": {"type": "buy", "order_type": "market", "units": {"value": 1}},
            "take_profit": {"enabled": True, "steps": [target]},
            "stop_loss": stop,
            **changes,
        }

    def create(self, shell: Shell, tmp_path: Path, **changes: object) -> int:
        """A new trade at 100; its number."""
        self.quote("99.99", "100")
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(self.plan(**changes)))
        number: int = shell("trades", "create", file, "--json").json["id"]
        return number


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("sandbox")
    with serving(directory, "--market", "sandbox") as server:
        running = Sandbox(server, directory)
        rules = {"kind": "spot", "tick": "0.01", "lot": "0.1", "min_total": "5", "fee_in": "quote"}
        running.post("/markets", {"market": "binance", "pair": PAIR, **rules})
        yield running


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], sandbox: Sandbox) -> Shell:
    return Shell(capsys, sandbox.directory)


def test_a_trade_is_created_from_a_file_and_shown_with_its_steps(
    shell: Shell, sandbox: Sandbox, tmp_path: Path
) -> None:
    number = sandbox.create(shell, tmp_path, note="from \x1b[2Jthe shell")
    trade = shell("trades", "show", number, "--json").json

    assert (trade["id"], trade["status"]["type"]) == (number, "waiting_targets")
    assert [step["trade_purpose"] for step in trade["trades"]] == ["position", "take_profit", "stop_loss"]
    shown = shell("trades", "show", number).out
    for part in ("waiting_targets", "1.0 at 100.1", "position", "take_profit", "110.0", "stop_loss", "90.0"):
        assert part in shown
    assert "from \N{REPLACEMENT CHARACTER}[2Jthe shell" in shown


def test_a_trade_is_created_from_standard_input(shell: Shell, sandbox: Sandbox) -> None:
    sandbox.quote("99.99", "100")
    plan = json.dumps(sandbox.plan())
    created = execute("trades", "create", "-", "--json", "--data-dir", sandbox.directory, input=plan).json

    assert created["status"]["type"] == "created"


def test_trades_are_listed_by_status_over_more_than_one_page(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    numbers = [sandbox.create(shell, tmp_path) for _ in range(3)]
    shell("trades", "cancel", numbers[0])

    assert numbers[0] in [trade["id"] for trade in shell("trades", "list", "--status", "cancelled", "--json").json]
    active = [trade["id"] for trade in shell("trades", "list", "--status", "active", "--json").json]
    assert active[:2] == [numbers[2], numbers[1]]
    assert [trade["id"] for trade in shell("trades", "list", "--limit", 1, "--json").json] == [numbers[2]]
    table = shell("trades", "list").out.splitlines()
    assert table[0].split() == ["id", "pair", "type", "status", "entered", "price", "profit", "%", "steps"]
    row = next(line.split() for line in table if line.split()[0] == str(numbers[2]))
    assert row == [str(numbers[2]), PAIR, "smart_trade", "waiting_targets", "1.0", "99.99", "-0.21", "TP", "0/1,", "SL"]


def test_the_statuses_on_offer_are_those_of_the_api() -> None:
    assert get_args(Status) == tuple(StatusFilter)


def test_a_trade_is_closed_at_market_once(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    number = sandbox.create(shell, tmp_path)

    assert shell("trades", "close", number, "--json").json["status"]["type"] == "panic_sell_pending"
    assert shell("trades", "show", number, "--json").json["status"]["type"] == "panic_sold"
    assert shell("trades", "close", number).failure() == "Close by market is not allowed in the current status"


def test_a_refusal_of_the_server_is_one_line(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    assert shell("trades", "show", 999_999).failure() == "Smart Trade not found"
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(sandbox.plan(pair="USDT_NOBODY")))
    reason = shell("trades", "create", file).failure()
    assert reason == "Invalid parameters: pair No market data for this pair: USDT_NOBODY"


@pytest.mark.parametrize(
    ("content", "reason"), [("{", "is not JSON"), ("[]", "does not hold one JSON object"), (None, "cannot read")]
)
def test_a_file_without_a_plan_is_refused_before_it_is_sent(
    shell: Shell, tmp_path: Path, content: str | None, reason: str
) -> None:
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_text(content)

    assert reason in shell("trades", "create", file).failure()


def test_commands_sign_with_one_key_of_their_own(shell: Shell) -> None:
    shell("trades", "list")
    shell("trades", "list")
    own = [key for key in shell("keys", "list", "--json").json if key["name"] == "command line"]
    assert len([key for key in own if key["revoked_at"] is None]) == 1

    shell("keys", "revoke", own[-1]["id"])
    assert shell("trades", "list").code == 0  # with another one
    again = [key for key in shell("keys", "list", "--json").json if key["name"] == "command line"]
    assert [key["revoked_at"] is None for key in again[len(own) - 1 :]] == [False, True]


def test_a_key_of_the_callers_needs_no_data_directory(sandbox: Sandbox, tmp_path: Path) -> None:
    nowhere = ("--data-dir", tmp_path / "nowhere", "--url", sandbox.url, "--json")
    given = {"SMARTTRADE_API_KEY": sandbox.key["api_key"], "SMARTTRADE_API_SECRET": sandbox.key["secret"]}

    assert isinstance(execute("trades", "list", *nowhere, variables=given).json, list)
    given["SMARTTRADE_API_SECRET"] = "wrong"
    assert execute("trades", "list", *nowhere, variables=given).failure() == "Provided signature is invalid"
    assert not (tmp_path / "nowhere").exists()


def test_each_user_sees_their_own_trades(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    number = sandbox.create(shell, tmp_path)
    account = shell("accounts", "add-paper", "hers", "--user", "eve", "--json").json["id"]
    sandbox.account_id, ours = account, sandbox.account_id
    try:
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(sandbox.plan()))
        hers = shell("trades", "create", file, "--user", "eve", "--json").json["id"]
    finally:
        sandbox.account_id = ours

    assert [trade["id"] for trade in shell("trades", "list", "--user", "eve", "--json").json] == [hers]
    assert "not found" in shell("trades", "show", number, "--user", "eve").failure()
    assert "there is no user 'bob'" in shell("trades", "list", "--user", "bob").failure()


def test_an_account_added_beside_the_server_holds_its_opening_balances(shell: Shell) -> None:
    balances = ["--balance", "USDT=123.45", "--balance", "TCMD=2"]
    number = shell("accounts", "add-paper", "beside", *balances, "--json").json["id"]
    shown = shell("accounts", "show", number, "--json").json

    assert {one["currency"]: one["free"] for one in shown["balances"]} == {"USDT": "123.45", "TCMD": "2.0"}
    assert "123.45" in shell("accounts", "show", number).out


def test_an_account_with_an_open_trade_stays_until_the_trade_has_ended(
    shell: Shell, sandbox: Sandbox, tmp_path: Path
) -> None:
    account = shell("accounts", "add-paper", "busy", "--json").json["id"]
    number = sandbox.create(shell, tmp_path, account_id=account)

    assert f"account {account} has open trades" in shell("accounts", "remove", account).failure()
    shell("trades", "close", number)
    shell("trades", "show", number)  # settled
    assert shell("accounts", "remove", account, "--json").json["removed"] is True
    assert account not in [one["id"] for one in shell("accounts", "list", "--json").json]


# --- watch ----------------------------------------------------------------------------------------------------------


def watching(sandbox: Sandbox, *arguments: object) -> "subprocess.Popen[str]":
    command = [*PROGRAM, "trades", "watch", *map(str, arguments), "--interval", "0.01"]
    return subprocess.Popen(
        [*command, "--data-dir", str(sandbox.directory)], stdout=subprocess.PIPE, text=True, env=environment()
    )


def test_watching_a_trade_tells_every_change_until_it_has_ended(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    number = sandbox.create(shell, tmp_path)
    with watching(sandbox, number, "--json") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        sandbox.quote("100.5", "100.6")  # moves profit and price, and nothing of the trade
        sandbox.quote("110.01", "110.02")
        rest = [json.loads(line) for line in process.stdout]

    assert process.returncode == 0
    assert (first["id"], first["status"]["type"]) == (number, "waiting_targets")
    assert rest[-1]["status"]["type"] == "finished"
    lasting = [(trade["status"], trade["take_profit"], trade["position"]) for trade in (first, *rest)]
    assert all(one != other for one, other in itertools.pairwise(lasting))


@pytest.mark.parametrize("as_json", [False, True])
def test_prices_and_profit_alone_make_no_line(
    shell: Shell, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    number = sandbox.create(shell, tmp_path)
    looks = [[shell("trades", "list", "--limit", 1, "--json").json[0]]]
    sandbox.quote("104", "105")
    looks.append([shell("trades", "list", "--limit", 1, "--json").json[0]])
    shell("trades", "close", number)
    looks.append([shell("trades", "list", "--status", "finished", "--limit", 1, "--json").json[0]])
    assert len({json.dumps(trade) for (trade,) in looks}) == 3
    write_changes(iter(looks), as_json=as_json)

    lines = capsys.readouterr().out.splitlines()
    assert ["waiting_targets" in lines[0], "panic_sold" in lines[1], len(lines)] == [True, True, 2]


def test_watching_all_trades_tells_the_end_of_each_and_ctrl_c_is_success(
    shell: Shell, sandbox: Sandbox, tmp_path: Path
) -> None:
    number = sandbox.create(shell, tmp_path)
    with watching(sandbox) as process:
        assert process.stdout is not None
        seen = iter(process.stdout.readline, "")
        assert next(line for line in seen if f"  {number}  " in line).split()[4] == "waiting_targets"
        shell("trades", "cancel", number)
        assert any(f"  {number}  " in line and "  cancelled  " in line for line in seen)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


def test_on_a_terminal_one_table_is_redrawn(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    number = sandbox.create(shell, tmp_path)
    ours, theirs = os.openpty()
    command = [*PROGRAM, "trades", "watch", str(number), "--interval", "0.01", "--data-dir", str(sandbox.directory)]
    process = subprocess.Popen(command, stdout=theirs, env=environment(TERM="xterm-256color", COLUMNS="120"))
    os.close(theirs)
    shown = b""
    while b"waiting_targets" not in shown:
        shown += os.read(ours, 65_536)
    sandbox.quote("89.99", "90")
    try:
        while part := os.read(ours, 65_536):
            shown += part
    except OSError:  # Linux: the other side has closed
        pass
    os.close(ours)

    assert process.wait() == 0
    assert b"stop_loss_finished" in shown
    assert b"\x1b[31m" in shown  # red
    assert b"\x1b[1A" in shown or b"\x1b[2K" in shown  # the cursor went back over what was there

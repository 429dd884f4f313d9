"""What all commands have in common: exit codes, one line when something is wrong, colours, a quick start (cli.md)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PROGRAM, Shell, environment, execute

from smarttrade.cli.output import printable


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["fly"], 'Unknown command "fly"'),
        (["keys", "make"], 'Unknown command "make"'),
        (["keys", "create"], "NAME requires an argument"),
        (["keys", "create", "  "], "the name is empty"),
        (["keys", "create", "bot", "--permissions", ","], "no permission"),
        (["keys", "list", "--no-json"], "Unknown option"),
        (["keys", "revoke", "first"], 'unable to convert "first" into int'),
        (["accounts", "add-paper", "x", "--balance", "USDT"], "CURRENCY=AMOUNT"),
        (["accounts", "add-paper", "x", "--balance", "USDT=1e"], "CURRENCY=AMOUNT"),
        (["accounts", "add-paper", "x", "--balance", "USDT=1", "--balance", "usdt=2"], "given twice"),
        (["trades", "list", "--status", "open"], 'Invalid value "open"'),
        (["trades", "list", "--limit", "0"], "Must be >= 1"),
        (["trades", "list", "--api-key", "x"], "a key and its secret go together"),
        (["trades", "list", "--api-key", "x", "--secret", "y", "--user", "z"], "exclude each other"),
        (["trades", "list", "--api-key", "x", "--secret", "y", "--url", "ftp://x"], "not an address"),
        (["serve", "--port", "65536"], "Must be <= 65535"),
        (["serve", "--port", "web"], "unable to convert"),
        (["serve", "--market", "live"], "not offered yet: this version has demo, sandbox and replay:FILE"),
        (["serve", "--market", "moon"], "unknown market"),
        (["serve", "--market", "replay:"], "unknown market"),
    ],
)
def test_wrong_usage_ends_with_2_and_touches_nothing(shell: Shell, arguments: list[str], reason: str) -> None:
    assert reason in shell(*arguments).failure(2)
    assert not shell.directory.exists()


def test_a_setting_that_cannot_be_used_is_named_in_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTTRADE_PORT", "web")
    assert "port" in shell("serve").failure()
    monkeypatch.setenv("SMARTTRADE_PORT", "70000")
    assert "bad setting port: expected `int` <= 65535" in shell("serve").failure()
    monkeypatch.delenv("SMARTTRADE_PORT")
    shell.directory.mkdir()
    (shell.directory / "smarttrade.toml").write_text("prot = 1\n")
    assert "unknown settings: prot" in shell("keys", "list").failure()


def test_the_market_may_come_from_the_environment_and_is_refused_all_the_same(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMARTTRADE_MARKET", "live")
    assert "not offered yet" in shell("serve").failure(2)


@pytest.mark.parametrize("arguments", [["keys", "list"], ["keys", "revoke", "1"], ["accounts", "show", "1"]])
def test_a_command_that_only_looks_makes_no_data_directory(shell: Shell, arguments: list[str]) -> None:
    assert f"there is no database in {shell.directory}" in shell(*arguments).failure()
    assert not shell.directory.exists()


def test_a_data_directory_that_cannot_be_used_is_named_in_one_line(shell: Shell) -> None:
    shell.directory.write_text("a file")

    for arguments in (["keys", "list"], ["keys", "create", "bot"], ["accounts", "add-paper", "x"], ["trades", "list"]):
        assert str(shell.directory) in shell(*arguments).failure()
    assert shell.directory.read_text() == "a file"


def test_the_program_says_its_version() -> None:
    result = execute("--version")

    assert result.code == 0
    assert result.out.strip().replace(".", "").isdigit()


def test_help_needs_neither_server_nor_database() -> None:
    script = (
        "import sys; from smarttrade.cli.main import run; code = run(['serve', '--help'])\n"
        "loaded = {'sqlalchemy', 'uvicorn', 'starlette', 'msgspec', 'cryptography', 'structlog', 'duckdb'}\n"
        "print(sorted(loaded & set(sys.modules)), code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())

    assert done.stdout.splitlines()[-1] == "[] 0"


def test_whoever_stops_reading_gets_no_traceback(tmp_path: Path) -> None:
    execute("keys", "create", "bot", "--data-dir", tmp_path)
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*PROGRAM, "keys", "list", "--data-dir", str(tmp_path)],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    os.close(theirs)

    assert (done.returncode, done.stderr) == (1, b"")


def through_a_terminal(*arguments: object) -> str:
    """What a command shows on a terminal."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env=environment(TERM="xterm-256color"),
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65_536):
            shown += part
    except OSError:  # Linux: the other side has closed
        pass
    finally:
        os.close(ours)
        process.wait()
    return shown.decode()


def test_colours_are_for_terminals_only(tmp_path: Path) -> None:
    execute("keys", "create", "bot", "--data-dir", tmp_path)

    assert "\x1b[32min use" in through_a_terminal("keys", "list", "--data-dir", tmp_path)
    piped = execute("keys", "list", "--data-dir", tmp_path, variables={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert "in use" in piped.out
    assert "\x1b" not in piped.out


def test_names_of_others_cannot_command_the_terminal(shell: Shell) -> None:
    shell("keys", "create", "\x1b]0;owned\x07[bold]x[/bold]\nfirst")
    shown = shell("keys", "list")

    assert "\x1b" not in shown.out
    assert "]0;owned\N{REPLACEMENT CHARACTER}[bold]x[/bold]\N{REPLACEMENT CHARACTER}first" in shown.out
    assert printable("Zürich 東京 ✓") == "Zürich 東京 ✓"


def test_a_long_table_is_not_cut_in_a_pipe(shell: Shell) -> None:
    name = "a very long name " * 20
    shell("keys", "create", name)

    assert name.strip() in shell("keys", "list").out

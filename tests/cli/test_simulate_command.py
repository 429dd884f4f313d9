"""`smarttrade simulate` (cli.md): what it prints, and how it ends."""

import os
import shlex
import sqlite3
from pathlib import Path

import pytest
from commands import Shell, contents

from smarttrade.adapters.storage.data_directory import DATABASE_NAME
from smarttrade.cli.main import run
from smarttrade.engine.trigger_book import TriggerBook

SHORT = ("--hours", "0.5", "--jobs", "1")


def simulate(*arguments: str) -> int:
    return run(["simulate", *arguments])


def test_each_world_has_a_line_and_all_have_a_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--seed", "5", "--seeds", "2", *SHORT) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["seed", "5"], ["seed", "6"]]
    assert all(line.endswith("ok") for line in lines[:2])
    assert lines[2].split()[:4] == ["worlds", "2,", "0", "failed"]


def test_one_document_for_programs(shell: Shell) -> None:
    document = shell("simulate", "--seed", "5", *SHORT, "--json").json

    [world] = document["worlds"]
    assert (world["seed"], world["failure"], document["least_failure"]) == (5, None, None)
    assert document["totals"]["worlds"] == 1
    assert document["totals"]["orders"] == world["orders"]


def test_the_data_of_one_world_can_be_kept(shell: Shell) -> None:
    done = shell("simulate", "--seed", "5", *SHORT)

    assert done.code == 0, done
    with sqlite3.connect(shell.directory / DATABASE_NAME) as database:
        assert database.execute("SELECT count(*) FROM smart_trades").fetchone()[0] > 0
    database.close()
    before = contents(shell.directory)
    assert "not empty" in shell("simulate", "--seed", "5", *SHORT).failure()
    assert contents(shell.directory) == before


def test_nothing_of_an_installation_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert simulate("--seed", "5", *SHORT) == 0
    assert not list(tmp_path.iterdir())


def test_a_broken_rule_ends_with_1_and_with_what_shows_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TriggerBook, "update", lambda *_: [])
    assert simulate("--seed", "1", "--hours", "4") == 1

    printed = capsys.readouterr()
    assert printed.err.endswith("1 of 1 worlds broke a rule: seed 1\n")
    facts = dict(line.split(maxsplit=1) for line in printed.out.splitlines() if line.startswith(("seed  ", "rule")))
    assert facts["seed"] == "1"
    [again] = [line for line in printed.out.splitlines() if line.startswith("Again: ")]
    words = shlex.split(again.removeprefix("Again: "))
    assert words[:2] == [os.environ.get("SMARTTRADE_COMMAND", "smarttrade"), "simulate"]
    assert simulate(*words[2:]) == 1
    assert f"FAILED {facts['rule']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--seeds", "0"), "--seeds must be at least 1"),
        (("--hours", "0"), "--hours above 0"),
        (("--hours", "nan"), "--hours above 0"),
        (("--steps", "-1"), "--steps not below 0"),
        (("--jobs", "0"), "--jobs must be at least 1"),
        (("--without", "deaths,locusts"), "unknown kind of fault 'locusts': choose from delays, silence"),
        (("--seed", "x"), "x"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(*arguments) == 2
    assert complaint in capsys.readouterr().err

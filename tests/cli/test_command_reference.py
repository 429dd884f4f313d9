"""Every command and option explains itself, and has its entry in docs/cli.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from smarttrade.cli.connection import Connection
from smarttrade.cli.main import app
from smarttrade.cli.options import Common

PAGE = (Path(__file__).parent.parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))

EVERY, TRADES = "Options of every command", "Options of commands about trades"


def leaves(parent: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Commands that do something, by what is typed."""
    commands = [name for name in parent if not name.startswith("-")]
    if not commands:
        yield " ".join(("smarttrade", *path)), parent
    for name in commands:
        yield from leaves(parent[name], (*path, name))


def options(command: App) -> set[str]:
    return {argument.name for argument in command.assemble_argument_collection() if argument.name.startswith("--")}


def rows(section: str) -> set[str]:
    """Options that a section has a row for."""
    return {row.split("`")[1].split()[0] for row in SECTIONS[section].splitlines() if row.startswith("| `--")}


COMMANDS = dict(leaves(app))


def test_the_commands_are_those_of_the_specification() -> None:
    assert {name.removeprefix("smarttrade ") for name in COMMANDS} == {
        "serve",
        *(f"keys {verb}" for verb in ("create", "list", "revoke")),
        *(f"accounts {verb}" for verb in ("add-paper", "list", "show", "remove")),
        *(f"trades {verb}" for verb in ("list", "show", "create", "close", "cancel", "watch")),
        "doctor",
        "simulate",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_its_entry_and_no_entry_is_of_one_that_is_gone(name: str) -> None:
    shared = rows(EVERY) | (rows(TRADES) if name.startswith("smarttrade trades") else set())
    documented = rows(name)

    assert documented | shared == options(COMMANDS[name])
    assert not documented & shared
    assert f"    {name}" in SECTIONS[name]


def test_no_section_is_of_a_command_that_is_gone() -> None:
    assert {title for title in SECTIONS if title.startswith("smarttrade")} == set(COMMANDS)


def test_shared_options_are_those_of_the_shared_sections() -> None:
    spelled = {"as_json": "--json"}
    for shape, section in ((Common, EVERY), (Connection, TRADES)):
        names = {spelled.get(field, "--" + field.replace("_", "-")) for field in shape.__dataclass_fields__}
        assert names == rows(section)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_an_example_and_takes_json_and_a_data_directory(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app([*name.split()[1:], "--help"], exit_on_error=False, result_action="return_none")
    text = capsys.readouterr().out

    example = text.partition("Example:")[2]
    assert name in example
    assert {"--json", "--data-dir"} <= options(COMMANDS[name])
    for option in options(COMMANDS[name]):
        assert re.search(rf"{option}\b.*[a-z]{{3}}", text), f"{option} is not explained"

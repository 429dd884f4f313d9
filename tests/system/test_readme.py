"""The first trade of the README, copied as it stands: the shell block into `sh`, the Python block into Python.

Only what the reader has to fill in is filled in: key and secret in the `export` line, and the address, because the
server of the test listens on a port of its own.
"""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Entity, Server

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "http://127.0.0.1:8080"
EXPORT = re.compile(r"^export APIKEY=\S+ SECRET=\S+$", re.MULTILINE)


def block(heading: str, language: str) -> str:
    """The first fenced block of the language below a heading, before the next one."""
    text = README.read_text(encoding="utf-8")
    _, found, section = text.partition(f"\n## {heading}\n")
    assert found, f'README.md has no heading "## {heading}"'
    section = section.partition("\n## ")[0]
    fenced = re.search(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert fenced is not None, f'README.md has no ```{language} block below "## {heading}"'
    return fenced[1]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Server]:
    """What `./run` starts for the first time: demo prices, the first account, the first key."""
    with Server(tmp_path, "--market", "demo") as server:
        yield server


def filled_in(text: str, server: Server) -> str:
    assert EXPORT.search(text), "the block has no line `export APIKEY=... SECRET=...` for the reader to fill in"
    return EXPORT.sub(f"export APIKEY={server.api_key} SECRET={server.secret}", text)


def here(text: str, server: Server) -> str:
    assert ADDRESS in text, f"the block does not call {ADDRESS}"
    return text.replace(ADDRESS, server.url)


def run(command: list[str], text: str, server: Server) -> str:
    """Give `text` to a program on its standard input; returns what it prints."""
    environment = {**os.environ, "APIKEY": server.api_key, "SECRET": server.secret}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def trades(server: Server) -> list[Entity]:
    found: list[Entity] = server.api.get("/v2/smart_trades")
    return found


def test_the_first_trade_with_curl_is_created_and_listed(demo: Server) -> None:
    text = block("A first SmartTrade with curl", "sh")
    printed = run(["sh", "-eu"], here(filled_in(text, demo), demo), demo)
    assert printed.count('"type":"smart_trade"') == 2, printed  # the answer to create, and the list
    assert '"error' not in printed
    (trade,) = trades(demo)
    assert trade["account"]["id"] == demo.first_account_id


def test_the_same_with_py3cw_prints_the_status_of_a_new_trade(demo: Server) -> None:
    printed = run([sys.executable, "-"], here(block("The same with py3cw", "python"), demo), demo)
    assert printed == "created\n"
    assert len(trades(demo)) == 1


def test_both_blocks_ask_for_the_same_trade() -> None:
    shell = block("A first SmartTrade with curl", "sh").split("BODY='", 1)[1].split("'", 1)[0]
    script = ast.parse(block("The same with py3cw", "python"))
    (payload,) = (
        keyword.value
        for call in ast.walk(script)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "payload"
    )
    assert json.loads(shell) == ast.literal_eval(payload)

"""Commands on a data directory of their own."""

import os
from pathlib import Path

import pytest

pytest.register_assert_rewrite("commands")

from commands import Shell  # noqa: E402 -- after its assertions have been announced


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests are none of theirs."""
    for name in list(os.environ):
        if name.startswith("SMARTTRADE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    """Runs commands on a new data directory."""
    return Shell(capsys, tmp_path / "data")

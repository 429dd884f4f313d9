"""The command line, in this process or in one of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from smarttrade.cli.main import run

PROGRAM = [sys.executable, "-m", "smarttrade.cli.main"]

GUARD_SECONDS = 60.0
"""A process that hangs is ended after this long; nothing waits for it to pass."""

SERVER_GUARD_SECONDS = 600.0
"""The same for a server, which lives as long as the tests of a module that share it."""


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only document on standard output, of a command that succeeded."""
        assert (self.code, self.err) == (0, ""), self
        return json.loads(self.out)

    def failure(self, code: int = 1) -> str:
        """The one line of a command that failed, and printed nothing else."""
        assert self.code == code, self
        assert self.err.startswith("smarttrade: "), self
        assert self.err.count("\n") == 1, self
        return self.err.removeprefix("smarttrade: ").rstrip("\n")


class Shell:
    """Runs commands in this process, all on one data directory."""

    def __init__(self, capture: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capture = capture
        self.directory = directory

    def __call__(self, *arguments: object) -> Result:
        code = run([*map(str, arguments), "--data-dir", str(self.directory)])
        printed = self._capture.readouterr()
        return Result(code, printed.out, printed.err)


def environment(**variables: str) -> dict[str, str]:
    """Ours without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SMARTTRADE_")} | variables


def execute(*arguments: object, input: str = "", variables: Mapping[str, str] | None = None) -> Result:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=input,
        capture_output=True,
        text=True,
        env=environment(**(variables or {})),
        timeout=GUARD_SECONDS,
    )
    return Result(done.returncode, done.stdout, done.stderr)


class Serving:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", announced: str) -> None:
        self.process = process
        self.announced = announced

    @property
    def json(self) -> Any:
        return json.loads(self.announced)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Result:
        """Send a signal; what the server wrote after its announcement, and its exit code."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=GUARD_SECONDS)
        return Result(self.process.returncode, out, err)


@contextmanager
def serving(directory: Path, *options: object, variables: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """A server on a free port, ready; killed at the end if it still runs."""
    command = [*PROGRAM, "serve", "--json", "--port", "0", "--data-dir", str(directory), *map(str, options)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**(variables or {}))
    )
    guard = threading.Timer(SERVER_GUARD_SECONDS, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        announced = process.stdout.readline()
        assert announced, process.communicate()[1]
        yield Serving(process, announced)
    finally:
        guard.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory, by name."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}

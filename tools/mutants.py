"""Break lines of the engine on purpose, one at a time in a copy, and show what notices.

    python tools/mutants.py [NAME ...] [--seeds K] [--list]

For each mutant of tests/mutants.toml: the tests that it names, then worlds of the simulation until one fails.
A copy without a mistake comes first: it must please both. Exit code 1 when a mutant survives both.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "mutants.toml"
COPIED = ("src", "tests", "tools", "docs", "pyproject.toml", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "run")

LONGEST_RUN = 600.0
"""Seconds. A mutant under which something never ends is noticed by that."""


class Mutant(NamedTuple):
    """One deliberate mistake."""

    name: str
    file: str  # below src/smarttrade
    old: str  # occurs there once
    new: str
    tests: list[str]

    def path(self, root: Path) -> Path:
        return root / "src" / "smarttrade" / self.file

    def fits(self, root: Path = ROOT) -> bool:
        """Whether the line that it breaks is there, once."""
        return self.path(root).read_text(encoding="utf-8").count(self.old) == 1

    def apply(self, root: Path) -> None:
        path = self.path(root)
        path.write_text(path.read_text(encoding="utf-8").replace(self.old, self.new), encoding="utf-8")


def mutants() -> list[Mutant]:
    """All of the list."""
    document = tomllib.loads(LIST.read_text(encoding="utf-8"))
    return [Mutant(**each) for each in document["mutant"]]


def copy_project(into: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, into / name)


def fails(command: Sequence[str], root: Path) -> bool:
    """Whether `command` ends badly, or not at all, with the code of `root`."""
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=nowhere, stderr=nowhere, start_new_session=True
    ) as process:
        try:
            return process.wait(LONGEST_RUN) != 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its workers would go on without it
            return True


def noticed_by(mutant: Mutant | None, tests: Sequence[str], seeds: int) -> dict[str, bool]:
    """Who complains of a copy with this mistake, or with none: `tests`, the simulation."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        copy_project(root)
        if mutant is not None:
            mutant.apply(root)
        tests = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "2", "-p", "no:cacheprovider", *tests]
        worlds = [sys.executable, "-m", "smarttrade.cli.main", "simulate", "--seed", "1", "--seeds", str(seeds)]
        return {"tests": fails(tests, root), "simulation": seeds > 0 and fails(worlds, root)}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Break the engine on purpose, and show what notices.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants whose name contains this; all if left out")
    parser.add_argument("--seeds", type=int, default=10, help="worlds of the simulation to try (10); 0: none")
    parser.add_argument("--list", action="store_true", help="only list them")
    options = parser.parse_args(arguments)
    wanted = [each for each in mutants() if not options.names or any(name in each.name for name in options.names)]
    if not options.list:
        paths = sorted({path for mutant in wanted for path in mutant.tests})
        complaints = [name for name, does in noticed_by(None, paths, options.seeds).items() if does]
        if complaints:
            print(f"without any mistake the {' and the '.join(complaints)} fail already: nothing can be shown")
            return 1
    survivors = 0
    for number, mutant in enumerate(wanted, start=1):
        print(f"{number:>2}/{len(wanted)}  {mutant.name:<72}", end="", flush=True)
        if options.list:
            print(mutant.file)
            continue
        begun = time.perf_counter()
        noticed = noticed_by(mutant, mutant.tests, options.seeds)
        seconds = time.perf_counter() - begun
        who = [name for name, did in noticed.items() if did]
        print(f"{' and '.join(who) or 'NOBODY':<21}{seconds:>6.0f} s", flush=True)
        survivors += not who
    if not options.list:
        print(f"{len(wanted) - survivors} of {len(wanted)} noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m bench [NAME ...] [--json FILE] [--page FILE]`: measure, and compare with the goals.

A benchmark is a module of this package with `run() -> list[Row]`; name it in BENCHMARKS.
"""

import argparse
import importlib
import json
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.table import Row, as_records, table_lines

BENCHMARKS: Final = {
    "trigger_book": "what a price update costs, by the number of open trades",
    "feed": "price messages, from bytes to decision, by the number of open trades",
    "order": "from a price to the signed order that it causes, at the socket",
    "api": "signed requests over HTTP, one server process, loaded from another",
    "pauses": "the slowest of a hundred requests, by the number of stored trades",
    "stream": "one stored change, pushed to everybody who listens",
    "restart": "from a stored directory to exits armed again",
    "list": "pages of the list of trades, by the number of stored trades",
    "memory": "bytes per open trade, and what finished ones leave behind",
    "lifetimes": "a million trades made and ended, and what they leave behind",
}

ON_REQUEST: Final = frozenset({"lifetimes"})
"""Measured only when they are named: they take longer than all others together."""

MARK: Final = "<!-- Measured: written by `./run bench --page`, from here to the end. -->"


def main(arguments: list[str]) -> None:
    listed = "\n".join(
        f"  {name:<14} {text}{' (on request)' * (name in ON_REQUEST)}" for name, text in BENCHMARKS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="if left out, all but those on request")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="put the figures below the mark in this page; others stay"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark: {', '.join(unknown)}")
    results: dict[str, list[Row]] = {}
    for name in options.names or [name for name in BENCHMARKS if name not in ON_REQUEST]:
        results[name] = importlib.import_module(f"bench.{name}").run()
        print(f"{name}: {BENCHMARKS[name]}", *table_lines(results[name]), "", sep="\n  ", flush=True)
    machine = where_measured()
    if options.json is not None:
        records = {name: as_records(rows) for name, rows in results.items()}
        options.json.write_text(json.dumps({"machine": machine, "benchmarks": records}, indent=2) + "\n")
    if options.page is not None:
        write_page(options.page, machine, results)


def where_measured() -> dict[str, str]:
    """Machine and versions, without which no figure means much."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processors": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in ("smarttrade", "msgspec", "sqlalchemy", "uvloop", "httptools")},
    }


def write_page(page: Path, machine: Mapping[str, str], results: Mapping[str, Sequence[Row]]) -> None:
    """Replace the machine and the sections of these benchmarks below MARK; above it people write."""
    above, _, below = page.read_text(encoding="utf-8").partition(MARK)
    sections = {text.partition("\n")[0]: text.strip() for text in below.split("\n### ")[1:]}
    for name, rows in results.items():
        table = "\n".join(table_lines(rows))
        title = f"{BENCHMARKS[name].capitalize()}. Measured on {machine['date']}."
        sections[name] = f"{name}\n\n{title}\n\n```text\n{table}\n```"
    where = ", ".join(f"{what} {value}" for what, value in machine.items() if what != "date")
    parts = [above + MARK, f"{where}.", *(f"### {sections[name]}" for name in BENCHMARKS if name in sections)]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m bench [NAME ...] [--json FILE]`: measure, and compare with the goals.

A benchmark is a module of this package with `run() -> list[Row]`; name it in BENCHMARKS.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Final

from bench.table import as_records, print_table

BENCHMARKS: Final = {
    "trigger_book": "what a price update costs, by the number of open trades",
    "api": "signed requests over HTTP, one server process, loaded from another",
    "stream": "one stored change, pushed to everybody who listens",
    "restart": "from a stored directory to exits armed again",
    "list": "pages of the list of trades, by the number of stored trades",
    "memory": "bytes per open trade, and what finished ones leave behind",
}


def main(arguments: list[str]) -> None:
    listed = "\n".join(f"  {name:<14} {text}" for name, text in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; everything if left out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark: {', '.join(unknown)}")
    results = {}
    for name in options.names or BENCHMARKS:
        rows = importlib.import_module(f"bench.{name}").run()
        print_table(f"{name}: {BENCHMARKS[name]}", rows)
        results[name] = as_records(rows)
    if options.json is not None:
        machine = {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processors": os.cpu_count(),
        }
        options.json.write_text(json.dumps({"machine": machine, "benchmarks": results}, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

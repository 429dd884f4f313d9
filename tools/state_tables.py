"""Write docs/states.md from the tables in `smarttrade.domain.moves`. Run: python tools/state_tables.py"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smarttrade.domain.moves import STEP_TABLES, TRADE

PAGE = Path(__file__).parent.parent / "docs" / "states.md"

INTRODUCTION = """# States

Every move that a trade and its legs can make, generated from the tables that the server runs on
(`src/smarttrade/domain/moves.py`) by `python tools/state_tables.py`. A move that is not here does not happen.
"""


def rows(table: Mapping[tuple[Any, Any], Any]) -> Iterator[str]:
    """One line for each pair of states that a cause joins."""
    yield "| from | because | to |"
    yield "|---|---|---|"
    for (state, cause), target in table.items():
        yield f"| {state.value} | {cause.value} | {target.value} |"


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION, "## SmartTrade", "", *rows(TRADE)]
    for purpose, table in STEP_TABLES.items():
        lines += ["", f"## {purpose.value}", "", *rows(table)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

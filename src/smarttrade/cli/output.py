"""What commands print: tables for people, JSON for programs. Colours only on a terminal.

Text that comes from outside (names, notes, error texts of exchanges) is printed without control characters: nobody
else may move the cursor of whoever looks at it.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

MUCH_WIDER_THAN_ANY_TABLE: Final = 10_000
"""Columns, where nobody looks: what goes into a pipe or file is never wrapped or cut."""

GOOD: Final = "green"
BAD: Final = "red"
BUSY: Final = "yellow"
QUIET: Final = "dim"


class Cell(NamedTuple):
    """Text with a style that terminals show."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A column of a table. Figures stand to the right."""

    title: str
    is_figure: bool = False


Value = str | int | Cell | None


def print_json(value: Any) -> None:
    """One document, laid out for reading."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """One document on one line, for whoever reads along."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_line(*values: Value) -> None:
    """One line, on its way at once."""
    print("  ".join(cell(value).text for value in values), flush=True)


def print_text(text: str = "", style: str = "") -> None:
    """Lines that are never wrapped: what is in them can be copied."""
    console().print(_styled(Cell(text, style)), soft_wrap=True)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Value]], empty: str) -> None:
    """A table, or the line `empty` when there are no rows."""
    listed = list(rows)
    if listed:
        console().print(table(columns, listed))
    else:
        print_text(empty, QUIET)


def print_facts(facts: Iterable[tuple[str, Value]]) -> None:
    """Names and values, one pair a line; those without a value are left out."""
    known = [(name, cell(value)) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        text = _styled(Cell(f"{name:<{width}}  ", QUIET))
        text.append(_styled(value))
        console().print(text, soft_wrap=True)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Value]]) -> "RenderableType":
    """The same, for whoever draws it again and again."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.is_figure else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(_styled(cell(value)) for value in row))
    return drawn


def cell(value: Value) -> Cell:
    """`value` as a cell without control characters; None is a dash."""
    if value is None:
        return Cell("-", QUIET)
    wanted = value if isinstance(value, Cell) else Cell(str(value))
    return Cell(printable(wanted.text), wanted.style)


def printable(text: str) -> str:
    """`text` on one line, without characters that command a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def report(message: str) -> None:
    """The one line that a failing command leaves on standard error."""
    words = printable(" ".join(message.split()))
    print(f"smarttrade: {words}", file=sys.stderr)


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether somebody looks at standard output."""
    return (sys.stdout if stream is None else stream).isatty()


def console() -> "Console":
    from rich.console import Console

    shown = is_terminal()
    return Console(
        file=sys.stdout,
        force_terminal=shown,
        width=None if shown else MUCH_WIDER_THAN_ANY_TABLE,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _styled(value: Cell) -> Any:
    from rich.text import Text

    return Text(value.text, style=value.style)

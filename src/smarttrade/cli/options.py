"""What commands share: options that all of them take, and how values on the command line are read.

Imported by every start of the program, so nothing heavy is imported here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from smarttrade.cli.failures import CommandFailed, WrongUsage

if TYPE_CHECKING:
    from smarttrade.settings import Settings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    data_dir: Annotated[
        Path | None,
        Parameter(help="Where database and keys are kept: SMARTTRADE_DATA_DIR, else ~/.local/share/smarttrade."),
    ] = None
    as_json: Annotated[bool, Parameter(name="--json", help="Print one JSON document and nothing else.")] = False

    def settings(self, **options: Any) -> "Settings":
        """The settings in force; `options` that are None were not given. Raises CommandFailed."""
        from smarttrade.settings import SettingsError, load

        try:
            return load({"data_dir": self.data_dir, **options})
        except SettingsError as error:
            raise CommandFailed(str(error)) from None


COMMON: Final = Common()


def separated(text: str, what: str) -> list[str]:
    """The parts of a comma-separated list. Raises WrongUsage when there are none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise WrongUsage(f"no {what} in {text!r}")
    return parts


def named(name: str) -> str:
    """A name without the blanks around it. Raises WrongUsage when nothing is left."""
    name = name.strip()
    if not name:
        raise WrongUsage("the name is empty")
    return name

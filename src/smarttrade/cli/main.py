"""The command `smarttrade`. One module per verb: parse, call, print."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from smarttrade.cli import accounts, doctor, keys, serve, simulate, trades
from smarttrade.cli.failures import DONE, FAILED, WRONG_USAGE, CommandFailed, WrongUsage
from smarttrade.cli.output import report

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended."""


def version() -> str:
    """Read only when asked for: it costs a look into the installed packages."""
    from importlib.metadata import version as installed

    return installed("smarttrade")


app = App(
    name="smarttrade",
    help="A self-hosted SmartTrade server, and what belongs to running one.",
    help_epilogue="Example:\n\n    smarttrade serve",
    help_format="markdown",
    version=version,
    default_parameter=Parameter(negative=(), show_default=False),
    suppress_keyboard_interrupt=False,
)
app.command(serve.app)
app.command(keys.app)
app.command(accounts.app)
app.command(trades.app)
app.command(doctor.app)
app.command(simulate.app)


def main() -> None:
    """The console entry."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command; returns the exit code (cli.md)."""
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_none")
        sys.stdout.flush()
    except (CycloptsError, WrongUsage) as error:
        report(f"{error} (see smarttrade --help)" if isinstance(error, CycloptsError) else str(error))
        return WRONG_USAGE
    except CommandFailed as error:
        report(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return DONE


if __name__ == "__main__":
    main()

"""How a command ends when it does not succeed: one line on standard error, and an exit code (cli.md)."""

from typing import Final

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2


class CommandFailed(Exception):
    """The command was refused or could not be carried out; str() says what and why. Exit code 1."""


class WrongUsage(Exception):
    """The command line asks for something that does not exist; str() says what to write instead. Exit code 2."""

"""From options to a server that can be called: its address, and the key that signs.

Unless a key is given, commands use one of their own, called "command line". It is made in the database on first use;
its secret is read back from there, so it is never shown and never written anywhere else.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from smarttrade.cli.failures import CommandFailed, WrongUsage
from smarttrade.cli.options import Common

if TYPE_CHECKING:
    from smarttrade.cli.installation import Installation
    from smarttrade.cli.server import Credentials, Server
    from smarttrade.domain.account import User
    from smarttrade.settings import Settings

OWN_KEY: Final = "command line"
OWN_PERMISSIONS: Final = ("ACCOUNTS_READ", "ACCOUNTS_WRITE", "SMART_TRADES_READ", "SMART_TRADES_WRITE")

API_KEY_VARIABLE: Final = "SMARTTRADE_API_KEY"
SECRET_VARIABLE: Final = "SMARTTRADE_API_SECRET"  # noqa: S105 - its name

NAME_VARIABLE: Final = "SMARTTRADE_COMMAND"
"""Set by a script around this program: what its users type, and hints shall say."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """Options of commands that talk to the running server."""

    url: Annotated[
        str | None, Parameter(help="Address of the server; without it, the one that runs on the data directory.")
    ] = None
    api_key: Annotated[
        str | None, Parameter(help=f"Key to sign with: {API_KEY_VARIABLE}, else a key of the command line's own.")
    ] = None
    secret: Annotated[
        str | None, Parameter(help=f"Its secret: better in {SECRET_VARIABLE}, where no process list shows it.")
    ] = None
    user: Annotated[str | None, Parameter(help="Whose trades; without it the default user's.")] = None


ANY_SERVER: Final = Connection()


def connect(common: Common, wanted: Connection) -> "Server":
    """The server that commands about trades talk to. Raises CommandFailed, WrongUsage."""
    from smarttrade.cli.server import Credentials, Server
    from smarttrade.ports.directory import DEFAULT_USER

    settings = common.settings()
    api_key = wanted.api_key or os.environ.get(API_KEY_VARIABLE)
    secret = wanted.secret or os.environ.get(SECRET_VARIABLE)
    if (api_key is None) != (secret is None):
        raise WrongUsage(f"a key and its secret go together: {API_KEY_VARIABLE} and {SECRET_VARIABLE}")
    if api_key is not None and wanted.user is not None:
        raise WrongUsage("a key belongs to a user: --user and --api-key exclude each other")
    url, certificate = (wanted.url, None) if wanted.url is not None else (_running(settings), settings.tls_certificate)
    if api_key is not None and secret is not None:
        return Server(url, Credentials(api_key, secret), certificate)

    from smarttrade.cli.installation import opened

    with opened(settings) as installation:
        key = own_key(installation, installation.user(wanted.user or DEFAULT_USER))
    return Server(url, key, certificate)


def _running(settings: "Settings") -> str:
    from smarttrade.cli.server import find_running

    found = find_running(settings)
    if found is None:
        raise CommandFailed(f"no server runs on {settings.data_dir}: start it with {hint('serve', settings.data_dir)}")
    return found.url


def own_key(installation: "Installation", user: "User") -> "Credentials":
    """The key that commands sign with for this user, made on first use."""
    import asyncio

    from smarttrade.cli.server import Credentials
    from smarttrade.domain.account import KeyKind

    for key in installation.directory.keys(user.id):
        usable = key.revoked_at is None and not key.allowed_networks and key.kind is KeyKind.HMAC
        if key.name == OWN_KEY and usable and key.permissions.issuperset(OWN_PERMISSIONS):
            return Credentials(key.api_key, key.secret.decode())
    created = asyncio.run(installation.directory.create_key(user.id, OWN_KEY, permissions=OWN_PERMISSIONS))
    assert created.secret is not None, "a key without a public key has one"
    return Credentials(created.key.api_key, created.secret)


def hint(verb: str, directory: Path) -> str:
    """A command to copy that works on this data directory."""
    import shlex

    from smarttrade.settings import DEFAULT_DIRECTORY

    command = f"{os.environ.get(NAME_VARIABLE, 'smarttrade')} {verb}"
    default = directory == DEFAULT_DIRECTORY.expanduser()
    return command if default else f"{command} --data-dir {shlex.quote(str(directory))}"

"""`smarttrade keys`: API keys, straight in the database. A running server sees every change at once."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from smarttrade.cli.failures import CommandFailed
from smarttrade.cli.options import COMMON, Common, named, separated
from smarttrade.cli.output import BAD, GOOD, QUIET, Cell, Column, print_facts, print_json, print_table, print_text

if TYPE_CHECKING:
    from smarttrade.domain.account import ApiKey

EVERYTHING: Final = "all"
DEFAULT_USER: Final = "default"

COLUMNS: Final = (
    Column("id", is_figure=True),
    Column("name"),
    Column("user"),
    Column("kind"),
    Column("permissions"),
    Column("from"),
    Column("created"),
    Column("state"),
)

app = App(name="keys", help="Make, list and revoke API keys.", help_epilogue="Example:\n\n    smarttrade keys list")


@app.command(
    help_epilogue="Example:\n\n    smarttrade keys create bot --permissions SMART_TRADES_READ,SMART_TRADES_WRITE"
)
def create(
    name: str,
    /,
    *,
    permissions: str = EVERYTHING,
    rsa_public_key: Path | None = None,
    allow_ip: list[str] | None = None,
    user: str = DEFAULT_USER,
    common: Common = COMMON,
) -> None:
    """Make an API key. Its secret is shown this once.

    Works while the server runs, which knows the key at once.

    Parameters
    ----------
    name
        What the key is called in lists.
    permissions
        What it may do: all (the default), or a list separated by commas of BOTS_READ, BOTS_WRITE, ACCOUNTS_READ,
        ACCOUNTS_WRITE, SMART_TRADES_READ, SMART_TRADES_WRITE. WRITE does not imply READ.
    rsa_public_key
        PEM file with a public key of 2048 bits or more: requests are then signed with RSA instead of HMAC, and there
        is no secret.
    allow_ip
        Address or network (CIDR) that may use the key; may be given several times. Without it every address may.
    user
        Who the key belongs to; a new name makes a new user. Without it the default user.
    """
    wishes: dict[str, Any] = {"networks": allow_ip or ()}
    if permissions.strip().lower() != EVERYTHING:
        wishes["permissions"] = separated(permissions, "permission")
    if rsa_public_key is not None:
        wishes["rsa_public_key"] = _content(rsa_public_key)
    name, owner, settings = named(name), named(user), common.settings()

    from smarttrade.cli.installation import opened

    async def work() -> Any:
        known = await installation.directory.ensure_user(owner)
        return await installation.directory.create_key(known.id, name, **wishes)

    with opened(settings, create=True) as installation:
        created = asyncio.run(work())
    key = created.key
    if common.as_json:
        shown = {"id": key.id, "name": key.name, "api_key": key.api_key, "secret": created.secret}
        print_json({**shown, "permissions": sorted(key.permissions)})
        return
    facts = [("id", key.id), ("name", key.name), ("permissions", ", ".join(sorted(key.permissions)) or "none")]
    networks = ", ".join(key.allowed_networks) or None
    print_facts([*facts, ("only from", networks), ("api key", key.api_key), ("secret", created.secret)])
    if created.secret is None:
        print_text("Requests are signed with the private key that belongs to the registered public one.", QUIET)
    else:
        print_text("The secret is shown only now: keep it where nobody else can read it.", QUIET)


@app.command(name="list", help_epilogue="Example:\n\n    smarttrade keys list --json")
def list_(*, user: str | None = None, common: Common = COMMON) -> None:
    """List API keys, revoked ones included. Secrets are never shown.

    Parameters
    ----------
    user
        Only keys of this user; without it everybody's.
    """
    from smarttrade.cli.installation import opened

    with opened(common.settings()) as installation:
        found = [
            (owner.name, key) for owner in installation.users(user) for key in installation.directory.keys(owner.id)
        ]
    found.sort(key=lambda pair: pair[1].id)
    if common.as_json:
        print_json([_entity(key, owner) for owner, key in found])
        return
    print_table(COLUMNS, [_row(key, owner) for owner, key in found], "There are no API keys.")


@app.command(help_epilogue="Example:\n\n    smarttrade keys revoke 2")
def revoke(id: Annotated[int, Parameter(help="Number of the key, as listed.")], /, *, common: Common = COMMON) -> None:
    """End an API key for good. A running server refuses it from the next request on."""
    from smarttrade.cli.installation import opened

    with opened(common.settings()) as installation:
        try:
            key = asyncio.run(installation.directory.revoke_key(id))
        except LookupError:
            raise CommandFailed(f"there is no key {id}") from None
        owner = installation.directory.user(key.user_id)
    if common.as_json:
        print_json(_entity(key, "" if owner is None else owner.name))
    else:
        print_text(f"Key {key.id} ({key.name}) is revoked.")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}") from None


def _entity(key: "ApiKey", owner: str) -> dict[str, Any]:
    """A key as JSON, without its secret."""
    from smarttrade.api.notation import timestamp

    return {
        "id": key.id,
        "name": key.name,
        "user": owner,
        "kind": key.kind.value,
        "api_key": key.api_key,
        "permissions": sorted(key.permissions),
        "allowed_networks": list(key.allowed_networks),
        "created_at": timestamp(key.created_at),
        "revoked_at": None if key.revoked_at is None else timestamp(key.revoked_at),
    }


def _row(key: "ApiKey", owner: str) -> tuple[Any, ...]:
    from smarttrade.domain.account import Permission

    every = len(key.permissions) == len(Permission)
    entity = _entity(key, owner)
    return (
        key.id,
        key.name,
        owner,
        entity["kind"],
        EVERYTHING if every else ", ".join(entity["permissions"]) or None,
        ", ".join(key.allowed_networks) or "anywhere",
        entity["created_at"],
        Cell("in use", GOOD) if key.revoked_at is None else Cell("revoked", BAD),
    )
